"""`status`: how the agent is."""

import argparse
from typing import Any

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import ask
from sse_agent.cli.tables import columns, file_name, print_json, print_lines, shown_text
from sse_agent.errors import ExitCode
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, byte_share, duration, next_try

NOT_RUNNING = 3
"""As of `systemctl status`."""
STATES = (
    UploadState.UPLOADING,
    UploadState.WAITING,
    UploadState.QUEUED,
    UploadState.PAUSED,
    UploadState.FAILED,
    UploadState.COMPLETE,
    UploadState.CANCELLED,
)


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "status",
        help="how the agent is",
        description=run.__doc__,
        epilog="Exit code 0 if the agent runs, 3 if not.",
        example="sse-agent status --state-dir /var/lib/sse-agent",
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show how the running agent is; when none runs, what its journal says."""
    status = ask(state_dir(options), "status")["status"]
    if options.json:
        print_json(status)
    else:
        print_lines(lines(status))
    return int(ExitCode.STOPPED) if status["running"] else NOT_RUNNING


def lines(status: dict[str, Any]) -> list[str]:
    """For people."""
    return [*_head(status), *_uploads(status), *_outbox(status)]


def _head(status: dict[str, Any]) -> list[str]:
    client = shown_text(status["clientId"])
    if not status["running"]:
        return [f"{client}: no agent runs; this is what its journal says"]
    connection = status["connection"]
    how = f"{connection['state']} for {duration(connection['seconds'])}"
    if connection["state"] == "connected" and connection["transport"]:
        how += f" ({connection['transport']})"
    elif connection["reason"]:
        how += f": {shown_text(connection['reason'])}"
    if connection["nextTrySeconds"] is not None:
        how += f"; {next_try(connection['nextTrySeconds'])}"
    return [
        f"{client}: sse-agent {status['version']}, running for {duration(status['seconds'])}",
        f"  control plane  {shown_text(status['controlPlane'])}",
        f"                 {how}",
        *(f"  trouble        {shown_text(text)}" for text in status["troubles"]),
    ]


def _uploads(status: dict[str, Any]) -> list[str]:
    counts = status["uploads"]
    line = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts.get(state)) or "none"
    if status["queuedBytes"]:
        line += f"; {byte_count(status['queuedBytes'])} to send"
    if status["running"] and counts.get(UploadState.UPLOADING):
        line += f", {byte_count(status['rate'])}/s"
    active = columns([_row(upload) for upload in status.get("active", [])], right=(0, 1, 2, 3))
    return [f"  uploads        {line}", *(f"    {row}" for row in active)]


def _row(upload: dict[str, Any]) -> tuple[str, ...]:
    size, sent = upload["fileSize"], upload["bytesSent"]
    left = f"{duration(upload['etaSeconds'])} left" if upload["etaSeconds"] is not None else ""
    # An agent of an older version does not say it.
    if upload.get("stalledSeconds") is not None:
        left = f"no bytes for {duration(upload['stalledSeconds'])}"
    elif upload.get("confirmingSeconds") is not None:
        left = f"waiting for confirmation {duration(upload['confirmingSeconds'])}"
    # Never 100 % before it is over.
    percent = f"{min(99, sent * 100 // size)} %" if size else "0 %"
    return percent, byte_share(sent, size), f"{byte_count(upload['rate'])}/s", left, file_name(upload)


def _outbox(status: dict[str, Any]) -> list[str]:
    outbox = status["outbox"]
    lines = [f"  outbox         {_counted(outbox['pending'], 'message')} to send"]
    if outbox["dead"]:
        lines.append(f"                 {_counted(outbox['dead'], 'dead letter')}: sse-agent outbox list")
    return lines


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
