"""Everything of one run in one folder: the files, tusd, the relay, the oracle, and the agent that is killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from scripts.crash_test_harness import judge
from scripts.crash_test_harness.ledger import CLIENT, Ledger, Message
from scripts.crash_test_harness.oracle import TOKEN, Faults, Oracle
from scripts.crash_test_harness.relay import Relay
from scripts.crash_test_harness.traffic import Traffic
from tests.doubles.tusd import Tusd

ROOT = Path(__file__).resolve().parent.parent.parent
KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 1, 1000, 64 * KIB, 200_000, 256 * KIB, 256 * KIB + 1, 600_000, MIB, 1_500_000, 2 * MIB, 3 * MIB + 7)
RATE = 1.5 * MIB
STOPS_WITHIN_S = 15.0


class World:
    """A context manager. `seed` decides all that chance decides here."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.log = folder / "agent.log"
        self.ledger = Ledger()
        self.faults = Faults(seed)
        # An empty one of our own, so that whoever runs this has no say.
        (folder / "settings.toml").touch(0o600)
        self.oracle = Oracle(self.ledger, self.faults)
        self.tusd = Tusd(folder / "stored")
        self.relay = Relay(lambda: self.tusd.endpoint, RATE)
        self.chance = random.Random(seed)
        self.sizes = self._make_files()
        self.sha256 = {name: hashlib.sha256((self.files / name).read_bytes()).hexdigest() for name in self.sizes}
        self.traffic = Traffic(self.ledger, self.files, self.sizes, self.sha256, self.chance)
        self.agent: subprocess.Popen[bytes] | None = None
        self.has_failed = False
        self.bytes_complete = 0
        self.bytes_sent_for_complete = 0
        self._checked = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._errors = stack.enter_context(self.log.open("ab"))
            for part in (self.tusd, self.relay, self.oracle):
                stack.enter_context(part)
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

    def start(self, *launcher: str) -> None:
        """The agent as everybody starts it, or with arguments for launcher.py."""
        arguments = ["-m", "scripts.crash_test_harness.launcher", *launcher, "--"] if launcher else ["-m", "sse_agent"]
        self.agent = subprocess.Popen(
            [sys.executable, *arguments, "run", "--headless"],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
        )

    def _environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(ROOT),
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

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

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
        until = time.monotonic() + within_s
        moved_at, seen = time.monotonic(), -1
        while not self.is_drained():
            now, count = time.monotonic(), self._signs_of_life()
            if count != seen:
                moved_at, seen = now, count
            if now > min(until, moved_at + quiet_s) or self.has_ended():
                return False
            self.check_complete()
            say()
            time.sleep(0.05)
        return True

    def is_drained(self) -> bool:
        """Whether nothing is left to be done."""
        with self.ledger.condition:
            is_over = all(file_id in self.ledger.over for file_id in self.traffic.started())
            return is_over and not self.ledger.unanswered()

    def _signs_of_life(self) -> int:
        """Grows with every message that says something new, and with every byte for tusd."""
        return self.ledger.news + sum(sent.bytes for sent in list(self.relay.uploads.values()))

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
        sent = self.relay.sent_for(file_id)
        self.bytes_complete += size
        self.bytes_sent_for_complete += sum(one.bytes for one in sent)

    def verdict(self) -> list[str]:
        """Every complaint."""
        self.check_complete()
        complaints = judge.judge(self.ledger, sorted(self.sizes))
        for file_id in self.traffic.started():
            complaints += judge.from_zero(file_id, self.relay.sent_for(file_id))
        return complaints
