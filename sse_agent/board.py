"""The model of what is shown: a pure fold of the feed's events, without a terminal, a clock or a lock.

Every event costs the same however long the queue is, and memory is bounded: what there is no room for is only counted.
Names and words are as they came; whoever shows them makes them printable.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Any, Literal

from sse_agent import events
from sse_agent.events import Event
from sse_agent.lifecycle import UploadState

KNOWN_LIMIT = 20_000
NAME_LIMIT = 512
FINISHED_KEPT = 200
CHAT_KEPT = 200
SHA256_HEAD = 16
# A hold-up that is over is announced by nobody: it is over when the next try was not followed by another one.
GRACE_S = 10.0
NOTICE_S = 60.0
OVERRULED_S = 120.0
PACE_OVER_S = 15.0
LISTED = (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED, UploadState.QUEUED)


@dataclass(slots=True)
class Upload:
    """One that is not over. Sizes in bytes, `rate` in bytes per second, `left_s` None while nobody can tell."""

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
    is_paused_here: bool = False

    @property
    def bytes_left(self) -> int:
        """Not yet confirmed."""
        return max(0, self.size - self.offset)


@dataclass(frozen=True, slots=True)
class Finished:
    """One that is over; or a command that was refused, which has its type for a name. `at` is monotonic."""

    name: str
    state: str
    size: int
    seconds: float
    sha256_head: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the chat."""

    at: datetime
    sender: str
    text: str
    mine: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """Of the stream. `since` and `next_try_at` are monotonic."""

    state: Literal["connecting", "connected", "disconnected", "parked"]
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
    """Since the start of the agent."""

    ended: Counter[str] = field(default_factory=Counter)
    complete_bytes: int = 0
    bytes_sent: int = 0
    dead_letters: int = 0
    bugs: int = 0


@dataclass(slots=True)
class Unnamed:
    """Uploads that only counts are known of: those from before the start, and those there was no room for."""

    queued: int = 0
    queued_bytes: int = 0
    paused: int = 0


class Queue:
    """The queued uploads, the most urgent first, oldest first among equals."""

    def __init__(self) -> None:
        # An OrderedDict finds its first entry at once also after many were taken from the front; a dict does not.
        self._lanes = {priority: OrderedDict[str, Upload]() for priority in range(9, -1, -1)}
        self.bytes_left = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[Upload]:
        for lane in self._lanes.values():
            yield from lane.values()

    def add(self, upload: Upload) -> None:
        """At the end of its priority."""
        self._lanes[min(9, max(0, upload.priority))][upload.file_id] = upload
        self.bytes_left += upload.bytes_left

    def remove(self, upload: Upload) -> None:
        """Wherever it stands."""
        del self._lanes[min(9, max(0, upload.priority))][upload.file_id]
        self.bytes_left -= upload.bytes_left


class Board:
    """Everything that is shown. Only `apply` changes it; `revision` then tells that there is something new."""

    def __init__(self) -> None:
        self.revision = 0
        self.version = ""
        self.client_id = ""
        self.control_plane = ""
        self.started_at: float | None = None
        self.stopping = ""
        self.under_way_at_stop = 0
        self.connection = Connection("connecting", since=0.0)
        self.queue = Queue()
        self.unnamed = Unnamed()
        self.finished: deque[Finished] = deque(maxlen=FINISHED_KEPT)
        self.chat: deque[Line] = deque(maxlen=CHAT_KEPT)
        self.heard = 0
        self.totals = Totals()
        self._known: dict[str, Upload] = {}
        self._groups = {
            state: OrderedDict[str, Upload]()
            for state in (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED)
        }
        self._troubles: dict[str, Trouble] = {}
        self._overruled = 0
        self._touched: set[str] | None = None

    # --- what there is ---

    def __len__(self) -> int:
        """How many uploads have a name here."""
        return len(self._known)

    def __iter__(self) -> Iterator[Upload]:
        """Those with a name, in the order in which they are listed: what is under way, waits, is paused, is queued."""
        return chain(*(self._in(state) for state in LISTED))

    def find(self, file_id: str) -> Upload | None:
        """That upload, if it has a name here."""
        return self._known.get(file_id)

    def position(self, file_id: str) -> int | None:
        """Where it stands in the list, from 0."""
        upload = self._known.get(file_id)
        if upload is None:
            return None
        before = 0
        for state in LISTED:
            if state is upload.state:
                break
            before += len(self.queue) if state is UploadState.QUEUED else len(self._groups[state])
        return before + next(number for number, one in enumerate(self._in(upload.state)) if one is upload)

    def _in(self, state: UploadState) -> Iterator[Upload]:
        return iter(self.queue if state is UploadState.QUEUED else self._groups[state].values())

    def first(self, state: UploadState, most: int) -> list[Upload]:
        """Up to `most` uploads in that state: the first to run, or the first to have got there."""
        return list(islice(self._in(state), most))

    def count(self, state: UploadState) -> int:
        """How many uploads are in that state: queued, uploading, waiting or paused."""
        if state is UploadState.QUEUED:
            return len(self.queue) + self.unnamed.queued
        return len(self._groups[state]) + (self.unnamed.paused if state is UploadState.PAUSED else 0)

    @property
    def queued_bytes(self) -> int:
        """Not yet confirmed of what is queued."""
        return self.queue.bytes_left + self.unnamed.queued_bytes

    @property
    def rate(self) -> int:
        """Of all uploads together, in bytes per second."""
        return sum(upload.rate for upload in self._groups[UploadState.UPLOADING].values())

    @property
    def left_s(self) -> float | None:
        """Until all that is under way or queued is sent, at the pace of what is under way; None while none can tell."""
        active = self._groups[UploadState.UPLOADING].values()
        pace = sum(upload.pace or 0.0 for upload in active)
        left = self.queued_bytes + sum(max(0, upload.size - upload.bytes_sent) for upload in active)
        return left / pace if pace > 1 else None

    def troubles(self, now: float) -> list[Trouble]:
        """Those that are not over at this monotonic instant: what was overruled, then errors, then the rest."""
        current = [trouble for trouble in self._troubles.values() if trouble.until is None or trouble.until > now]
        return sorted(current, key=lambda trouble: (not trouble.is_overruling, not trouble.is_error))

    # --- names from before the start ---

    def expect_names(self) -> None:
        """From now until `name`, it is noted what happens to which upload."""
        self._touched = set()

    def name(self, uploads: Iterable[Upload]) -> None:
        """Uploads that were only counted get their names; not those to which something happened meanwhile."""
        touched, self._touched = self._touched or set(), None
        for upload in uploads:
            if upload.file_id in touched or upload.file_id in self._known or len(self._known) >= KNOWN_LIMIT:
                continue
            if upload.state is UploadState.PAUSED:
                self.unnamed.paused = max(0, self.unnamed.paused - 1)
            else:
                self._forget_unnamed(upload.bytes_left)
            self._put(upload)
        self.revision += 1

    # --- what happens ---

    def apply(self, event: Event, now: float, at: datetime) -> None:
        """Take one event in: at this monotonic instant, at this time on the wall. Others than known ones do nothing."""
        change = _CHANGES.get(type(event))
        if self._touched is not None and (file_id := getattr(event, "file_id", "")):
            self._touched.add(file_id)
        if change is not None:
            change(self, event, now, at)
            self.revision += 1

    def _started(self, event: events.AgentStarted, now: float, _: datetime) -> None:
        self.version, self.client_id, self.control_plane = event.version, event.client_id, event.control_plane
        self.started_at = now
        self.connection = Connection("connecting", now)
        # What waited before the start may go on at any moment, just as what is queued.
        queued = event.uploads.get(UploadState.QUEUED, 0) + event.uploads.get(UploadState.WAITING, 0)
        self.unnamed = Unnamed(queued, event.queued_bytes, event.uploads.get(UploadState.PAUSED, 0))

    def _stopping(self, event: events.AgentStopping, _: float, __: datetime) -> None:
        self.stopping, self.under_way_at_stop = event.reason, self.count(UploadState.UPLOADING)

    def _connected(self, event: events.StreamConnected, now: float, _: datetime) -> None:
        self.connection = Connection("connected", now, event.transport)

    def _disconnected(self, event: events.StreamLost, now: float, _: datetime) -> None:
        # A try that failed does not begin a new absence.
        since = self.connection.since if self.connection.state == "disconnected" else now
        self.connection = Connection("disconnected", since, "", event.reason, now + event.wait_s)

    def _parked(self, event: events.AgentParked, now: float, _: datetime) -> None:
        since = self.connection.since if self.connection.state == "parked" else now
        self.connection = Connection("parked", since, "", event.reason, now + event.wait_s)

    def _reset(self, event: events.StreamReset, now: float, _: datetime) -> None:
        text = f"the control plane lost our place ({event.reason}); everything is reported again"
        self._troubles["reset"] = Trouble(text, is_error=False, until=now + NOTICE_S)

    # --- uploads ---

    def _queued(self, event: events.UploadQueued, now: float, _: datetime) -> None:
        if event.overruled_by:
            self._note_overruled(event, now)
        before = self._take(event.file_id)
        if before is None and event.why == "resumed":
            self.unnamed.paused = max(0, self.unnamed.paused - 1)
        upload = Upload(
            event.file_id, event.file_name[-NAME_LIMIT:], event.size, event.offset, UploadState.QUEUED, event.priority
        )
        self._put(upload)

    def _uploading(self, event: events.UploadStarted, _: float, __: datetime) -> None:
        before = self._take(event.file_id)
        upload = Upload(event.file_id, event.file_name[-NAME_LIMIT:], event.size, event.offset, UploadState.UPLOADING)
        upload.priority = before.priority if before else upload.priority
        upload.bytes_sent, upload.tries = event.offset, event.attempt
        if before is None:
            self._forget_unnamed(upload.bytes_left)
        self._put(upload)

    def _progressed(self, event: events.UploadProgressed, now: float, _: datetime) -> None:
        upload = self._groups[UploadState.UPLOADING].get(event.file_id)
        if upload is None:
            return
        self.totals.bytes_sent += max(0, event.bytes_sent - upload.bytes_sent)
        upload.size, upload.offset, upload.bytes_sent, upload.rate = (
            event.size,
            event.offset,
            event.bytes_sent,
            event.rate,
        )
        _note_pace(upload, now)

    def _waiting(self, event: events.UploadWaiting, _: float, __: datetime) -> None:
        upload = self._moved(event.file_id, UploadState.WAITING, event.offset)
        upload.reason, upload.next_try_at, upload.tries = event.reason, event.next_try_at, event.tries
        self._put(upload)

    def _paused(self, event: events.UploadPaused, _: float, __: datetime) -> None:
        upload = self._moved(event.file_id, UploadState.PAUSED, event.offset)
        upload.is_paused_here = event.here
        self._put(upload)

    def _completed(self, event: events.UploadCompleted, now: float, _: datetime) -> None:
        before = self._take(event.file_id)
        if before is not None:
            self.totals.bytes_sent += max(0, event.size - before.bytes_sent)
        self.totals.ended[UploadState.COMPLETE] += 1
        self.totals.complete_bytes += event.size
        name = event.file_name[-NAME_LIMIT:]
        head = event.sha256[:SHA256_HEAD]
        self.finished.append(Finished(name, UploadState.COMPLETE, event.size, event.seconds, head, "", now))

    def _ended(self, event: events.UploadEnded, now: float, _: datetime) -> None:
        before = self._take(event.file_id)
        if before is None:
            self._forget_unnamed(0)
        self.totals.ended[event.state] += 1
        name, size = (before.name, before.size) if before else (event.file_id, 0)
        reason = "" if event.state is UploadState.CANCELLED else f"{event.code}: {event.detail or event.message}"
        self.finished.append(Finished(name, event.state, size, 0.0, "", reason, now))

    def _moved(self, file_id: str, state: UploadState, offset: int) -> Upload:
        """The upload, taken from where it stood, as it is in its new state."""
        before = self._take(file_id)
        if before is None:
            self._forget_unnamed(0)
            return Upload(file_id, file_id, 0, offset, state)
        return Upload(file_id, before.name, before.size, offset, state, before.priority, offset)

    def _note_overruled(
        self, event: events.UploadQueued | events.PauseOverruled, now: float, _: datetime | None = None
    ) -> None:
        """Many may be resumed at once: they are one notice."""
        before = self._troubles.get("overruled")
        self._overruled = self._overruled + 1 if before and before.until and before.until > now else 1
        more = f" and {self._overruled - 1:,} more" if self._overruled > 1 else ""
        text = f"{event.overruled_by} resumed what was paused here: {event.file_name[-NAME_LIMIT:]}{more}"
        until = now + OVERRULED_S
        self._troubles["overruled"] = Trouble(text, is_error=False, until=until, is_overruling=True)

    def _only_count(self, upload: Upload) -> None:
        if upload.state is UploadState.PAUSED:
            self.unnamed.paused += 1
        else:
            self.unnamed.queued += 1
            self.unnamed.queued_bytes += upload.bytes_left

    def _forget_unnamed(self, bytes_left: int) -> None:
        """One of those that were only counted got a name."""
        unnamed = self.unnamed
        unnamed.queued = max(0, unnamed.queued - 1)
        unnamed.queued_bytes = max(0, unnamed.queued_bytes - bytes_left) if unnamed.queued else 0

    def _take(self, file_id: str) -> Upload | None:
        upload = self._known.pop(file_id, None)
        if upload is None:
            return None
        if upload.state is UploadState.QUEUED:
            self.queue.remove(upload)
        else:
            del self._groups[upload.state][file_id]
        return upload

    def _put(self, upload: Upload) -> None:
        if len(self._known) >= KNOWN_LIMIT and upload.state is not UploadState.UPLOADING:
            self._only_count(upload)
            return
        self._known[upload.file_id] = upload
        if upload.state is UploadState.QUEUED:
            self.queue.add(upload)
        else:
            self._groups[upload.state][upload.file_id] = upload

    # --- the rest ---

    def _answered(self, event: events.CommandFinished, now: float, _: datetime) -> None:
        if event.status not in ("rejected", "failed"):
            return
        reason = f"{event.code}: {event.detail}" if event.detail else event.code
        self.totals.ended[event.status] += event.status == "rejected"
        self.finished.append(Finished(event.type, event.status, 0, 0.0, "", reason, now))

    def _said(self, event: events.MessageShown, _: float, at: datetime) -> None:
        self.chat.append(Line(at, event.sender, event.text, event.mine))
        self.heard += not event.mine

    def _held_up(self, event: events.SenderHeldUp, now: float, _: datetime) -> None:
        next_try_at = now + event.wait_s
        text = f"no message reaches the control plane, {event.pending} wait: {event.reason}"
        self._troubles["sender"] = Trouble(text, is_error=False, until=next_try_at + GRACE_S, next_try_at=next_try_at)

    def _buried(self, event: events.MessageBuried, _: float, __: datetime) -> None:
        self.totals.dead_letters += 1
        text = f"messages refused for good: {self.totals.dead_letters}; the last, {event.type}: {event.reason}"
        self._troubles["dead letter"] = Trouble(text, is_error=True, until=None)

    def _stumbled(self, event: events.CommandStumbled, _: float, __: datetime) -> None:
        self.totals.bugs += 1
        text = f"bugs in the agent: {self.totals.bugs}; the last, {event.type}: {event.error}"
        self._troubles["bug"] = Trouble(text, is_error=True, until=None)

    def _journal(self, event: events.JournalTrouble, now: float, _: datetime) -> None:
        text = f"the journal can't be written, no command is taken: {event.reason}"
        self._troubles["journal"] = Trouble(text, is_error=True, until=now + NOTICE_S)


def _note_pace(upload: Upload, now: float) -> None:
    """The time left, by a mean over a longer while than the rate: it should not jump."""
    if upload.rate <= 0 and upload.pace is None:
        return
    passed = now - upload.paced_at if upload.pace is not None else PACE_OVER_S
    weight = 1 - math.exp(-max(0.0, passed) / PACE_OVER_S)
    before = upload.rate if upload.pace is None else upload.pace
    upload.pace, upload.paced_at = before + weight * (upload.rate - before), now
    left = max(0, upload.size - upload.bytes_sent)
    upload.left_s = left / upload.pace if upload.pace > 1 else None


_CHANGES: dict[type[Event], Callable[[Board, Any, float, datetime], None]] = {
    events.AgentStarted: Board._started,
    events.AgentStopping: Board._stopping,
    events.StreamConnected: Board._connected,
    events.StreamLost: Board._disconnected,
    events.StreamReset: Board._reset,
    events.AgentParked: Board._parked,
    events.CommandFinished: Board._answered,
    events.CommandStumbled: Board._stumbled,
    events.UploadQueued: Board._queued,
    events.PauseOverruled: Board._note_overruled,
    events.UploadStarted: Board._uploading,
    events.UploadProgressed: Board._progressed,
    events.UploadWaiting: Board._waiting,
    events.UploadPaused: Board._paused,
    events.UploadCompleted: Board._completed,
    events.UploadEnded: Board._ended,
    events.MessageShown: Board._said,
    events.SenderHeldUp: Board._held_up,
    events.MessageBuried: Board._buried,
    events.JournalTrouble: Board._journal,
}
