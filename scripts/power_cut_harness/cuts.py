"""The power goes at thousands of places: each time the journal is opened again, and now and then the agent started."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from scripts.power_cut_harness import judge
from scripts.power_cut_harness.broken import Build
from scripts.power_cut_harness.check import complaints_about
from scripts.power_cut_harness.life import ENDS_WITHIN_S, Onlooker, Place, Weather
from scripts.power_cut_harness.tape import Disk, Fate, Tape
from scripts.power_cut_harness.traffic import Traffic
from scripts.power_cut_harness.world import Rewinding, World

CUTS_A_LIFE = 500
COMMANDS_A_LIFE = 110
LIVES_IN_A_ROW = 2
"""A command that is carried out a fourth time is poison: two lives that end in a power cut, and one to finish."""
FINISHED_EVERY = 20
LOCK = "journal.lock"
BROKEN_ENDS_WITHIN_S = 15.0


@dataclass(slots=True)
class Tally:
    """The figures."""

    cuts: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    unsynced: int = 0
    lives: int = 0
    finished: int = 0
    commands: int = 0
    duplicates: int = 0
    uploads: int = 0
    messages: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    troubles: int = 0
    acknowledged: int = 0
    complaints: list[str] = field(default_factory=list)


class Cutter:
    """Lives of the agent, two in a row: the second begins at a power cut of the first."""

    def __init__(self, place: Place, seed: int, build: Build, tally: Tally, say: Callable[[], None]) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._build = build
        self._tally = tally
        self._say = say
        self._lock = b""

    def cut(self, count: int) -> None:
        """So many times."""
        lives = 1 if self._build.name else LIVES_IN_A_ROW
        most = min(CUTS_A_LIFE, -(-count // lives))
        while self._tally.cuts < count:
            traffic = Traffic(self._place.files, self._chance.randrange(2**32))
            files: Mapping[str, bytes] = {}
            world = World(Tape({}))
            for _ in range(lives):
                self._live(files, world, traffic)
                chosen = self._cut_life(world, min(most, count - self._tally.cuts), traffic)
                if chosen is None:
                    break
                files, world = chosen

    def _live(self, files: Mapping[str, bytes], world: World, traffic: Traffic) -> None:
        tape = Tape(files)
        world.tape = tape
        vfs, view = self._build.vfs(tape), Onlooker()
        if self._tally.lives % 2:
            vfs.trouble = Weather(random.Random(self._chance.random()))
        with self._build.installed():
            left, complaints = self._place.live(
                files,
                world,
                adaptor=self._build.adaptor(vfs),
                traffic=traffic,
                commands=COMMANDS_A_LIFE,
                view=view,
            )
        self._lock = left.get(LOCK, b"")
        self._tally.lives += 1
        self._tally.operations += Counter(op.kind.value for op in tape.ops)
        self._tally.failures += vfs.trouble.met
        self._tally.troubles += view.troubles
        if not complaints:
            complaints = list(judge.verdict(world.facts, traffic.content, left))
        self._count(world)
        self._complain("in its life, without a cut", complaints)

    def _count(self, world: World) -> None:
        facts, tally = world.facts, self._tally
        tally.commands += len(facts.commands)
        tally.duplicates += len(facts.queue) - len(facts.commands)
        tally.uploads += len(facts.started())
        tally.messages += len(facts.messages)

    def _cut_life(self, world: World, count: int, traffic: Traffic) -> tuple[Mapping[str, bytes], World] | None:
        """Cuts of one life, in the order of the tape. Returns what the next life begins with."""
        tape, tally = world.tape, self._tally
        disk, seen = Disk(tape), Rewinding(world)
        places = sorted(self._chance.randint(0, tape.position) for _ in range(count))
        going_on = self._chance.randrange(count // 4, max(count // 4 + 1, count * 3 // 4)) if count else -1
        chosen: tuple[Mapping[str, bytes], World] | None = None
        for number, place in enumerate(places):
            disk.advance(place)
            seen.advance(place)
            fate = self._chance.choice(list(Fate))
            files = disk.after_power_cut(fate, self._chance)
            if seen.facts.journal_id is not None and self._chance.random() < 0.5:
                # Nobody syncs it: it may be there as it was written, or not.
                files[LOCK] = self._lock
            complaints = anyio.run(complaints_about, files, self._place.origin, seen.facts, self._chance)
            where = f"cut at operation {place} of life {tally.lives}, {fate}"
            self._complain(where, complaints)
            tally.cuts += 1
            tally.fates[fate] += 1
            tally.unsynced += disk.has_unsynced
            tally.acknowledged += len(seen.facts.finals)
            if number == going_on:
                chosen = files, world.rewound(place, Tape({}))
            if tally.cuts % FINISHED_EVERY == 0 and not self._build.name:
                self._finish(files, world.rewound(place, Tape({})), traffic, where)
            self._say()
        return chosen

    def _finish(self, files: Mapping[str, bytes], world: World, traffic: Traffic, where: str) -> None:
        """The agent starts on what the cut left, and finishes everything."""
        left, complaints = self._place.live(files, world)
        if not complaints:
            complaints = list(judge.verdict(world.facts, traffic.content, left))
        self._tally.finished += 1
        self._complain(f"finished after a {where}", complaints)

    def _complain(self, where: str, complaints: list[str]) -> None:
        self._tally.complaints += [f"{where}: {words}" for words in complaints]


def cut(seed: int, count: int, build: Build, say: Callable[[Tally], None]) -> Tally:
    """So many power cuts."""
    tally = Tally()
    with Place(seed, BROKEN_ENDS_WITHIN_S if build.name else ENDS_WITHIN_S) as place:
        Cutter(place, seed, build, tally, lambda: say(tally)).cut(count)
    return tally
