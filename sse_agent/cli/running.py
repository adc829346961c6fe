"""`run`, `control-plane`, `version`; and `completion`, which speaks of all the others."""

import argparse
import faulthandler
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import sse_agent
from sse_agent import bugs, config
from sse_agent.cli import completion, link
from sse_agent.cli.arguments import Subcommands, add_settings, given
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart, ExitCode

if TYPE_CHECKING:
    from sse_agent.agent import View


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser("run", help="run the agent", description=run.__doc__)
    parser.add_argument("--headless", action="store_true", help="no console: one line an event on standard error")
    add_settings(parser)
    parser.set_defaults(run=run)
    plane = commands.add_parser("control-plane", help="run the reference control plane", add_help=False)
    plane.set_defaults(run=control_plane)
    link.add(plane.add_subparsers(metavar="DEED"))
    commands.add_parser("version", help="print the version").set_defaults(run=version)
    completion.add(commands)


def run(options: argparse.Namespace) -> int:
    """Run the agent: in the console on a terminal, else with log lines on standard error."""
    settings = config.load(given(options), options.settings_file)
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
            anyio.run(agent.run, settings, clock, view)
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


def control_plane(_: argparse.Namespace) -> int:
    """Run the reference control plane (the extra `control-plane` of the package)."""
    try:
        from sse_agent.control_plane import server
    except ImportError as error:
        message = f"the control plane is an extra: pip install 'sse-agent[control-plane]' ({error.name} is missing)"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    return server.main()


def version(_: argparse.Namespace) -> int:
    """Print the version."""
    print(sse_agent.__version__)
    return int(ExitCode.STOPPED)
