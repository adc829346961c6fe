"""How often somebody may be wrong. In memory, of one process, bounded."""

import ipaddress
import math
from collections import OrderedDict, deque

from sse_agent.clock import Clock
from sse_agent.control_plane.problems import TooManyTries

_SOURCES = 10_000


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


def _source(address: str) -> str:
    """Whoever has one IPv6 address has 2^64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
