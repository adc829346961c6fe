"""The layout: how many rows each part gets, and where it stands. Pure: one board and moment, one picture."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.segment import Segment

from sse_agent.board import Board, Finished, Upload
from sse_agent.console import rows
from sse_agent.console.rows import Glyphs, Row
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count

WIDE = 150
TITLES_FROM = (100, 30)
SHOWN_STATES = (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED, UploadState.QUEUED)
QUEUED_SHOWN = 8
TALK_LEAST = 6


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is (monotonic, and on the wall), and what is being typed: before and after the cursor."""

    now: float
    at: datetime
    draft: tuple[str, str] = ("", "")


class Frame:
    """A picture of exactly `height` rows of `width` cells."""

    def __init__(self, board: Board, moment: Moment, width: int, height: int, glyphs: Glyphs = rows.PRETTY) -> None:
        self._board = board
        self._moment = moment
        self._width = max(20, width)
        self._height = max(1, height)
        self._glyphs = glyphs
        self._is_short = height < 14

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, row in enumerate(self.rows()):
            if number:
                yield Segment.line()
            yield from _aligned(rows.cut(row, self._width))

    def rows(self) -> list[Row]:
        """From top to bottom."""
        head = [rows.head(self._board, self._moment.now, self._width, self._glyphs), *self._troubles()]
        foot = [
            [Segment(self._glyphs.rule * self._width, rows.FAINT)],
            rows.draft(*self._moment.draft, self._width, self._glyphs),
            rows.keys(self._width, self._glyphs),
        ]
        if self._is_short:
            del foot[0]
        room = self._height - len(head) - len(foot)
        body = self._body(self._width, room) if room > 0 else []
        return [*head, *body, *foot][-self._height :]

    def _troubles(self) -> list[Row]:
        """As many as leave room for the rest."""
        shown = rows.connection_trouble(self._board, self._width, self._glyphs)
        for trouble in self._board.troubles(self._moment.now):
            shown.append(rows.trouble(trouble, self._moment.now, self._width, self._glyphs))
        return shown[: max(1, self._height // 6)]

    def _body(self, width: int, room: int) -> list[Row]:
        if width < WIDE:
            return self._stacked(width, room)
        left_width = width * 3 // 5
        left = self._uploads(left_width, room)
        right = self._talk(width - left_width - 1, room)
        beside = Segment(self._glyphs.beside, rows.FAINT)
        return [
            [*rows.cut(a, left_width), beside, *b]
            for a, b in zip(_filled(left, room), _filled(right, room), strict=True)
        ]

    def _stacked(self, width: int, room: int) -> list[Row]:
        """One below the other: each part gets a few rows at first, then the uploads what they need, then the others."""
        if self._is_short:
            return self._squeezed(width, room)
        talk = min(room // 2, max(TALK_LEAST, room - self._uploads_wanted(width)))
        uploads = self._uploads(width, room - talk)
        return [*uploads, *self._talk(width, room - len(uploads))]

    def _squeezed(self, width: int, room: int) -> list[Row]:
        """Hardly any room: the uploads, and the last words."""
        chat = rows.chat(self._board.chat, width, min(2, room // 3), self._glyphs)
        uploads = self._uploads(width, room - len(chat))
        return [*_filled(uploads, room - len(chat)), *chat]

    # --- uploads ---

    def _uploads_wanted(self, width: int) -> int:
        unfinished = sum(self._board.count(state) for state in SHOWN_STATES[:-1])
        return 2 + self._has_titles(width) + unfinished + min(QUEUED_SHOWN, len(self._board.queue))

    def _has_titles(self, width: int) -> bool:
        return width >= TITLES_FROM[0] and self._height >= TITLES_FROM[1]

    def _uploads(self, width: int, room: int) -> list[Row]:
        """What is under way, what waits, what is paused; then what comes next, as far as there is room."""
        columns = rows.Columns.for_width(width)
        shown = [self._uploads_rule(width)]
        if self._has_titles(width) and self._board.count(UploadState.UPLOADING):
            shown.append(rows.titles(columns))
        lines = max(0, room - len(shown))
        chosen = [upload for state in SHOWN_STATES for upload in self._board.first(state, lines)]
        total = sum(self._board.count(state) for state in SHOWN_STATES)
        if not chosen:
            text = " nothing to upload" if not total else f" {total} to go on with"
            return [*shown, [Segment(text, rows.FAINT)]][: max(0, room)]
        if total > lines and lines > 1:
            lines -= 1
        chosen = chosen[:lines]
        shown += [rows.upload(upload, self._moment.at, width, columns, self._glyphs) for upload in chosen]
        if total > len(chosen) and len(shown) < room:
            shown.append(self._rest(chosen))
        return shown[: max(0, room)]

    def _rest(self, chosen: list[Upload]) -> Row:
        """How many there are of each state that are not shown."""
        shown = Counter(upload.state for upload in chosen)
        left = [(self._board.count(state) - shown[state], state) for state in SHOWN_STATES]
        parts = [[Segment(f"{count:,} {state}", rows.FAINT)] for count, state in left if count > 0]
        if left[-1][0] > 0 and self._board.queued_bytes:
            parts[-1] += [Segment(f" ({byte_count(self._board.queued_bytes)} queued in all)", rows.FAINT)]
        return [Segment(f" {self._glyphs.ellipsis} and ", rows.FAINT), *rows.separated(parts, self._glyphs)]

    def _uploads_rule(self, width: int) -> Row:
        board = self._board
        parts = [
            [Segment(f"{board.count(state):,} {state}", style)]
            for state, style in (
                (UploadState.UPLOADING, rows.PLAIN),
                (UploadState.WAITING, rows.CARE),
                (UploadState.PAUSED, rows.MOVING),
            )
            if board.count(state)
        ]
        if board.count(UploadState.QUEUED):
            size = [Segment(f" ({byte_count(board.queued_bytes)})")] if board.queued_bytes else []
            parts.append([Segment(f"{board.count(UploadState.QUEUED):,} queued"), *size])
        right = [Segment(f"{byte_count(board.rate)}/s", rows.STRONG)] if board.count(UploadState.UPLOADING) else []
        return self._rule("Uploads", parts, right, width)

    def _rule(self, title: str, parts: list[Row], right: Row, width: int) -> Row:
        """The more of `parts`, the better, but not more than there is room for."""
        while True:
            left = [Segment(title, rows.STRONG)]
            if parts:
                left += [Segment("  "), *rows.separated(parts, self._glyphs)]
            if rows.width_of(left) + rows.width_of(right) + 9 <= width or not parts:
                return rows.rule(left, right, width, self._glyphs)
            # First without what stands in brackets behind the last part, then without that part.
            parts = [*parts[:-1], *([parts[-1][:1]] if len(parts[-1]) > 1 else [])]

    # --- what is over, and the chat ---

    def _talk(self, width: int, room: int) -> list[Row]:
        """What is over above the chat; each gets what the other does not need."""
        if room < 4:
            return _filled(self._finished(width, room), max(0, room))
        chat = rows.chat(self._board.chat, width, room - 2, self._glyphs)
        over = 1 + max(1, len(self._board.finished))
        least_chat = min(1 + max(1, len(chat)), room // 2)
        finished = self._finished(width, min(over, room - least_chat))
        left = room - len(finished)
        words = chat[-(left - 1) :] if left > 1 else []
        words = words or [[Segment(" nobody has said anything yet", rows.FAINT)]]
        return _filled([*finished, self._rule("Chat", [], [], width), *words], room)

    def _finished(self, width: int, room: int) -> list[Row]:
        board = self._board
        ended = board.totals.ended
        parts = []
        if ended[UploadState.COMPLETE]:
            text = f"{ended[UploadState.COMPLETE]:,} complete ({byte_count(board.totals.complete_bytes)})"
            parts.append([Segment(text, rows.GOOD)])
        for state, style in (("failed", rows.BAD), ("cancelled", rows.PLAIN), ("rejected", rows.BAD)):
            if ended[state]:
                parts.append([Segment(f"{ended[state]:,} {state}", style)])
        shown = [self._rule("Finished", parts, [], width)]
        last = list(_last(board, room - 1))
        shown += [rows.finished(item, width, self._glyphs) for item in last]
        if not last:
            shown.append([Segment(" nothing yet", rows.FAINT)])
        return shown[: max(0, room)]


def _last(board: Board, most: int) -> Iterator[Finished]:
    """The newest first."""
    for number, item in enumerate(reversed(board.finished)):
        if number >= most:
            return
        yield item


def _filled(some: list[Row], room: int) -> list[Row]:
    return [*some[:room], *([[]] * max(0, room - len(some)))]


def _aligned(row: Row) -> Iterator[Segment]:
    """The row, with the cursor set anew behind everything whose width terminals disagree about."""
    column = 0
    for segment in row:
        yield segment
        column += segment.cell_length
        if not segment.text.isascii():
            yield Control.move_to_column(column).segment
