"""When what is painted: at most two frames a second, and only if something changed; a key at once."""

from collections.abc import Callable

import anyio
from rich.console import Console

from sse_agent.board import Board
from sse_agent.clock import Clock
from sse_agent.console.acting import Session
from sse_agent.console.frame import Frame, Moment
from sse_agent.console.glyphs import Glyphs, glyphs_for
from sse_agent.console.rows import Row
from sse_agent.console.screen import Screen
from sse_agent.console.summary import farewell, stopping

TICK_S = 0.1
FRAME_S = 0.5
AGE_S = 1.0


async def show(
    session: Session, clock: Clock, *, console: Console, on_leave: Callable[[], None] = lambda: None
) -> None:
    """Until cancelled. When the agent begins to stop the terminal is given back, and `on_leave` called.

    From then on a second signal may end the process at any moment: it must find the terminal as it was.
    """
    screen, board, glyphs = Screen(console), session.board, glyphs_for(console)
    try:
        try:
            await screen.enter()
            async with anyio.create_task_group() as group:
                group.start_soon(session.run)
                await _paint(session, clock, screen, glyphs)
                group.cancel_scope.cancel()
        finally:
            await screen.leave()
            on_leave()
        await screen.say(stopping(board))
        await anyio.sleep_forever()
    finally:
        await screen.say(farewell(board, clock.now(), clock.monotonic(), console.width, glyphs))


def say_farewell(board: Board, clock: Clock, console: Console) -> None:
    """The summary alone, after lines on a terminal that can't be drawn on."""
    console.print(farewell(board, clock.now(), clock.monotonic(), console.width, glyphs_for(console)))


async def _paint(session: Session, clock: Clock, screen: Screen, glyphs: Glyphs) -> None:
    """Until the agent begins to stop. A key is answered at once, the board shown in frames, ages every second."""
    shown: object = None
    revision, painted_at = -1, clock.monotonic() - AGE_S
    board = session.board
    while not board.stopping:
        now, size = clock.monotonic(), screen.size
        is_due = now - painted_at >= (FRAME_S if board.revision != revision else AGE_S)
        if is_due or (size, session.state, session.looks) != shown:
            session.refresh()
            shown, revision, painted_at = (size, session.state, session.looks), board.revision, now
            await screen.paint(_lines(session, clock, size, glyphs), size)
        with session.resting():
            await clock.sleep(TICK_S)


def _lines(session: Session, clock: Clock, size: tuple[int, int], glyphs: Glyphs) -> list[Row]:
    moment = Moment(clock.monotonic(), clock.now(), session.state, session.found, session.details, session.logbook)
    frame = Frame(session.board, moment, *size, glyphs)
    session.frame = frame
    return frame.lines()
