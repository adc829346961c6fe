"""`version`."""

import argparse
import platform

import sse_agent
from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_json, print_lines
from sse_agent.errors import ExitCode


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "version", help="print the version", description=run.__doc__, example="sse-agent version"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the version of the program that this is; that of a running agent is in `status`."""
    if options.json:
        print_json({"version": sse_agent.__version__, "python": platform.python_version()})
    else:
        print_lines([sse_agent.__version__])
    return int(ExitCode.STOPPED)
