"""SIGKILL at random moments while commands with 20 % duplicates pour in: 0 lost, 0 carried out twice, all bytes equal.

The agent is the real one, tusd too; the control plane is an oracle in this process, which is never killed and
remembers every command and every message. Exit code 0 if nothing is to be complained about, else 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.crash_test_harness import judge
from scripts.crash_test_harness.kills import Count, at_every_step, at_random
from scripts.crash_test_harness.scenarios import SCENARIOS, Missed
from scripts.crash_test_harness.world import MIB, World

SAY_EVERY_S = 5.0
DRAIN_S, QUIET_S = 180.0, 45.0
BROKEN_DRAIN_S, BROKEN_QUIET_S = 30.0, 4.0
COMPLAINTS_SHOWN = 25


class Progress:
    """A short line every few seconds."""

    def __init__(self, world: World, count: Count) -> None:
        self._world = world
        self._count = count
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def say(self) -> None:
        """If it is time again."""
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return
        self._said = now
        ledger = self._world.ledger
        complaints = f"  COMPLAINTS {len(ledger.complaints)}" if ledger.complaints else ""
        print(
            f"{self.seconds:5.0f} s  {self._count.kills} kills  {len(ledger.orders)} commands "
            f"({len(ledger.unanswered())} open)  {len(ledger.completions)} uploads complete{complaints}",
            flush=True,
        )


def kill_and_judge(world: World, count: Count, kill: Callable[[Callable[[], None]], None]) -> list[str]:
    """Kills, then peace; everything has to come to its end, and a fresh command has to be quick."""
    progress = Progress(world, count)
    kill(progress.say)
    if world.has_failed:
        # What it left undone says nothing more.
        return world.ledger.complaints
    began = time.monotonic()
    world.kill()
    world.start()
    world.drain(DRAIN_S, QUIET_S, progress.say)
    drained_s = time.monotonic() - began
    fresh_s = world.fresh_command_s()
    world.stop()
    complaints = world.verdict()
    table(world, count, progress.seconds, drained_s, fresh_s)
    return complaints


def table(world: World, count: Count, seconds: float, drained_s: float, fresh_s: float) -> None:
    """The figures."""
    ledger, sent = world.ledger, list(world.relay.uploads.values())
    again = world.bytes_sent_for_complete - world.bytes_complete
    offsets = sum(move.payload["confirmation"] == "offset" for move in ledger.completions)
    share = 100 * again / world.bytes_complete if world.bytes_complete else 0.0
    if count.steps:
        kills = [
            ("kills", f"{count.kills}"),
            ("  journal steps and phases", f"{count.steps}, {count.steps_missed} not reached again"),
        ]
    else:
        kills = [
            ("kills", f"{count.kills}, {count.of_tusd} of tusd besides"),
            ("  while a PATCH ran", f"{count.in_patch}"),
            ("  while a POST ran", f"{count.in_post}"),
            ("  before the stream was there", f"{count.before_stream}"),
        ]
    rows = [
        *kills,
        ("commands", f"{len(ledger.orders)}"),
        ("  given again", f"{ledger.duplicates}"),
        ("messages", f"{len(ledger.messages)}"),
        ("  received again", f"{ledger.repeated}"),
        ("resets of the cursor", f"{ledger.restorations}"),
        ("uploads complete", f"{len(ledger.completions)} of {len(world.traffic.started())}"),
        ("  confirmed by the offset", f"{offsets}"),
        ("  their bytes", f"{world.bytes_complete / MIB:.1f} MiB"),
        ("  bytes sent again", f"{again / MIB:.3f} MiB ({share:.2f} %)"),
        ("PATCHes", f"{sum(one.patches for one in sent)}, {sum(one.resumed for one in sent)} from an offset above 0"),
        ("lost", f"{len(judge.lost(ledger))}"),
        ("carried out twice", f"{len(judge.doubled(ledger))}"),
        ("seconds", f"{seconds:.0f}; {drained_s:.1f} to drain, {fresh_s:.1f} for a fresh command"),
    ]
    print()
    for name, value in rows:
        print(f"{name:<32}{value}")


def broken_build(folder: Path, name: str, seed: int) -> list[str]:
    """The scenario that shows this mistake, on a build that has it."""
    return _scenario(folder, name, seed, "--broken", name)


def intact_build(folder: Path, seed: int) -> list[str]:
    """The same scenarios on the build as it is."""
    return [words for name in SCENARIOS for words in _scenario(folder, name, seed)]


def _scenario(folder: Path, name: str, seed: int, *launcher: str) -> list[str]:
    place = folder / name
    place.mkdir()
    with World(place, seed) as world:
        world.faults.stop()
        SCENARIOS[name](world, *launcher)
        world.start(*launcher)
        quiet_s = BROKEN_QUIET_S if launcher else QUIET_S
        world.ledger.wait_for(lambda: world.ledger.streams > 1, BROKEN_DRAIN_S)
        world.drain(BROKEN_DRAIN_S, quiet_s)
        world.kill()
        return world.verdict()


def run(options: argparse.Namespace, folder: Path) -> list[str]:
    """What the arguments ask for."""
    if options.broken:
        if options.broken == "none":
            return intact_build(folder, options.seed)
        return broken_build(folder, options.broken, options.seed)
    until = time.monotonic() + options.seconds
    count = Count()
    with World(folder, options.seed) as world:
        if options.steps:
            return kill_and_judge(world, count, lambda say: at_every_step(world, count, until, say))
        return kill_and_judge(world, count, lambda say: at_random(world, count, options.kills, until, say))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/crash_test", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how often the agent dies (200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--seconds", type=float, default=3600.0, metavar="S", help="no kill after this time (3600)")
    parser.add_argument("--steps", action="store_true", help="kill at every step of the journal instead of at random")
    parser.add_argument(
        "--broken",
        choices=["none", *sorted(SCENARIOS)],
        help="a build with that mistake, which has to fail; none: the same kills on the build as it is",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the agent's log when it fails")
    options = parser.parse_args()
    if shutil.which("tusd") is None:
        print("crash_test: tusd is needed: go install github.com/tus/tusd/v2/cmd/tusd@v2.10.0", file=sys.stderr)
        return 69
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sse-agent-crash-test-"))
    complaints: list[str] = []
    try:
        complaints = run(options, folder)
    except Missed as missed:
        complaints = [f"the scenario shows nothing: {missed}"]
    finally:
        is_kept = options.keep and bool(complaints)
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
