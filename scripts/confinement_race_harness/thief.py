"""The other process: swaps what the opener is about to open, as fast as it goes.

It knows at any moment which scene is played, which no real thief does. Arguments: playground, shared file, seed.
"""

import ctypes
import mmap
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.confinement_race_harness.playground import Playground, Scene

AT_CWD = -100
RENAME_EXCHANGE = 2
LONGEST_REST = 300

Flip = Callable[[], None]


class Board:
    """Shared memory, 8 bytes a number: which scene is played, and how often each was swapped."""

    def __init__(self, path: Path, scenes: int) -> None:
        """Made if it is not there."""
        size = 8 * (1 + scenes)
        with path.open("a+b") as file:
            if os.fstat(file.fileno()).st_size < size:
                file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._numbers = memoryview(self._map).cast("Q")

    @property
    def played(self) -> int:
        """The index of the scene."""
        return int(self._numbers[0])

    def play(self, scene: int) -> None:
        """The thief turns to it."""
        self._numbers[0] = scene

    def swaps(self, scene: int) -> int:
        """How often it was swapped so far."""
        return int(self._numbers[1 + scene])

    def swapped(self, scene: int) -> None:
        """Once more."""
        self._numbers[1 + scene] += 1

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._map.close()


def exchange(one: Path, other: Path) -> Flip:
    """In one step, renameat2(2)."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    paths = os.fsencode(one), os.fsencode(other)

    def flip() -> None:
        if renameat2(AT_CWD, paths[0], AT_CWD, paths[1], RENAME_EXCHANGE) != 0:
            raise OSError(ctypes.get_errno(), "the file system can't exchange two entries")

    return flip


def step_by_step(one: Path, other: Path) -> Flip:
    """Gone, a link, gone, and back; each call is one of these steps."""
    target = other.readlink()
    steps: list[Callable[[], object]] = [
        lambda: one.rename(other),
        lambda: one.symlink_to(target),
        lambda: one.unlink(),
        lambda: other.rename(one),
    ]
    at = 0

    def flip() -> None:
        nonlocal at
        steps[at % len(steps)]()
        at += 1

    return flip


def flip_of(root: Path, scene: Scene) -> Flip:
    """How this scene is swapped."""
    one, other = root / scene.one, root / scene.other
    return exchange(one, other) if scene.how == "exchange" else step_by_step(one, other)


def main() -> None:
    """Until the process that started it is gone or ends it."""
    playground, parent = Playground(Path(sys.argv[1])), os.getppid()
    scenes = playground.scenes()
    board = Board(Path(sys.argv[2]), len(scenes))
    flips = [flip_of(playground.root, scene) for scene in scenes]
    chance = random.Random(sys.argv[3])
    while os.getppid() == parent:
        for _ in range(1000):
            scene = board.played
            flips[scene]()
            board.swapped(scene)
            # Not in step with the opener, which takes about equally long each time.
            for _ in range(chance.randrange(LONGEST_REST)):
                pass


if __name__ == "__main__":
    main()
