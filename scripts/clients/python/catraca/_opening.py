"""Sockets that are being connected and made secure, each in a thread: the name of a host can take
longer to resolve than any time that it is given, and nobody waits for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from typing import Deque, Dict, Optional, Tuple, Union

from catraca._errors import ConnectError
from catraca._recovery import Link
from catraca._route import host_and_port
from catraca._tls import told

#: A socket that does not block, or why there is none.
Opened = Union[socket.socket, ConnectError]


class Openings:
    """What is being opened. `wake` becomes readable when there is something to take."""

    def __init__(self, context: Optional[ssl.SSLContext]) -> None:
        self._context = context
        self._lock = threading.Lock()
        # By address: a thread for each at most, also where one hangs over many rounds.
        self._running: Dict[str, Tuple[Link, Optional[socket.socket]]] = {}
        self._opened: Deque[Tuple[Link, Opened]] = deque()
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)
        self._is_closed = False

    def begin(self, link: Link) -> None:
        """Begins to open one."""
        with self._lock:
            busy = link.address in self._running
            if not busy:
                self._running[link.address] = link, None
        if busy:
            self._deliver(link, ConnectError("an earlier attempt at it hangs still"))
            return
        thread = threading.Thread(target=self._open, args=(link,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._ends(link, ConnectError(f"no thread is to be had: {error}"))

    def take(self) -> Optional[Tuple[Link, Opened]]:
        """What came of one; its caller owns the socket then."""
        with self._lock:
            if self._opened:
                return self._opened.popleft()
            with contextlib.suppress(BlockingIOError):
                while self.wake.recv(4096):
                    pass
            return None

    def forget(self, link: Link) -> None:
        """Nobody wants that one any more: it ends as soon as it can be."""
        with self._lock:
            wanted, opening = self._running.get(link.address, (None, None))
            if wanted is link and opening is not None:
                with contextlib.suppress(OSError):
                    opening.shutdown(socket.SHUT_RDWR)
            for at, (opened_link, opened) in enumerate(self._opened):
                if opened_link is link:
                    del self._opened[at]
                    _close(opened)
                    return

    def close(self) -> None:
        """Ends all of them."""
        with self._lock:
            self._is_closed = True
            for _, opening in self._running.values():
                if opening is not None:
                    with contextlib.suppress(OSError):
                        opening.shutdown(socket.SHUT_RDWR)
            while self._opened:
                _close(self._opened.popleft()[1])
            self.wake.close()
            self._waker.close()

    def _open(self, link: Link) -> None:
        opening: Optional[socket.socket] = None
        try:
            place = host_and_port(link.address)
            left_s = max(link.deadline - time.monotonic(), 0.001)
            opening = socket.create_connection(place, timeout=left_s)
            opening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                opening = self._shake_hands(self._context, opening, place[0], link)
            opening.setblocking(False)
            self._ends(link, opening)
        except (OSError, ValueError) as error:
            if opening is not None:
                opening.close()
            self._ends(link, ConnectError(told(error)))

    def _shake_hands(
        self, context: ssl.SSLContext, plain: socket.socket, host: str, link: Link
    ) -> ssl.SSLSocket:
        secured = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        try:
            with self._lock:
                # A handshake reads as often as it likes: it ends where this is shut down.
                self._running[link.address] = link, secured
                if self._is_closed:
                    raise ConnectError("the client was closed")
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _ends(self, link: Link, opened: Opened) -> None:
        with self._lock:
            self._running.pop(link.address, None)
        self._deliver(link, opened)

    def _deliver(self, link: Link, opened: Opened) -> None:
        with self._lock:
            if self._is_closed:
                _close(opened)
                return
            self._opened.append((link, opened))
            with contextlib.suppress(BlockingIOError):
                self._waker.send(b"\0")


def _close(opened: Opened) -> None:
    if isinstance(opened, socket.socket):
        opened.close()
