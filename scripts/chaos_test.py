"""Rounds of chaos between the agent and its servers: everything has to arrive exactly once, and all bytes equal.

Agent, control plane and tusd are the real ones; a proxy in this process stands in front of both and delays, cuts,
repeats, garbles and swallows. Now and then the agent is killed and started again, which ends the back-offs in its
memory. Exit code 0 if nothing is to be complained about, else 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.chaos_test_harness.broken import BUILDS
from scripts.chaos_test_harness.full_length import full_length
from scripts.chaos_test_harness.misbehaviours import MISBEHAVIOURS
from scripts.chaos_test_harness.streams import STREAM_MISBEHAVIOURS
from scripts.chaos_test_harness.world import MIB, World
from tests.doubles.chaos_exchange import Misbehaviour
from tests.doubles.chaos_flow import Round

ALL = {m.name: m for m in (*MISBEHAVIOURS, *STREAM_MISBEHAVIOURS)}
ROUND_S = (0.2, 0.4)
COMMANDS_A_ROUND = 4.0
SEVERITIES = (0.3, 0.5, 0.7)
SEVERITY_OF = {"stream": 0.2, "": 0.15, "messages": 0.3}
"""Of requests for the stream, and of connections: after some failures in a row the agent comes back once a minute, and
nothing is seen.
"""
PART = 40
"""Rounds between two starts of the agent."""
SEEN_IN = 250
"""In so many rounds each misbehaviour has to have happened; one that did not proves nothing."""
SAY_EVERY_S = 5.0
DRAIN_S, QUIET_S = 240.0, 90.0
BROKEN_ROUNDS, BROKEN_QUIET_S = 40, 10.0
COMPLAINTS_SHOWN = 25


class Progress:
    """A short line every few seconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rounds = 0
        self._complaints = 0
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def say(self) -> None:
        """If it is time again; complaints at once."""
        for words in self._world.records.complaints[self._complaints :]:
            print(f"{self.seconds:5.0f} s  COMPLAINT  {words}", flush=True)
        self._complaints = len(self._world.records.complaints)
        if time.monotonic() - self._said < SAY_EVERY_S:
            return
        self._said = time.monotonic()
        records, chaos = self._world.records, self._world.chaos
        counted = f"{self.rounds} rounds  {chaos.connections} connections  {sum(chaos.counts.values())} misbehaviours"
        commands = f"{len(records.orders)} commands ({len(records.unanswered())} open)"
        uploads = f"{len(records.completions)} uploads complete"
        print(f"{self.seconds:5.0f} s  {counted}  {commands}  {uploads}", flush=True)


def play(world: World, names: Sequence[str], rounds: int, until: float, progress: Progress) -> None:
    """The rounds. What was seen least comes most."""
    chance, counts = world.chance, world.chaos.counts
    while progress.rounds < rounds and time.monotonic() < until:
        if progress.rounds % PART == 0:
            world.start()
        rarest = sorted(names, key=lambda name: (counts[name], chance.random()))[:3]
        wanted = {*rarest, *chance.sample(names, min(3, len(names)))}
        active: list[Misbehaviour] = [ALL[name] for name in sorted(wanted)]
        # Where it is about few of them, all of them, often.
        round_ = Round(active, chance.choice(SEVERITIES) if len(names) > 5 else SEVERITIES[-1], SEVERITY_OF)
        world.play(round_, chance.uniform(*ROUND_S), COMMANDS_A_ROUND)
        progress.rounds += 1
        progress.say()


def judged(world: World, options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Chaos, then calm; everything has to come to its end."""
    progress = Progress(world)
    play(world, names, options.rounds, time.monotonic() + options.seconds, progress)
    held, late = full_length(world, progress.say) if options.full_length else ([], [])
    began = time.monotonic()
    world.drain(DRAIN_S, BROKEN_QUIET_S if options.broken not in (None, "none") else QUIET_S, progress.say)
    drained_s = time.monotonic() - began
    world.stop()
    world.keep_logs()
    complaints = late + world.verdict()
    if progress.rounds >= SEEN_IN:
        complaints += [f"{name} never happened, so nothing is proved" for name in names if not world.chaos.counts[name]]
    table(world, progress, drained_s, names)
    for line in held:
        print(line)
    return complaints


def table(world: World, progress: Progress, drained_s: float, names: Sequence[str]) -> None:
    """The figures."""
    records, chaos = world.records, world.chaos
    endings = records.endings()
    again = sum(move["payload"]["confirmation"] == "offset" for move in records.completions)
    rows = [
        ("rounds", f"{progress.rounds}, {world.starts} starts of the agent"),
        ("connections", f"{chaos.connections}"),
        ("requests", ", ".join(f"{count} {kind}" for kind, count in sorted(chaos.kinds.items()))),
        ("misbehaviours", f"{sum(chaos.counts[name] for name in names)}"),
        *((f"  {name}", f"{chaos.counts[name]}") for name in sorted(names)),
        ("commands", f"{len(records.orders)}, {records.posts - len(records.orders)} times given again"),
        ("messages recorded", f"{len(records.messages)}"),
        ("  came again, answered 200", f"{world.known_to_plane}"),
        ("uploads complete", f"{endings['UPLOAD_COMPLETE']} of {len(world.traffic.started)}"),
        ("  confirmed by the offset", f"{again}"),
        ("  cancelled", f"{endings['UPLOAD_CANCELLED']}"),
        ("  their bytes", f"{world.bytes_complete / MIB:.1f} MiB"),
        ("seconds", f"{progress.seconds:.0f}; {drained_s:.1f} to drain"),
    ]
    print()
    for name, value in rows:
        print(f"{name:<32}{value}")


def run(options: argparse.Namespace, folder: Path) -> list[str]:
    """What the arguments ask for."""
    if options.broken is None:
        names = options.only.split(",") if options.only else sorted(ALL)
        with World(folder, options.seed) as world:
            return judged(world, options, names)
    options.rounds = BROKEN_ROUNDS
    if options.broken == "none":
        names = sorted({name for build in BUILDS.values() for name in build.shown_by})
        with World(folder, options.seed) as world:
            return judged(world, options, names)
    complaints: list[str] = []
    # A mistake shows by chance: once more, and again, before it counts as not caught.
    for attempt in range(3):
        place = folder / f"{attempt}"
        place.mkdir()
        with World(place, options.seed + attempt, options.broken) as world:
            complaints = judged(world, options, BUILDS[options.broken].shown_by)
        if complaints:
            break
    return complaints


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/chaos_test", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, metavar="N", help="a third of a second each (300)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--seconds", type=float, default=3600.0, metavar="S", help="no round after this time (3600)")
    parser.add_argument("--only", metavar="NAME,...", help=f"these misbehaviours alone: {', '.join(sorted(ALL))}")
    parser.add_argument("--full-length", action="store_true", help="black holes, too, that the agent has to end itself")
    parser.add_argument(
        "--broken", choices=["none", *sorted(BUILDS)], help="a build with that mistake, which has to fail"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs when it fails")
    options = parser.parse_args()
    if options.only and (unknown := set(options.only.split(",")) - ALL.keys()):
        parser.error(f"no such misbehaviour: {', '.join(sorted(unknown))}")
    if shutil.which("tusd") is None:
        print("chaos_test: tusd is needed: go install github.com/tus/tusd/v2/cmd/tusd@v2.10.0", file=sys.stderr)
        return 69
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sse-agent-chaos-test-"))
    complaints: list[str] = ["it did not come to its end"]
    try:
        complaints = run(options, folder)
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
