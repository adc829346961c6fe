"""`status`: how the agent is."""

import argparse
from typing import Any

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import ask
from sse_agent.cli.tables import print_json, shown_text
from sse_agent.errors import ExitCode
from sse_agent.printable import byte_count, duration

NOT_RUNNING = 3
"""As of `systemctl status`."""
STATES = ("uploading", "waiting", "queued", "paused", "failed", "complete", "cancelled")


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "status", help="how the agent is", description=run.__doc__, epilog="Exit code 0 if the agent runs, 3 if not."
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show how the running agent is; when none runs, what its journal says."""
    status = ask(state_dir(options), "status")["status"]
    if options.json:
        print_json(status)
    else:
        for line in lines(status):
            print(line)
    return int(ExitCode.STOPPED) if status["running"] else NOT_RUNNING


def lines(status: dict[str, Any]) -> list[str]:
    """For people."""
    return [*_head(status), *_uploads(status), *_outbox(status)]


def _head(status: dict[str, Any]) -> list[str]:
    client = shown_text(status["clientId"])
    if not status["running"]:
        return [f"{client}: no agent runs; this is what its journal says"]
    connection = status["connection"]
    since = duration(connection["seconds"])
    how = f"{connection['state']} for {since}"
    if connection["state"] == "connected":
        how += f" ({connection['transport']})"
    elif connection["reason"]:
        how += f": {shown_text(connection['reason'])}"
    if connection["nextTrySeconds"] is not None:
        how += f"; next try in {duration(connection['nextTrySeconds'])}"
    return [
        f"{client}: sse-agent {status['version']}, running for {duration(status['seconds'])}",
        f"  control plane  {shown_text(status['controlPlane'])}: {how}",
        *(f"  trouble        {shown_text(text)}" for text in status["troubles"]),
    ]


def _uploads(status: dict[str, Any]) -> list[str]:
    counts = status["uploads"]
    parts = [f"{counts[state]:,} {state}" for state in STATES if counts.get(state)]
    if status["queuedBytes"]:
        parts.append(f"{byte_count(status['queuedBytes'])} to go")
    shown = [f"  uploads        {', '.join(parts) or 'none'}"]
    if status["running"] and counts.get("uploading"):
        shown[0] += f", {byte_count(status['rate'])}/s"
    for upload in status.get("active", []):
        size, sent = upload["fileSize"], upload["bytesSent"]
        percent = f"{min(99, sent * 100 // size)} %" if size else "0 %"
        left = f", {duration(upload['etaSeconds'])} left" if upload["etaSeconds"] is not None else ""
        shown.append(
            f"    {percent:>4}  {byte_count(sent)} of {byte_count(size)}, {byte_count(upload['rate'])}/s{left}"
            f"  {shown_text(upload['fileName'])}"
        )
    return shown


def _outbox(status: dict[str, Any]) -> list[str]:
    outbox = status["outbox"]
    dead = f", {outbox['dead']:,} dead letters (sse-agent outbox list)" if outbox["dead"] else ""
    return [f"  outbox         {outbox['pending']:,} messages wait to be sent{dead}"]
