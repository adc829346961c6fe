"""Starts the agent with one mistake in it, of which the product knows nothing: `launcher.py NAME ARGUMENTS…`."""

import sys

from scripts.chaos_test_harness.broken import BUILDS
from sse_agent import cli

if __name__ == "__main__":
    BUILDS[sys.argv[1]].breaks()
    sys.exit(cli.main(sys.argv[2:]))
