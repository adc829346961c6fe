"""How often somebody may ask: a token bucket for each, in memory. Pure but for what it remembers."""

from collections import OrderedDict

LIMIT = 10_000
"""Askers that are remembered; the ones that were quiet longest are forgotten first."""


class Rates:
    """`per_second` in the long run, `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, asker: str, now: float) -> float:
        """0 if it may ask now (and then it has), else the seconds until it may. `now`: monotonic seconds."""
        left, at = self._buckets.pop(asker, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        may = left >= 1.0
        self._buckets[asker] = (left - 1.0 if may else left, now)
        if len(self._buckets) > LIMIT:
            self._buckets.popitem(last=False)
        return 0.0 if may else (1.0 - left) / self._per_second
