"""Reconnect and upload again and again; descriptors, threads, connections and tasks must be what they were before.

Two processes, each as everybody runs it: the agent, against a control plane that ends streams in every way there is
and against a real tusd; and the control plane, whose streams are left in every way there is. The agent's waits between
tries are cut to 20 ms, but for `--real-waits`. Linux only. Exit code 0 if nothing is to be complained about, else 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from scripts.leak_test_harness import agent, streams
from scripts.leak_test_harness.broken import AGENT_BUILDS, PLANE_BUILDS


def run(options: argparse.Namespace, folder: Path) -> list[str]:
    """What the arguments ask for."""
    complaints = []
    builds = options.broken
    if options.part != "control-plane" and not set(builds) & set(PLANE_BUILDS):
        place = folder / "agent"
        place.mkdir()
        complaints += agent.test(
            place, options.reconnects, options.uploads, options.seed, real_waits=options.real_waits, builds=builds
        )
    if options.part != "agent" and not set(builds) & set(AGENT_BUILDS):
        place = folder / "control-plane"
        place.mkdir()
        complaints += streams.test(place, options.streams, options.seed, builds=builds)
    return complaints


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/leak_test", description=__doc__)
    parser.add_argument("--reconnects", type=int, default=1000, metavar="N", help="streams of the agent (1000)")
    parser.add_argument("--uploads", type=int, default=500, metavar="N", help="uploads of the agent (500)")
    parser.add_argument("--streams", type=int, default=1000, metavar="N", help="streams of the control plane (1000)")
    parser.add_argument("--part", choices=["agent", "control-plane"], help="only this process")
    parser.add_argument(
        "--real-waits", action="store_true", help="wait as long as the agent does, about a second a reconnect"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    parser.add_argument(
        "--broken",
        choices=sorted(AGENT_BUILDS | PLANE_BUILDS),
        action="append",
        default=[],
        help="a build with that leak: must fail; again for one more leak of the same process",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs when it fails")
    options = parser.parse_args()
    if shutil.which("tusd") is None:
        print("leak_test: tusd is needed: go install github.com/tus/tusd/v2/cmd/tusd@v2.10.0", file=sys.stderr)
        return 69
    print(f"seed {options.seed}", flush=True)
    folder, began = Path(tempfile.mkdtemp(prefix="sse-agent-leak-test-")), time.monotonic()
    complaints = ["it was broken off"]
    try:
        complaints = run(options, folder)
    except TimeoutError as late:
        complaints = [f"it stands still: {late}"]
    finally:
        is_kept = options.keep and bool(complaints)
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    for words in complaints:
        print(f"COMPLAINT  {words}")
    if is_kept:
        print(f"kept: {folder}")
    print(f"{'FAILED' if complaints else 'passed'} after {time.monotonic() - began:.0f} s")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
