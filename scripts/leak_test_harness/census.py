"""What a process holds: descriptors and connections as Linux shows them, threads and tasks as it counts them itself."""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WITHIN_S = 30.0
_STATES = {
    "01": "established",
    "02": "connecting",
    "04": "closing",
    "05": "closing",
    "06": "closing",
    "08": "half closed",
}
_STATES |= {"07": "closed", "09": "closing", "0A": "listening", "0B": "closing"}


@dataclass(frozen=True)
class Census:
    """One moment. Each `Counter` is by kind; `rss_kib` and `journal_bytes` are sizes."""

    descriptors: Counter[str]
    connections: Counter[str]
    threads: Counter[str]
    system_threads: int
    tasks: Counter[str]
    rss_kib: int
    files: Mapping[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """For people."""
        sockets = self.descriptors["socket"] + self.descriptors["socket, again"]
        return (
            f"{self.descriptors.total()} descriptors ({sockets} sockets), {self.connections.total()} connections, "
            f"{self.system_threads} threads, {self.tasks.total()} tasks, {self.rss_kib / 1024:.1f} MiB"
        )


class Subject:
    """A process that the launcher started; it writes its own part of the census to `file` at each SIGUSR1."""

    def __init__(self, pid: int, file: Path, names: Mapping[int, str], folder: Path | None = None) -> None:
        """`names`: whose port is whose. `folder`: whose files' sizes are told."""
        self._pid = pid
        self._file = file
        self._names = names
        self._folder = folder

    def take(self) -> Census:
        """Now. Raises TimeoutError if the process does not answer."""
        inner = self._ask()
        descriptors, inodes = self._descriptors()
        tasks, system_threads = Counter(inner["tasks"]), len(list(Path(f"/proc/{self._pid}/task").iterdir()))
        status = Path(f"/proc/{self._pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        sizes = {path.name: path.stat().st_size for path in self._folder.iterdir()} if self._folder else {}
        connections = self._connections(inodes)
        threads = Counter(inner["threads"])
        return Census(descriptors, connections, threads, system_threads, tasks, int(found[1]), sizes)

    def _ask(self) -> dict[str, dict[str, int]]:
        self._file.unlink(missing_ok=True)
        os.kill(self._pid, signal.SIGUSR1)
        until = time.monotonic() + WITHIN_S
        while not self._file.exists():
            if time.monotonic() > until:
                raise TimeoutError("the process does not count what it holds: its event loop stands still")
            time.sleep(0.005)
        inner: dict[str, dict[str, int]] = json.loads(self._file.read_text())
        return inner

    def _descriptors(self) -> tuple[Counter[str], set[str]]:
        """By kind, and the inodes of the sockets. A second descriptor of one socket is a kind of its own."""
        found: Counter[str] = Counter()
        inodes: set[str] = set()
        for entry in Path(f"/proc/{self._pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except FileNotFoundError:
                continue
            kind, _, inode = target.partition(":")
            if kind == "socket":
                found["socket, again" if inode in inodes else "socket"] += 1
                inodes.add(inode)
            else:
                found[kind if kind in ("pipe", "anon_inode") else f"file {Path(target).name}"] += 1
        return found, inodes

    def _connections(self, inodes: set[str]) -> Counter[str]:
        """TCP connections of these sockets, by the other end and their state."""
        found: Counter[str] = Counter()
        for table in ("tcp", "tcp6"):
            path = Path(f"/proc/{self._pid}/net/{table}")
            if not path.exists():
                continue
            for line in path.read_text().splitlines()[1:]:
                _, here, there, state, *_, inode = line.split()[:10]
                if f"[{inode}]" not in inodes or _STATES.get(state) == "listening":
                    continue
                port = int(there.rpartition(":")[2], 16)
                mine = int(here.rpartition(":")[2], 16)
                name = self._names.get(port) or self._names.get(mine) or "somebody"
                found[f"{name}, {_STATES.get(state, state)}"] += 1
        return found
