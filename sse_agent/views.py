"""The two ways to watch an agent: lines for a log, and the console for a person."""

import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import anyio

from sse_agent.clock import Clock
from sse_agent.lines import Lines

if TYPE_CHECKING:
    import rich.console

    from sse_agent.agent import Inside


@dataclass(frozen=True, slots=True)
class LinesView:
    """A line an event on standard error."""

    clock: Clock
    style: Literal["json", "text"]
    level: str
    is_attended: bool = False

    async def run(self, inside: "Inside") -> None:
        """Until cancelled."""
        with inside.feed.listening(Lines(sys.stderr, self.clock, style=self.style, level=self.level)):
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

    async def run(self, inside: "Inside") -> None:
        """Until cancelled."""
        from sse_agent import console

        if not self.is_attended:
            try:
                await LinesView(self.clock, "text", "info").run(inside)
            finally:
                console.say_farewell(inside.board, self.clock, _terminal())
            return
        from sse_agent.chat import Keyboard

        logbook = console.Logbook()
        session = console.Session(inside.board, inside.desk, self.clock, logbook, inside.say, inside.stop)
        typing = anyio.CancelScope()

        async def read() -> None:
            with typing:
                await Keyboard(sys.stdin).read(session.press)

        with inside.feed.listening(Lines(logbook, self.clock, style="text", level="info")):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await console.show(session, self.clock, console=_terminal(), on_leave=typing.cancel)


@cache
def _terminal() -> "rich.console.Console":
    # Imported here, so that a headless agent never loads what draws.
    import rich.console

    return rich.console.Console()
