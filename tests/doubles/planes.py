"""The real control plane as a process, and agents and services that talk to it in plain HTTP."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from sse_agent.control_plane.settings import PREFIX

WITHIN_S = 10.0
SERVICE = "service-token-of-the-tests"
AGENTS = 60
Event = dict[str, str]


def _token(client_id: str) -> str:
    return f"token-of-{client_id}"


@dataclass
class Agent:
    """Who speaks for one agent. A copy with another epoch or instance is a clone, or a later start."""

    client: httpx.Client
    client_id: str
    journal: str = field(default_factory=lambda: str(uuid.uuid4()))
    epoch: int = 1
    instance: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def path(self) -> str:
        """Where everything of this agent is."""
        return f"/api/v1/agents/{self.client_id}"

    @property
    def headers(self) -> dict[str, str]:
        """Those of every request."""
        return {
            "Authorization": f"Bearer {_token(self.client_id)}",
            "Agent-Journal": self.journal,
            "Agent-Epoch": str(self.epoch),
            "Agent-Instance": self.instance,
        }

    @contextmanager
    def stream(self, cursor: str | None = None) -> Iterator["Stream"]:
        """An open stream."""
        headers = {**self.headers, "Accept": "text/event-stream"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        with self.client.stream("GET", f"{self.path}/stream", headers=headers) as response:
            yield Stream(response)

    def poll(self, cursor: str | None = None, wait: int = 0) -> httpx.Response:
        """A long poll."""
        headers = {**self.headers, "Accept": "application/json"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        return self.client.get(f"{self.path}/stream", params={"wait": wait}, headers=headers)

    def envelope(self, kind: str, payload: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """One event; `more` replaces members."""
        at = "2026-11-22T10:30:00Z"
        message = {"type": kind, "id": uuid.uuid4().hex, "timestamp": at, "clientId": self.client_id}
        return {**message, "payload": dict(payload), **more}

    def ack(self, command_id: str, status: str) -> dict[str, Any]:
        """An ACK."""
        return self.envelope("ACK", {"commandId": command_id, "status": status}, inReplyTo=command_id)

    def report(self, *messages: Any, key: str | None = None, is_batch: bool = False) -> httpx.Response:
        """POST one message, or a batch."""
        body = {"messages": list(messages)} if is_batch or len(messages) > 1 else messages[0]
        headers = {**self.headers, "Idempotency-Key": key or messages[0]["id"]}
        return self.client.post(f"{self.path}/messages", json=body, headers=headers)


class Stream:
    """What comes down, one event at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> Event:
        """The next event, comment (`{"": …}`) or `retry`. Raises StopIteration at the end."""
        event: Event = {}
        while line := next(self._lines):
            name, _, text = line.partition(":")
            event[name] = text.removeprefix(" ")
        return event

    def event(self) -> Event:
        """The next event; comments are passed over."""
        while True:
            event = self.next()
            if "data" in event:
                return event

    def hello(self) -> dict[str, Any]:
        """HELLO, which must be first."""
        event = self.next()
        assert (event["event"], "id" in event) == ("HELLO", False)
        found: dict[str, Any] = json.loads(event["data"])
        return found

    def rest(self) -> list[Event]:
        """Everything until the other end closes."""
        found = []
        while True:
            try:
                found.append(self.next())
            except StopIteration:
                return found


class Plane:
    """One process on one database."""

    program: Sequence[str] = (sys.executable, "-m", "sse_agent", "control-plane")

    def __init__(self, database: Path, program: Sequence[str] | None = None, **settings: object) -> None:
        self.database = database
        self.program = program or self.program
        self._settings = {"heartbeat_seconds": 1, "port": 0, **settings}
        self._fresh = count()
        self._log = database.with_suffix(".log")
        self._process: subprocess.Popen[str]
        self.client: httpx.Client
        self.start()

    def start(self) -> None:
        """Again on the same database, at another port."""
        ids = [f"agent-{number}" for number in range(AGENTS)]
        settings = {
            "AGENT_TOKENS": json.dumps({client_id: _token(client_id) for client_id in ids}),
            "SERVICE_TOKEN": SERVICE,
            "DATABASE": str(self.database),
            **{name.upper(): str(value) for name, value in self._settings.items()},
        }
        environment = {**os.environ, **{PREFIX + name: value for name, value in settings.items()}}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self.program, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log
        self.client = httpx.Client(base_url=json.loads(line)["listening"], timeout=WITHIN_S, trust_env=False)

    def fresh(self) -> Agent:
        """An agent that never spoke."""
        return Agent(self.client, f"agent-{next(self._fresh)}")

    def order(self, agent: Agent, key: str | None = None, **body: Any) -> httpx.Response:
        """Queue a command."""
        body = {"type": "HEARTBEAT", **body}
        return self.ask("POST", f"{agent.path}/commands", key=key or uuid.uuid4().hex, json=body)

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        """A service asks."""
        headers = {"Authorization": f"Bearer {SERVICE}", **more.pop("headers", {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.request(method, path, headers=headers, **more)

    @property
    def log(self) -> str:
        """What it wrote on standard error."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def sockets(self) -> int:
        """How many it has open; of Linux."""
        return sum(
            str(entry.readlink()).startswith("socket:") for entry in Path(f"/proc/{self._process.pid}/fd").iterdir()
        )

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self) -> int:
        """Exit code."""
        return self._process.wait(WITHIN_S)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(WITHIN_S)
        self.close()

    def close(self) -> None:
        """Whatever is left of it is gone after this."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(WITHIN_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.client.close()


@contextmanager
def plane(folder: Path, **settings: object) -> Iterator[Plane]:
    """A control plane; gone after the block."""
    found = Plane(folder / "control-plane.db", **settings)
    try:
        yield found
    finally:
        found.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another process comes to by itself, and tells nobody."""
    until = time.monotonic() + 2 * WITHIN_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def slug(response: httpx.Response) -> str:
    """The name of the problem; the answer must be a whole problem document."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    assert document["title"]
    name: str = document["type"].removeprefix("urn:sse-agent:problem:")
    return name
