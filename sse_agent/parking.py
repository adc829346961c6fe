"""Silence by order: another copy of this agent took over (409 `newer-epoch`), or it was deleted (410)."""

from collections.abc import Callable

import anyio


class Parking:
    """One switch that stream, sender and uploader look at. While it is on, nothing is sent and nothing is uploaded."""

    def __init__(self, on_park: Callable[[], None]) -> None:
        self._on_park = on_park
        self.reason: str | None = None
        self._left = anyio.Event()
        self._left.set()

    @property
    def is_parked(self) -> bool:
        """Whether the agent must keep silent."""
        return self.reason is not None

    def park(self, reason: str) -> None:
        """Fall silent."""
        if not self.is_parked:
            self._left = anyio.Event()
        self.reason = reason
        self._on_park()

    def leave(self) -> None:
        """The control plane answered as to its own agent again."""
        self.reason = None
        self._left.set()

    async def until_left(self) -> None:
        """Return at once unless parked, else when it is over."""
        await self._left.wait()
