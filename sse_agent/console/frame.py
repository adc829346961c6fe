"""The layout: how many rows each part gets, and where it stands. Pure: one board and moment, one picture."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from sse_agent.board import Board, Upload
from sse_agent.console import foot, panels, rows, talk, uploads
from sse_agent.console.glyphs import PRETTY, Glyphs
from sse_agent.console.listing import Found, Listed, upload_of
from sse_agent.console.logbook import Logbook
from sse_agent.console.rows import Row
from sse_agent.console.state import Mode, State
from sse_agent.console.uploads import Columns
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, duration

WIDE = 150
TITLES_FROM = (100, 30)
SHOWN_STATES = (
    UploadState.UPLOADING,
    UploadState.WAITING,
    UploadState.PAUSED,
    UploadState.FAILED,
    UploadState.QUEUED,
)
QUEUED_SHOWN = 8
TALK_LEAST = 6
LEFT_FROM = 96
RATES_SEEN = 100


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is (monotonic, and on the wall), where the person is, and what was looked up for them."""

    now: float
    at: datetime
    state: State = field(default_factory=State)
    found: Found | None = None
    details: Mapping[str, Any] | None = None
    logbook: Logbook = field(default_factory=Logbook)


class Frame:
    """A picture of exactly `height` rows of `width` cells.

    Once it is drawn, `page` has how many rows of the list or panel were shown, `most_scroll` how many were not.
    """

    def __init__(self, board: Board, moment: Moment, width: int, height: int, glyphs: Glyphs = PRETTY) -> None:
        self._board = board
        self._moment = moment
        self._state = moment.state
        self._width = max(20, width)
        self._height = max(1, height)
        self._glyphs = glyphs
        self._is_short = height < 14
        self._listed = Listed(board, moment.found if moment.state.pattern else None)
        self._chosen = self._listed.find(moment.state.selected)
        self._in_sight = 0
        self.page = 1
        self.most_scroll = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self.lines()):
            if number:
                yield Segment.line()
            yield from line

    def lines(self) -> list[Row]:
        """From top to bottom, each of exactly the width, with the cursor set anew where that is needed."""
        return [rows.line(row, self._width) for row in self.rows()]

    def rows(self) -> list[Row]:
        """From top to bottom."""
        head = [rows.head(self._board, self._moment.now, self._width, self._glyphs), *self._troubles()]
        rule = [] if self._is_short else [[Segment(self._glyphs.rule * self._width, rows.FAINT)]]
        room = self._height - len(head) - len(rule) - 2
        body = self._body(self._width, room) if room > 0 else []
        below = [
            *rule,
            foot.line(self._state, self._listed, self._in_sight, self._width, self._glyphs),
            foot.keys(self._state, self._for_keys(), self._listed, self._width, self._glyphs),
        ]
        return [*head, *body, *below][-self._height :]

    def _for_keys(self) -> Upload | None:
        """The upload that keys are for: details may be of one that is not listed."""
        if self._chosen is None and self._state.mode is Mode.DETAILS and self._details is not None:
            return upload_of(self._details)
        return self._chosen

    @property
    def _details(self) -> Mapping[str, Any] | None:
        """Never those of another upload."""
        details = self._moment.details
        return details if details is not None and details["fileId"] == self._state.selected else None

    def _troubles(self) -> list[Row]:
        """As many as leave room for the rest; first what undid a person's own pause."""
        overruled, others = list[Row](), rows.connection_trouble(self._board, self._width, self._glyphs)
        for trouble in self._board.troubles(self._moment.now):
            row = rows.trouble(trouble, self._moment.now, self._width, self._glyphs)
            (overruled if trouble.is_overruling else others).append(row)
        return [*overruled, *others][: max(1, self._height // 6)]

    def _body(self, width: int, room: int) -> list[Row]:
        is_panel = self._state.mode in (Mode.DETAILS, Mode.LOG, Mode.HELP)
        if width < WIDE:
            return self._panel(width, room) if is_panel else self._stacked(width, room)
        left_width = width * 3 // 5
        # Where a panel takes the place of the rest, the rest stands below the list.
        left = self._stacked(left_width, room) if is_panel else self._uploads(left_width, room)
        right_width = width - left_width - 1
        right = self._panel(right_width, room) if is_panel else self._talk(right_width, room)
        beside = Segment(self._glyphs.beside, rows.FAINT)
        return [
            [*rows.cut(a, left_width), beside, *b]
            for a, b in zip(rows.filled(left, room), rows.filled(right, room), strict=True)
        ]

    def _stacked(self, width: int, room: int) -> list[Row]:
        """One below the other: each part gets a few rows at first, then the uploads what they need, then the others."""
        if self._is_short:
            return self._squeezed(width, room)
        needed = talk.wanted(self._board, self._moment.at, width, room, self._glyphs)
        below = min(room // 2, max(TALK_LEAST, room - self._uploads_wanted(width)), needed)
        above = self._uploads(width, room - below)
        return [*above, *self._talk(width, room - len(above))]

    def _squeezed(self, width: int, room: int) -> list[Row]:
        """Hardly any room: the uploads, and the last words."""
        chat = rows.chat(self._board.chat, self._moment.at, width, min(2, room // 3), self._glyphs)
        self._note_in_sight(len(chat), width)
        return [*rows.filled(self._uploads(width, room - len(chat)), room - len(chat)), *chat]

    # --- panels ---

    def _panel(self, width: int, room: int) -> list[Row]:
        """What stands in front of the list, from where it was scrolled to."""
        self.page = max(1, room - 1)
        below = 0
        if self._state.mode is Mode.LOG:
            end, total = self._state.log_end, self._moment.logbook.total
            below = 0 if end is None else total - end
            lines = panels.log(self._moment.logbook, end, self._moment.at, width, room - 1, self._glyphs)
        else:
            lines = self._panel_lines(width)
            self.most_scroll = max(0, len(lines) - self.page)
            below = self.most_scroll - min(self._state.scroll, self.most_scroll)
            lines = lines[min(self._state.scroll, self.most_scroll) :]
        return rows.filled([self._panel_rule(below, width), *lines], room)

    def _panel_rule(self, below: int, width: int) -> Row:
        """Its title, and how much of it stands below what is shown."""
        mode, parts = self._state.mode, list[Row]()
        right = [Segment(f"{below:,} more below", rows.STRONG)] if below else []
        if mode is Mode.DETAILS and (upload := self._for_keys()) is not None:
            room = width - rows.width_of(right) - 20
            parts = [[Segment(rows.short_name(upload.name, max(8, room), self._glyphs))]]
        return self._titled(mode.capitalize(), parts, right, width)

    def _panel_lines(self, width: int) -> list[Row]:
        if self._state.mode is Mode.HELP:
            return panels.help_page(width, self._glyphs)
        if self._details is None:
            return [[Segment(" ...", rows.FAINT)]]
        live = self._board.find(self._state.selected)
        return panels.details(self._details, live, self._moment.at, width, self._glyphs)

    # --- uploads ---

    def _uploads_wanted(self, width: int) -> int:
        if self._state.pattern:
            return 2 + max(1, len(self._listed))
        unfinished = sum(map(self._count, SHOWN_STATES[:-1]))
        return 2 + self._has_titles(width) + unfinished + min(QUEUED_SHOWN, len(self._board.queue))

    def _has_titles(self, width: int) -> bool:
        return width >= TITLES_FROM[0] and self._height >= TITLES_FROM[1]

    def _uploads(self, width: int, room: int) -> list[Row]:
        """What is under way, what waits, what is paused; then what comes next, as far as there is room."""
        columns = Columns.for_width(width)
        shown = [self._uploads_rule(width)]
        if self._has_titles(width) and self._board.count(UploadState.UPLOADING):
            shown.append(uploads.titles(columns))
        lines = max(0, room - len(shown))
        total = self._total()
        if not len(self._listed):
            return [*shown, [Segment(self._nothing(total), rows.FAINT)]][: max(0, room)]
        if total > lines and lines > 1:
            lines -= 1
        if self._state.mode not in (Mode.DETAILS, Mode.LOG, Mode.HELP):
            self.page = max(1, lines)
        chosen = self._window(lines)
        shown += [self._upload(upload, width, columns) for upload in chosen]
        if total > len(chosen) and len(shown) < room:
            shown.append(self._rest(chosen, width))
        return shown[: max(0, room)]

    def _total(self) -> int:
        if self._state.pattern and self._moment.found is not None:
            return len(self._listed) + self._found_more()
        return sum(map(self._count, SHOWN_STATES))

    def _count(self, state: UploadState) -> int:
        """How many of the list are in that state: of the failed ones those that can be retried."""
        return len(self._listed.failed) if state is UploadState.FAILED else self._board.count(state)

    def _found_more(self) -> bool:
        return self._moment.found is not None and self._moment.found.is_more

    def _nothing(self, total: int) -> str:
        if self._state.pattern:
            return " no upload has this in its name or file ID"
        return " nothing to upload" if not total else f" {total:,} to go on with"

    def _window(self, lines: int) -> list[Upload]:
        """The part of the list in which the selection stands, in the middle where that is possible."""
        start = 0
        if self._chosen is not None:
            position = self._listed.position(self._chosen.file_id) or 0
            start = max(0, min(position - lines // 2, len(self._listed) - lines))
        return self._listed.window(start, lines)

    def _upload(self, upload: Upload, width: int, columns: Columns) -> Row:
        row = uploads.upload(upload, self._moment.now, self._moment.at, width, columns, self._glyphs)
        return uploads.selected(row, self._glyphs) if upload is self._chosen else row

    def _rest(self, chosen: list[Upload], width: int) -> Row:
        """How many there are of each state that are not shown."""
        if self._state.pattern:
            more = " and more, type more of the name" if self._found_more() else ""
            text = f" {self._glyphs.ellipsis} {len(self._listed):,} found{more}"
            return [Segment(text, rows.FAINT)]
        shown = Counter(upload.state for upload in chosen)
        left = [(self._count(state) - shown[state], state) for state in SHOWN_STATES]
        parts = [[Segment(f"{count:,} {state}", rows.FAINT)] for count, state in left if count > 0]
        row = [Segment(f" {self._glyphs.ellipsis} and ", rows.FAINT), *rows.separated(parts, self._glyphs)]
        size = Segment(f" ({byte_count(self._board.queued_bytes)} queued in all)", rows.FAINT)
        has_size = left[-1][0] > 0 and self._board.queued_bytes
        return [*row, size] if has_size and rows.width_of([*row, size]) <= width else row

    def _uploads_rule(self, width: int) -> Row:
        board = self._board
        if self._state.pattern:
            pattern = rows.words(self._state.pattern, max(8, width // 3), self._glyphs)
            found = f"{len(self._listed):,}{'+' if self._found_more() else ''} found"
            return self._titled(
                "Uploads", [[Segment(f"/{pattern}", rows.MINE)], [Segment(found)]], self._rate(width), width
            )
        parts = [
            [Segment(f"{self._count(state):,} {state}", style)]
            for state, style in (
                (UploadState.UPLOADING, rows.PLAIN),
                (UploadState.WAITING, rows.CARE),
                (UploadState.PAUSED, rows.MOVING),
                (UploadState.FAILED, rows.BAD),
            )
            if self._count(state)
        ]
        if board.count(UploadState.QUEUED):
            size = [Segment(f" ({byte_count(board.queued_bytes)})")] if board.queued_bytes else []
            parts.append([Segment(f"{board.count(UploadState.QUEUED):,} queued"), *size])
        # What the states are of goes without saying before any of them goes.
        right, whole = self._rate(width), rows.separated(parts, self._glyphs)
        room = width - rows.width_of(whole) - rows.width_of(right) - 9
        return (
            rows.rule(whole, right, width, self._glyphs)
            if 0 <= room < 9
            else self._titled("Uploads", parts, right, width)
        )

    def _rate(self, width: int) -> Row:
        """Of all together, and how long all of it takes at that pace."""
        board = self._board
        if not board.count(UploadState.UPLOADING):
            return []
        if not board.rate and any(one.is_confirming for one in board.first(UploadState.UPLOADING, RATES_SEEN)):
            # That nothing is sent is no trouble then.
            return []
        row = [Segment(f"{byte_count(board.rate)}/s", rows.STRONG)]
        if width < LEFT_FROM or board.left_s is None or not board.count(UploadState.QUEUED):
            return row
        left = duration(uploads.rounded(board.left_s))
        return [*row, Segment(f" {self._glyphs.dot} {left} for all", rows.FAINT)]

    def _titled(self, title: str, parts: list[Row], right: Row, width: int) -> Row:
        return rows.titled(title, parts, right, width, self._glyphs)

    # --- what ended, and the chat ---

    def _talk(self, width: int, room: int) -> list[Row]:
        shown, chat_rows = talk.talk(self._board, self._moment.at, width, room, self._glyphs)
        self._note_in_sight(chat_rows, width)
        return shown

    def _note_in_sight(self, chat_rows: int, width: int) -> None:
        if self._board.heard > self._state.heard:
            self._in_sight = talk.in_sight(self._board, chat_rows, self._moment.at, width, self._glyphs)
