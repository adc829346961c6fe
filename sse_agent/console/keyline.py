"""Which keys do what now, for the bottom line. Pure."""

from dataclasses import dataclass

from sse_agent.board import Upload
from sse_agent.console.listing import Listed, is_over
from sse_agent.console.state import Mode, State
from sse_agent.lifecycle import UploadState


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the bottom line. The lower its rank, the longer it stays when there is little room."""

    name: str
    does: str
    rank: int


_CTRL_C = Key("Ctrl-C", "stop", 90)
_HELP = Key("?", "help", 0)
_FIXED: dict[Mode, tuple[Key, ...]] = {
    Mode.CHAT: (
        Key("Enter", "send", 0),
        Key("Esc", "to the list", 1),
        Key("Up Down", "said before", 2),
        Key("Ctrl-W", "erase word", 3),
        Key("Ctrl-U", "erase line", 4),
    ),
    Mode.FILTER: (
        Key("Enter", "keep", 0),
        Key("Esc", "clear", 1),
        Key("Up Down", "select", 2),
        Key("Ctrl-U", "erase", 3),
    ),
    Mode.LOG: (
        Key("Up Down", "scroll", 1),
        Key("PgUp PgDn", "pages", 3),
        Key("Home", "oldest", 4),
        Key("End", "newest", 2),
        Key("Esc q", "back", 0),
    ),
    Mode.HELP: (Key("Up Down", "scroll", 1), Key("Esc q", "back", 0)),
}


def keys_of(state: State, chosen: Upload | None, listed: Listed) -> tuple[Key, ...]:
    """Which keys do what now."""
    if state.ask is not None:
        return (Key("y", "yes", 0), Key("n", "no", 1))
    if state.mode in _FIXED:
        return (*_FIXED[state.mode], _CTRL_C)
    deeds = () if chosen is None or is_over(chosen) else _deeds_of(chosen.state)
    if state.mode is Mode.DETAILS:
        return (Key("Up Down", "scroll", 4), *deeds, _HELP, Key("Esc q", "back", 1), _CTRL_C)
    return (*_list_keys(state, chosen, deeds), *_all_keys(listed), _HELP, Key("q", "quit", 6), _CTRL_C)


def _list_keys(state: State, chosen: Upload | None, deeds: tuple[Key, ...]) -> tuple[Key, ...]:
    first = Key("Up Down", "select", 1)
    selected = () if chosen is None else (Key("Enter", "details", 2), *deeds)
    filtered = (Key("Esc", "all again", 3),) if state.pattern else (Key("/", "filter", 7),)
    return (first, *selected, *filtered, Key("m", "chat", 5), Key("l", "log", 8))


def _all_keys(listed: Listed) -> tuple[Key, ...]:
    count = listed.board.count
    can_pause = any(map(count, (UploadState.UPLOADING, UploadState.WAITING, UploadState.QUEUED)))
    pause = (Key("P", "pause all", 9),) if can_pause else ()
    return (*pause, Key("R", "resume all", 10)) if count(UploadState.PAUSED) else pause


_PAUSE, _RESUME = Key("p", "pause", 2), Key("r", "resume", 2)
_NOW, _RETRY, _CANCEL = Key("t", "try now", 3), Key("t", "retry", 3), Key("c", "cancel", 4)


def _deeds_of(state: UploadState) -> tuple[Key, ...]:
    """What can be done to an upload in that state."""
    return {
        UploadState.QUEUED: (_PAUSE, _CANCEL),
        UploadState.UPLOADING: (_PAUSE, _CANCEL),
        UploadState.WAITING: (_NOW, _PAUSE, _CANCEL),
        UploadState.PAUSED: (_RESUME, _CANCEL),
        UploadState.FAILED: (_RETRY, _CANCEL),
    }.get(state, ())
