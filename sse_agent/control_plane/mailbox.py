"""What waits for one viewer, in memory: of each thing only the newest, and progress not more often than it is read."""

import asyncio
from collections.abc import Sequence

PACE_S = 0.5
"""Between two frames about the progress of one upload."""
LIMIT, BYTES_LIMIT = 20_000, 8 * 1024 * 1024
"""Things that may wait, and their size. More of it, and the viewer is told to read everything again."""


class Mailbox:
    """Instants are monotonic. `bell` rings when there is something new."""

    def __init__(self) -> None:
        self.bell = asyncio.Event()
        self.is_overrun = False
        self._at_once: dict[str, bytes] = {}
        self._paced: dict[str, tuple[tuple[int, int], bytes]] = {}
        self._told_at: dict[str, float] = {}
        self._bytes = 0

    def put(self, about: str, frame: bytes) -> None:
        """Takes the place of what waits about the same thing."""
        self._bytes += len(frame) - len(self._at_once.pop(about, b""))
        self._at_once[about] = frame
        self._ring()

    def put_progress(self, about: str, rank: tuple[int, int], frame: bytes) -> None:
        """As `put`, unless something of a higher rank waits already."""
        waiting = self._paced.get(about)
        if waiting is None or waiting[0] < rank:
            self._bytes += len(frame) - (len(waiting[1]) if waiting else 0)
            self._paced[about] = (rank, frame)
            self._ring()

    def take(self, now: float) -> Sequence[bytes]:
        """What may be told now."""
        frames = list(self._at_once.values())
        self._at_once.clear()
        for about in [about for about in self._paced if self._free_at(about) <= now]:
            frames.append(self._paced.pop(about)[1])
            self._told_at[about] = now
        self._bytes -= sum(map(len, frames))
        # What was told long ago holds nothing back any more.
        for about in [about for about, at in self._told_at.items() if at + PACE_S <= now]:
            del self._told_at[about]
        return frames

    def due_at(self) -> float:
        """When the next of what waits may be told; infinity if nothing waits."""
        return min((self._free_at(about) for about in self._paced), default=float("inf"))

    def empty(self) -> None:
        """Forget everything: the viewer reads it all again."""
        self._at_once.clear()
        self._paced.clear()
        self._bytes = 0
        self.is_overrun = False

    def _free_at(self, about: str) -> float:
        return self._told_at.get(about, float("-inf")) + PACE_S

    def _ring(self) -> None:
        if len(self._at_once) + len(self._paced) > LIMIT or self._bytes > BYTES_LIMIT:
            self.empty()
            self.is_overrun = True
        self.bell.set()
