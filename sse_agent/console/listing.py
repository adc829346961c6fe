"""The list in which a person selects: the board's uploads, or those that a filter found. Pure."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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
            UploadState.QUEUED,
            UploadState.FAILED,
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


class Listed:
    """What is listed now; of what the board knows, as the board has it."""

    def __init__(self, board: Board, found: Found | None = None) -> None:
        self.board = board
        self.found = found
        self._shown: list[Upload] | None = None
        if found is not None:
            now = [board.find(upload.file_id) or upload for upload in found.uploads]
            self._shown = sorted(now, key=lambda upload: _RANKS[upload.state])

    def __len__(self) -> int:
        return len(self.board) if self._shown is None else len(self._shown)

    def __iter__(self) -> Iterator[Upload]:
        return iter(self.board if self._shown is None else self._shown)

    def window(self, start: int, most: int) -> list[Upload]:
        """Up to `most` of them, from number `start` on."""
        return list(islice(self, start, start + most))

    def position(self, file_id: str) -> int | None:
        """Where it stands, from 0."""
        if self._shown is None:
            return self.board.position(file_id)
        return next((number for number, one in enumerate(self._shown) if one.file_id == file_id), None)

    def find(self, file_id: str) -> Upload | None:
        """That upload, if it is listed."""
        if self._shown is None:
            return self.board.find(file_id)
        return next((one for one in self._shown if one.file_id == file_id), None)


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
