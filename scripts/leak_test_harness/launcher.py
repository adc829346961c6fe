"""Starts a command of sse-agent that counts its threads and tasks when asked, waits less, or leaks.

`launcher.py --census FILE [--hurry] [--broken NAME]... -- ARGUMENTS OF sse-agent`. The product knows nothing of this.
"""

import argparse
import asyncio
import gc
import json
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from scripts.leak_test_harness import broken
from sse_agent import cli, retry, terminator

LEAST_WAIT_S = 0.02


def count_when_asked(file: Path) -> None:
    """At SIGUSR1: threads by name, tasks by coroutine."""

    def count(_: int, __: FrameType | None) -> None:
        # Connections leave circles behind, which Python frees when it comes to it: they are no leak.
        gc.collect()
        threads = Counter(_kind(thread.name) for thread in threading.enumerate())
        tasks: Counter[str] = Counter()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        for task in asyncio.all_tasks(loop):
            coroutine = task.get_coro()
            tasks[getattr(coroutine, "__qualname__", "something")] += 1
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps({"threads": threads, "tasks": tasks}))
        fresh.rename(file)

    signal.signal(signal.SIGUSR1, count)


def _kind(name: str) -> str:
    return re.sub(r"[-_ ]?\d+( \(.*\))?$", "", name)


def hurry() -> None:
    """The waits between tries become `LEAST_WAIT_S` at the most; nothing else is other than it is."""
    for backoff in (retry.NOT_NOW, retry.NOT_ALLOWED_NOW, retry.ROUTINE):
        object.__setattr__(backoff, "base_s", LEAST_WAIT_S)
        object.__setattr__(backoff, "cap_s", LEAST_WAIT_S)
    terminator.GATHER_S = LEAST_WAIT_S


def main() -> int:
    """Prepare, then be the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--census", type=Path, required=True, metavar="FILE")
    parser.add_argument("--hurry", action="store_true")
    parser.add_argument("--broken", choices=sorted(broken.BUILDS), action="append", default=[])
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    count_when_asked(options.census)
    if options.hurry:
        hurry()
    for build in options.broken:
        broken.BUILDS[build]()
    return cli.main(options.arguments)


if __name__ == "__main__":
    sys.exit(main())
