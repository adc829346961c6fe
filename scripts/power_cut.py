"""Power cuts and disk errors under the agent's journal: nothing that was acknowledged is lost.

The whole agent runs on a disk that is recorded, write by write. The power goes at random places of that record, what
was not synced is dropped, torn or mixed up, and the journal is opened again. Then the disk fails, at one operation
after the other. Exit code 0 if nothing is to be complained about, else 1.
"""

import argparse
import os
import random
import re
import sys
import time

from scripts.power_cut_harness import errors
from scripts.power_cut_harness.broken import MISTAKES, Build
from scripts.power_cut_harness.cuts import Tally, cut
from scripts.power_cut_harness.tape import Fate

SAY_EVERY_S = 5.0
COMPLAINTS_SHOWN = 25
CUTS, ERRORS = 1000, 500
_NAMES = re.compile(r"\b[A-Z_]{3,}\b|[0-9a-f-]{8,}|[0-9]+")


class Progress:
    """A short line every few seconds."""

    def __init__(self) -> None:
        self.began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def say(self, tally: Tally) -> None:
        """If it is time again."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            print(
                f"{self.seconds:5.0f} s  {tally.cuts} cuts of {tally.lives} lives, {tally.finished} finished"
                f"{f'  COMPLAINTS {len(tally.complaints)}' if tally.complaints else ''}",
                flush=True,
            )


def table(cuts: Tally | None, failed: errors.Tally | None, seconds: tuple[float, float]) -> None:
    """The figures."""
    rows: list[tuple[str, str]] = []
    if cuts is not None:
        lost = [words for words in cuts.complaints if "lost: " in words]
        rows += [
            ("power cuts", f"{cuts.cuts}, {cuts.unsynced} of them with writes that no sync followed"),
            *((f"  {fate}", f"{cuts.fates[fate]}") for fate in Fate),
            ("lives of the agent", f"{cuts.lives}, until all was done"),
            ("  operations of the disk", f"{cuts.operations.total()}, {cuts.operations['sync']} of them syncs"),
            ("  that failed", f"{cuts.failures.total()}; the agent said so {cuts.troubles} times"),
            ("  commands", f"{cuts.commands}, {cuts.duplicates} given again"),
            ("  uploads", f"{cuts.uploads}"),
            ("  durable messages", f"{cuts.messages}"),
            ("final ACKs looked for after cuts", f"{cuts.acknowledged}"),
            ("started again after a cut", f"{cuts.finished}, until all was done"),
            ("lost", f"{len(lost)}"),
            ("seconds", f"{seconds[0]:.0f}"),
        ]
    if failed is not None:
        rows += [
            ("disk errors", f"{failed.runs} of {3 * failed.operations}: {failed.operations} operations, three ways"),
            *((f"  that hit a {what}", f"{count}") for what, count in sorted(failed.met.items())),
            ("  noticed by the journal", f"{failed.noticed}; {failed.passed_over} only by SQLite"),
            ("  steps refused", f"{failed.refused_steps}, and {failed.refused_starts} starts"),
            ("lost or damaged", f"{len(failed.complaints)}"),
            ("seconds", f"{seconds[1]:.0f}"),
        ]
    print()
    for name, value in rows:
        print(f"{name:<62}{value}")


def run(options: argparse.Namespace) -> list[str]:
    """What the arguments ask for. Returns the complaints."""
    progress = Progress()
    cuts = failed = None
    build = Build(options.broken or "")
    if options.cuts and build.name != "deaf":
        cuts = cut(options.seed, options.cuts, build, progress.say)
    cuts_s = progress.seconds
    if options.errors and build.name in ("", "deaf"):
        failed = errors.fail_everywhere(
            options.seed, options.errors, is_deaf=build.name == "deaf", is_forgetful=options.forgetful
        )
    table(cuts, failed, (cuts_s, progress.seconds - cuts_s))
    return [*(cuts.complaints if cuts else []), *(failed.complaints if failed else [])]


def kinds(complaints: list[str]) -> dict[str, int]:
    """The first of each kind of complaint, and how many are like it but for names and numbers."""
    like: dict[str, list[str]] = {}
    for words in complaints:
        like.setdefault(_NAMES.sub("", words.partition(": ")[2]), []).append(words)
    return {same[0]: len(same) for same in like.values()}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/power_cut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=CUTS, metavar="N", help=f"how often the power goes ({CUTS})")
    parser.add_argument("--errors", type=int, default=ERRORS, metavar="N", help=f"how many disk errors ({ERRORS})")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument(
        "--forgetful", action="store_true", help="what a failed sync did not write is lost for good, as on Linux"
    )
    parser.add_argument("--broken", choices=sorted(MISTAKES), help="a build with that mistake, which has to fail")
    options = parser.parse_args()
    for name in [
        name for name in os.environ if name.upper().startswith("SSE_AGENT_") or name.lower().endswith("_proxy")
    ]:
        # Whoever runs this has no say in how the agent reaches this machine.
        del os.environ[name]
    print(f"seed {options.seed}", flush=True)
    complaints = run(options)
    for words, count in list(kinds(complaints).items())[:COMPLAINTS_SHOWN]:
        print(f"COMPLAINT  {words}{f' (and {count - 1} more like it)' if count > 1 else ''}")
    print("FAILED" if complaints else "passed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
