"""Where the client of catraca.py connects, and one connection past its handshake. Python 3.9 and later, standard library only."""

from __future__ import annotations

import socket
import time
from typing import Dict, List, Optional, Sequence, Set, Tuple

from catraca_frames import HEADER, ConnectError, NoPrimary, ProtocolError, Refused, Welcome, decode_reply, reply_len

# Addresses learned from WELCOME that are kept beside the configured ones.
MAX_LEARNED = 4


class Connection:
    """One TCP connection past its handshake."""

    def __init__(self, address: str, hello: bytes, connect_timeout_s: float, answer_timeout_s: float) -> None:
        deadline = time.monotonic() + connect_timeout_s
        host, _, port = address.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=connect_timeout_s)
        except (OSError, ValueError, OverflowError) as error:
            raise ConnectError(f"no connection to {address}: {error}") from error
        self.answer_timeout_s = answer_timeout_s
        self.buffer = bytearray()
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
        """The next reply; None when the deadline comes first."""
        while True:
            needed = HEADER.size
            if len(self.buffer) >= needed:
                needed = reply_len(bytes(self.buffer[:needed]))
                if len(self.buffer) >= needed:
                    raw = bytes(self.buffer[:needed])
                    del self.buffer[:needed]
                    return decode_reply(raw)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                continue
            if not data:
                raise ConnectionError("the server closed the connection")
            self.buffer += data


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
