"""What is shown: values, without how they come about."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sse_agent.lifecycle import UploadState

STALLED_AFTER_S = 10.0
CONFIRMING_AFTER_S = 2.0


@dataclass(slots=True)
class Upload:
    """One that is not complete or cancelled. Sizes in bytes, `rate` in bytes per second; instants are monotonic.

    `number`: in the order of arrival. `left_s` is None while nobody can tell. `attempt_sent`: handed to the network in
    the attempt that is under way. `is_confirming`: nothing is to be sent before the tus server has confirmed some.
    """

    file_id: str
    name: str
    size: int
    offset: int
    state: UploadState
    priority: int = 5
    bytes_sent: int = 0
    rate: int = 0
    left_s: float | None = None
    reason: str = ""
    next_try_at: datetime | None = None
    tries: int = 0
    pace: float | None = None
    paced_at: float = 0.0
    paced_s: float = 0.0
    is_paused_here: bool = False
    is_retryable: bool = False
    attempt_sent: int = 0
    moved_at: float = 0.0
    told_at: float = 0.0
    burst_until: float = 0.0
    number: int = 0
    is_confirming: bool = False

    @property
    def bytes_left(self) -> int:
        """Not yet confirmed."""
        return max(0, self.size - self.offset)

    def stalled_s(self, now: float) -> float | None:
        """For how long no byte of it has moved, once that is noticeable; None while it moves or is not under way.

        One that waits for its confirmation does not stall: the tus server need not have got all that was sent.
        """
        still_s = now - self.moved_at
        is_under_way = self.state is UploadState.UPLOADING and not self.is_confirming
        return still_s if is_under_way and still_s >= STALLED_AFTER_S else None

    def confirming_s(self, now: float) -> float | None:
        """For how long it has waited for nothing but its confirmation, once that is noticeable."""
        still_s = now - self.moved_at
        is_waited_for = self.state is UploadState.UPLOADING and self.is_confirming
        return still_s if is_waited_for and still_s >= CONFIRMING_AFTER_S else None


@dataclass(frozen=True, slots=True)
class Finished:
    """One that is over; or a command that was refused. `at` is monotonic.

    `asked`: of a command, what was asked by whom, as far as its name does not say it.
    """

    name: str
    state: str
    size: int
    seconds: float
    sha256_head: str
    reason: str
    at: float
    asked: str = ""
    is_command: bool = False

    @property
    def why(self) -> str:
        """The reason first, for that must be read."""
        return f"{self.reason} ({self.asked})" if self.asked else self.reason


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the chat."""

    at: datetime
    sender: str
    text: str
    mine: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """Of the stream; `waiting` for the next try. `since` and `next_try_at` are monotonic."""

    state: Literal["connecting", "connected", "waiting", "parked"]
    since: float
    transport: str = ""
    reason: str = ""
    next_try_at: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a person should know. All instants are monotonic; `until` None means until the agent ends.

    `is_overruling`: somebody far away undid what a person here did. It is shown before all else.
    """

    text: str
    is_error: bool
    until: float | None
    next_try_at: float | None = None
    is_overruling: bool = False


@dataclass(slots=True)
class Totals:
    """Since the start of the agent. `bytes_sent` were handed to the network, within `sending_s` seconds of sending."""

    ended: Counter[str] = field(default_factory=Counter)
    complete_bytes: int = 0
    bytes_sent: int = 0
    sending_s: float = 0.0
    dead_letters: int = 0
    bugs: int = 0


@dataclass(slots=True)
class Unnamed:
    """Uploads that only counts are known of: those from before the start, and those there was no room for."""

    queued: int = 0
    queued_bytes: int = 0
    paused: int = 0
    failed: int = 0
