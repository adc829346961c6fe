"""Which way to watch: on a terminal that can't be drawn on lines and a plain summary, without a terminal only a log."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.processes import _environment

WITHIN_S = 60.0
COMMAND = [sys.executable, "-m", "sse_agent", "run"]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Settings that an agent starts with; nobody is where its control plane should be."""
    (tmp_path / "outgoing").mkdir()
    settings = {
        "HOME": str(tmp_path),
        "SSE_AGENT_CONTROL_PLANE_URL": "https://control.invalid",
        "SSE_AGENT_CLIENT_ID": "warehouse-7",
        "SSE_AGENT_TOKEN": "token-of-the-test",
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(tmp_path / "outgoing")]),
        "SSE_AGENT_STATE_DIR": str(tmp_path / "state"),
    }
    return _environment(settings)


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Processes that do not outlive the test."""
    children: list[subprocess.Popen[bytes]] = []

    def start(**more: object) -> "subprocess.Popen[bytes]":
        children.append(subprocess.Popen(COMMAND, **more))  # type: ignore[call-overload]
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_terminal_that_can_not_be_drawn_on_gets_lines_and_at_the_end_a_plain_summary(
    variables: dict[str, str], started: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    master, slave = os.openpty()
    child = started(env=variables | {"TERM": "dumb"}, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen, until, is_asked = b"", time.monotonic() + WITHIN_S, False
    while time.monotonic() < until:
        if not select.select([master], [], [], 1.0)[0]:
            continue
        try:
            seen += os.read(master, 65536)
        except OSError:
            # It ended, and with it the terminal's other side.
            break
        if not is_asked and b" warning " in seen:
            is_asked = True
            child.send_signal(signal.SIGINT)
    os.close(master)
    told = seen.decode().replace("\r", "").splitlines()
    assert child.wait(WITHIN_S) == 0
    assert "\x1b" not in seen.decode()
    begin = [number for number, line in enumerate(told) if line.startswith("sse-agent ")]
    assert len(begin) == 1, told
    assert all(" info " in line or " warning " in line for line in told[: begin[0]])
    assert "warehouse-7 ran " in told[begin[0]]
    assert told[begin[0] + 1 :] == ["  ended       nothing", "  unfinished  nothing"]


def test_without_a_terminal_there_is_a_log_and_nothing_else(
    variables: dict[str, str], started: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    child = started(env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stderr is not None
    first = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=WITHIN_S)
    assert (child.returncode, out) == (0, b"")
    names = [json.loads(line)["event"] for line in (first + err).splitlines()]
    assert (names[0], names[-1]) == ("agent.started", "agent.stopped")
