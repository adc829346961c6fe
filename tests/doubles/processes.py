"""The real agent and the real control plane as processes: started, killed, started again. All waits are bounded."""

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.doubles.relay import Relay
from tests.doubles.services import Services, until
from tests.doubles.tusd import Tusd

WITHIN_S = 30.0
CLIENT = "agent-1"


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would lead the product elsewhere: settings and proxies of whoever runs the tests."""
    theirs = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {name: value for name, value in theirs.items() if not name.startswith("SSE_AGENT_")} | dict(settings)


class Process:
    """`python -m sse_agent …`, started, killed and started again with the same settings."""

    def __init__(self, arguments: list[str], settings: Mapping[str, str], folder: Path) -> None:
        self._arguments = [sys.executable, "-m", "sse_agent", *arguments]
        self.settings = dict(settings)
        self._folder = folder
        self._child: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._heard = threading.Condition()
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []

    def start(self) -> None:
        """Start it; what was heard before is kept."""
        assert self._child is None
        self._child = subprocess.Popen(
            self._arguments,
            env=_environment(self.settings),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        pipes = (self._child.stdout, self._child.stderr)
        self._readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                with self._heard:
                    self.lines.append(line.rstrip())
                    if line.startswith("{"):
                        self.events.append(json.loads(line))
                    self._heard.notify_all()

    def wait_for(self, event: str, *, after: int = 0, within_s: float = WITHIN_S, **fields: object) -> dict[str, Any]:
        """The first log event of that name with these fields, from the `after`th event on."""

        def found() -> dict[str, Any] | None:
            return next(
                (e for e in self.events[after:] if e.get("event") == event and fields.items() <= e.items()), None
            )

        with self._heard:
            self._heard.wait_for(found, within_s)
            event_found = found()
        assert event_found is not None, f"no {event} {fields} within {within_s:g} s:\n" + "\n".join(self.lines[-30:])
        return event_found

    def mark(self) -> int:
        """Where the events stand now: for `after`."""
        with self._heard:
            return len(self.events)

    @property
    def pid(self) -> int:
        """While it runs."""
        assert self._child is not None
        return self._child.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._child is not None
        self._child.send_signal(number)

    def wait(self, within_s: float = WITHIN_S) -> int:
        """Its exit code."""
        assert self._child is not None
        code = self._child.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        self._child = None
        return code

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self._child is not None:
            self.signal(signal.SIGKILL)
            self.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()


@dataclass
class World:
    """Agent, control plane and tusd over TLS, with a service that commands. `files` is the allowed folder."""

    folder: Path
    files: Path
    agent: Process
    plane: Process
    tusd: Tusd
    services: Services
    url: str
    trust: ssl.SSLContext

    def another_agent(self, **settings: str) -> Process:
        """One more with the same settings but these; not started."""
        return Process(["run", "--headless"], {**self.agent.settings, **settings}, self.folder)

    def start_plane(self) -> None:
        """Start the control plane and wait until it listens."""
        after = len(self.plane.lines)
        self.plane.start()
        until(lambda: any("listening" in line for line in self.plane.lines[after:]), "the control plane listens")

    def connect(self) -> None:
        """Start the agent and wait for its stream."""
        after = self.agent.mark()
        self.agent.start()
        self.agent.wait_for("stream.connected", after=after)


@contextmanager
def world(
    folder: Path,
    *,
    relay: Relay | None = None,
    plane_relay: Relay | None = None,
    hooks_url: str | None = None,
    hook_secret: str | None = None,
    connected: bool = True,
    **settings: str,
) -> Iterator[World]:
    """It runs within the block. Uploads go over `relay`, and what the agent says to the control plane over the other.

    Of tusd's hooks only `pre-finish` is called; with `hook_secret` the control plane gets those that it knows.
    """
    files = folder / "files"
    files.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    ca, certificate, key = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    trust = ssl.create_default_context(cafile=str(ca))
    port, agent_token, service_token = _free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    url = f"https://127.0.0.1:{port}"
    with ExitStack() as stack:
        store, flags = folder / "stored", ["-hooks-enabled-events=pre-finish"] if hooks_url else []
        if hook_secret is not None:
            hooks_url = f"https://tusd:{hook_secret}@127.0.0.1:{port}/api/v1/tus-hooks"
            flags = ["-hooks-enabled-events=pre-create,post-create,post-finish,post-terminate"]
        tusd = stack.enter_context(
            Tusd(store, certificate=certificate, key=key, hooks_url=hooks_url, flags=flags, trusts=ca)
        )
        endpoint = relay.in_front_of(tusd.endpoint) if relay else tusd.endpoint
        prefix = "SSE_AGENT_CONTROL_PLANE_"
        plane = Process(
            ["control-plane"],
            {
                f"{prefix}PORT": str(port),
                f"{prefix}DATABASE": str(folder / "control-plane.db"),
                f"{prefix}AGENT_TOKENS": json.dumps({CLIENT: agent_token}),
                f"{prefix}SERVICE_TOKEN": service_token,
                f"{prefix}TLS_CERTIFICATE": str(certificate),
                f"{prefix}TLS_KEY": str(key),
                f"{prefix}TUS_HOOK_SECRET": hook_secret or "",
            },
            folder,
        )
        stack.callback(plane.kill)
        agent = Process(
            ["run", "--headless"],
            {
                "SSE_AGENT_CONTROL_PLANE_URL": plane_relay.in_front_of(url) if plane_relay else url,
                "SSE_AGENT_CLIENT_ID": CLIENT,
                "SSE_AGENT_TOKEN": agent_token,
                "SSE_AGENT_STATE_DIR": str(folder / "state"),
                "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(files)]),
                "SSE_AGENT_TUS_ENDPOINT": endpoint,
                "SSE_AGENT_CA_FILE": str(ca),
                "SSE_AGENT_LOG_LEVEL": "debug",
                **settings,
            },
            folder,
        )
        stack.callback(agent.kill)
        services = Services(url, service_token, CLIENT, trust)
        stack.callback(services.close)
        there = World(folder, files, agent, plane, tusd, services, url, trust)
        there.start_plane()
        if connected:
            there.connect()
        yield there


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def agent_of(url: str, folder: Path) -> Process:
    """An agent alone, for a scripted control plane; not started. Stop it."""
    files = folder / "files"
    files.mkdir()
    settings = {
        "SSE_AGENT_CONTROL_PLANE_URL": url,
        "SSE_AGENT_CLIENT_ID": CLIENT,
        "SSE_AGENT_TOKEN": "secret-of-the-agent",
        "SSE_AGENT_STATE_DIR": str(folder / "state"),
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(files)]),
        "SSE_AGENT_LOG_LEVEL": "debug",
    }
    return Process(["run", "--headless"], settings, folder)
