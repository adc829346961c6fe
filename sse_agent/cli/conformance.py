"""`conformance`: what a control plane keeps of the contract, and what it breaks."""

import argparse
import ssl
from pathlib import Path
from typing import Any

import anyio

from sse_agent import config
from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_json, print_lines, shown_text
from sse_agent.clock import SystemClock
from sse_agent.conformance.check import State, Verdict
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import Name
from sse_agent.printable import wrapped

BROKEN = 1
WIDTH = 100
INDENT = " " * 4
STYLES = {State.PASSED: "green", State.BROKEN: "bold red", State.NOT_RUN: "yellow"}
WORDS = {State.PASSED: "ok", State.BROKEN: "broken", State.NOT_RUN: "not run"}
SERVICE_TOKEN = "SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN"  # noqa: S105 - the name of a variable


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "conformance",
        help="check any control plane against the contract",
        example="sse-agent conformance https://control.example.com --client-id probe-1",
        description=run.__doc__,
        epilog="Exit code 0 if nothing is broken, 1 if something is, 75 if nothing answers there, 78 if an argument is "
        "wrong. Queues commands for this agent and reports messages for it: name one that is there for nothing else.",
    )
    parser.add_argument("url", metavar="URL", help="the control plane's address; https, or http to this machine")
    parser.add_argument("--client-id", metavar="ID", help="the agent to speak for (or SSE_AGENT_CLIENT_ID)")
    for name, variable in (("agent", "SSE_AGENT_TOKEN"), ("service", SERVICE_TOKEN)):
        parser.add_argument(
            f"--{name}-token-file", type=Path, metavar="FILE", help=f"the {name}'s bearer token (or {variable})"
        )
    parser.add_argument(
        "--second-client-id", metavar="ID", help="another agent that exists, for checks of mixed-up ones"
    )
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM file of certificates to trust as well")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a check or a group of them; any number of times"
    )
    parser.add_argument(
        "--fill-queue",
        type=_count,
        default=0,
        metavar="N",
        help="queue up to so many commands to see what a full queue does; not tried without",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="what a slow line may add to the contract's times",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the checks and what the contract says; check nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for programs")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError("expected a whole number up to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or not 0 <= float(text) <= 60:
        raise argparse.ArgumentTypeError("expected seconds, from 0 to 60")
    return float(text)


def run(options: argparse.Namespace) -> int:
    """Speak to a control plane as an agent and as a service, and say which sentences of the contract it breaks."""
    # Here, so that the other subcommands need not load everything that speaks HTTP.
    from sse_agent.conformance import run as conformance

    try:
        checks = conformance.chosen(options.only)
    except KeyError as unknown:
        message = f"--only: no check and no group is called {shown_text(str(unknown.args[0])[:80])}; see --list"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    if options.list:
        print_lines(f"{check.name}: {check.contract}" for check in checks)
        return int(ExitCode.STOPPED)
    found: list[Verdict] = []
    teller = _Silent() if options.json else _Table()

    def tell(verdict: Verdict) -> None:
        found.append(verdict)
        teller.tell(verdict)

    url, trust, speakers = _url(options.url), _trust(options.ca_file), _speakers(options)
    try:
        anyio.run(conformance.run, url, trust, speakers, checks, SystemClock(), tell)
    except conformance.Unreachable as why:
        raise CannotStart(f"nothing answers at {shown_text(url)}: {shown_text(str(why))}", ExitCode.TRY_AGAIN) from None
    is_kept = not any(verdict.state is State.BROKEN for verdict in found)
    if options.json:
        print_json({"ok": is_kept, "checks": [_object(verdict) for verdict in found]})
    else:
        teller.end(found)
    return int(ExitCode.STOPPED) if is_kept else BROKEN


# --- what is asked ----------------------------------------------------------------------------------


def _url(text: str) -> str:
    try:
        return str(config.parse("control_plane_url", text)).rstrip("/")
    except ValueError as wrong:
        raise CannotStart(f"URL: {wrong}", ExitCode.WRONG_CONFIGURATION) from None


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    from sse_agent.transport import trust

    return trust(ca_file)


def _speakers(options: argparse.Namespace) -> Any:
    from sse_agent.conformance.kit import Options
    from sse_agent.conformance.peer import Token

    client_id = options.client_id or config.environment("SSE_AGENT_CLIENT_ID")
    agent_token = _secret(options.agent_token_file, "SSE_AGENT_TOKEN")
    service_token = _secret(options.service_token_file, SERVICE_TOKEN)
    if not client_id or agent_token is None:
        message = "whose agent? name it with --client-id, and its token with --agent-token-file (or SSE_AGENT_TOKEN)"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    for name in filter(None, (client_id, options.second_client_id)):
        if not _is_name(name):
            message = "a client ID is 1 to 128 letters, digits and . _ ~ -"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return Options(
        client_id=client_id,
        agent_token=Token("the agent", agent_token),
        service_token=Token("the service", service_token) if service_token else None,
        second_client_id=options.second_client_id,
        grace_s=options.grace,
        fill_queue=options.fill_queue,
    )


def _is_name(text: str) -> bool:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True


def _secret(file: Path | None, variable: str) -> str | None:
    """From a file or the environment; never from an argument. Raises CannotStart."""
    if file is None:
        text = config.environment(variable)
        where = variable
    else:
        where = str(file)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            message = f"the token file {shown_text(where)} can't be read: {why}"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    token = (text or "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        message = f"{shown_text(where)}: a token is visible ASCII characters, without spaces"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return token or None


# --- what is told -----------------------------------------------------------------------------------


class _Silent:
    """For programs."""

    def tell(self, _: Verdict) -> None:
        """Nothing yet."""

    def end(self, _: list[Verdict]) -> None:
        """Nothing, either."""


class _Table:
    """For people: a line for each check as it is done; then, of what is broken, what was sent and what came."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=False)
        self._group = ""

    def tell(self, verdict: Verdict) -> None:
        """A row."""
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1), expand=False)
        row.add_column(width=7)
        row.add_column(width=24, no_wrap=True)
        row.add_column(overflow="fold")
        words = verdict.check.contract if verdict.state is State.PASSED else verdict.why
        if verdict.check.group != self._group:
            self._group = verdict.check.group
            self._console.print(Text(f"\n{self._group}", style="bold"))
        name = verdict.check.name.partition(".")[2]
        style = STYLES[verdict.state]
        row.add_row(Text(WORDS[verdict.state], style=style), Text(name), Text(shown_text(words)))
        self._console.print(row)

    def end(self, found: list[Verdict]) -> None:
        """What is broken in full, and how many there are of each."""
        from rich.text import Text

        for verdict in found:
            if verdict.state is State.BROKEN:
                self._explain(verdict)
        counts = {state: sum(verdict.state is state for verdict in found) for state in State}
        words = ", ".join(f"{count} {WORDS[state]}" for state, count in counts.items() if count)
        self._console.print(Text(f"\n{words or 'nothing was checked'}", style="bold"))

    def _explain(self, verdict: Verdict) -> None:
        from rich.text import Text

        self._console.print(Text(f"\n{verdict.check.name}", style=STYLES[State.BROKEN]))
        self._paragraph("contract", verdict.check.contract)
        self._paragraph("found", verdict.why)
        for exchange in verdict.exchanges:
            self._paragraph("sent", exchange.sent)
            self._paragraph("came", exchange.came)

    def _paragraph(self, title: str, words: str) -> None:
        from rich.text import Text

        lines = [part for line in words.split("\n") for part in wrapped(shown_text(line), WIDTH)]
        for number, line in enumerate(lines):
            head = f"{title:>10}  " if not number else " " * 12
            self._console.print(Text(head + line), soft_wrap=True)


def _object(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.check.name,
        "contract": verdict.check.contract,
        "state": str(verdict.state),
        "found": verdict.why,
        "exchanges": [{"sent": exchange.sent, "came": exchange.came} for exchange in verdict.exchanges],
    }
