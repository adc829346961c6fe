"""The only reader of time. Tests hand in a clock of their own."""

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the rest of the agent may know about time."""

    def now(self) -> datetime:
        """Wall time, aware, UTC. May jump; never used to measure a wait."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-22T10:30:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """The instant an RFC 3339 text names. Raises ValueError for anything else, a missing offset included."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; expected RFC 3339, such as 2026-11-22T10:30:00Z")
    return at.astimezone(UTC)
