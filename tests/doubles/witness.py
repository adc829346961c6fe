"""Waits for what the event feed says."""

from typing import TypeVar

import anyio

from sse_agent.events import Event

WITHIN_S = 30.0
E = TypeVar("E", bound=Event)


class Witness:
    """Everything that a feed says, if `listen` is given to it; each wait is bounded."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._looked_at = 0
        self._happened = anyio.Event()

    def listen(self, event: Event) -> None:
        """For `Feed.listening`."""
        self.events.append(event)
        self._happened.set()
        self._happened = anyio.Event()

    def all(self, kind: type[E]) -> list[E]:
        """What was said of that kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def next(self, kind: type[E]) -> E:
        """The next event of that kind, behind the one that was returned last."""
        with anyio.fail_after(WITHIN_S):
            while True:
                while self._looked_at < len(self.events):
                    event = self.events[self._looked_at]
                    self._looked_at += 1
                    if isinstance(event, kind):
                        return event
                await self._happened.wait()
