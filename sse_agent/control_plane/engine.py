"""The small interface behind which everything durable is. SQLite and Redis implement it; one suite runs against both.

Whatever is answered is durable before the call returns. Calls raise the `Problem` that the caller is answered with;
any of them may raise `Unavailable`. An engine tells its `Listener` what changed, after it is durable; that carries no
data that could not be read again, so losing one costs a delay.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, MessageRecord, UploadRecord
from sse_agent.messages import EventType

VOLATILE = frozenset({EventType.UPLOAD_PROGRESS, EventType.CLIENT_STATUS})
"""Types whose keys are kept for KEYS_KEPT_S only, and without a durable write of their own."""
KEYS_KEPT_S = 600.0
KEPT = timedelta(days=90)
"""Bodies of finished commands and reported events. Longer than agents keep what they may be asked for again."""
PAGE_COUNT, PAGE_BYTES = 100, 256 * 1024
"""What `take` gives at most; one command at least."""
REPLIES_LIMIT = 100
"""Replies of one command that are told."""
PROGRESS_LIMIT = 10_000
"""Uploads of one agent whose progress is kept."""
FULL_RETRY_S = 60
"""When to ask again after QueueFull."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: the three headers of every request of an agent."""

    journal: str
    epoch: int
    instance: str


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a stream goes on. `ticket` is the stream's claim; `reason` and `since` are there when it is a reset."""

    numbering: str
    latest_n: int
    floor_n: int
    after_n: int
    ticket: str | None = None
    reason: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedCommand:
    """One command, ready to be sent. `body` is the envelope."""

    n: int
    event_id: str
    type: str
    body: bytes


class Superseded(Exception):
    """The stream is over: a newer one, another instance or a deletion took its place."""


@dataclass(frozen=True, slots=True)
class Order:
    """One command to queue. `digest` is that of the whole request, for `key`'s sake."""

    key: str
    digest: bytes
    command_id: str
    type: str
    body: bytes
    expires_at: str | None
    actor: str | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What became of an order."""

    command_id: str
    event_id: str
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class AckNews:
    """What an ACK says. `error` is as reported."""

    command_id: str
    status: str
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class UploadNews:
    """What any event says about one upload. `n` orders progress of one revision; `details` are as reported."""

    file_id: str
    revision: int
    n: int
    state: str | None
    details: dict[str, Any]

    @property
    def file_size(self) -> int | None:
        """Bytes, if they are told."""
        size = self.details.get("fileSize")
        return size if type(size) is int and 0 <= size < 2**63 else None


@dataclass(frozen=True, slots=True)
class Report:
    """One message of an agent, checked. `body` is the canonical envelope, `digest` its SHA-256.

    `cursor` and `uploads` are what it tells about them on the side (CLIENT_CONNECTED).
    """

    message_id: str
    type: str
    timestamp: str
    in_reply_to: str | None
    body: bytes
    digest: bytes
    ack: AckNews | None = None
    upload: UploadNews | None = None
    cursor: str | None = None
    uploads: tuple[UploadNews, ...] = ()

    @property
    def is_volatile(self) -> bool:
        """Whether its key needs no durable write. A status that answers a command is a reply, and durable."""
        return self.type in VOLATILE and (self.in_reply_to is None or self.type == EventType.UPLOAD_PROGRESS)


class Verdict(StrEnum):
    """What became of one report."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CONFLICT = "conflict"


class Listener(Protocol):
    """Whoever wants to know what changed. Called on the event loop; must not block."""

    def queue_changed(self, client_id: str) -> None:
        """Whoever looks at it should look again: it is new, a command is there, or another speaker."""
        ...

    def command_changed(self, command_id: str) -> None:
        """Its outcome is known, or a reply came."""
        ...

    def reported(self, client_id: str, report: Report) -> None:
        """An agent reported something new."""
        ...


class Engine(Protocol):
    """All calls but `enlist` and `prune` raise UnknownAgent or AgentDeleted where they name an agent."""

    async def enlist(self, client_ids: Collection[str]) -> None:
        """Make these agents known."""
        ...

    async def claim(self, client_id: str, speaker: Speaker, cursor: str | None, *, opens_stream: bool) -> Greeting:
        """Bind the speaker and place its cursor. Opening a stream ends the older ones. Raises NewerEpoch."""
        ...

    async def verify(self, client_id: str, speaker: Speaker) -> None:
        """Bind the speaker. Raises NewerEpoch."""
        ...

    async def take(
        self, client_id: str, speaker: Speaker, ticket: str | None, *, after_n: int
    ) -> Sequence[QueuedCommand]:
        """The next page of commands, durably marked as sent before anybody sees them.

        Bounded in number and bytes; empty when there are none. Raises Superseded.
        """
        ...

    async def record(self, client_id: str, speaker: Speaker, reports: Sequence[Report]) -> Sequence[Verdict]:
        """One verdict each, in order; keys and state change together or not at all. Raises NewerEpoch."""
        ...

    async def queue(self, client_id: str, order: Order) -> Ticket:
        """Raises QueueFull, IdempotencyKeyReused."""
        ...

    async def readmit(self, client_id: str, key: str, digest: bytes) -> None:
        """Let the next claim in that would be refused. Raises IdempotencyKeyReused."""
        ...

    async def delete(self, client_id: str) -> None:
        """For ever: its ID stays taken. Repeating it changes nothing."""
        ...

    async def command(self, command_id: str) -> CommandRecord:
        """Outcome and replies so far. Raises UnknownCommand."""
        ...

    async def commands(self, client_id: str, command_ids: Sequence[str]) -> Sequence[CommandRecord]:
        """Those of one agent, without their replies, in the order asked for. Unknown ones are left out."""
        ...

    async def agent(self, client_id: str) -> AgentRecord:
        """One agent as last reported."""
        ...

    async def agents(self, *, after: str, limit: int) -> Sequence[AgentRecord]:
        """In the order of their IDs, those behind `after`."""
        ...

    async def uploads(self, client_id: str, *, after: str, limit: int) -> Sequence[UploadRecord]:
        """In the order of their file IDs, those behind `after`."""
        ...

    async def messages(
        self, client_id: str, *, after: int, limit: int, types: Collection[str]
    ) -> Sequence[MessageRecord]:
        """What it reported durably, oldest first, behind serial number `after`; of these types, if any are named."""
        ...

    async def feed(self, *, after: int, limit: int) -> Sequence[FeedRecord]:
        """What all agents reported durably, oldest first, behind serial number `after`."""
        ...

    async def feed_end(self) -> int:
        """The serial number of the newest; 0 if there is none. `feed` has everything up to it."""
        ...

    async def prune(self) -> None:
        """Forget what is old: see retention."""
        ...


def split(reports: Sequence[Report]) -> tuple[Mapping[int, Report], Mapping[int, Report]]:
    """Volatile and durable reports, by their place."""
    volatile = {place: report for place, report in enumerate(reports) if report.is_volatile}
    durable = {place: report for place, report in enumerate(reports) if not report.is_volatile}
    return volatile, durable
