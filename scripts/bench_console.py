"""What does watching cost? CPU and memory of the real agent, in its console and headless, idle and with many uploads.

Control plane and tusd are real, over TLS; uploads go over a slow line, so that they last. Linux only: figures are read
from /proc. Exit code 0 if the console takes at most `IDLE_MOST` and `ACTIVE_MOST` per cent of one core, else 1.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sse_agent.cli.asking import ask
from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

IDLE_MOST, ACTIVE_MOST = 2.0, 5.0
COLUMNS, ROWS = 120, 40
FILE_SIZE = 4 << 30
SETTLE_S, WITHIN_S = 5.0, 900.0
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one process over a while: per cent of one core, MiB, and KiB a second that it wrote to its terminal or log."""

    cpu: float
    rss: float
    written: float

    def row(self, name: str) -> str:
        return f"{name:<30}{self.cpu:>9.2f}{self.rss:>11.1f}{self.written:>14.2f}"


@dataclass(slots=True)
class Watched:
    """An agent, and how much it has written so far."""

    pid: int
    written: Callable[[], int]

    def measure(self, seconds: float) -> Figures:
        cpu, written, began = self._cpu_s(), self.written(), time.monotonic()
        # It is the length of the measurement.
        time.sleep(seconds)
        passed = time.monotonic() - began
        return Figures(
            100 * (self._cpu_s() - cpu) / passed, self._rss_mib(), (self.written() - written) / passed / 1024
        )

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _rss_mib(self) -> float:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024


@contextmanager
def headless(there: World) -> Iterator[Watched]:
    """JSON lines into a pipe that is read."""
    there.agent.start()
    yield Watched(there.agent.pid, lambda: sum(len(line) + 1 for line in there.agent.lines))
    there.agent.kill()


@contextmanager
def console(there: World) -> Iterator[Watched]:
    """In a pseudo-terminal that is read."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (ROWS, COLUMNS))
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("SSE_AGENT_")}
    child = subprocess.Popen(
        [sys.executable, "-m", "sse_agent", "run"],
        env=theirs | there.agent.settings | {"TERM": "xterm-256color", "PYTHONUTF8": "1"},
        cwd=there.folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    count = [0]

    def read() -> None:
        try:
            while part := os.read(master, 65536):
                count[0] += len(part)
        except OSError:
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield Watched(child.pid, lambda: count[0])
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        reader.join(10)
        os.close(master)


def is_connected(there: World) -> bool:
    place = Path(there.agent.settings["SSE_AGENT_STATE_DIR"])
    return place.exists() and (place / "agent.sock").exists() and counts(there)[1] == "connected"


def counts(there: World) -> tuple[dict[str, int], str]:
    """Uploads by state, and the state of the connection."""
    status = ask(Path(there.agent.settings["SSE_AGENT_STATE_DIR"]), "status")["status"]
    return status["uploads"], status["connection"]["state"] if status["running"] else "no agent"


def command_all(there: World, count: int) -> None:
    """So many uploads of one large file; a full queue of the control plane is waited for."""

    def command(number: int) -> None:
        while True:
            try:
                there.services.command("UPLOAD_START", fileId=f"f{number:05}", fileName="big.bin")
            except httpx.HTTPStatusError as refused:
                if refused.response.status_code != 429:
                    raise
                time.sleep(0.5)
            else:
                return

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(command, range(count)))


def measure(name: str, options: argparse.Namespace) -> dict[str, Figures]:
    """Idle, then with uploads under way and the queue full."""
    started = {"console": console, "headless": headless}[name]
    found = {}
    limit = {"SSE_AGENT_MAX_CONCURRENT_UPLOADS": str(options.uploads), "SSE_AGENT_LOG_LEVEL": "info"}
    with (
        tempfile.TemporaryDirectory(prefix="bench-console-") as folder,
        Relay(options.rate * 1024) as relay,
        world(Path(folder), relay=relay, connected=False, **limit) as there,
        started(there) as agent,
    ):
        with (there.files / "big.bin").open("wb") as file:
            file.truncate(FILE_SIZE)
        until(lambda: is_connected(there), "it is connected", WITHIN_S)
        time.sleep(SETTLE_S)
        found[f"{name}, idle"] = agent.measure(options.seconds)
        command_all(there, options.uploads + options.queued)
        wanted = {"uploading": options.uploads} | ({"queued": options.queued} if options.queued else {})
        until(lambda: wanted.items() <= counts(there)[0].items(), f"{wanted}", WITHIN_S)
        time.sleep(SETTLE_S)
        found[f"{name}, {options.uploads} uploads"] = agent.measure(options.seconds)
    return found


def rclone(options: argparse.Namespace) -> dict[str, Figures]:
    """The same number of copies by rclone, as slowly, with its own progress shown; from one folder to another."""
    program = shutil.which("rclone")
    if program is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="bench-rclone-") as folder:
        source = Path(folder) / "from"
        source.mkdir()
        for number in range(options.uploads):
            with (source / f"{number}.bin").open("wb") as file:
                file.truncate(max(1 << 20, int(options.rate * 1024 * (options.seconds + 2 * SETTLE_S) * 2)))
        limit = ["--transfers", str(options.uploads), "--bwlimit", f"{options.rate * options.uploads}K"]
        with (Path(folder) / "shown").open("wb") as shown:
            command = [program, "copy", str(source), f"{folder}/to", "--progress", *limit]
            child = subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                time.sleep(SETTLE_S)
                watched = Watched(child.pid, lambda: os.fstat(shown.fileno()).st_size)
                return {f"rclone, {options.uploads} copies": watched.measure(options.seconds)}
            finally:
                child.kill()
                child.wait()


def main() -> int:
    """Run it, say what was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench_console", description=__doc__)
    parser.add_argument("--uploads", type=int, default=20, help="under way at the same time (default: 20)")
    parser.add_argument("--queued", type=int, default=10_000, help="behind them in the queue (default: 10,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement (default: 60)")
    parser.add_argument("--rate", type=int, default=128, help="KiB a second of each upload (default: 128)")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.uploads} uploads at {options.rate} KiB/s each, {options.queued:,} queued, {options.seconds:g} s a"
        f" figure; {os.cpu_count()} cores, load {load}; console {COLUMNS}×{ROWS}",
        flush=True,
    )
    print(f"{'':<30}{'% of core':>9}{'RSS, MiB':>11}{'KiB/s shown':>14}", flush=True)
    found: dict[str, Figures] = {}
    for name in ("headless", "console"):
        part = measure(name, options)
        for what, figures in part.items():
            print(figures.row(what), flush=True)
        found |= part
    for what, figures in rclone(options).items():
        print(figures.row(what), flush=True)
    if shutil.which("rclone") is None:
        print("rclone: not on the PATH")
    return verdict(found, options.uploads)


def verdict(found: dict[str, Figures], uploads: int) -> int:
    """Whether the console keeps within what was promised."""
    missed = [
        f"{what}: {found[what].cpu:.2f} % of a core, at most {most:g}"
        for what, most in (("console, idle", IDLE_MOST), (f"console, {uploads} uploads", ACTIVE_MOST))
        if found[what].cpu > most
    ]
    print("\n".join(missed) or f"within {IDLE_MOST:g} and {ACTIVE_MOST:g} % of a core")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
