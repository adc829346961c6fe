"""Who asks the agent gets its answer, or is told why there is none; and the reference tells what can be asked."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent import localapi
from sse_agent.cli import asking
from sse_agent.cli.asking import ask
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.journal import opened_at_rest
from sse_agent.localapi import SOCKET
from tests.cli.resting import REFERENCE, Shell, fill, upload
from tests.doubles.clock import FakeClock

WITHIN_S = 20.0


@contextmanager
def agent(folder: Path, answer: Callable[[socket.socket, bytes], None]) -> Iterator[None]:
    """Something that listens where an agent would, and does that to the first who asks."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / SOCKET))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection, connection.makefile("rb").readline())

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield
        serving.join(WITHIN_S)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short name, for a socket."""
    return tmp_path_factory.mktemp("s")


def test_an_agent_that_listens_is_asked_in_one_line(place: Path) -> None:
    heard: list[Any] = []

    def answer(connection: socket.socket, line: bytes) -> None:
        heard.append(json.loads(line))
        connection.sendall(b'{"ok": true, ')
        connection.sendall(b'"count": 3}\n')

    with agent(place, answer):
        assert ask(place, "pause", fileIds=["a"])["count"] == 3
    assert heard == [{"do": "pause", "fileIds": ["a"]}]


@pytest.mark.parametrize(
    ("answer", "told", "code"),
    [
        (b'{"ok": fal', "its answer was cut off", ExitCode.TRY_AGAIN),
        (b"", "its answer was cut off", ExitCode.TRY_AGAIN),
        (b'{"ok": false, "error": {"code": "TRY_AGAIN", "message": "full"}}', "full (TRY_AGAIN)", ExitCode.TRY_AGAIN),
        (
            b'{"ok": false, "error": {"code": "NOT_FOUND", "message": "none"}}',
            "none (NOT_FOUND)",
            ExitCode.WRONG_CONFIGURATION,
        ),
    ],
)
def test_an_answer_that_is_none_or_an_error_is_told_in_a_sentence(
    place: Path, answer: bytes, told: str, code: ExitCode
) -> None:
    with agent(place, lambda connection, _: connection.sendall(answer)), pytest.raises(CannotStart) as wrong:
        ask(place, "status")
    assert told in str(wrong.value)
    assert wrong.value.exit_code is code


def test_an_agent_that_says_nothing_is_not_waited_for_for_ever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WITHIN_S", -4.9)
    is_over = threading.Event()
    with agent(place, lambda *_: is_over.wait(WITHIN_S) and None):
        with pytest.raises(CannotStart, match="did not answer in time"):
            ask(place, "status")
        is_over.set()


def test_an_answer_without_end_is_cut(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_LIMIT", 1000)
    endless = agent(place, lambda connection, _: connection.sendall(b"x" * 4000))
    with endless, pytest.raises(CannotStart, match="cut off"):
        ask(place, "status")


def test_no_agent_runs_in_a_state_directory_that_can_be_none(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(CannotStart, match="no agent has ever run") as wrong:
        ask(place / "file", "status")
    assert wrong.value.exit_code is ExitCode.WRONG_CONFIGURATION
    (place / "loop").symlink_to(place / "loop")
    with pytest.raises(CannotStart, match=r"whether an agent runs in .*/loop is not known \(.*symbolic links\)"):
        ask(place / "loop", "status")


def test_a_socket_that_nobody_listens_at_is_that_of_a_killed_agent(place: Path) -> None:
    fill(place, upload("a"))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place / SOCKET))
    assert ask(place, "status")["status"] == {
        "running": False,
        "clientId": "agent-1",
        "uploads": {"queued": 1},
        "queuedBytes": 2048,
        "outbox": {"pending": 0, "dead": 0},
    }


def test_whoever_comes_while_another_looks_into_the_journal_waits_for_a_moment(place: Path) -> None:
    fill(place, upload("a"))
    is_held, may_end = threading.Event(), threading.Event()

    async def look() -> None:
        async with opened_at_rest(place, FakeClock()):
            is_held.set()
            await anyio.to_thread.run_sync(may_end.wait, WITHIN_S)

    other = threading.Thread(target=anyio.run, args=(look,), daemon=True)
    other.start()
    assert is_held.wait(WITHIN_S)
    threading.Timer(0.5, may_end.set).start()
    assert ask(place, "status")["ok"]
    other.join(WITHIN_S)


def test_an_agent_that_holds_its_journal_and_never_listens_is_told_with_75(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "STARTING_S", 0.2)
    fill(place, upload("a"))

    async def ask_meanwhile() -> None:
        async with opened_at_rest(place, FakeClock()):
            await anyio.to_thread.run_sync(ask, place, "status")

    with pytest.raises(CannotStart, match="no agent answers in") as wrong:
        anyio.run(ask_meanwhile)
    assert wrong.value.exit_code is ExitCode.TRY_AGAIN


NOBODY = 65534


def test_the_agent_of_another_user_is_told_with_77(place: Path, shell: Callable[[Path], Shell]) -> None:
    fill(place, upload("a"))
    program = (
        "import os, sys\n"
        "from sse_agent import cli\n"
        f"os.geteuid() or os.setuid({NOBODY})\n"
        "sys.exit(cli.main(['status', '--state-dir', sys.argv[1]]))\n"
    )
    command, variables = [sys.executable, "-c", program, str(place)], {**os.environ, "XDG_CONFIG_HOME": "/nowhere"}
    place.chmod(0o000)
    try:
        child = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30, check=False)
    finally:
        place.chmod(0o700)
    assert child.returncode == 77
    assert child.stderr == (
        f"sse-agent: the agent's socket in {place} is its own user's: run this as that user (sudo -u …)\n"
    )


def test_every_request_of_the_local_api_is_in_the_reference_and_no_other() -> None:
    page = (REFERENCE / "local-api.md").read_text()
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert rows == set(localapi._ANSWERS)
    for figure in (localapi.REQUEST_LIMIT // 1024**2, localapi.AT_ONCE, int(localapi.WITHIN_S)):
        assert re.search(rf"\b{figure}\b", page), figure
