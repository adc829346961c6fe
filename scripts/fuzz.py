"""Bytes of every kind for what reads the command stream and its commands: nothing may break, hang, differ or grow.

Linux only: memory is read from /proc. Exit code 0 if there is nothing to complain about, else 1.
"""

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from scripts.fuzz_harness.broken import BROKEN
from scripts.fuzz_harness.complaint import Complaint
from scripts.fuzz_harness.targets import CommandTarget, StreamTarget, Target
from tests.doubles.peak import give_back

TARGETS: dict[str, Callable[[], Target]] = {"stream": StreamTarget, "command": CommandTarget}
MIB = 1024 * 1024
MOST_MIB = 48.0
"""Up to 44 are this harness's own: the events of a body of 2 MiB, held twice to be compared, and fragments of them."""
MOST_CPU_S, MOST_CPU_S_PER_MIB = 2.0, 20.0
"""A body of 2 MiB can be 140,000 events, and it is read three times. What explodes takes no notice of such bounds."""
WARM_UP = 500
LOOK_EVERY = 64
SHRINK_TRIES = 300
HEX_SHOWN = 4096


@dataclass
class Figures:
    """What one run measured. Memory in MiB, time in seconds of this process's CPU."""

    target: str
    inputs: int = 0
    read: int = 0
    largest: int = 0
    slowest_s: float = 0.0
    slowest_n: int = 0
    slowest_bytes: int = 0
    idle_mib: float = 0.0
    peak_mib: float = 0.0
    seconds: float = 0.0

    @property
    def rise_mib(self) -> float:
        """Of the peak above what it had after the warm-up."""
        return max(0.0, self.peak_mib - self.idle_mib)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.target:8} {self.inputs:>9,} inputs  {self.read / MIB:9.1f} MiB  {self.seconds:7.1f} s",
            f"{'':8} largest {self.largest:,} bytes",
            f"{'':8} slowest {self.slowest_s * 1000:.0f} ms: {self.slowest_bytes:,} bytes (input {self.slowest_n})",
            f"{'':8} memory after {WARM_UP} inputs {self.idle_mib:.1f} MiB, at most {self.peak_mib:.1f} MiB",
            f"{'':8} rise {self.rise_mib:.1f} MiB (at most {MOST_MIB:g})",
        ]


class Failed(Exception):
    """An input that was not handled as it must be."""

    def __init__(self, n: int, data: bytes, error: BaseException) -> None:
        super().__init__(str(error))
        self.n = n
        self.data = data
        self.error = error


def memory_mib() -> float:
    """What this process has now, and needs."""
    give_back()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def overdue(_: int, __: FrameType | None) -> None:
    """A pattern that explodes is interrupted, too: the engine that matches it looks for signals."""
    raise Complaint("not done within its time")


def check(target: Target, seed: int, n: int, data: bytes) -> float:
    """Seconds of CPU that it took. Raises whatever is wrong."""
    chance = random.Random(f"{seed}/{target.name}/{n}/check")
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S + MOST_CPU_S_PER_MIB * len(data) / MIB)
    began = time.process_time()
    try:
        target.check(data, chance)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - began


def fuzz(target: Target, seed: int, first: int, seconds: float, limit: int | None, figures: Figures) -> None:
    """One input after the other. Raises Failed."""
    began = time.monotonic()
    n = first
    while time.monotonic() - began < seconds and (limit is None or n - first < limit):
        data = target.make(random.Random(f"{seed}/{target.name}/{n}"))
        try:
            took_s = check(target, seed, n, data)
        except Exception as error:
            raise Failed(n, data, error) from error
        figures.inputs += 1
        figures.read += len(data)
        figures.largest = max(figures.largest, len(data))
        if took_s > figures.slowest_s:
            figures.slowest_s, figures.slowest_n, figures.slowest_bytes = took_s, n, len(data)
        n += 1
        if figures.inputs == WARM_UP:
            figures.idle_mib = memory_mib()
        if figures.inputs > WARM_UP and n % LOOK_EVERY == 0:
            figures.peak_mib = max(figures.peak_mib, memory_mib())
            if figures.rise_mib > MOST_MIB:
                raise Failed(n - 1, data, Complaint(f"memory rose by {figures.rise_mib:.1f} MiB"))
        figures.seconds = time.monotonic() - began


def smallest(target: Target, seed: int, failed: Failed) -> bytes:
    """A shorter input with the same kind of error, found by leaving parts out."""
    data, tries, size = failed.data, 0, max(1, len(failed.data) // 2)
    until = time.monotonic() + 20
    while size >= 1 and tries < SHRINK_TRIES and time.monotonic() < until:
        at = 0
        while at < len(data) and tries < SHRINK_TRIES and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            tries += 1
            if fails_alike(target, seed, failed, shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def fails_alike(target: Target, seed: int, failed: Failed, data: bytes) -> bool:
    """Whether it is the same error, numbers and quotes aside."""
    try:
        check(target, seed, failed.n, data)
    except Exception as error:  # noqa: BLE001 - what the error is is the question
        return type(error) is type(failed.error) and str(error)[:24] == str(failed.error)[:24]
    return False


def tell(target: Target, seed: int, failed: Failed) -> None:
    """How to see it again."""
    print(f"FAILED: {type(failed.error).__name__}: {str(failed.error)[:600]}")
    if not isinstance(failed.error, Complaint):
        traceback.print_exception(failed.error)
    # Of these the size is the point, or each try would take as long again.
    is_kept = str(failed.error).startswith(("memory", "not done"))
    data = failed.data if is_kept else smallest(target, seed, failed)
    print(f"again: scripts/fuzz --target {target.name} --seed {seed} --from {failed.n} --inputs 1")
    print(f"a small one, {len(data)} of {len(failed.data)} bytes: {data.hex()[:HEX_SHOWN]}", flush=True)


def run(name: str, options: argparse.Namespace) -> bool:
    """One target. False if there was something to complain about."""
    target, figures = TARGETS[name](), Figures(name)
    failed: Failed | None = None
    try:
        fuzz(target, options.seed, options.first, options.seconds, options.inputs, figures)
    except Failed as found:
        failed = found
    print("\n".join(figures.lines()), flush=True)
    if failed is not None:
        tell(target, options.seed, failed)
    return failed is None


def main() -> int:
    """Run it, say what was measured."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all", help="what reads (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: 60)")
    parser.add_argument("--inputs", type=int, default=None, help="at most so many for each target")
    parser.add_argument("--seed", type=int, default=None, help="of all chance (default: another one every time)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="begin with that input (default: 0)")
    parser.add_argument("--broken", choices=BROKEN, default=None, help="with a mistake that must be found")
    options = parser.parse_args()
    options.seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    names = list(TARGETS) if options.target == "all" else [options.target]
    if options.broken is not None:
        finder, make = BROKEN[options.broken]
        names = [finder]
        make()
    signal.signal(signal.SIGVTALRM, overdue)
    print(f"seed {options.seed}", flush=True)
    results = [run(name, options) for name in names]
    is_well = all(results)
    print("nothing to complain about" if is_well else "SOMETHING TO COMPLAIN ABOUT")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
