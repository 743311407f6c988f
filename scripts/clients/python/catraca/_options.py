"""Where to connect, who the client is, and how long it waits. What both clients take, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple, Union

from catraca._errors import FieldError
from catraca._frames import hello_frame
from catraca._route import host_and_port

# Unanswered frames on a connection at most, whatever the server would allow.
MAX_IN_FLIGHT = 65_536
# A time-out or a pause above this is a mistake.
MAX_TIME_S = 3_600.0


@dataclass(frozen=True)
class Timing:
    """How soon another primary is looked for, of the protocol; tests are less patient."""

    #: How long nothing at all comes from a node that owes something until it is looked: far above
    #: the pauses of a healthy disk, and a quarter of the longest budget. A connection attempt has
    #: as long where there is another address.
    silence_s: float = 0.5
    #: How often it is looked at most.
    look_every_s: float = 1.0
    #: How long an address has for its WELCOME: less, so that a round is over before the next.
    look_time_s: float = 0.5


@dataclass(frozen=True)
class Options:
    """The arguments of a client, checked."""

    addresses: Tuple[str, ...]
    #: Leaves a standby for the node that decides, and follows when another one becomes it.
    follows: bool
    #: Of the credential that the client begins with.
    hello: bytes
    name: str
    #: 0 leaves it to the server.
    in_flight: int
    connect_timeout_s: float
    answer_timeout_s: float
    reconnect_base_s: float
    reconnect_max_s: float
    #: Connections are of TLS.
    is_secure: bool
    timing: Timing

    @classmethod
    def checked(
        cls,
        address: Union[str, Sequence[str]],
        role: str,
        credential: str,
        name: str,
        in_flight: int,
        times_s: Tuple[float, float, float, float],
        is_secure: bool,
        timing: Optional[Timing],
    ) -> Options:
        """FieldError for what can't work."""
        addresses = (address,) if isinstance(address, str) else tuple(address)
        if not addresses or len(set(addresses)) != len(addresses):
            raise FieldError("give addresses, each once")
        for one in addresses:
            host_and_port(one)
        if role not in ("primary", "any"):
            raise FieldError("a role is primary or any")
        if not 0 <= in_flight <= MAX_IN_FLIGHT:
            raise FieldError(f"an in_flight is 0 to {MAX_IN_FLIGHT}")
        if not all(0 < time_s <= MAX_TIME_S for time_s in times_s):
            raise FieldError("a time is above 0, and an hour at most")
        hello = hello_frame(credential, name, in_flight)
        follows = role == "primary"
        timing = timing or Timing()
        return cls(addresses, follows, hello, name, in_flight, *times_s, is_secure, timing)
