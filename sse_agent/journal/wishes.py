"""What people want of an upload: pause, resume, cancel. The same for a command from afar and a person at this machine.

Each raises GiveUp, `NOT_FOUND` or `WRONG_STATE`, having changed nothing; what it returns is what happened.
"""

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import Event, PauseOverruled, UploadCancelled, UploadEnded, UploadPaused, UploadQueued
from sse_agent.journal import inbox, transitions, uploads
from sse_agent.journal.database import Transaction
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadState, Wish

Effects = list[Event]


def pause(tx: Transaction, file_id: str, command_id: str | None) -> Effects:
    """One under way is stopped by its carrier, which looks at the wish. Without a command a person here wants it."""
    upload = _known(tx, file_id)
    if is_over(upload) or upload.state is UploadState.FAILED or upload.wish is Wish.CANCEL:
        raise _wrong_state(upload)
    if upload.wish is Wish.PAUSE:
        return []
    uploads.wish(tx, file_id, Wish.PAUSE, command_id)
    if upload.state is UploadState.UPLOADING:
        return []
    return [paused(transitions.pause(tx, uploads.existing(tx, file_id)))]


def resume(tx: Transaction, file_id: str, command_id: str | None, by: str = "") -> Effects:
    """Of a paused upload, or of a failed one that is retryable. `by`: who wants it, for whoever paused it here."""
    upload = _known(tx, file_id)
    if is_over(upload) or upload.wish is Wish.CANCEL:
        raise _wrong_state(upload)
    overruled = (by or "the control plane") if upload.is_paused_here and command_id is not None else ""
    if upload.wish is not Wish.RUN or upload.state in (UploadState.PAUSED, UploadState.FAILED):
        uploads.wish(tx, file_id, Wish.RUN, command_id)
    if upload.state in (UploadState.PAUSED, UploadState.FAILED):
        why = "retried" if upload.state is UploadState.FAILED else "resumed"
        return [queued(transitions.revive(tx, uploads.existing(tx, file_id)), why, overruled)]
    return [PauseOverruled(file_id, name_of(upload), overruled)] if overruled else []


def cancel(tx: Transaction, file_id: str, command_id: str | None) -> Effects:
    """Final. One under way is cancelled once its carrier has let go."""
    upload = _known(tx, file_id)
    if upload.state is UploadState.CANCELLED:
        return []
    if is_over(upload):
        raise _wrong_state(upload)
    uploads.wish(tx, file_id, Wish.CANCEL, command_id)
    if upload.state is UploadState.UPLOADING:
        return []
    return [cancelled(tx, transitions.cancel(tx, uploads.existing(tx, file_id)))]


def is_over(upload: Upload) -> bool:
    """Whether nothing can become of it any more."""
    is_dead = upload.state is UploadState.FAILED and not upload.is_retryable
    return is_dead or upload.state in (UploadState.COMPLETE, UploadState.CANCELLED)


def _known(tx: Transaction, file_id: str) -> Upload:
    upload = uploads.find(tx, file_id)
    if upload is None:
        raise GiveUp(ErrorCode.NOT_FOUND, "no upload has this fileId")
    return upload


def _wrong_state(upload: Upload) -> GiveUp:
    state = "being cancelled" if upload.wish is Wish.CANCEL and not is_over(upload) else upload.state
    return GiveUp(ErrorCode.WRONG_STATE, f"the upload is {state}")


def queued(upload: Upload, why: str, overruled_by: str = "") -> UploadQueued:
    """The event of an upload that stands in the queue."""
    return UploadQueued(
        upload.file_id,
        name_of(upload),
        upload.known_size,
        upload.offset,
        upload.priority,
        why,
        overruled_by,
        number=upload.number,
    )


def paused(upload: Upload) -> UploadPaused:
    """The event of an upload that a person paused."""
    return UploadPaused(
        upload.file_id, upload.offset, upload.is_paused_here, file_name=name_of(upload), size=upload.known_size
    )


def failed(upload: Upload, error: GiveUp) -> UploadEnded:
    """The event of an upload that failed."""
    return UploadEnded(
        upload.file_id,
        upload.state,
        error.code,
        error.message,
        error.detail,
        error.retryable,
        name_of(upload),
        upload.known_size,
    )


def cancelled(tx: Transaction, upload: Upload) -> UploadCancelled:
    """The event of an upload that a person cancelled: who it was is in the command that the wish came with."""
    command_id = upload.wish_command_id
    actor = "" if command_id is None else inbox.actor_of(tx, command_id)
    here = command_id is None
    return UploadCancelled(upload.file_id, name_of(upload), upload.known_size, upload.offset, here, actor)


def name_of(upload: Upload) -> str:
    """As text; bytes that are none become lone surrogates, which whoever shows them has to mind."""
    return upload.name.decode(errors="surrogateescape")
