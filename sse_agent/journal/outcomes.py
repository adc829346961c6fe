"""What becomes of an attempt: judged, settled and put into words in one transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.events import Event, UploadCompleted, UploadWaiting
from sse_agent.journal import attempts, transitions, uploads, wishes
from sse_agent.journal.database import Transaction
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadState
from sse_agent.retry import NOT_NOW


@dataclass(frozen=True, slots=True)
class Settled:
    """The upload as it is now, and the event that says so."""

    upload: Upload
    event: Event


def settle(
    tx: Transaction,
    file_id: str,
    result: Result | TryAgain,
    seconds: float,
    no_progress: timedelta,
    asleep_s: float = 0.0,
) -> Settled:
    """An attempt of so many seconds ended; without progress for `no_progress` there is no other one.

    `asleep_s`: by how much longer it took by the wall clock.
    """
    if asleep_s > 0:
        attempts.note_asleep(tx, file_id, asleep_s)
    if isinstance(result, TryAgain):
        result = _judged(uploads.existing(tx, file_id), result, tx.now, no_progress)
    upload = transitions.settle(tx, file_id, result, seconds)
    return Settled(upload, _event_of(tx, upload, result))


def _judged(upload: Upload, later: TryAgain, now: datetime, no_progress: timedelta) -> Trouble | GiveUp:
    """Again, or not any more?"""
    if uploads.has_stalled(upload, now, no_progress):
        message = f"no progress for {no_progress.total_seconds() / 3600:g} h; the last trouble: {later.reason}"
        return GiveUp(later.code or ErrorCode.NO_PROGRESS, message, retryable=True)
    wait_s = NOT_NOW.wait_s(upload.tries, at_least_s=later.retry_after_s)
    return Trouble(later.reason, now + timedelta(seconds=wait_s))


def _event_of(tx: Transaction, upload: Upload, result: Result) -> Event:
    """By the state that it led to: a wish that came meanwhile may have been stronger than the result."""
    file_id, name, size = upload.file_id, wishes.name_of(upload), upload.known_size
    match upload.state, result:
        case UploadState.COMPLETE, Outcome():
            return UploadCompleted(file_id, name, size, result.sha256, upload.seconds, result.confirmation)
        case UploadState.WAITING, Trouble():
            reason, at = upload.reason or "", upload.next_try_at or tx.now
            return UploadWaiting(file_id, upload.offset, reason, at, upload.tries, name, size)
        case UploadState.FAILED, GiveUp():
            return wishes.failed(upload, result)
        case UploadState.PAUSED, _:
            return wishes.paused(upload)
        case UploadState.CANCELLED, _:
            return wishes.cancelled(tx, upload)
        case _:
            is_stop = isinstance(result, Interrupted) and result.is_stop
            return wishes.queued(upload, "stopped" if is_stop else "displaced")
