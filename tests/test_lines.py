"""The log: every event a line, nothing from outside obeyed, and no reader whose trouble becomes the agent's."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TextIO, get_type_hints

import pytest

from sse_agent import events
from sse_agent.events import Event
from sse_agent.lifecycle import UploadState
from sse_agent.lines import HELD_LINES, LEVELS, PRIORITIES, PROGRESS_EVERY_S, SENTENCES, Lines
from tests.doubles.clock import FakeClock

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
HOSTILE = "a\x1b[2J\n\x9b31m\u202e\x7f\udcff\u2028b"
KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)][1:]
SAMPLES: dict[Any, Any] = {
    str: HOSTILE,
    int: 7,
    float: 1.23456,
    bool: True,
    datetime: AT,
    UploadState: UploadState.FAILED,
    dict[str, int]: {"queued": 2},
}


def sample(kind: type[Event]) -> Event:
    hints = get_type_hints(kind)
    return kind(*(SAMPLES[hints[field.name]] for field in dataclasses.fields(kind)))


def written(*happened: Event, style: Literal["json", "text"] = "json", level: str = "debug") -> list[str]:
    stream = io.StringIO()
    lines = Lines(stream, FakeClock(), style=style, level=level)
    for event in happened:
        lines(event)
    return stream.getvalue().splitlines()


def progress(file_id: str = "f") -> Event:
    return events.UploadProgressed(file_id, 16, 40, 100, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_json_line_has_time_level_name_and_every_field_of_the_event(kind: type[Event]) -> None:
    line = written(sample(kind))
    assert len(line) == 1
    assert line[0].isascii()
    assert line[0].isprintable()
    fields = json.loads(line[0])
    assert [fields.pop(name) for name in ("at", "level", "event")] == [
        "2026-11-22T10:30:00.000Z",
        kind.level,
        kind.name,
    ]
    assert list(fields) == [field.name for field in dataclasses.fields(kind)]
    assert {value for value in fields.values() if isinstance(value, str)} <= {
        HOSTILE.replace("\udcff", "\\xff"),
        "2026-11-22T10:30:00.000Z",
        "failed",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_line_is_one_sentence_without_anything_that_a_terminal_obeys(kind: type[Event]) -> None:
    assert kind in SENTENCES
    line = written(sample(kind), style="text")
    assert len(line) == 1
    assert line[0].isprintable()
    assert line[0].startswith(f"2026-11-22T10:30:00Z {kind.level:<7} ")


def test_text_names_the_file_also_where_the_event_does_not() -> None:
    lines = written(
        events.UploadQueued("f", "big.bin", 2048, 0, 5, "new"),
        events.UploadStarted("f", "big.bin", 2048, 0, 1),
        events.UploadWaiting("f", 1024, "423 Locked", AT + timedelta(seconds=9), 1),
        events.UploadPostponed("f", "big.bin", AT + timedelta(minutes=5)),
        events.UploadStarted("f", "big.bin", 2048, 512, 2),
        events.UploadLocated("f", "big.bin", 2048, 1024),
        events.UploadProgressed("f", 1024, 1024, 2048, 0, 0),
        events.UploadQueued("f", "big.bin", 2048, 1024, 5, "stopped"),
        events.UploadStarted("f", "big.bin", 2048, 1024, 1),
        events.UploadLocated("f", "big.bin", 2048, 0),
        events.UploadEnded("f", UploadState.FAILED, "NO_PROGRESS", "24 h", "", retryable=True),
        events.UploadPaused("unknown", 0, file_name="other.bin"),
        style="text",
    )
    assert [line[29:] for line in lines] == [
        "big.bin: queued (new, 2.00 KiB)",
        "big.bin: uploading",
        "big.bin: waiting at 1.00 KiB: 423 Locked; next try in 9 s (attempt 2)",
        "big.bin: next try in 5 min: its tus server is asked again then",
        "big.bin: uploading, 512 B of 2.00 KiB confirmed so far, attempt 2",
        "big.bin: goes on at 1.00 KiB of 2.00 KiB",
        "big.bin: queued: goes on at the next start, 2.00 KiB, 1.00 KiB of it confirmed",
        "big.bin: uploading, 1.00 KiB of 2.00 KiB confirmed so far",
        "big.bin: begins anew, the tus server has none of it",
        "big.bin: failed, NO_PROGRESS: 24 h (retryable)",
        "other.bin: paused from afar, 0 B confirmed",
    ]


def test_a_reset_after_a_readmission_is_no_loss_of_the_control_planes() -> None:
    (lost,) = written(events.StreamReset("journal-lost", "k/1"), style="text")
    (let_in,) = written(events.StreamReset("readmitted", "k/1"), style="text")
    assert "the control plane lost our place (journal-lost); all is reported again" in lost
    assert "the control plane let this machine in again; all is reported again" in let_in


def test_what_to_do_about_a_lost_stream_is_said_at_first_and_again_from_time_to_time() -> None:
    lines = written(*(events.StreamLost("cut", 0.3, attempt) for attempt in range(22)), style="text")
    told = [line.partition("cut; next try now")[2] for line in lines]
    assert [attempt for attempt, rest in enumerate(told) if rest] == [1, 10, 20]
    assert told[10] == "; what to do: sse-agent check"


def test_whoever_asked_to_stop_is_told_what_happens_now_and_what_asking_again_does() -> None:
    [line] = written(events.AgentStopping("SIGINT"), style="text")
    assert line.partition("stopping (SIGINT): ")[2] == (
        "uploads are brought to a safe point within 10 s; a second signal stops at once"
    )


def test_a_refused_command_names_the_file_and_who_asked() -> None:
    refused = ("rejected", "WRONG_STATE", "the upload is complete")
    lines = written(
        events.CommandFinished("c1", "UPLOAD_RESUME", *refused, file_name="a\n.bin", actor="Ann"),
        events.CommandFinished("c2", "UPLOAD_RESUME", *refused),
        style="text",
    )
    assert [line[29:] for line in lines] == [
        "command UPLOAD_RESUME of a\\n.bin from Ann rejected, WRONG_STATE: the upload is complete (c1)",
        "command UPLOAD_RESUME rejected, WRONG_STATE: the upload is complete (c2)",
    ]


def test_who_cancelled_is_told_and_it_is_no_trouble() -> None:
    lines = written(
        events.UploadCancelled("f", "big.bin", 2048, 0, here=False, actor="Anna\x1b[2J"),
        events.UploadCancelled("f", "big.bin", 2048, 0, here=False, actor=""),
        events.UploadCancelled("f", "big.bin", 2048, 0, here=True, actor=""),
        style="text",
    )
    assert [line[21:] for line in lines] == [
        "info    big.bin: cancelled from afar by Anna\\x1b[2J",
        "info    big.bin: cancelled from afar",
        "info    big.bin: cancelled here",
    ]


def test_one_that_stalls_is_told_so() -> None:
    clock, stream = FakeClock(), io.StringIO()
    lines = Lines(stream, clock, style="text", level="info")
    lines(events.UploadStarted("f", "x", 2048, 0, 1))
    clock.advance(PROGRESS_EVERY_S)
    lines(events.UploadProgressed("f", 0, 1024, 2048, 0, 1024))
    assert stream.getvalue().splitlines()[1].endswith("x: 1.00/2.00 KiB (50 %) sent, 0 B confirmed, stalled")
    clock.advance(PROGRESS_EVERY_S)
    lines(events.UploadProgressed("f", 0, 2048, 2048, 0, 2048, confirming=True))
    assert stream.getvalue().endswith("(99 %) sent, 0 B confirmed, waiting for confirmation\n")


def test_who_paused_here_and_who_overruled_them_from_afar_is_told() -> None:
    lines = written(
        events.UploadQueued("f", "big.bin", 2048, 0, 5, "new"),
        events.UploadPaused("f", 1024, here=True),
        events.UploadQueued("f", "big.bin", 2048, 1024, 5, "resumed", overruled_by="Anna\x1b[2J"),
        style="text",
    )
    assert [line[29:] for line in lines[1:]] == [
        "big.bin: paused here, 1.00 KiB confirmed",
        "big.bin: resumed by Anna\\x1b[2J from afar, though it was paused here",
    ]


def test_for_systemds_journal_a_text_line_begins_with_its_priority_and_has_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    some = [events.CommandRepeated("c"), events.UploadPaused("f", 0), events.StreamLost("cut", 1.0, 1)]
    path, other = tmp_path / "log", tmp_path / "other"
    for target, style, begins in (
        (path, "text", ["<7>command", "<6>f: paused", "<4>waiting", "<3>the journal"]),
        (path, "json", ['{"at":'] * 4),
        (other, "text", ["2026-11-22T10:30:00Z "] * 4),
    ):
        with path.open("w", encoding="utf-8") as stream, other.open("w", encoding="utf-8") as inherited:
            found = os.fstat((stream if target == path else inherited).fileno())
            monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
            lines = Lines(stream, FakeClock(), style=style, level="debug")  # type: ignore[arg-type]
            for event in [*some, events.JournalTrouble("full")]:
                lines(event)
        told = path.read_text().splitlines()
        assert len(told) == len(begins)
        assert all(line.startswith(begin) for line, begin in zip(told, begins, strict=True)), told


def test_every_level_has_a_priority() -> None:
    assert list(PRIORITIES) == list(LEVELS)
    assert {kind.level for kind in KINDS} <= set(PRIORITIES)


def test_progress_is_told_at_most_every_ten_seconds_of_each_upload() -> None:
    clock, stream = FakeClock(), io.StringIO()
    lines = Lines(stream, clock, style="json", level="info")
    for file_id in ("f", "g"):
        lines(events.UploadStarted(file_id, "x", 100, 0, 1))
    for _ in range(int(25 / 0.25)):
        clock.advance(0.25)
        lines(progress("f"))
        lines(progress("g"))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    at = [line["at"][14:19] for line in told if line["event"] == "upload.progress" and line["file_id"] == "f"]
    assert at == ["30:10", "30:20"]
    assert len(told) == 2 + 2 * len(at)


def test_to_be_asked_where_it_is_brings_no_progress_line_forward() -> None:
    told = written(events.UploadStarted("f", "x", 100, 0, 1), events.UploadLocated("f", "x", 100, 16), progress())
    assert [json.loads(line)["event"] for line in told] == ["upload.started", "upload.located"]


def test_an_upload_that_comes_back_is_told_of_anew() -> None:
    clock, stream = FakeClock(), io.StringIO()
    lines = Lines(stream, clock, style="json", level="info")
    lines(progress())
    lines(events.UploadPaused("f", 16))
    lines(progress())
    clock.advance(PROGRESS_EVERY_S - 1)
    lines(progress())
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "upload.progress",
        "upload.paused",
        "upload.progress",
    ]


def test_only_what_is_at_or_above_the_level_is_told() -> None:
    some = [events.CommandRepeated("c"), events.UploadPaused("f", 0), events.JournalTrouble("full")]
    assert [json.loads(line)["level"] for line in written(*some, level="debug")] == ["debug", "info", "error"]
    assert [json.loads(line)["level"] for line in written(*some, level="info")] == ["info", "error"]
    assert [json.loads(line)["level"] for line in written(*some, level="error")] == ["error"]


def test_a_stream_that_knows_only_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    lines = Lines(io.TextIOWrapper(raw, encoding="ascii"), FakeClock(), style="text", level="info")
    lines(events.MessageShown("Jörg", "報告", mine=False))
    assert raw.getvalue().endswith(b"chat, J\\xf6rg: \\u5831\\u544a\n")


@contextmanager
def pipe(*, is_blocking: bool = False) -> Iterator[tuple[int, TextIO]]:
    """A pipe whose writer never waits, unless it is to: a write into a full one fails, and so would be seen."""
    reader, writer = os.pipe()
    os.set_blocking(writer, is_blocking)
    os.set_blocking(reader, False)
    stream = os.fdopen(writer, "w", buffering=1)
    try:
        yield reader, stream
    finally:
        os.close(reader)
        stream.close()


def test_a_reader_that_does_not_read_holds_nothing_up_and_gets_the_lines_later_with_a_count_of_the_missing() -> None:
    with pipe() as (reader, stream):
        lines = Lines(stream, FakeClock(), style="json", level="info")
        many = 5 * HELD_LINES
        for number in range(many):
            lines(events.UploadPaused("f", number))
        text = b""
        while b"SIGTERM" not in text:
            text += os.read(reader, 1 << 20)
            lines(events.AgentStopping("SIGTERM"))
    told = [json.loads(line) for line in text.splitlines()]
    offsets = [line["offset"] for line in told if line["event"] == "upload.paused"]
    assert offsets == list(range(len(offsets)))
    assert HELD_LINES < len(offsets) < many
    assert [line["count"] for line in told if line["event"] == "log.dropped"] == [many - len(offsets)]
    assert [line["event"] for line in told[len(offsets) :]][:2] == ["log.dropped", "agent.stopping"]


def test_lines_longer_than_a_pipe_has_room_for_wait_for_their_reader_in_parts_and_are_lost_only_as_wholes() -> None:
    with pipe(is_blocking=True) as (reader, stream):
        lines = Lines(stream, FakeClock(), style="json", level="info")
        many = HELD_LINES + 40
        many_events = [events.MessageShown(str(number), "x" * 9000, mine=False) for number in range(many)]
        # A thread: if it waits for its reader, the test must not.
        writer = Thread(target=lambda: [lines(event) for event in many_events], daemon=True)
        writer.start()
        writer.join(timeout=20)
        assert not writer.is_alive()
        text = b""
        while b"SIGTERM" not in text:
            text += os.read(reader, 1 << 20)
            lines(events.AgentStopping("SIGTERM"))
    told = [json.loads(line) for line in text.splitlines()]
    senders = [int(line["sender"]) for line in told if line["event"] == "chat.message"]
    assert senders == list(range(len(senders)))
    assert HELD_LINES <= len(senders) < many
    assert [line["count"] for line in told if line["event"] == "log.dropped"] == [many - len(senders)]


def test_closed_streams_and_none_at_all_are_no_reason_to_stop() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        Lines(stream, FakeClock(), style="json", level="info")(events.AgentStopping("SIGTERM"))


def test_a_log_that_nobody_reads_any_more_does_not_spoil_the_exit_code() -> None:
    program = (
        "import sys\n"
        "from sse_agent.clock import SystemClock\n"
        "from sse_agent.events import AgentStopping\n"
        "from sse_agent.lines import Lines\n"
        "lines = Lines(sys.stderr, SystemClock(), style='json', level='info')\n"
        "sys.stdin.read()\n"
        "for _ in range(3): lines(AgentStopping('SIGTERM'))\n"
    )
    reader, writer = os.pipe()
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=writer) as child:
        os.close(reader)
        os.close(writer)
        child.communicate(timeout=20)
    assert child.returncode == 0
