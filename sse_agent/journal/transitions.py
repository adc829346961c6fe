"""Every change of an upload's state, through the table, with the event and the acknowledgements that follow from it."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import attempts, inbox, outbox
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
    upload_id: str
    confirmation: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt that did not get through: tried again at that instant, or as soon as possible if it is None."""

    reason: str
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Our own side broke it off: for a wish, or for a more urgent upload."""


Result = Outcome | GiveUp | Trouble | Interrupted


def settle(tx: Transaction, file_id: str, result: Result, seconds: float) -> Upload:
    """An attempt is over. A wish that came meanwhile is stronger than trouble; only completion beats a cancel."""
    upload = existing(tx, file_id)
    if isinstance(result, Outcome):
        return complete(tx, file_id, result, seconds)
    if upload.wish is Wish.CANCEL:
        return cancel(tx, file_id)
    if isinstance(result, GiveUp):
        return fail(tx, file_id, result, seconds)
    if upload.wish is Wish.PAUSE:
        return pause(tx, file_id, seconds)
    if isinstance(result, Trouble):
        return wait(tx, file_id, result, seconds)
    return displace(tx, file_id, seconds)


def begin(tx: Transaction, file_id: str) -> Upload | None:
    """A worker takes it. None if it is no longer to run. Without a URL this is a new attempt on the server."""
    upload = existing(tx, file_id)
    if upload.wish is not Wish.RUN or upload.state not in (UploadState.QUEUED, UploadState.WAITING):
        return None
    _move(tx, upload, UploadSignal.START)
    if upload.url is None:
        # A POST whose 201 was lost leaves an upload behind; another attempt ID tells the two apart.
        tx.run("UPDATE uploads SET attempt_id = ? WHERE file_id = ?", str(uuid.uuid4()), file_id)
    return existing(tx, file_id)


def wait(tx: Transaction, file_id: str, trouble: Trouble, seconds: float) -> Upload:
    """Tried again later."""
    upload = existing(tx, file_id)
    return _move(
        tx,
        upload,
        UploadSignal.TROUBLE,
        tries=upload.tries + 1,
        reason=trouble.reason[:300],
        next_try_at=None if trouble.next_try_at is None else timestamp(trouble.next_try_at),
        seconds=upload.seconds + seconds,
    )


def displace(tx: Transaction, file_id: str, seconds: float) -> Upload:
    """A more urgent one takes its place."""
    upload = existing(tx, file_id)
    return _move(tx, upload, UploadSignal.DISPLACE, seconds=upload.seconds + seconds)


def pause(tx: Transaction, file_id: str, seconds: float = 0.0) -> Upload:
    """UPLOAD_PAUSED."""
    upload = existing(tx, file_id)
    moved = _move(tx, upload, UploadSignal.PAUSE, seconds=upload.seconds + seconds)
    _report_moved(tx, moved, EventType.UPLOAD_PAUSED)
    return moved


def revive(tx: Transaction, upload: Upload) -> Upload:
    """UPLOAD_RESUME of a paused or of a retryable failed upload: back in the queue, UPLOAD_RESUMED.

    A failure that the server pronounced on the whole file, or a file that is another now, starts a new attempt.
    """
    is_new_attempt = upload.state is UploadState.FAILED and _needs_new_attempt(upload, upload.code)
    if is_new_attempt:
        attempts.start_over(tx, upload.file_id, recreated=0)
    moved = _move(tx, upload, UploadSignal.RESUME, tries=0, progressed_at=tx.at, code=None, message=None)
    tx.run("UPDATE uploads SET outcome_id = NULL, finished_at = NULL WHERE file_id = ?", upload.file_id)
    _report_moved(tx, moved, EventType.UPLOAD_RESUMED)
    return existing(tx, upload.file_id)


def _needs_new_attempt(upload: Upload, code: ErrorCode | None) -> bool:
    """Whether the bytes that the server has are of no use: another file now, or refused as a whole."""
    return code in _ANOTHER_FILE or (code is ErrorCode.SERVER_REFUSED and upload.refusal is not None)


def cancel(tx: Transaction, file_id: str) -> Upload:
    """UPLOAD_CANCELLED; the commands that wait for it are over, and what the server has of it is given back."""
    upload = existing(tx, file_id)
    moved = _move(tx, upload, UploadSignal.CANCEL)
    attempts.give_back(tx, upload)
    message_id = _report_moved(tx, moved, EventType.UPLOAD_CANCELLED)
    _end(tx, moved, message_id)
    _finish_starts(tx, file_id, AckStatus.FAILED, CANCELLED)
    for command_id in inbox.open_for(tx, file_id, CommandType.UPLOAD_CANCEL):
        inbox.finish(tx, command_id, AckStatus.COMPLETED)
    return moved


def complete(tx: Transaction, file_id: str, outcome: Outcome, seconds: float) -> Upload:
    """UPLOAD_COMPLETE: the tus server confirmed the last byte."""
    upload = existing(tx, file_id)
    moved = _move(tx, upload, UploadSignal.CONFIRM, seconds=upload.seconds + seconds)
    tx.run('UPDATE uploads SET "offset" = size, url = NULL, token = NULL WHERE file_id = ?', file_id)
    payload = UploadComplete(
        file_id=file_id,
        revision=moved.revision,
        file_size=upload.known_size,
        sha256=outcome.sha256,
        upload_id=outcome.upload_id,
        seconds=round(moved.seconds, 3),
        confirmation="response" if outcome.confirmation == "response" else "offset",
    )
    _end(tx, moved, _report(tx, moved, EventType.UPLOAD_COMPLETE, payload, upload.command_id))
    _finish_starts(tx, file_id, AckStatus.COMPLETED, None)
    _refuse_cancels(tx, file_id)
    return existing(tx, file_id)


def fail(tx: Transaction, file_id: str, error: GiveUp, seconds: float) -> Upload:
    """UPLOAD_FAILED: given up, for good or until a person resumes it."""
    upload = existing(tx, file_id)
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
        file_id=file_id,
        revision=moved.revision,
        code=error.code,
        message=error.message,
        offset=moved.offset,
        retryable=error.retryable,
    )
    _end(tx, moved, _report(tx, moved, EventType.UPLOAD_FAILED, payload, upload.command_id))
    _finish_starts(tx, file_id, AckStatus.FAILED, error)
    _refuse_cancels(tx, file_id)
    return existing(tx, file_id)


def recover(tx: Transaction) -> None:
    """At start, before anything runs: what the last process carried is queued again, or as people wish."""
    for row in tx.all("SELECT file_id FROM uploads WHERE state = 'uploading'"):
        displace(tx, row["file_id"], 0.0)
    tx.run("UPDATE uploads SET next_try_at = NULL WHERE state = 'waiting'")
    rows = tx.all("SELECT * FROM uploads WHERE wish != 'run' AND state IN ('queued', 'waiting')")
    for upload in [upload_of(row) for row in rows]:
        if upload.wish is Wish.PAUSE:
            pause(tx, upload.file_id)
        else:
            cancel(tx, upload.file_id)


def _move(tx: Transaction, upload: Upload, signal: UploadSignal, **changes: str | float | None) -> Upload:
    """The one place where a state changes: through the table, the revision raised by one."""
    values: dict[str, str | float | None] = {"reason": None, "next_try_at": None, **changes}
    values["state"] = after(upload.state, signal)
    values["revision"] = upload.revision + 1
    names = ", ".join(f"{name} = ?" for name in values)
    tx.run(f"UPDATE uploads SET {names} WHERE file_id = ?", *values.values(), upload.file_id)  # noqa: S608
    return existing(tx, upload.file_id)


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
