"""`outbox`: messages that the control plane refused for good."""

import argparse

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import ask
from sse_agent.cli.tables import print_json, print_lines, print_table, row_count
from sse_agent.errors import CannotStart, ExitCode


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser("outbox", help="list dead letters, and send them again")
    deeds = parser.add_subparsers(metavar="WHAT", required=True)
    listed = deeds.add_parser("list", help="list dead letters, oldest first", description=list_.__doc__)
    listed.add_argument("--limit", type=row_count, default=100, metavar="N", help="at most so many (100)")
    listed.set_defaults(run=list_)
    retried = deeds.add_parser("retry", help="send dead letters again", description=retry.__doc__)
    retried.add_argument("message_ids", nargs="*", metavar="MESSAGE_ID")
    retried.add_argument("--all", action="store_true", help="all of them")
    retried.set_defaults(run=retry)
    for subparser in deeds.choices.values():
        add_place(subparser)


def list_(options: argparse.Namespace) -> int:
    """List messages that the control plane refused for good, and why."""
    found = ask(state_dir(options), "dead-letters", limit=options.limit)["deadLetters"]
    if options.json:
        print_json({"deadLetters": found})
    elif not found:
        print_lines(["no dead letters"])
    else:
        rows = [(one["messageId"], one["type"], one["timestamp"], one["refusal"]) for one in found]
        print_table(("MESSAGE ID", "TYPE", "FROM", "WHY"), rows)
    return int(ExitCode.STOPPED)


def retry(options: argparse.Namespace) -> int:
    """Send dead letters to the control plane again, once whatever made it refuse them is mended."""
    if options.all == bool(options.message_ids):
        raise CannotStart("name the messages by their IDs, or --all", ExitCode.WRONG_CONFIGURATION)
    what = {"all": True} if options.all else {"messageIds": options.message_ids}
    revived = ask(state_dir(options), "send-dead-letters", **what)["count"]
    if options.json:
        print_json({"count": revived})
    else:
        print_lines([f"{revived:,} to be sent again"])
    return int(ExitCode.STOPPED)
