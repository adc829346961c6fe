"""The two ways to watch an agent: lines for a log, and the console for a person."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import anyio

from sse_agent.clock import Clock
from sse_agent.events import Feed
from sse_agent.lines import Lines

Say = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LinesView:
    """A line an event on standard error."""

    clock: Clock
    style: Literal["json", "text"]
    level: str
    is_attended: bool = False

    async def run(self, feed: Feed, say: Say) -> None:
        """Until cancelled."""
        with feed.listening(Lines(sys.stderr, self.clock, style=self.style, level=self.level)):
            await anyio.sleep_forever()


@dataclass(frozen=True, slots=True)
class ConsoleView:
    """The live console; where there is a keyboard, a person can answer."""

    clock: Clock
    is_attended: bool = True

    async def run(self, feed: Feed, say: Say) -> None:
        """Until cancelled."""
        # Imported here, so that a headless agent never loads what draws.
        import rich.console

        from sse_agent import console
        from sse_agent.chat import Keyboard

        keyboard = Keyboard(sys.stdin)
        async with anyio.create_task_group() as group:
            group.start_soon(keyboard.read, say)
            await console.show(feed, self.clock, console=rich.console.Console(), draft=lambda: keyboard.draft)
