"""The only reader of time. Tests hand in a clock of their own."""

import re
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


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
    # fromisoformat alone knows more than RFC 3339 (weeks, dates alone) and less (a small t and z).
    if not _RFC_3339.fullmatch(text):
        raise ValueError("expected RFC 3339 with an offset, such as 2026-11-22T10:30:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("expected an instant between the years 1 and 9999 in UTC") from None
