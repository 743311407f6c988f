"""What of the exchange finds the next connection: attempts, rounds and pauses, and the look at
whether another node decides. No I/O and no clock: who drives it opens and closes what it says."""

from __future__ import annotations

import random
from typing import Dict, List, Optional

from catraca._errors import CatracaError, ConnectError, ErrorCode, NoPrimary, ProtocolError, Refused
from catraca._frames import HEADER, HELLO_BODY, Answer, Inbox, hello_frame
from catraca._options import Options
from catraca._route import Route
from catraca._values import AuthState, Welcome

# Servers that name another one as the primary, followed without a pause: more of them lead nowhere.
MAX_HOPS = 4
# Doublings of a wait past which it is as long as it gets.
MAX_DOUBLINGS = 16
HELLO_LEN = HEADER.size + HELLO_BODY.size
# No time comes so late.
NEVER_S = float("inf")


class Link:
    """A connection as the rules see it, from the attempt to make it: what came over it and what is
    to go."""

    def __init__(self, address: str, hello: bytes, deadline: float) -> None:
        self.address = address
        #: When its WELCOME must have come.
        self.deadline = deadline
        self.inbox = Inbox()
        #: To be written, when it is there.
        self.output = bytearray(hello)
        self.welcome: Optional[Welcome] = None
        #: Until when its token counts, nanoseconds since 1970 UTC; 0 for no end.
        self.expires_at_ns = 0
        # Behind a token AUTH_STATE follows WELCOME.
        self._has_token = len(hello) > HELLO_LEN

    def shake_hands(self) -> bool:
        """True when WELCOME is there, and behind a token AUTH_STATE; raises what comes instead."""
        while True:
            reply = self.inbox.next()
            if reply is None:
                return False
            correlation, answer = reply
            if correlation == 0 and isinstance(answer, Refused):
                raise answer
            if correlation == 0 and self.welcome is None and isinstance(answer, Welcome):
                self.welcome = answer
                if not self._has_token:
                    return True
            elif correlation == 0 and self.welcome and isinstance(answer, AuthState):
                self.expires_at_ns = answer.expires_at_ns
                return True
            else:
                raise ProtocolError("no WELCOME came")


class Recovery:
    """The way to the node that decides. Times are seconds of any clock that only grows."""

    def __init__(self, options: Options, now: float) -> None:
        self.options = options
        #: What connections begin with: of the newest credential that a server took.
        self.hello = options.hello
        #: The same of a newer one that no server has taken or refused.
        self.newer: Optional[bytes] = None
        self._route = Route(options.addresses, learns=not options.is_secure)
        #: The connection in use, the one that is being made, and those that are looked at.
        self.connection: Optional[Link] = None
        self.attempt: Optional[Link] = None
        self._looks: Dict[str, Link] = {}
        #: What who drives this has to do: connections to begin, and to end.
        self.to_open: List[Link] = []
        self.to_close: List[Link] = []
        self.welcome: Optional[Welcome] = None
        #: Somebody waits for the first connection; and how the first round ended.
        self.first_is_wanted = False
        self.first_failure: Optional[CatracaError] = None
        self.is_ended = False
        # Rounds in vain and connections lost, since the last answer; and why.
        self._failures = 0
        self._last_failure = ""
        # Standbys followed since the last pause.
        self._hops = 0
        self._not_before = now
        self._next_look = now
        # The node in use could not confirm something: it may have been replaced without knowing it.
        self._doubtful = False
        # When the node in use last said something, or began to owe an answer.
        self._quiet_since = now

    def offer(self, credential: str) -> None:
        """Connections come with this one once a server has taken it, or takes the old one no more.
        One that no server could check does not lock out who has a good one."""
        self.newer = self.greeting(credential)

    def greeting(self, credential: str) -> bytes:
        """What a connection begins with that comes with this one."""
        return hello_frame(credential, self.options.name, self.options.in_flight)

    def _turns_to_newer(self, error: BaseException) -> bool:
        """The old credential has come to its end, and there is a newer one."""
        ended = isinstance(error, Refused) and error.code == ErrorCode.UNAUTHENTICATED
        if not ended or self.newer is None:
            return False
        self.hello, self.newer = self.newer, None
        return True

    def is_owed(self) -> bool:
        """Something is unanswered."""
        raise NotImplementedError

    def carries(self) -> bool:
        """Something went out on the connection in use, and is not answered."""
        raise NotImplementedError

    def accept(self, correlation: int, answer: Answer) -> None:
        """Matches an answer with its request; raises what says that the connection is of no use."""
        raise NotImplementedError

    def send_all_again(self) -> None:
        """Everything unanswered is to be sent over the next connection."""
        raise NotImplementedError

    def give_up(self, error: CatracaError) -> None:
        """No attempt can change this: everything unanswered ends."""
        raise NotImplementedError

    def received(self, link: Link, data: bytes, now: float) -> None:
        """Takes what has come over a connection. What comes over one that was left is dropped."""
        if not self.is_current(link):
            return
        try:
            link.inbox.feed(data)
            if link is self.connection:
                self._quiet_since = now
                self._accept_all(link)
            elif now > link.deadline:
                # The caller may have been away: what was found then may be no primary any more.
                raise ConnectError("it was not in time")
            elif link.shake_hands():
                if link is self.attempt:
                    self._attempted(link, now)
                else:
                    self._looked(link, now)
        except CatracaError as error:
            self.failed(link, error, now)

    def failed(self, link: Link, error: BaseException, now: float) -> None:
        """A connection is lost, or could not be made."""
        if link is self.connection:
            self._lose(error, now)
        elif link is self.attempt:
            self._attempt_failed(error, now)
        elif self.is_current(link):
            self._end_look(link)

    def is_current(self, link: Link) -> bool:
        """It was not left."""
        return link in (self.connection, self.attempt) or self._looks.get(link.address) is link

    def _accept_all(self, link: Link) -> None:
        while link is self.connection:
            reply = link.inbox.next()
            if reply is None:
                return
            self.accept(*reply)

    def acts_at(self) -> float:
        """When an attempt, or a look, is to begin or to end."""
        at = min([self._looks_at(), *(look.deadline for look in self._looks.values())])
        if self.attempt is not None:
            return min(at, self.attempt.deadline)
        return min(at, self._not_before) if self._is_wanted() else at

    def _is_wanted(self) -> bool:
        waits = self.first_is_wanted or self.is_owed()
        return self.connection is None and not self.is_ended and waits

    def connect_if_wanted(self, now: float) -> None:
        """Begins an attempt at the next address when its time has come, or ends one whose time is
        over."""
        if self.attempt is not None and now >= self.attempt.deadline:
            self._attempt_failed(ConnectError("it did not answer in time"), now)
        if not self._is_wanted() or self.attempt is not None or now < self._not_before:
            return
        if self._route.is_exhausted:
            self._route.begin_round()
            self._hops = 0
        self.attempt = self._open(self._route.address, now + self._patience_s())

    def _open(self, address: str, deadline: float) -> Link:
        link = Link(address, self.hello, deadline)
        self.to_open.append(link)
        return link

    def _patience_s(self) -> float:
        """Within a request's time one address that hangs must not use up what another one could
        answer in. Where none answered so soon, all get longer."""
        if len(self._route.addresses) == 1 or not self.is_owed():
            return self.options.connect_timeout_s
        patience_s = self.options.timing.silence_s * 2.0 ** min(self._failures, MAX_DOUBLINGS)
        return min(patience_s, self.options.connect_timeout_s)

    def _attempt_failed(self, error: BaseException, now: float) -> None:
        if self.attempt is not None:
            self.to_close.append(self.attempt)
        self.attempt = None
        if self._turns_to_newer(error):
            return
        self._last_failure = f"no connection to {self._route.address}: {error}"
        self._route.failed(f"failed: {error}")
        if isinstance(error, Refused):
            told: CatracaError = error
        else:
            told = ConnectError(self._last_failure)
        if isinstance(error, Refused) and error.is_final:
            self._failures = 1
            self._route.begin_round()
            self.give_up(error)
            self._tell_first(error)
        elif self._route.is_exhausted:
            self._end_round(told, now)

    def _attempted(self, made: Link, now: float) -> None:
        """The attempt has a WELCOME."""
        self.attempt = None
        assert made.welcome is not None, "it has shaken hands"
        if made.welcome.primary or not self.options.follows:
            self._route.found()
            self._adopt(made, now)
            return
        self.to_close.append(made)
        named = self._route.standby(made.welcome.primary_address)
        if named and self._hops < MAX_HOPS:
            self._hops += 1
        elif self._hops >= MAX_HOPS or self._route.is_exhausted:
            self._end_round(NoPrimary(self._route.no_primary()), now)

    def _end_round(self, error: CatracaError, now: float) -> None:
        """All addresses were tried in vain: a pause."""
        self._failures += 1
        self._not_before = now + self.pause_s()
        self._route.begin_round()
        self._hops = 0
        said = self._route.no_primary()
        self._tell_first(NoPrimary(said) if said else error)

    def pause_s(self) -> float:
        """None after the first failure, then doubling; half of it chance, so that not all clients
        arrive at once."""
        if self._failures < 2:
            return 0.0
        whole_s = self.options.reconnect_base_s * 2.0 ** min(self._failures - 2, MAX_DOUBLINGS)
        return min(whole_s, self.options.reconnect_max_s) * random.uniform(0.5, 1.0)

    def _tell_first(self, failure: Optional[CatracaError]) -> None:
        if self.first_is_wanted:
            self.first_is_wanted, self.first_failure = False, failure

    def _adopt(self, made: Link, now: float) -> None:
        """Uses a connection from now on."""
        self.connection, self.welcome, self._hops = made, made.welcome, 0
        self._quiet_since = now
        self.send_all_again()
        self._tell_first(None)
        # What stands behind WELCOME answers nothing, and is a fault.
        self._accept_all(made)

    def goes_elsewhere(self, code: ErrorCode) -> bool:
        """A node that is no primary may name the one that is, so one address is enough then."""
        stops = code == ErrorCode.SHUTTING_DOWN and len(self._route.addresses) > 1
        return self.options.follows and (code == ErrorCode.NOT_PRIMARY or stops)

    def _lose(self, error: BaseException, now: float) -> None:
        """Leaves the connection. What is unanswered waits for the next one."""
        self._turns_to_newer(error)
        self._route.begin_round()
        if isinstance(error, Refused) and error.code == ErrorCode.NOT_PRIMARY:
            self._route.standby("")
        else:
            self._route.failed(f"failed: {error}")
        self._failures += 1
        self._last_failure = str(error)
        self._not_before = now + self.pause_s()
        self._detach()

    def _detach(self) -> None:
        if self.connection is not None:
            self.to_close.append(self.connection)
        self.connection, self._doubtful = None, False
        self._forget_looks()
        self.send_all_again()

    def _looks_at(self) -> float:
        """When it is to be looked whether another address is a primary too."""
        alone = len(self._route.addresses) < 2
        if self.connection is None or not self.options.follows or alone:
            return NEVER_S
        if self._doubtful:
            return self._next_look
        if not self.carries():
            return NEVER_S
        return max(self._next_look, self._quiet_since + self.options.timing.silence_s)

    def look_elsewhere(self, now: float) -> None:
        """After UNCONFIRMED, because a primary that is cut off from its standby does not hear of
        that one's promotion, and while nothing comes: the other addresses are asked, beside the
        waiting. One that is a primary as well gets everything unanswered."""
        for look in list(self._looks.values()):
            if now >= look.deadline:
                self._end_look(look)
        if now < self._looks_at():
            return
        self._forget_looks()
        self._doubtful, self._next_look = False, now + self.options.timing.look_every_s
        for address in self._route.others:
            until = now + self.options.timing.look_time_s
            self._looks[address] = self._open(address, until)

    def _looked(self, made: Link, now: float) -> None:
        """A look has a WELCOME. One that decides in an earlier epoch was replaced, and does not
        know it."""
        found, known = made.welcome, self.welcome
        if found is None or known is None or not found.primary or found.epoch < known.epoch:
            self._end_look(made)
            return
        del self._looks[made.address]
        self._last_failure = f"{made.address} is the primary by now"
        self._failures = 0
        self._detach()
        self._route.found_at(made.address)
        self._adopt(made, now)

    def _end_look(self, look: Link) -> None:
        self.to_close.append(look)
        del self._looks[look.address]

    def _forget_looks(self) -> None:
        for look in list(self._looks.values()):
            self._end_look(look)
