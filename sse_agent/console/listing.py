"""The list in which a person selects: the board's uploads, or those that a filter found. Pure."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from sse_agent.board import Board, Upload
from sse_agent.clock import parse_timestamp
from sse_agent.lifecycle import UploadState

_RANKS = {
    state: rank
    for rank, state in enumerate(
        (
            UploadState.UPLOADING,
            UploadState.WAITING,
            UploadState.PAUSED,
            UploadState.FAILED,
            UploadState.QUEUED,
            UploadState.CANCELLED,
            UploadState.COMPLETE,
        )
    )
}


@dataclass(frozen=True, slots=True)
class Found:
    """What the journal has for a filter: `is_more` when not all of it is here."""

    text: str
    uploads: tuple[Upload, ...] = ()
    is_more: bool = False


def is_over(upload: Upload) -> bool:
    """Whether nothing can become of it any more."""
    if upload.state is UploadState.FAILED:
        return not upload.is_retryable
    return upload.state in (UploadState.COMPLETE, UploadState.CANCELLED)


def over_because(upload: Upload) -> str:
    """How it got over, after "the upload is"."""
    if upload.state is UploadState.FAILED:
        return f"given up ({upload.reason})" if upload.reason else "given up"
    return f"{upload.state} already" if upload.state is UploadState.CANCELLED else str(upload.state)


def is_match(upload: Upload, pattern: str) -> bool:
    """Whether its name or file ID has this in it; upper and lower case are the same."""
    wanted = pattern.casefold()
    return wanted in upload.name.casefold() or wanted in upload.file_id.casefold()


class Listed:
    """What is listed now; of what the board knows, as the board has it.

    Without a filter: what is under way, waits or is paused, then what failed and can be retried, then the queue.
    """

    def __init__(self, board: Board, found: Found | None = None) -> None:
        self.board = board
        self.found = found
        self._shown: list[Upload] | None = None
        self.failed = [one for one in reversed(board.failed.values()) if one.is_retryable]
        self._before_failed = len(board) - len(board.queue)
        if found is not None:
            now = [self._on_board(upload.file_id) or upload for upload in found.uploads]
            self._shown = sorted(now, key=lambda upload: _RANKS[upload.state])

    def __len__(self) -> int:
        return len(self.board) + len(self.failed) if self._shown is None else len(self._shown)

    def __iter__(self) -> Iterator[Upload]:
        if self._shown is not None:
            return iter(self._shown)
        known = iter(self.board)
        return chain(islice(known, self._before_failed), self.failed, known)

    def window(self, start: int, most: int) -> list[Upload]:
        """Up to `most` of them, from number `start` on."""
        return list(islice(self, start, start + most))

    def position(self, file_id: str) -> int | None:
        """Where it stands, from 0."""
        if self._shown is not None:
            return _number(self._shown, file_id)
        position = self.board.position(file_id)
        if position is None:
            among = _number(self.failed, file_id)
            return None if among is None else self._before_failed + among
        return position + (len(self.failed) if position >= self._before_failed else 0)

    def find(self, file_id: str) -> Upload | None:
        """That upload, if it is listed."""
        if self._shown is None:
            return self._on_board(file_id)
        return next((one for one in self._shown if one.file_id == file_id), None)

    def _on_board(self, file_id: str) -> Upload | None:
        found = self.board.find(file_id)
        if found is None:
            found = self.board.failed.get(file_id)
            return found if found is not None and found.is_retryable else None
        return found


def _number(uploads: Sequence[Upload], file_id: str) -> int | None:
    return next((number for number, one in enumerate(uploads) if one.file_id == file_id), None)


def upload_of(summary: Mapping[str, Any]) -> Upload:
    """An upload as the journal tells of it."""
    raw = summary.get("fileNameB64")
    name = base64.b64decode(raw).decode(errors="surrogateescape") if raw else str(summary["fileName"])
    upload = Upload(
        summary["fileId"],
        name,
        summary["fileSize"] or 0,
        summary["offset"],
        UploadState(summary["state"]),
        summary["priority"],
        bytes_sent=summary["offset"],
        is_retryable=bool(summary["retryable"]),
        number=summary["number"],
    )
    upload.is_paused_here = summary["pausedHere"]
    if upload.state is UploadState.WAITING:
        upload.reason = summary["reason"] or ""
        upload.next_try_at = parse_timestamp(summary["nextTryAt"]) if summary["nextTryAt"] else None
    elif upload.state is UploadState.FAILED:
        upload.reason = ": ".join(part for part in (summary["code"], summary["message"]) if part)
    return upload


def uploads_of(summaries: Sequence[Mapping[str, Any]]) -> tuple[Upload, ...]:
    """All of them."""
    return tuple(map(upload_of, summaries))
