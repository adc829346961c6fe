"""The console: straight columns whatever the names, little work, and the terminal given back."""

import errno
import io
import re
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from rich.cells import cell_len
from rich.console import Console

from sse_agent import events
from sse_agent.board import STALLED_AFTER_S, Board
from sse_agent.console import Frame, Logbook, Mode, Moment, Session, State, say_farewell, show
from sse_agent.console.glyphs import ASCII, PRETTY, Glyphs, glyphs_for
from sse_agent.console.keyline import keys_of
from sse_agent.console.listing import Found, Listed, uploads_of
from sse_agent.console.screen import ENTER, LEAVE, LEAVE_WITHIN_S, Screen
from sse_agent.console.show import AGE_S, TICK_S
from sse_agent.console.state import Ask, Note, Stop
from sse_agent.console.summary import farewell, stopping
from sse_agent.events import Event, Feed
from sse_agent.lifecycle import UploadState
from sse_agent.lines import Lines
from tests.doubles.clock import FakeClock
from tests.doubles.desks import summary
from tests.test_console_acting import CountingDesk
from tests.test_printable import HOSTILE

ROOT = Path(__file__).resolve().parent.parent
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


def lines_of(
    board: Board,
    width: int = 80,
    height: int = 24,
    glyphs: Glyphs = PRETTY,
    state: State = State(),  # noqa: B008
    after_s: float = 4.0,
    **looked_up: Any,
) -> list[str]:
    """The picture as plain text, so long after what happened."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    frame = Frame(
        board, Moment(100.0 + after_s, AT + timedelta(seconds=after_s), state, **looked_up), width, height, glyphs
    )
    with console.capture() as capture:
        console.print(frame, end="", crop=False, soft_wrap=True)
    return capture.get().split("\n")


def board_of(*happened: Event) -> Board:
    board = Board()
    for event in happened:
        board.apply(event, 100.0, AT)
    return board


def states(text: str) -> list[State]:
    """Every place where a person can be, with a hostile text in it."""
    chosen = State(selected="w1", filter=("", ""))
    return [
        State(),
        chosen,
        State(Mode.CHAT, draft=(text, text[::-1])),
        State(Mode.FILTER, filter=(text, "")),
        State(filter=(text, "x"), selected="f1"),
        State(Mode.DETAILS, selected="d", scroll=3),
        State(Mode.LOG, log_end=30),
        State(Mode.LOG),
        State(Mode.HELP, scroll=2),
        State(ask=Ask("Cancel for good?", text, Stop())),
        State(note=Note(f"paused: {text}", is_bad=True)),
        State(heard=99),
    ]


def logbook_of(*happened: Event) -> Logbook:
    book = Logbook()
    lines = Lines(book, FakeClock(), style="text", level="debug")
    for event in happened:
        lines(event)
    return book


def looked_up(text: str) -> dict[str, Any]:
    """What a person may have looked up, hostile in every word."""
    tried = {"endedAt": text, "seconds": 9e9, "offset": 10**15, "state": text, "reason": text * 3}
    upload = summary("d", text, "failed", code=text, message=text, reason=text, pausedHere=True, nextTryAt=text)
    details = {**upload, "endpoint": text, "tries": [tried, {**tried, "endedAt": "2026-11-22T10:00:00.000Z"}]}
    found = Found(
        text, uploads_of([summary(f"f{n}", text, state) for n, state in enumerate(UploadState)]), is_more=True
    )
    book = logbook_of(*(events.MessageShown(text, text, mine=False) for _ in range(40)))
    return {"details": details, "found": found, "logbook": book}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("glyphs", [PRETTY, ASCII])
def test_a_picture_is_exactly_as_large_as_the_terminal_and_holds_nothing_to_obey(
    size: tuple[int, int], glyphs: Glyphs
) -> None:
    full, turn = everything(), SIZES.index(size)
    for number, text in enumerate(HOSTILE):
        # All states with one text, one state with each text: another one in every size.
        places = states(text) if number == turn else states(text)[(number + turn) % len(states(text)) :][:1]
        for state in places:
            for board in (full, board_of(), board_of(STARTED, CONNECTED, *uploading("u", "x"))):
                fits(lines_of(board, *size, glyphs, state, **looked_up(text)), size, glyphs)


def fits(lines: list[str], size: tuple[int, int], glyphs: Glyphs) -> None:
    assert [cell_len(line) for line in lines] == [size[0]] * size[1]
    assert glyphs.is_ascii <= "".join(lines).isascii()
    found = {unicodedata.category(character) for line in lines for character in line}
    assert found.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def test_a_picture_fits_in_every_width() -> None:
    board = everything()
    for width in range(20, 201):
        text = HOSTILE[width % len(HOSTILE)]
        for state in states(text)[width % 2 :: 2]:
            fits(lines_of(board, width, 24, PRETTY, state, **looked_up(text)), (width, 24), PRETTY)


def test_columns_are_straight_in_every_width_whatever_the_names() -> None:
    board = board_of(STARTED, CONNECTED)
    for number, text in enumerate(HOSTILE):
        for event in uploading(f"u{number}", text):
            board.apply(event, 100.0, AT)
    for width in range(20, 201):
        rows = [line for line in lines_of(board, width, 60, state=State(selected="u3")) if " 47 %" in line]
        assert len(rows) == len(HOSTILE)
        assert len({cell_len(row[: row.index(" 47 %")]) for row in rows}) == 1
        if width >= 64:
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
    assert re.search(r"waiting  423 Locked +next try in 43 s, attempt 3$", row.rstrip())


def test_the_cause_for_which_one_waits_is_told_in_every_width_that_has_room_for_it() -> None:
    reason = "the tus server can't be reached: connection refused"
    waits = events.UploadWaiting("u", 0, reason, AT + timedelta(seconds=16), 2)
    board = board_of(STARTED, CONNECTED, *uploading("u", "big.bin"), waits)
    row = next(line for line in lines_of(board, 120) if "big.bin" in line)
    assert re.search(f"waiting  {reason} +next try in 12 s", row)
    for width in (80, 100):
        row = next(line for line in lines_of(board, width) if "big.bin" in line)
        assert re.search("waiting  connection refused +next try in 12 s", row)


def test_why_a_command_was_refused_is_told_before_who_asked_and_without_its_code_if_there_is_no_room_for_it() -> None:
    detail = "'../../etc/passwd': the name has a part that is . or .."
    refused = ("UPLOAD_START", "rejected", "NOT_FOUND", detail, "../../etc/passwd", "Ann")
    board = board_of(STARTED, CONNECTED, events.CommandFinished("c", *refused))
    for width, words in (
        (120, "NOT_FOUND: the name has a part that is . or .. (UPLOAD_START by Ann)"),
        (80, "NOT_FOUND: the name has a part that is . or .."),
        (72, "the name has a part that is . or .."),
    ):
        row = next(line for line in lines_of(board, width) if "passwd" in line)
        assert row.rstrip() == f" ✗ ../../etc/passwd  rejected  {words}"
    assert detail[20:] in farewell(board, AT, 9.0, 80, PRETTY).plain


def test_who_asked_for_what_was_refused_is_told_rather_than_the_code() -> None:
    refused = ("UPLOAD_RESUME", "rejected", "WRONG_STATE", "the upload is complete", "s-1.bin", "Ann")
    board = board_of(STARTED, CONNECTED, events.CommandFinished("c", *refused))
    row = next(line for line in lines_of(board) if "s-1.bin" in line)
    assert row.rstrip() == " ✗ s-1.bin  rejected  the upload is complete (UPLOAD_RESUME by Ann)"


def test_the_head_says_how_the_connection_is_in_every_width() -> None:
    board = board_of(STARTED, events.StreamLost("Connection refused", 42.0, 3))
    assert lines_of(board)[0].rstrip() == (
        " sse-agent 0.1.0 · warehouse-7           ○ waiting · next try in 38 s · for 4 s"
    )
    assert "Connection refused" in lines_of(board)[1]
    for width in (20, 30, 40, 60):
        assert "○ waiting" in lines_of(board, width)[0]


def test_an_upload_of_which_no_byte_moves_says_so_in_every_width_that_has_room_for_it() -> None:
    board = board_of(STARTED, CONNECTED, *uploading("u", "big.bin"))
    for width, words in ((200, "no bytes for 12 s"), (80, "no bytes for 12 s"), (70, "stalled"), (40, "stalled")):
        row = next(line for line in lines_of(board, width, after_s=12) if "big.bin" in line)
        assert row.partition("│")[0].rstrip().endswith(words)
        assert "/s" not in row
    for after_s, is_still in ((STALLED_AFTER_S - 0.1, False), (STALLED_AFTER_S, True)):
        row = next(line for line in lines_of(board, after_s=after_s) if "big.bin" in line)
        assert ("no bytes for" in row, "6.00 MiB/s" in row) == (is_still, not is_still)
    row = next(line for line in lines_of(board, after_s=4000) if "big.bin" in line)
    assert row.rstrip().endswith("no bytes for 1 h")


def test_one_that_is_sent_says_for_how_long_it_waits_for_its_confirmation_in_every_width_that_has_room_for_it() -> None:
    sent = events.UploadProgressed("u", 0, 3 * MIB, 3 * MIB, 0, 3 * MIB, confirming=True)
    board = board_of(STARTED, CONNECTED, events.UploadStarted("u", "big.bin", 3 * MIB, 0, 1), sent)
    for width, words in (
        (120, "99 %  3.00/3.00 MiB  waiting for confirmation 11 s"),
        (80, "99 %  waiting for confirmation 11 s"),
        (70, "99 %  unconfirmed for 11 s"),
        (40, "99 %  sent"),
    ):
        lines = lines_of(board, width, after_s=11)
        row = next(line for line in lines if "big.bin" in line)
        assert re.sub(" {3,}", "  ", row).rstrip().endswith(words)
        assert not any("0 B/s" in line or "no bytes" in line for line in lines)
    assert "0 B/s" not in "".join(lines_of(board, after_s=1))
    looked_up = {**summary("u", "big.bin", fileSize=3 * MIB), "endpoint": "https://t", "tries": []}
    shown = lines_of(board, state=State(Mode.DETAILS, selected="u"), details=looked_up)
    assert " sent         3.00/3.00 MiB, waiting for confirmation" in [line.rstrip() for line in shown]


def test_while_nobody_can_tell_rate_and_time_left_are_a_dash() -> None:
    for glyphs, dash in ((PRETTY, "–"), (ASCII, "-")):
        board = board_of(STARTED, CONNECTED, events.UploadStarted("u", "big.bin", 120 * MIB, 0, 1))
        row = next(line for line in lines_of(board, 120, glyphs=glyphs) if "big.bin" in line)
        assert row.split()[-2:] == [dash, dash]


def test_what_was_sent_in_how_long_does_not_count_on_while_nothing_is_sent() -> None:
    board = board_of(STARTED, CONNECTED, events.UploadStarted("u", "big.bin", 120 * MIB, 0, 1))
    board.apply(events.UploadProgressed("u", 0, 9 * MIB, 120 * MIB, MIB, 9 * MIB), 130.0, AT)
    board.apply(events.UploadPaused("u", 9 * MIB), 131.0, AT)
    shown = [next(line for line in lines_of(board, after_s=after_s) if "Ended" in line) for after_s in (40, 4000)]
    assert shown[0] == shown[1]
    assert "9.00 MiB sent in 30 s" in shown[0]
    board.totals.sending_s = 0.4
    assert "9.00 MiB sent in 0.4 s" in "".join(lines_of(board))
    board.totals.sending_s = 0.0
    assert "9.00 MiB sent ─" in "".join(lines_of(board))


def test_of_how_much_ended_nothing_is_left_out_for_how_much_was_sent() -> None:
    board = board_of(STARTED, CONNECTED)
    board.totals.ended |= {"complete": 71, "cancelled": 2, "rejected": 5}
    board.totals.complete_bytes, board.totals.bytes_sent, board.totals.sending_s = 429 * MIB // 10, 654 * MIB // 10, 25
    for width, right in ((100, "65.4 MiB sent in 25 s"), (80, "65.4 MiB sent"), (64, "")):
        row = next(line for line in lines_of(board, width) if "Ended" in line)
        assert "71 complete (42.9 MiB) · 2 cancelled · 5 rejected" in row
        assert row.rstrip("─ ").endswith(right or "5 rejected")


def test_uploads_that_failed_and_can_be_retried_are_listed_and_counted() -> None:
    ended = events.UploadEnded("u", UploadState.FAILED, "FILE_CHANGED", "it grew", "", retryable=True)
    lines = lines_of(board_of(STARTED, CONNECTED, *uploading("u", "big.bin"), ended), state=State(selected="u"))
    assert any("1 failed" in line and "Uploads" in line for line in lines)
    assert re.search("^›big.bin +failed +FILE_CHANGED: it grew +120 MiB", "".join(selected_of(lines)))


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
    line = lines_of(board_of(), state=State(Mode.CHAT, draft=("x" * 4000 + "the end", "")))[-2]
    assert line.rstrip().endswith("the end")


def selected_of(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("›")]


@pytest.mark.parametrize("size", SIZES[:-2])
def test_the_selected_upload_is_in_sight_wherever_it_is_in_a_long_queue(size: tuple[int, int]) -> None:
    board = board_of(STARTED, CONNECTED, *uploading("u", "big.bin"))
    for number in range(2000):
        board.apply(events.UploadQueued(f"q{number}", f"n{number:04}", MIB, 0, 5, "new"), 100.0, AT)
    for number in (0, 1, 7, 1000, 1998, 1999):
        shown = selected_of(lines_of(board, *size, state=State(selected=f"q{number}")))
        assert [line[:6].strip("› ") for line in shown] == [f"n{number:04}"]


def test_who_paused_an_upload_is_told_in_every_width_that_has_room_for_it() -> None:
    for here, words in ((True, "paused here"), (False, "paused from afar")):
        board = board_of(*uploading("u", "x"), events.UploadPaused("u", 20 * MIB, here=here))
        assert words in "".join(lines_of(board, 40))
        row = next(line for line in lines_of(board, 80) if words in line)
        assert re.search("16 % +20.0/120 MiB", row)
        assert "paused" in "".join(lines_of(board, 20))


def test_who_overruled_a_pause_is_told_before_all_else() -> None:
    here = [*uploading("u", "big.bin"), events.UploadPaused("u", 9, here=True)]
    overruled = events.UploadQueued("u", "big.bin", 100, 9, 5, "resumed", overruled_by="Ann")
    lost = events.StreamLost("Connection refused", 42.0, 3)
    board = board_of(STARTED, events.JournalTrouble("the disk is full"), *here, overruled, lost)
    assert "▲ Ann resumed what was paused here: big.bin" in lines_of(board)[1]
    assert "▲ Ann resumed what was paused here" in lines_of(board, 40, 10)[1]


def test_details_tell_every_attempt_and_no_more_of_the_tus_servers_url_than_its_origin() -> None:
    tries = [
        {
            "endedAt": f"2026-11-22T10:0{number}:00.000Z",
            "seconds": 61.0,
            "offset": number * MIB,
            "state": "waiting",
            "reason": f"the tus server answered 42{number}",
        }
        for number in range(5)
    ]
    upload = {**summary("d", "big.bin", "waiting", fileSize=120 * MIB), "endpoint": "https://tus.example.com/s3cret/f/"}
    shown = "\n".join(
        lines_of(board_of(), 120, 40, state=State(Mode.DETAILS, selected="d"), details={**upload, "tries": tries})
    )
    assert all(f"the tus server answered 42{number}" in shown for number in range(5))
    assert re.search(r"1 min +4.00/120 MiB +waiting +the tus server answered 424", shown)
    assert "https://tus.example.com\n" in re.sub(" +\n", "\n", shown)
    assert "s3cret" not in shown


def test_details_of_an_upload_under_way_tell_where_it_is_now() -> None:
    looked_up = {**summary("u", "big.bin", "queued", fileSize=120 * MIB), "endpoint": "https://t", "tries": []}
    state = State(Mode.DETAILS, selected="u")
    board = board_of(*uploading("u", "big.bin"))
    shown = "\n".join(line.rstrip() for line in lines_of(board, state=state, details=looked_up))
    assert "\n state        uploading\n" in shown
    assert "\n confirmed    20.0/120 MiB\n" in shown
    assert "\n sent         57.0/120 MiB, 6.00 MiB/s, 10 s left\n" in shown
    board.apply(events.UploadWaiting("u", 30 * MIB, "423 Locked", AT + timedelta(seconds=16), 2), 101.0, AT)
    shown = "\n".join(line.rstrip() for line in lines_of(board, state=state, details=looked_up))
    assert "\n reason       423 Locked\n next try     in 12 s, at " in shown
    board.apply(events.UploadPaused("u", 40 * MIB, here=True), 101.0, AT)
    shown = "\n".join(line.rstrip() for line in lines_of(board, state=state, details=looked_up))
    assert "\n state        paused here\n" in shown
    assert "\n confirmed    40.0/120 MiB\n" in shown


def test_details_of_another_upload_than_the_selected_one_are_never_shown() -> None:
    details = {**summary("d", "old.bin", message="of the other"), "endpoint": "https://t", "tries": []}
    shown = lines_of(board_of(), state=State(Mode.DETAILS, selected="e"), details=details)
    assert not any("of the other" in line or "https://t" in line for line in shown)


def test_the_log_shows_its_end_or_where_it_was_scrolled_to() -> None:
    book = logbook_of(*(events.MessageShown("Ann", f"line {number}.", mine=False) for number in range(600)))
    assert (book.first, book.total) == (100, 600)
    newest = lines_of(board_of(), state=State(Mode.LOG), logbook=book)
    assert any("chat, Ann: line 599." in line for line in newest)
    older = lines_of(board_of(), state=State(Mode.LOG, log_end=200), logbook=book)
    assert any("line 199." in line for line in older)
    assert not any("line 200." in line for line in older)
    assert "400 more below" in older[1]


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place where it is already evening."""
    monkeypatch.setenv("TZ", "XXX-09:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_every_time_is_local_with_the_date_where_it_is_not_today() -> None:
    board = Board()
    for day in (2, 0):
        board.apply(events.MessageShown("Ann", f"{day} days ago", mine=False), 100.0, AT - timedelta(days=day))
    assert " 2026-11-20 20:00  Ann  2 days ago" in [line.rstrip() for line in lines_of(board)]
    assert " 20:00  Ann  0 days ago" in [line.rstrip() for line in lines_of(board)]
    book = Logbook()
    book.write("2026-11-22T10:29:58Z info    a.bin: next try at 2026-11-22T10:35:00Z\n")
    book.write("2026-11-20T10:29:58Z info    started\n")
    shown = [line.rstrip() for line in lines_of(board, state=State(Mode.LOG), logbook=book)]
    assert " 19:59:58   a.bin: next try at 20:05:00" in shown
    assert " 2026-11-20 19:59:58   started" in shown
    tried = {"endedAt": "2026-11-22T10:29:00.000Z", "seconds": 1.0, "offset": 9, "state": "waiting", "reason": "423"}
    upload = summary(
        "d", "d.bin", "waiting", createdAt="2026-11-20T10:00:00.000Z", nextTryAt="2026-11-22T10:31:00.000Z"
    )
    details = {**upload, "endpoint": "https://t", "tries": [tried]}
    text = "\n".join(lines_of(board, state=State(Mode.DETAILS, selected="d"), details=details))
    assert re.search("^ next try +20:01:00 *$", text, re.MULTILINE)
    assert re.search("^ received +2026-11-20 19:30:00 *$", text, re.MULTILINE)
    assert re.search("^ 19:59:00 .* waiting +423 *$", text, re.MULTILINE)
    assert not re.search("10:2|10:3", text)


def test_the_help_tells_every_key_of_the_bottom_lines() -> None:
    helped = "\n".join(lines_of(board_of(), 120, 60, state=State(Mode.HELP)))
    for key in ("Enter", "p  r", " t ", " c ", " P ", " R ", "/", "m, Tab", " l ", "?", " q ", "Ctrl-C", "PgUp PgDn"):
        assert key in helped


def test_somebody_who_speaks_is_heard_also_by_a_person_on_the_list() -> None:
    said = [events.MessageShown("Ann", "are you there?", mine=False)] * 2
    line = lines_of(board_of(*said), state=State())[-2]
    assert re.fullmatch(r" ● Ann: are you there\? +m to answer *", line)
    # Those that stand in the chat above are in sight.
    hidden = lines_of(board_of(*said), state=State(Mode.HELP))[-2]
    assert re.fullmatch(r" ● Ann: are you there\? \(and 1 more\) +m to answer *", hidden)
    many = lines_of(board_of(*said * 20), 80, 24, state=State())
    shown = sum("Ann  are you there?" in line for line in many)
    assert 1 < shown < 40
    assert f"(and {40 - shown} more)" in many[-2]
    assert "m to answer" not in lines_of(board_of(*said), state=State(heard=2))[-2]


def test_the_bottom_line_names_the_most_important_keys_in_every_width() -> None:
    board = board_of(STARTED, CONNECTED, *uploading("u", "big.bin"))
    for width in range(20, 201):
        assert "? help" in lines_of(board, width)[-1]
        assert "y yes  n no" in lines_of(board, width, state=State(ask=Ask("Sure?", "x", Stop())))[-1]
        assert "Esc" in lines_of(board, width, state=State(Mode.LOG))[-1]
    keys = lines_of(board, 120, state=State(selected="u"))[-1]
    assert "p pause" in keys
    assert "r resume" not in keys


def test_a_question_keeps_the_name_of_what_it_is_about() -> None:
    ask = Ask("Cancel for good, and delete what the tus server has of it?", "x" * 250 + ".tiff", Stop())
    for width in range(30, 201):
        assert re.search(r"x\.tiff .*y/n", lines_of(board_of(), width, state=State(ask=ask))[-2])


def test_the_page_about_the_console_tells_every_key_and_shows_current_pictures() -> None:
    page = (ROOT / "docs/how-to/read-the-console.md").read_text()
    told = set(re.findall(r"`([^`]+)`", page))
    for text in HOSTILE[:1]:
        for state in [*states(text), State(selected="u0"), State(selected="w0"), State(selected="p0")]:
            listed = Listed(everything())
            for key in keys_of(state, listed.find(state.selected), listed):
                names = key.name.replace("Up Down", "↑ ↓").split()
                assert set(names) <= told, key
    for picture in re.findall(r"\(\.\./images/([^)]+)\)", page):
        assert (ROOT / "docs/images" / picture).exists()
    check = [sys.executable, "-m", "scripts.picture", "--check"]
    found = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_stays_on_the_screen_is_ascii_where_nothing_else_is_shown(text: str) -> None:
    board = everything()
    board.apply(events.AgentStarted("0.1.0", text, "https://c", 1, {}, 0), 100.0, AT)
    board.apply(events.UploadEnded("y", UploadState.FAILED, "NOT_FOUND", text * 9, "", retryable=False), 100.0, AT)
    for width in (20, 40, 80, 200):
        for glyphs in (PRETTY, ASCII):
            lines = farewell(board, AT, 9999.0, width, glyphs).plain.split("\n")
            assert max(map(cell_len, lines)) <= max(width, 23)
            assert glyphs.is_ascii <= "".join(lines).isascii()
    assert stopping(board).plain.isascii()


@pytest.mark.parametrize(
    ("variables", "is_ascii"),
    [
        ({}, False),
        ({"LC_ALL": "C"}, True),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        # The first is what Python puts there by itself.
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "en_US.utf8"}, False),
        ({"LANG": "de_DE.UTF-8@euro"}, False),
        ({"LANG": "de_DE@euro"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "UTF-8"}, False),
        ({"LC_ALL": "en_US.UTF-8", "TERM": "linux"}, True),
    ],
)
def test_which_terminals_are_shown_nothing_but_ascii(
    variables: dict[str, str], is_ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert glyphs_for(Console(file=io.StringIO())).is_ascii is is_ascii


def test_after_plain_lines_a_plain_summary_stays() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "dumb"})
    started = events.AgentStarted("0.1.0", "warehouse-7", "https://control.example.com", 1, {}, 0)
    board = board_of(started, events.UploadQueued("q", "next.bin", MIB, 0, 5, "new"))
    say_farewell(board, FakeClock(), console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "\x1b" not in said
    assert "\n  unfinished  1 queued: goes on at the next start\n" in said


# --- in a terminal ----------------------------------------------------------------------------------


@dataclass
class Watched:
    """A console that is shown with a clock that stands still."""

    feed: Feed
    clock: FakeClock
    file: io.StringIO
    console: Console
    session: Session
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
    board, clock = Board(), FakeClock()

    async def say(text: str) -> None:
        watched.feed.emit(events.MessageShown("you", text, mine=True))

    session = Session(board, CountingDesk(), clock, Logbook(), say, lambda: None)
    watched = Watched(Feed(), clock, file, console, session)
    folding = watched.feed.listening(lambda event: board.apply(event, clock.monotonic(), clock.now()))
    with anyio.fail_after(20), folding:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                on_leave = lambda: watched.left.append(watched.text())  # noqa: E731
                await show(session, clock, console=console, on_leave=on_leave)

            group.start_soon(run)
            yield watched
            group.cancel_scope.cancel()


async def test_at_most_two_frames_a_second_and_one_while_nothing_happens() -> None:
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
        assert 10 < watched.frames() - before <= 21


async def test_what_is_typed_is_seen_at_once() -> None:
    async with shown() as watched:
        await watched.see("help")
        await watched.pass_time(0.3)
        for key in "mhello":
            watched.session.press(key)
        # No time passes.
        await watched.see("hello")


async def test_a_frame_only_writes_the_lines_that_changed() -> None:
    async with shown() as watched:
        watched.feed.emit(STARTED)
        await watched.see("warehouse-7")
        await watched.pass_time(1)
        watched.session.press("m")
        await watched.see("type to answer")
        before = len(watched.text())
        watched.session.press("x")
        while not (changed := watched.text()[before:]):
            await anyio.lowlevel.checkpoint()
        # The age of the connection is in the first line.
        assert {"23"} <= set(re.findall(r"\x1b\[([0-9]+);1H", changed)) <= {"1", "23"}


async def test_a_terminal_of_another_size_is_painted_anew() -> None:
    async with shown() as watched:
        await watched.see("help")
        watched.console.size = (100, 30)  # type: ignore[assignment]
        await watched.see("\x1b[30;1H", TICK_S)
    # Of a screen that was resized meanwhile tmux keeps the rows above the cursor when it is left.
    assert "\x1b[H\x1b[2J\x1b[?1049l" in watched.text()


async def test_when_the_agent_stops_the_terminal_is_given_back_first_and_a_summary_stays() -> None:
    async with shown() as watched:
        for event in (STARTED, CONNECTED, *uploading("u", "big.bin")):
            watched.feed.emit(event)
        watched.feed.emit(events.UploadCompleted("c", "evil\x1b[2J[red].bin", 3 * MIB, SHA256, 1.5, "response"))
        await watched.see("big.bin")
        watched.feed.emit(events.AgentStopping("SIGINT"))
        watched.feed.emit(events.UploadQueued("u", "big.bin", 120 * MIB, 20 * MIB, 5, "stopped"))
        await watched.see("Ctrl-C again stops at once", TICK_S)
        assert "Stopping (SIGINT): bringing 1 upload to a safe point" in watched.text()
        assert watched.text().startswith(ENTER)
        assert len(watched.left) == 1
        assert watched.left[0].endswith(LEAVE)
        watched.feed.emit(events.UploadCompleted("u", "big.bin", 120 * MIB, SHA256, 9.0, "response"))
    stays = re.sub(r"\x1b\[[0-9;]*m", "", watched.text()[len(watched.left[0]) :])
    assert "\x1b" not in stays
    assert "ended       2 complete (123 MiB)" in stays
    assert "the last    big.bin  120 MiB  sha256 8f14e45fceea167a" in stays
    assert "evil\\x1b[2J[red].bin  3.00 MiB" in stays


async def test_the_terminal_is_given_back_also_when_the_agent_breaks() -> None:
    async with shown() as watched:
        await watched.see("help")
    assert watched.text().count(LEAVE) == 1
    assert watched.text().index(LEAVE) < watched.text().index("ended")


async def test_the_terminal_is_given_back_also_when_the_agent_has_stopped_before_anybody_looked() -> None:
    async with shown() as watched:
        await watched.see("help")
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


@pytest.mark.parametrize("no_color", [False, True])
async def test_what_is_written_is_what_rich_would_write(no_color: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40, no_color=no_color)
    frame = Frame(everything(), Moment(105.0, AT, State(selected="w1"), **looked_up(HOSTILE[0])), 120, 40)
    with console.capture() as capture:
        console.print(frame, end="", crop=False, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    await Screen(console).paint(frame.lines(), (120, 40))
    written = re.split(r"\x1b\[[0-9]+;1H\x1b\[K", console.file.getvalue().removesuffix("\x1b[?2026l"))[1:]
    assert written == capture.get().split("\n")


class DeadFile(io.StringIO):
    """A terminal that hung up."""

    def write(self, _: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


async def test_a_terminal_that_hung_up_is_written_to_no_more_and_stops_nothing() -> None:
    console = Console(file=DeadFile(), force_terminal=True, width=120, height=40)
    frame = Frame(everything(), Moment(105.0, AT, State(selected="w1"), **looked_up(HOSTILE[0])), 120, 40)
    screen = Screen(console)
    await screen.paint(frame.lines(), (120, 40))
    await screen.say("[bold]bye[/]")
    assert screen.is_gone


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
        await watched.see("help")
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
