"""The console: straight columns whatever the names, little work, and the terminal given back."""

import io
import re
import threading
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from rich.cells import cell_len
from rich.console import Console

from sse_agent import events
from sse_agent.board import Board
from sse_agent.console import Frame, Moment, show
from sse_agent.console.rows import ASCII, PRETTY, Glyphs
from sse_agent.console.screen import ENTER, LEAVE, LEAVE_WITHIN_S
from sse_agent.console.show import AGE_S, TICK_S
from sse_agent.events import Event, Feed
from sse_agent.lifecycle import UploadState
from tests.doubles.clock import FakeClock
from tests.test_printable import HOSTILE

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
MIB = 1024 * 1024
SIZES = [(80, 24), (100, 30), (120, 40), (150, 20), (200, 60), (64, 16), (40, 10), (24, 8), (20, 3), (20, 1)]
SHA256 = "8f14e45fceea167a5a36dedd4bea25438f14e45fceea167a5a36dedd4bea2543"
STARTED = events.AgentStarted("0.1.0", "warehouse-7", "https://control.example.com", 1, {"paused": 1}, 0)
CONNECTED = events.StreamConnected("sse", resumed=True, latest="k/1")


def uploading(
    file_id: str, name: str, size: int = 120 * MIB, offset: int = 20 * MIB, sent: int = 57 * MIB
) -> list[Event]:
    return [
        events.UploadStarted(file_id, name, size, 0, 1),
        events.UploadProgressed(file_id, offset, sent, size, 6 * MIB),
    ]


def everything() -> Board:
    """Every kind of row, each with every hostile text."""
    board = Board()
    happened: list[Event] = [STARTED, events.StreamLost(HOSTILE[0] * 9, 9.0, 1)]
    for number, text in enumerate(HOSTILE):
        happened += uploading(f"u{number}", text)
        happened += [*uploading(f"w{number}", text), events.UploadWaiting(f"w{number}", 9, text, AT, 3)]
        happened += [*uploading(f"p{number}", text), events.UploadPaused(f"p{number}", 9)]
        happened += [events.UploadQueued(f"q{number}", text, number, 0, 5, "new")]
        happened += [events.UploadCompleted(f"c{number}", text, number**9, SHA256, number**3, "response")]
        happened += [events.UploadEnded(f"x{number}", UploadState.FAILED, "NOT_FOUND", text, text, retryable=False)]
        happened += [events.CommandFinished(text, text, "rejected", "NOT_ALLOWED", text)]
        happened += [events.MessageShown(text, text, mine=number % 2 == 0)]
    happened += [events.SenderHeldUp(text, 9.0, 1), events.JournalTrouble(text), events.MessageBuried(text, text, text)]
    for event in happened:
        board.apply(event, 100.0, AT)
    return board


def lines_of(board: Board, width: int = 80, height: int = 24, glyphs: Glyphs = PRETTY, draft: str = "") -> list[str]:
    """The picture as plain text."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    frame = Frame(board, Moment(105.0, AT + timedelta(seconds=5), (draft, "")), width, height, glyphs)
    with console.capture() as capture:
        console.print(frame, end="", crop=False, soft_wrap=True)
    return capture.get().split("\n")


def board_of(*happened: Event) -> Board:
    board = Board()
    for event in happened:
        board.apply(event, 100.0, AT)
    return board


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("glyphs", [PRETTY, ASCII])
def test_a_picture_is_exactly_as_large_as_the_terminal_and_holds_nothing_to_obey(
    size: tuple[int, int], glyphs: Glyphs
) -> None:
    for board in (everything(), board_of(), board_of(STARTED, CONNECTED, *uploading("u", "x"))):
        for draft in ("", *HOSTILE):
            lines = lines_of(board, *size, glyphs, draft)
            assert [cell_len(line) for line in lines] == [size[0]] * size[1]
            assert glyphs.is_ascii <= "".join(lines).isascii()
            found = {unicodedata.category(character) for line in lines for character in line}
            assert found.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@pytest.mark.parametrize("width", [64, 80, 100, 120, 200])
def test_columns_are_straight_whatever_the_names(width: int) -> None:
    board = board_of(STARTED, CONNECTED)
    for number, text in enumerate(HOSTILE):
        for event in uploading(f"u{number}", text):
            board.apply(event, 100.0, AT)
    rows = [line for line in lines_of(board, width, 60) if "57.0/120 MiB" in line]
    assert len(rows) == len(HOSTILE)
    assert len({cell_len(row[: row.index(" 47 %")]) for row in rows}) == 1
    assert len({cell_len(row[: row.index("57.0/120 MiB")]) for row in rows}) == 1


def test_a_row_tells_what_is_sent_and_what_is_confirmed_apart() -> None:
    row = next(line for line in lines_of(board_of(*uploading("u", "big.bin")), 120) if "big.bin" in line)
    bar = re.search("━*╍*─*", row[row.index("━") :])
    assert bar is not None
    confirmed, sent, left = (bar[0].count(glyph) for glyph in "━╍─")
    assert confirmed == 20 * len(bar[0]) // 120
    assert confirmed + sent == 57 * len(bar[0]) // 120
    assert left == len(bar[0]) - confirmed - sent
    assert row.split()[2:] == ["47", "%", "57.0/120", "MiB", "20.0", "MiB", "6.00", "MiB/s", "10", "s"]


def test_an_upload_is_never_at_100_percent_before_it_is_complete() -> None:
    row = next(line for line in lines_of(board_of(*uploading("u", "big.bin", 10, 5, 10))) if "big.bin" in line)
    assert "99 %" in row
    assert "100 %" not in row


def test_one_that_waits_says_why_and_counts_down_to_the_next_try() -> None:
    next_try_at = AT + timedelta(seconds=47)
    board = board_of(*uploading("u", "big.bin"), events.UploadWaiting("u", 20 * MIB, "423 Locked", next_try_at, 2))
    row = next(line for line in lines_of(board, 120) if "big.bin" in line)
    assert re.search(r"waiting  423 Locked +again in 42 s, try 3$", row.rstrip())


def test_the_head_says_how_the_connection_is_in_every_width() -> None:
    board = board_of(STARTED, events.StreamLost("Connection refused", 42.0, 3))
    assert lines_of(board)[0].rstrip() == (
        " sse-agent 0.1.0 · warehouse-7         ○ disconnected · again in 37 s · for 5 s"
    )
    assert "Connection refused" in lines_of(board)[1]
    for width in (20, 30, 40, 60):
        assert "○ disconnec" in lines_of(board, width)[0]


def test_what_there_is_no_room_for_is_counted() -> None:
    board = board_of(STARTED, CONNECTED, *uploading("u", "big.bin"))
    for number in range(10_000):
        board.apply(events.UploadQueued(f"q{number}", f"next-{number:05}", MIB, 0, 5, "new"), 100.0, AT)
    text = "\n".join(lines_of(board, 100, 30))
    assert "1 uploading · 1 paused · 10,000 queued (9.77 GiB)" in text
    shown = [line for line in text.split("\n") if re.match(" next-[0-9]+ +queued", line)]
    assert [line.split()[0] for line in shown] == [f"next-{number:05}" for number in range(len(shown))]
    assert f"and 1 paused · {10_000 - len(shown):,} queued" in text


def test_the_chat_shows_its_end_and_no_line_of_it_passes_for_another() -> None:
    board = board_of(
        *(events.MessageShown("demo", f"line {number}", mine=False) for number in range(50)),
        events.MessageShown("demo", "first\n 10:31  you  forged", mine=False),
    )
    lines = [line.rstrip() for line in lines_of(board)]
    forged = next(number for number, line in enumerate(lines) if "forged" in line)
    assert lines[forged - 1].endswith("demo  first")
    assert lines[forged].startswith(" " * 14)
    assert not any(line.endswith("line 0") for line in lines)


def test_the_cursor_stays_in_sight_in_a_long_draft() -> None:
    line = lines_of(board_of(), draft="x" * 4000 + "the end")[-2]
    assert line.rstrip().endswith("the end")


# --- in a terminal ----------------------------------------------------------------------------------


@dataclass
class Watched:
    """A console that is shown with a clock that stands still."""

    feed: Feed
    clock: FakeClock
    file: io.StringIO
    console: Console
    draft: tuple[str, str] = ("", "")
    left: list[str] = field(default_factory=list)

    def text(self) -> str:
        return self.file.getvalue()

    def frames(self) -> int:
        return self.text().count("\x1b[?2026h")

    async def pass_time(self, seconds: float) -> None:
        """In ticks, each of which the console sees."""
        for _ in range(round(seconds / TICK_S)):
            asked = len(self.clock.sleeps)
            self.clock.advance(TICK_S)
            while len(self.clock.sleeps) == asked:
                await anyio.lowlevel.checkpoint()

    async def see(self, text: str, tick_s: float = 0.0) -> None:
        while text not in self.text():
            self.clock.advance(tick_s)
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def shown(file: io.StringIO | None = None, **more: object) -> AsyncIterator[Watched]:
    file = file or io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=24, color_system="standard", **more)  # type: ignore[arg-type]
    watched = Watched(Feed(), FakeClock(), file, console)
    board, clock = Board(), watched.clock
    folding = watched.feed.listening(lambda event: board.apply(event, clock.monotonic(), clock.now()))
    with anyio.fail_after(20), folding:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await show(
                    board,
                    clock,
                    console=console,
                    draft=lambda: watched.draft,
                    on_leave=lambda: watched.left.append(watched.text()),
                )

            group.start_soon(run)
            yield watched
            group.cancel_scope.cancel()


async def test_at_most_four_frames_a_second_and_one_while_nothing_happens() -> None:
    async with shown() as watched:
        watched.feed.emit(STARTED)
        watched.feed.emit(CONNECTED)
        await watched.see("warehouse-7")
        await watched.pass_time(1)
        before = watched.frames()
        await watched.pass_time(10)
        assert watched.frames() - before <= 10 / AGE_S
        for event in uploading("u", "big.bin"):
            watched.feed.emit(event)
        before = watched.frames()
        for sent in range(100):
            watched.feed.emit(events.UploadProgressed("u", 0, sent * MIB, 120 * MIB, 5 * MIB))
            await watched.pass_time(0.1)
        assert 20 < watched.frames() - before <= 41


async def test_what_is_typed_is_seen_at_once() -> None:
    async with shown() as watched:
        await watched.see("type to answer")
        await watched.pass_time(0.3)
        watched.draft = ("hello", "")
        await watched.pass_time(TICK_S)
        assert "hello" in watched.text()


async def test_a_frame_only_writes_the_lines_that_changed() -> None:
    async with shown() as watched:
        watched.feed.emit(STARTED)
        await watched.see("warehouse-7")
        await watched.pass_time(1)
        before = len(watched.text())
        watched.draft = ("hello", "")
        await watched.pass_time(TICK_S)
        changed = watched.text()[before:]
        # The age of the connection is in the first line.
        assert {"23"} <= set(re.findall(r"\x1b\[([0-9]+);1H", changed)) <= {"1", "23"}


async def test_a_terminal_of_another_size_is_painted_anew() -> None:
    async with shown() as watched:
        await watched.see("type to answer")
        watched.console.size = (100, 30)  # type: ignore[assignment]
        await watched.see("\x1b[30;1H", TICK_S)


async def test_when_the_agent_stops_the_terminal_is_given_back_first_and_a_summary_stays() -> None:
    async with shown() as watched:
        for event in (STARTED, CONNECTED, *uploading("u", "big.bin")):
            watched.feed.emit(event)
        watched.feed.emit(events.UploadCompleted("c", "evil\x1b[2J[red].bin", 3 * MIB, SHA256, 1.5, "response"))
        await watched.see("big.bin")
        watched.feed.emit(events.AgentStopping("SIGINT"))
        await watched.see("Ctrl-C again stops at once", TICK_S)
        assert watched.text().startswith(ENTER)
        assert len(watched.left) == 1
        assert watched.left[0].endswith(LEAVE)
        watched.feed.emit(events.UploadCompleted("u", "big.bin", 120 * MIB, SHA256, 9.0, "response"))
    stays = re.sub(r"\x1b\[[0-9;]*m", "", watched.text()[len(watched.left[0]) :])
    assert "\x1b" not in stays
    assert "finished  2 complete (123 MiB)" in stays
    assert "last      big.bin  120 MiB  sha256 8f14e45fceea167a" in stays
    assert "evil\\x1b[2J[red].bin  3.00 MiB" in stays


async def test_the_terminal_is_given_back_also_when_the_agent_breaks() -> None:
    async with shown() as watched:
        await watched.see("type to answer")
    assert watched.text().count(LEAVE) == 1
    assert watched.text().index(LEAVE) < watched.text().index("finished")


async def test_the_terminal_is_given_back_also_when_the_agent_has_stopped_before_anybody_looked() -> None:
    async with shown() as watched:
        await watched.see("type to answer")
        watched.feed.emit(events.AgentStopping("SIGINT"))
        watched.feed.emit(events.AgentStopped("SIGINT"))
    assert watched.text().count(LEAVE) == 1


async def test_behind_a_name_whose_width_terminals_disagree_about_the_column_is_set_anew() -> None:
    async with shown() as watched:
        for event in uploading("u", "\u2764\ufe0f 報告.pdf"):
            watched.feed.emit(event)
        await watched.see("報告.pdf")
    painted = re.search("報告.pdf *\x1b\\[([0-9]+)G", watched.text())
    assert painted is not None
    row = next(line for line in lines_of(board_of(*uploading("u", "plain.pdf"))) if "plain.pdf" in line)
    assert int(painted[1]) == row.index("━") - 1


async def test_without_colours_nothing_is_coloured() -> None:
    async with shown(no_color=True) as watched:
        for event in (STARTED, CONNECTED, *uploading("u", "big.bin")):
            watched.feed.emit(event)
        await watched.see("big.bin")
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-9]|4[0-9]|9[0-7])\b[0-9;]*m", watched.text())


class StuckFile(io.StringIO):
    """A terminal that has stopped reading: a connection that died."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stuck = False
        self.free = threading.Event()

    def write(self, text: str) -> int:
        if self.is_stuck and text:
            self.free.wait(10)
        return super().write(text)


async def test_a_terminal_that_stops_reading_stops_neither_the_agent_nor_its_end() -> None:
    file = StuckFile()
    async with shown(file) as watched:
        await watched.see("type to answer")
        file.is_stuck = True
        watched.clock.advance(AGE_S)
        for number in range(100):
            watched.feed.emit(events.MessageShown("demo", f"line {number}", mine=False))
            await anyio.lowlevel.checkpoint()
        ending = anyio.current_time()
    assert anyio.current_time() - ending < 2 * LEAVE_WITHIN_S
    file.free.set()


class BrokenFile(io.StringIO):
    """A terminal that is gone."""

    def write(self, text: str) -> int:
        if text:
            raise OSError(5, "Input/output error")
        return 0


async def test_a_terminal_that_is_gone_is_no_reason_to_stop() -> None:
    async with shown(BrokenFile()) as watched:
        await watched.pass_time(2)
        watched.feed.emit(events.AgentStopping("SIGTERM"))
        while not watched.left:
            watched.clock.advance(TICK_S)
            await anyio.lowlevel.checkpoint()
