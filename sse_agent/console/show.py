"""When what is painted: at most four frames a second, and only if something changed."""

from collections.abc import Callable

import anyio
from rich.console import Console

from sse_agent.board import Board
from sse_agent.clock import Clock
from sse_agent.config import environment
from sse_agent.console import rows
from sse_agent.console.frame import Frame, Moment
from sse_agent.console.rows import Glyphs
from sse_agent.console.screen import Screen
from sse_agent.console.summary import farewell, stopping

TICK_S = 0.05
FRAME_S = 0.25
AGE_S = 1.0


async def show(
    board: Board,
    clock: Clock,
    *,
    console: Console,
    draft: Callable[[], tuple[str, str]],
    on_leave: Callable[[], None] = lambda: None,
) -> None:
    """Until cancelled. When the agent begins to stop the terminal is given back, and `on_leave` called.

    From then on a second signal may end the process at any moment: it must find the terminal as it was.
    """
    screen = Screen(console)
    try:
        try:
            await screen.enter()
            await _paint(board, clock, screen, draft, glyphs_for(console))
        finally:
            await screen.leave()
            on_leave()
        await screen.say(stopping(board))
        await anyio.sleep_forever()
    finally:
        await screen.say(farewell(board, clock.monotonic(), console.width))


async def _paint(
    board: Board, clock: Clock, screen: Screen, draft: Callable[[], tuple[str, str]], glyphs: Glyphs
) -> None:
    """Until the agent begins to stop. What is typed is shown at once, the board in frames, ages every second."""
    shown: object = None
    revision, painted_at = -1, clock.monotonic() - AGE_S
    while not board.stopping:
        now, size, typed = clock.monotonic(), screen.size, draft()
        is_due = now - painted_at >= (FRAME_S if board.revision != revision else AGE_S)
        if is_due or (size, typed) != shown:
            shown, revision, painted_at = (size, typed), board.revision, now
            frame = Frame(board, Moment(now, clock.now(), typed), size[0], size[1], glyphs)
            await screen.paint(frame, size)
        await clock.sleep(TICK_S)


def glyphs_for(console: Console) -> Glyphs:
    """ASCII where the encoding has nothing else, and on Linux's own console, whose font has too little."""
    is_plain = console.options.ascii_only or environment("TERM") == "linux"
    return rows.ASCII if is_plain else rows.PRETTY
