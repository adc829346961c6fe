"""Pure: how long until the next try? Time and chance are parameters."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LEAST_ASKED_S = 0.1
MOST_ASKED_S = 15 * 60.0

Uniform = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: `uniform(0, min(cap_s, base_s × 2ⁿ))` on top of the least wait that the other end asked for."""

    base_s: float = 1.0
    cap_s: float = 60.0
    uniform: Uniform = random.uniform

    def wait_s(self, n: int, *, at_least_s: float | None = None) -> float:
        """Seconds before try number `n + 1`; `n` counts the failures before this one, from 0."""
        spread = min(self.cap_s, self.base_s * 2.0 ** min(n, 32))
        return asked(at_least_s) + self.uniform(0.0, spread)


def asked(seconds: float | None) -> float:
    """What `Retry-After` or `retry:` asked for, within bounds; 0 if nothing was asked."""
    return 0.0 if seconds is None else min(MOST_ASKED_S, max(LEAST_ASKED_S, seconds))


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3), or None if it says nothing usable.

    `now` is what an HTTP date is compared with: the answer's own `Date`, else this machine's clock.
    """
    if not text or len(text) > 64:
        return None
    if text.isascii() and text.isdigit():
        return float(min(int(text), int(MOST_ASKED_S)))
    at = parse_http_date(text)
    return None if at is None else max(0.0, (at - now).total_seconds())


def parse_http_date(text: str) -> datetime | None:
    """The instant that a `Date` or `Retry-After` header names, or None if it names none."""
    if len(text) > 64:
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)


NOT_NOW = Backoff()
"""Every "not now" of the contract."""

NOT_ALLOWED_NOW = Backoff(cap_s=15 * 60.0)
"""403 and 404 to a POST: a lost scope or a restored database takes people to mend."""

ROUTINE = Backoff(base_s=2.0, cap_s=2.0)
"""A stream that was healthy and ended: proxies cut every minute."""


def parked_wait_s(n: int, uniform: Uniform = random.uniform) -> float:
    """Seconds that a parked agent stays silent: 15 minutes, doubling up to 6 hours, plus up to a quarter of it."""
    least = min(6 * 3600.0, 15 * 60.0 * 2.0 ** min(n, 16))
    return least + uniform(0.0, least / 4)
