"""`status`: of an agent at rest, and what is shown of one that runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sse_agent import events
from sse_agent.board import Board
from sse_agent.cli.status import lines
from sse_agent.localapi import status_of
from tests.cli.resting import Shell, complete, dead_letter, documented, failed, fill, members, paused, upload, waiting

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
HOSTILE = "big\x1b[2J\n\u202e.bin"


def running(board: Board, now: float, **more: Any) -> dict[str, Any]:
    """As the agent answers."""
    counts = {"uploads": {"uploading": 2, "complete": 1200}, "queuedBytes": 3 << 30}
    return {**status_of(board, now), **counts, "outbox": {"pending": 1, "dead": 0}, **more}


def board() -> Board:
    """Two uploads under way, one of an ill-named file."""
    there = Board()
    there.apply(events.AgentStarted("0.1.0", "agent-1", "https://control.example.com", 1, {}, 0), 1000.0, AT)
    there.apply(events.StreamConnected("sse", resumed=True, latest="k/1"), 1010.0, AT)
    for file_id, name, size, sent in (("a", "short.txt", 4096, 3000), ("b", HOSTILE, 2 << 30, 1 << 30)):
        there.apply(events.UploadStarted(file_id, name, size, 0, 1), 1011.0, AT)
        there.apply(events.UploadProgressed(file_id, 0, sent, size, size // 100), 1012.0, AT)
    return there


def test_a_running_agent_is_shown_in_straight_columns_that_obey_no_name() -> None:
    assert lines(running(board(), 1020.0)) == [
        "agent-1: sse-agent 0.1.0, running for 20 s",
        "  control plane  https://control.example.com",
        "                 connected for 10 s (sse)",
        "  uploads        2 uploading, 1,200 complete; 3.00 GiB to send, 20.5 MiB/s",
        "    73 %  2.93/4.00 KiB      40 B/s  27 s left  short.txt",
        "    50 %  1.00/2.00 GiB  20.5 MiB/s  50 s left  big\\x1b[2J\\n\\u202e.bin",
        "  outbox         1 message to send",
    ]


def test_a_name_that_is_not_utf_8_is_one_name_wherever_people_read_it() -> None:
    there = board()
    there.apply(events.UploadStarted("c", "caf\udce9.txt", 4096, 0, 1), 1011.0, AT)
    told = running(there, 1020.0)
    assert (told["active"][2]["fileName"], told["active"][2]["fileNameB64"]) == ("caf\ufffd.txt", "Y2Fm6S50eHQ=")
    assert lines(told)[6].endswith("  caf\\xe9.txt")


def test_of_what_has_stood_still_for_a_while_it_is_said_for_how_long() -> None:
    told = lines(running(board(), 1070.0))
    assert [line.split("/s  ")[1] for line in told[4:6]] == [
        "no bytes for 58 s  short.txt",
        "no bytes for 58 s  big\\x1b[2J\\n\\u202e.bin",
    ]


def test_a_lost_connection_is_told_with_its_reason_and_its_next_try_and_so_is_trouble() -> None:
    there = board()
    there.apply(events.StreamLost("no connection: refused", 30.0, 4), 1020.0, AT)
    there.apply(events.JournalTrouble("the disk is full"), 1020.0, AT)
    told = lines(running(there, 1025.0, outbox={"pending": 1200, "dead": 2}))
    assert told[2] == "                 waiting for 5 s: no connection: refused; next try in 25 s"
    assert told[3].startswith("  trouble        the journal can't be written")
    assert told[-2:] == [
        "  outbox         1,200 messages to send",
        "                 2 dead letters: sse-agent outbox list",
    ]


def test_an_agent_at_rest_is_told_from_its_journal_with_exit_code_3(
    tmp_path: Path, shell: Callable[[Path], Shell]
) -> None:
    some = [upload(file_id) for file_id in "abcde"]
    place = fill(tmp_path, *some, paused("a"), failed("b"), waiting("c"), complete("d"), dead_letter("hello", "422"))
    sse_agent = shell(place)
    told = sse_agent.says("status")
    assert sse_agent.code == 3
    assert told[0] == "agent-1: no agent runs; this is what its journal says"
    assert told[1].startswith("  uploads        1 waiting, 1 queued, 1 paused, 1 failed, 1 complete; ")
    assert told[-1] == "                 1 dead letter: sse-agent outbox list"
    status = sse_agent.json("status")
    assert sse_agent.code == 3
    assert status["running"] is False
    assert status["uploads"] == {"complete": 1, "failed": 1, "paused": 1, "queued": 1, "waiting": 1}


def test_what_status_prints_as_json_is_what_the_reference_says(tmp_path: Path, shell: Callable[[Path], Shell]) -> None:
    at_rest = shell(fill(tmp_path, upload("a"))).json("status")
    there = board()
    there.apply(events.JournalTrouble("the disk is full"), 1020.0, AT)
    there.apply(events.UploadStarted("c", "\udcff", 4096, 0, 1), 1011.0, AT)
    of_running = set(members(running(there, 1025.0)))
    assert set(members(at_rest)) <= of_running
    assert documented("status") == of_running


def test_a_state_directory_without_an_agent_is_named_with_78(tmp_path: Path, shell: Callable[[Path], Shell]) -> None:
    sse_agent = shell(tmp_path / "nowhere")
    assert sse_agent.says("status") == []
    assert sse_agent.code == 78
    assert sse_agent.err.startswith("sse-agent: no agent has ever run with the state directory ")


@pytest.mark.parametrize(("count", "read"), [(500, b"FILE ID"), (2, b"")])
def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path: Path, count: int, read: bytes) -> None:
    """Whether it goes away in the middle, or before the little that there is was written."""
    place = fill(tmp_path, *(upload(f"f{n}", name=b"n" * 200) for n in range(count)))
    command = [sys.executable, "-m", "sse_agent", "uploads", "list", "--limit", "500", "--state-dir", str(place)]
    # Without it Python holds back what is printed, as it does for everybody.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    with subprocess.Popen(command, env=variables, stdout=writer, stderr=subprocess.PIPE, text=True) as child:
        os.close(writer)
        assert os.read(reader, len(read)) == read
        os.close(reader)
        assert child.communicate(timeout=30) == (None, "")
    assert child.returncode == 0
