"""An upload's way to the tus server, as its carrier notes it; and what is to be deleted there."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sse_agent.clock import parse_timestamp, timestamp
from sse_agent.journal.database import Transaction
from sse_agent.journal.uploads import Upload, existing


def note_created(tx: Transaction, file_id: str, url: str, file_identity: str, size: int, sent_limit: int) -> None:
    """The tus server's 201: from here on the upload can be resumed. The first PATCH ends at `sent_limit`."""
    tx.run(
        'UPDATE uploads SET url = ?, file_identity = ?, size = ?, "offset" = 0, furthest = 0, sent_limit = ?,'
        " hashed = 0, hashed_sha256 = NULL, refusal = NULL, refusal_status = NULL WHERE file_id = ?",
        url,
        file_identity,
        size,
        sent_limit,
        file_id,
    )


def note_sending(tx: Transaction, file_id: str, offset: int, sent_limit: int) -> None:
    """A PATCH from `offset` is about to start; no byte from `sent_limit` on was ever sent."""
    tx.run(
        'UPDATE uploads SET "offset" = ?, sent_limit = max(sent_limit, ?), refusal = NULL, refusal_status = NULL'
        " WHERE file_id = ?",
        offset,
        sent_limit,
        file_id,
    )


def note_handed_over(tx: Transaction, file_id: str, sent_limit: int) -> None:
    """A PATCH broke off: less was handed to the network than was going to be."""
    tx.run("UPDATE uploads SET sent_limit = ? WHERE file_id = ?", sent_limit, file_id)


def note_progress(tx: Transaction, file_id: str, offset: int, sha256: str | None = None) -> None:
    """What the tus server confirmed, and the hash of it if known: note_prefix.

    Only further than ever is progress: a server that forgets can't keep it going.
    """
    if sha256 is not None:
        note_prefix(tx, file_id, offset, sha256)
    tx.run('UPDATE uploads SET "offset" = ? WHERE file_id = ?', offset, file_id)
    tx.run(
        "UPDATE uploads SET furthest = ?, tries = 0, progressed_at = ? WHERE file_id = ? AND furthest < ?",
        offset,
        tx.at,
        file_id,
        offset,
    )


def note_asleep(tx: Transaction, file_id: str, seconds: float) -> None:
    """The machine slept for so long in the middle of an attempt, or its clock was set: no time without progress."""
    at = min(tx.now, existing(tx, file_id).progressed_at + timedelta(seconds=seconds))
    tx.run("UPDATE uploads SET progressed_at = ? WHERE file_id = ?", timestamp(at), file_id)


def note_prefix(tx: Transaction, file_id: str, length: int, sha256: str) -> None:
    """The first `length` bytes of the file, as they were handed to the network, have this hash."""
    tx.run("UPDATE uploads SET hashed = ?, hashed_sha256 = ? WHERE file_id = ?", length, sha256, file_id)


def note_refusal(tx: Transaction, file_id: str, status: int, refusal: str) -> None:
    """An error answered the PATCH with the last byte: before anybody asks for the offset, this is durable."""
    tx.run("UPDATE uploads SET refusal = ?, refusal_status = ? WHERE file_id = ?", refusal[:500], status, file_id)


def note_token(tx: Transaction, file_id: str, token: str) -> None:
    """A fresh upload token."""
    tx.run("UPDATE uploads SET token = ? WHERE file_id = ?", token, file_id)


def start_over(tx: Transaction, file_id: str, *, recreated: int) -> None:
    """A new attempt from the first byte; the old upload, if there is one, is to be deleted on the server."""
    give_back(tx, existing(tx, file_id))
    tx.run(
        'UPDATE uploads SET url = NULL, attempt_id = ?, "offset" = 0, furthest = 0, sent_limit = 0, hashed = 0,'
        " hashed_sha256 = NULL, refusal = NULL, refusal_status = NULL, file_identity = NULL, recreated = ?"
        " WHERE file_id = ?",
        str(uuid.uuid4()),
        recreated,
        file_id,
    )


@dataclass(frozen=True, slots=True)
class Termination:
    """An upload on the tus server that nobody needs any more."""

    url: str = field(repr=False)
    endpoint: str
    token: str | None = field(repr=False)
    since: datetime


def give_back(tx: Transaction, upload: Upload) -> None:
    """What the tus server has of it is of no more use: it will be deleted there."""
    if upload.url is not None:
        tx.run(
            "INSERT OR IGNORE INTO terminations (url, endpoint, token, since) VALUES (?, ?, ?, ?)",
            upload.url,
            upload.endpoint,
            upload.token,
            tx.at,
        )
        tx.run("UPDATE uploads SET url = NULL WHERE file_id = ?", upload.file_id)


def terminations(tx: Transaction, limit: int, after: str = "") -> list[Termination]:
    """Uploads to DELETE on the tus server, in the order of their URLs, those behind `after`."""
    rows = tx.all("SELECT * FROM terminations WHERE url > ? ORDER BY url LIMIT ?", after, limit)
    return [Termination(row["url"], row["endpoint"], row["token"], parse_timestamp(row["since"])) for row in rows]


def terminated(tx: Transaction, url: str) -> None:
    """It is gone, or nobody will try any more."""
    tx.run("DELETE FROM terminations WHERE url = ?", url)
