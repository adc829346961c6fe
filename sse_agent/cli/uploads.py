"""`uploads`: list them, look at one, pause, resume, retry, cancel."""

import argparse
import sys
from pathlib import Path
from typing import Any

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import ask
from sse_agent.cli.tables import columns, print_json, print_lines, print_table, row_count, shown_text
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count

PAGE = 500
NOT_DONE = 1
"""Some of it was refused, or the person said no."""
WORDS = {
    "pause": "pause uploads; the control plane can resume them, and this machine's console shows who did",
    "resume": "resume paused uploads, or failed ones that can go on",
    "retry": "try failed uploads again, and waiting ones at once",
    "cancel": "cancel uploads for good, and delete what the tus server has of them",
}


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser("uploads", help="list, show, pause, resume, retry, cancel uploads")
    deeds = parser.add_subparsers(metavar="WHAT", required=True)
    listed = deeds.add_parser("list", help="list uploads, oldest first", description=list_.__doc__)
    listed.add_argument("--state", action="append", choices=list(UploadState), help="only those in this state")
    listed.add_argument("--name", default="", metavar="TEXT", help="only those whose name contains this")
    listed.add_argument("--limit", type=row_count, default=100, metavar="N", help="at most so many (100)")
    listed.set_defaults(run=list_)
    one = deeds.add_parser("show", help="show one upload and its last attempts", description=show.__doc__)
    one.add_argument("file_id", metavar="FILE_ID")
    one.set_defaults(run=show)
    for name, words in WORDS.items():
        deed = deeds.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        deed.add_argument("file_ids", nargs="*", metavar="FILE_ID")
        if name == "cancel":
            deed.add_argument("--yes", action="store_true", help="do not ask")
        else:
            deed.add_argument("--all", action="store_true", help="all that it can be done to")
        deed.set_defaults(run=do, deed=name)
    for subparser in deeds.choices.values():
        add_place(subparser)


def list_(options: argparse.Namespace) -> int:
    """List uploads, oldest first."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None and len(found) < options.limit:
        wanted = min(PAGE, options.limit - len(found))
        page = ask(
            state_dir(options),
            "uploads",
            states=options.state or [],
            contains=options.name,
            after=after,
            limit=wanted,
        )
        found, after = [*found, *page["uploads"]], page["next"]
    if options.json:
        print_json({"uploads": found, "isComplete": after is None})
        return int(ExitCode.STOPPED)
    if not found:
        print_lines(["no uploads"])
        return int(ExitCode.STOPPED)
    print_table(("FILE ID", "STATE", "CONFIRMED", "OF", "NAME"), [_row(upload) for upload in found], right=(2, 3))
    if after is not None:
        print_lines([f"... and more: --limit {options.limit * 10}"])
    return int(ExitCode.STOPPED)


def _row(upload: dict[str, Any]) -> tuple[str, ...]:
    size = upload["fileSize"]
    name = upload["fileName"]
    why = upload["reason"] or (f"{upload['code']}: {upload['message']}" if upload["code"] else "")
    why = "paused at this machine" if upload["state"] == "paused" and upload["pausedHere"] else why
    shown = f"{name}  ({why})" if why else name
    offset = byte_count(upload["offset"])
    return upload["fileId"], upload["state"], offset, byte_count(size) if size is not None else "?", shown


def show(options: argparse.Namespace) -> int:
    """Show one upload, and how its last attempts ended."""
    upload = ask(state_dir(options), "details", fileId=options.file_id)["upload"]
    if options.json:
        print_json(upload)
        return int(ExitCode.STOPPED)
    size = upload["fileSize"]
    facts = {
        "name": upload["fileName"],
        "state": upload["state"] + (" (paused at this machine)" if upload["pausedHere"] else ""),
        "confirmed": f"{byte_count(upload['offset'])} of {byte_count(size) if size is not None else 'unknown'}",
        "reason": upload["reason"] or "",
        "next try": upload["nextTryAt"] or "",
        "error": f"{upload['code']}: {upload['message']}" if upload["code"] else "",
        "can go on": "yes, with `sse-agent uploads retry`" if upload["retryable"] else "",
        "tus server": upload["endpoint"],
        "came": upload["createdAt"],
        "ended": upload["finishedAt"] or "",
    }
    print_lines(columns([(name, value) for name, value in facts.items() if value]))
    if upload["tries"]:
        print_lines([""])
        rows = [
            (one["endedAt"], f"{one['seconds']:.1f} s", byte_count(one["offset"]), one["state"], one["reason"])
            for one in upload["tries"]
        ]
        print_table(("ATTEMPT ENDED", "TOOK", "CONFIRMED", "THEN", "WHY"), rows, right=(1, 2))
    return int(ExitCode.STOPPED)


def do(options: argparse.Namespace) -> int:
    """Pause, resume, retry or cancel."""
    is_all = getattr(options, "all", False)
    if is_all == bool(options.file_ids):
        choice = "" if options.deed == "cancel" else ", or --all"
        raise CannotStart(f"name the uploads by their file IDs{choice}", ExitCode.WRONG_CONFIGURATION)
    place = state_dir(options)
    if options.deed == "cancel" and not options.yes and not _is_sure(place, options.file_ids):
        print_lines(["nothing was cancelled"])
        return NOT_DONE
    what = {"all": True} if is_all else {"fileIds": options.file_ids}
    done = ask(place, options.deed, **what)
    if options.json:
        print_json({"count": done["count"], "refused": done["refused"]})
    else:
        past = {"pause": "paused", "resume": "resumed", "retry": "tried again", "cancel": "cancelled"}[options.deed]
        print_lines([f"{done['count']:,} {past}"])
        for one in done["refused"]:
            print(f"{shown_text(one['fileId'])}: {one['message']} ({one['code']})", file=sys.stderr)
    return NOT_DONE if done["refused"] else int(ExitCode.STOPPED)


def _is_sure(place: Path, file_ids: list[str]) -> bool:
    """Whether the person at the terminal says so, who was shown what it is about."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise CannotStart("cancelling is final: --yes says that you mean it", ExitCode.WRONG_CONFIGURATION)
    for file_id in file_ids:
        upload = ask(place, "details", fileId=file_id)["upload"]
        print_lines([f"{upload['state']}: {shown_text(upload['fileName'])}"])
    try:
        return input("Cancel for good? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, UnicodeDecodeError):
        return False
