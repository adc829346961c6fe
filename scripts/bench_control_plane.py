"""What one control plane takes and gives, beside a plain WebSocket echo with the same durable commit.

Linux only: memory and CPU are read from /proc. Every figure is of this machine, with clients, services and server on
it. With --mercure also idle streams of that Mercure hub. Exit code 1 if an idle stream takes more than MOST_KIB.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from scripts.bench_control_plane_agents import TOKEN
from scripts.bench_websocket import frame, received
from tests.doubles.planes import SERVICE, Plane
from tests.doubles.redis_server import redis_server

MOST_KIB = 20.0
IDLE_FOR_S = 30.0
A_PROCESS = 2500
"""Idle agents of one client process."""
_PLANE = """
import sys
from pydantic import SecretStr
from sse_agent.control_plane import server, settings
load = settings.load
# More tokens than an environment variable holds.
tokens = {{f"agent-{{n}}": SecretStr({token!r}.format(n)) for n in range({count})}}
settings.load = lambda: load().model_copy(update={{"agent_tokens": tokens}})
sys.exit(server.main())
"""


def kib(pid: int) -> int:
    """What it has of memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def cpu_s(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Agents:
    """Client processes."""

    def __init__(self, host: str, port: int, count: int, *, is_active: bool) -> None:
        size = 250 if is_active else A_PROCESS
        self._processes = []
        for first in range(0, count, size):
            order = {"host": host, "port": port, "first": first, "count": min(size, count - first)}
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.bench_control_plane_agents"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append((process, order["count"]))
            self._tell(process, json.dumps({**order, "is_active": is_active}))
        for process, part in self._processes:
            for _ in range(int(part) if is_active else 1):
                self._hear(process)

    def _tell(self, process: "subprocess.Popen[str]", words: str) -> None:
        assert process.stdin is not None
        process.stdin.write(words + "\n")
        process.stdin.flush()

    def _hear(self, process: "subprocess.Popen[str]") -> dict[str, object]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "a client process ended"
        found: dict[str, object] = json.loads(line)
        return found

    def ask(self, words: str) -> list[dict[str, object]]:
        """Of each process."""
        for process, _ in self._processes:
            self._tell(process, words)
        return [self._hear(process) for process, _ in self._processes]

    def close(self) -> None:
        """All of them."""
        for process, _ in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


@contextmanager
def plane(folder: Path, count: int, *, on_redis: bool = False, **settings: object) -> Iterator[tuple[Plane, str, int]]:
    """A control plane that knows so many agents, its host and port."""
    with ExitStack() as stack:
        if on_redis:
            settings["redis_url"] = stack.enter_context(redis_server(folder / "redis")).url
        program = (sys.executable, "-c", _PLANE.format(token=TOKEN, count=count))
        found = Plane(folder / "bench.db", program, heartbeat_seconds=15, queue_limit=1_000_000, **settings)
        stack.callback(found.close)
        place = urlsplit(str(found.client.base_url))
        yield found, str(place.hostname), int(place.port or 0)


def say(what: str) -> None:
    """One figure."""
    print(what, flush=True)


# --- idle streams ---


def idle(folder: Path, count: int) -> float:
    """KiB for each."""
    with plane(folder, count) as (found, host, port):
        before = kib(found.pid)
        began = time.monotonic()
        agents = Agents(host, port, count, is_active=False)
        try:
            opened_s = time.monotonic() - began
            time.sleep(3)
            each, used = (kib(found.pid) - before) / count, cpu_s(found.pid)
            time.sleep(IDLE_FOR_S)
            share = (cpu_s(found.pid) - used) / IDLE_FOR_S
            still = sum(int(str(answer["open"])) for answer in agents.ask("look"))
            assert still == count, f"{count - still} streams ended"
        finally:
            agents.close()
    say(
        f"idle: {count} streams, {each:.1f} KiB each ({before / 1024:.0f} MiB before), {100 * share:.1f} % of a core, "
        f"opened in {opened_s:.0f} s"
    )
    return each


def idle_mercure(folder: Path, program: str, count: int) -> None:
    """Subscribers of one topic each; anonymous, without history."""
    port = _free_port()
    environment = {
        **os.environ,
        "ADDR": f"127.0.0.1:{port}",
        "JWT_KEY": "a" * 64,
        "ALLOW_ANONYMOUS": "1",
        "TRANSPORT_URL": "local://local",
        "HEARTBEAT_INTERVAL": "15s",
        "WRITE_TIMEOUT": "0",
    }
    with (folder / "mercure.log").open("w") as log:
        hub = subprocess.Popen([program], env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        asyncio.run(_hold_mercure(hub.pid, port, count))
    finally:
        hub.kill()
        hub.wait()


async def _hold_mercure(pid: int, port: int, count: int) -> None:
    for _ in range(200):
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            break
        except OSError:
            await asyncio.sleep(0.05)
    before, held = kib(pid), []
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /.well-known/mercure?topic=agent-%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:16], head
            held.append((reader, writer))

    await asyncio.gather(*[some() for _ in range(100)])
    await asyncio.sleep(3)
    each, used = (kib(pid) - before) / count, cpu_s(pid)
    await asyncio.sleep(IDLE_FOR_S)
    say(
        f"idle, Mercure hub: {count} streams, {each:.1f} KiB each ({before / 1024:.0f} MiB before), "
        f"{100 * (cpu_s(pid) - used) / IDLE_FOR_S:.1f} % of a core"
    )
    for _, writer in held:
        writer.close()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- round trips ---


class Service:
    """Plain HTTP over one connection: a client library would take longer than what is measured."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter

    async def ask(self, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, bytes]:
        """Status and body."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        more = f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\n" if key else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SERVICE}\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(answer[9:12]), await self._reader.readexactly(length)

    async def command(self, agent: int) -> str:
        """Queue one; its ID. "Too much" is tried again."""
        command_id = uuid.uuid4().hex
        while True:
            status, answer = await self.ask(
                "POST", f"/api/v1/agents/agent-{agent}/commands", b'{"type":"HEARTBEAT","payload":{}}', command_id
            )
            if status == 202:
                return command_id
            assert status in (429, 503), answer
            await asyncio.sleep(random.uniform(0.05, 0.5))

    async def outcome(self, command_id: str) -> None:
        """Until its outcome is known."""
        while True:
            status, answer = await self.ask("GET", f"/api/v1/commands/{command_id}?wait=20")
            assert status == 200, answer
            if json.loads(answer)["outcome"] == "completed":
                return


async def _timed(times: list[float], work: Callable[[], Awaitable[None]], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        await work()
        times.append(time.monotonic() - began)


def told(times: Sequence[float], seconds: float) -> str:
    """Percentiles and rate."""
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms, {len(times) / seconds:.0f} a second"


async def _round_trips(host: str, port: int, agents: int, at_once: int, seconds: float) -> list[float]:
    times: list[float] = []

    async def one() -> None:
        service = Service(host, port)

        async def work() -> None:
            await service.outcome(await service.command(random.randrange(agents)))

        await _timed(times, work, seconds)

    await asyncio.gather(*[one() for _ in range(at_once)])
    return times


async def _sustained(host: str, port: int, agents: int, at_once: int, seconds: float) -> tuple[int, float]:
    """Commands that were answered 202, and seconds until the last of them had its outcome."""
    last: list[str] = []
    count, began = 0, time.monotonic()

    async def one() -> None:
        nonlocal count
        service = Service(host, port)
        while time.monotonic() - began < seconds:
            last.append(await service.command(random.randrange(agents)))
            count += 1

    await asyncio.gather(*[one() for _ in range(at_once)])
    service = Service(host, port)
    for command_id in last[-2000:]:
        await service.outcome(command_id)
    return count, time.monotonic() - began


def commands(folder: Path, sizes: Sequence[int], seconds: float, *, on_redis: bool) -> None:
    """Round trips at each size, then as many commands as it takes."""
    name = "Redis" if on_redis else "SQLite"
    for size in sizes:
        place = folder / f"{name}-{size}"
        place.mkdir()
        with plane(place, size, on_redis=on_redis) as (found, host, port):
            agents = Agents(host, port, size, is_active=True)
            try:
                at_once = min(size, 8)
                used = cpu_s(found.pid)
                times = asyncio.run(_round_trips(host, port, size, at_once, seconds))
                each = 1000 * (cpu_s(found.pid) - used) / len(times)
                say(
                    f"round trip on {name}, {size} agents, {at_once} at once: {told(times, seconds)}; "
                    f"{each:.1f} ms of CPU for each"
                )
                if size == max(sizes):
                    used = cpu_s(found.pid)
                    count, took = asyncio.run(_sustained(host, port, size, 64, seconds))
                    each = 1000 * (cpu_s(found.pid) - used) / count
                    say(
                        f"sustained on {name}, {size} agents: {count / took:.0f} commands a second, each acknowledged; "
                        f"{each:.1f} ms of CPU for each"
                    )
            finally:
                agents.close()


# --- a WebSocket echo ---


@contextmanager
def echo(folder: Path) -> Iterator[tuple[int, int]]:
    """Its process and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench_websocket", str(folder / "echo.db")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _open_socket(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert b" 101 " in (await reader.readuntil(b"\r\n\r\n"))[:16]
    return reader, writer


async def _echoes(pid: int, port: int, size: int, at_once: int, seconds: float) -> tuple[list[float], float]:
    before = kib(pid)
    held = [await _open_socket(port) for _ in range(size)]
    each = (kib(pid) - before) / size
    times: list[float] = []
    groups = [held[start::at_once] for start in range(at_once)]

    async def one(mine: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        async def work() -> None:
            reader, writer = random.choice(mine)
            writer.write(frame(os.urandom(75).hex().encode(), os.urandom(4)))
            await received(reader)

        await _timed(times, work, seconds)

    await asyncio.gather(*[one(group) for group in groups])
    for _, writer in held:
        writer.close()
    return times, each


def echoes(folder: Path, sizes: Sequence[int], seconds: float) -> None:
    """The same sizes."""
    for size in sizes:
        place = folder / f"echo-{size}"
        place.mkdir()
        with echo(place) as (pid, port):
            at_once, used = min(size, 8), cpu_s(pid)
            times, each = asyncio.run(_echoes(pid, port, size, at_once, seconds))
            say(
                f"WebSocket echo with a durable commit, {size} connections, {at_once} at once: {told(times, seconds)}; "
                f"{1000 * (cpu_s(pid) - used) / len(times):.1f} ms of CPU for each"
                + (f"; {each:.1f} KiB a connection" if size >= 100 else "")
            )


# --- a storm ---


def storm(folder: Path, count: int) -> None:
    """All of them lose their stream at once, and come back when the control plane does."""
    with plane(folder, count, port=_free_port()) as (found, host, port):
        agents = Agents(host, port, count, is_active=False)
        try:
            found.kill()
            began = time.monotonic()
            found.start()
            started_s = time.monotonic() - began
            answers = agents.ask(f"back {port}")
            times = [float(one) for answer in answers for one in answer["took"]]  # type: ignore[attr-defined]
        finally:
            agents.close()
    cuts = statistics.quantiles(times, n=100)
    say(
        f"storm: {count} agents after a SIGKILL and a restart (which took {started_s:.1f} s): back after p50 "
        f"{cuts[49]:.1f} s, p99 {cuts[98]:.1f} s, all {max(times):.1f} s"
    )


def main() -> int:
    """Run it, say what was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench_control_plane", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000, help="streams; 0: leave it out")
    parser.add_argument("--storm", type=int, default=5000, help="agents; 0: leave it out")
    parser.add_argument("--agents", type=int, nargs="*", default=[1, 100, 1000], help="for round trips")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--redis", action="store_true", help="round trips on Redis, too")
    parser.add_argument("--mercure", metavar="PROGRAM", help="a Mercure hub to hold idle streams beside")
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    say(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; Python {sys.version.split()[0]}")
    each = 0.0
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        for part in ("idle", "storm", "commands", "mercure"):
            (folder / part).mkdir()
        if chosen.idle:
            each = idle(folder / "idle", chosen.idle)
        if chosen.mercure and chosen.idle:
            idle_mercure(folder / "mercure", chosen.mercure, chosen.idle)
        if chosen.agents:
            commands(folder / "commands", chosen.agents, chosen.seconds, on_redis=False)
            if chosen.redis:
                commands(folder / "commands", chosen.agents, chosen.seconds, on_redis=True)
            echoes(folder / "commands", chosen.agents, chosen.seconds)
        if chosen.storm:
            storm(folder / "storm", chosen.storm)
    say(f"load after: {os.getloadavg()[0]:.1f}")
    return 1 if each > MOST_KIB else 0


if __name__ == "__main__":
    sys.exit(main())
