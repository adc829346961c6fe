"""`uploads`: list them, look at one, pause, resume, retry, cancel."""

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from sse_agent.cli.arguments import Subcommands, add_place, state_dir
from sse_agent.cli.asking import Refused, ask
from sse_agent.cli.local_time import local_time, next_try
from sse_agent.cli.tables import (
    columns,
    file_name,
    print_json,
    print_lines,
    print_table,
    row_count,
    shown_text,
    width,
)
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart, ErrorCode, ExitCode
from sse_agent.lifecycle import UploadState
from sse_agent.printable import ELLIPSIS, byte_count, duration, shortened_name

PAGE = 500
TITLES, RIGHT = ("FILE ID", "STATE", "CONFIRMED", "OF", "NAME"), (2, 3)
NAME_LEAST = 24
NOT_DONE = 1
"""Some of it was refused, or the person said no."""
WORDS = {
    "pause": "pause uploads; the control plane can resume them, and the console here shows who did",
    "resume": "resume paused uploads; failed ones, too, if they are retryable",
    "retry": "retry failed uploads, and waiting ones at once",
    "cancel": "cancel uploads for good, and delete what the tus server has of them",
}
PAST = {"pause": "paused", "resume": "resumed", "retry": "retried", "cancel": "cancelled"}


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    words = "list, show, pause, resume, retry, cancel uploads"
    example = "sse-agent uploads list --state failed"
    parser = commands.add_parser("uploads", help=words, description=f"{words.capitalize()}.", example=example)
    deeds = parser.add_subparsers(metavar="WHAT", required=True)
    listed = deeds.add_parser("list", help="list uploads, oldest first", description=list_.__doc__, example=example)
    states = [str(state) for state in UploadState]
    words = f"only those in this state, or in one of several if it is there again: {', '.join(states)}"
    listed.add_argument("--state", action="append", choices=states, metavar="STATE", help=words)
    listed.add_argument("--name", default="", metavar="TEXT", help="only those whose name contains this")
    listed.add_argument("--limit", type=row_count, default=100, metavar="N", help="at most so many (default: 100)")
    listed.set_defaults(run=list_)
    words = "show one upload and its last attempts"
    one = deeds.add_parser("show", help=words, description=show.__doc__, example="sse-agent uploads show may-report")
    one.add_argument("file_id", metavar="FILE_ID", help="as `uploads list` shows it")
    one.set_defaults(run=show)
    for name, words in WORDS.items():
        example = f"sse-agent uploads {name} may-report june-report"
        deed = deeds.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.", example=example)
        deed.add_argument("file_ids", nargs="*", metavar="FILE_ID", help="as `uploads list` shows it")
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
    print_table(TITLES, _rows(found, SystemClock().now()), RIGHT)
    if after is not None:
        print_lines([f"... and more: --limit {options.limit * 10}"])
    return int(ExitCode.STOPPED)


def _rows(found: list[dict[str, Any]], now: datetime) -> list[tuple[str, ...]]:
    """On a terminal as wide as that, if the names are what is too long: why one stands still is told whole."""
    heads, names, whys = (
        [_head(one) for one in found],
        [file_name(one) for one in found],
        [_why(one, now) for one in found],
    )
    if (room := width()) is not None:
        # What stands before the names is as wide in the line of the titles as in all others.
        room -= cell_len(columns([TITLES, *((*head, "") for head in heads)], RIGHT)[0]) - len(TITLES[-1])
        names = [_shortened(name, room - cell_len(shown_text(why))) for name, why in zip(names, whys, strict=True)]
    return [(*head, name + why) for head, name, why in zip(heads, names, whys, strict=True)]


def _head(upload: dict[str, Any]) -> tuple[str, ...]:
    size, offset = upload["fileSize"], byte_count(upload["offset"])
    return upload["fileId"], upload["state"], offset, byte_count(size) if size is not None else "?"


def _why(upload: dict[str, Any], now: datetime) -> str:
    why = "; ".join(filter(None, (_reason(upload), _more(upload), next_try(upload["nextTryAt"], now))))
    return f"  ({why})" if why else ""


def _shortened(name: str, room: int) -> str:
    ellipsis = ELLIPSIS if shown_text(ELLIPSIS) == ELLIPSIS else "..."
    return shortened_name(shown_text(name), max(NAME_LEAST, room), ellipsis)


def _reason(upload: dict[str, Any]) -> str:
    return upload["reason"] or (f"{upload['code']}: {upload['message']}" if upload["code"] else "")


def _more(upload: dict[str, Any]) -> str:
    """Who paused it, or whether anything can still become of a failed one."""
    if upload["state"] == UploadState.PAUSED:
        return "paused here" if upload["pausedHere"] else "paused from afar"
    if upload["state"] == UploadState.FAILED:
        return "retryable" if upload["retryable"] else "given up"
    return ""


def show(options: argparse.Namespace) -> int:
    """Show one upload, and how its last attempts ended."""
    upload = _details(state_dir(options), options.file_id)
    if options.json:
        print_json(upload)
        return int(ExitCode.STOPPED)
    now = SystemClock().now()
    size, more = upload["fileSize"], _more(upload)
    if more == "retryable":
        more = f"retryable: sse-agent uploads retry {upload['fileId']}"
    facts = {
        "name": file_name(upload),
        "file ID": upload["fileId"],
        "state": more if upload["state"] == UploadState.PAUSED else upload["state"] + (f" ({more})" if more else ""),
        "confirmed": f"{byte_count(upload['offset'])} of {byte_count(size) if size is not None else 'unknown'}",
        "sent": _sent(upload),
        "reason": upload["reason"] or "",
        "next try": next_try(upload["nextTryAt"], now).removeprefix("next try "),
        "SHA-256": upload.get("sha256") or "",
        "error": f"{upload['code']}: {upload['message']}" if upload["code"] else "",
        "tus server": upload["endpoint"],
        "received": local_time(upload["createdAt"], now),
        "ended": local_time(upload["finishedAt"], now),
    }
    print_lines(columns([(name, value) for name, value in facts.items() if value]))
    if upload["tries"]:
        print_lines([""])
        rows = [
            (
                local_time(one["endedAt"], now),
                f"{one['seconds']:.1f} s",
                byte_count(one["offset"]),
                one["state"],
                one["reason"],
            )
            for one in upload["tries"]
        ]
        print_table(("ATTEMPT ENDED", "TOOK", "CONFIRMED", "THEN", "WHY"), rows, right=(1, 2))
    return int(ExitCode.STOPPED)


def _sent(upload: dict[str, Any]) -> str:
    """How it gets on while it is uploading; an agent of an older version does not say it."""
    if upload["state"] != UploadState.UPLOADING or "bytesSent" not in upload:
        return ""
    left = f", {duration(upload['etaSeconds'])} left" if upload["etaSeconds"] is not None else ""
    return f"{byte_count(upload['bytesSent'])}, {byte_count(upload['rate'])}/s{left}"


def _details(place: Path, file_id: str) -> dict[str, Any]:
    try:
        upload: dict[str, Any] = ask(place, "details", fileId=file_id)["upload"]
    except Refused as refused:
        if refused.code != ErrorCode.NOT_FOUND:
            raise
        raise CannotStart(_refusal(_not_found(file_id)), ExitCode.WRONG_CONFIGURATION) from None
    return upload


def do(options: argparse.Namespace) -> int:
    """Pause, resume, retry or cancel."""
    is_all = getattr(options, "all", False)
    if is_all == bool(options.file_ids):
        choice = "" if options.deed == "cancel" else ", or --all"
        raise CannotStart(f"name the uploads by their file IDs{choice}", ExitCode.WRONG_CONFIGURATION)
    place, file_ids = state_dir(options), list(dict.fromkeys(options.file_ids))
    refused: list[dict[str, str]] = []
    if options.deed == "cancel" and not options.yes:
        chosen, refused = _cancellable(place, file_ids)
        open_ = [upload for upload in chosen if upload["state"] != UploadState.CANCELLED]
        if open_ and not _is_sure(open_, is_json=options.json):
            print_lines(["nothing was cancelled"])
            return NOT_DONE
        file_ids = [upload["fileId"] for upload in chosen]
    done: dict[str, Any] = {"count": 0, "refused": []}
    if is_all or file_ids:
        done = ask(place, options.deed, **({"all": True} if is_all else {"fileIds": file_ids}))
    _tell(options, done["count"], [*refused, *done["refused"]])
    return NOT_DONE if refused or done["refused"] else int(ExitCode.STOPPED)


def _tell(options: argparse.Namespace, count: int, refused: list[dict[str, str]]) -> None:
    if options.json:
        print_json({"count": count, "refused": refused})
        return
    if count or not refused:
        print_lines([f"{count:,} {PAST[options.deed]}"])
    for one in refused:
        print(_refusal(one), file=sys.stderr)


def _refusal(one: dict[str, str]) -> str:
    where = "; `sse-agent uploads list` shows those there are" if one["code"] == ErrorCode.NOT_FOUND else ""
    return f"{shown_text(one['fileId'])}: {one['message']} ({one['code']}){where}"


def _not_found(file_id: str) -> dict[str, str]:
    return {"fileId": file_id, "code": str(ErrorCode.NOT_FOUND), "message": "no upload has this fileId"}


def _cancellable(place: Path, file_ids: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Those that can be cancelled, and why the others can't: nobody is asked about what is refused anyhow."""
    chosen, refused = [], []
    for file_id in file_ids:
        try:
            upload = ask(place, "details", fileId=file_id)["upload"]
        except Refused as no:
            if no.code != ErrorCode.NOT_FOUND:
                raise
            refused.append(_not_found(file_id))
            continue
        is_dead = upload["state"] == UploadState.FAILED and not upload["retryable"]
        if is_dead or upload["state"] == UploadState.COMPLETE:
            message = f"the upload is {upload['state']}"
            refused.append({"fileId": file_id, "code": str(ErrorCode.WRONG_STATE), "message": message})
        else:
            chosen.append(upload)
    return chosen, refused


def _is_sure(chosen: list[dict[str, Any]], *, is_json: bool) -> bool:
    """Whether the person at the terminal says so, who was shown what it is about."""
    if is_json or sys.stdin is None or not sys.stdin.isatty():
        raise CannotStart("cancelling is final: --yes says that you mean it", ExitCode.WRONG_CONFIGURATION)
    print_lines(f"{upload['state']}: {shown_text(file_name(upload))}" for upload in chosen)
    try:
        return input("Cancel for good? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt, UnicodeDecodeError):
        return False
