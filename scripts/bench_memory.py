"""A large file goes up by the real agent, over TLS, to a real tusd: how much memory does the agent take meanwhile?

Linux only: memory is read from /proc. Exit code 0 if its peak is no more than `MOST_MIB` above its idle figure, else 1.
"""

import argparse
import hashlib
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.doubles.processes import Process, World, world
from tests.doubles.services import until

MIB = 1024 * 1024
MOST_MIB = 32.0
STEADY_S, STEADY_WITHIN_S = 3.0, 60.0
SLOWEST = 20 * MIB


def memory_mib(agent: Process, what: str) -> float:
    """`VmRSS`, what it has now, or `VmHWM`, the most it had, in MiB."""
    status = Path(f"/proc/{pid_of(agent)}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1]) / 1024


def pid_of(agent: Process) -> int:
    assert agent._child is not None, "the agent has ended:\n" + "\n".join(agent.lines[-30:])
    return agent._child.pid


def forget_the_peak(agent: Process) -> None:
    """From now on `VmHWM` counts anew (proc_pid_clear_refs(5)): the start took more than idling does."""
    Path(f"/proc/{pid_of(agent)}/clear_refs").write_text("5")


def idle_mib(agent: Process) -> float:
    """Once it has stood still for a while."""
    seen: list[tuple[float, float]] = []

    def is_steady() -> bool:
        now = time.monotonic()
        seen.append((now, memory_mib(agent, "VmRSS")))
        recent = [size for at, size in seen if at > now - STEADY_S]
        return now - seen[0][0] > STEADY_S and max(recent) - min(recent) < 0.5

    until(is_steady, "the agent idles", STEADY_WITHIN_S)
    return seen[-1][1]


def carry(there: World, size: int) -> float:
    """Upload a file of that many bytes. Returns the seconds that it took; raises if it did not arrive as it is."""
    # With holes for content: it is made at once, and to the agent bytes are bytes.
    with (there.files / "large").open("wb") as file:
        file.truncate(size)
    began = time.monotonic()
    command = there.services.command("UPLOAD_START", fileId="large", fileName="large")
    record = there.services.outcome(command, 60 + size / SLOWEST)
    seconds = time.monotonic() - began
    assert record["outcome"] == "completed", record
    (report,) = (message["payload"] for message in there.services.messages("UPLOAD_COMPLETE"))
    with (there.files / "large").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    assert report["sha256"] == sha256 == there.tusd.sha256(report["uploadId"])
    return seconds


def main() -> int:
    """Run it, say what was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench_memory", description=__doc__)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the file (default: 4); the store needs as much")
    options = parser.parse_args()
    size = int(options.gib * 1024) * MIB
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder, world(Path(folder)) as there:
        idle = idle_mib(there.agent)
        forget_the_peak(there.agent)
        print(f"idle                 {idle:7.1f} MiB", flush=True)
        seconds = carry(there, size)
        peak = memory_mib(there.agent, "VmHWM")
    rise = peak - idle
    speed = f"{options.gib:g} GiB in {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s"
    print(f"peak while uploading {peak:7.1f} MiB  ({speed})")
    print(f"rise                 {rise:7.1f} MiB  (at most {MOST_MIB:g}): {'ok' if rise <= MOST_MIB else 'TOO MUCH'}")
    return 0 if rise <= MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
