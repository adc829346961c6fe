"""A clock that stands still until it is told to go on."""

from datetime import UTC, datetime, timedelta

import anyio


class FakeClock:
    """`sleep` returns when `advance` has gone far enough; every sleep asked for is kept in `sleeps`."""

    def __init__(self, start: datetime = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)) -> None:
        self._wall = start
        self._monotonic = 1000.0
        self._moved = anyio.Event()
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        until = self._monotonic + seconds
        while self._monotonic < until:
            await self._moved.wait()

    def advance(self, seconds: float) -> None:
        """Time passes, on the wall and in the machine."""
        self._monotonic += seconds
        self.jump(seconds)
        self._moved.set()
        self._moved = anyio.Event()

    def jump(self, seconds: float) -> None:
        """Only the wall clock moves: somebody set it, or the machine slept."""
        self._wall += timedelta(seconds=seconds)
