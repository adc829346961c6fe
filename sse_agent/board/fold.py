"""Events → the board: what each of them changes."""

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sse_agent import events
from sse_agent.board.registry import Registry
from sse_agent.board.shown import Connection, Finished, Line, Totals, Trouble, Unnamed, Upload
from sse_agent.events import Event
from sse_agent.lifecycle import UploadState

NAME_LIMIT = 512
FINISHED_KEPT = 200
CHAT_KEPT = 200
SHA256_HEAD = 16
# A hold-up that is over is announced by nobody: it is over when the next try was not followed by another one.
GRACE_S = 10.0
NOTICE_S = 60.0
OVERRULED_S = 120.0
PACE_OVER_S = 15.0
# The first bytes of an attempt only fill the buffers on the way: they tell nothing of how long the rest takes.
BURST_S = 2.0


class Board(Registry):
    """Everything that is shown. Only `apply` changes it; `revision` then tells that there is something new."""

    def __init__(self) -> None:
        super().__init__()
        self.version = ""
        self.client_id = ""
        self.control_plane = ""
        self.started_at: float | None = None
        self.stopping = ""
        self.under_way_at_stop = 0
        self.connection = Connection("connecting", since=0.0)
        self.finished: deque[Finished] = deque(maxlen=FINISHED_KEPT)
        self.chat: deque[Line] = deque(maxlen=CHAT_KEPT)
        self.heard = 0
        self.totals = Totals()
        self._troubles: dict[str, Trouble] = {}
        self._overruled = 0
        self._held: events.SenderHeldUp | None = None
        self._sent_until = 0.0

    def troubles(self, now: float) -> list[Trouble]:
        """Those that are not over at this monotonic instant: what was overruled, then errors, then the rest."""
        current = [trouble for trouble in self._troubles.values() if trouble.until is None or trouble.until > now]
        if self._held is not None and not self._held.pending and self.connection.state != "connected":
            # Nothing waits but the greeting of a connection that there is not.
            current = [trouble for trouble in current if trouble is not self._troubles["sender"]]
        return sorted(current, key=lambda trouble: (not trouble.is_overruling, not trouble.is_error))

    # --- what happens ---

    def apply(self, event: Event, now: float, at: datetime) -> None:
        """Take one event in: at this monotonic instant, at this time on the wall. Others than known ones do nothing."""
        if isinstance(event, events.UploadProgressed) and self._is_still(event):
            self._note_still(event, now)
            return
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
        paused, failed = event.uploads.get(UploadState.PAUSED, 0), event.uploads.get(UploadState.FAILED, 0)
        self.unnamed = Unnamed(queued, event.queued_bytes, paused, failed)

    def _stopping(self, event: events.AgentStopping, _: float, __: datetime) -> None:
        self.stopping, self.under_way_at_stop = event.reason, self.count(UploadState.UPLOADING)

    def _connected(self, event: events.StreamConnected, now: float, _: datetime) -> None:
        self.connection = Connection("connected", now, event.transport)

    def _lost(self, event: events.StreamLost, now: float, _: datetime) -> None:
        # A try that failed does not begin a new absence.
        since = self.connection.since if self.connection.state == "waiting" else now
        self.connection = Connection("waiting", since, "", event.reason, now + event.wait_s)

    def _parked(self, event: events.AgentParked, now: float, _: datetime) -> None:
        since = self.connection.since if self.connection.state == "parked" else now
        self.connection = Connection("parked", since, "", event.reason, now + event.wait_s)

    def _misspelt(self, event: events.SettingUnknown, now: float, _: datetime) -> None:
        self._troubles[f"setting {event.sentence}"] = Trouble(event.sentence, is_error=False, until=now + NOTICE_S)

    def _reset(self, event: events.StreamReset, now: float, _: datetime) -> None:
        text = f"{event.cause}; everything is reported again"
        self._troubles["reset"] = Trouble(text, is_error=False, until=now + NOTICE_S)

    # --- uploads ---

    def _queued(self, event: events.UploadQueued, now: float, _: datetime) -> None:
        if event.overruled_by:
            self._note_overruled(event, now)
        before = self._take(event.file_id)
        if before is None and event.why == "resumed":
            self.unnamed.paused = max(0, self.unnamed.paused - 1)
        elif event.why == "retried" and self.failed.pop(event.file_id, None) is None:
            self.unnamed.failed = max(0, self.unnamed.failed - 1)
        name, size = event.file_name[-NAME_LIMIT:], event.size
        upload = Upload(event.file_id, name, size, event.offset, UploadState.QUEUED, event.priority, event.offset)
        upload.number = event.number
        self._put(upload)

    def _uploading(self, event: events.UploadStarted, now: float, _: datetime) -> None:
        before = self._take(event.file_id)
        upload = Upload(event.file_id, event.file_name[-NAME_LIMIT:], event.size, event.offset, UploadState.UPLOADING)
        upload.priority = before.priority if before else upload.priority
        upload.bytes_sent, upload.tries = event.offset, event.attempt
        upload.moved_at = upload.told_at = now
        if before is None:
            self._forget_unnamed(upload.bytes_left)
        self._put(upload)

    def _located(self, event: events.UploadLocated, now: float, _: datetime) -> None:
        """What the tus server had already was not sent now."""
        upload = self._groups[UploadState.UPLOADING].get(event.file_id)
        if upload is not None:
            upload.size, upload.offset, upload.bytes_sent = event.size, event.offset, event.offset
            upload.moved_at = now

    def _is_still(self, event: events.UploadProgressed) -> bool:
        """Whether it says nothing new: then there is nothing to show anew either."""
        upload = self._groups[UploadState.UPLOADING].get(event.file_id)
        if upload is None:
            return True
        shown = (upload.size, upload.offset, upload.bytes_sent, upload.rate, upload.attempt_sent, upload.is_confirming)
        told = (event.size, event.offset, event.bytes_sent, event.rate, event.attempt_sent, event.confirming)
        return shown == told

    def _progressed(self, event: events.UploadProgressed, now: float, _: datetime) -> None:
        upload = self._groups[UploadState.UPLOADING][event.file_id]
        if (upload.offset, upload.bytes_sent) != (event.offset, event.bytes_sent):
            upload.moved_at = now
        self._note_sent(upload, event.attempt_sent, now)
        upload.is_confirming = event.confirming
        upload.size, upload.offset, upload.bytes_sent, upload.rate = (
            event.size,
            event.offset,
            event.bytes_sent,
            event.rate,
        )
        _note_pace(upload, now)

    def _note_sent(self, upload: Upload, attempt_sent: int, now: float) -> None:
        """Bytes went out since it was last told of; time in which several uploads sent counts once."""
        sent = attempt_sent - upload.attempt_sent
        if sent > 0:
            if not upload.attempt_sent:
                upload.burst_until = now + BURST_S
            self.totals.bytes_sent += sent
        if sent > 0 or upload.is_confirming:
            # What only waits for its confirmation is on its way as well.
            self.totals.sending_s += now - max(self._sent_until, upload.told_at)
            self._sent_until = now
        upload.attempt_sent, upload.told_at = attempt_sent, now

    def _note_still(self, event: events.UploadProgressed, now: float) -> None:
        """Time passes also while nothing else changes."""
        upload = self._groups[UploadState.UPLOADING].get(event.file_id)
        if upload is not None and upload.is_confirming:
            self._note_sent(upload, event.attempt_sent, now)

    def _waiting(self, event: events.UploadWaiting, _: float, __: datetime) -> None:
        upload = self._moved(event, UploadState.WAITING)
        upload.reason, upload.next_try_at, upload.tries = event.reason, event.next_try_at, event.tries
        self._put(upload)

    def _postponed(self, event: events.UploadPostponed, _: float, __: datetime) -> None:
        upload = self._groups[UploadState.WAITING].get(event.file_id)
        if upload is not None:
            upload.next_try_at = event.next_try_at

    def _paused(self, event: events.UploadPaused, _: float, __: datetime) -> None:
        upload = self._moved(event, UploadState.PAUSED)
        upload.is_paused_here = event.here
        self._put(upload)

    def _completed(self, event: events.UploadCompleted, now: float, _: datetime) -> None:
        before = self._take(event.file_id)
        if before is not None:
            self._note_sent(before, before.attempt_sent, now)
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
        name = event.file_name[-NAME_LIMIT:] or (before.name if before else event.file_id)
        size, offset = event.size or (before.size if before else 0), before.offset if before else 0
        reason = f"{event.code}: {event.detail or event.message}"
        self.finished.append(Finished(name, event.state, size, 0.0, "", reason, now))
        failed = Upload(event.file_id, name, size, offset, event.state, before.priority if before else 5, offset)
        failed.reason, failed.is_retryable = reason, event.retryable
        self._put_failed(failed)

    def _cancelled(self, event: events.UploadCancelled, now: float, _: datetime) -> None:
        if self.failed.pop(event.file_id, None) is None and self._take(event.file_id) is None:
            self._forget_unnamed(0)
        self.totals.ended[UploadState.CANCELLED] += 1
        reason = "cancelled here" if event.here else f"cancelled from afar{f' by {event.actor}' if event.actor else ''}"
        name = event.file_name[-NAME_LIMIT:]
        self.finished.append(Finished(name, UploadState.CANCELLED, event.size, 0.0, "", reason, now))

    def _moved(self, event: events.UploadWaiting | events.UploadPaused, state: UploadState) -> Upload:
        """The upload, taken from where it stood, as it is in its new state."""
        before = self._take(event.file_id)
        if before is None:
            self._forget_unnamed(0)
        name = event.file_name[-NAME_LIMIT:] or (before.name if before else event.file_id)
        size, priority = event.size or (before.size if before else 0), before.priority if before else 5
        return Upload(event.file_id, name, size, event.offset, state, priority, event.offset)

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

    # --- the rest ---

    def _answered(self, event: events.CommandFinished, now: float, _: datetime) -> None:
        if event.status not in ("rejected", "failed"):
            return
        # The name stands in front of it already.
        detail = event.detail.removeprefix(f"{event.file_name!r}: ")
        reason = f"{event.code}: {detail}" if detail else event.code
        by = f"by {event.actor}" if event.actor else ""
        name, asked = event.type, by
        if event.file_name:
            name, asked = event.file_name[-NAME_LIMIT:], f"{event.type} {by}".rstrip()
        self.totals.ended[event.status] += event.status == "rejected"
        self.finished.append(Finished(name, event.status, 0, 0.0, "", reason, now, asked, is_command=True))

    def _said(self, event: events.MessageShown, _: float, at: datetime) -> None:
        self.chat.append(Line(at, event.sender, event.text, event.mine))
        self.heard += not event.mine

    def _held_up(self, event: events.SenderHeldUp, now: float, _: datetime) -> None:
        next_try_at = now + event.wait_s
        waits = f", {event.pending:,} wait{'s' if event.pending == 1 else ''}" if event.pending else ""
        # Why there is no connection stands above it already.
        why = f": {event.reason}" if event.reason != self.connection.reason else ""
        text, self._held = f"no message reaches the control plane{waits}{why}", event
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
    """The time left, by a mean over a longer while than the rate: it should not jump; of one that stalls none."""
    if upload.rate <= 0:
        upload.left_s = None
        if not upload.is_confirming:
            upload.paced_at = now
        return
    if now < upload.burst_until:
        return
    if upload.pace is None:
        upload.pace, upload.paced_s = float(upload.rate), 1.0
    elif now > upload.paced_at:
        # At first a plain mean, so that the first second does not weigh more than the others.
        passed = now - upload.paced_at
        upload.paced_s += passed
        # What was before a long wait for a confirmation says nothing any more.
        weight = 1.0 if passed > PACE_OVER_S else max(passed / upload.paced_s, 1 - math.exp(-passed / PACE_OVER_S))
        upload.pace += weight * (upload.rate - upload.pace)
    upload.paced_at = now
    left = max(0, upload.size - upload.bytes_sent)
    upload.left_s = left / upload.pace if upload.pace > 1 else None


_CHANGES: dict[type[Event], Callable[[Board, Any, float, datetime], None]] = {
    events.AgentStarted: Board._started,
    events.AgentStopping: Board._stopping,
    events.StreamConnected: Board._connected,
    events.StreamLost: Board._lost,
    events.StreamReset: Board._reset,
    events.SettingUnknown: Board._misspelt,
    events.AgentParked: Board._parked,
    events.CommandFinished: Board._answered,
    events.CommandStumbled: Board._stumbled,
    events.UploadQueued: Board._queued,
    events.PauseOverruled: Board._note_overruled,
    events.UploadStarted: Board._uploading,
    events.UploadLocated: Board._located,
    events.UploadProgressed: Board._progressed,
    events.UploadWaiting: Board._waiting,
    events.UploadPostponed: Board._postponed,
    events.UploadPaused: Board._paused,
    events.UploadCompleted: Board._completed,
    events.UploadEnded: Board._ended,
    events.UploadCancelled: Board._cancelled,
    events.MessageShown: Board._said,
    events.SenderHeldUp: Board._held_up,
    events.MessageBuried: Board._buried,
    events.JournalTrouble: Board._journal,
}
