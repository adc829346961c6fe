"""The parts of the picture: one line each, as segments that never hold markup and never are wider than they should."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache, lru_cache

from rich.cells import cell_len
from rich.control import Control
from rich.segment import Segment
from rich.style import Style

from sse_agent.board import Board, Finished, Line, Trouble
from sse_agent.console.glyphs import Glyphs
from sse_agent.lifecycle import UploadState
from sse_agent.printable import (
    byte_count,
    duration,
    next_try,
    padded,
    printable,
    shortened_name,
    shortened_words,
    wrapped,
)

Row = list[Segment]

# Only the terminal's own colours, and none for text that must be read: they are legible on light and on dark.
PLAIN = Style()
STRONG = Style(bold=True)
FAINT = Style(dim=True)
GOOD = Style(color="green")
MOVING = Style(color="cyan")
CARE = Style(color="yellow")
BAD = Style(color="red")
MINE = Style(color="cyan", bold=True)
THEIRS = Style(color="magenta", bold=True)
CURSOR = Style(reverse=True)

SENDER_WIDTH = 24


def width_of(row: Row) -> int:
    """In cells."""
    return sum(len(text) if (text := segment.text).isascii() else segment.cell_length for segment in row)


def filled(some: list[Row], room: int) -> list[Row]:
    """Exactly `room` rows."""
    return [*some[:room], *([[]] * max(0, room - len(some)))]


def line(row: Row, width: int) -> Row:
    """Exactly `width` cells, with the cursor set anew behind everything whose width terminals disagree about."""
    column, aligned = 0, list[Segment]()
    for segment in row:
        aligned.append(segment)
        if segment.text.isascii():
            column += len(segment.text)
        else:
            column += segment.cell_length
            aligned.append(_to_column(column))
    if column > width:
        return line(cut(row, width), width)
    if column < width:
        aligned.append(blank(width - column))
    return aligned


@lru_cache(maxsize=512)
def _to_column(column: int) -> Segment:
    return Control.move_to_column(column).segment


@cache
def blank(width: int) -> Segment:
    """So many spaces."""
    return Segment(" " * width)


def clock(at: datetime, today: datetime, *, seconds: bool = False) -> str:
    """On the clock of the person, with the date where that is another day than `today`."""
    local = at.astimezone()
    time = local.strftime("%H:%M:%S" if seconds else "%H:%M")
    return time if local.date() == today.astimezone().date() else f"{local:%Y-%m-%d} {time}"


def spread(left: Row, right: Row, width: int) -> Row:
    """`left` at the left and `right` at the right edge, if there is room for both; else only `left`, cut."""
    gap = width - width_of(left) - width_of(right)
    if gap >= 1 or not right:
        return cut([*left, Segment(" " * max(0, gap)), *right], width)
    return spread(left, [], width)


def cut(row: Row, width: int) -> Row:
    """Exactly `width` cells of it, filled up with spaces."""
    left = width - width_of(row)
    if left >= 0:
        return [*row, blank(left)] if left else row
    return Segment.adjust_line_length(row, width, pad=True)


def rule(title: Row, right: Row, width: int, glyphs: Glyphs) -> Row:
    """The head of a section: its title in a line, and something at the end of it."""
    left = [Segment(f"{glyphs.rule * 2} ", FAINT), *title, Segment(" ")]
    tail = [Segment(" "), *right, Segment(f" {glyphs.rule * 2}", FAINT)] if right else []
    gap = width - width_of(left) - width_of(tail)
    if gap < 1 and tail:
        return rule(title, [], width, glyphs)
    return cut([*left, Segment(glyphs.rule * max(0, gap), FAINT), *tail], width)


def titled(title: str, parts: list[Row], right: Row, width: int, glyphs: Glyphs) -> Row:
    """A rule with `parts` behind its title: the more of them, the better, but not more than there is room for."""
    while True:
        left = [Segment(title, STRONG)]
        if parts:
            left += [Segment("  "), *separated(parts, glyphs)]
        if width_of(left) + (width_of(right) + 9 if right else 4) <= width or not parts:
            return rule(left, right, width, glyphs)
        # First without what stands in brackets behind the last part, then without that part.
        parts = [*parts[:-1], *([parts[-1][:1]] if len(parts[-1]) > 1 else [])]


def separated(parts: Sequence[Row], glyphs: Glyphs) -> Row:
    """The parts with dots between them."""
    row: Row = []
    for part in parts:
        row += [Segment(f" {glyphs.dot} ", FAINT), *part] if row else part
    return row


@lru_cache(maxsize=2048)
def padded_name(name: str, width: int, glyphs: Glyphs) -> str:
    """A file name, printable, in exactly `width` cells."""
    text = printable(name, is_ascii=glyphs.is_ascii)
    return padded(shortened_name(text, width, glyphs.ellipsis), width)


def short_name(name: str, width: int, glyphs: Glyphs) -> str:
    """A file name, printable, in at most `width` cells."""
    return shortened_name(printable(name, is_ascii=glyphs.is_ascii), width, glyphs.ellipsis)


@lru_cache(maxsize=2048)
def words(text: str, width: int, glyphs: Glyphs) -> str:
    """Anybody's text, printable, in at most `width` cells."""
    return shortened_words(printable(text, is_ascii=glyphs.is_ascii), width, glyphs.ellipsis)


# What stands in front of the cause, and what of it can be left out where there is little room.
_SHORTER = (
    ("the tus server can't be reached: ", ""),
    ("the proxy can't be reached: ", "proxy: "),
    ("the tus server's TLS certificate is not trusted: ", "TLS not trusted: "),
    ("TLS with the tus server failed: ", "TLS: "),
    ("the tus server refused the upload at its end: ", "refused at its end: "),
)
_CODE = re.compile(r"[A-Z][A-Z_]+: ")


def causes(reason: str, *, more: str = "") -> Iterator[str]:
    """Why something is as it is, longest first: with `more`, whole, and shorter, but always with the cause."""
    without_code = _CODE.sub("", reason, count=1) if _CODE.match(reason) else reason
    for head, shorter in _SHORTER:
        without_code = shorter + without_code.removeprefix(head) if without_code.startswith(head) else without_code
    yield from (f"{reason}{more}", f"{without_code}{more}", reason, without_code)


def cause(reason: str, width: int, glyphs: Glyphs, *, more: str = "") -> str:
    """As much of a reason as fits in `width` cells, printable."""
    shown = [printable(text, is_ascii=glyphs.is_ascii) for text in causes(reason, more=more)]
    return shortened_words(next((text for text in shown if cell_len(text) <= width), shown[-1]), width, glyphs.ellipsis)


# --- the head ---------------------------------------------------------------------------------------


def head(board: Board, now: float, width: int, glyphs: Glyphs) -> Row:
    """Who we are, and how the connection is: that must be seen, whatever else there is room for."""
    state = _connection(board, now)
    client_id = [Segment(words(board.client_id, max(8, width // 3), glyphs))]
    full = [Segment("sse-agent", STRONG), Segment(f" {board.version}", FAINT)]
    for who, parts in (
        ([full, client_id], state),
        ([full[:1], client_id], state),
        ([client_id], state),
        ([client_id], state[:2]),
        ([client_id], state[:1]),
        ([], state[:1]),
    ):
        left = [Segment(" "), *separated([part for part in who if width_of(part)], glyphs)]
        right = [_light(board, glyphs), *separated(parts, glyphs), Segment(" ")]
        if width_of(left) + width_of(right) < width:
            break
    return spread(left, right, width)


def _light(board: Board, glyphs: Glyphs) -> Segment:
    state = board.connection.state
    return Segment(f"{glyphs.on if state == 'connected' else glyphs.off} ", _STATE_STYLES[state])


_STATE_STYLES = {"connected": GOOD, "connecting": CARE, "waiting": CARE, "parked": BAD}


def _connection(board: Board, now: float) -> list[Row]:
    """Its state, what else there is to know of it, and its age; the most important first."""
    link = board.connection
    state = [Segment(link.state, _STATE_STYLES[link.state])]
    age = [Segment(duration(now - link.since), FAINT)]
    if link.state == "connected":
        return [state, [Segment(link.transport)], age]
    if link.state == "connecting":
        return [state, age]
    return [state, [Segment(_until(link.next_try_at, now))], [Segment("for ", FAINT), *age]]


def _until(next_try_at: float | None, now: float) -> str:
    return next_try((next_try_at or now) - now)


def connection_trouble(board: Board, width: int, glyphs: Glyphs) -> list[Row]:
    """Why there is no stream, if there is none."""
    if not board.connection.reason:
        return []
    return [_warning(board.connection.reason, "", BAD if board.connection.state == "parked" else CARE, width, glyphs)]


def trouble(trouble: Trouble, now: float, width: int, glyphs: Glyphs) -> Row:
    """One line for something that a person should know."""
    when = "" if trouble.next_try_at is None else _until(trouble.next_try_at, now)
    return _warning(trouble.text, when, BAD if trouble.is_error else CARE, width, glyphs)


def _warning(text: str, when: str, style: Style, width: int, glyphs: Glyphs) -> Row:
    room = width - 4 - (len(when) + 2 if when else 0)
    left = [Segment(f" {glyphs.warn} ", style), Segment(words(text, room, glyphs))]
    return spread(left, [Segment(when, FAINT), Segment(" ")] if when else [], width)


# --- what is over, and the chat ---------------------------------------------------------------------


def finished(item: Finished, width: int, glyphs: Glyphs) -> Row:
    """One upload that is over, or one command that was refused."""
    if item.state != UploadState.COMPLETE:
        return _not_complete(item, width, glyphs)
    right = [f"{byte_count(item.size):>8}"]
    if width >= 56:
        right.append(f"{duration(item.seconds, 1) if item.seconds >= 1 else f'{item.seconds:.1f} s':>6}")
    sha256 = f"sha256 {item.sha256_head}" if width >= 76 else item.sha256_head[:8] if width >= 48 else ""
    figures = "  ".join(right)
    name = padded_name(item.name, max(6, width - 4 - len(figures) - (len(sha256) + 2 if sha256 else 0) - 1), glyphs)
    row = [Segment(f" {glyphs.done} ", GOOD), Segment(name), Segment(f" {figures}")]
    return [*row, Segment(f"  {sha256}", FAINT)] if sha256 else row


def _not_complete(item: Finished, width: int, glyphs: Glyphs) -> Row:
    is_cancelled = item.state == UploadState.CANCELLED
    mark = Segment(f" {glyphs.dropped} ", FAINT) if is_cancelled else Segment(f" {glyphs.failed} ", BAD)
    # What became of it may say the state itself: cancelled here, or from afar.
    reason = "" if item.reason.startswith(item.state) else item.reason
    state = f"  {item.state if reason else item.reason or item.state}"
    room = width - 4 - len(state)
    name_width = min(cell_len(printable(item.name, is_ascii=glyphs.is_ascii)), max(8, room * 2 // 5))
    name = padded_name(item.name, name_width, glyphs)
    row = [mark, Segment(name, FAINT if is_cancelled else PLAIN), Segment(state, FAINT if is_cancelled else BAD)]
    left = room - name_width - 2
    if not reason or left < 6:
        return row
    return [*row, Segment("  "), Segment(cause(reason, left, glyphs, more=item.why.removeprefix(reason)))]


def chat(lines: Sequence[Line], at: datetime, width: int, most: int, glyphs: Glyphs) -> list[Row]:
    """The last `most` rows of the chat, long lines wrapped."""
    rows: list[Row] = []
    today = at.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    for line in reversed(lines):
        rows[:0] = _said(line, today, width, glyphs)
        if len(rows) >= most:
            break
    return rows[-most:] if most > 0 else []


@lru_cache(maxsize=512)
def _said(line: Line, today: datetime, width: int, glyphs: Glyphs) -> tuple[Row, ...]:
    sender = words(line.sender or "?", min(SENDER_WIDTH, width // 3), glyphs)
    first = [
        Segment(f" {clock(line.at, today)}  ", FAINT),
        Segment(sender, MINE if line.mine else THEIRS),
        Segment("  "),
    ]
    indent = width_of(first)
    texts = _wrapped(line.text, max(8, width - indent - 1), glyphs)
    return ([*first, Segment(texts[0])], *([Segment(" " * indent), Segment(text)] for text in texts[1:]))


def _wrapped(text: str, width: int, glyphs: Glyphs) -> tuple[str, ...]:
    paragraphs = [printable(part, is_ascii=glyphs.is_ascii) for part in text.splitlines()] or [""]
    return tuple(line for paragraph in paragraphs for line in wrapped(paragraph, width))
