"""Where a person at the console is, and what they can wish."""

from dataclasses import dataclass
from enum import StrEnum

from sse_agent.board import Upload
from sse_agent.console.editing import EMPTY, Draft
from sse_agent.console.listing import Listed


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
    """The agent ends as by Ctrl-C. `is_sure`: the person was asked."""

    is_sure: bool = False


Wish = Do | DoToAll | Say | Stop


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that only y and n answer: `question`, and the name of what it is about, which is anybody's text.

    With `while_listed` it is withdrawn once that upload is over.
    """

    question: str
    name: str
    wish: Wish
    while_listed: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """The answer to the last key or deed; a name in it is anybody's text."""

    text: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Where the person is.

    `selected` is a file ID, `position` where it stands in the list or last stood: -1 before the first selection.
    `log_end`: the number of the entry behind the last one shown; None follows the log.
    """

    mode: Mode = Mode.LIST
    selected: str = ""
    position: int = -1
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
    """What a key needs to know of what is shown: the list, a page's rows, how far the panel and the log go.

    `looked_up` is the upload of the details, as the journal had it; `unsent` counts messages that don't get through.
    """

    listed: Listed
    page: int = 10
    most_scroll: int = 0
    log_first: int = 0
    log_total: int = 0
    looked_up: Upload | None = None
    unsent: int = 0

    def chosen(self, state: State) -> Upload | None:
        """The selected upload: as it is listed, or else, in its details, as it was looked up."""
        found = self.listed.find(state.selected)
        if found is None and self.looked_up is not None and self.looked_up.file_id == state.selected:
            return self.looked_up
        return found
