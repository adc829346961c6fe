"""Opens while the thief swaps, and counts what came of it."""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from scripts.confinement_race_harness.playground import (
    CANARY_NAME,
    HELD_DIRECTORY,
    HELD_FILE,
    INSIDE,
    Playground,
    Scene,
)
from scripts.confinement_race_harness.thief import Board
from scripts.confinement_race_harness.ways import Refused, Way

BLOCK = 250
"""Opens of one scene before the next one's turn, at least; more until enough of them were raced."""
RACED_OF_A_BLOCK = 10
LIST_EVERY = 5
BLOCK_WITHIN_S = 120
THIEF_WITHIN_S = 60.0
INSIDE_ENTRIES = frozenset({"file", "c"})


class NoRace(Exception):
    """Then the rest shows nothing."""


class Hung(Exception):
    """An open that never came back."""


@dataclass(slots=True)
class Tally:
    """What came of the opens."""

    opens: int = 0
    lists: int = 0
    results: Counter[str] = field(default_factory=Counter)
    raced: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    escapes: Counter[str] = field(default_factory=Counter)
    swaps: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0


class Race:
    """One way of opening against one thief."""

    def __init__(self, playground: Playground, way: Way, board: Board, thief: subprocess.Popen[bytes]) -> None:
        self._way = way
        self._board = board
        self._thief = thief
        self._scenes = playground.scenes()
        self._inside = playground.inside()
        self.tally = Tally()

    def run(self, opens: int, chance: random.Random) -> Tally:
        """At least `opens` of them, and a listing for every fifth; all scenes in turn, in an order by chance."""
        began = time.monotonic()
        while self.tally.opens < opens:
            for index in chance.sample(range(len(self._scenes)), len(self._scenes)):
                self._play(index)
        self.tally.seconds = time.monotonic() - began
        self.tally.swaps = sum(self._board.swaps(index) for index in range(len(self._scenes)))
        return self.tally

    def _play(self, index: int) -> None:
        scene = self._scenes[index]
        self._await_thief(index)
        with hang_is_an_error(scene):
            self._block(index, scene)

    def _block(self, index: int, scene: Scene) -> None:
        opens, enough, until = 0, self.tally.raced[scene.name] + RACED_OF_A_BLOCK, time.monotonic() + THIEF_WITHIN_S
        # On a machine with other things to do the two take turns, and most opens meet no thief at all.
        while opens < BLOCK or self.tally.raced[scene.name] < enough:
            before = self._board.swaps(index)
            self._open(scene)
            if self._board.swaps(index) != before:
                self.tally.raced[scene.name] += 1
            if scene.directory is not None and opens % LIST_EVERY == 0:
                self._list(scene, scene.directory)
            opens += 1
            if opens % BLOCK == 0 and time.monotonic() > until:
                raise NoRace(f"{scene.name} was swapped during too few of its opens")

    def _await_thief(self, index: int) -> None:
        before, until = self._board.swaps(index), time.monotonic() + THIEF_WITHIN_S
        self._board.play(index)
        while self._board.swaps(index) == before:
            if self._thief.poll() is not None or time.monotonic() > until:
                raise NoRace(f"the thief does not swap {self._scenes[index].name}")
            os.sched_yield()

    def _open(self, scene: Scene) -> None:
        tally, began = self.tally, time.perf_counter()
        tally.opens += 1
        try:
            file = self._way.open(scene.asked)
        except Refused as refusal:
            tally.results[f"refused: {refusal}"] += 1
            tally.refused[scene.name] += 1
            return
        finally:
            tally.longest_s = max(tally.longest_s, time.perf_counter() - began)
        with file:
            escape = self._judge(file.fileno())
        if escape is None:
            tally.results["opened, inside"] += 1
        else:
            tally.results[f"ESCAPED: {escape}"] += 1
            tally.escapes[scene.name] += 1

    def _judge(self, descriptor: int) -> str | None:
        """None for one of the files inside with the bytes of those."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "no regular file was opened"
        if (status.st_dev, status.st_ino) not in self._inside:
            return "a file outside was opened"
        return None if os.read(descriptor, 64) == INSIDE else "other bytes were read"

    def _list(self, scene: Scene, directory: str) -> None:
        self.tally.lists += 1
        try:
            names = self._way.list(directory)
        except Refused:
            self.tally.results["listing refused"] += 1
            return
        if CANARY_NAME in names or not INSIDE_ENTRIES.issuperset(names):
            self.tally.results["ESCAPED: a directory outside was listed"] += 1
            self.tally.escapes[f"{scene.name} (listing)"] += 1
        else:
            self.tally.results["listed, inside"] += 1


@contextmanager
def hang_is_an_error(scene: Scene) -> Iterator[None]:
    """Raises Hung out of a system call that blocks."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung(scene.name)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(BLOCK_WITHIN_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def standing_outside(playground: Playground) -> Iterator[None]:
    """This process's working directory and two descriptors are outside, for links by way of /proc and /dev/fd."""
    with ExitStack() as undo:
        undo.callback(os.chdir, Path.cwd())
        os.chdir(playground.outside)
        for number, path in ((HELD_FILE, "file"), (HELD_DIRECTORY, ".")):
            descriptor = os.open(path, os.O_RDONLY)
            os.dup2(descriptor, number)
            os.close(descriptor)
            undo.callback(os.close, number)
        yield


@contextmanager
def thief_in(playground: Playground, board: Path, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that swaps until this is over."""
    command = [
        sys.executable,
        "-m",
        "scripts.confinement_race_harness.thief",
        str(playground.root),
        str(board),
        str(seed),
    ]
    with subprocess.Popen(command) as thief:
        try:
            yield thief
        finally:
            thief.kill()


def descriptors() -> set[str]:
    """Of this process."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - opens as many as it closes


def verdict(tally: Tally, scenes: list[Scene], *, leaked: int) -> list[str]:
    """What is to be complained about: escapes, and a race that was none."""
    complaints = [f"ESCAPED  {scene}: {count} times" for scene, count in sorted(tally.escapes.items())]
    complaints += [
        f"no race: {one.name} was never swapped during an open" for one in scenes if not tally.raced[one.name]
    ]
    if not tally.escapes:
        complaints += [f"no race: {one.name} was always open" for one in scenes if not tally.refused[one.name]]
    if leaked:
        complaints.append(f"leaked: {leaked} descriptors")
    return complaints


def run(root: Path, make: Callable[[Path], Way], opens: int, seed: int) -> tuple[Tally, list[str]]:
    """A race from beginning to end in an empty folder `root`, and what is to be complained about."""
    playground = Playground(root)
    playground.build()
    scenes = playground.scenes()
    with ExitStack() as undo:
        board = Board(root / "board", len(scenes))
        undo.callback(board.close)
        thief = undo.enter_context(thief_in(playground, root / "board", seed))
        undo.enter_context(standing_outside(playground))
        way = make(playground.allowed)
        undo.callback(way.close)
        race, before = Race(playground, way, board, thief), len(descriptors())
        try:
            race.run(opens, random.Random(seed))
        except Hung as hung:
            return race.tally, [f"HUNG  {hung}: no answer within {BLOCK_WITHIN_S} s"]
        except NoRace as none:
            return race.tally, [f"no race: {none}"]
        return race.tally, verdict(race.tally, scenes, leaked=len(descriptors()) - before)
