"""What both clients have in common: what they take, and what they say of themselves."""

from __future__ import annotations

import ssl
import time
from typing import Optional, Sequence, Type, TypeVar, Union

from catraca._errors import CatracaError, FieldError, ProtocolError
from catraca._exchange import Exchange, Outcome, Request
from catraca._frames import Kind, cluster_body, lookup_body, token_frames
from catraca._options import Options, Timing
from catraca._tls import Tls
from catraca._values import ClusterOp, Decision, Reply, Welcome

T = TypeVar("T")


class BaseClient:
    """A connection to a catraca server, kept alive over failures.

    `address` is host:port, or several of them in order of preference. `role` "primary" leaves a
    standby for the node that decides, and follows when another one becomes it; "any" stays with
    the first that answers, which is enough to look up. `credential` is the token that the operator
    gave, or an access token of an issuer, of which `renew` takes a newer one; `name` is that of
    this program. `in_flight` 0 leaves to the server how many frames may be
    unanswered. `answer_timeout_s` is the longest wait for an answer; a transaction's budget and
    half a second where that is less. `lazy` leaves connecting to the first request, which waits for
    a primary as long as for its answer. With `tls` every connection is secure. `timing` is for
    tests.
    """

    def __init__(
        self,
        address: Union[str, Sequence[str]] = "127.0.0.1:7400",
        *,
        role: str = "primary",
        credential: str = "",
        name: str = "",
        in_flight: int = 0,
        connect_timeout_s: float = 2.0,
        answer_timeout_s: float = 2.5,
        reconnect_base_s: float = 0.05,
        reconnect_max_s: float = 2.0,
        lazy: bool = False,
        tls: Optional[Tls] = None,
        timing: Optional[Timing] = None,
    ) -> None:
        times_s = connect_timeout_s, answer_timeout_s, reconnect_base_s, reconnect_max_s
        secure = tls is not None
        options = Options.checked(
            address, role, credential, name, in_flight, times_s, secure, timing
        )
        self._context: Optional[ssl.SSLContext] = tls.context() if tls else None
        self._is_lazy = lazy
        self._exchange = Exchange(options, time.monotonic())
        self._begin()

    def _begin(self) -> None:
        """Whatever a client has besides."""
        raise NotImplementedError

    @property
    def welcome(self) -> Welcome:
        """What the server said of itself, on the latest connection."""
        if self._exchange.welcome is None:
            raise FieldError("there was no connection yet")
        return self._exchange.welcome

    @property
    def token_expires_at_ns(self) -> Optional[int]:
        """Until when the token of the connection in use counts, nanoseconds since 1970 UTC: then
        the server closes it, unless `renew` was called before. None for a credential without an
        end, and without a connection."""
        connection = self._exchange.connection
        return connection.expires_at_ns or None if connection else None

    def __repr__(self) -> str:
        # Without the credential, and what is unanswered.
        return f"{type(self).__name__}({', '.join(self._exchange.options.addresses)})"


def answer_of(outcome: Outcome, answered_by: Type[T]) -> T:
    """What answers a request; raises the error that it ended with instead."""
    if isinstance(outcome, answered_by):
        return outcome
    raise outcome if isinstance(outcome, CatracaError) else ProtocolError("that is another answer")


def reply_of(correlation: int, outcome: Outcome) -> Reply:
    """How a submitted transaction ended."""
    if isinstance(outcome, Decision):
        return Reply(correlation, decision=outcome)
    if isinstance(outcome, CatracaError):
        return Reply(correlation, error=outcome)
    return Reply(correlation, error=ProtocolError("that is another answer"))


def lookup(transaction_id: str, payer: Optional[str]) -> Request:
    """LOOKUP as a request."""
    return Request(Kind.LOOKUP, lookup_body(transaction_id, payer))


def cluster(op: ClusterOp, force: bool) -> Request:
    """CLUSTER as a request."""
    return Request(Kind.CLUSTER, cluster_body(op, force))


def renewal(token: str) -> Request:
    """AUTH as a request."""
    body = token.encode()
    token_frames(body, 0)
    return Request(Kind.AUTH, body)


def ping() -> Request:
    """PING as a request."""
    return Request(Kind.PING, bytes(8))
