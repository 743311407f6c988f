"""Whatever fails in this package, and what that means for the transaction."""

from __future__ import annotations

import enum


class Recorded(enum.Enum):
    """Whether the server has a decision on a transaction that was refused or not answered."""

    #: This sending recorded nothing, and no earlier one of this call can have.
    NO = "no"
    #: Send the same transaction again to learn which decision stands.
    PERHAPS = "perhaps"
    #: There is a decision; the same transaction, sent again, gets it.
    YES = "yes"


class ErrorCode(enum.IntEnum):
    """Why the server refused; PROTOCOL.md says for each what to do next."""

    BAD_FRAME = 1
    BAD_DOCUMENT = 2
    BAD_FIELD = 3
    UNSUPPORTED_VERSION = 4
    UNAUTHENTICATED = 5
    FORBIDDEN = 6
    NOT_PRIMARY = 7
    OVERLOADED = 8
    DEADLINE = 9
    UNCONFIRMED = 10
    ID_REUSED = 11
    RATE_LIMITED = 12
    DISK_FULL = 13
    SHUTTING_DOWN = 14
    NOT_FOUND = 15
    FAILED = 16
    LATE = 17


class CatracaError(Exception):
    """Whatever this package raises on purpose. None of these is ever an approval."""

    @property
    def recorded(self) -> Recorded:
        """Whether there may be a decision all the same."""
        return Recorded.PERHAPS


class _NothingSent(CatracaError):
    @property
    def recorded(self) -> Recorded:
        return Recorded.NO


class DocumentError(_NothingSent, ValueError):
    """A text is no CPF or CNPJ; `reason` is length, character, check_digit, repeated_digit or
    masked. Nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            {
                "length": "a document has 11 (CPF) or 14 (CNPJ) characters",
                "character": "a character that a document can't have in that place",
                "check_digit": "the check digits are wrong",
                "repeated_digit": "one digit repeated throughout is no document",
                "masked": "the document is masked",
            }[reason]
        )
        self.reason = reason


class FieldError(_NothingSent, ValueError):
    """A field or an argument has a value that it can't have. Nothing was sent."""


class ConnectError(_NothingSent, ConnectionError):
    """No node took the request. It was never sent."""


class NoPrimary(ConnectError):
    """Nodes were reached, and none of them decides. The request was never sent."""


class NoAnswer(CatracaError):
    """The request was sent and got no answer in time. Send the same transaction again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no answer: {why}; it may have been done, so send it again as it was")


class ProtocolError(CatracaError):
    """The server sent what it must not send."""


class Refused(CatracaError):
    """The server's ERROR: `code`, `retry_after_ms` (0 where that makes no sense, or at once will
    do), `detail` for a person, and whether the server closes the connection after it."""

    def __init__(
        self,
        code: ErrorCode,
        retry_after_ms: int,
        detail: str,
        closing: bool,
        doubtful: bool = False,
    ) -> None:
        text = "".join(c if c.isprintable() else " " for c in detail)
        again = f" (try again after {retry_after_ms} ms)" if retry_after_ms else ""
        super().__init__(f"{code.name}: {text}{again}")
        self.code, self.retry_after_ms, self.detail = code, retry_after_ms, detail
        self.closing = closing
        self._doubtful = doubtful

    @property
    def recorded(self) -> Recorded:
        """What the code means. BAD_FIELD is PERHAPS: the transaction's time may lie before what the
        server remembers. So is whatever was sent before in this call and got no answer."""
        if self.code == ErrorCode.LATE:
            return Recorded.YES
        if self._doubtful or self.code in (ErrorCode.UNCONFIRMED, ErrorCode.BAD_FIELD):
            return Recorded.PERHAPS
        return Recorded.NO

    def after_doubt(self) -> Refused:
        """The same where an earlier sending got no answer."""
        return Refused(self.code, self.retry_after_ms, self.detail, self.closing, True)

    @property
    def is_final(self) -> bool:
        """Another attempt to connect can't change it."""
        return self.code in (
            ErrorCode.UNAUTHENTICATED,
            ErrorCode.UNSUPPORTED_VERSION,
            ErrorCode.BAD_FRAME,
        )
