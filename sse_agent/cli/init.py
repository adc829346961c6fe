"""`init`: from a clean machine to settings that work: asks, writes the settings file, checks, says what comes next."""

import argparse
import shutil
import stat
import sys
from pathlib import Path

from sse_agent import config
from sse_agent.cli import answers, check, settings_file
from sse_agent.cli.arguments import Subcommands, add_settings
from sse_agent.cli.tables import shown_text
from sse_agent.errors import CannotStart, ExitCode


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "init",
        help="ask for the settings, write them into a file, and check them",
        description=run.__doc__,
        epilog="What flags and variables say is not asked for. The token is typed, or comes from SSE_AGENT_TOKEN or "
        "--token-file. On a terminal a settings file that is there already is replaced after a question, and its "
        "values are proposed. Exit code as that of `check`.",
        example="sse-agent init --client-id warehouse-7 --token-file /run/secrets/sse-agent",
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing: take what has a default, fail on the rest")
    parser.add_argument("--force", action="store_true", help="replace a settings file; the old one is kept as .bak")
    parser.add_argument("--token-file", metavar="FILE", help="a file with the token alone; - is standard input")
    parser.add_argument("--tus-token-file", metavar="FILE", help="the same for the tus server's token")
    add_settings(parser, [*answers.ASKED, *answers.REST])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the few questions, write a commented settings file that only you can read, and check what it says."""
    path = _in_full(config.settings_file_place(options.settings_file))
    can_ask = not options.yes and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    try:
        if not options.force and (config.is_there(path) or path.exists()):
            _replace_or_leave(path, can_ask=can_ask)
        values = answers.Answers(options, path, can_ask=can_ask).all()
    except (EOFError, KeyboardInterrupt):
        print()
        raise CannotStart("nothing was written", ExitCode.WRONG_CONFIGURATION) from None
    try:
        content = settings_file.text(values)
    except ValueError as error:
        raise CannotStart(f"nothing was written: {error}", ExitCode.WRONG_CONFIGURATION) from None
    config.make_state_dir(values["state_dir"])
    kept = settings_file.write(path, content, is_anew=True)
    if kept is not None:
        print(f"The old settings are kept in {shown_text(str(kept))}.")
    print(f"The settings are in {shown_text(str(path))}, which {_readers(path)} can read. Checking them:\n")
    has_failed = check.tell(check.carry_out(config.load({}, path), config.settings_files(path)))
    _say_what_comes_next(path, has_failed=has_failed)
    return check.FAILED if has_failed else int(ExitCode.STOPPED)


def _readers(path: Path) -> str:
    return "only its owner and its group" if path.stat().st_mode & stat.S_IRGRP else "only you"


def _in_full(path: Path) -> Path:
    try:
        return path.absolute()
    except OSError:
        message = f"there is no place for {path}: the present folder is gone; begin in one that is there"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None


def _replace_or_leave(path: Path, *, can_ask: bool) -> None:
    """Raises CannotStart if the settings that are there stay."""
    if not can_ask:
        message = f"{path} is there already; --force replaces it, and keeps it as {path.name}.bak"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    print(
        f"{shown_text(str(path))} is there already. Its values are proposed; the old file is kept as {path.name}.bak."
    )
    if not answers.is_yes("Write it anew?", is_default=False):
        raise CannotStart(f"nothing was written; {path} is as it was", ExitCode.WRONG_CONFIGURATION)


def _say_what_comes_next(path: Path, *, has_failed: bool) -> None:
    where = "" if path == _in_full(config.settings_file_place()) else f" --settings-file {shown_text(str(path))}"
    if has_failed:
        print(f"\nMend what failed, then check again:\n  {_program()} check{where}")
    print(f"\nNext, in a terminal:\n  {_program()} run{where}")
    print(f"As a service (docs/how-to/run-as-a-service.md):\n  {_program()} run --headless{where}")


def _program() -> str:
    """As this one was called, if the short name would not find it."""
    called = Path(sys.argv[0])
    if called.name != "sse-agent":
        return "python -m sse_agent"
    found = shutil.which("sse-agent")
    is_found = found is not None and called.exists() and Path(found).samefile(called)
    return "sse-agent" if is_found else shown_text(str(called))
