"""The agent as a service: what it tells systemd over a socket such as systemd's, and what its log is."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sse_agent.errors import ExitCode
from sse_agent.lines import PROGRESS_EVERY_S
from tests.doubles.processes import Process, agent_of, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

WITHIN_S = 40.0
MIB = 1024 * 1024
# Each is an agent with one bug; `hang` waits for what never comes.
BROKEN = {
    "stream": "from sse_agent.stream import Stream as Part\nPart.run = hang\n",
    "uploader": "from sse_agent.uploader import Uploader as Part\nPart._step = hang\n",
    "journal": (
        "import threading\nfrom sse_agent.journal import Journal\nfrom sse_agent import notify\n"
        "notify._nothing = lambda _: threading.Event().wait()\n"
    ),
}
PROGRAM = (
    "import sys, anyio\n"
    "from sse_agent import cli\n"
    "async def hang(*_, **__):\n"
    "    await anyio.Event().wait()\n"
    "{bug}"
    "sys.exit(cli.main(['run', '--headless']))\n"
)


class Systemd:
    """Its end of $NOTIFY_SOCKET, as lines in the order in which they came."""

    def __init__(self) -> None:
        self.address = f"@sse-agent-test-{uuid.uuid4()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self.lines: list[str] = []

    def wait_for(self, beginning: str, times: int = 1) -> list[str]:
        """All lines until one begins so, for the so manieth time."""
        end = time.monotonic() + WITHIN_S
        while sum(line.startswith(beginning) for line in self.lines) < times:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                self.lines += self._socket.recv(65536).decode().split("\n")
            except TimeoutError:
                pytest.fail(f"{beginning!r} did not come: {self.lines}")
        return self.lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    there = Systemd()
    yield there
    there.close()


def settings(systemd: Systemd, watchdog_s: float = 1.0) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}


def test_systemd_hears_ready_the_state_the_watchdog_and_the_stop(tmp_path: Path, systemd: Systemd) -> None:
    with world(tmp_path, connected=False, **settings(systemd)) as there:
        there.agent.start()
        assert systemd.wait_for("READY=1") == ["READY=1", "STATUS=connecting; nothing to upload"]
        systemd.wait_for("STATUS=connected; nothing to upload")
        fed = systemd.lines.count("WATCHDOG=1")
        systemd.wait_for("WATCHDOG=1", times=fed + 3)
        there.agent.signal(signal.SIGTERM)
        assert systemd.wait_for("STATUS=stopping (SIGTERM)")[-2:] == ["STOPPING=1", "STATUS=stopping (SIGTERM)"]
        assert there.agent.wait() == 0


def test_an_agent_without_a_network_is_ready_and_alive_while_it_waits_for_its_next_try(
    tmp_path: Path, systemd: Systemd
) -> None:
    there = agent_of("http://127.0.0.1:9", tmp_path)
    there.settings |= settings(systemd)
    there.start()
    try:
        systemd.wait_for("READY=1")
        systemd.wait_for("STATUS=waiting for the control plane: no connection")
        fed = systemd.lines.count("WATCHDOG=1")
        systemd.wait_for("WATCHDOG=1", times=fed + 3)
    finally:
        there.kill()


def test_a_watchdog_for_another_process_is_not_fed(tmp_path: Path, systemd: Systemd) -> None:
    there = agent_of("http://127.0.0.1:9", tmp_path)
    there.settings |= settings(systemd, 0.2) | {"WATCHDOG_PID": "1"}
    there.start()
    try:
        # It comes seconds later: one that is fed would have been, many times.
        systemd.wait_for("STATUS=waiting for the control plane")
        assert "WATCHDOG=1" not in systemd.lines
    finally:
        there.kill()


@contextmanager
def broken(folder: Path, bug: str, systemd: Systemd) -> Iterator[subprocess.Popen[str]]:
    """An agent with that bug, whose standard error is a pipe."""
    there = agent_of("http://127.0.0.1:9", folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SSE_AGENT_")}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(bug=bug)],
        env=inherited | there.settings | settings(systemd, 0.5),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate(timeout=WITHIN_S)


@pytest.mark.parametrize("part", BROKEN)
def test_a_part_that_hangs_is_never_called_alive_and_named(tmp_path: Path, systemd: Systemd, part: str) -> None:
    with broken(tmp_path, BROKEN[part], systemd):
        systemd.wait_for("READY=1")
        systemd.wait_for(f"STATUS=stuck: {part}; ")
        assert "WATCHDOG=1" not in systemd.lines


def test_the_same_agent_without_a_bug_is_called_alive(tmp_path: Path, systemd: Systemd) -> None:
    with broken(tmp_path, "", systemd):
        systemd.wait_for("WATCHDOG=1", times=3)


def test_what_the_watchdog_kills_says_where_each_thread_stood_and_no_value(tmp_path: Path, systemd: Systemd) -> None:
    with broken(tmp_path, BROKEN["journal"], systemd) as child:
        systemd.wait_for("STATUS=stuck: journal; ")
        child.send_signal(signal.SIGABRT)
        _, told = child.communicate(timeout=WITHIN_S)
    assert child.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in told
    assert "database.py" in told
    assert "secret-of-the-agent" not in told


def test_the_log_is_json_on_standard_error_alone_and_says_little_of_a_long_upload(tmp_path: Path) -> None:
    with Relay(MIB) as relay, world(tmp_path, relay=relay, SSE_AGENT_LOG_LEVEL="info") as there:
        (there.files / "a.bin").write_bytes(os.urandom(6 * MIB))
        began = time.monotonic()
        there.services.command("UPLOAD_START", fileId="a", fileName="a.bin")
        there.agent.wait_for("upload.completed", file_id="a")
        took = time.monotonic() - began
        assert there.agent.stop() == 0
        names = [json.loads(line)["event"] for line in there.agent.lines]
    assert "upload.progress" not in names[: names.index("upload.started")]
    assert names[0] == "agent.started"
    assert names[-1] == "agent.stopped"
    assert names.count("upload.progress") <= took / PROGRESS_EVERY_S
    of_it = [name for name in names if name.startswith("upload.") and name != "upload.progress"]
    assert of_it == ["upload.queued", "upload.started", "upload.completed"]


def test_after_a_kill_the_log_says_where_an_upload_resumes_once_the_tus_server_was_asked(tmp_path: Path) -> None:
    with Relay(MIB) as relay, world(tmp_path, relay=relay, SSE_AGENT_LOG_LEVEL="info") as there:
        (there.files / "a.bin").write_bytes(os.urandom(24 * MIB))
        there.services.command("UPLOAD_START", fileId="a", fileName="a.bin")
        # The first PATCH is 8 MiB: nothing is confirmed yet, and most of it has arrived.
        until(lambda: relay.forwarded > 4 * MIB, "it is under way")
        there.agent.kill()
        mark = there.agent.mark()
        relay.rate = None
        there.connect()
        there.agent.wait_for("upload.completed", file_id="a")
        assert there.agent.wait_for("upload.started", after=mark)["offset"] == 0
        located = there.agent.wait_for("upload.located", after=mark)
        assert (located["size"], located["file_name"]) == (24 * MIB, "a.bin")
        assert located["offset"] >= 2 * MIB


def test_for_systemds_journal_text_has_priorities_and_no_times(tmp_path: Path) -> None:
    there = agent_of("http://127.0.0.1:9", tmp_path)
    there.settings["SSE_AGENT_LOG_FORMAT"] = "text"
    told = lines_into(there, tmp_path / "log", is_journal=True)
    assert told[0].startswith("<6>sse-agent ")
    assert any(line.startswith("<4>waiting for the control plane: ") for line in told)
    assert all(line[0] == "<" for line in told)
    assert lines_into(there, tmp_path / "other", is_journal=False)[0][:2] == "20"


UNIT_PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to" / "run-as-a-service.md"


def test_the_unit_in_the_documentation_is_one_that_systemd_takes_and_that_gives_little_away(tmp_path: Path) -> None:
    found = re.search(r"^```ini\n(.*?)^```", UNIT_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    lines = set(found[1].splitlines())
    needed = {
        "Type=notify",
        "WatchdogSec=60",
        "Restart=always",
        f"RestartPreventExitStatus={ExitCode.WRONG_CONFIGURATION:d}",
    }
    assert needed <= lines
    unit = tmp_path / "sse-agent.service"
    # Whoever verifies it wants a program that is there.
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", found[1], flags=re.MULTILINE))
    assert analyzed("verify", str(unit)) == ""
    told = analyzed("security", "--offline=true", "--no-pager", "--threshold=15", str(unit))
    assert "Overall exposure level" in told


def analyzed(*arguments: str) -> str:
    """What systemd-analyze says of a good unit; it ends with an error over any other."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    child = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout + child.stderr


def lines_into(there: Process, path: Path, *, is_journal: bool) -> list[str]:
    """The log of an agent whose standard error is that file, until it waited for the control plane, and was stopped."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SSE_AGENT_")}
    with path.open("wb") as stream:
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino}" if is_journal else "1:1"
        child = subprocess.Popen(
            [sys.executable, "-m", "sse_agent", "run", "--headless"],
            env=inherited | there.settings | {"JOURNAL_STREAM": named},
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            stderr=stream,
        )
    try:
        end = time.monotonic() + WITHIN_S
        while "waiting for the control plane" not in path.read_text():
            assert time.monotonic() < end, path.read_text()
            assert child.poll() is None, path.read_text()
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(WITHIN_S) == 0
    finally:
        child.kill()
        child.wait()
    return path.read_text().splitlines()
