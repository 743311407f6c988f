"""The client: what is unanswered, and the promise about it. Python 3.9 and later, standard library only."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, Optional, Sequence, Tuple, Union

from catraca._connection import Connection, Lookout, Route
from catraca._frames import (
    HEADER, MAX_BUDGET_US, CatracaError, ClusterOp, ClusterState, ConnectError, Decision,
    ErrorCode, FieldError, Kind, NoAnswer, NoPrimary, ProtocolError, Refused, Reply,
    StoredDecision, Transaction, Welcome, cluster_frame, frame, hello_frame, lookup_frame,
    submit_frame, transaction_with_budget)

# How long after a transaction's budget its answer is waited for: the way to the server and back.
ANSWER_GRACE_S = 0.5
# Unanswered frames kept, whatever the server would allow, and replies not received yet: bounds the memory.
MAX_IN_FLIGHT = 65_536
# Servers that name another one as the primary, followed without a pause: more of them lead nowhere.
MAX_HOPS = 4
# How long nothing at all comes from a node that owes something until it is looked whether there is another primary: far above the
# pauses of a healthy disk, and a quarter of the longest budget. A connection attempt has as long where there is another address.
SILENCE_S = 0.5
# How often that is looked at most, and how long an address has for its WELCOME: less, so that one round is over before the next.
LOOK_EVERY_S = 1.0
LOOK_TIME_S = 0.5
# How soon it is seen what came of a look: it is over in a few milliseconds mostly.
LOOK_STEP_S = 0.01
# The requests besides SUBMIT, by the type of their answers.
ASKED_WITH = {StoredDecision: Kind.LOOKUP, int: Kind.PING, ClusterState: Kind.CLUSTER}


@dataclass
class _Unanswered:
    body: bytes
    answered_by: type
    deadline: float
    budget_end: Optional[float] = None
    sent: bool = False
    # Some of its budget is over when it is sent: it was sent before, or waited for a connection.
    shortened: bool = False


class Client:
    """A connection to a catraca server, kept alive over failures; usable with `with`.

    `address` is host:port, or several of them in order of preference. `role` "primary" leaves a standby for the node that decides,
    and follows when another one becomes it; "any" stays with the first that answers, which is enough to look up. `in_flight` 0
    leaves it to the server. `lazy` leaves connecting to the first request, which waits for a primary as long as for its answer.
    """

    def __init__(self, address: Union[str, Sequence[str]] = "127.0.0.1:7400", *, role: str = "primary", credential: str = "",
                 name: str = "", in_flight: int = 0, connect_timeout_s: float = 2.0, answer_timeout_s: float = 2.5,
                 reconnect_attempts: int = 10, reconnect_base_s: float = 0.05, reconnect_max_s: float = 2.0,
                 lazy: bool = False) -> None:
        addresses = [address] if isinstance(address, str) else list(address)
        if not addresses or role not in ("primary", "any"):
            raise FieldError("give an address, and a role of primary or any")
        if not 0 <= in_flight <= MAX_IN_FLIGHT or min(connect_timeout_s, answer_timeout_s) <= 0:
            raise FieldError(f"give time-outs above 0, and an in_flight of 0 to {MAX_IN_FLIGHT}")
        self._route = Route(addresses)
        self._follows = role == "primary"
        self._hello = hello_frame(credential, name, in_flight)
        self._in_flight = in_flight or MAX_IN_FLIGHT
        self._connect_timeout_s, self._answer_timeout_s = connect_timeout_s, answer_timeout_s
        self._attempts, self._base_s, self._max_s = reconnect_attempts, reconnect_base_s, reconnect_max_s
        self._connection: Optional[Connection] = None
        self._welcome: Optional[Welcome] = None
        # By correlation, in the order in which they were submitted (a dict keeps it).
        self._unanswered: Dict[int, _Unanswered] = {}
        self._unsent: Deque[int] = deque()
        # Requests that have ended, and nobody was told; and replies that came while another one was waited for.
        self._ended: Deque[Tuple[int, object]] = deque()
        self._ready: Deque[Reply] = deque()
        self._carried = 0
        self._next_correlation = 1
        self._failures = 0
        self._last_failure = ""
        # The node in use could not confirm something, or says nothing: it may have been replaced.
        self._doubtful = False
        self._silent = False
        self._lookout = Lookout(self._hello, answer_timeout_s)
        self._next_look = 0.0
        # No deadline is before this, so that not each answer looks at all.
        self._earliest = float("inf")
        if lazy:
            return
        for attempts_left in reversed(range(len(addresses))):
            try:
                self._find(float("inf"))
                return
            except CatracaError as error:
                if _is_final(error) or not attempts_left or self._route.is_exhausted:
                    raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Answers that are owed are lost; decisions are not."""
        if self._connection:
            self._connection.socket.close()
        self._connection = None
        self._lookout.forget()
        self._unanswered.clear()
        self._unsent.clear()
        self._ended.clear()
        self._ready.clear()

    @property
    def owed(self) -> int:
        """How many replies `receive` still owes."""
        return len(self._unanswered) + len(self._ended) + len(self._ready)

    def submit(self, transaction: Transaction) -> int:
        """Sends a transaction and gives the correlation of its Reply; waits for answers first where too many are unanswered."""
        if self.owed >= 2 * MAX_IN_FLIGHT:
            raise CatracaError("too many replies wait to be received: call receive first")
        budget_s = (transaction.budget_us or MAX_BUDGET_US) / 1e6
        return self._send(transaction.encode(), Decision, budget_s)

    def receive(self) -> Reply:
        """The next reply to a submitted transaction, as they come; waits for it. Over a lost connection, after NOT_PRIMARY, and
        with several addresses after SHUTTING_DOWN, the client connects again and sends again first."""
        if self._ready:
            return self._ready.popleft()
        outcome = self._next_outcome()
        if outcome is None:
            raise CatracaError("nothing is unanswered, so there is nothing to receive")
        return _reply(*outcome)

    def decide(self, transaction: Transaction) -> Decision:
        """One transaction to its decision, within its budget; tries again as `receive` does, and after OVERLOADED and
        RATE_LIMITED."""
        budget_end = time.monotonic() + (transaction.budget_us or MAX_BUDGET_US) / 1e6
        budget_us, encoded = 0, transaction.encode()
        while True:
            if budget_us:
                encoded = transaction_with_budget(encoded, budget_us)
            reply = _reply(*self._wait_for(self._send(encoded, Decision, budget_end - time.monotonic())))
            if not isinstance(reply.error, Refused):
                return reply.result()
            pause_s = 0.0
            if reply.error.code in (ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED):
                pause_s = max(reply.error.retry_after_ms, 1) / 1e3
            else:
                raise reply.error
            budget_us = int((budget_end - time.monotonic() - pause_s) * 1e6)
            if budget_us <= 0:
                raise reply.error
            time.sleep(pause_s)

    def lookup(self, transaction_id: str, payer: Optional[str] = None) -> StoredDecision:
        """The stored decision on a transaction; `payer` where ids may repeat between payers. Refused with NOT_FOUND if none."""
        return self._ask(lookup_frame(transaction_id, payer)[HEADER.size:], StoredDecision)

    def cluster(self, op: ClusterOp = ClusterOp.DESCRIBE, force: bool = False) -> ClusterState:
        """The node's part in its cluster, after the operation; Refused with FAILED where the node would not. `role` "any" asks the
        node that the address names."""
        return self._ask(cluster_frame(op, force)[HEADER.size:], ClusterState)

    def ping(self) -> int:
        """The server's clock, nanoseconds since 1970 UTC."""
        return self._ask(bytes(8), int)

    @property
    def welcome(self) -> Welcome:
        """What the server said of itself, on the latest connection."""
        if self._welcome is None:
            raise CatracaError("there was no connection yet")
        return self._welcome

    def _ask(self, body: bytes, answered_by: type):
        _, outcome = self._wait_for(self._send(body, answered_by, None))
        if isinstance(outcome, CatracaError):
            raise outcome
        return outcome

    def _send(self, body: bytes, answered_by: type, budget_s: Optional[float]) -> int:
        while len(self._unanswered) >= self._limit:
            outcome = self._next_outcome()
            if outcome is not None:
                self._ready.append(_reply(*outcome))
        self._look_elsewhere()
        now = time.monotonic()
        wait_s = self._answer_timeout_s if budget_s is None else min(self._answer_timeout_s, budget_s + ANSWER_GRACE_S)
        waits = self._connection is None
        if waits:
            self._reconnect(now + (wait_s if budget_s is None else min(wait_s, budget_s)))
        correlation = self._next_correlation
        self._next_correlation += 1
        budget_end = None if budget_s is None else now + budget_s
        self._unanswered[correlation] = _Unanswered(body, answered_by, now + wait_s, budget_end, shortened=waits)
        self._earliest = min(self._earliest, now + wait_s)
        self._unsent.append(correlation)
        self._send_unsent()
        return correlation

    def _wait_for(self, wanted: int) -> Tuple[int, object]:
        while True:
            outcome = self._next_outcome()
            if outcome is None:
                raise NoAnswer("the request is not among the unanswered ones")
            if outcome[0] == wanted:
                return outcome
            self._ready.append(_reply(*outcome))

    def _next_outcome(self) -> Optional[Tuple[int, object]]:
        """Waits until one request has ended: its correlation, and the answer or a CatracaError."""
        while not self._ended:
            if not self._unanswered:
                return None
            self._look_elsewhere()
            self._end_expired()
            if self._ended:
                break
            if self._connection is None:
                try:
                    self._reconnect(self._earliest)
                except CatracaError as error:
                    if time.monotonic() < self._earliest:
                        self._give_up(error)
                continue
            self._send_unsent()
            if self._connection is None:
                continue
            try:
                reply = self._connection.next(self._wake_at())
                quiet_s = time.monotonic() - self._connection.quiet_since
                self._silent = reply is None and self._carried > 0 and quiet_s >= SILENCE_S
                if reply is not None and self._matches(*reply):
                    return reply
            except (OSError, ProtocolError, Refused) as error:
                self._lose(error)
        return self._ended.popleft()

    def _wake_at(self) -> float:
        """Until when an answer is waited for before something else is to be done."""
        now = time.monotonic()
        # An address that hangs longer than its round has no say in it any more.
        if self._lookout.is_asking and now < self._next_look:
            return min(self._earliest, self._next_look, now + LOOK_STEP_S)
        if self._carried == 0 or not self._follows:
            return self._earliest
        look_at = self._next_look if self._doubtful else max(self._next_look, self._connection.quiet_since + SILENCE_S)
        return min(self._earliest, look_at)

    def _read_what_came(self) -> None:
        """Answers that lie there already, however late they are read."""
        try:
            while self._connection is not None:
                reply = self._connection.next(0)
                if reply is None:
                    return
                if self._matches(*reply):
                    self._ended.append(reply)
        except (OSError, ProtocolError, Refused) as error:
            self._lose(error)

    def _matches(self, correlation: int, answer: object) -> bool:
        entry = self._unanswered.get(correlation)
        if entry is None and isinstance(answer, Refused) and answer.closing:
            raise answer
        if entry is None or not entry.sent or not isinstance(answer, (entry.answered_by, Refused)):
            raise ProtocolError(f"the server answered {correlation} with what nothing asked for")
        if isinstance(answer, Refused) and self._goes_elsewhere(answer.code):
            # Not answered yet: it goes to another node with the others.
            raise answer
        self._failures, self._last_failure = 0, ""
        self._doubtful |= isinstance(answer, Refused) and answer.code == ErrorCode.UNCONFIRMED
        del self._unanswered[correlation]
        self._carried -= 1
        if isinstance(answer, Refused) and answer.closing:
            self._lose(answer)
        return True

    def _goes_elsewhere(self, code: ErrorCode) -> bool:
        """A node that is no primary may name the one that is, so one address is enough then."""
        elsewhere = code == ErrorCode.NOT_PRIMARY or code == ErrorCode.SHUTTING_DOWN and len(self._route.addresses) > 1
        return elsewhere and self._follows and self._attempts > 0

    def _end_expired(self) -> None:
        now = time.monotonic()
        if now < self._earliest:
            return
        self._read_what_came()
        expired = [(correlation, entry) for correlation, entry in self._unanswered.items() if entry.deadline <= now]
        for correlation, _ in expired:
            del self._unanswered[correlation]
        if self._connection is not None and any(entry.sent for _, entry in expired):
            # It went out and got nothing: the connection is dead, although nobody told us.
            self._lose(NoAnswer("the server did not answer in time"))
        why = self._last_failure or "the time for it is over"
        for correlation, _ in expired:
            error = NoAnswer(f"no answer: {why}; it may have been done, so send it again as it was")
            self._ended.append((correlation, error))
        self._earliest = min((entry.deadline for entry in self._unanswered.values()), default=float("inf"))

    @property
    def _limit(self) -> int:
        return min(self._in_flight, self._welcome.in_flight) if self._welcome else self._in_flight

    def _send_unsent(self) -> None:
        while self._connection is not None and self._carried < self._limit and self._unsent:
            correlation = self._unsent.popleft()
            entry = self._unanswered.get(correlation)
            if entry is None:
                continue
            if entry.budget_end is None:
                data = frame(ASKED_WITH[entry.answered_by], correlation, entry.body)
            else:
                left_us = int((entry.budget_end - time.monotonic()) * 1e6)
                if left_us <= 0:
                    # Sent now it could be decided after its budget: it is over.
                    entry.deadline = self._earliest = time.monotonic()
                    continue
                if entry.shortened:
                    entry.body = transaction_with_budget(entry.body, min(left_us, MAX_BUDGET_US))
                data = submit_frame(entry.body, correlation)
            entry.sent = entry.shortened = True
            if self._carried == 0:
                self._connection.quiet_since = time.monotonic()
            self._carried += 1
            try:
                self._connection.write(data)
            except OSError as error:
                self._lose(error)

    def _lose(self, error: BaseException) -> None:
        if self._connection is not None:
            self._connection.socket.close()
        self._connection = None
        self._lookout.forget()
        self._silent = False
        self._carried = 0
        self._failures += 1
        self._last_failure = str(error) or type(error).__name__
        if isinstance(error, Refused) and error.code == ErrorCode.NOT_PRIMARY:
            self._route.standby("")
        else:
            self._route.failed(f"failed: {self._last_failure}")
        for entry in self._unanswered.values():
            entry.sent = False
        self._unsent = deque(self._unanswered)

    def _find(self, until: float) -> None:
        """One attempt: the next address, and from there to the primary where a standby names it."""
        for _ in range(MAX_HOPS + 1):
            timeout_s = min(self._connect_timeout_s, self._patience_s(until), max(until - time.monotonic(), 0.001))
            try:
                connection = Connection(self._route.address, self._hello, timeout_s, self._answer_timeout_s)
            except (ConnectError, Refused) as error:
                leave = self._route.cut_off if time.monotonic() >= until else self._route.failed
                leave(f"failed: {error}")
                if _is_final(error):
                    raise
                no_primary = self._route.no_primary()
                if no_primary:
                    raise no_primary from error
                raise
            if connection.welcome.primary or not self._follows:
                self._route.found()
                self._connection, self._welcome = connection, connection.welcome
                return
            connection.socket.close()
            if not self._route.standby(connection.welcome.primary_address):
                break
        raise self._route.no_primary() or NoPrimary("no primary")

    def _patience_s(self, until: float) -> float:
        """Within a request's time one address that hangs must not use up what another one could answer in. Where none answered so
        soon, all get longer."""
        count = len(self._route.addresses)
        if count == 1 or until == float("inf"):
            return self._connect_timeout_s
        return SILENCE_S * 2 ** min(self._failures // count, 30)

    def _look_elsewhere(self) -> None:
        """After UNCONFIRMED, because a primary that is cut off from its standby does not hear of that one's promotion, and while
        nothing comes: the other addresses are asked, now and then, beside the waiting. One that is a primary as well gets everything
        unanswered."""
        if self._connection is None or not self._follows:
            return
        now = time.monotonic()
        if now < self._next_look:
            found = self._lookout.take()
            if found:
                self._go_to(*found)
        elif self._doubtful or self._silent:
            self._doubtful, self._next_look = False, now + LOOK_EVERY_S
            self._lookout.ask(self._route.others, self._welcome.epoch, LOOK_TIME_S)
        else:
            # The caller was away meanwhile: what was found then may be no primary any more.
            self._lookout.forget()

    def _go_to(self, address: str, connection: Connection) -> None:
        self._read_what_came()
        self._lose(ConnectError(f"{address} is the primary by now"))
        self._route.found_at(address)
        self._failures, self._doubtful = 0, False
        self._connection, self._welcome = connection, connection.welcome

    def _reconnect(self, until: float) -> None:
        last: CatracaError = self._route.no_primary() or ConnectError(
            f"no connection to {self._route.address}: {self._last_failure}")
        while self._failures <= self._attempts:
            # None after the first failure, then doubling; half of it chance, so that not all clients arrive at once.
            whole_s = 0.0 if self._failures < 2 else min(self._base_s * 2 ** min(self._failures - 2, 30), self._max_s)
            pause_s = whole_s * random.uniform(0.5, 1.0)
            left_s = until - time.monotonic()
            if left_s <= pause_s:
                time.sleep(max(left_s, 0))
                raise last
            time.sleep(pause_s)
            self._route.begin_round()
            try:
                self._find(until)
                return
            except (ConnectError, Refused) as error:
                last = error
                self._failures += 1
                self._last_failure = str(error)
                if _is_final(error):
                    break
        # The next call may try anew, with one attempt's credit used.
        self._failures = min(self._failures, 1)
        raise last

    def _give_up(self, error: CatracaError) -> None:
        self._last_failure = str(error)
        self._unsent.clear()
        self._earliest = time.monotonic()
        for entry in self._unanswered.values():
            entry.deadline = self._earliest


def _is_final(error: CatracaError) -> bool:
    """Errors that another attempt can't change."""
    return isinstance(error, Refused) and error.code in (
        ErrorCode.UNAUTHENTICATED, ErrorCode.UNSUPPORTED_VERSION, ErrorCode.BAD_FRAME)


def _reply(correlation: int, outcome: object) -> Reply:
    if isinstance(outcome, Decision):
        return Reply(correlation, decision=outcome)
    return Reply(correlation, error=outcome if isinstance(outcome, CatracaError) else ProtocolError("another kind of answer"))
