"""What each key means: the state of the console, a key → the next state, and what the person wishes. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from sse_agent.console.editing import EMPTY, PASTE, Draft, edited
from sse_agent.console.listing import Listed
from sse_agent.lifecycle import UploadState

HISTORY = 100


class Mode(StrEnum):
    """What the keys are for."""

    LIST = "list"
    CHAT = "chat"
    FILTER = "filter"
    DETAILS = "details"
    LOG = "log"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Do:
    """One of the desk's deeds, to one upload."""

    name: str
    file_id: str
    file_name: str


@dataclass(frozen=True, slots=True)
class DoToAll:
    """One of the desk's deeds, to all that it is meant for."""

    name: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the chat."""

    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent ends as by Ctrl-C."""


Wish = Do | DoToAll | Say | Stop


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that only y and n answer: `question`, and the name of what it is about, which is anybody's text."""

    question: str
    name: str
    wish: Wish


@dataclass(frozen=True, slots=True)
class Note:
    """The answer to the last key or deed; a name in it is anybody's text."""

    text: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Where the person is. `log_end`: the number of the entry behind the last one shown; None follows the log."""

    mode: Mode = Mode.LIST
    selected: str = ""
    position: int = 0
    draft: Draft = EMPTY
    history: tuple[str, ...] = ()
    recalled: int = 0
    unsent: Draft = EMPTY
    filter: Draft = EMPTY
    scroll: int = 0
    log_end: int | None = None
    ask: Ask | None = None
    note: Note | None = None
    heard: int = 0

    @property
    def pattern(self) -> str:
        """What names must contain to be listed."""
        return "".join(self.filter)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a key needs to know of what is shown: the list, a page's rows, how far the panel and the log go."""

    listed: Listed
    page: int = 10
    most_scroll: int = 0
    log_first: int = 0
    log_total: int = 0


Step = tuple[State, Wish | None]
_Handler = Callable[[State, str, Sight], Step]


def pressed(state: State, key: str, sight: Sight) -> Step:
    """After this key."""
    state = settled(replace(state, note=None), sight.listed)
    if state.ask is not None:
        return _answered(state, state.ask, key)
    return _HANDLERS[state.mode](state, key, sight)


def settled(state: State, listed: Listed) -> State:
    """The selection follows its upload; when that has left the list, what stands in its place is selected."""
    heard = listed.board.heard if state.mode is Mode.CHAT else state.heard
    if not state.selected:
        return state if heard == state.heard else replace(state, heard=heard)
    position = listed.position(state.selected)
    selected = state.selected
    if position is None:
        position = max(0, min(state.position, len(listed) - 1))
        # Details stay with the upload that they were asked for.
        if state.mode is not Mode.DETAILS:
            selected = next((one.file_id for one in listed.window(position, 1)), "")
    if (heard, position, selected) == (state.heard, state.position, state.selected):
        return state
    return replace(state, heard=heard, position=position, selected=selected)


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
        chosen = sight.listed.find(state.selected)
        return (replace(state, mode=Mode.DETAILS, scroll=0) if chosen else _unselected(state)), None
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
        # The first key only shows where the selection is.
        position = last if key == "up" else 0
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
    return replace(state, note=Note("select an upload first, with the arrow keys"))


def _deed(state: State, name: str, sight: Sight) -> Step:
    chosen = sight.listed.find(state.selected)
    if chosen is None and not (state.mode is Mode.DETAILS and state.selected):
        return _unselected(state), None
    wish = Do(name, state.selected, chosen.name if chosen else state.selected)
    if name != "cancel":
        return state, wish
    question = "Cancel for good, and delete what the tus server has of it?"
    return replace(state, ask=Ask(question, wish.file_name, wish)), None


def _deed_to_all(state: State, key: str, sight: Sight) -> Step:
    if key == "R":
        return state, DoToAll("resume")
    board = sight.listed.board
    count = sum(board.count(state) for state in (UploadState.UPLOADING, UploadState.WAITING, UploadState.QUEUED))
    if count < 2:
        return state, DoToAll("pause")
    return replace(state, ask=Ask(f"Pause all {count:,} uploads?", "", DoToAll("pause"))), None


def _quit(state: State, sight: Sight) -> Step:
    board = sight.listed.board
    count = board.count(UploadState.UPLOADING)
    if not count:
        return state, Stop()
    what = "1 upload is under way and goes" if count == 1 else f"{count:,} uploads are under way and go"
    return replace(state, ask=Ask(f"Quit? {what} on at the next start.", "", Stop())), None


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
    if key in ("esc", "enter") or (key, state.mode) in (("l", Mode.LOG), ("?", Mode.HELP)):
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
