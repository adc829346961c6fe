"""`outbox`: messages that the control plane refused for good."""

import argparse
import sys
from pathlib import Path
from typing import Any

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import ask
from sse_agent.cli.local_time import local_time
from sse_agent.cli.tables import print_json, print_lines, print_table, row_count, shown_text
from sse_agent.clock import SystemClock
from sse_agent.desk import LISTED_AT_ONCE
from sse_agent.errors import CannotStart, ErrorCode, ExitCode

NOT_DONE = 1
"""A message that was named is no dead letter."""


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    words = "list dead letters, and send them again"
    about = "Dead letters, the messages that the control plane refused for good: list them, and send them again."
    parser = commands.add_parser("outbox", help=words, description=about, example="sse-agent outbox list")
    deeds = parser.add_subparsers(metavar="WHAT", required=True)
    listed = deeds.add_parser(
        "list", help="list dead letters, oldest first", description=list_.__doc__, example="sse-agent outbox list"
    )
    listed.add_argument("--limit", type=row_count, default=100, metavar="N", help="at most so many (default: 100)")
    listed.set_defaults(run=list_)
    retried = deeds.add_parser(
        "retry", help="send dead letters again", description=retry.__doc__, example="sse-agent outbox retry --all"
    )
    retried.add_argument("message_ids", nargs="*", metavar="MESSAGE_ID", help="as `outbox list` shows it")
    retried.add_argument("--all", action="store_true", help="all of them")
    retried.set_defaults(run=retry)
    for subparser in deeds.choices.values():
        add_place(subparser)


def list_(options: argparse.Namespace) -> int:
    """List messages that the control plane refused for good, and why."""
    answer = ask(state_dir(options), "dead-letters", limit=options.limit)
    found = answer["deadLetters"]
    # Of an agent that was started before an upgrade it is not known.
    is_complete = answer.get("isComplete", True)
    if options.json:
        print_json({"deadLetters": found, "isComplete": is_complete})
    elif not found:
        print_lines(["no dead letters"])
    else:
        now = SystemClock().now()
        rows = [(one["messageId"], one["type"], local_time(one["timestamp"], now), one["refusal"]) for one in found]
        print_table(("MESSAGE ID", "TYPE", "FROM", "WHY"), rows)
        if not is_complete:
            print_lines([_more(options.limit)])
    return int(ExitCode.STOPPED)


def _more(limit: int) -> str:
    if limit >= LISTED_AT_ONCE:
        return f"... and more: {LISTED_AT_ONCE:,} are listed at most"
    return f"... and more: --limit {min(limit * 10, LISTED_AT_ONCE)}"


def retry(options: argparse.Namespace) -> int:
    """Send dead letters to the control plane again, once whatever made it refuse them is mended."""
    if options.all == bool(options.message_ids):
        raise CannotStart("name the messages by their IDs, or --all", ExitCode.WRONG_CONFIGURATION)
    place = state_dir(options)
    refused: list[str] = []
    if options.all:
        count: int = ask(place, "send-dead-letters", all=True)["count"]
    else:
        count, refused = _one_by_one(place, list(dict.fromkeys(options.message_ids)))
    if options.json:
        print_json({"count": count, "refused": [_refusal(one) for one in refused]})
    else:
        if count or not refused:
            print_lines([f"{count:,} to be sent again" if count else "no dead letters"])
        for one in refused:
            message = f"{shown_text(one)}: no dead letter has this ID; `sse-agent outbox list` shows those there are"
            print(message, file=sys.stderr)
    return NOT_DONE if refused else int(ExitCode.STOPPED)


def _one_by_one(place: Path, message_ids: list[str]) -> tuple[int, list[str]]:
    """How many are sent again, and the IDs of no dead letter: an answer has only a number."""
    refused = [one for one in message_ids if not ask(place, "send-dead-letters", messageIds=[one])["count"]]
    return len(message_ids) - len(refused), refused


def _refusal(message_id: str) -> dict[str, Any]:
    return {"messageId": message_id, "code": str(ErrorCode.NOT_FOUND), "message": "no dead letter has this ID"}
