"""What goes wrong on the way, by chance: each kind has a rate, and how often it happened is counted."""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

RATES: Mapping[str, float] = MappingProxyType(
    {
        "restoring": 0.03,
        "repeating": 0.1,
        "refusing": 0.04,
        "vanishing": 0.03,
        "limiting": 0.08,
        "expiring": 0.04,
        "burying": 0.01,
        "crawling": 0.0,
        "cutting": 0.03,
    }
)
"""What has a rate, and each time that it is asked whether it happens:

restoring, at the GET of a stream: the control plane comes back from a backup
repeating, at the GET of a stream: the last commands are given again
refusing, at the PATCH with the last byte: the tus server refuses the file when it has all of it
vanishing, at a HEAD or PATCH: the upload is gone from the tus server
limiting, at the start of the agent: until its end a proxy limits the size of a request
expiring, at a POST, HEAD or PATCH: the upload token has expired
burying, at a message that answers a command: it is refused for good
crawling, at a PATCH: it takes many seconds
cutting, at a PATCH: the connection breaks when half of its body went over
"""


class Faults:
    """Shared by the oracle and the relay. Nothing goes wrong once `stop` was called, but what `force` names."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._is_on = True
        self._rates = dict(RATES)
        self.happened: Counter[str] = Counter()

    def stop(self) -> None:
        """From now on the network is perfect."""
        with self._lock:
            self._is_on, self._rates = False, {}

    def force(self, name: str) -> None:
        """From now on this one happens always, and none of the others that have a rate."""
        with self._lock:
            self._rates = {name: 1.0}

    def rage(self, rates: Mapping[str, float] = RATES) -> None:
        """As before `force`, or with other rates."""
        with self._lock:
            self._rates = dict(rates)

    def happens(self, name: str) -> bool:
        """Whether it does, this time."""
        with self._lock:
            does = self._chance.random() < self._rates.get(name, 0.0)
            self.happened[name] += does
            return does

    def of_post(self) -> str:
        """What happens to a POST."""
        kinds = ("none", "503", "cut before", "cut after", "cut half-way", "in progress", "slow")
        return self._pick(kinds, (86, 2, 2, 4, 2, 2, 2))

    def of_stream(self) -> str:
        """What happens at the GET of a stream."""
        return self._pick(("none", "503", "cut at once"), (93, 4, 3))

    def cuts_frame(self) -> bool:
        """Whether the stream ends in the middle of the frame that is due."""
        return self._pick(("none", "cut"), (98, 2)) == "cut"

    def _pick(self, kinds: tuple[str, ...], weights: tuple[int, ...]) -> str:
        with self._lock:
            return self._chance.choices(kinds, weights)[0] if self._is_on else kinds[0]
