"""`version`."""

import argparse

import sse_agent
from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_lines
from sse_agent.errors import ExitCode


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "version", help="print the version", description=run.__doc__, example="sse-agent version"
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print the version of the program that this is; that of a running agent is in `status`."""
    print_lines([sse_agent.__version__])
    return int(ExitCode.STOPPED)
