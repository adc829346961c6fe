"""What stands in front of the list for a while: one upload's details, the log, and help. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.segment import Segment

from sse_agent.clock import parse_timestamp
from sse_agent.config import origin_of
from sse_agent.console import rows
from sse_agent.console.logbook import Entry, Logbook
from sse_agent.console.rows import Glyphs, Row
from sse_agent.printable import byte_count, byte_share, duration, printable, wrapped

LABEL = 12
TRY_FROM = 64
_LEVELS = {"warning": rows.CARE, "error": rows.BAD, "debug": rows.FAINT}

HELP: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Select",
        (
            ("Up Down, k j", "the upload above, below"),
            ("PgUp PgDn", "a page up, down"),
            ("Home End", "the first, the last"),
            ("/", "only uploads with this in their name, also those that are over; Esc lists all again"),
        ),
    ),
    (
        "The selected upload",
        (
            ("Enter", "its details: every attempt, and why it ended"),
            ("p  r", "pause, resume"),
            ("t", "try again now, if it waits or failed"),
            ("c", "cancel for good (asks first)"),
        ),
    ),
    (
        "All uploads",
        (("P", "pause all (asks first)"), ("R", "resume all that are paused")),
    ),
    (
        "Look and talk",
        (
            ("m, Tab", "the chat: Enter sends, Up Down bring back what you said, Esc leads back"),
            ("l", "the log"),
            ("?", "this page"),
        ),
    ),
    (
        "Leave",
        (
            ("q", "stop the agent (asks first when uploads are under way); they go on at the next start"),
            ("Ctrl-C", "the same at once; a second time it leaves no time for anything"),
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
            label = {"confirmed": glyphs.confirmed * 4, "sent": glyphs.sent * 4}.get(name, name)
            text = f"{name}: {does}" if label != name else does
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


def details(upload: Mapping[str, Any], width: int, glyphs: Glyphs) -> list[Row]:
    """One upload, and how its attempts ended."""
    shown: list[Row] = []
    for label, text in _facts(upload):
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
        shown += _tried(one, upload["fileSize"] or 0, width, glyphs)
    return shown


def _facts(upload: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    size = upload["fileSize"]
    paused = (", here" if upload["pausedHere"] else ", from afar") if upload["state"] == "paused" else ""
    yield "file ID", upload["fileId"]
    yield "state", f"{upload['state']}{paused}"
    if upload["reason"]:
        again = f"; again at {_clock(upload['nextTryAt'])}" if upload["nextTryAt"] else ""
        yield "reason", f"{upload['reason']}{again}"
    if upload["code"]:
        hope = " (can be tried again)" if upload["retryable"] else " (final)"
        yield "error", f"{upload['code']}: {upload['message'] or ''}{hope if upload['state'] == 'failed' else ''}"
    yield "confirmed", byte_share(upload["offset"], size) if size else byte_count(upload["offset"])
    yield "tus server", _origin(upload["endpoint"])
    yield "priority", f"{upload['priority']} (9 runs first)"
    yield "received", _clock(upload["createdAt"])
    if upload["finishedAt"]:
        yield "ended", _clock(upload["finishedAt"])
    yield "took so far", duration(upload["seconds"])


def _tried(one: Mapping[str, Any], size: int, width: int, glyphs: Glyphs) -> list[Row]:
    """When, how long, how far, then what; and why, beside it or below."""
    far = byte_share(one["offset"], size) if size else byte_count(one["offset"])
    figures = f" {rows.words(_clock(one['endedAt']), 15, glyphs):<15}  {duration(one['seconds'], 1):>6}  {far:>13}  "
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


def _clock(at: str) -> str:
    """On the clock of the person."""
    with suppress(ValueError):
        return _local(parse_timestamp(at)).strftime("%b %d %H:%M:%S")
    return at


def _local(at: datetime) -> datetime:
    return at.astimezone()


# --- the log ----------------------------------------------------------------------------------------


def log(book: Logbook, end: int | None, width: int, room: int, glyphs: Glyphs) -> list[Row]:
    """The entries before `end`, as many as there is room for; the newest for None."""
    shown: list[Row] = []
    entries = book.before(book.total if end is None else end, room)
    for entry in reversed(entries):
        shown[:0] = _entry(entry, width, glyphs)
        if len(shown) >= room:
            break
    return shown[-room:] if room > 0 else []


def _entry(entry: Entry, width: int, glyphs: Glyphs) -> Sequence[Row]:
    at = ""
    with suppress(ValueError):
        at = _local(parse_timestamp(entry.at)).strftime("%H:%M:%S")
    # The mark is for those who see no colours.
    mark = glyphs.warn if entry.level in ("warning", "error") else ""
    style = _LEVELS.get(entry.level, rows.FAINT)
    return _labelled(f"{at} {mark}", entry.text, 12, width, glyphs, style)
