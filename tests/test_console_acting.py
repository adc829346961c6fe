"""What a person wishes at the console is done through the desk; what is refused is said; what is looked up is shown."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

from sse_agent import events
from sse_agent.board import Board
from sse_agent.console import Logbook, Mode, Session
from sse_agent.console.acting import LOOK_EVERY_S, NOTE_S, WISHES
from sse_agent.errors import TryAgain
from sse_agent.lifecycle import UploadState
from tests.doubles.clock import FakeClock
from tests.doubles.desks import FakeDesk, summary
from tests.test_board import AT, cancelled, queued, started


class CountingDesk(FakeDesk):
    """Knows as well how many messages have not gone out."""

    pending = 0

    async def counts(self) -> dict[str, Any]:
        self._check()
        return {"uploads": {}, "queuedBytes": 0, "outbox": {"pending": self.pending, "dead": 0}}


@dataclass
class Seat:
    """A person in front of a session that runs."""

    board: Board
    desk: CountingDesk
    clock: FakeClock
    said: list[str] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)
    can_speak: bool = True

    def __post_init__(self) -> None:
        stop = lambda: self.stopped.append(True)  # noqa: E731
        self.session = Session(self.board, self.desk, self.clock, Logbook(), self.say, stop)

    async def say(self, text: str) -> None:
        if not self.can_speak:
            raise TryAgain("the disk is full")
        self.said.append(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.session.press(key)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await anyio.lowlevel.checkpoint()

    async def notes(self, text: str) -> None:
        await self.until(lambda: self.session.state.note is not None and text in self.session.state.note.text)


@asynccontextmanager
async def seated(desk: CountingDesk, *happened: events.Event) -> AsyncIterator[Seat]:
    board, clock = Board(), FakeClock()
    for event in happened:
        board.apply(event, clock.monotonic(), AT)
    seat = Seat(board, desk, clock)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(seat.session.run)
            yield seat
            group.cancel_scope.cancel()


async def test_what_is_wished_is_done_and_said_to_be_done() -> None:
    async with seated(CountingDesk(), started("a"), started("b")) as seat:
        seat.press("down", "p")
        await seat.notes("paused: a.bin")
        seat.press("down", "c", "y", "R")
        await seat.notes("resumed: 0 uploads")
        assert seat.desk.done == [("pause", "a"), ("cancel", "b"), ("resume", "*")]


async def test_what_is_refused_is_said_with_its_reason() -> None:
    desk = CountingDesk()
    desk.refuses = {"a"}
    async with seated(desk, started("a")) as seat:
        seat.press("down", "p")
        await seat.notes("not paused: the upload is complete: a.bin")
        assert seat.session.state.note is not None
        assert seat.session.state.note.is_bad
        assert desk.done == []


async def test_a_journal_that_takes_nothing_now_is_said_and_a_line_stays_to_be_sent_again() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        seat.desk.is_stuck, seat.can_speak = True, False
        seat.press("down", "p")
        await seat.notes("not now: the disk is full")
        seat.press("m", *"hello", "enter")
        await seat.until(lambda: seat.session.state.draft == ("hello", ""))
        seat.can_speak = True
        seat.press("enter")
        await seat.until(lambda: seat.said == ["hello"])


async def test_lines_are_said_in_the_order_in_which_they_were_typed() -> None:
    async with seated(CountingDesk()) as seat:
        seat.press("m")
        for number in range(9):
            seat.press(f"{number}", "enter")
        await seat.until(lambda: seat.said == [f"{number}" for number in range(9)])


async def test_more_wishes_than_can_be_done_are_refused_and_not_piled_up() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        seat.press("down", *["p"] * (WISHES + 1))
        assert seat.session.state.note is not None
        assert "too much at once" in seat.session.state.note.text
        await seat.until(lambda: len(seat.desk.done) == WISHES)


async def test_quitting_stops_the_agent() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        seat.press("q", "y")
        await seat.until(lambda: seat.stopped)


async def test_details_are_looked_up_and_renewed_while_something_happens() -> None:
    upload = summary("a", "a.bin", "uploading")
    async with seated(CountingDesk(upload), started("a")) as seat:
        seat.press("down", "enter")
        await seat.until(lambda: seat.session.details)
        upload["state"] = "waiting"
        seat.board.apply(events.UploadWaiting("a", 0, "423", AT, 1), 1000.0, AT)
        seat.session.refresh()
        seat.clock.advance(LOOK_EVERY_S)
        seat.session.refresh()
        await seat.until(lambda: seat.session.details and seat.session.details["state"] == "waiting")
        looks = seat.session.looks
        seat.clock.advance(LOOK_EVERY_S)
        seat.session.refresh()
        await anyio.wait_all_tasks_blocked()
        assert seat.session.looks == looks


async def test_details_of_an_upload_that_is_gone_lead_back_to_the_list() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        seat.press("down", "enter")
        await seat.until(lambda: seat.session.state.mode is Mode.LIST)
        assert seat.session.state.note is not None


async def test_a_filter_finds_what_the_board_only_counts_and_what_is_over() -> None:
    desk = CountingDesk(
        summary("x", "other.bin"), summary("y", "old scan.tiff", "complete"), summary("z", "scan 2.tiff")
    )
    async with seated(desk) as seat:
        seat.press("/", *"scan")
        await seat.until(lambda: seat.session.found and seat.session.found.text == "scan")
        assert [upload.file_id for upload in seat.session.listed] == ["z", "y"]
        seat.press("down", "enter", "p")
        await seat.until(lambda: desk.done == [("pause", "z")])
        seat.press("esc")
        assert len(seat.session.listed) == 0


async def test_a_filter_takes_upper_and_lower_case_for_the_same() -> None:
    seen = events.UploadStarted("a", "Straße/SCAN-1.TIFF", 10, 0, 1)
    failed = events.UploadEnded("f", UploadState.FAILED, "FILE_CHANGED", "it grew", "", retryable=True)
    before = events.UploadStarted("f", "Scan-2.tiff", 10, 0, 1)
    by_id = events.UploadQueued("job-9", "x.bin", 10, 0, 5, "new")
    async with seated(CountingDesk(), seen, before, failed, queued("other"), by_id) as seat:
        names = (("scan-", ["a", "f"]), ("STRASSE", ["a"]), ("tiff", ["a", "f"]), ("scan-3", []), ("OB-9", ["job-9"]))
        for text, found in names:
            seat.press("/", *text, "enter")
            await seat.until(lambda text=text: seat.session.found and seat.session.found.text == text)  # type: ignore[misc]
            assert [upload.file_id for upload in seat.session.listed] == found
            seat.press("esc")


async def test_messages_that_can_not_go_out_are_counted_and_quitting_says_so() -> None:
    desk = CountingDesk()
    desk.pending = 3
    lost = events.StreamLost("Connection refused", 42.0, 1)
    async with seated(desk, events.StreamConnected("sse", resumed=True, latest="k/1")) as seat:
        seat.session.refresh()
        await anyio.wait_all_tasks_blocked()
        assert seat.session.unsent == 0
        seat.board.apply(lost, 1000.0, AT)
        seat.clock.advance(LOOK_EVERY_S)
        seat.session.refresh()
        await seat.until(lambda: seat.session.unsent == 3)
        seat.press("q")
        assert seat.session.state.ask is not None
        assert not seat.stopped
        assert seat.session.state.ask.question == "Stop the agent? 3 messages go out at the next start."


async def test_messages_that_nobody_had_counted_yet_are_asked_about_as_well() -> None:
    desk = CountingDesk()
    async with seated(desk, events.StreamLost("Connection refused", 42.0, 1)) as seat:
        desk.pending = 1
        seat.press("q")
        await seat.until(lambda: seat.session.state.ask)
        assert not seat.stopped
        seat.press("y")
        await seat.until(lambda: seat.stopped)


async def test_that_a_question_is_withdrawn_is_told_for_a_while() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        seat.press("down", "c")
        seat.clock.advance(NOTE_S + 1)
        seat.board.apply(cancelled("a"), 1000.0, AT)
        for _ in range(2):
            seat.session.refresh()
            assert seat.session.state.note is not None
            assert seat.session.state.note.text == "the question is withdrawn, the upload is cancelled: a.bin"
        seat.clock.advance(NOTE_S + 1)
        seat.session.refresh()
        assert seat.session.state.note is None


async def test_who_rests_is_woken_by_a_key_and_by_the_answer_to_it() -> None:
    async with seated(CountingDesk(), started("a")) as seat:
        woken: list[str] = []

        async def rest() -> None:
            while len(woken) < 2:
                with seat.session.resting():
                    await anyio.sleep_forever()
                note = seat.session.state.note
                woken.append(note.text if note else "")

        async with anyio.create_task_group() as group:
            group.start_soon(rest)
            await anyio.wait_all_tasks_blocked()
            seat.press("down")
            await seat.until(lambda: woken == [""])
            seat.session.press("p")
        assert seat.desk.done == [("pause", "a")]


async def test_uploads_from_before_the_start_get_their_names_but_not_those_that_have_changed_since() -> None:
    desk = CountingDesk(
        *(summary(f"q{number}", f"q{number}.bin") for number in range(2500)),
        summary("p", "p.bin", "paused", pausedHere=True),
        summary("raw", "x", fileNameB64="bGF0aW4t/C5yYXc="),
        summary("late", "late.bin", createdAt="2026-11-22T10:30:00.000Z"),
    )
    counts = {"queued": 2500, "waiting": 1, "paused": 1}
    async with seated(desk, events.AgentStarted("1", "c", "https://c", 2, counts, 2501 * 1024)) as seat:
        await seat.until(lambda: desk.asked)
        seat.board.apply(started("q7", size=1024), 1000.0, AT)
        seat.board.apply(cancelled("q7"), 1000.0, AT)
        await seat.until(lambda: len(seat.board) == 2501)
        assert [seat.board.count(state) for state in (UploadState.QUEUED, UploadState.PAUSED)] == [2500, 1]
        assert seat.board.queued_bytes == 2500 * 1024
        assert seat.board.find("q7") is None
        assert seat.board.find("late") is None
        paused, raw = seat.board.find("p"), seat.board.find("raw")
        assert paused is not None
        assert paused.is_paused_here
        assert raw is not None
        assert raw.name == "latin-\udcfc.raw"


async def test_a_journal_that_can_not_be_read_at_the_start_keeps_the_counts() -> None:
    desk = CountingDesk(summary("q", "q.bin"))
    desk.is_stuck = True
    counts = {"queued": 1}
    async with seated(desk, events.AgentStarted("1", "c", "https://c", 2, counts, 1024)) as seat:
        await anyio.wait_all_tasks_blocked()
        assert (seat.board.count(UploadState.QUEUED), len(seat.board)) == (1, 0)


async def test_an_answer_goes_after_a_while_by_itself() -> None:
    async with seated(CountingDesk(), queued("a")) as seat:
        seat.press("p")
        seat.session.refresh()
        assert seat.session.state.note is not None
        seat.clock.advance(NOTE_S + 1)
        seat.session.refresh()
        assert seat.session.state.note is None
