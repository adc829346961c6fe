"""The two lines at the bottom: what is typed, asked or was answered; and which keys do what. Pure."""

from rich.cells import cell_len
from rich.segment import Segment

from sse_agent.board import Board, Upload
from sse_agent.console import rows
from sse_agent.console.editing import Draft
from sse_agent.console.glyphs import Glyphs
from sse_agent.console.keyline import Key, keys_of
from sse_agent.console.listing import Listed
from sse_agent.console.rows import Row
from sse_agent.console.state import Ask, Mode, Note, State
from sse_agent.printable import printable, shortened, shortened_name, shortened_words

FILTER_HINT = "a part of the name or file ID"
CHAT_HINT = "type to answer in the chat"


def line(state: State, listed: Listed, in_sight: int, width: int, glyphs: Glyphs) -> Row:
    """What matters most now: a question, what is typed, an answer, what somebody said.

    `in_sight`: how many lines of the chat are seen elsewhere.
    """
    if state.ask is not None:
        return _question(state.ask, width, glyphs)
    if state.mode is Mode.CHAT:
        return typed(state.draft, glyphs.prompt, CHAT_HINT, width, glyphs)
    if state.mode is Mode.FILTER:
        return typed(state.filter, "/", FILTER_HINT, width, glyphs)
    if state.note is not None:
        return _note(state.note, width, glyphs)
    if listed.board.heard > state.heard:
        return _heard(listed.board, state, in_sight, width, glyphs)
    return []


def typed(draft: Draft, prompt: str, hint: str, width: int, glyphs: Glyphs) -> Row:
    """What is being typed, with the cursor in sight."""
    row = [Segment(f" {prompt} ", rows.MINE)]
    before, after = draft
    if not before and not after:
        return [*row, Segment(" ", rows.CURSOR), Segment(shortened(hint, width - 6, glyphs.ellipsis), rows.FAINT)]
    left, right = printable(before, is_ascii=glyphs.is_ascii), printable(after, is_ascii=glyphs.is_ascii)
    room = width - 6
    if cell_len(left) + cell_len(right) > room:
        right = shortened(right, max(room // 4, room - cell_len(left)), glyphs.ellipsis)
        left = shortened_name(left, room - cell_len(right), glyphs.ellipsis)
    return [*row, Segment(left), Segment(right[:1] or " ", rows.CURSOR), Segment(right[1:])]


def _question(ask: Ask, width: int, glyphs: Glyphs) -> Row:
    """The name of what it is about stays, whatever room there is."""
    answers = " y/n"
    room = width - 3 - len(answers)
    name = rows.short_name(ask.name, min(room, max(12, room - len(ask.question) - 2)), glyphs) if ask.name else ""
    left = room - (cell_len(name) + 2 if name else 0)
    question = shortened_words(ask.question, left, glyphs.ellipsis) if left >= 8 else "?"
    parts = [Segment(" ? ", rows.CARE), Segment(name, rows.STRONG), Segment("  " if name else ""), Segment(question)]
    return [*parts, Segment(answers, rows.STRONG)]


def _note(note: Note, width: int, glyphs: Glyphs) -> Row:
    style = rows.BAD if note.is_bad else rows.GOOD
    mark = glyphs.warn if note.is_bad else glyphs.dot
    return [Segment(f" {mark} ", style), Segment(rows.words(note.text, width - 4, glyphs))]


def _heard(board: Board, state: State, in_sight: int, width: int, glyphs: Glyphs) -> Row:
    """Somebody said something that the person has not answered yet."""
    # The last one stands here.
    count = board.heard - state.heard - max(1, in_sight)
    last = next((said for said in reversed(board.chat) if not said.mine), None)
    answer = [Segment("m", rows.STRONG), Segment(" to answer ", rows.FAINT)]
    more = f" (and {count:,} more)" if count > 0 else ""
    room = width - rows.width_of(answer) - 5 - len(more)
    text = "" if last is None else f"{last.sender or '?'}: {last.text}"
    left = [Segment(f" {glyphs.on} ", rows.THEIRS), Segment(rows.words(text, max(1, room), glyphs))]
    return rows.spread([*left, Segment(more, rows.FAINT)], answer, width)


def keys(state: State, chosen: Upload | None, listed: Listed, width: int, glyphs: Glyphs) -> Row:
    """Which keys do what: as many as there is room for, in their order; and what the bars are made of."""
    there = list(keys_of(state, chosen, listed))
    while True:
        row = [Segment(" "), *_joined(there, glyphs)]
        if rows.width_of(row) <= width or len(there) == 1:
            break
        there.remove(max(there, key=lambda key: key.rank))
    legend = [Segment(glyphs.confirmed * 2, rows.GOOD), Segment(" confirmed  ", rows.FAINT)]
    legend += [Segment(glyphs.sent * 2, rows.MOVING), Segment(" sent ", rows.FAINT)]
    return rows.spread(row, legend if state.mode in (Mode.LIST, Mode.CHAT) and state.ask is None else [], width)


def _joined(there: list[Key], glyphs: Glyphs) -> Row:
    row: Row = []
    for key in there:
        name = key.name.replace("Up Down", glyphs.arrows)
        row += [Segment("  " if row else ""), Segment(name, rows.STRONG), Segment(f" {key.does}")]
    return row
