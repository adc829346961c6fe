"""The control plane's process, whose streams are opened and left in every way there is."""

import json
import random
import socket
import ssl
import struct
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from scripts.leak_test_harness import judge, subject
from scripts.leak_test_harness.census import Census, Subject
from scripts.leak_test_harness.plane import until

AGENTS = 20
WARM_STREAMS = 60
STALLED = 8
LEVEL_WITHIN_S = 30.0
MOST_GROWTH_KIB = 4 * 1024
PREFIX = "SSE_AGENT_CONTROL_PLANE_"
SERVICE = "leak-test-service"
POOLS: dict[str, int] = {}


class Caller:
    """Agents and services that behave badly, on sockets of their own."""

    def __init__(self, port: int, tls: ssl.SSLContext, seed: int) -> None:
        self._port = port
        self._tls = tls
        self._chance = random.Random(seed)
        self._journals = [str(uuid.uuid4()) for _ in range(AGENTS)]
        self._instances = [str(uuid.uuid4()) for _ in range(AGENTS)]
        self.ways: Counter[str] = Counter()
        self._ways: dict[str, Callable[[int], None]] = {
            "left after HELLO": self._leave,
            "reset after HELLO": self._reset,
            "half-read": self._half_read,
            "renewed": self._renew,
            "left before the answer": self._leave_early,
            "half a request": self._half_request,
            "half a handshake": self._half_handshake,
            "half a POST": self._half_post,
            "a poll left": self._leave_poll,
            "a wrong token": self._wrong_token,
        }

    def call(self) -> None:
        """One stream, or what was meant to be one."""
        way = self._chance.choice(list(self._ways))
        self.ways[way] += 1
        with suppress(OSError):
            self._ways[way](self._chance.randrange(AGENTS))

    def queue_for(self, agent: int, count: int, size: int) -> None:
        """Commands that wait for an agent, of about so many bytes."""
        for _ in range(count):
            text = {"type": "MESSAGE", "payload": {"text": "x" * min(size, 4000)}}
            body = json.dumps(text).encode()
            head = (
                f"POST /api/v1/agents/agent-{agent}/commands HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            )
            head += f"Authorization: Bearer {SERVICE}\r\nIdempotency-Key: {uuid.uuid4()}\r\nConnection: close\r\n"
            with self._connect() as wire:
                wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                while wire.recv(65536):
                    pass

    def stall(self, agent: int) -> ssl.SSLSocket:
        """A stream whose reader takes nothing; it stays open on this side."""
        wire = self._connect(buffer=4096)
        wire.sendall(self._request(agent))
        return wire

    # --- ways ---

    def _leave(self, agent: int) -> None:
        with self._stream(agent):
            pass

    def _reset(self, agent: int) -> None:
        _reset(self._stream(agent))

    def _half_read(self, agent: int) -> None:
        with self._connect() as wire:
            wire.sendall(self._request(agent))
            wire.recv(20)

    def _renew(self, agent: int) -> None:
        """The next is opened before the last is closed; the last is ended by the control plane."""
        with self._stream(agent) as last, self._stream(agent):
            heard = b""
            while not heard.endswith(b"0\r\n\r\n"):
                more = last.recv(65536)
                if not more:
                    return
                heard += more

    def _leave_early(self, agent: int) -> None:
        with self._connect() as wire:
            wire.sendall(self._request(agent))

    def _half_request(self, agent: int) -> None:
        with self._connect() as wire:
            wire.sendall(self._request(agent)[:-30])

    def _half_handshake(self, _: int) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as wire:
            wire.sendall(b"\x16\x03\x01\x02\x00\x01")

    def _half_post(self, agent: int) -> None:
        with self._connect() as wire:
            head = self._request(agent).replace(b"GET", b"POST", 1).replace(b"/stream", b"/messages", 1)
            more = b"Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 1000\r\n\r\n"
            wire.sendall(head[:-2] + more + b"{")

    def _leave_poll(self, agent: int) -> None:
        with self._connect() as wire:
            wire.sendall(self._request(agent, "/stream?wait=60", accept="application/json"))

    def _wrong_token(self, agent: int) -> None:
        with self._connect() as wire:
            wire.sendall(self._request(agent, token="another"))
            wire.recv(65536)

    # --- below ---

    def _stream(self, agent: int) -> ssl.SSLSocket:
        wire = self._connect()
        wire.sendall(self._request(agent))
        heard = b""
        while b"HELLO" not in heard:
            more = wire.recv(65536)
            if not more:
                raise ConnectionError
            heard += more
        return wire

    def _connect(self, buffer: int | None = None) -> ssl.SSLSocket:
        plain = socket.socket()
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", self._port))
        return self._tls.wrap_socket(plain, server_hostname="127.0.0.1")

    def _request(
        self, agent: int, path: str = "/stream", *, token: str | None = None, accept: str = "text/event-stream"
    ) -> bytes:
        lines = [
            f"GET /api/v1/agents/agent-{agent}{path} HTTP/1.1",
            "Host: h",
            f"Accept: {accept}",
            f"Authorization: Bearer {token or f'token-{agent}'}",
            f"Agent-Journal: {self._journals[agent]}",
            "Agent-Epoch: 1",
            f"Agent-Instance: {self._instances[agent]}",
            "",
            "",
        ]
        return "\r\n".join(lines).encode()


def _reset(wire: socket.socket) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def test(folder: Path, streams: int, seed: int, *, builds: Sequence[str]) -> list[str]:
    """Everything; the complaints."""
    papers = subject.papers(folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    settings = {
        "PORT": str(port),
        "DATABASE": str(folder / "data" / "control-plane.db"),
        "AGENT_TOKENS": json.dumps({f"agent-{number}": f"token-{number}" for number in range(AGENTS + 1)}),
        "SERVICE_TOKEN": SERVICE,
        "HEARTBEAT_SECONDS": "1",
        "TLS_CERTIFICATE": str(papers.certificate),
        "TLS_KEY": str(papers.key),
    }
    launcher = [word for build in builds for word in ("--broken", build)]
    named = {PREFIX + name: value for name, value in settings.items()}
    process = subject.start(folder, "control-plane", ["control-plane"], named, *launcher)
    try:
        log = folder / "control-plane.log"
        if not until(lambda: b"listening" in log.read_bytes(), 30):
            raise TimeoutError("the control plane does not listen")
        there = Subject(process.pid, folder / "control-plane.census", {port: "agents"})
        complaints = _load(there, Caller(port, papers.client, seed), streams, is_broken=bool(builds))
        how = subject.end(process)
        return complaints + ([f"the control plane: {how}"] if how else [])
    finally:
        process.kill()
        process.wait()


def _load(there: Subject, caller: Caller, streams: int, *, is_broken: bool) -> list[str]:
    for agent in range(AGENTS):
        caller.queue_for(agent, 2, 100)
    for _ in range(min(WARM_STREAMS, streams)):
        caller.call()
    warm = _idle(there)
    print(f"control plane, warm       {warm.line()}", flush=True)
    began = time.monotonic()
    for _ in range(streams // 2):
        caller.call()
    middle = there.take()
    for _ in range(streams - streams // 2):
        caller.call()
    seconds = time.monotonic() - began
    last = _back_to(there, warm, 3.0 if is_broken else LEVEL_WITHIN_S)
    complaints = judge.compare(warm, last, POOLS) + judge.growth(middle, last, MOST_GROWTH_KIB)
    if not is_broken:
        complaints += _stalled(there, caller, last)
    print(f"control plane, at the end {last.line()}")
    ways = "".join(f"  {way:<30}{count}\n" for way, count in sorted(caller.ways.items()))
    print(f"\n{'streams':<32}{streams} in {seconds:.0f} s, then {STALLED} whose reader stalled")
    print(f"{'memory, half-time to end':<32}{(last.rss_kib - middle.rss_kib) / 1024:+.1f} MiB\n{ways}", flush=True)
    return complaints


def _stalled(there: Subject, caller: Caller, level: Census) -> list[str]:
    """Readers that take nothing, and hold their end open: the control plane has to let go by itself."""
    caller.queue_for(AGENTS, 0, 0)
    for agent in range(STALLED):
        caller.queue_for(agent, 60, 4000)
    held = [caller.stall(agent) for agent in range(STALLED)]
    try:
        last = _back_to(there, level, 2 * LEVEL_WITHIN_S)
        return [f"while readers stall: {words}" for words in judge.compare(level, last, POOLS)]
    finally:
        for wire in held:
            wire.close()


def _idle(there: Subject) -> Census:
    """When no agent is connected any more."""
    until(lambda: not there.take().connections, LEVEL_WITHIN_S)
    return there.take()


def _back_to(there: Subject, warm: Census, within_s: float) -> Census:
    found = [there.take()]

    def is_back() -> bool:
        found.append(there.take())
        return not judge.compare(warm, found[-1], POOLS)

    until(is_back, within_s)
    return found[-1]
