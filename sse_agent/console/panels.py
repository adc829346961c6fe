"""What stands in front of the list for a while: one upload's details, the log, and help. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from rich.segment import Segment

from sse_agent.board import Upload
from sse_agent.clock import parse_timestamp
from sse_agent.config import origin_of
from sse_agent.console import rows
from sse_agent.console.glyphs import Glyphs
from sse_agent.console.logbook import Entry, Logbook
from sse_agent.console.rows import Row
from sse_agent.console.uploads import rounded
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, byte_share, duration, printable, wrapped

LABEL = 12
TRY_FROM = 64
_UTC = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_LEVELS = {"warning": rows.CARE, "error": rows.BAD, "debug": rows.FAINT}

HELP: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Select",
        (
            ("Up Down, k j", "the upload above, below"),
            ("PgUp PgDn", "a page up, down"),
            ("Home End", "the first, the last"),
            ("/", "only uploads with this in their name or file ID, also those that are over; Esc lists all again"),
        ),
    ),
    (
        "The selected upload",
        (
            ("Enter", "its details: every attempt, and why it ended"),
            ("p  r", "pause, resume"),
            ("t", "try now, if it waits; retry, if it failed"),
            ("c", "cancel for good (asks first)"),
        ),
    ),
    (
        "All uploads",
        (
            ("P", "pause all (asks first), whatever a filter shows"),
            ("R", "resume all that are paused (under a filter it asks first)"),
        ),
    ),
    (
        "Look and talk",
        (
            ("m, Tab", "the chat: Enter sends, Up Down bring back what you said, Esc leads back"),
            ("l", "the log"),
            ("?", "this page; Esc or q leads back"),
        ),
    ),
    (
        "Leave",
        (
            ("q", "stop the agent (asks first when anything is unfinished, which goes on at the next start)"),
            ("Ctrl-C", "the same without a question; a second time it stops at once"),
        ),
    ),
    (
        "The bars",
        (
            ("confirmed", "the tus server has said that it has it"),
            ("sent", "on its way, not confirmed yet"),
        ),
    ),
)


def help_page(width: int, glyphs: Glyphs) -> list[Row]:
    """Every key."""
    shown: list[Row] = []
    names = max(len(name) for _, keys in HELP for name, _ in keys)
    for title, keys in HELP:
        shown.append([Segment(f" {title}", rows.STRONG)])
        for name, does in keys:
            bar = {"confirmed": glyphs.confirmed * 4, "sent": glyphs.sent * 4}.get(name)
            label = bar or name.replace("Up Down", glyphs.arrows)
            text = f"{name}: {does}" if bar else does.replace("Up Down", glyphs.arrows)
            shown += _labelled(label, text, 3 + names + 2, width, glyphs, rows.STRONG, indent=3)
    return shown


def _labelled(
    label: str, text: str, column: int, width: int, glyphs: Glyphs, style: Any = rows.FAINT, indent: int = 1
) -> list[Row]:
    """A label, and beside it a text that goes on below itself."""
    column = min(column, max(indent + 2, width // 2))
    lines = wrapped(printable(text, is_ascii=glyphs.is_ascii), max(8, width - column - 1))
    head = rows.cut([Segment(" " * indent), Segment(label, style)], column - 1)
    first: Row = [*head, Segment(" "), Segment(lines[0])]
    return [first, *([Segment(" " * column), Segment(line)] for line in lines[1:])]


# --- details ----------------------------------------------------------------------------------------


def details(upload: Mapping[str, Any], live: Upload | None, at: datetime, width: int, glyphs: Glyphs) -> list[Row]:
    """One upload, and how its attempts ended. `live`: as it is now, where that is known, which the journal is not."""
    shown: list[Row] = []
    for label, text in _facts(upload, live, at):
        shown += _labelled(label, text, LABEL + 2, width, glyphs)
    tries = upload["tries"]
    title = [
        Segment("Attempts", rows.STRONG),
        Segment(f"  {len(tries)}, the last first" if len(tries) > 1 else "", rows.FAINT),
    ]
    shown.append(rows.rule(title, [], width, glyphs))
    if not tries:
        shown.append([Segment(" none has ended yet", rows.FAINT)])
    for one in reversed(tries):
        shown += _tried(one, upload["fileSize"] or 0, at, width, glyphs)
    return shown


def _facts(upload: Mapping[str, Any], live: Upload | None, at: datetime) -> Iterator[tuple[str, str]]:
    size = upload["fileSize"] or (live.size if live else 0)
    state = live.state if live else UploadState(upload["state"])
    yield "file ID", upload["fileId"]
    yield "state", _state(upload, live, state)
    if state is not UploadState.UPLOADING and (reason := (live and live.reason) or upload["reason"]):
        yield "reason", reason
    if state is UploadState.WAITING and (when := _next_try(upload, live, at)):
        yield "next try", when
    if upload["code"] and state is not UploadState.UPLOADING:
        yield "error", f"{upload['code']}: {upload['message'] or ''}"
    offset = live.offset if live else upload["offset"]
    yield "confirmed", byte_share(offset, size) if size else byte_count(offset)
    if live and state is UploadState.UPLOADING:
        yield "sent", f"{byte_share(live.bytes_sent, size) if size else byte_count(live.bytes_sent)}{_pace(live)}"
    yield "tus server", _origin(upload["endpoint"])
    yield "priority", f"{upload['priority']} (9 runs first)"
    yield "received", _clock(upload["createdAt"], at)
    if upload["finishedAt"] and live is None:
        yield "ended", _clock(upload["finishedAt"], at)
    yield "took so far", duration(upload["seconds"])


def _state(upload: Mapping[str, Any], live: Upload | None, state: UploadState) -> str:
    if state is UploadState.PAUSED:
        is_here = live.is_paused_here if live else upload["pausedHere"]
        return "paused here" if is_here else "paused from afar"
    if state is UploadState.FAILED:
        return "failed, retryable" if upload["retryable"] else "failed, given up"
    return str(state)


def _next_try(upload: Mapping[str, Any], live: Upload | None, at: datetime) -> str:
    if live is None or live.next_try_at is None:
        return _clock(upload["nextTryAt"], at) if upload["nextTryAt"] else ""
    left_s = (live.next_try_at - at).total_seconds()
    time = rows.clock(live.next_try_at, at, seconds=True)
    return f"in {duration(left_s)}, at {time}" if left_s >= 1 else "now"


def _pace(live: Upload) -> str:
    if live.is_confirming and not live.rate:
        return ", waiting for confirmation"
    if live.left_s is None:
        return ""
    return f", {byte_count(live.rate)}/s, {duration(rounded(live.left_s))} left"


def _tried(one: Mapping[str, Any], size: int, at: datetime, width: int, glyphs: Glyphs) -> list[Row]:
    """When, how long, how far, then what; and why, beside it or below."""
    far = byte_share(one["offset"], size) if size else byte_count(one["offset"])
    ended = rows.words(_clock(one["endedAt"], at), 19, glyphs)
    figures = f" {ended:<8}  {duration(one['seconds'], 1):>6}  {far:>13}  "
    state = rows.cut([Segment(rows.words(one["state"], 10, glyphs), _STATES.get(one["state"], rows.PLAIN))], 10)
    head: Row = [Segment(figures), *state]
    if not one["reason"]:
        return [head]
    column = rows.width_of(head)
    if width - column < TRY_FROM // 2:
        lines = wrapped(printable(one["reason"], is_ascii=glyphs.is_ascii), max(8, width - 12))
        return [head, *([Segment(" " * 11), Segment(line)] for line in lines)]
    lines = wrapped(printable(one["reason"], is_ascii=glyphs.is_ascii), width - column - 1)
    return [[*head, Segment(lines[0])], *([Segment(" " * column), Segment(line)] for line in lines[1:])]


_STATES = {"complete": rows.GOOD, "failed": rows.BAD, "waiting": rows.CARE, "paused": rows.MOVING}


def _origin(endpoint: str) -> str:
    """Never more of a URL: its path may be a secret."""
    with suppress(ValueError):
        return origin_of(endpoint)
    return "?"


def _clock(text: str, at: datetime) -> str:
    """On the clock of the person. What is no instant is shown as it is."""
    with suppress(ValueError, OverflowError):
        return rows.clock(parse_timestamp(text), at, seconds=True)
    return text


# --- the log ----------------------------------------------------------------------------------------


def log(book: Logbook, end: int | None, at: datetime, width: int, room: int, glyphs: Glyphs) -> list[Row]:
    """The entries before `end`, as many as there is room for; the newest for None."""
    shown: list[Row] = []
    entries = book.before(book.total if end is None else end, room)
    for entry in reversed(entries):
        shown[:0] = _entry(entry, at, width, glyphs)
        if len(shown) >= room:
            break
    return shown[-room:] if room > 0 else []


def _entry(entry: Entry, at: datetime, width: int, glyphs: Glyphs) -> Sequence[Row]:
    time = _clock(entry.at, at)
    # The mark is for those who see no colours.
    mark = glyphs.warn if entry.level in ("warning", "error") else ""
    style = _LEVELS.get(entry.level, rows.FAINT)
    text = _UTC.sub(partial(_local, at), entry.text)
    return _labelled(f"{time} {mark}", text, len(time) + 4, width, glyphs, style)


def _local(at: datetime, found: re.Match[str]) -> str:
    """The log is in UTC; nobody should have to reckon on a screen that shows local time."""
    return _clock(found[0], at)
