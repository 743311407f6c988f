"""Where to connect next: the configured addresses in turn, and what servers say of the primary. No
socket here."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

from catraca._errors import FieldError

# Addresses learned from WELCOME that are kept beside the configured ones.
MAX_LEARNED = 4
STANDBY = "is a standby"


def host_and_port(address: str) -> Tuple[str, int]:
    """The parts of `host:port`, IPv6 in brackets, in printable ASCII; FieldError for what is
    none."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    number = int(port[:6]) if port.isascii() and port.isdigit() else 0
    if not host or not all("!" <= c <= "~" for c in host) or not 0 < number < 1 << 16:
        raise FieldError(f"{address!r} is no host:port")
    return host, number


class Route:
    """The configured addresses first, then the learned ones, oldest first. Addresses that servers
    name are of ports in clear, so that who speaks TLS does not learn them."""

    def __init__(self, addresses: Sequence[str], learns: bool = True) -> None:
        self.addresses = list(addresses)
        self._configured = len(self.addresses)
        self._learns = learns
        self._next = 0
        # Since the last pause; and what each address said last.
        self._tried: Set[str] = set()
        self._seen: Dict[str, str] = {}

    @property
    def address(self) -> str:
        """The one whose turn it is."""
        return self.addresses[self._next]

    @property
    def is_exhausted(self) -> bool:
        """All were tried since the last pause."""
        return self._tried.issuperset(self.addresses)

    @property
    def others(self) -> List[str]:
        """All but the one whose turn it is."""
        return [address for address in self.addresses if address != self.address]

    def found(self) -> None:
        """The node here takes us."""
        self._seen.clear()

    def found_at(self, address: str) -> None:
        """The node there takes us."""
        self._next = self.addresses.index(address)
        self.found()

    def begin_round(self) -> None:
        """A pause has passed: every address may be tried again."""
        self._tried.clear()

    def failed(self, seen: str) -> None:
        """Nothing is to be had here now: the next one, if possible one that was not tried since the
        last pause."""
        self._seen[self.address] = seen
        self._tried.add(self.address)
        count = len(self.addresses)
        in_turn = [(self._next + step) % count for step in range(1, count + 1)]
        untried = (place for place in in_turn if self.addresses[place] not in self._tried)
        self._next = next(untried, in_turn[0])

    def standby(self, primary: str) -> bool:
        """The node here follows, and names this primary. True: that one is next, and was not tried
        since the last pause."""
        self.failed(STANDBY)
        if not primary or primary in self._tried:
            return False
        if primary not in self.addresses:
            if not self._learns:
                return False
            if len(self.addresses) == self._configured + MAX_LEARNED:
                self._seen.pop(self.addresses.pop(self._configured), None)
            self.addresses.append(primary)
        self._next = self.addresses.index(primary)
        return True

    def no_primary(self) -> str:
        """What the addresses said, where one of them is a standby; else empty."""
        if STANDBY not in self._seen.values():
            return ""
        seen = (f"{address} {said}" for address, said in self._seen.items())
        return "no primary: " + "; ".join(seen)
