"""What ended since the start, and the chat below it. Pure."""

from collections.abc import Iterator
from datetime import datetime

from rich.segment import Segment

from sse_agent.board import Board, Finished
from sse_agent.console import rows
from sse_agent.console.glyphs import Glyphs
from sse_agent.console.rows import Row
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, seconds

LEAST_S = 0.05


def wanted(board: Board, at: datetime, width: int, room: int, glyphs: Glyphs) -> int:
    """How many rows there is something for."""
    return 2 + max(1, len(board.finished)) + max(1, len(rows.chat(board.chat, at, width, room, glyphs)))


def talk(board: Board, at: datetime, width: int, room: int, glyphs: Glyphs) -> tuple[list[Row], int]:
    """What ended above the chat, and how many rows of the chat there are; each gets what the other does not need."""
    if room < 4:
        return rows.filled(ended(board, width, room, glyphs), max(0, room)), 0
    chat = rows.chat(board.chat, at, width, room - 2, glyphs)
    over = 1 + max(1, len(board.finished))
    least_chat = min(1 + max(1, len(chat)), room // 2)
    above = ended(board, width, min(over, room - least_chat), glyphs)
    left = room - len(above)
    words = chat[-(left - 1) :] if left > 1 else []
    shown = words or [[Segment(" nobody has said anything yet", rows.FAINT)]]
    return rows.filled([*above, rows.titled("Chat", [], [], width, glyphs), *shown], room), len(words)


def in_sight(board: Board, shown: int, at: datetime, width: int, glyphs: Glyphs) -> int:
    """How many lines that others said are whole within the last `shown` rows of the chat."""
    count = 0
    for line in reversed(board.chat):
        shown -= len(rows.chat([line], at, width, shown + 1, glyphs))
        if shown < 0:
            break
        count += not line.mine
    return count


def ended(board: Board, width: int, room: int, glyphs: Glyphs) -> list[Row]:
    """How many since the start, then the newest."""
    count = board.totals.ended
    parts = []
    if count[UploadState.COMPLETE]:
        text = f"{count[UploadState.COMPLETE]:,} complete ({byte_count(board.totals.complete_bytes)})"
        parts.append([Segment(text, rows.GOOD)])
    for state, style in (("failed", rows.BAD), ("cancelled", rows.PLAIN), ("rejected", rows.BAD)):
        if count[state]:
            parts.append([Segment(f"{count[state]:,} {state}", style)])
    shown = [_ended_rule(board, parts, width, glyphs)]
    last = list(_last(board, room - 1))
    shown += [rows.finished(item, width, glyphs) for item in last]
    if not last:
        shown.append([Segment(" nothing yet", rows.FAINT)])
    return shown[: max(0, room)]


def _ended_rule(board: Board, parts: list[Row], width: int, glyphs: Glyphs) -> Row:
    """How many ended tells more than how much was sent: that goes first where there is little room."""
    room = width - rows.width_of(rows.separated(parts, glyphs)) - len("Ended  ") - 9
    sent = next((text for text in _since_start(board) if len(text) <= room), "")
    right = [Segment(sent, rows.FAINT)] if sent else []
    return rows.titled("Ended", parts, right, width, glyphs)


def _since_start(board: Board) -> Iterator[str]:
    """What went out, and in how long; time in which nothing is sent does not count."""
    totals = board.totals
    if not totals.bytes_sent:
        return
    sent = f"{byte_count(totals.bytes_sent)} sent"
    if totals.sending_s >= LEAST_S:
        yield f"{sent} in {seconds(totals.sending_s)}"
    yield sent


def _last(board: Board, most: int) -> Iterator[Finished]:
    """The newest first."""
    for number, item in enumerate(reversed(board.finished)):
        if number >= most:
            return
        yield item
