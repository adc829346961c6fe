"""`run`: the agent itself."""

import argparse
import faulthandler
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sse_agent import bugs, config
from sse_agent.cli.arguments import Subcommands, add_settings, given
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart, ExitCode

if TYPE_CHECKING:
    from sse_agent.agent import View


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "run",
        help="run the agent",
        description=run.__doc__,
        epilog="Ctrl-C or SIGTERM stops it: what is under way goes on at the next start. Exit code 0 when it was "
        "stopped; 75 not now, 77 not permitted, 78 wrong settings: docs/reference/exit-codes.md.",
        example="sse-agent run --headless --log-format text --log-level debug",
    )
    parser.add_argument("--headless", action="store_true", help="no console: one line an event on standard error")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the agent: in the console on a terminal, else with log lines on standard error."""
    settings = config.load(given(options), options.settings_file)
    unknown = config.unknown(config.settings_files(options.settings_file))
    clock = SystemClock()
    # Here, so that who asks for the status need not load everything that runs, nor a headless agent what draws.
    import anyio

    from sse_agent import agent, views

    if sys.stderr is not None:
        # A supervisor whose watchdog was not fed sends SIGABRT: then every thread says where it stands, without values.
        with suppress(OSError, ValueError):
            faulthandler.enable()
    # A service manager may have closed them.
    has_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    view: View = (
        views.LinesView(clock, settings.log_format, settings.log_level)
        if options.headless or not has_terminal
        else views.ConsoleView(clock)
    )
    try:
        with bugs.told_without_words():
            anyio.run(agent.run, settings, clock, view, unknown)
    except BaseExceptionGroup as group:
        cannot_start = group.subgroup(CannotStart)
        if cannot_start is None:
            raise
        raise _first(cannot_start) from None
    return int(ExitCode.STOPPED)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
