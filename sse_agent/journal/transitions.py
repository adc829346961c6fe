"""Every change of an upload's state, through the table, with the event and the acknowledgements that follow from it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import attempts, inbox, outbox, tries
from sse_agent.journal.database import Transaction
from sse_agent.journal.uploads import Upload, existing, upload_of
from sse_agent.lifecycle import UploadSignal, UploadState, Wish, after
from sse_agent.messages import (
    AckStatus,
    CommandType,
    EventType,
    UploadComplete,
    UploadFailed,
    UploadMoved,
    Wire,
    derived_id,
)

CANCELLED = GiveUp(ErrorCode.CANCELLED, "the upload was cancelled")
_ANOTHER_FILE = {
    ErrorCode.FILE_CHANGED,
    ErrorCode.FILE_SHRUNK,
    ErrorCode.CHECKSUM_MISMATCH,
    ErrorCode.SIZE_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a complete upload ended."""

    sha256: str
    upload_id: str = field(repr=False)
    confirmation: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt that did not get through: tried again at that instant."""

    reason: str
    next_try_at: datetime


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Our own side broke it off: for a wish, for a more urgent upload, or because the agent stops."""

    is_stop: bool = False


Result = Outcome | GiveUp | Trouble | Interrupted


def settle(tx: Transaction, file_id: str, result: Result, seconds: float) -> Upload:
    """An attempt is over, and noted as a try."""
    before = existing(tx, file_id)
    settled = _settle(tx, before, result, seconds)
    tries.note(tx, settled, seconds, _why(result, before))
    return settled


def _why(result: Result, upload: Upload) -> str:
    match result:
        case Outcome():
            return "all bytes were there when its last answer was lost" if result.confirmation == "offset" else ""
        case Trouble():
            return result.reason
        case Interrupted():
            return _interruption(result, upload)
        case GiveUp():
            return f"{result.code}: {result.detail or result.message}"


def _interruption(result: Interrupted, upload: Upload) -> str:
    match upload.wish:
        case Wish.PAUSE:
            return "paused here" if upload.is_paused_here else "paused from afar"
        case Wish.CANCEL:
            return "cancelled here" if upload.wish_command_id is None else "cancelled from afar"
        case _:
            return "the agent stopped" if result.is_stop else "displaced by a more urgent upload"


def _settle(tx: Transaction, upload: Upload, result: Result, seconds: float) -> Upload:
    """A wish that came meanwhile is stronger than trouble; only completion beats a cancel."""
    if isinstance(result, Outcome):
        return complete(tx, upload, result, seconds)
    if upload.wish is Wish.CANCEL:
        return cancel(tx, upload)
    if isinstance(result, GiveUp):
        return fail(tx, upload, result, seconds)
    if upload.wish is Wish.PAUSE:
        return pause(tx, upload, seconds)
    if isinstance(result, Trouble):
        return wait(tx, upload, result, seconds)
    return displace(tx, upload, seconds)


def begin(tx: Transaction, file_id: str, outages: Mapping[str, float] = MappingProxyType({})) -> Upload | None:
    """A worker takes it. None if it is no longer to run. Without a URL this is a new attempt on the server.

    `outages`: endpoints in trouble → seconds since it began.
    """
    upload = existing(tx, file_id)
    if upload.wish is not Wish.RUN or upload.state not in (UploadState.QUEUED, UploadState.WAITING):
        return None
    # A POST whose 201 was lost leaves an upload behind; another attempt ID tells the two apart.
    attempt_id = upload.attempt_id if upload.url is not None else str(uuid.uuid4())
    return _move(
        tx, upload, UploadSignal.START, attempt_id=attempt_id, progressed_at=_without_idle_time(tx, upload, outages)
    )


def _without_idle_time(tx: Transaction, upload: Upload, outages: Mapping[str, float]) -> str:
    """The time since it could have run is no lack of progress: the queue was long, or the machine slept.

    But where its tus server was in trouble meanwhile, others were tried in its place.
    """
    idle = tx.now - (upload.next_try_at or tx.now) - timedelta(seconds=outages.get(upload.endpoint, 0.0))
    return timestamp(upload.progressed_at + max(idle, timedelta(0)))


def wait(tx: Transaction, upload: Upload, trouble: Trouble, seconds: float) -> Upload:
    """Tried again later."""
    return _move(
        tx,
        upload,
        UploadSignal.TROUBLE,
        tries=upload.tries + 1,
        reason=trouble.reason[:300],
        next_try_at=timestamp(trouble.next_try_at),
        seconds=upload.seconds + seconds,
    )


def displace(tx: Transaction, upload: Upload, seconds: float) -> Upload:
    """A more urgent one takes its place."""
    return _move(tx, upload, UploadSignal.DISPLACE, next_try_at=tx.at, seconds=upload.seconds + seconds)


def pause(tx: Transaction, upload: Upload, seconds: float = 0.0) -> Upload:
    """UPLOAD_PAUSED."""
    moved = _move(tx, upload, UploadSignal.PAUSE, seconds=upload.seconds + seconds)
    _report_moved(tx, moved, EventType.UPLOAD_PAUSED)
    return moved


def revive(tx: Transaction, upload: Upload) -> Upload:
    """UPLOAD_RESUME of a paused or of a retryable failed upload: back in the queue, UPLOAD_RESUMED.

    A failure that the server pronounced on the whole file, or a file that is another now, starts a new attempt.
    """
    if upload.state is UploadState.FAILED and _needs_new_attempt(upload, upload.code):
        attempts.start_over(tx, upload.file_id, recreated=0)
    fresh: dict[str, str | float | None] = {"tries": 0, "recreated": 0, "next_try_at": tx.at, "progressed_at": tx.at}
    over: dict[str, str | float | None] = dict.fromkeys(("code", "message", "outcome_id", "finished_at"))
    moved = _move(tx, existing(tx, upload.file_id), UploadSignal.RESUME, **fresh, **over)
    _report_moved(tx, moved, EventType.UPLOAD_RESUMED)
    return moved


def _needs_new_attempt(upload: Upload, code: ErrorCode | None) -> bool:
    """Whether the bytes that the server has are of no use: another file now, or refused when all of them were there."""
    is_refused = upload.refusal is not None and upload.offset == upload.size
    return code in _ANOTHER_FILE or (code is ErrorCode.SERVER_REFUSED and is_refused)


def cancel(tx: Transaction, upload: Upload) -> Upload:
    """UPLOAD_CANCELLED; the commands that wait for it are over, and what the server has of it is given back."""
    moved = _move(tx, upload, UploadSignal.CANCEL, token=None)
    attempts.give_back(tx, upload)
    message_id = _report_moved(tx, moved, EventType.UPLOAD_CANCELLED)
    _end(tx, moved, message_id)
    _finish_starts(tx, upload.file_id, AckStatus.FAILED, CANCELLED)
    for command_id in inbox.open_for(tx, upload.file_id, CommandType.UPLOAD_CANCEL):
        inbox.finish(tx, command_id, AckStatus.COMPLETED)
    return moved


def complete(tx: Transaction, upload: Upload, outcome: Outcome, seconds: float) -> Upload:
    """UPLOAD_COMPLETE: the tus server confirmed the last byte."""
    done: dict[str, str | float | None] = {"offset": upload.known_size, "url": None, "token": None}
    done |= {"hashed": upload.known_size, "hashed_sha256": outcome.sha256}
    moved = _move(tx, upload, UploadSignal.CONFIRM, seconds=upload.seconds + seconds, **done)
    payload = UploadComplete(
        file_id=upload.file_id,
        revision=moved.revision,
        file_size=moved.known_size,
        sha256=outcome.sha256,
        upload_id=outcome.upload_id,
        seconds=round(moved.seconds, 3),
        confirmation="response" if outcome.confirmation == "response" else "offset",
    )
    _end(tx, moved, _report(tx, moved, EventType.UPLOAD_COMPLETE, payload, upload.command_id))
    _finish_starts(tx, upload.file_id, AckStatus.COMPLETED, None)
    _refuse_cancels(tx, upload.file_id)
    return moved


def fail(tx: Transaction, upload: Upload, error: GiveUp, seconds: float) -> Upload:
    """UPLOAD_FAILED: given up, for good or until a person resumes it."""
    moved = _move(
        tx,
        upload,
        UploadSignal.GIVE_UP,
        code=error.code,
        message=error.message,
        retryable=int(error.retryable),
        seconds=upload.seconds + seconds,
    )
    if not error.retryable or _needs_new_attempt(upload, error.code):
        attempts.give_back(tx, upload)
    payload = UploadFailed(
        file_id=upload.file_id,
        revision=moved.revision,
        code=error.code,
        message=error.message,
        offset=moved.offset,
        retryable=error.retryable,
    )
    _end(tx, moved, _report(tx, moved, EventType.UPLOAD_FAILED, payload, upload.command_id))
    _finish_starts(tx, upload.file_id, AckStatus.FAILED, error)
    _refuse_cancels(tx, upload.file_id)
    return moved


def recover(tx: Transaction) -> None:
    """At start, before anything runs: what the last process carried is queued again, or as people wish."""
    # Nobody knows how long it was off; but what had no trouble yet lacked no progress either.
    tx.run("UPDATE uploads SET progressed_at = ? WHERE state = 'uploading' AND tries = 0", tx.at)
    for row in tx.all("SELECT * FROM uploads WHERE state = 'uploading'"):
        tries.note(tx, displace(tx, upload_of(row), 0.0), 0.0, "the agent ended in the middle of it")
    # At once, for what was in the way may have been this machine; and with patience, for it may need a moment.
    tx.run("UPDATE uploads SET next_try_at = min(next_try_at, ?) WHERE state = 'waiting'", tx.at)
    tx.run("UPDATE uploads SET tries = 0 WHERE state IN ('queued', 'waiting')")
    rows = tx.all("SELECT * FROM uploads WHERE wish != 'run' AND state IN ('queued', 'waiting')")
    for upload in [upload_of(row) for row in rows]:
        if upload.wish is Wish.PAUSE:
            pause(tx, upload)
        else:
            cancel(tx, upload)


def _move(tx: Transaction, upload: Upload, signal: UploadSignal, **changes: str | float | None) -> Upload:
    """The one place where a state changes: through the table, the revision raised by one."""
    values: dict[str, str | float | None] = {"reason": None, "next_try_at": None, **changes}
    values["state"] = after(upload.state, signal)
    values["revision"] = upload.revision + 1
    names = ", ".join(f'"{name}" = ?' for name in values)
    statement = f"UPDATE uploads SET {names} WHERE file_id = ? RETURNING *"  # noqa: S608
    return upload_of(tx.all(statement, *values.values(), upload.file_id)[0])


def _end(tx: Transaction, upload: Upload, outcome_id: str) -> None:
    tx.run("UPDATE uploads SET outcome_id = ?, finished_at = ? WHERE file_id = ?", outcome_id, tx.at, upload.file_id)


def _report(tx: Transaction, upload: Upload, kind: EventType, payload: Wire, command_id: str) -> str:
    return outbox.report(
        tx,
        kind,
        payload,
        message_id=derived_id(command_id, kind, upload.revision),
        in_reply_to=command_id,
        lane=f"upload {upload.file_id}",
    )


def _report_moved(tx: Transaction, upload: Upload, kind: EventType) -> str:
    payload = UploadMoved(file_id=upload.file_id, revision=upload.revision, offset=upload.offset)
    return _report(tx, upload, kind, payload, upload.wish_command_id or upload.command_id)


def _finish_starts(tx: Transaction, file_id: str, status: AckStatus, error: GiveUp | None) -> None:
    for command_id in inbox.open_for(tx, file_id, CommandType.UPLOAD_START):
        inbox.finish(tx, command_id, status, error)


def _refuse_cancels(tx: Transaction, file_id: str) -> None:
    """A cancel that came too late to win."""
    for command_id in inbox.open_for(tx, file_id, CommandType.UPLOAD_CANCEL):
        error = GiveUp(ErrorCode.WRONG_STATE, "the upload was over before it could be cancelled")
        inbox.finish(tx, command_id, AckStatus.FAILED, error)
