"""How often somebody may be wrong, or ask for access tokens. In memory, of one process, bounded."""

import ipaddress
import math
from collections import OrderedDict, deque

from sse_agent.clock import Clock
from sse_agent.control_plane.problems import TooManyRequests, TooManyTries
from sse_agent.control_plane.rates import Rates

_SOURCES = 10_000
ADDRESS_AT_ONCE, ADDRESS_PER_S = 10_000.0, 100.0
"""Thousands of agents may stand behind one address, and all come back when their network does."""
CLIENT_AT_ONCE, CLIENT_PER_S = 60.0, 1.0
"""An agent needs one in eight minutes; while it waits to be confirmed, `enroll` asks every two to four seconds."""


class WrongTries:
    """At most `limit` wrong tries of one source within `window_s`."""

    def __init__(self, clock: Clock, limit: int = 10, window_s: float = 60.0) -> None:
        self._clock = clock
        self._limit = limit
        self._window_s = window_s
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises TooManyTries."""
        tries = self._tries.get(_source(address))
        if tries is None or len(tries) < self._limit:
            return
        left_s = tries[0] + self._window_s - self._clock.monotonic()
        if left_s > 0:
            raise TooManyTries(retry_after_s=math.ceil(left_s))

    def count(self, address: str) -> None:
        """It was wrong once more."""
        source = _source(address)
        # The newest few say all that `check` asks.
        self._tries.setdefault(source, deque(maxlen=self._limit)).append(self._clock.monotonic())
        self._tries.move_to_end(source)
        if len(self._tries) > _SOURCES:
            self._tries.popitem(last=False)


class TokenRequests:
    """From one address, whatever they are worth; and by the key of one agent.

    The second counts only what that key has signed: whoever else sends an agent's name can't lock it out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of_addresses = Rates(ADDRESS_PER_S, ADDRESS_AT_ONCE)
        self._of_clients = Rates(CLIENT_PER_S, CLIENT_AT_ONCE)

    def from_address(self, address: str) -> None:
        """One more. Raises TooManyRequests."""
        self._take(self._of_addresses, _source(address))

    def by_client(self, client_id: str) -> None:
        """One more. Raises TooManyRequests."""
        self._take(self._of_clients, client_id)

    def _take(self, rates: Rates, asker: str) -> None:
        wait_s = rates.wait_s(asker, self._clock.monotonic())
        if wait_s > 0:
            raise TooManyRequests(retry_after_s=math.ceil(wait_s))


def _source(address: str) -> str:
    """Whoever has one IPv6 address has 2^64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
