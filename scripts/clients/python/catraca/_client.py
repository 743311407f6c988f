"""The client that waits: sockets, and the waiting for them. What is done with them is the
exchange's."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from typing import Dict, Optional, Set, Type, TypeVar

from catraca._base import BaseClient, answer_of, cluster, lookup, ping, renewal, reply_of
from catraca._errors import CatracaError, ConnectError, FieldError
from catraca._exchange import MAX_UNANSWERED, Deciding, Request
from catraca._opening import Openings
from catraca._recovery import NEVER_S, Link
from catraca._tls import told
from catraca._values import (
    AuthState,
    ClusterOp,
    ClusterState,
    Decision,
    Reply,
    StoredDecision,
    Transaction,
)

# Bytes that are read, or written, at once.
AT_ONCE_LEN = 1 << 16
# Where nothing happens so long it is looked again: systems do not take every length of a wait.
LONGEST_WAIT_S = 3_600.0
# What a socket says that would have to wait.
WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

T = TypeVar("T")


class Client(BaseClient):
    """A connection to a catraca server, kept alive over failures; usable with `with`.

    It works while a method of it runs: a program that submits and does something else for seconds
    finds answers that came in time, and nothing sent again meanwhile. It is for one thread at a
    time. Many transactions at once: `submit` each, then `receive` as many replies, in whatever
    order they come.
    """

    def _begin(self) -> None:
        self._openings = Openings(self._context)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._openings.wake, selectors.EVENT_READ)
        self._sockets: Dict[Link, socket.socket] = {}
        # Those whose sockets take no more at the moment.
        self._full: Set[Link] = set()
        self._exchange.first_is_wanted = not self._is_lazy
        try:
            while self._exchange.first_is_wanted:
                self._turn(NEVER_S)
            if self._exchange.first_failure is not None:
                raise self._exchange.first_failure
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and is the end of this client. Answers that are owed are lost;
        decisions are not."""
        if self._exchange.is_ended:
            return
        self._exchange.end()
        self._exchange.ended.clear()
        self._follow()
        self._openings.close()
        self._selector.close()

    @property
    def owed(self) -> int:
        """How many replies `receive` still owes."""
        return len(self._exchange) + len(self._exchange.ended)

    def submit(self, transaction: Transaction) -> int:
        """Sends a transaction and gives the correlation of its Reply; waits for answers first where
        too many are unanswered. It is not sent again after OVERLOADED and RATE_LIMITED."""
        deciding = Deciding(transaction)
        if self.owed >= MAX_UNANSWERED:
            raise FieldError("too many replies wait to be received: call receive first")
        self._make_room()
        deciding.begin(time.monotonic())
        correlation = self._exchange.add(deciding.request(), time.monotonic())
        self._turn(0.0)
        return correlation

    def receive(self) -> Reply:
        """The next reply to a submitted transaction, as they come; waits for it."""
        if not self.owed:
            raise FieldError("nothing is owed, so there is nothing to receive")
        while not self._exchange.ended:
            self._turn(NEVER_S)
        correlation = next(iter(self._exchange.ended))
        return reply_of(correlation, self._exchange.ended.pop(correlation))

    def decide(self, transaction: Transaction) -> Decision:
        """The decision on a transaction, within its budget and half a second. Sends again after
        OVERLOADED and RATE_LIMITED as long as the budget lasts, and over a lost connection or
        another node. A CatracaError tells whether there may be a decision all the same; it is never
        an approval."""
        deciding = Deciding(transaction)
        deciding.begin(time.monotonic())
        while True:
            try:
                return self._ask(deciding.request(), Decision)
            except CatracaError as error:
                time.sleep(deciding.pause_s(error, time.monotonic()))

    def lookup(self, transaction_id: str, payer: Optional[str] = None) -> StoredDecision:
        """The stored decision on a transaction; `payer` where ids may repeat between payers.
        Refused with NOT_FOUND if none."""
        return self._ask(lookup(transaction_id, payer), StoredDecision)

    def cluster(self, op: ClusterOp = ClusterOp.DESCRIBE, force: bool = False) -> ClusterState:
        """The node's part in its cluster, after the operation; Refused with FAILED where the node
        would not. `role` "any" asks the node that the address names."""
        return self._ask(cluster(op, force), ClusterState)

    def renew(self, token: str) -> Optional[int]:
        """Goes on with a newer token of the same client, on the connection in use and on all that
        come. Whatever is unanswered stays so. Gives until when it counts, nanoseconds since 1970
        UTC; None for no end. Refused with UNAUTHENTICATED, FORBIDDEN (of another client) or
        OVERLOADED (it can't be checked now): the one before counts until its end. So it does after
        NoAnswer, and connections come with it until a server has taken the newer one."""
        request = renewal(token)
        self._exchange.offer(token)
        return self._ask(request, AuthState).expires_at_ns or None

    def ping(self) -> int:
        """The server's clock, nanoseconds since 1970 UTC."""
        return self._ask(ping(), int)

    def _ask(self, request: Request, answered_by: Type[T]) -> T:
        self._make_room()
        correlation = self._exchange.add(request, time.monotonic())
        try:
            while correlation not in self._exchange.ended:
                self._turn(NEVER_S)
        except BaseException:
            # Interrupted: what comes of it is no reply to anybody.
            self._exchange.abandon(correlation)
            raise
        return answer_of(self._exchange.ended.pop(correlation), answered_by)

    def _make_room(self) -> None:
        while len(self._exchange) >= self._exchange.limit:
            self._turn(NEVER_S)

    def _turn(self, until: float) -> None:
        """Does what is to be done. Where that changes nothing that a caller may wait for, waits
        until something comes, until something is to be done, or until then."""
        before = self._state()
        self._move(0.0)
        self._act()
        if until > 0 and self._state() == before:
            wait_s = min(until, self._exchange.wake_at()) - time.monotonic()
            self._move(min(max(wait_s, 0.0), LONGEST_WAIT_S))
            self._act()

    def _state(self) -> object:
        exchange = self._exchange
        return len(exchange.ended), len(exchange), exchange.first_is_wanted, exchange.connection

    def _act(self) -> None:
        self._exchange.advance(time.monotonic())
        self._follow()
        while True:
            for link, opened in list(self._sockets.items()):
                self._write(link, opened)
            if not self._exchange.to_close:
                return
            # One was lost as it was written.
            self._follow()
            self._exchange.advance(time.monotonic())
            self._follow()

    def _follow(self) -> None:
        """Opens and closes as the exchange says."""
        while self._exchange.to_open:
            self._openings.begin(self._exchange.to_open.pop(0))
        while self._exchange.to_close:
            link = self._exchange.to_close.pop(0)
            opened = self._sockets.pop(link, None)
            self._full.discard(link)
            if opened is None:
                self._openings.forget(link)
            else:
                self._selector.unregister(opened)
                opened.close()

    def _move(self, wait_s: float) -> None:
        """Reads and writes what sockets have and take, after waiting so long for one of them."""
        for key, events in self._selector.select(wait_s):
            link = key.data
            if link is None:
                self._take_opened()
            elif link in self._sockets:
                if events & selectors.EVENT_WRITE:
                    self._write(link, self._sockets[link])
                if events & selectors.EVENT_READ:
                    self._read(link, self._sockets[link])

    def _take_opened(self) -> None:
        while True:
            taken = self._openings.take()
            if taken is None:
                return
            link, opened = taken
            if isinstance(opened, ConnectError):
                self._exchange.failed(link, opened, time.monotonic())
            elif not self._exchange.is_current(link):
                opened.close()
            else:
                self._sockets[link] = opened
                self._selector.register(opened, selectors.EVENT_READ, link)

    def _read(self, link: Link, opened: socket.socket) -> None:
        while self._exchange.is_current(link):
            try:
                data = opened.recv(AT_ONCE_LEN)
            except WAITS:
                return
            except OSError as error:
                self._exchange.failed(link, ConnectError(told(error)), time.monotonic())
                return
            if not data:
                closed = ConnectError("the server closed the connection")
                self._exchange.failed(link, closed, time.monotonic())
                return
            self._exchange.received(link, data, time.monotonic())
            # What TLS has read and not given yet makes no socket readable.
            if len(data) < AT_ONCE_LEN and not isinstance(opened, ssl.SSLSocket):
                return

    def _write(self, link: Link, opened: socket.socket) -> None:
        try:
            while link.output:
                del link.output[: opened.send(link.output[:AT_ONCE_LEN])]
        except WAITS:
            pass
        except OSError as error:
            self._exchange.failed(link, ConnectError(told(error)), time.monotonic())
            return
        if (link in self._full) != bool(link.output):
            self._full ^= {link}
            writes = selectors.EVENT_WRITE if link.output else 0
            self._selector.modify(opened, selectors.EVENT_READ | writes, link)
