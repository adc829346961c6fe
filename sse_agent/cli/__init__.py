"""Arguments and settings in, exit code out."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import anyio

import sse_agent
from sse_agent import agent, bugs, config
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart, ExitCode


def main(arguments: Sequence[str] | None = None) -> int:
    """`sse-agent …`. Returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        result: int = options.run(options)
    except CannotStart as wrong:
        print(f"sse-agent: {wrong}", file=sys.stderr)
        return int(wrong.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.STOPPED)
    except Exception as bug:  # noqa: BLE001 - the last who can say so
        print(bugs.report(bug), file=sys.stderr)
        print("sse-agent: this is a bug in the agent; its journal is whole, start it again", file=sys.stderr)
        return int(ExitCode.TRY_AGAIN)
    return result


class _Parser(argparse.ArgumentParser):
    """A wrong argument is a wrong setting, and no shorter form of a flag is one."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        raise CannotStart(f"{_without_values(message)}\n{self.format_usage().rstrip()}", ExitCode.WRONG_CONFIGURATION)


def _without_values(message: str) -> str:
    """What was typed in the wrong place may be a secret, and this goes into a service's log: only flags are named."""
    unknown = re.match(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if unknown is None:
        return re.sub(r":? '.*'(?= \(choose from|$)", "", message, flags=re.DOTALL)
    flags = [word for word in re.split(r"[\s=]+", unknown[1]) if re.fullmatch(r"--[a-z]+(-[a-z]+)*", word)]
    for flag in flags:
        name = flag.removeprefix("--").replace("-", "_")
        if name in config.SECRETS:
            return f"{flag} is no flag: others could read it; set {config.PREFIX}{name.upper()}"
    return f"unrecognized arguments: {' '.join(flags) or 'words that are no flags'}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sse-agent", description="Carries files from this machine to a tus server, as its control plane asks."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", help="run the agent", description=run.__doc__))
    plane = commands.add_parser("control-plane", help="run the reference control plane", add_help=False)
    plane.set_defaults(run=control_plane)
    commands.add_parser("version", help="print the version").set_defaults(run=version)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--headless", action="store_true", help="no console: one line an event on standard error")
    parser.add_argument("--settings-file", type=Path, metavar="FILE", help="a TOML file of settings")
    group = parser.add_argument_group("settings", "Each is also a variable: --client-id is SSE_AGENT_CLIENT_ID.")
    for name, field in config.Settings.model_fields.items():
        if name not in config.SECRETS:
            group.add_argument(f"--{name.replace('_', '-')}", dest=f"set_{name}", metavar="…", help=field.description)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the agent: in the console on a terminal, else with log lines on standard error."""
    given = {name.removeprefix("set_"): value for name, value in vars(options).items() if name.startswith("set_")}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = config.load(flags, options.settings_file)
    clock = SystemClock()
    # Imported here, so that a headless agent never loads what draws.
    from sse_agent import views

    # A service manager may have closed them.
    has_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    view: agent.View = (
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
