"""SIGKILL at random moments while commands with 20 % duplicates pour in: 0 lost, 0 carried out twice, all bytes equal.

The agent is the real one, tusd too; the control plane is an oracle that is never killed and remembers every command
and every message. Exit code 0 if nothing is to be complained about, else 1.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.crash_test_harness.kills import Count, Say, at_every_step, at_random
from scripts.crash_test_harness.report import Report, merged, report_of, show
from scripts.crash_test_harness.scenarios import SCENARIOS, Missed
from scripts.crash_test_harness.world import World

SAY_EVERY_S = 10.0
DRAIN_S, QUIET_S = 180.0, 45.0
BROKEN_DRAIN_S, BROKEN_QUIET_S = 90.0, 6.0
COMPLAINTS_SHOWN = 25
KILLS = 200


@dataclass(frozen=True, slots=True)
class Job:
    """One world of its own. `kills` of None: at every step, of which this one takes a part."""

    folder: Path
    seed: int
    kills: int | None
    seconds: float
    part: int
    parts: int
    launcher: tuple[str, ...] = ()


class Progress:
    """A short line now and then."""

    def __init__(self, job: Job, world: World, count: Count) -> None:
        self._name = f"{job.part + 1}: " if job.parts > 1 else ""
        self._world = world
        self._count = count
        self._parent = os.getppid()
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def say(self) -> None:
        """If it is time again. Ends this process when the one that wants to know is gone."""
        if os.getppid() != self._parent:
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return
        self._said = now
        ledger = self._world.ledger
        complaints = f"  COMPLAINTS {len(ledger.complaints)}" if ledger.complaints else ""
        print(
            f"{self._name}{self.seconds:5.0f} s  {self._count.kills} kills  {len(ledger.orders)} commands "
            f"({len(ledger.unanswered())} open)  {len(ledger.completions)} uploads complete{complaints}",
            flush=True,
        )


def work(job: Job) -> Report:
    """Kills, then peace; everything has to come to its end, and a fresh command has to be quick."""
    job.folder.mkdir()
    until, count, reached = time.monotonic() + job.seconds, Count(), None
    with World(job.folder, job.seed, job.launcher) as world:
        progress = Progress(job, world, count)
        if job.kills is None:
            tour = at_every_step(world, count, until, progress.say, part=job.part, parts=job.parts)
            reached = set(tour.seen())
        else:
            at_random(world, count, job.kills, until, progress.say)
        seconds = {} if world.has_failed else _make_peace(world, progress.say, is_broken=bool(job.launcher))
        return report_of(world, count, reached, {"all": progress.seconds, **seconds})


def _make_peace(world: World, say: Say, *, is_broken: bool) -> dict[str, float]:
    """How many seconds that took. A build that fails is not waited for as long."""
    began = time.monotonic()
    world.kill()
    world.start()
    if is_broken:
        world.drain(DRAIN_S, QUIET_S / 2, say)
        world.kill()
        return {"to drain": time.monotonic() - began}
    world.drain(DRAIN_S, QUIET_S, say)
    drained_s = time.monotonic() - began
    fresh_s = world.fresh_command_s()
    world.stop()
    return {"to drain": drained_s, "for a fresh command": fresh_s}


def in_workers(jobs: list[Job]) -> list[Report]:
    """Each in a process of its own: the threads of one must not wait for those of another."""
    if len(jobs) == 1:
        return [work(jobs[0])]
    with ProcessPoolExecutor(len(jobs), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, jobs))


def scenario(folder: Path, name: str, seed: int, *launcher: str) -> list[str]:
    """One kill at the place where that mistake shows. Returns the complaints."""
    place = folder / name
    place.mkdir()
    with World(place, seed) as world:
        world.faults.stop()
        try:
            SCENARIOS[name](world, *launcher)
        except Missed as missed:
            return [f"the scenario of {name} shows nothing: {missed}"]
        world.start(*launcher)
        quiet_s = BROKEN_QUIET_S if launcher else QUIET_S
        world.ledger.wait_for(lambda: world.ledger.streams > 1, BROKEN_DRAIN_S)
        world.drain(BROKEN_DRAIN_S, quiet_s)
        world.kill()
        return world.verdict()


def run(options: argparse.Namespace, folder: Path) -> list[str]:
    """What the arguments ask for. Returns the complaints."""
    if options.broken == "none":
        return [words for name in SCENARIOS for words in scenario(folder, name, options.seed)]
    if options.broken and options.kills is None:
        return scenario(folder, options.broken, options.seed, "--broken", options.broken)
    kills, parts = KILLS if options.kills is None else options.kills, options.workers
    launcher = ("--broken", options.broken) if options.broken else ()
    jobs = [
        Job(
            folder / f"world-{part + 1}",
            options.seed * 1000 + part if parts > 1 else options.seed,
            None if options.steps else kills // parts + (part < kills % parts),
            options.seconds,
            part,
            parts,
            launcher,
        )
        for part in range(parts)
    ]
    report = merged(in_workers(jobs))
    show(report)
    return report.complaints


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/crash_test", description=__doc__)
    parser.add_argument("--kills", type=int, metavar="N", help=f"how often the agent dies ({KILLS})")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="so many worlds at once, which share them")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--seconds", type=float, default=7200.0, metavar="S", help="no kill after this time (7200)")
    parser.add_argument("--steps", action="store_true", help="kill at every step of the journal instead of at random")
    parser.add_argument(
        "--broken",
        choices=["none", *sorted(SCENARIOS)],
        help="a build with that mistake, which has to fail: by one kill at the place where it shows, or with --kills "
        "at random; none: those kills on the build as it is",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the agent's log when it fails")
    return parser.parse_args(arguments)


def main() -> int:
    """Run it."""
    options = options_of()
    if shutil.which("tusd") is None:
        print("crash_test: tusd is needed: go install github.com/tus/tusd/v2/cmd/tusd@v2.10.0", file=sys.stderr)
        return 69
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sse-agent-crash-test-"))
    is_kept = options.keep
    try:
        complaints = run(options, folder)
        is_kept = options.keep and bool(complaints)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    for words in complaints[:COMPLAINTS_SHOWN]:
        print(f"COMPLAINT  {words}")
    if len(complaints) > COMPLAINTS_SHOWN:
        print(f"... and {len(complaints) - COMPLAINTS_SHOWN} more")
    if is_kept:
        print(f"kept: {folder}")
    print("FAILED" if complaints else "passed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
