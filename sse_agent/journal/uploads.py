"""Uploads: what is wanted of each and where it is. Its states are in transitions.py, its way in attempts.py."""

import json
import sqlite3
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sse_agent.clock import parse_timestamp
from sse_agent.errors import ErrorCode
from sse_agent.journal.database import Transaction
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.messages import (
    UploadStart,
    UploadSummary,
)

TRIES_AT_LEAST = 5


@dataclass(frozen=True, slots=True)
class Upload:
    """One row. `url` and `token` are secrets."""

    file_id: str
    command_id: str
    identity: str
    name: bytes
    endpoint: str
    token: str | None = field(repr=False)
    metadata: dict[str, str]
    priority: int
    wanted_size: int | None
    wanted_sha256: str | None
    state: UploadState
    revision: int
    wish: Wish
    wish_command_id: str | None
    is_paused_here: bool
    attempt_id: str
    url: str | None = field(repr=False)
    file_identity: str | None
    size: int | None
    offset: int
    sent_limit: int
    hashed: int
    hashed_sha256: str | None
    refusal: str | None
    refusal_status: int | None
    recreated: int
    tries: int
    reason: str | None
    next_try_at: datetime | None
    progressed_at: datetime
    seconds: float
    code: ErrorCode | None
    message: str | None
    is_retryable: bool
    outcome_id: str | None
    created_at: str
    finished_at: str | None
    number: int
    """In the order of their arrival."""

    @property
    def known_size(self) -> int:
        """Bytes: as measured, else as commanded, else 0."""
        return self.size if self.size is not None else self.wanted_size or 0

    @property
    def complete_sha256(self) -> str | None:
        """Of a complete one: the hash of the whole file; None of one that ended before it was kept."""
        is_whole = self.state is UploadState.COMPLETE and self.hashed == self.known_size
        return self.hashed_sha256 if is_whole else None


def upload_of(row: sqlite3.Row) -> Upload:
    return Upload(
        file_id=row["file_id"],
        command_id=row["command_id"],
        identity=row["identity"],
        name=row["name"],
        endpoint=row["endpoint"],
        token=row["token"],
        metadata=json.loads(row["metadata"]),
        priority=row["priority"],
        wanted_size=row["wanted_size"],
        wanted_sha256=row["wanted_sha256"],
        state=UploadState(row["state"]),
        revision=row["revision"],
        wish=Wish(row["wish"]),
        wish_command_id=row["wish_command_id"],
        is_paused_here=bool(row["paused_here"]),
        attempt_id=row["attempt_id"],
        url=row["url"],
        file_identity=row["file_identity"],
        size=row["size"],
        offset=row["offset"],
        sent_limit=row["sent_limit"],
        hashed=row["hashed"],
        hashed_sha256=row["hashed_sha256"],
        refusal=row["refusal"],
        refusal_status=row["refusal_status"],
        recreated=row["recreated"],
        tries=row["tries"],
        reason=row["reason"],
        next_try_at=parse_timestamp(row["next_try_at"]) if row["next_try_at"] else None,
        progressed_at=parse_timestamp(row["progressed_at"]),
        seconds=row["seconds"],
        code=ErrorCode(row["code"]) if row["code"] else None,
        message=row["message"],
        is_retryable=bool(row["retryable"]),
        outcome_id=row["outcome_id"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        number=row["n"],
    )


def find(tx: Transaction, file_id: str) -> Upload | None:
    """That upload, if it is known."""
    row = tx.one("SELECT * FROM uploads WHERE file_id = ?", file_id)
    return None if row is None else upload_of(row)


def existing(tx: Transaction, file_id: str) -> Upload:
    """That upload. Raises LookupError if it is gone: a bug."""
    upload = find(tx, file_id)
    if upload is None:
        raise LookupError(f"no upload {file_id}")
    return upload


def ids_in(tx: Transaction, states: Collection[UploadState], after: int, limit: int) -> list[tuple[int, str]]:
    """The next uploads in these states that can still change, as (n, file ID), in the order of their arrival."""
    rows = tx.all(
        "SELECT n, file_id FROM uploads WHERE state IN (SELECT value FROM json_each(?)) AND n > ?"
        " AND (state != 'failed' OR retryable) ORDER BY n LIMIT ?",
        json.dumps(list(states)),
        after,
        limit,
    )
    return [(row["n"], row["file_id"]) for row in rows]


def chosen(
    tx: Transaction, states: Collection[str], contains: bytes, after: int, limit: int, *, or_id: bool = False
) -> list[tuple[int, Upload]]:
    """The next uploads, as (n, upload), in the order of their arrival: of all states if none is named.

    Those with `contains` in their name, with `or_id` or file ID; upper and lower case are the same.
    """
    rows = tx.all(
        "SELECT * FROM uploads WHERE n > ?1 AND (?2 = '[]' OR state IN (SELECT value FROM json_each(?2)))"
        " AND (length(?3) = 0 OR instr(casefold(name), casefold(?3))"
        " OR (?5 AND instr(casefold(CAST(file_id AS BLOB)), casefold(?3)))) ORDER BY n LIMIT ?4",
        after,
        json.dumps(list(states)),
        contains,
        limit,
        or_id,
    )
    return [(row["n"], upload_of(row)) for row in rows]


def try_now(tx: Transaction, file_id: str) -> bool:
    """A waiting upload does not wait any longer. False if it does not wait."""
    statement = "UPDATE uploads SET next_try_at = ? WHERE file_id = ? AND state = 'waiting'"
    return tx.run(statement, tx.at, file_id) == 1


def waiting_ids(tx: Transaction) -> set[str]:
    """The file IDs of the uploads that wait for their next try."""
    return {row["file_id"] for row in tx.all("SELECT file_id FROM uploads WHERE state = 'waiting'")}


def counts(tx: Transaction) -> dict[str, int]:
    """Uploads by state."""
    return {row[0]: row[1] for row in tx.all("SELECT state, count(*) FROM uploads GROUP BY state")}


def unfinished(tx: Transaction, limit: int) -> list[Upload]:
    """Uploads that are not over, those under way first."""
    rows = tx.all(
        "SELECT * FROM uploads WHERE state IN ('queued', 'uploading', 'waiting', 'paused')"
        " ORDER BY state != 'uploading', priority DESC, n LIMIT ?",
        limit,
    )
    return [upload_of(row) for row in rows]


def newest_failed(tx: Transaction, limit: int) -> list[Upload]:
    """The uploads that failed last, the newest first."""
    rows = tx.all("SELECT * FROM uploads WHERE state = 'failed' ORDER BY finished_at DESC, n DESC LIMIT ?", limit)
    return [upload_of(row) for row in rows]


def queued_bytes(tx: Transaction) -> int:
    """Bytes still to be confirmed of all uploads that are queued, waiting or uploading."""
    row = tx.one(
        # total(), for sum() of what a control plane may claim overflows.
        'SELECT total(coalesce(size, wanted_size, "offset") - "offset") FROM uploads'
        " WHERE state IN ('queued', 'uploading', 'waiting')"
    )
    return int(row[0]) if row else 0


def summary(upload: Upload) -> UploadSummary:
    """One upload as CLIENT_CONNECTED and CLIENT_STATUS tell of it."""
    return UploadSummary(
        file_id=upload.file_id,
        state=upload.state,
        revision=upload.revision,
        offset=upload.offset,
        file_size=upload.size if upload.size is not None else upload.wanted_size,
        reason=upload.reason,
    )


def add(tx: Transaction, command_id: str, start: UploadStart, endpoint: str, size: int | None) -> Upload:
    """A new upload, queued. `size` in bytes where the file was found at once."""
    rows = tx.all(
        "INSERT INTO uploads (file_id, command_id, identity, name, endpoint, token, metadata, priority, wanted_size,"
        " wanted_sha256, state, revision, wish, attempt_id, size, next_try_at, progressed_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?) RETURNING *",
        start.file_id,
        command_id,
        start.identity(),
        start.raw_name(),
        endpoint,
        start.upload_token,
        json.dumps(start.metadata),
        start.priority,
        start.file_size,
        start.sha256,
        UploadState.QUEUED,
        Wish.RUN,
        str(uuid.uuid4()),
        size,
        tx.at,
        tx.at,
        tx.at,
    )
    return upload_of(rows[0])


def take_over(tx: Transaction, upload: Upload, start: UploadStart) -> None:
    """The same start came again: its token and priority are the newer ones."""
    tx.run(
        "UPDATE uploads SET token = coalesce(?, token), priority = ? WHERE file_id = ?",
        start.upload_token,
        start.priority,
        upload.file_id,
    )


def wish(tx: Transaction, file_id: str, wanted: Wish, command_id: str | None) -> None:
    """What people want of it from now on; whoever carries the upload looks here. No command: a person here wants it."""
    tx.run(
        "UPDATE uploads SET wish = ?, wish_command_id = ?, paused_here = ? WHERE file_id = ?",
        wanted,
        command_id,
        wanted is Wish.PAUSE and command_id is None,
        file_id,
    )


def remember_cancelled(tx: Transaction, file_id: str) -> None:
    """Cancelled before it was started: a later start is refused."""
    tx.run("INSERT OR REPLACE INTO cancelled_before_start (file_id, at) VALUES (?, ?)", file_id, tx.at)


def was_cancelled_before_start(tx: Transaction, file_id: str) -> bool:
    """Whether a cancel came first."""
    return tx.one("SELECT 1 FROM cancelled_before_start WHERE file_id = ?", file_id) is not None


def prune(tx: Transaction, before: str) -> int:
    """Drop uploads that ended before that instant; what the tus server has of them is given back."""
    tx.run("DELETE FROM cancelled_before_start WHERE at < ?", before)
    tx.run(
        "INSERT OR IGNORE INTO terminations (url, endpoint, token, since) SELECT url, endpoint, token, ? FROM uploads"
        " WHERE finished_at < ? AND url IS NOT NULL",
        tx.at,
        before,
    )
    return tx.run("DELETE FROM uploads WHERE finished_at < ?", before)


def has_worked(tx: Transaction, endpoint: str) -> bool:
    """Whether an upload was ever created at that endpoint, as far as is remembered."""
    statement = "SELECT 1 FROM uploads WHERE endpoint = ? AND (url IS NOT NULL OR state = 'complete') LIMIT 1"
    return tx.one(statement, endpoint) is not None


def has_stalled(upload: Upload, now: datetime, limit: timedelta) -> bool:
    """Whether it was tried for so long without progress that people should know.

    Time spent asleep, switched off or in the queue does not count (see `transitions.begin`); for what of it can't be
    known, a few tries come first.
    """
    return now - upload.progressed_at > limit and upload.tries >= TRIES_AT_LEAST
