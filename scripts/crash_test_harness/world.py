"""Everything of one run in one folder: the files, tusd, the relay, the oracle, and the agent that is killed."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest

from scripts.crash_test_harness import judge, seat
from scripts.crash_test_harness.book import Book
from scripts.crash_test_harness.faults import Faults
from scripts.crash_test_harness.ledger import CLIENT, Ledger, Message
from scripts.crash_test_harness.nursery import Life, Nursery
from scripts.crash_test_harness.oracle import TOKEN, Oracle
from scripts.crash_test_harness.relay import Relay
from scripts.crash_test_harness.tokens import Tokens
from scripts.crash_test_harness.traffic import Traffic
from tests.doubles.tusd import Tusd

ROOT = Path(__file__).resolve().parent.parent.parent
KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 1, 1000, 64 * KIB, 200_000, 256 * KIB, 256 * KIB + 1, 600_000, MIB, 1_500_000, 2 * MIB, 3 * MIB + 7)
RATE = 1.5 * MIB
STOPS_WITHIN_S = 15.0
ASKED_WITHIN_S = 2.0
STUCK = frozenset({"UPLOAD_FAILED", "UPLOAD_PAUSED"})


class World:
    """A context manager. `seed` decides all that chance decides here."""

    def __init__(self, folder: Path, seed: int, launcher: Sequence[str] = ()) -> None:
        """`launcher`: arguments for launcher.py that every life of the agent has."""
        self.folder = folder
        self.launcher = tuple(launcher)
        self.files = folder / "files"
        self.log = folder / "agent.log"
        self.ledger = Ledger()
        self.faults = Faults(seed)
        self.tokens = Tokens(self.faults)
        self._code = _copied_code(folder)
        # An empty one of our own, so that whoever runs this has no say.
        (folder / "settings.toml").touch(0o600)
        self.oracle = Oracle(self.ledger, self.faults, self.tokens)
        self.tusd = Tusd(folder / "stored")
        self.book = Book(lambda: self.tusd.endpoint, self.faults, self.tokens)
        self.relay = Relay(self.book, RATE)
        self.seat = seat.Seat()
        self.chance = random.Random(seed)
        self.sizes = self._make_files()
        self.sha256 = {name: hashlib.sha256((self.files / name).read_bytes()).hexdigest() for name in self.sizes}
        self.traffic = Traffic(self.ledger, self.tokens, self.files, self.sizes, self.sha256, self.chance)
        self.agent: subprocess.Popen[bytes] | Life | None = None
        self.has_failed = False
        self._nursery: Nursery | None = None
        self.bytes_complete = 0
        self.bytes_sent_for_complete = 0
        self._checked = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._errors = stack.enter_context(self.log.open("ab"))
            for part in (self.tusd, self.relay, self.oracle):
                stack.enter_context(part)
            stack.callback(self._close_nursery)
            stack.callback(self.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_files(self) -> dict[str, int]:
        self.files.mkdir()
        names = {f"{n:02}-{size}.bin": size for n, size in enumerate(SIZES)}
        for name, size in names.items():
            (self.files / name).write_bytes(self.chance.randbytes(size))
        return names

    # --- the agent ---

    def start(self, *launcher: str, is_attended: bool = False) -> None:
        """The agent as everybody starts it, or with arguments for launcher.py; attended: at a terminal."""
        launcher = (*self.launcher, *launcher)
        program = ["-m", "scripts.crash_test_harness.launcher", *launcher, "--"] if launcher else ["-m", "sse_agent"]
        self._note_start(is_attended=is_attended)
        if is_attended:
            self.seat.take()
            self._run(["-c", seat.TAKE_TERMINAL, *program, "run"], seat.TERMINAL, self.seat.slave)
        else:
            self._run([*program, "run", "--headless"], {}, None)

    def fork(self, *launcher: str) -> None:
        """The same, begun quickly: see nursery.py."""
        if self._nursery is None:
            self._nursery = Nursery(self._environment(), self.folder, self._errors)
        self._note_start(is_attended=False)
        self.agent = self._nursery.begin([*self.launcher, *launcher, "--", "run", "--headless"])

    def _close_nursery(self) -> None:
        if self._nursery is not None:
            self._nursery.close()

    def _note_start(self, *, is_attended: bool) -> None:
        self.book.begin_life()
        self.ledger.note_start(is_attended=is_attended)

    def _run(self, arguments: list[str], more: Mapping[str, str], terminal: int | None) -> None:
        self.agent = subprocess.Popen(
            [sys.executable, *arguments],
            env={**self._environment(), **more},
            cwd=self.folder,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=self._errors if terminal is None else terminal,
            stderr=self._errors if terminal is None else terminal,
            start_new_session=terminal is not None,
        )

    def _environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(self._code),
            "SSE_AGENT_CONTROL_PLANE_URL": self.oracle.url,
            "SSE_AGENT_CLIENT_ID": CLIENT,
            "SSE_AGENT_TOKEN": TOKEN,
            "SSE_AGENT_STATE_DIR": str(self.folder / "state"),
            "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(self.files)]),
            "SSE_AGENT_TUS_ENDPOINT": self.relay.endpoint,
            "SSE_AGENT_SETTINGS_FILE": str(self.folder / "settings.toml"),
        }
        is_foreign = ("SSE_AGENT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        others = {name: value for name, value in os.environ.items() if not name.upper().startswith(is_foreign)}
        return others | own

    def ask(self, request: str) -> None:
        """As a second process of this machine's user does. The agent may not listen yet, or not live to answer."""
        with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
            asking.settimeout(ASKED_WITHIN_S)
            asking.connect(os.path.relpath(self.folder / "state" / "agent.sock"))
            asking.sendall(request.encode() + b"\n")
            asking.recv(1)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
            self.agent = None
            self.ledger.note_kill()
            self.seat.leave()

    def restart_tusd(self) -> None:
        """As a machine does with a service that was killed. Its port may be taken meanwhile; then another one."""
        self.tusd.kill()
        try:
            self.tusd.start()
        except pytest.fail.Exception:
            self.tusd.endpoint = ""
            self.tusd.start()

    def has_ended(self) -> bool:
        """Whether it is gone without our doing; unless a signal did it, that is a complaint."""
        code = None if self.agent is None else self.agent.poll()
        if code is not None and code != -signal.SIGKILL:
            self.has_failed = True
            self.ledger.complain(f"the agent ended by itself with exit code {code}: {self._last_words()}")
        return code is not None

    def _last_words(self) -> str:
        """The last line in its log that is no event."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line and not line.startswith("{")), "it said nothing")

    def wait_for_end(self, within_s: float) -> bool:
        """Whether it kills itself in that time."""
        assert self.agent is not None
        with suppress(subprocess.TimeoutExpired):
            self.agent.wait(within_s)
        return self.has_ended()

    def stop(self) -> None:
        """In order: SIGTERM, exit code 0, and a farewell."""
        if self.agent is None or self.has_ended():
            return
        self.agent.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.agent.wait(STOPS_WITHIN_S)
        if self.agent.poll() != 0:
            self.ledger.complain(f"SIGTERM ended the agent with exit code {self.agent.poll()}")
        elif not any(message.type == "CLIENT_DISCONNECTED" for message in list(self.ledger.messages.values())):
            self.ledger.complain("the agent stopped without CLIENT_DISCONNECTED")

    # --- the end ---

    def drain(self, within_s: float, quiet_s: float, say: Callable[[], None] = lambda: None) -> bool:
        """Faults stop; wait until every command and upload is over. False: too long, or nothing moved for `quiet_s`."""
        self.faults.stop()
        self.traffic.resume_all()
        self.traffic.revive(STUCK)
        until = time.monotonic() + within_s
        moved_at, seen = time.monotonic(), -1
        while not self.is_drained():
            now, count = time.monotonic(), self._signs_of_life()
            if count != seen:
                moved_at, seen = now, count
            if now > min(until, moved_at + quiet_s) or self.has_ended():
                return False
            self.check_complete()
            self.traffic.revive(STUCK)
            say()
            time.sleep(0.05)
        return True

    def is_drained(self) -> bool:
        """Whether nothing is left to be done."""
        with self.ledger.condition:
            is_over = all(self.traffic.is_over(file_id) for file_id in self.traffic.started())
            return is_over and not self.ledger.unanswered()

    def _signs_of_life(self) -> int:
        """Grows with every message that says something new, and with every byte for tusd."""
        return self.ledger.news + sum(sent.bytes for sent in list(self.book.uploads.values()))

    def fresh_command_s(self, within_s: float = 30.0) -> float:
        """Seconds that a fresh command and a fresh upload take; more than `within_s` is a complaint."""
        began = time.monotonic()
        if self.has_ended():
            return 0.0
        command_id = self.traffic.give("HEARTBEAT", {})
        file_id = self.traffic.start(next(name for name, size in self.sizes.items() if size > 1000))
        ledger = self.ledger
        if not ledger.wait_for(lambda: command_id in ledger.finals and file_id in ledger.over, within_s):
            ledger.complain(f"a fresh command was not over within {within_s:.0f} s after the faults stopped")
        self.drain(5.0, 5.0)
        return time.monotonic() - began

    def check_complete(self) -> None:
        """Compare what tusd has of newly completed uploads, then remove it there: disks are finite."""
        for move in self.ledger.completions[self._checked :]:
            self._checked += 1
            self._check(move)

    def _check(self, move: Message) -> None:
        file_id, upload_id = str(move.payload["fileId"]), str(move.payload["uploadId"])
        name = self.traffic.started()[file_id]["fileName"]
        size, sha256 = self.sizes[name], self.sha256[name]
        if (move.payload["fileSize"], move.payload["sha256"]) != (size, sha256):
            self.ledger.complain(f"UPLOAD_COMPLETE of {file_id} names another size or SHA-256 than its file has")
        stored = self.tusd.store / upload_id
        if not stored.is_file() or self.tusd.sha256(upload_id) != sha256:
            self.ledger.complain(f"lost bytes: tusd has something else of {file_id} than its file")
        stored.unlink(missing_ok=True)
        (self.tusd.store / f"{upload_id}.info").unlink(missing_ok=True)
        self.bytes_complete += size
        # What was sent to an upload that vanished or was refused had to be sent again.
        self.bytes_sent_for_complete += sum(
            one.bytes for one in self.book.sent_for(file_id) if one.upload_id == upload_id or not one.is_void
        )

    def verdict(self) -> list[str]:
        """Every complaint."""
        self.check_complete()
        complaints = judge.judge(self.ledger, sorted(self.sizes), self.book.sent_for)
        return complaints + self.seat.judge(self.ledger.lines)


def _copied_code(folder: Path) -> Path:
    """The agent's code as it was at the beginning: a long run tests one build, whoever edits meanwhile."""
    code = folder / "code"
    for name in ("sse_agent", "scripts/crash_test_harness"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    return code
