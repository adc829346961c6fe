"""How the last attempts at an upload ended, for the person who wonders why it does not get on."""

from dataclasses import dataclass

from sse_agent.journal.database import Transaction
from sse_agent.journal.uploads import Upload

KEPT = 20


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt. `offset` in bytes, confirmed when it ended; `state`: the one that it led to."""

    ended_at: str
    seconds: float
    offset: int
    state: str
    reason: str


def note(tx: Transaction, upload: Upload, seconds: float, reason: str) -> None:
    """An attempt ended, and `upload` is what became of it."""
    tx.run(
        'INSERT INTO tries (file_id, ended_at, seconds, "offset", state, reason) VALUES (?, ?, ?, ?, ?, ?)',
        upload.file_id,
        tx.at,
        round(seconds, 3),
        upload.offset,
        upload.state,
        reason[:500],
    )
    tx.run(
        "DELETE FROM tries WHERE file_id = ? AND n <= ("
        "  SELECT n FROM tries WHERE file_id = ? ORDER BY n DESC LIMIT 1 OFFSET ?)",
        upload.file_id,
        upload.file_id,
        KEPT,
    )


def of(tx: Transaction, file_id: str) -> list[Try]:
    """The last ones, oldest first."""
    rows = tx.all("SELECT * FROM tries WHERE file_id = ? ORDER BY n", file_id)
    return [Try(row["ended_at"], row["seconds"], row["offset"], row["state"], row["reason"] or "") for row in rows]


def forget_ended(tx: Transaction, before: str) -> None:
    """Of uploads that ended before that instant."""
    tx.run("DELETE FROM tries WHERE file_id IN (SELECT file_id FROM uploads WHERE finished_at < ?)", before)
