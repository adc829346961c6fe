"""Documents and logs, as works of the writer thread."""

from collections.abc import Sequence
from datetime import datetime

from sse_agent.clock import timestamp
from sse_agent.control_plane.documents import Conflict, Document, Entry
from sse_agent.control_plane.sqlite.database import Transaction


def one(tx: Transaction, kind: str, key: str) -> Document | None:
    row = tx.one("SELECT * FROM documents WHERE kind = ? AND key = ? AND coalesce(expires_at > ?, 1)", kind, key, tx.at)
    return None if row is None else Document(row["key"], row["version"], row["body"])


def page(tx: Transaction, kind: str, after: str, limit: int) -> Sequence[Document]:
    rows = tx.all(
        "SELECT * FROM documents WHERE kind = ? AND key > ? AND coalesce(expires_at > ?, 1) ORDER BY key LIMIT ?",
        kind,
        after,
        tx.at,
        limit,
    )
    return [Document(row["key"], row["version"], row["body"]) for row in rows]


def put(tx: Transaction, kind: str, key: str, body: bytes, version: int, expires_at: datetime | None) -> Document:
    found = one(tx, kind, key)
    if (found.version if found else 0) != version:
        raise Conflict
    tx.run(
        "INSERT OR REPLACE INTO documents (kind, key, version, body, expires_at) VALUES (?, ?, ?, ?, ?)",
        kind,
        key,
        version + 1,
        body,
        None if expires_at is None else timestamp(expires_at),
    )
    return Document(key, version + 1, body)


def remove(tx: Transaction, kind: str, key: str, version: int) -> None:
    found = one(tx, kind, key)
    if found is None:
        return
    if found.version != version:
        raise Conflict
    tx.run("DELETE FROM documents WHERE kind = ? AND key = ?", kind, key)


def append(tx: Transaction, log: str, body: bytes, key: str | None) -> int:
    if key is not None:
        row = tx.one("SELECT n FROM entries WHERE log = ? AND key = ?", log, key)
        if row is not None:
            return int(row["n"])
    row = tx.one("INSERT INTO entries (log, at, key, body) VALUES (?, ?, ?, ?) RETURNING n", log, tx.at, key, body)
    assert row is not None  # noqa: S101 - RETURNING gives one
    return int(row["n"])


def entries(tx: Transaction, log: str, after: int, limit: int) -> Sequence[Entry]:
    rows = tx.all("SELECT * FROM entries WHERE log = ? AND n > ? ORDER BY n LIMIT ?", log, after, limit)
    return [Entry(row["n"], row["at"], row["body"]) for row in rows]


def trim(tx: Transaction, log: str, before: datetime) -> int:
    return tx.run("DELETE FROM entries WHERE log = ? AND at < ?", log, timestamp(before))


def prune(tx: Transaction) -> None:
    """Documents that have expired."""
    tx.run("DELETE FROM documents WHERE expires_at <= ?", tx.at)
