"""What each key means: the state of the console, a key → the next state, and what the person wishes. Pure."""

from collections.abc import Callable
from dataclasses import replace

from sse_agent.board import Board
from sse_agent.console.editing import EMPTY, PASTE, edited
from sse_agent.console.listing import Listed, is_over, over_because
from sse_agent.console.state import Ask, Do, DoToAll, Mode, Note, Say, Sight, State, Stop, Wish
from sse_agent.lifecycle import UploadState

HISTORY = 100

Step = tuple[State, Wish | None]
_Handler = Callable[[State, str, Sight], Step]


def pressed(state: State, key: str, sight: Sight) -> Step:
    """After this key."""
    state = settled(replace(state, note=None), sight.listed)
    if state.ask is not None:
        return _answered(state, state.ask, key)
    return _HANDLERS[state.mode](state, key, sight)


def settled(state: State, listed: Listed) -> State:
    """The selection follows its upload, and goes with it: a key must never be for another one than was looked at."""
    if state.mode is Mode.CHAT and state.heard != listed.board.heard:
        state = replace(state, heard=listed.board.heard)
    state = _withdrawn(state, listed)
    if not state.selected:
        return state
    position = listed.position(state.selected)
    if position is not None:
        return state if position == state.position else replace(state, position=position)
    # Details stay with the upload that they were asked for.
    if state.mode is Mode.DETAILS:
        return state
    gone = Note("the selected upload is not in the list any more: nothing is selected")
    return replace(state, selected="", note=state.note or gone)


def _withdrawn(state: State, listed: Listed) -> State:
    """Without a question about an upload that is over meanwhile."""
    ask = state.ask
    if ask is None or not ask.while_listed or not isinstance(ask.wish, Do):
        return state
    found = listed.find(ask.wish.file_id)
    if found is not None and not is_over(found):
        return state
    last = next(
        (one.state for one in reversed(listed.board.finished) if one.name == ask.name and not one.is_command), "over"
    )
    became = last if found is None else found.state
    return replace(state, ask=None, note=Note(f"the question is withdrawn, the upload is {became}: {ask.name}"))


def _answered(state: State, ask: Ask, key: str) -> Step:
    if key in ("y", "Y"):
        return replace(state, ask=None), ask.wish
    if key in ("n", "N", "esc"):
        return replace(state, ask=None, note=Note("nothing was changed")), None
    return state, None


# --- the list ---------------------------------------------------------------------------------------


def _in_list(state: State, key: str, sight: Sight) -> Step:
    moved = _moved(state, _LETTERS.get(key, key), sight)
    if moved is not None:
        return moved, None
    if key.startswith(PASTE):
        # Pasted letters are no keys: they are what somebody wants to say.
        return _in_chat(_chatting(state), key, sight)
    if key == "enter":
        is_there = sight.listed.find(state.selected) is not None
        return (replace(state, mode=Mode.DETAILS, scroll=0) if is_there else _unselected(state)), None
    if key == "esc":
        return replace(state, filter=EMPTY), None
    return _anywhere(state, key, sight)


_LETTERS = {"j": "down", "k": "up"}


def _moved(state: State, key: str, sight: Sight) -> State | None:
    steps = {"up": -1, "down": 1, "pgup": -sight.page, "pgdn": sight.page}
    last = len(sight.listed) - 1
    if key not in steps and key not in ("home", "end"):
        return None
    if last < 0:
        return replace(state, note=Note("there is nothing to select"))
    if key in ("home", "end"):
        position = 0 if key == "home" else last
    elif not state.selected:
        # The first key only shows where the selection is: where the last one was, if there was one.
        position = state.position if state.position >= 0 else last if key == "up" else 0
    else:
        position = state.position + steps[key]
    position = max(0, min(position, last))
    return replace(state, position=position, selected=sight.listed.window(position, 1)[0].file_id)


def _anywhere(state: State, key: str, sight: Sight) -> Step:
    """Keys of the list that are the same in the panels in front of it."""
    if key in _DEEDS:
        return _deed(state, _DEEDS[key], sight)
    if key in ("P", "R"):
        return _deed_to_all(state, key, sight)
    if key == "q":
        return _quit(state, sight)
    if key in ("m", "tab"):
        return _chatting(state), None
    if key in _PANELS:
        return replace(state, mode=_PANELS[key], scroll=0, log_end=None), None
    return state, None


_DEEDS = {"p": "pause", "r": "resume", "t": "retry", "c": "cancel"}
_PANELS = {"/": Mode.FILTER, "l": Mode.LOG, "?": Mode.HELP}


def _unselected(state: State) -> State:
    return replace(state, note=Note("nothing is selected: select an upload with the arrow keys first"))


def _deed(state: State, name: str, sight: Sight) -> Step:
    chosen = sight.chosen(state)
    if chosen is None and not (state.mode is Mode.DETAILS and state.selected):
        return _unselected(state), None
    wish = Do(name, state.selected, chosen.name if chosen else state.selected)
    if name != "cancel":
        return state, wish
    if chosen is not None and is_over(chosen):
        why = f"not cancelled: the upload is {over_because(chosen)}: {chosen.name}"
        return replace(state, note=Note(why, is_bad=True)), None
    question = "Cancel for good, and delete what is uploaded?"
    ask = Ask(question, wish.file_name, wish, while_listed=sight.listed.find(state.selected) is not None)
    return replace(state, ask=ask), None


def _deed_to_all(state: State, key: str, sight: Sight) -> Step:
    board, wish = sight.listed.board, DoToAll("resume" if key == "R" else "pause")
    if key == "R":
        count, question = board.count(UploadState.PAUSED), "Resume all that are paused"
        is_asked, more = count > 0 and bool(state.pattern), f" ({count:,})"
    else:
        count, more = _going_on(board), ""
        is_asked, question = count > 1, f"Pause all {count:,} uploads"
    if not is_asked:
        return state, wish
    return replace(state, ask=Ask(f"{question}{more}{_beyond(state, sight)}?", "", wish)), None


def _beyond(state: State, sight: Sight) -> str:
    """All are all, whatever a filter shows: who looks at a few of them must know it."""
    if not state.pattern:
        return ""
    found = sight.listed.found
    return f", not only {'those' if found is None else f'the {len(sight.listed):,}'} found"


def _going_on(board: Board) -> int:
    """How many uploads are neither over nor paused."""
    return sum(map(board.count, (UploadState.UPLOADING, UploadState.WAITING, UploadState.QUEUED)))


def _quit(state: State, sight: Sight) -> Step:
    ask = stopping(sight.listed.board, sight.unsent)
    return (state, Stop()) if ask is None else (replace(state, ask=ask), None)


def stopping(board: Board, messages: int) -> Ask | None:
    """The question before the agent stops, if anything is unfinished."""
    uploads = _going_on(board)
    parts = [f"{uploads:,} upload{'s go' if uploads > 1 else ' goes'} on"] if uploads else []
    parts += [f"{messages:,} message{'s go' if messages > 1 else ' goes'} out"] if messages else []
    if not parts:
        return None
    return Ask(f"Stop the agent? {' and '.join(parts)} at the next start.", "", Stop(is_sure=True))


def _chatting(state: State) -> State:
    return replace(state, mode=Mode.CHAT)


# --- the chat ---------------------------------------------------------------------------------------


def _in_chat(state: State, key: str, sight: Sight) -> Step:
    state = replace(state, heard=sight.listed.board.heard)
    if key in ("esc", "tab"):
        return replace(state, mode=Mode.LIST), None
    if key in ("up", "down"):
        return _recalled(state, 1 if key == "up" else -1), None
    if key == "enter":
        return _said(state)
    draft = edited(state.draft, key)
    return (state if draft is None else replace(state, draft=draft)), None


def _said(state: State) -> Step:
    line = "".join(state.draft).strip()
    after = replace(state, draft=EMPTY, recalled=0, unsent=EMPTY)
    if not line:
        return after, None
    history = (*(past for past in state.history if past != line), line)[-HISTORY:]
    return replace(after, history=history), Say(line)


def _recalled(state: State, step: int) -> State:
    """One line further back in what was said, or forth again to what was being typed."""
    recalled = max(0, min(state.recalled + step, len(state.history)))
    if recalled == state.recalled:
        return state
    unsent = state.draft if state.recalled == 0 else state.unsent
    draft = (state.history[-recalled], "") if recalled else unsent
    return replace(state, recalled=recalled, unsent=unsent, draft=draft)


def unsaid(state: State, line: str) -> State:
    """The line could not be taken: it stands where it was typed, in front of what was typed since."""
    before, after = state.draft
    return replace(state, draft=(f"{line} {before}" if before else line, after))


# --- the filter, and the panels ---------------------------------------------------------------------


def _in_filter(state: State, key: str, sight: Sight) -> Step:
    if key == "enter":
        return replace(state, mode=Mode.LIST), None
    if key == "esc":
        return replace(state, mode=Mode.LIST, filter=EMPTY), None
    if key in ("up", "down", "pgup", "pgdn"):
        return _moved(state, key, sight) or state, None
    filter_ = edited(state.filter, key)
    return (state if filter_ is None else replace(state, filter=filter_)), None


def _in_panel(state: State, key: str, sight: Sight) -> Step:
    if key in ("esc", "enter", "q") or (key, state.mode) in (("l", Mode.LOG), ("?", Mode.HELP)):
        return replace(state, mode=Mode.LIST, scroll=0), None
    key = _LETTERS.get(key, key)
    steps = {"up": -1, "down": 1, "pgup": -sight.page, "pgdn": sight.page, "home": -(10**9), "end": 10**9}
    if key in steps:
        return _scrolled(state, steps[key], sight), None
    if state.mode is not Mode.DETAILS and key in _DEEDS:
        # Nobody sees there what is selected.
        return state, None
    return _anywhere(state, key, sight)


def _scrolled(state: State, step: int, sight: Sight) -> State:
    if state.mode is not Mode.LOG:
        return replace(state, scroll=max(0, min(state.scroll + step, sight.most_scroll)))
    end = sight.log_total if state.log_end is None else state.log_end
    end = max(min(sight.log_first + sight.page, sight.log_total), end + step)
    return replace(state, log_end=None if end >= sight.log_total else end)


_HANDLERS: dict[Mode, _Handler] = {
    Mode.LIST: _in_list,
    Mode.CHAT: _in_chat,
    Mode.FILTER: _in_filter,
    Mode.DETAILS: _in_panel,
    Mode.LOG: _in_panel,
    Mode.HELP: _in_panel,
}
