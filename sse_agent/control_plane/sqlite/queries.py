"""Reading: rows → what services are told."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pydantic_core

from sse_agent.control_plane.engine import UploadNews
from sse_agent.control_plane.problems import UnknownCommand
from sse_agent.control_plane.records import (
    AgentRecord,
    CommandRecord,
    FeedRecord,
    MessageRecord,
    PresenceRecord,
    QueueRecord,
    UploadRecord,
)
from sse_agent.control_plane.sqlite import claims
from sse_agent.control_plane.sqlite.database import Transaction
from sse_agent.lifecycle import UNFINISHED, UploadState

REPLIES_LIMIT = 100
_ENDED = frozenset(UploadState) - UNFINISHED


def command(tx: Transaction, command_id: str) -> CommandRecord:
    """Outcome and replies so far. Raises UnknownCommand."""
    row = tx.one(
        "SELECT commands.*, agents.numbering, agents.sent_n FROM commands JOIN agents USING (client_id) WHERE id = ?",
        command_id,
    )
    if row is None:
        raise UnknownCommand
    replies = tx.all(
        "SELECT body FROM events WHERE in_reply_to = ? AND type != 'ACK' ORDER BY serial LIMIT ?",
        command_id,
        REPLIES_LIMIT,
    )
    waiting = "sent" if row["n"] <= row["sent_n"] else "queued"
    return CommandRecord(
        id=row["id"],
        client_id=row["client_id"],
        event_id=f"{row['numbering']}/{row['n']}",
        type=row["type"],
        actor=row["actor"],
        expires_at=row["expires_at"],
        queued_at=row["queued_at"],
        accepted_at=row["accepted_at"],
        finished_at=row["finished_at"],
        status=row["outcome"] or ("accepted" if row["accepted_at"] else waiting),
        outcome=row["outcome"],
        error=_json(row["error"]),
        replies=[_object(reply["body"]) for reply in replies],
    )


def agent(tx: Transaction, client_id: str) -> AgentRecord:
    """One agent as last reported. Raises UnknownAgent, AgentDeleted."""
    return _agent_of(claims.known(tx, client_id))


def agents(tx: Transaction, after: str, limit: int) -> Sequence[AgentRecord]:
    """In the order of their IDs; deleted ones are not among them."""
    rows = tx.all(
        "SELECT * FROM agents WHERE client_id > ? AND deleted_at IS NULL ORDER BY client_id LIMIT ?", after, limit
    )
    return [_agent_of(row) for row in rows]


def _agent_of(row: sqlite3.Row) -> AgentRecord:
    connection, status = _json(row["connection"]), _json(row["status"])
    return AgentRecord(
        client_id=row["client_id"],
        presence=PresenceRecord(last_seen_at=row["last_seen_at"]),
        queue=QueueRecord(
            waiting=row["last_n"] - row["passed_n"],
            latest=f"{row['numbering']}/{row['last_n']}",
            cursor=f"{row['numbering']}/{row['passed_n']}",
        ),
        connection=connection["payload"] if connection else None,
        connection_at=connection["timestamp"] if connection else None,
        status=status["payload"] if status else None,
        status_at=status["timestamp"] if status else None,
        is_readmitted=bool(row["is_readmitted"]),
    )


def uploads(
    tx: Transaction, client_id: str, progress: Mapping[str, UploadNews], after: str, limit: int
) -> Sequence[UploadRecord]:
    """In the order of their file IDs: what is durable, with the newest progress where that is newer."""
    claims.known(tx, client_id)
    rows = tx.all(
        "SELECT * FROM uploads WHERE client_id = ? AND file_id > ? ORDER BY file_id LIMIT ?", client_id, after, limit
    )
    records = {row["file_id"]: _upload_of(row, progress.get(row["file_id"])) for row in rows}
    # Of what is past the page nothing is said yet; its turn comes.
    last = max(records) if len(rows) == limit else None
    for file_id, news in progress.items():
        if file_id not in records and file_id > after and (last is None or file_id < last):
            records[file_id] = _upload_from(news, tx.at)
    return [records[file_id] for file_id in sorted(records)][:limit]


def _upload_of(row: sqlite3.Row, news: UploadNews | None) -> UploadRecord:
    details = _object(row["details"])
    is_newer = news is not None and news.revision >= row["revision"] and row["state"] not in _ENDED
    record = UploadRecord(
        file_id=row["file_id"],
        state=row["state"],
        revision=row["revision"],
        offset=details.get("fileSize") if row["state"] == "complete" else details.get("offset"),
        file_size=details.get("fileSize"),
        updated_at=row["updated_at"],
        is_lost=bool(row["is_lost"]),
        result=details if row["state"] in _ENDED else None,
    )
    return record if news is None or not is_newer else _with(record, news)


def _upload_from(news: UploadNews, at: str) -> UploadRecord:
    record = UploadRecord(file_id=news.file_id, state="queued", revision=news.revision, updated_at=at)
    return _with(record, news)


def _with(record: UploadRecord, news: UploadNews) -> UploadRecord:
    return record.model_copy(
        update={
            "state": news.state or record.state,
            "revision": news.revision,
            "offset": news.details.get("offset"),
            "file_size": news.details.get("fileSize"),
            "is_lost": False,
            "progress": news.details,
        }
    )


def messages(
    tx: Transaction, client_id: str, after: int, limit: int, types: Collection[str]
) -> Sequence[MessageRecord]:
    """What it reported durably, oldest first."""
    claims.known(tx, client_id)
    wanted = f" AND type IN ({', '.join('?' * len(types))})" if types else ""
    rows = tx.all(
        "SELECT serial, recorded_at, body FROM events WHERE client_id = ? AND serial > ?"  # noqa: S608
        f"{wanted} ORDER BY serial LIMIT ?",
        client_id,
        after,
        *types,
        limit,
    )
    return [
        MessageRecord(n=row["serial"], recorded_at=row["recorded_at"], message=_object(row["body"])) for row in rows
    ]


def feed(tx: Transaction, after: int, limit: int) -> Sequence[FeedRecord]:
    """What all agents reported durably, oldest first."""
    rows = tx.all("SELECT * FROM events WHERE serial > ? ORDER BY serial LIMIT ?", after, limit)
    return [
        FeedRecord(
            n=row["serial"],
            client_id=row["client_id"],
            recorded_at=row["recorded_at"],
            message=_object(row["body"]),
        )
        for row in rows
    ]


def feed_end(tx: Transaction) -> int:
    """The serial number of the newest."""
    row = tx.one("SELECT max(serial) FROM events")
    return 0 if row is None or row[0] is None else int(row[0])


def _json(body: bytes | None) -> dict[str, Any] | None:
    return None if body is None else _object(body)


def _object(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = pydantic_core.from_json(body)
    return found
