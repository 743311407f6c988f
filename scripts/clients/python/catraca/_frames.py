"""What catraca's client protocol says, as bytes and back: documents, frames, errors. No socket here; see _client.py.

The layouts are those of wire/PROTOCOL.md, version 1.
"""

from __future__ import annotations

import enum
import ipaddress
import secrets
import string
import struct
import time
from dataclasses import dataclass, field
from typing import Optional, Tuple, Union

PROTOCOL_VERSION = 1
MAX_BUDGET_US = 2_000_000
# The longest reply of the kinds that this client asks for: a RECORD with the longest extension.
MAX_REPLY_LEN = 320 + 4096

HEADER = struct.Struct("<IBBHQ")
HELLO_BODY = struct.Struct("<BBBBI64s40s")
WELCOME_BODY = struct.Struct("<BBBBI16s16sHHII48s12s")
TRANSACTION = struct.Struct("<32s14s14sqQIBBHQQ16sQ16s8s8s16s")
VERDICT_BODY = struct.Struct("<BBHIQQHIQQBB")
LOOKUP_BODY = struct.Struct("<32s14sBx")
RECORD_PLACE = struct.Struct("<IHHII32s")
RECORD_HEAD = struct.Struct("<BBHBBHBBBBIQQQQQHQH16s")
PING_BODY = struct.Struct("<Q")
CLUSTER_BODY = struct.Struct("<BB6s")
CLUSTER_STATE_BODY = struct.Struct("<BBBBI16s16s16sQQQ48s48s64s")
ERROR_BODY = struct.Struct("<HHI128s")


class Kind(enum.IntEnum):
    """What a frame is."""
    (HELLO, WELCOME, SUBMIT, VERDICT, LOOKUP, RECORD, BLACKLIST, BLACKLIST_STATE, STATS, HISTOGRAM, PING, PONG,
     ERROR, CLUSTER, CLUSTER_STATE, POLICY, POLICY_STATE, LABEL, LABEL_STATE, COMPARISON,
     LIST, LIST_STATE, VALIDATOR, VALIDATOR_STATE, ON_BEHALF) = range(1, 26)


class ErrorCode(enum.IntEnum):
    """Why the server refused; PROTOCOL.md says for each whether anything was recorded, and what to do next."""
    (BAD_FRAME, BAD_DOCUMENT, BAD_FIELD, UNSUPPORTED_VERSION, UNAUTHENTICATED, FORBIDDEN, NOT_PRIMARY, OVERLOADED, DEADLINE,
     UNCONFIRMED, ID_REUSED, RATE_LIMITED, DISK_FULL, SHUTTING_DOWN, NOT_FOUND, FAILED, LATE) = range(1, 18)


class Verdict(enum.IntEnum):
    """What was decided."""
    APPROVE, REVIEW, DENY = range(1, 4)


class ClusterOp(enum.IntEnum):
    """What a CLUSTER frame asks for."""
    DESCRIBE, PROMOTE, GO_SOLO = range(1, 4)


class Rail(enum.IntEnum):
    """Payment arrangement."""
    OTHER, PIX, TED, BOLETO, CARD = range(5)


class Channel(enum.IntEnum):
    """Where a transaction was started."""
    OTHER, APP, WEB, API, BRANCH, ATM = range(6)


REASONS = {0: "clear", 1: "payer_listed", 2: "payee_listed", 3: "both_listed", 4: "allowed", 5: "rule", 6: "score"}


class CatracaError(Exception):
    """Anything that this module raises on purpose."""


class DocumentError(CatracaError, ValueError):
    """A text is no CPF or CNPJ; `reason` is length, character, check_digit, repeated_digit or masked."""

    def __init__(self, reason: str) -> None:
        super().__init__({
            "length": "a document has 11 (CPF) or 14 (CNPJ) characters",
            "character": "a character that a document can't have in that place",
            "check_digit": "the check digits are wrong",
            "repeated_digit": "one digit repeated throughout is no document",
            "masked": "the document is masked",
        }[reason])
        self.reason = reason


class FieldError(CatracaError, ValueError):
    """A field has a value that it can't have."""


class ConnectError(CatracaError, ConnectionError):
    """No server could be reached. Nothing of this call was sent."""


class NoPrimary(ConnectError):
    """No node at the addresses decides. Nothing of this call was sent."""


class NoAnswer(CatracaError):
    """No answer came in time. The transaction may have been recorded: send it again as it was."""


class ProtocolError(CatracaError):
    """The server sent what it must not send."""


class Refused(CatracaError):
    """The server's ERROR: `code`, `retry_after_ms`, `detail`, and whether it closes the connection."""

    def __init__(self, code: ErrorCode, retry_after_ms: int, detail: str, closing: bool) -> None:
        text = "".join(c if c.isprintable() else " " for c in detail)
        super().__init__(f"{code.name}: {text}" + (f" (try again after {retry_after_ms} ms)" if retry_after_ms else ""))
        self.code, self.retry_after_ms, self.detail, self.closing = code, retry_after_ms, detail, closing


def canonical_document(text: str) -> str:
    """The canonical form of a CPF (11 digits) or CNPJ (14 characters), with or without mask; raises DocumentError."""
    document = ""
    # Of several faults the first one counts.
    for c in text.strip():
        if c in ".-/ ":
            continue
        if c == "*":
            raise DocumentError("masked")
        if not (c.isascii() and c.isalnum()):
            raise DocumentError("character")
        if len(document) == 14:
            raise DocumentError("length")
        document += c.upper()
    if len(document) not in (11, 14):
        raise DocumentError("length")
    cpf = len(document) == 11
    if not (document if cpf else document[12:]).isdigit():
        raise DocumentError("character")
    if len(set(document)) == 1 and document.isdigit():
        raise DocumentError("repeated_digit")
    for place in (len(document) - 2, len(document) - 1):
        # Weights begin at 2 on the right; a CNPJ's run to 9 and begin again.
        weights = (2 + (place - 1 - i if cpf else (place - 1 - i) % 8) for i in range(place))
        remainder = sum((ord(c) - 48) * weight for c, weight in zip(document, weights)) % 11
        if ord(document[place]) - 48 != (0 if remainder < 2 else 11 - remainder):
            raise DocumentError("check_digit")
    return document


def masked_document(document: str) -> str:
    """A canonical document for print: a CPF without its outer digits, a CNPJ by its root."""
    if len(document) == 11:
        return f"***.{document[3:6]}.{document[6:9]}-**"
    return f"{document[:2]}.{document[2:5]}.{document[5:8]}/****-**"


def end_to_end_id(ispb: str, when: Optional[float] = None, suffix: Optional[str] = None) -> str:
    """A Pix EndToEndId: `E`, the ISPB, the minute in UTC (`when` in s since 1970; by default now), 11 characters of chance."""
    alphabet = string.ascii_letters + string.digits
    if len(ispb) != 8 or any(c not in alphabet for c in ispb):
        raise FieldError("an ISPB is 8 ASCII letters or digits")
    suffix = "".join(secrets.choice(alphabet) for _ in range(11)) if suffix is None else suffix
    if len(suffix) != 11 or any(c not in alphabet for c in suffix):
        raise FieldError("the end of an EndToEndId is 11 ASCII letters or digits")
    return "E" + ispb + time.strftime("%Y%m%d%H%M", time.gmtime(time.time() if when is None else when)) + suffix


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _address(raw: bytes) -> str:
    """An address that a server names: printable ASCII, because it is printed and connected to. Anything else counts as none."""
    text = _text(raw)
    return text if all("!" <= c <= "~" for c in text) else ""


def _checked_id(text: str) -> bytes:
    raw = text.encode("utf-8")
    if not 1 <= len(raw) <= 32 or any(not 0x21 <= byte <= 0x7E for byte in raw):
        raise FieldError("a transaction id is 1 to 32 printable ASCII characters without spaces")
    return raw


@dataclass
class Transaction:
    """A payment to decide on. Keep it to send it again: with another event time it would be another transaction.

    Documents may have a mask. Hashes are keyed hashes of the caller's; 0 or zeros is unknown.
    """
    id: str
    payer: str
    payee: str
    amount_centavos: int
    event_time_ns: int = field(default_factory=time.time_ns)
    budget_us: int = 0
    rail: int = Rail.PIX
    channel: int = Channel.OTHER
    flags: int = 0
    payer_account: int = 0
    payee_account: int = 0
    pix_key: bytes = bytes(16)
    device: int = 0
    ip: Optional[str] = None
    payer_ispb: str = ""
    payee_ispb: str = ""
    trace_id: bytes = bytes(16)

    def encode(self) -> bytes:
        """The 172 bytes of the wire; raises FieldError or DocumentError for what the server would refuse."""
        payer, payee = canonical_document(self.payer), canonical_document(self.payee)
        if not 0 < self.amount_centavos < 1 << 63:
            raise FieldError("an amount is at least 1 centavo, and fits 63 bits")
        if not 0 <= self.budget_us <= MAX_BUDGET_US:
            raise FieldError(f"a budget is 0 to {MAX_BUDGET_US} microseconds")
        if self.rail not in list(Rail) or self.channel not in list(Channel):
            raise FieldError("rail and channel are codes of Rail and Channel")
        for name, value, size in (("pix_key", self.pix_key, 16), ("trace_id", self.trace_id, 16)):
            if len(value) != size:
                raise FieldError(f"{name} has {size} bytes")
        for ispb in (self.payer_ispb, self.payee_ispb):
            if ispb and not (len(ispb) == 8 and ispb.isascii() and ispb.isalnum()):
                raise FieldError("an ISPB is 8 ASCII letters or digits, or empty")
        address = bytes(16)
        if self.ip:
            try:
                parsed = ipaddress.ip_address(self.ip)
            except ValueError as error:
                raise FieldError(str(error)) from error
            address = parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed
        try:
            return TRANSACTION.pack(
                _checked_id(self.id), payer.encode(), payee.encode(), self.amount_centavos, self.event_time_ns, self.budget_us,
                self.rail, self.channel, self.flags, self.payer_account, self.payee_account, self.pix_key, self.device, address,
                self.payer_ispb.encode(), self.payee_ispb.encode(), self.trace_id)
        except struct.error as error:
            raise FieldError(f"a number does not fit its field: {error}") from error

    @classmethod
    def decode(cls, raw: bytes) -> "Transaction":
        """From the 172 bytes of the wire."""
        (id_, payer, payee, amount, event_time, budget, rail, channel, flags, payer_account, payee_account, pix_key, device,
         address, payer_ispb, payee_ispb, trace_id) = TRANSACTION.unpack(raw)
        parsed = ipaddress.IPv6Address(address)
        ip = None if address == bytes(16) else str(parsed.ipv4_mapped or parsed)
        return cls(_text(id_), _text(payer), _text(payee), amount, event_time, budget, rail, channel, flags, payer_account,
                   payee_account, pix_key, device, ip, _text(payer_ispb), _text(payee_ispb), trace_id)

    def __repr__(self) -> str:
        # Without documents, which no log should get.
        return f"Transaction(id={self.id!r}, amount_centavos={self.amount_centavos})"


@dataclass(frozen=True)
class Welcome:
    """What the server says of itself."""
    version: int
    primary: bool
    durability: int
    epoch: int
    node_id: bytes
    cluster_id: bytes
    shards: int
    max_frame: int
    in_flight: int
    primary_address: str

    @classmethod
    def decode(cls, body: bytes) -> "Welcome":
        (version, role, durability, _, epoch, node, cluster, shards, _, max_frame, in_flight, primary,
         _) = WELCOME_BODY.unpack(body)
        if version != PROTOCOL_VERSION or role not in (1, 2) or durability not in (1, 2, 3) or in_flight == 0:
            raise ProtocolError("the server sent a WELCOME with a value that it can't have")
        return cls(version, role == 1, durability, epoch, node, cluster, shards, max_frame, in_flight, _address(primary))


@dataclass(frozen=True)
class Decision:
    """What was decided. The record lies at `lsn` of stream `shard`; `receipt` proves later that it was not altered."""
    verdict: Verdict
    duplicate: bool
    degraded: bool
    shadow_disagrees: bool
    score: int
    policy_version: int
    blacklist_version: int
    matched_rules: int
    shard: int
    epoch: int
    lsn: int
    receipt: int
    reason: str

    @classmethod
    def decode(cls, body: bytes) -> "Decision":
        verdict, flags, score, policy, blacklist, rules, shard, epoch, lsn, receipt, reason, _ = VERDICT_BODY.unpack(body)
        return cls(_verdict(verdict), bool(flags & 1), bool(flags & 2), bool(flags & 4), score, policy, blacklist, rules, shard,
                   epoch, lsn, receipt, REASONS.get(reason, str(reason)))


@dataclass(frozen=True)
class StoredDecision:
    """A stored decision with its transaction, documents in full: personal data. `list_day` is in days since 1970-01-01; 0 unknown."""
    verdict: Verdict
    reason: str
    flags: int
    score: int
    payer_source: int
    payee_source: int
    policy_version: int
    lsn: int
    decided_at_ns: int
    snapshot_id: int
    overlay_sequence: int
    matched_rules: int
    list_day: int
    list_sequence: int
    institution: int
    submitter: str
    shard: int
    epoch: int
    segment: int
    block_offset: int
    chain: bytes
    transaction: Transaction
    extension: bytes

    @classmethod
    def decode(cls, body: bytes) -> "StoredDecision":
        epoch, shard, extension_len, segment, block_offset, chain = RECORD_PLACE.unpack_from(body)
        (kind, _, record_extension_len, verdict, flags, score, reason, payer_source, payee_source, _, policy, lsn, decided_at,
         snapshot, overlay, rules, list_day, list_sequence, institution, submitter) = RECORD_HEAD.unpack_from(body, RECORD_PLACE.size)
        extension = body[304:]
        if kind != 1 or not extension_len == record_extension_len == len(extension):
            raise ProtocolError("the server sent a RECORD that is no decision, or of another length than it says")
        transaction = Transaction.decode(body[RECORD_PLACE.size + RECORD_HEAD.size:304])
        return cls(_verdict(verdict), REASONS.get(reason, str(reason)), flags, score, payer_source, payee_source, policy, lsn,
                   decided_at, snapshot, overlay, rules, list_day, list_sequence, institution, _text(submitter), shard, epoch,
                   segment, block_offset, chain, transaction, extension)


@dataclass(frozen=True)
class ClusterState:
    """A node's part in its cluster; `durability` as in Welcome, `silence_ms` None where the other node was never heard."""
    primary: bool
    durability: int
    in_sync: bool
    connected: bool
    epoch: int
    node_id: bytes
    cluster_id: bytes
    peer_node_id: bytes
    behind_records: int
    behind_bytes: int
    silence_ms: Optional[int]
    primary_address: str
    peer_address: str

    @classmethod
    def decode(cls, body: bytes) -> "ClusterState":
        (role, durability, in_sync, connected, epoch, node, cluster, peer_node, records, count, silence_ms, primary, peer,
         _) = CLUSTER_STATE_BODY.unpack(body)
        if role not in (1, 2) or durability not in (1, 2, 3) or max(in_sync, connected) > 1:
            raise ProtocolError("the server sent a CLUSTER_STATE with a value that it can't have")
        return cls(role == 1, durability, in_sync == 1, connected == 1, epoch, node, cluster, peer_node, records, count,
                   None if silence_ms == (1 << 64) - 1 else silence_ms, _address(primary), _address(peer))


@dataclass(frozen=True)
class Reply:
    """The answer to one submitted transaction: a decision, or the error instead."""
    correlation: int
    decision: Optional[Decision] = None
    error: Optional[CatracaError] = None

    def result(self) -> Decision:
        """The decision; raises the error."""
        if self.decision is None:
            raise self.error or NoAnswer("no answer")
        return self.decision


def _verdict(code: int) -> Verdict:
    try:
        return Verdict(code)
    except ValueError:
        # Never a guess: what is no known verdict must not be taken for an approval.
        raise ProtocolError(f"the server sent the unknown verdict {code}") from None


def frame(kind: Kind, correlation: int, body: bytes) -> bytes:
    """A request as bytes."""
    return HEADER.pack(HEADER.size + len(body), kind, PROTOCOL_VERSION, 0, correlation) + body


def hello_frame(credential: str = "", name: str = "", in_flight: int = 0, correlation: int = 0) -> bytes:
    """HELLO as bytes."""
    token, client_name = credential.encode(), name.encode()
    if len(token) > 64 or len(client_name) > 40:
        raise FieldError("a credential has at most 64 bytes, a client's name at most 40")
    body = HELLO_BODY.pack(PROTOCOL_VERSION, PROTOCOL_VERSION, len(token), len(client_name), in_flight, token, client_name)
    return frame(Kind.HELLO, correlation, body)


def transaction_with_budget(transaction: bytes, budget_us: int) -> bytes:
    """An encoded transaction with another budget, which is no part of what makes two the same."""
    return transaction[:76] + struct.pack("<I", budget_us) + transaction[80:]


def submit_frame(transaction: bytes, correlation: int) -> bytes:
    """SUBMIT as bytes, of an encoded transaction."""
    return frame(Kind.SUBMIT, correlation, transaction + bytes(4))


def lookup_frame(transaction_id: str, payer: Optional[str] = None, correlation: int = 0, labels: bool = False) -> bytes:
    """LOOKUP as bytes. This client does not read the labels that come with `labels`."""
    document = canonical_document(payer).encode() if payer else b""
    return frame(Kind.LOOKUP, correlation, LOOKUP_BODY.pack(_checked_id(transaction_id), document, labels))


def cluster_frame(op: ClusterOp = ClusterOp.DESCRIBE, force: bool = False, correlation: int = 0) -> bytes:
    """CLUSTER as bytes."""
    return frame(Kind.CLUSTER, correlation, CLUSTER_BODY.pack(op, force, b""))


_LENGTHS = {Kind.WELCOME: (128, 128), Kind.VERDICT: (64, 64), Kind.RECORD: (320, MAX_REPLY_LEN), Kind.PONG: (24, 24),
            Kind.ERROR: (152, 152), Kind.CLUSTER_STATE: (256, 256)}


def reply_len(header: bytes) -> int:
    """The length of the reply that begins with these 16 bytes; raises ProtocolError for what no server sends to this client."""
    length, kind, version, _, _ = HEADER.unpack(header)
    low, high = _LENGTHS.get(kind, (1, 0))
    if version != PROTOCOL_VERSION or not low <= length <= high:
        raise ProtocolError(f"the server sent a frame of kind {kind}, version {version}, {length} bytes")
    return length


def decode_reply(raw: bytes) -> Tuple[int, Union[Welcome, Decision, StoredDecision, ClusterState, int, Refused]]:
    """The correlation of a reply and what it says; the server's clock in ns for PONG."""
    length, kind, _, flags, correlation = HEADER.unpack_from(raw)
    if reply_len(raw[:HEADER.size]) != len(raw):
        raise ProtocolError(f"a frame of {len(raw)} bytes says that it has {length}")
    body = raw[HEADER.size:]
    if kind == Kind.WELCOME:
        return correlation, Welcome.decode(body)
    if kind == Kind.VERDICT:
        return correlation, Decision.decode(body)
    if kind == Kind.RECORD:
        return correlation, StoredDecision.decode(body)
    if kind == Kind.PONG:
        return correlation, PING_BODY.unpack(body)[0]
    if kind == Kind.CLUSTER_STATE:
        return correlation, ClusterState.decode(body)
    code, detail_len, retry_after_ms, detail = ERROR_BODY.unpack(body)
    if detail_len > 128 or not 1 <= code <= len(ErrorCode):
        raise ProtocolError(f"the server sent an ERROR with code {code} and {detail_len} bytes of detail")
    return correlation, Refused(ErrorCode(code), retry_after_ms, detail[:detail_len].decode("utf-8", "replace"), bool(flags & 1))
