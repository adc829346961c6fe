"""The two ways to watch an agent: lines for a log, and the console for a person."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import anyio

from sse_agent.clock import Clock
from sse_agent.events import Feed
from sse_agent.lines import Lines

if TYPE_CHECKING:
    import rich.console

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
    """The live console, where a person can answer; lines for people on a terminal that can't be drawn on."""

    clock: Clock

    @property
    def is_attended(self) -> bool:
        """A terminal that only takes lines (TERM=dumb, an old Windows) has no place to type."""
        terminal = _terminal()
        return not (terminal.is_dumb_terminal or terminal.legacy_windows)

    async def run(self, feed: Feed, say: Say) -> None:
        """Until cancelled."""
        if not self.is_attended:
            await LinesView(self.clock, "text", "info").run(feed, say)
            return
        from sse_agent import console
        from sse_agent.chat import Keyboard

        keyboard = Keyboard(sys.stdin)
        typing = anyio.CancelScope()

        async def read() -> None:
            with typing:
                await keyboard.read(say)

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await console.show(
                feed, self.clock, console=_terminal(), draft=lambda: keyboard.draft, on_leave=typing.cancel
            )


@cache
def _terminal() -> "rich.console.Console":
    # Imported here, so that a headless agent never loads what draws.
    import rich.console

    return rich.console.Console()
