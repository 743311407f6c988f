"""Frames of the client protocol as bytes and back, wire/PROTOCOL.md version 1. No socket here."""

from __future__ import annotations

import enum
import struct
from typing import Optional, Tuple, Union

from catraca._documents import canonical_document
from catraca._errors import ErrorCode, FieldError, ProtocolError, Refused
from catraca._values import (
    PROTOCOL_VERSION,
    AuthState,
    ClusterOp,
    ClusterState,
    Decision,
    StoredDecision,
    Welcome,
    checked_id,
)

# The longest reply of the kinds that this client asks for: a RECORD with the longest extension.
MAX_REPLY_LEN = 320 + 4096
# Where a transaction's budget lies.
BUDGET_AT = 76

HEADER = struct.Struct("<IBBHQ")
HELLO_BODY = struct.Struct("<BBBBI64s40s")
LOOKUP_BODY = struct.Struct("<32s14sBx")
PING_BODY = struct.Struct("<Q")
CLUSTER_BODY = struct.Struct("<BB6s")
ERROR_BODY = struct.Struct("<HHI128s")
AUTH_BODY = struct.Struct("<HH4x488s")
AUTH_STATE_BODY = struct.Struct("<Q8x")
DETAIL_LEN = 128
# The longest credential within HELLO; a longer one comes in AUTH frames behind it, with this flag.
CREDENTIAL_LEN = 64
FLAG_AUTH = 1
TOKEN_LEN = 8192
PART_LEN = 488

#: What a reply says; the server's clock in ns for PONG.
Answer = Union[Welcome, Decision, StoredDecision, ClusterState, AuthState, int, Refused]


class Kind(enum.IntEnum):
    """What a frame is, of the kinds that this client speaks."""

    HELLO = 1
    WELCOME = 2
    SUBMIT = 3
    VERDICT = 4
    LOOKUP = 5
    RECORD = 6
    PING = 11
    PONG = 12
    ERROR = 13
    CLUSTER = 14
    CLUSTER_STATE = 15
    AUTH = 26
    AUTH_STATE = 27


LENGTHS = {
    Kind.WELCOME: (128, 128),
    Kind.VERDICT: (64, 64),
    Kind.RECORD: (320, MAX_REPLY_LEN),
    Kind.PONG: (24, 24),
    Kind.ERROR: (152, 152),
    Kind.CLUSTER_STATE: (256, 256),
    Kind.AUTH_STATE: (32, 32),
}


def frame(kind: int, correlation: int, body: bytes, flags: int = 0) -> bytes:
    """A request as bytes."""
    length = HEADER.size + len(body)
    return HEADER.pack(length, kind, PROTOCOL_VERSION, flags, correlation) + body


def hello_frame(
    credential: str = "", name: str = "", in_flight: int = 0, correlation: int = 0
) -> bytes:
    """HELLO as bytes, and behind it a credential that it has no room for."""
    token, client_name = credential.encode(), name.encode()
    if len(token) > TOKEN_LEN or len(client_name) > 40:
        raise FieldError(f"a credential has at most {TOKEN_LEN} bytes, a client's name at most 40")
    shown = token if len(token) <= CREDENTIAL_LEN else b""
    lengths = len(shown), len(client_name)
    versions = PROTOCOL_VERSION, PROTOCOL_VERSION
    body = HELLO_BODY.pack(*versions, *lengths, in_flight, shown, client_name)
    if shown == token:
        return frame(Kind.HELLO, correlation, body)
    return frame(Kind.HELLO, correlation, body, FLAG_AUTH) + token_frames(token, correlation)


def token_frames(token: bytes, correlation: int) -> bytes:
    """A token in AUTH frames, of which the last one is answered."""
    if not 1 <= len(token) <= TOKEN_LEN:
        raise FieldError(f"a token has 1 to {TOKEN_LEN} bytes")
    parts = range(0, len(token), PART_LEN)
    bodies = (AUTH_BODY.pack(len(token), at, token[at : at + PART_LEN]) for at in parts)
    return b"".join(frame(Kind.AUTH, correlation, body) for body in bodies)


def with_budget(transaction: bytes, budget_us: int) -> bytes:
    """An encoded transaction with another budget, which is no part of what makes two the same."""
    return transaction[:BUDGET_AT] + struct.pack("<I", budget_us) + transaction[BUDGET_AT + 4 :]


def submit_body(transaction: bytes) -> bytes:
    """SUBMIT's body, of an encoded transaction."""
    return transaction + bytes(4)


def lookup_body(transaction_id: str, payer: Optional[str] = None) -> bytes:
    """LOOKUP's body, without the labels."""
    document = canonical_document(payer).encode() if payer else b""
    return LOOKUP_BODY.pack(checked_id(transaction_id), document, 0)


def cluster_body(op: ClusterOp = ClusterOp.DESCRIBE, force: bool = False) -> bytes:
    """CLUSTER's body."""
    return CLUSTER_BODY.pack(op, force, b"")


def reply_len(header: bytes) -> int:
    """The length of the reply that begins with these 16 bytes; raises ProtocolError for what no
    server sends to this client."""
    length, kind, version, _, _ = HEADER.unpack_from(header)
    low, high = LENGTHS.get(kind, (1, 0))
    if version != PROTOCOL_VERSION or not low <= length <= high:
        said = f"kind {kind}, version {version}, {length} bytes"
        raise ProtocolError(f"the server sent a frame of {said}")
    return int(length)


def decode_reply(raw: bytes) -> Tuple[int, Answer]:
    """The correlation of a whole reply, and what it says."""
    length, kind, _, flags, correlation = HEADER.unpack_from(raw)
    if reply_len(raw) != len(raw):
        raise ProtocolError(f"a frame of {len(raw)} bytes says that it has {length}")
    return correlation, _decode(kind, flags, raw[HEADER.size :])


def _decode(kind: int, flags: int, body: bytes) -> Answer:
    if kind == Kind.WELCOME:
        return Welcome.decode(body)
    if kind == Kind.VERDICT:
        return Decision.decode(body)
    if kind == Kind.RECORD:
        return StoredDecision.decode(body)
    if kind == Kind.PONG:
        return int(PING_BODY.unpack(body)[0])
    if kind == Kind.CLUSTER_STATE:
        return ClusterState.decode(body)
    if kind == Kind.AUTH_STATE:
        return AuthState(int(AUTH_STATE_BODY.unpack(body)[0]))
    code, detail_len, retry_after_ms, detail = ERROR_BODY.unpack(body)
    if detail_len > DETAIL_LEN or not 1 <= code <= len(ErrorCode):
        raise ProtocolError(
            f"the server sent an ERROR of code {code}, {detail_len} bytes of detail"
        )
    text = detail[:detail_len].decode("utf-8", "replace")
    return Refused(ErrorCode(code), retry_after_ms, text, bool(flags & 1))


class Inbox:
    """Bytes that come in any pieces, as replies. It holds what is not a whole reply yet, and no
    more than was fed at once beside it."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what has come."""
        self._bytes += data

    def next(self) -> Optional[Tuple[int, Answer]]:
        """The next reply, if it is whole. Its length and kind are checked before it is waited
        for."""
        if len(self._bytes) < HEADER.size:
            return None
        length = reply_len(bytes(self._bytes[: HEADER.size]))
        if len(self._bytes) < length:
            return None
        raw = bytes(self._bytes[:length])
        del self._bytes[:length]
        return decode_reply(raw)
