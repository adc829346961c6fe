"""Many commands through two control planes on one Redis, behind nginx; one of them gets SIGKILL in the middle.

Exit code 0 if nothing was lost, doubled or reordered, else 1. Needs Debian's redis-server and nginx.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.doubles.instances import instances, prove
from tests.doubles.planes import AGENTS


def main() -> int:
    """Run it, say what was counted."""
    parser = argparse.ArgumentParser(prog="scripts/instances_test", description=__doc__)
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--agents", type=int, default=50, help=f"at most {AGENTS}")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--within", type=float, default=1800.0, help="seconds")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instances-") as folder, instances(Path(folder)) as there:
        found = prove(
            there,
            agents=min(chosen.agents, AGENTS),
            commands=chosen.commands,
            seed=chosen.seed,
            within_s=chosen.within,
        )
    for fault in found.faults[:50]:
        print(fault)
    print(
        f"seed {chosen.seed}: {found.commands} commands, {found.messages} reports, {found.hops} changes of stream, "
        f"{found.retries} attempts that were not answered, in {found.seconds:.0f} s; load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores"
    )
    print(f"{len(found.faults)} lost, doubled or reordered")
    return 1 if found.faults or found.commands != chosen.commands else 0


if __name__ == "__main__":
    sys.exit(main())
