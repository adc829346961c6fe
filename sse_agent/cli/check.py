"""`check`: what would keep the agent from working, found before it is started."""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sse_agent import config
from sse_agent.checks.report import Check, State, failed
from sse_agent.cli import asking
from sse_agent.cli.arguments import Subcommands, add_settings, given
from sse_agent.cli.tables import print_json, print_lines, shown_text, width
from sse_agent.clock import SystemClock
from sse_agent.config import Settings
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.printable import wrapped

FAILED = 1
INDENT = " " * 9
COLOURS = {State.OK: "32", State.WARNING: "33", State.FAILED: "31"}


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "check",
        help="check settings, folders, clock, network and servers",
        description=run.__doc__,
        epilog="Exit code 0 if nothing failed (warnings are no failures), 1 if something did, 78 if the settings "
        "themselves are wrong. Takes a minute at most, and changes nothing.",
        example="sse-agent check --json",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for programs")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything that the agent needs, and say of each part whether it is ok or what to do."""
    try:
        settings = config.load(given(options), options.settings_file)
    except CannotStart as wrong:
        if options.json:
            print_json(_object([Check("settings", State.FAILED, str(wrong), "correct the settings")]))
            return int(wrong.exit_code)
        raise
    found = carry_out(settings, config.settings_files(options.settings_file))
    if options.json:
        everything = list(found)
        print_json(_object(everything))
        has_failed = any(check.has_failed for check in everything)
    else:
        has_failed = tell(found)
    return FAILED if has_failed else int(ExitCode.STOPPED)


def carry_out(settings: Settings, files: list[Path]) -> Iterator[Check]:
    """Every check, each as soon as it is known."""
    # Here, so that the other subcommands need not load everything that speaks to servers.
    from sse_agent.checks import all as checks

    status = None
    try:
        status = _running(settings)
    except CannotStart as wrong:
        what, _, advice = str(wrong).partition(": ")
        yield failed("running agent", what, advice or "try again; if it stays so, stop it and start it again")
    yield from checks.run(settings, files, status, SystemClock())


def _running(settings: Settings) -> dict[str, Any] | None:
    """The status of the agent that runs there."""
    answer = asking.from_agent(settings.state_dir, json.dumps({"do": "status"}).encode() + b"\n")
    return answer["status"] if answer and answer.get("ok") else None


def _object(found: list[Check]) -> dict[str, Any]:
    return {"checks": [asdict(check) for check in found], "ok": not any(check.has_failed for check in found)}


def tell(found: Iterable[Check]) -> bool:
    """Print each check as it comes, and what there is to do. True if one failed."""
    counts = dict.fromkeys(State, 0)
    for check in found:
        counts[check.state] += 1
        print_lines(_lines(check))
    if not counts[State.FAILED] and not counts[State.WARNING]:
        print_lines(["", "all ok"])
    else:
        names = {State.FAILED: "failed", State.WARNING: "with a warning", State.OK: "ok"}
        print_lines(["", ", ".join(f"{counts[state]} {name}" for state, name in names.items() if counts[state])])
    return bool(counts[State.FAILED])


def _lines(check: Check) -> list[str]:
    sentence = wrapped(shown_text(f"{check.name}: {check.found}"), _width())
    lines = [_coloured(check.state) + sentence[0], *(INDENT + line for line in sentence[1:])]
    if check.advice:
        advice = wrapped(shown_text(check.advice), _width() - 4)
        lines += [f"{INDENT}do: {advice[0]}", *(f"{INDENT}    {line}" for line in advice[1:])]
    return lines


def _coloured(state: State) -> str:
    padding = " " * (len(INDENT) - len(state))
    is_plain = width() is None or config.environment("NO_COLOR") or config.environment("TERM") == "dumb"
    return f"{state}{padding}" if is_plain else f"\x1b[{COLOURS[state]}m{state}\x1b[0m{padding}"


def _width() -> int:
    """Cells for words beside the first column; a file has no width."""
    cells = width()
    return 10_000 if cells is None else max(40, cells - len(INDENT))
