"""The client for asyncio. It has the rules of the client that waits; only the waiting differs.

from catraca.aio import AsyncClient

async with AsyncClient(["node-a:7400", "node-b:7400"]) as client:
    decision = await client.decide(payment)
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Dict, List, Optional, Tuple, Type, TypeVar

from catraca._base import BaseClient, answer_of, cluster, lookup, ping, renewal
from catraca._errors import CatracaError, ConnectError, FieldError, ProtocolError
from catraca._exchange import Deciding, Outcome, Request
from catraca._recovery import NEVER_S, Link
from catraca._route import host_and_port
from catraca._tls import told
from catraca._values import (
    AuthState,
    ClusterOp,
    ClusterState,
    Decision,
    StoredDecision,
    Transaction,
)

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient(BaseClient):
    """A connection to a catraca server, kept alive over failures; usable with `async with`.

    It is for any number of tasks of one event loop: their requests travel together, no more
    unanswered at a time than the server allows, and what is past that waits within its budget. To
    cancel a task ends the waiting, and takes nothing back: the transaction may be decided.
    """

    def _begin(self) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._waiting: Dict[int, asyncio.Future[Outcome]] = {}
        self._wires: Dict[Link, _Wire] = {}
        self._opening: Dict[Link, asyncio.Task[None]] = {}
        # By host: however long a name takes to resolve, it is asked for once at a time.
        self._resolving: Dict[Tuple[str, int], asyncio.Future[List[Any]]] = {}
        self._first: Optional[asyncio.Future[None]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_scheduled = False
        self._has_listened = False

    async def __aenter__(self) -> AsyncClient:
        if not self._is_lazy:
            try:
                await self.connect()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connects to the first address whose node takes it, trying each; a ConnectError where none
        does. A request does it as well, and waits for a primary as long as for its answer."""
        if self._exchange.is_ended:
            raise ConnectError("the client was closed")
        if self._exchange.connection is not None:
            return
        if self._first is None:
            self._exchange.first_is_wanted = True
            self._first = self._here().create_future()
            self._soon()
        await asyncio.shield(self._first)

    async def close(self) -> None:
        """Closes the connection, and is the end of this client. Answers that are owed are lost, and
        those who wait are told so; decisions are not lost."""
        if not self._exchange.is_ended:
            self._here()
            self._exchange.end()
            wires, opening = list(self._wires.values()), list(self._opening.values())
            self._turn()
            await asyncio.gather(*opening, return_exceptions=True)
            await asyncio.gather(*(wire.lost for wire in wires))

    async def decide(self, transaction: Transaction) -> Decision:
        """The decision on a transaction, within its budget and half a second. Sends again after
        OVERLOADED and RATE_LIMITED as long as the budget lasts, and over a lost connection or
        another node. A CatracaError tells whether there may be a decision all the same; it is never
        an approval."""
        deciding = Deciding(transaction)
        deciding.begin(time.monotonic())
        while True:
            try:
                return await self._ask(deciding.request(), Decision)
            except CatracaError as error:
                await asyncio.sleep(deciding.pause_s(error, time.monotonic()))

    async def submit(self, transaction: Transaction) -> Decision:
        """As `decide`, without sending again after OVERLOADED and RATE_LIMITED."""
        deciding = Deciding(transaction)
        deciding.begin(time.monotonic())
        return await self._ask(deciding.request(), Decision)

    async def lookup(self, transaction_id: str, payer: Optional[str] = None) -> StoredDecision:
        """The stored decision on a transaction; `payer` where ids may repeat between payers.
        Refused with NOT_FOUND if none."""
        return await self._ask(lookup(transaction_id, payer), StoredDecision)

    async def cluster(
        self, op: ClusterOp = ClusterOp.DESCRIBE, force: bool = False
    ) -> ClusterState:
        """The node's part in its cluster, after the operation; Refused with FAILED where the node
        would not. `role` "any" asks the node that the address names."""
        return await self._ask(cluster(op, force), ClusterState)

    async def renew(self, token: str) -> Optional[int]:
        """Goes on with a newer token of the same client, on the connection in use and on all that
        come. Whatever is unanswered stays so. Gives until when it counts, nanoseconds since 1970
        UTC; None for no end. Refused with UNAUTHENTICATED, FORBIDDEN (of another client) or
        OVERLOADED (it can't be checked now): the one before counts until its end. So it does after
        NoAnswer, and connections come with it until a server has taken the newer one. Renewals wait
        for each other."""
        request = renewal(token)
        self._exchange.offer(token)
        return (await self._ask(request, AuthState)).expires_at_ns or None

    async def ping(self) -> int:
        """The server's clock, nanoseconds since 1970 UTC."""
        return await self._ask(ping(), int)

    async def _ask(self, request: Request, answered_by: Type[T]) -> T:
        waiting = self._here().create_future()
        correlation = self._exchange.add(request, time.monotonic())
        self._waiting[correlation] = waiting
        self._soon()
        try:
            return answer_of(await waiting, answered_by)
        finally:
            if self._waiting.pop(correlation, None) is not None:
                self._exchange.abandon(correlation)

    def _here(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise FieldError("a client is for one event loop")
        self._loop = loop
        return loop

    def _soon(self) -> None:
        """Has a turn come, one for all that happens until then: what is sent together goes out in
        one piece."""
        if not self._is_scheduled and self._loop is not None:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Does what is to be done."""
        self._is_scheduled = False
        now = time.monotonic()
        if now >= self._exchange.wake_at() and not self._has_listened:
            # What has come counts, however late it is read: the loop reads before the next turn.
            self._has_listened = True
            self._soon()
            return
        self._has_listened = False
        self._exchange.advance(now)
        self._follow()
        for link, wire in self._wires.items():
            if link.output:
                wire.transport.write(bytes(link.output))
                link.output.clear()
        self._tell()
        self._set_timer()

    def _follow(self) -> None:
        """Opens and closes as the exchange says."""
        assert self._loop is not None, "a turn is one of the loop"
        while self._exchange.to_open:
            link = self._exchange.to_open.pop(0)
            self._opening[link] = self._loop.create_task(self._open(link))
        while self._exchange.to_close:
            link = self._exchange.to_close.pop(0)
            if link in self._opening:
                self._opening.pop(link).cancel()
            if link in self._wires:
                # Without the goodbye of TLS, which could wait for a server that reads nothing.
                self._wires.pop(link).transport.abort()

    def _tell(self) -> None:
        """Tells who waits."""
        while self._exchange.ended:
            correlation, outcome = self._exchange.ended.popitem()
            waiting = self._waiting.pop(correlation, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(outcome)
        if self._first is not None and not self._exchange.first_is_wanted:
            first, failure = self._first, self._exchange.first_failure
            self._first = None
            if failure is None:
                first.set_result(None)
            else:
                first.set_exception(failure)
                # Who waited may have been cancelled, which is nothing to complain of.
                first.exception()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, wake_at = None, self._exchange.wake_at()
        if wake_at != NEVER_S and self._loop is not None:
            self._timer = self._loop.call_later(max(wake_at - time.monotonic(), 0), self._soon)

    async def _open(self, link: Link) -> None:
        try:
            await self._connect(link)
        except (OSError, ProtocolError) as error:
            self._exchange.failed(link, ConnectError(told(error)), time.monotonic())
        finally:
            self._opening.pop(link, None)
            self._soon()

    async def _connect(self, link: Link) -> None:
        loop = self._here()
        host, port = host_and_port(link.address)
        failed: OSError = ConnectError("its name leads nowhere")
        for family, kind, protocol, _, place in await self._resolve(host, port):
            opening = socket.socket(family, kind, protocol)
            opening.setblocking(False)
            try:
                await loop.sock_connect(opening, place)
            except OSError as error:
                failed = error
                opening.close()
                continue
            except BaseException:
                opening.close()
                raise
            await loop.create_connection(
                lambda: _Wire(self, link),
                sock=opening,
                ssl=self._context,
                server_hostname=host if self._context else None,
            )
            return
        raise failed

    async def _resolve(self, host: str, port: int) -> List[Any]:
        asked = self._resolving.get((host, port))
        if asked is None:
            loop = self._here()
            asking = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            asked = asyncio.ensure_future(asking)
            self._resolving[host, port] = asked

            def resolved(answer: asyncio.Future[List[Any]]) -> None:
                self._resolving.pop((host, port), None)
                if not answer.cancelled():
                    # Perhaps nobody waits for it any more, and that is nothing to complain of.
                    answer.exception()

            asked.add_done_callback(resolved)
        return await asyncio.shield(asked)


class _Wire(asyncio.Protocol):
    """One connection's end at the event loop."""

    transport: asyncio.Transport

    def __init__(self, client: AsyncClient, link: Link) -> None:
        self._client, self._link = client, link
        self.lost: asyncio.Future[None] = client._here().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "it is a stream's"
        self.transport = transport
        if self._client._exchange.is_current(self._link):
            self._client._wires[self._link] = self
            self._client._soon()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._client._exchange.received(self._link, data, time.monotonic())
        self._client._soon()

    def connection_lost(self, error: Optional[Exception]) -> None:
        why = told(error) if error else "the server closed the connection"
        self._client._wires.pop(self._link, None)
        self._client._exchange.failed(self._link, ConnectError(why), time.monotonic())
        self._client._soon()
        if not self.lost.done():
            self.lost.set_result(None)
