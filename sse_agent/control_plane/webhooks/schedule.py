"""Pure: when a delivery is tried again, and when it is given up. The waits are those of Standard Webhooks."""

import random
from collections.abc import Callable

WAITS_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
JITTER = 0.2
LONGEST_ASKED_S = 86_400.0

Uniform = Callable[[float, float], float]


def wait_s(tries: int, *, asked_s: float | None = None, uniform: Uniform = random.uniform) -> float | None:
    """Seconds until the next try after `tries` failed ones (from 1); None: it is given up.

    `asked_s` is what `Retry-After` asked for, the least wait. Jitter only adds.
    """
    if tries > len(WAITS_S):
        return None
    least = max(WAITS_S[tries - 1], min(asked_s or 0.0, LONGEST_ASKED_S))
    return least + uniform(0.0, JITTER * least)
