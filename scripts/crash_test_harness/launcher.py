"""Starts the agent with a hand on its journal: it kills itself at a step, notes the steps it takes, or is broken.

`launcher.py [--kill-at STEP PHASE K] [--note-steps FILE] [--broken NAME] [--stumble] -- ARGUMENTS OF sse-agent`. A
step is one call of the journal, named after its function: `inbox.receive`. The product knows nothing of this.
"""

import argparse
import functools
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.crash_test_harness import broken
from scripts.crash_test_harness.steps import step_of
from sse_agent import cli
from sse_agent.files import AllowedFolders
from sse_agent.journal import Journal

NOTED = 3
PHASES = ("before", "before commit", "after commit")

At = Callable[[str, str], None]


def watch(at: At) -> None:
    """Call `at(step, phase)` on the journal's thread, three times for each step that is committed."""
    submit, transact = Journal._submit, Journal._transact
    # Steps share commits; only the journal's thread touches this.
    under_way: list[str] = []

    def watched_submit(journal: Journal, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        step = step_of(work)

        @functools.wraps(work)
        def watched(*inner: Any, **more: Any) -> Any:
            at(step, "before")
            result = work(*inner, **more)
            under_way.append(step)
            at(step, "before commit")
            return result

        return submit(journal, watched, *args, **kwargs)

    def watched_transact(journal: Journal, *args: Any) -> Any:
        under_way.clear()
        result = transact(journal, *args)
        for step in under_way:
            at(step, "after commit")
        return result

    Journal._submit = watched_submit  # type: ignore[method-assign, assignment]
    Journal._transact = watched_transact  # type: ignore[method-assign, assignment]


def killer(step: str, phase: str, k: int) -> At:
    """SIGKILL for this process the `k`th time that it gets there."""
    left = k

    def at(here: str, now: str) -> None:
        nonlocal left
        if (here, now) == (step, phase):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                # It takes the kernel a moment; no statement may slip through.
                threading.Event().wait()

    return at


def noter(path: Path) -> At:
    """A line for the first, second and third time of each step, in a file that other processes add to as well."""
    counts: Counter[str] = Counter()

    def at(here: str, now: str) -> None:
        counts[here] += now == "before"
        if now == "before" and counts[here] <= NOTED:
            with path.open("a") as file:
                file.write(f"{here} {counts[here]}\n")

    return at


def stumble() -> None:
    """The first listing of this life comes upon a bug. None is known that somebody outside could bring on."""
    listed = AllowedFolders.list
    left = [RuntimeError("a bug, put there by the crash test")]

    def list_files(folders: AllowedFolders, *args: Any) -> Any:
        if left:
            raise left.pop()
        return listed(folders, *args)

    AllowedFolders.list = list_files  # type: ignore[method-assign, assignment]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, then be the agent. None: what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-at", nargs=3, metavar=("STEP", "PHASE", "K"))
    parser.add_argument("--note-steps", type=Path, metavar="FILE")
    parser.add_argument("--broken", choices=sorted(broken.BUILDS))
    parser.add_argument("--stumble", action="store_true")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args(arguments)
    if options.note_steps:
        watch(noter(options.note_steps))
    if options.kill_at:
        step, phase, k = options.kill_at
        watch(killer(step, phase, int(k)))
    if options.stumble:
        stumble()
    if options.broken:
        broken.BUILDS[options.broken]()
    return cli.main(options.arguments)


if __name__ == "__main__":
    sys.exit(main())
