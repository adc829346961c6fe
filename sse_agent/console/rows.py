"""The parts of the picture: one line each, as segments that never hold markup and never are wider than they should."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from sse_agent.board import Board, Finished, Line, Trouble
from sse_agent.lifecycle import UploadState
from sse_agent.printable import (
    byte_count,
    duration,
    padded,
    printable,
    shortened,
    shortened_name,
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


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What is drawn with; `is_ascii` for terminals that have nothing else."""

    is_ascii: bool = False
    ellipsis: str = "…"
    confirmed: str = "━"
    sent: str = "╍"
    left: str = "─"
    rule: str = "─"
    beside: str = "│"
    dot: str = "·"
    on: str = "●"
    off: str = "○"
    done: str = "✓"
    failed: str = "✗"
    dropped: str = "–"
    warn: str = "▲"
    prompt: str = "›"
    arrows: str = "↑↓"


PRETTY = Glyphs()
ASCII = Glyphs(True, "..", "#", "=", ".", "-", "|", "-", "*", "o", "+", "x", "-", "!", ">", "Up Down")


def width_of(row: Row) -> int:
    """In cells."""
    return sum(segment.cell_length for segment in row)


def spread(left: Row, right: Row, width: int) -> Row:
    """`left` at the left and `right` at the right edge, if there is room for both; else only `left`, cut."""
    gap = width - width_of(left) - width_of(right)
    if gap >= 1 or not right:
        return cut([*left, Segment(" " * max(0, gap)), *right], width)
    return spread(left, [], width)


def cut(row: Row, width: int) -> Row:
    """Exactly `width` cells of it, filled up with spaces."""
    return Segment.adjust_line_length(row, width, pad=True)


def rule(title: Row, right: Row, width: int, glyphs: Glyphs) -> Row:
    """The head of a section: its title in a line, and something at the end of it."""
    left = [Segment(f"{glyphs.rule * 2} ", FAINT), *title, Segment(" ")]
    tail = [Segment(" "), *right, Segment(f" {glyphs.rule * 2}", FAINT)] if right else []
    gap = width - width_of(left) - width_of(tail)
    if gap < 1 and tail:
        return rule(title, [], width, glyphs)
    return cut([*left, Segment(glyphs.rule * max(0, gap), FAINT), *tail], width)


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
    return shortened(printable(text, is_ascii=glyphs.is_ascii), width, glyphs.ellipsis)


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
    is_on = board.connection.state == "connected"
    return Segment(f"{glyphs.on if is_on else glyphs.off} ", _STATE_STYLES[board.connection.state])


_STATE_STYLES = {"connected": GOOD, "connecting": CARE, "disconnected": CARE, "parked": BAD}


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
    left = (next_try_at or now) - now
    return f"again in {duration(left)}" if left >= 1 else "trying again"


def connection_trouble(board: Board, width: int, glyphs: Glyphs) -> list[Row]:
    """Why there is no stream, if there is none."""
    if not board.connection.reason:
        return []
    return [_warning(board.connection.reason, "", BAD if board.connection.state == "parked" else CARE, width, glyphs)]


def trouble(trouble: Trouble, now: float, width: int, glyphs: Glyphs) -> Row:
    """One line for something that a person should know."""
    next_try = "" if trouble.next_try_at is None else _until(trouble.next_try_at, now)
    return _warning(trouble.text, next_try, BAD if trouble.is_error else CARE, width, glyphs)


def _warning(text: str, next_try: str, style: Style, width: int, glyphs: Glyphs) -> Row:
    room = width - 4 - (len(next_try) + 2 if next_try else 0)
    left = [Segment(f" {glyphs.warn} ", style), Segment(words(text, room, glyphs))]
    return spread(left, [Segment(next_try, FAINT), Segment(" ")] if next_try else [], width)


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
    state = f"  {item.state}"
    room = width - 4 - len(state)
    name_width = min(cell_len(printable(item.name, is_ascii=glyphs.is_ascii)), max(8, room * 2 // 5))
    name = padded_name(item.name, name_width, glyphs)
    row = [mark, Segment(name, FAINT if is_cancelled else PLAIN), Segment(state, FAINT if is_cancelled else BAD)]
    left = room - name_width - 2
    return [*row, Segment("  "), Segment(words(item.reason, left, glyphs))] if item.reason and left >= 6 else row


def chat(lines: Sequence[Line], width: int, most: int, glyphs: Glyphs) -> list[Row]:
    """The last `most` rows of the chat, long lines wrapped."""
    rows: list[Row] = []
    for line in reversed(lines):
        rows[:0] = _said(line, width, glyphs)
        if len(rows) >= most:
            break
    return rows[-most:] if most > 0 else []


def _said(line: Line, width: int, glyphs: Glyphs) -> list[Row]:
    clock = line.at.astimezone().strftime("%H:%M")
    sender = words(line.sender or "?", min(SENDER_WIDTH, width // 3), glyphs)
    first = [
        Segment(f" {clock}  ", FAINT),
        Segment(sender, MINE if line.mine else THEIRS),
        Segment("  "),
    ]
    indent = width_of(first)
    texts = _wrapped(line.text, max(8, width - indent - 1), glyphs)
    rows = [[*first, Segment(texts[0])]]
    return rows + [[Segment(" " * indent), Segment(text)] for text in texts[1:]]


@lru_cache(maxsize=512)
def _wrapped(text: str, width: int, glyphs: Glyphs) -> tuple[str, ...]:
    paragraphs = [printable(part, is_ascii=glyphs.is_ascii) for part in text.splitlines()] or [""]
    return tuple(line for paragraph in paragraphs for line in wrapped(paragraph, width))
