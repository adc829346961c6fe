"""How long each kind of refusal takes, as somebody would measure it who wants to learn what is there."""

import ctypes
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.confinement_race_harness.ways import PROVED, Refused, Way

NOBODY = 65534
PARTS = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of question that must be answered like every other one."""

    name: str
    asked: str
    is_listing: bool = False
    seen_ns: list[int] = field(default_factory=list)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so this thread looks at files as another user."""
    libc = ctypes.CDLL(None)
    before = os.geteuid()
    if before == 0:
        libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(before)


def build(root: Path) -> list[Kind]:
    """The files, and names of one length, so that only what is there makes the difference."""
    inside, beside = root / "allowed", root / "outside"
    for folder in (inside, beside):
        (folder / "sub").mkdir(parents=True)
        (folder / "there").write_bytes(b"x")
        (folder / "sub" / "there").write_bytes(b"x")
        (folder / "shut").mkdir()
        (folder / "shut" / "there").write_bytes(b"x")
        (folder / "deaf").write_bytes(b"x")
    (inside / "link").symlink_to(beside / "there")
    (inside / "lead").symlink_to(beside)
    os.mkfifo(inside / "pipe")
    for path in (root, inside, inside / "sub", beside, beside / "sub"):
        path.chmod(0o755)
    for path in (inside / "deaf", inside / "shut", beside / "deaf", beside / "shut"):
        path.chmod(0)
    opened = {
        "missing": f"{inside}/gone",
        "missing, the same again": f"{inside}/Gone",
        "unreadable": f"{inside}/deaf",
        "a directory": f"{inside}/shut",
        "a pipe": f"{inside}/pipe",
        "a link to a file outside": f"{inside}/link",
        "outside, there": f"{beside}/there",
        "outside, missing": f"{beside}/gone",
        "outside, unreadable": f"{beside}/deaf",
        "another user's outside": "/etc/shadow",
        "up and out": f"{inside}/../there",
        "two parts: missing": f"{inside}/sub/gone",
        "two parts: the same again": f"{inside}/sub/Gone",
        "two parts: both missing": f"{inside}/nil/gone",
        "two parts: in an unreadable directory": f"{inside}/shut/there",
        "two parts: missing in one": f"{inside}/shut/gone",
        "two parts: through a link to outside": f"{inside}/lead/there",
        "two parts: outside, there": f"{beside}/sub/there",
        "two parts: outside, missing": f"{beside}/sub/gone",
    }
    listed = {
        "listing: missing": f"{inside}/gone",
        "listing: the same again": f"{inside}/Gone",
        "listing: unreadable": f"{inside}/shut",
        "listing: a file": f"{inside}/deaf",
        "listing: a link to outside": f"{inside}/lead",
        "listing: outside, there": f"{beside}/sub",
        "listing: outside, missing": f"{beside}/gone",
    }
    return [Kind(name, asked) for name, asked in opened.items()] + [
        Kind(name, asked, is_listing=True) for name, asked in listed.items()
    ]


def measure(root: Path, way_name: str, opens: int, seed: int) -> None:
    """Prints the time of each kind, asked in an order by chance, `opens` times in all."""
    kinds, chance = build(root), random.Random(seed)
    way = PROVED[way_name](root / "allowed")
    try:
        with as_nobody():
            for kind in kinds * 20:
                _ask(way, kind)
            for _ in range(opens // len(kinds)):
                for kind in chance.sample(kinds, len(kinds)):
                    kind.seen_ns.append(_ask(way, kind))
    finally:
        way.close()
        for shut in root.glob("*/shut"):
            shut.chmod(0o700)
    table(way_name, kinds)


def _ask(way: Way, kind: Kind) -> int:
    ask: Callable[[str], object] = way.list if kind.is_listing else way.open
    began = time.perf_counter_ns()
    try:
        ask(kind.asked)
    except Refused:
        return time.perf_counter_ns() - began
    raise AssertionError(f"not refused: {kind.name}")


def table(way_name: str, kinds: list[Kind]) -> None:
    """Microseconds. The difference is the median of those to `missing` in the same round, as a machine's load
    changes; its spread is that between ten parts of the run, and what is below it is noise."""
    print(f"\n{way_name}: {len(kinds[0].seen_ns):,} of each kind; microseconds")
    print(f"{'':<38}{'median':>8}{'10 %':>8}{'90 %':>8}{'- missing':>11}{'spread':>8}")
    missing = kinds[0].seen_ns
    for kind in kinds:
        if kind.name.endswith(": missing"):
            missing = kind.seen_ns
        tenths = [ns / 1000 for ns in statistics.quantiles(kind.seen_ns, n=10)]
        differences = [(one - other) / 1000 for one, other in zip(kind.seen_ns, missing, strict=True)]
        size = max(1, len(differences) // PARTS)
        parts = [statistics.median(differences[at : at + size]) for at in range(0, size * PARTS, size)]
        print(
            f"{kind.name:<38}{tenths[4]:>8.1f}{tenths[0]:>8.1f}{tenths[-1]:>8.1f}"
            f"{statistics.median(differences):>+11.2f}{max(parts) - min(parts):>8.2f}"
        )
