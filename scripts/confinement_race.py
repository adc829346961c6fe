"""A thief swaps files, directories, links, pipes, sockets and devices while files are opened: 0 escapes.

Every open is of a name that exists, beneath an allowed folder, and another process swaps the file or a directory on
the way to it as fast as it can. An escape is an opened file that is none of the files inside, by device and inode, or
other bytes than theirs, or a listing of a directory outside. Exit code 0 if there is none and there was a race, else 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.confinement_race_harness.race import Tally, run
from scripts.confinement_race_harness.timing import measure
from scripts.confinement_race_harness.ways import BROKEN, PROVED


def table(way: str, tally: Tally) -> None:
    """The figures."""
    raced = sum(tally.raced.values())
    rows = [
        ("way", way),
        ("opens", f"{tally.opens:,}"),
        ("  swapped meanwhile", f"{raced:,} ({100 * raced / max(1, tally.opens):.0f} %)"),
        ("listings", f"{tally.lists:,}"),
        ("swaps by the thief", f"{tally.swaps:,}"),
        *((f"  {result}", f"{count:,}") for result, count in tally.results.most_common()),
        ("escapes", f"{sum(tally.escapes.values()):,}"),
        ("slowest open", f"{tally.longest_s * 1000:.1f} ms"),
        ("seconds", f"{tally.seconds:.1f}"),
    ]
    print()
    for name, value in rows:
        print(f"{name:<48}{value}")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/confinement_race", description=__doc__)
    parser.add_argument("--opens", type=int, default=100_000, metavar="N", help="of each way (100,000)")
    parser.add_argument(
        "--way",
        choices=[*PROVED, *BROKEN],
        action="append",
        help="openat2, walk: the two forms of the product (both, if none is named); bypath: its form for Windows; "
        "plain, checked, following: open() of the joined path, the same after a check, and the walk without "
        "O_NOFOLLOW, which have to fail",
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument("--timing", action="store_true", help="no race: how long each kind of refusal takes")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("confinement_race: it is made of what Linux has", file=sys.stderr)
        return 69
    print(f"seed {options.seed}", flush=True)
    complaints: list[str] = []
    for way in options.way or ["openat2", "walk"]:
        folder = Path(tempfile.mkdtemp(prefix="sse-agent-confinement-race-")).resolve()
        try:
            if options.timing:
                measure(folder, way, options.opens, options.seed)
                continue
            tally, found = run(folder, {**PROVED, **BROKEN}[way], options.opens, options.seed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        table(way, tally)
        complaints += [f"{way}: {words}" for words in found]
    for words in complaints:
        print(f"COMPLAINT  {words}")
    if not options.timing:
        print("FAILED" if complaints else "passed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
