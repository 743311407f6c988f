"""Where the client connects, and one connection past its handshake. Python 3.9 and later, standard library only."""

from __future__ import annotations

import socket
import threading
import time
from typing import Dict, List, Optional, Sequence, Set, Tuple

from catraca._frames import HEADER, ConnectError, NoPrimary, ProtocolError, Refused, Welcome, decode_reply, reply_len

# Addresses learned from WELCOME that are kept beside the configured ones.
MAX_LEARNED = 4


def host_and_port(address: str) -> Tuple[str, int]:
    """The parts of `host:port`, IPv6 in brackets; ValueError for what is none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16):
        raise ValueError(f"{address!r} is no host:port")
    return host, int(port)


class Connection:
    """One TCP connection past its handshake."""

    def __init__(self, address: str, hello: bytes, connect_timeout_s: float, answer_timeout_s: float) -> None:
        deadline = time.monotonic() + connect_timeout_s
        try:
            self.socket = socket.create_connection(host_and_port(address), timeout=connect_timeout_s)
        except (OSError, ValueError) as error:
            raise ConnectError(f"no connection to {address}: {error}") from error
        self.answer_timeout_s = answer_timeout_s
        self.buffer = bytearray()
        # When something came last, or was asked of a node that owed nothing: silence counts from here.
        self.quiet_since = time.monotonic()
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.write(hello)
            reply = self.next(deadline)
            if reply is None or reply[0] != 0 or not isinstance(reply[1], (Welcome, Refused)):
                raise ProtocolError("no WELCOME came")
            if isinstance(reply[1], Refused):
                raise reply[1]
            self.welcome: Welcome = reply[1]
        except (OSError, ProtocolError) as error:
            self.socket.close()
            raise ConnectError(f"no connection to {address}: {error}") from error
        except BaseException:
            self.socket.close()
            raise

    def write(self, data: bytes) -> None:
        self.socket.settimeout(self.answer_timeout_s)
        self.socket.sendall(data)

    def next(self, deadline: float) -> Optional[Tuple[int, object]]:
        """The next reply; None when the deadline comes first. What has come already is read after the deadline too."""
        while True:
            needed = HEADER.size
            if len(self.buffer) >= needed:
                needed = reply_len(bytes(self.buffer[:needed]))
                if len(self.buffer) >= needed:
                    raw = bytes(self.buffer[:needed])
                    del self.buffer[:needed]
                    return decode_reply(raw)
            left = max(deadline - time.monotonic(), 0)
            self.socket.settimeout(left)  # 0 takes what is there, and does not wait.
            try:
                data = self.socket.recv(65536)
            except (socket.timeout, BlockingIOError):
                if left:
                    continue
                return None
            if not data:
                raise ConnectionError("the server closed the connection")
            self.quiet_since = time.monotonic()
            self.buffer += data


class Lookout:
    """Asks addresses whether one of them is a primary, aside from the caller: however slow they are, they take none of its time.

    Each has a thread, because the name of a host can take longer to resolve than any time that it is given.
    """

    def __init__(self, hello: bytes, answer_timeout_s: float) -> None:
        self._hello, self._answer_timeout_s = hello, answer_timeout_s
        self._lock = threading.Lock()
        self._asked: Set[str] = set()
        # Answers to an earlier round count for nothing.
        self._round = 0
        self._found: Optional[Tuple[str, Connection]] = None

    @property
    def is_asking(self) -> bool:
        with self._lock:
            return bool(self._asked) or self._found is not None

    def ask(self, addresses: Sequence[str], least_epoch: int, time_s: float) -> None:
        """Begins a round. One that decides in an epoch below `least_epoch` was replaced, and does not know it: it does not count."""
        self.forget()
        for address in addresses:
            with self._lock:
                # A thread for each address at most, also where one hangs over many rounds.
                if address in self._asked:
                    continue
                self._asked.add(address)
            thread = threading.Thread(target=self._ask, args=(address, least_epoch, time_s, self._round), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # No thread is to be had: then nobody looks this time.
                with self._lock:
                    self._asked.discard(address)

    def take(self) -> Optional[Tuple[str, Connection]]:
        """A primary that was found in this round, and its connection; the caller owns it then."""
        with self._lock:
            found, self._found = self._found, None
        return found

    def forget(self) -> None:
        """Ends the round."""
        with self._lock:
            self._round += 1
        found = self.take()
        if found:
            found[1].socket.close()

    def _ask(self, address: str, least_epoch: int, time_s: float, of_round: int) -> None:
        connection: Optional[Connection] = None
        try:
            connection = Connection(address, self._hello, time_s, self._answer_timeout_s)
        except (ConnectError, Refused):
            pass  # Whatever is wrong there, it is no primary to go to.
        finally:
            with self._lock:
                self._asked.discard(address)
                if connection and connection.welcome.primary and connection.welcome.epoch >= least_epoch \
                        and of_round == self._round and self._found is None:
                    self._found, connection = (address, connection), None
            if connection:
                connection.socket.close()


class Route:
    """Where to connect next: the configured addresses in turn, and what servers say of the primary."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self._configured = len(self.addresses)
        self._next = 0
        # Since the last pause; and what each address said last.
        self._tried: Set[str] = set()
        self._seen: Dict[str, str] = {}

    @property
    def address(self) -> str:
        return self.addresses[self._next]

    @property
    def is_exhausted(self) -> bool:
        return self._tried.issuperset(self.addresses)

    @property
    def others(self) -> List[str]:
        return [address for address in self.addresses if address != self.address]

    def found_at(self, address: str) -> None:
        self._next = self.addresses.index(address)
        self.found()

    def begin_round(self) -> None:
        self._tried.clear()

    def found(self) -> None:
        self._seen.clear()

    def failed(self, seen: str) -> None:
        """Nothing is to be had at this address now: the next one, if possible one that was not tried since the last pause."""
        self._seen[self.address] = seen
        self._tried.add(self.address)
        in_turn = [(self._next + step) % len(self.addresses) for step in range(1, len(self.addresses) + 1)]
        self._next = next((place for place in in_turn if self.addresses[place] not in self._tried), in_turn[0])

    def cut_off(self, seen: str) -> None:
        """The caller's time ended in the middle of the attempt, which tells nothing of the node: that it follows stays known."""
        follows = self._seen.get(self.address) == "is a standby"
        self.failed("is a standby" if follows else seen)

    def standby(self, primary: str) -> bool:
        """The node here follows, and names this primary. True: that one is next, and was not tried since the last pause."""
        self.failed("is a standby")
        if not primary or primary in self._tried:
            return False
        if primary not in self.addresses:
            if len(self.addresses) == self._configured + MAX_LEARNED:
                self._seen.pop(self.addresses.pop(self._configured), None)
            self.addresses.append(primary)
        self._next = self.addresses.index(primary)
        return True

    def no_primary(self) -> Optional[NoPrimary]:
        """What the addresses said, where one of them is a standby."""
        if "is a standby" not in self._seen.values():
            return None
        seen = (f"{address} {self._seen[address]}" for address in self.addresses if address in self._seen)
        return NoPrimary("no primary: " + "; ".join(seen))
