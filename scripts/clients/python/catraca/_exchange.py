"""What is unanswered, and the promise about it: each request gets its answer, over as many
connections as that takes, or is given up when its time is over. No I/O and no clock: both clients
drive this one, the waiting and the one for asyncio.

    now ──▶ add, advance                       to_open, to_close ──▶ connections
    bytes and failures ──▶ received, failed    Link.output       ──▶ bytes
                                               ended, wake_at    ──▶ who waits
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, List, Optional, Tuple, Type, Union

from catraca._errors import (
    CatracaError,
    ConnectError,
    ErrorCode,
    FieldError,
    NoAnswer,
    NoPrimary,
    ProtocolError,
    Recorded,
    Refused,
)
from catraca._frames import Answer, Kind, frame, submit_body, token_frames, with_budget
from catraca._options import MAX_IN_FLIGHT, Options
from catraca._recovery import NEVER_S, Recovery
from catraca._values import (
    MAX_BUDGET_US,
    AuthState,
    ClusterState,
    Decision,
    StoredDecision,
    Transaction,
)

# How long after a transaction's budget its answer is waited for: the way to the server and back.
ANSWER_GRACE_S = 0.5
# A wait that takes nothing from a budget worth telling the server.
UNNOTICED_S = 0.001
# Requests that wait at most, those included that have not been sent: bounds the memory.
MAX_UNANSWERED = 2 * MAX_IN_FLIGHT
# Of a token: it is none, or somebody else's. Any other refusal says nothing of it.
REFUSES_TOKEN = (ErrorCode.UNAUTHENTICATED, ErrorCode.FORBIDDEN)
# Less of a budget is none: the server counts whole microseconds.
LEAST_BUDGET_S = 1e-6

#: How a request ends.
Outcome = Union[Decision, StoredDecision, ClusterState, AuthState, int, CatracaError]
#: What answers each request.
ANSWERED_BY: Dict[Kind, Type[object]] = {
    Kind.SUBMIT: Decision,
    Kind.LOOKUP: StoredDecision,
    Kind.PING: int,
    Kind.CLUSTER: ClusterState,
    Kind.AUTH: AuthState,
}


@dataclass
class Request:
    """A request that has not ended; `body` of SUBMIT is the encoded transaction, and of AUTH the
    token."""

    kind: Kind
    #: Not shown, because it has documents, or is a secret.
    body: bytes = field(repr=False)
    #: Its budget, and when that is over; None where it has none.
    budget_s: Optional[float] = None
    budget_end: Optional[float] = None
    #: How often it went out, on any connection; and whether on the one in use.
    sendings: int = 0
    sent: bool = False
    #: When to stop waiting for its answer.
    deadline: float = NEVER_S
    #: The caller does not wait any more. It keeps its place until it is answered, because the
    #: server counts it.
    abandoned: bool = False

    def due(self) -> float:
        """When it ends without an answer. What can't be sent has no answer to wait for."""
        if self.sent or self.budget_end is None:
            return self.deadline
        return min(self.deadline, self.budget_end)


class Deciding:
    """The sendings of one transaction: with `decide` again after OVERLOADED and RATE_LIMITED, as
    long as its budget lasts."""

    def __init__(self, transaction: Transaction) -> None:
        self._body = transaction.encode()
        self._budget_s = (transaction.budget_us or MAX_BUDGET_US) / 1e6
        self._budget_end = NEVER_S
        self._sendings = 0

    def begin(self, now: float) -> None:
        """Its budget counts from here."""
        self._budget_end = now + self._budget_s

    def request(self) -> Request:
        """To be sent next."""
        return Request(
            Kind.SUBMIT, self._body, self._budget_s, self._budget_end, sendings=self._sendings
        )

    def pause_s(self, error: CatracaError, now: float) -> float:
        """How long to wait before it is sent again; raises the error that is the end of it."""
        if not isinstance(error, Refused):
            raise error
        pause_s = max(error.retry_after_ms, 1) / 1e3
        again = error.code in (ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED)
        if not again or self._budget_end - now <= pause_s:
            raise error
        # One of them that got no answer stays in doubt.
        self._sendings = 1 if error.recorded == Recorded.PERHAPS else 0
        return pause_s


class Exchange(Recovery):
    """Requests by their correlations, in the order in which they came."""

    def __init__(self, options: Options, now: float) -> None:
        super().__init__(options, now)
        self._unanswered: Dict[int, Request] = {}
        # To be sent on this connection, oldest first; some may have ended.
        self._unsent: Deque[int] = deque()
        # How many went out on this connection and are not answered.
        self._carried = 0
        # The AUTH that this connection has not answered, given up or not, and what connections
        # begin with once it is accepted. A server takes no second one before that.
        self._auth: Optional[Tuple[int, bytes]] = None
        # No request is due before this. Saves looking through all at each answer.
        self._earliest = NEVER_S
        self._next_correlation = 1
        #: Requests that have ended, and how; who drives this tells who waits.
        self.ended: Dict[int, Outcome] = {}

    def __len__(self) -> int:
        return len(self._unanswered)

    def add(self, request: Request, now: float) -> int:
        """Takes a request, and gives its correlation; raises what keeps it from being taken."""
        if self.is_ended:
            raise ConnectError("the client was closed")
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise FieldError(f"{MAX_UNANSWERED} requests wait for their answers already")
        request.deadline = now + self.options.answer_timeout_s
        if request.budget_end is not None:
            request.deadline = min(request.deadline, request.budget_end + ANSWER_GRACE_S)
        correlation = self._next_correlation
        self._next_correlation += 1
        self._unanswered[correlation] = request
        self._unsent.append(correlation)
        self._earliest = min(self._earliest, request.due())
        return correlation

    def abandon(self, correlation: int) -> None:
        """The caller does not wait for it any more."""
        request = self._unanswered.get(correlation)
        if request is None:
            return
        request.abandoned = True
        if not request.sent:
            del self._unanswered[correlation]

    def advance(self, now: float) -> None:
        """Does what is to be done by now. What has come is to be given before: it counts however
        late it is read."""
        self._end_expired(now)
        self.connect_if_wanted(now)
        self._send_unsent(now)
        self.look_elsewhere(now)

    def wake_at(self) -> float:
        """When something is to be done although nothing happens."""
        return min(self._earliest, self.acts_at())

    def end(self) -> None:
        """Gives up everything, and connects no more."""
        self.is_ended = True
        for correlation, request in list(self._unanswered.items()):
            why = "the client was closed"
            self._finish(correlation, NoAnswer(why) if request.sendings else ConnectError(why))
        for link in (self.connection, self.attempt):
            if link is not None:
                self.to_close.append(link)
        self.connection = self.attempt = None
        self._forget_looks()
        self._tell_first(ConnectError("the client was closed"))

    @property
    def limit(self) -> int:
        """How many may be unanswered on the connection."""
        mine = self.options.in_flight or MAX_IN_FLIGHT
        return min(mine, self.welcome.in_flight) if self.welcome else mine

    def is_owed(self) -> bool:
        return bool(self._unanswered)

    def carries(self) -> bool:
        return self._carried > 0

    def send_all_again(self) -> None:
        self._carried, self._auth = 0, None
        for correlation, request in list(self._unanswered.items()):
            request.sent = False
            if request.abandoned:
                del self._unanswered[correlation]
            else:
                self._earliest = min(self._earliest, request.due())
        self._unsent = deque(self._unanswered)

    def give_up(self, error: CatracaError) -> None:
        for correlation, request in list(self._unanswered.items()):
            self._finish(correlation, NoAnswer(str(error)) if request.sendings else error)

    def accept(self, correlation: int, answer: Answer) -> None:
        request = self._unanswered.get(correlation)
        refused = answer if isinstance(answer, Refused) else None
        if request is None and refused is not None and refused.closing:
            raise refused
        if request is None and self._is_late_renewal(correlation, answer):
            self._renewed(answer)
            return
        answers = request is not None and request.sent
        if request is None or not answers or not _is_answer(request, answer):
            raise ProtocolError(f"the server answered {correlation} with what nothing asked for")
        if refused is not None and self.goes_elsewhere(refused.code):
            # Not answered yet: it goes to another node with the others.
            raise refused
        self._failures, self._last_failure = 0, ""
        if request.kind == Kind.AUTH:
            self._renewed(answer)
        if refused is None:
            self._finish(correlation, _outcome(answer))
            return
        self._doubtful |= refused.code == ErrorCode.UNCONFIRMED
        self._finish(correlation, refused.after_doubt() if request.sendings > 1 else refused)
        if refused.closing:
            raise refused

    def _is_late_renewal(self, correlation: int, answer: Answer) -> bool:
        waits = self._auth is not None and self._auth[0] == correlation
        return waits and isinstance(answer, (AuthState, Refused))

    def _renewed(self, answer: Answer) -> None:
        """The server has answered AUTH. Where it could not check the newer token, that may be
        good."""
        assert self._auth is not None, "it was sent over this connection"
        greeting, self._auth = self._auth[1], None
        if isinstance(answer, AuthState):
            self.hello = greeting
            if self.connection is not None:
                self.connection.expires_at_ns = answer.expires_at_ns
        elif isinstance(answer, Refused) and answer.code not in REFUSES_TOKEN:
            return
        if self.newer == greeting:
            self.newer = None

    def _send_unsent(self, now: float) -> None:
        """Sends what this connection has not carried yet, as far as its limit allows."""
        held: List[int] = []
        while self.connection is not None and self._unsent and self._carried < self.limit:
            correlation = self._unsent.popleft()
            request = self._unanswered.get(correlation)
            if request is None:
                continue
            body = request.body
            if request.kind == Kind.AUTH:
                if self._auth is not None:
                    held.append(correlation)
                    continue
                # Not counted: it may wait for somebody else, the issuer, and says nothing of the
                # node.
                self._auth = correlation, self.greeting(body.decode())
                request.sent = True
                request.sendings += 1
                self.connection.output += token_frames(body, correlation)
                continue
            if request.budget_s is not None and request.budget_end is not None:
                left_s = request.budget_end - now
                if left_s < LEAST_BUDGET_S:
                    # Sent now it could be decided after its budget: it is over.
                    self._expire(correlation, request)
                    continue
                # One that was sent before, or waited, has less than it began with.
                if request.sendings or left_s < request.budget_s - UNNOTICED_S:
                    body = with_budget(body, int(left_s * 1e6))
                body = submit_body(body)
            request.sent = True
            request.sendings += 1
            if self._carried == 0:
                self._quiet_since = now
            self._carried += 1
            self.connection.output += frame(request.kind, correlation, body)
        self._unsent.extendleft(reversed(held))

    def _end_expired(self, now: float) -> None:
        """Ends what is due. What went out and got nothing says that the connection is dead,
        although nobody told us; but for AUTH."""
        if now < self._earliest:
            return
        dead = False
        for correlation, request in list(self._unanswered.items()):
            if request.due() <= now:
                dead |= request.sent and request.kind != Kind.AUTH
                self._expire(correlation, request)
        if dead and self.connection is not None:
            self._lose(ConnectError("the server did not answer in time"), now)
        dues = (request.due() for request in self._unanswered.values())
        self._earliest = min(dues, default=NEVER_S)

    def _expire(self, correlation: int, request: Request) -> None:
        said = self._route.no_primary()
        why = said or self._last_failure or "the time for it is over"
        if request.sendings:
            self._finish(correlation, NoAnswer(why))
        else:
            kind = NoPrimary if said else ConnectError
            self._finish(correlation, kind(f"not sent: {why}"))

    def _finish(self, correlation: int, outcome: Outcome) -> None:
        request = self._unanswered.pop(correlation)
        self._carried -= request.sent and request.kind != Kind.AUTH
        if not request.abandoned:
            self.ended[correlation] = outcome


def _is_answer(request: Request, answer: Answer) -> bool:
    return isinstance(answer, (Refused, ANSWERED_BY[request.kind]))


def _outcome(answer: Answer) -> Outcome:
    if isinstance(answer, (Decision, StoredDecision, ClusterState, AuthState, int)):
        return answer
    raise ProtocolError("the server sent what answers nothing")
