"""What happened inside, as frozen values: one feed for console, log lines and tests.

No event carries a secret or an upload URL. `name` is stable and documented (docs/reference/log-events.md);
the fields of the class are the fields of the log line.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from sse_agent.config import Unknown
from sse_agent.lifecycle import UploadState


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""

    name: ClassVar[str]
    level: ClassVar[str] = "info"


@dataclass(frozen=True, slots=True)
class AgentStarted(Event):
    """The journal is open. Counts are by state; `queued_bytes`: still to be confirmed of all but the paused ones."""

    name: ClassVar[str] = "agent.started"
    version: str
    client_id: str
    control_plane: str
    epoch: int
    uploads: dict[str, int]
    queued_bytes: int


@dataclass(frozen=True, slots=True)
class AgentStopping(Event):
    """A signal came; what is under way is brought to a safe point."""

    name: ClassVar[str] = "agent.stopping"
    reason: str


@dataclass(frozen=True, slots=True)
class AgentStopped(Event):
    """The journal is closed after this."""

    name: ClassVar[str] = "agent.stopped"
    reason: str


@dataclass(frozen=True, slots=True)
class StreamConnected(Event):
    """HELLO was read."""

    name: ClassVar[str] = "stream.connected"
    transport: str
    resumed: bool
    latest: str


@dataclass(frozen=True, slots=True)
class StreamLost(Event):
    """The stream ended or could not be opened; `wait_s` until the next try."""

    name: ClassVar[str] = "stream.lost"
    level: ClassVar[str] = "warning"
    reason: str
    wait_s: float
    attempt: int


@dataclass(frozen=True, slots=True)
class StreamRenewed(Event):
    """The access token was renewed, and with it the stream: the next one was opened before the last was closed."""

    name: ClassVar[str] = "stream.renewed"
    level: ClassVar[str] = "debug"
    latest: str


@dataclass(frozen=True, slots=True)
class KeyRotated(Event):
    """The machine has another key, which the control plane knows; the one before it has ended."""

    name: ClassVar[str] = "agent.key_rotated"
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyUnused(Event):
    """This machine is enrolled, but a fixed token is set, too: that is shown, and the key is not used."""

    name: ClassVar[str] = "agent.key_unused"
    level: ClassVar[str] = "warning"
    enrolled_as: str


@dataclass(frozen=True, slots=True)
class SettingUnknown(Event):
    """A name in the environment or a settings file is no setting, and is not heeded; `meant` may be, or is empty."""

    name: ClassVar[str] = "agent.setting_unknown"
    level: ClassVar[str] = "warning"
    setting: str
    place: str
    meant: str

    @property
    def sentence(self) -> str:
        """For people."""
        return str(Unknown(self.setting, self.place, self.meant))


@dataclass(frozen=True, slots=True)
class StreamReset(Event):
    """The control plane does not know our cursor, or let this machine in again; the whole state is reported again."""

    name: ClassVar[str] = "stream.reset"
    level: ClassVar[str] = "warning"
    reason: str
    cursor: str

    @property
    def cause(self) -> str:
        """The reason in words, for people."""
        if self.reason == "readmitted":
            return "the control plane let this machine in again"
        return f"the control plane lost our place ({self.reason})"


@dataclass(frozen=True, slots=True)
class AgentParked(Event):
    """Another agent took this one's place, or it was deleted; nothing is sent until `wait_s` have passed."""

    name: ClassVar[str] = "agent.parked"
    level: ClassVar[str] = "error"
    reason: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class CommandReceived(Event):
    """A command is durable."""

    name: ClassVar[str] = "command.received"
    command_id: str
    type: str
    actor: str


@dataclass(frozen=True, slots=True)
class CommandRepeated(Event):
    """A command came again; its last acknowledgement goes out again."""

    name: ClassVar[str] = "command.repeated"
    level: ClassVar[str] = "debug"
    command_id: str


@dataclass(frozen=True, slots=True)
class CommandFinished(Event):
    """The final acknowledgement of a command is durable. `detail` is for people at this machine only.

    Of one that was not completed, as far as it can be read: the file or folder that it is about, or the file ID of an
    upload that nobody knows; and `actor`, who it came from.
    """

    name: ClassVar[str] = "command.finished"
    command_id: str
    type: str
    status: str
    code: str
    detail: str
    file_name: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class CommandStumbled(Event):
    """A bug: carrying out a command raised something nobody expected. After the third time it is put aside."""

    name: ClassVar[str] = "command.stumbled"
    level: ClassVar[str] = "error"
    command_id: str
    type: str
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class UploadQueued(Event):
    """An upload stands in the queue. `why`: new, resumed, retried, displaced, or stopped (goes on at the next start).

    `overruled_by`: who resumed, from afar, what was paused here. `number`: uploads are numbered as they come; of equal
    priority the lowest runs first.
    """

    name: ClassVar[str] = "upload.queued"
    file_id: str
    file_name: str
    size: int
    offset: int
    priority: int
    why: str
    overruled_by: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class PauseOverruled(Event):
    """Somebody far away resumed what a person here was just pausing; it goes on without having stopped."""

    name: ClassVar[str] = "upload.pause_overruled"
    level: ClassVar[str] = "warning"
    file_id: str
    file_name: str
    overruled_by: str


@dataclass(frozen=True, slots=True)
class UploadStarted(Event):
    """A worker carries it now. `offset`: confirmed when it was asked last; the tus server is asked now.

    `attempt`: 1, and one more after each that failed, until one gets on again; `uploads show` lists all.
    """

    name: ClassVar[str] = "upload.started"
    file_id: str
    file_name: str
    size: int
    offset: int
    attempt: int


@dataclass(frozen=True, slots=True)
class UploadLocated(Event):
    """The tus server was asked: it has the first `offset` bytes, and what comes after them is sent."""

    name: ClassVar[str] = "upload.located"
    file_id: str
    file_name: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class UploadProgressed(Event):
    """How far it is: `offset` bytes confirmed, `bytes_sent` sent; in this attempt, `attempt_sent` went out in all.

    `rate` in bytes per second, 0 while nothing moves. `confirming`: all that was to be sent at once is sent, and only
    the tus server's answer is waited for. In the log at most once in 10 s for each upload.
    """

    name: ClassVar[str] = "upload.progress"
    file_id: str
    offset: int
    bytes_sent: int
    size: int
    rate: int
    attempt_sent: int = 0
    confirming: bool = False


@dataclass(frozen=True, slots=True)
class UploadWaiting(Event):
    """Trouble; the next try is at `next_try_at`."""

    name: ClassVar[str] = "upload.waiting"
    level: ClassVar[str] = "warning"
    file_id: str
    offset: int
    reason: str
    next_try_at: datetime
    tries: int
    file_name: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class UploadPostponed(Event):
    """The next try of one that waits is at another time: its tus server as a whole is in trouble, or no longer."""

    name: ClassVar[str] = "upload.postponed"
    level: ClassVar[str] = "debug"
    file_id: str
    file_name: str
    next_try_at: datetime


@dataclass(frozen=True, slots=True)
class UploadPaused(Event):
    """Paused by a person; `here`: one at this machine, else from afar."""

    name: ClassVar[str] = "upload.paused"
    file_id: str
    offset: int
    here: bool = False
    file_name: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class UploadCompleted(Event):
    """The tus server confirmed the last byte."""

    name: ClassVar[str] = "upload.completed"
    file_id: str
    file_name: str
    size: int
    sha256: str
    seconds: float
    confirmation: str


@dataclass(frozen=True, slots=True)
class UploadEnded(Event):
    """It failed. `detail` is for people at this machine only."""

    name: ClassVar[str] = "upload.failed"
    level: ClassVar[str] = "warning"
    file_id: str
    state: UploadState
    code: str
    message: str
    detail: str
    retryable: bool
    file_name: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class UploadCancelled(Event):
    """Cancelled by a person; `here`: one at this machine, else from afar, by `actor` if the command names one."""

    name: ClassVar[str] = "upload.cancelled"
    file_id: str
    file_name: str
    size: int
    offset: int
    here: bool
    actor: str


@dataclass(frozen=True, slots=True)
class MessageShown(Event):
    """A chat line; `mine` when it was typed at this console."""

    name: ClassVar[str] = "chat.message"
    sender: str
    text: str
    mine: bool


@dataclass(frozen=True, slots=True)
class SenderHeldUp(Event):
    """POSTs do not get through."""

    name: ClassVar[str] = "sender.waiting"
    level: ClassVar[str] = "warning"
    reason: str
    wait_s: float
    pending: int


@dataclass(frozen=True, slots=True)
class MessageBuried(Event):
    """The control plane refused a message for good; it is kept as a dead letter."""

    name: ClassVar[str] = "sender.dead_letter"
    level: ClassVar[str] = "error"
    message_id: str
    type: str
    reason: str


@dataclass(frozen=True, slots=True)
class JournalTrouble(Event):
    """The journal cannot be written; no command is taken until it can."""

    name: ClassVar[str] = "journal.trouble"
    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class LinesDropped(Event):
    """Whoever reads the log did not take it; so many lines are missing here."""

    name: ClassVar[str] = "log.dropped"
    level: ClassVar[str] = "warning"
    count: int


Listener = Callable[[Event], None]


class Feed:
    """Hands every event to every listener, at once and in order; a listener must not block.

    The last few events are kept, so that a listener which comes late (the console, a test) has the beginning.
    """

    def __init__(self, kept: int = 256) -> None:
        self._listeners: list[Listener] = []
        self._recent: deque[Event] = deque(maxlen=kept)

    def emit(self, event: Event) -> None:
        """Only on the event loop's thread."""
        self._recent.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Within the block `listener` gets every event, the recent ones first."""
        for event in tuple(self._recent):
            listener(event)
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
