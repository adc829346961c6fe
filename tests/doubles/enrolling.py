"""Machines that are enrolled at a real control plane, and a person at a terminal. All waits are bounded."""

import json
import os
import secrets
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.doubles.processes import Process, _environment
from tests.doubles.services import Services, until

WITHIN_S = 60.0
PREFIX = "SSE_AGENT_CONTROL_PLANE_"

# The real one, but for how long its access tokens live: nobody can wait eight minutes for each renewal.
PLANE_WITH_SHORT_LIVES = """
import sys
from sse_agent import cli
from sse_agent.control_plane.identity import granting
granting.ACCESS_LIFE_S = {life_s}
sys.exit(cli.main(["control-plane"]))
"""


class _Program(Process):
    """Python code in place of the program's own start."""

    def __init__(self, code: str, settings: Mapping[str, str], folder: Path) -> None:
        super().__init__([], settings, folder)
        self._arguments = [sys.executable, "-c", code]


class Terminal:
    """`sse-agent …` on a terminal of its own, and what is typed there."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._master, slave = os.openpty()
        self.seen = ""
        self.child = subprocess.Popen(
            [sys.executable, "-m", "sse_agent", *arguments],
            env={**environment, "TERM": "dumb"},
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def shows(self, text: str, times: int = 1) -> None:
        """Wait for it."""
        self._read_until(lambda: self.seen.count(text) >= times, text)

    def types(self, line: str) -> None:
        """A line, and Enter."""
        os.write(self._master, f"{line}\n".encode())

    def interrupts(self) -> None:
        """What Ctrl-C sends."""
        self.child.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Its exit code; all that it showed is in `seen`."""
        self._read_until(lambda: False, "the end", is_end_fine=True)
        return self.child.wait(WITHIN_S)

    def _read_until(self, condition: Any, what: str, *, is_end_fine: bool = False) -> None:
        end = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < end, f"no {what!r} in:\n{self.seen}"
            if not select.select([self._master], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(self._master, 65536)
            except OSError:
                # It ended, and with it the terminal's other side.
                part = b""
            if not part:
                assert is_end_fine, f"it ended before {what!r}:\n{self.seen}"
                return
            self.seen += part.decode(errors="replace")

    def close(self) -> None:
        """Whatever is left of it is gone after this."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(WITHIN_S)
        os.close(self._master)


@dataclass
class Premises:
    """A control plane, and one machine with a state directory and a folder of files."""

    folder: Path
    url: str
    plane: Process
    http: httpx.Client
    stack: ExitStack
    service_token: str
    processes: list[Process] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """The machine's state directory."""
        return self.folder / "state"

    @property
    def files(self) -> Path:
        """Its allowed folder."""
        return self.folder / "files"

    @property
    def identity(self) -> dict[str, Any]:
        """As it is on the machine's disk."""
        found: dict[str, Any] = json.loads((self.state / "identity.json").read_text())
        return found

    @property
    def settings(self) -> dict[str, str]:
        """What the machine is told, beyond its identity."""
        return {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "SSE_AGENT_STATE_DIR": str(self.state),
            "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(self.files)]),
            "SSE_AGENT_LOG_LEVEL": "debug",
        }

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """A service asks for something."""
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        answer = self.http.post(f"/api/v1{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def code(self, **more: str) -> str:
        """A pairing code."""
        return str(self.post("/pairing-codes", actor="ada", **more)["code"])

    def token(self) -> str:
        """An enrolment token."""
        return str(self.post("/enrollment-tokens", actor="ada")["token"])

    def confirm(self, fingerprint: str) -> None:
        """A person says yes to the machine."""
        self.post(f"/agents/{self.identity['clientId']}/confirm", fingerprint=fingerprint, actor="ada")

    def services(self) -> Services:
        """Whoever commands the machine."""
        found = Services(self.url, self.service_token, self.identity["clientId"], ssl.create_default_context())
        self.stack.callback(found.close)
        return found

    def terminal(self, *arguments: str, **settings: str) -> Terminal:
        """A person starts `sse-agent …`."""
        found = Terminal(list(arguments), _environment({**self.settings, **settings}), self.folder)
        self.stack.callback(found.close)
        return found

    def script(
        self, *arguments: str, text: str = "", within_s: float = WITHIN_S, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """A script runs `sse-agent …` with that on standard input."""
        return subprocess.run(
            [sys.executable, "-m", "sse_agent", *arguments],
            env=_environment({**self.settings, **settings}),
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def enrolled(self) -> None:
        """Enrol the machine as a script does."""
        done = self.script("enroll", "--control-plane", self.url, "--token-file", "-", text=self.token())
        assert done.returncode == 0, done.stdout + done.stderr

    def agent(self, **settings: str) -> Process:
        """The agent as a process; not started."""
        found = Process(["run", "--headless"], {**self.settings, **settings}, self.folder)
        self.stack.callback(found.kill)
        self.processes.append(found)
        return found


@contextmanager
def premises(folder: Path, *, life_s: int | None = None) -> Iterator[Premises]:
    """The control plane runs within the block. `life_s`: of its access tokens, in seconds; ten minutes by default."""
    service_token = secrets.token_urlsafe(24)
    settings = {
        f"{PREFIX}PORT": "0",
        f"{PREFIX}DATABASE": str(folder / "control-plane.db"),
        f"{PREFIX}SERVICE_TOKEN": service_token,
        f"{PREFIX}HEARTBEAT_SECONDS": "1",
    }
    (folder / "files").mkdir()
    with ExitStack() as stack:
        code = PLANE_WITH_SHORT_LIVES.format(life_s=life_s)
        plane = Process(["control-plane"], settings, folder) if life_s is None else _Program(code, settings, folder)
        stack.callback(plane.kill)
        plane.start()
        try:
            until(lambda: any("listening" in line for line in plane.lines), "the control plane listens", WITHIN_S)
        except TimeoutError:
            raise AssertionError("the control plane does not listen:\n" + "\n".join(plane.lines)) from None
        url = next(json.loads(line)["listening"] for line in plane.lines if "listening" in line)
        http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {service_token}"}, timeout=20, trust_env=False
        )
        stack.callback(http.close)
        yield Premises(folder, url, plane, http, stack, service_token)
