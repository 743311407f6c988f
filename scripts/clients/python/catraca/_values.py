"""What is asked and answered, as bytes and back. The layouts are those of wire/PROTOCOL.md."""

from __future__ import annotations

import enum
import ipaddress
import struct
import time
from dataclasses import dataclass, field
from typing import Optional

from catraca._documents import canonical_document
from catraca._errors import CatracaError, FieldError, NoAnswer, ProtocolError
from catraca._route import host_and_port

PROTOCOL_VERSION = 1
# The longest budget, and what 0 stands for.
MAX_BUDGET_US = 2_000_000
MAX_SCORE = 1_000
SUBMIT_LEN = 192

TRANSACTION = struct.Struct("<32s14s14sqQIBBHQQ16sQ16s8s8s16s")
WELCOME_BODY = struct.Struct("<BBBBI16s16sHHII48s12s")
VERDICT_BODY = struct.Struct("<BBHIQQHIQQBB")
RECORD_PLACE = struct.Struct("<IHHII32s")
RECORD_HEAD = struct.Struct("<BBHBBHBBBBIQQQQQHQH16s")
CLUSTER_STATE_BODY = struct.Struct("<BBBBI16s16s16sQQQ48s48s64s")
# The other node was never heard: a silence of this length.
NEVER = (1 << 64) - 1

# Codes grow with what is decided on: an unknown one is shown as its number.
REASONS = {
    0: "clear",
    1: "payer_listed",
    2: "payee_listed",
    3: "both_listed",
    4: "allowed",
    5: "rule",
    6: "score",
}


class Verdict(enum.IntEnum):
    """What was decided."""

    APPROVE = 1
    REVIEW = 2
    DENY = 3


class ClusterOp(enum.IntEnum):
    """What a CLUSTER frame asks for."""

    DESCRIBE = 1
    PROMOTE = 2
    GO_SOLO = 3


class Rail(enum.IntEnum):
    """Payment arrangement."""

    OTHER = 0
    PIX = 1
    TED = 2
    BOLETO = 3
    CARD = 4


class Channel(enum.IntEnum):
    """Where a transaction was started."""

    OTHER = 0
    APP = 1
    WEB = 2
    API = 3
    BRANCH = 4
    ATM = 5


def checked_id(text: str) -> bytes:
    """A transaction's id as bytes; raises FieldError."""
    raw = text.encode("utf-8")
    if not 1 <= len(raw) <= 32 or any(not 0x21 <= byte <= 0x7E for byte in raw):
        raise FieldError("a transaction id is 1 to 32 printable ASCII characters without spaces")
    return raw


@dataclass
class Transaction:
    """A payment to decide on. Keep it to send it again: with another event time it would be another
    transaction.

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
        """The 172 bytes of the wire; raises FieldError or DocumentError for what the server would
        refuse."""
        payer, payee = canonical_document(self.payer), canonical_document(self.payee)
        if not 0 < self.amount_centavos < 1 << 63:
            raise FieldError("an amount is at least 1 centavo, and fits 63 bits")
        if not 0 <= self.budget_us <= MAX_BUDGET_US:
            raise FieldError(f"a budget is 0 to {MAX_BUDGET_US} microseconds")
        if self.rail not in list(Rail) or self.channel not in list(Channel):
            raise FieldError("rail and channel are codes of Rail and Channel")
        if len(self.pix_key) != 16 or len(self.trace_id) != 16:
            raise FieldError("pix_key and trace_id have 16 bytes")
        for ispb in (self.payer_ispb, self.payee_ispb):
            if ispb and not (len(ispb) == 8 and ispb.isascii() and ispb.isalnum()):
                raise FieldError("an ISPB is 8 ASCII letters or digits, or empty")
        try:
            return TRANSACTION.pack(
                checked_id(self.id),
                payer.encode(),
                payee.encode(),
                self.amount_centavos,
                self.event_time_ns,
                self.budget_us,
                self.rail,
                self.channel,
                self.flags,
                self.payer_account,
                self.payee_account,
                self.pix_key,
                self.device,
                _packed_ip(self.ip),
                self.payer_ispb.encode(),
                self.payee_ispb.encode(),
                self.trace_id,
            )
        except struct.error as error:
            raise FieldError(f"a number does not fit its field: {error}") from error

    @classmethod
    def decode(cls, raw: bytes) -> Transaction:
        """From the 172 bytes of the wire."""
        (
            id_,
            payer,
            payee,
            amount,
            event_time,
            budget,
            rail,
            channel,
            flags,
            payer_account,
            payee_account,
            pix_key,
            device,
            address,
            payer_ispb,
            payee_ispb,
            trace_id,
        ) = TRANSACTION.unpack(raw)
        parsed = ipaddress.IPv6Address(address)
        return cls(
            text_of(id_),
            text_of(payer),
            text_of(payee),
            amount,
            event_time,
            budget,
            rail,
            channel,
            flags,
            payer_account,
            payee_account,
            pix_key,
            device,
            None if address == bytes(16) else str(parsed.ipv4_mapped or parsed),
            text_of(payer_ispb),
            text_of(payee_ispb),
            trace_id,
        )

    def __repr__(self) -> str:
        # Without documents, which no log should get.
        return f"Transaction(id={self.id!r}, amount_centavos={self.amount_centavos})"


@dataclass(frozen=True)
class Welcome:
    """What the server says of itself. `durability`: 1 on one disk, 2 on both, 3 on one for now."""

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
    def decode(cls, body: bytes) -> Welcome:
        """From a WELCOME's body; raises ProtocolError."""
        (version, role, durability, _, epoch, node, cluster, shards, _, max_frame, in_flight,
         primary, _) = WELCOME_BODY.unpack(body)  # fmt: skip
        bounded = shards > 0 and in_flight > 0 and max_frame >= SUBMIT_LEN
        if version != PROTOCOL_VERSION or not _is_place(role, durability) or not bounded:
            raise ProtocolError("the server sent a WELCOME with a value that it can't have")
        return cls(version, role == 1, durability, epoch, node, cluster, shards, max_frame,
                   in_flight, _address_of(primary))  # fmt: skip


@dataclass(frozen=True)
class AuthState:
    """A token counts. `expires_at_ns`: until when, nanoseconds since 1970 UTC; 0 for no end."""

    expires_at_ns: int


@dataclass(frozen=True)
class Decision:
    """What was decided. The record lies at `lsn` of stream `shard`; `receipt` proves later that it
    was not altered."""

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
    def decode(cls, body: bytes) -> Decision:
        """From a VERDICT's body; raises ProtocolError."""
        (verdict, flags, score, policy, blacklist, rules, shard, epoch, lsn, receipt, reason,
         _) = VERDICT_BODY.unpack(body)  # fmt: skip
        shown = bool(flags & 1), bool(flags & 2), bool(flags & 4)
        return cls(_verdict(verdict), *shown, _score(score), policy, blacklist, rules, shard, epoch,
                   lsn, receipt, REASONS.get(reason, str(reason)))  # fmt: skip


@dataclass(frozen=True)
class StoredDecision:
    """A stored decision with its transaction, documents in full: personal data. `list_day` is in
    days since 1970-01-01; 0 unknown."""

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
    def decode(cls, body: bytes) -> StoredDecision:
        """From a RECORD's body; raises ProtocolError."""
        epoch, shard, extension_len, segment, block_offset, chain = RECORD_PLACE.unpack_from(body)
        head = RECORD_HEAD.unpack_from(body, RECORD_PLACE.size)
        (kind, version, record_extension_len, verdict, flags, score, reason, payer_source,
         payee_source, _, policy, lsn, decided_at, snapshot, overlay, rules, list_day,
         list_sequence, institution, submitter) = head  # fmt: skip
        begins = RECORD_PLACE.size + RECORD_HEAD.size
        extension = body[begins + TRANSACTION.size :]
        lengths = extension_len == record_extension_len == len(extension)
        if kind != 1 or version != 1 or not lengths:
            raise ProtocolError(
                "the server sent a RECORD that is no decision, or of another length"
            )
        transaction = Transaction.decode(body[begins : begins + TRANSACTION.size])
        return cls(_verdict(verdict), REASONS.get(reason, str(reason)), flags, _score(score),
                   payer_source, payee_source, policy, lsn, decided_at, snapshot, overlay, rules,
                   list_day, list_sequence, institution, text_of(submitter), shard, epoch, segment,
                   block_offset, chain, transaction, extension)  # fmt: skip


@dataclass(frozen=True)
class ClusterState:
    """A node's part in its cluster; `durability` as in Welcome, `silence_ms` None where the other
    node was never heard."""

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
    def decode(cls, body: bytes) -> ClusterState:
        """From a CLUSTER_STATE's body; raises ProtocolError."""
        (role, durability, in_sync, connected, epoch, node, cluster, peer_node, records, count,
         silence_ms, primary, peer, _) = CLUSTER_STATE_BODY.unpack(body)  # fmt: skip
        if not _is_place(role, durability) or max(in_sync, connected) > 1:
            raise ProtocolError("the server sent a CLUSTER_STATE with a value that it can't have")
        return cls(role == 1, durability, in_sync == 1, connected == 1, epoch, node, cluster,
                   peer_node, records, count, None if silence_ms == NEVER else silence_ms,
                   _address_of(primary), _address_of(peer))  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """The answer to one submitted transaction: a decision, or the error instead."""

    correlation: int
    decision: Optional[Decision] = None
    error: Optional[CatracaError] = None

    def result(self) -> Decision:
        """The decision; raises the error."""
        if self.decision is None:
            raise self.error or NoAnswer("there is none")
        return self.decision


def text_of(raw: bytes) -> str:
    """What stands before the zeros at a field's end."""
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _address_of(raw: bytes) -> str:
    """An address that a server names: printable ASCII that is a host and a port, because it is
    printed and connected to. Anything else counts as none."""
    text = text_of(raw)
    try:
        host_and_port(text)
    except FieldError:
        return ""
    return text


def _packed_ip(text: Optional[str]) -> bytes:
    if not text:
        return bytes(16)
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError as error:
        raise FieldError(str(error)) from error
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def _is_place(role: int, durability: int) -> bool:
    return role in (1, 2) and durability in (1, 2, 3)


def _score(score: int) -> int:
    if score > MAX_SCORE:
        raise ProtocolError(f"the server sent a score of {score}")
    return score


def _verdict(code: int) -> Verdict:
    try:
        return Verdict(code)
    except ValueError:
        # Never a guess: what is no known verdict must not be taken for an approval.
        raise ProtocolError(f"the server sent the unknown verdict {code}") from None
