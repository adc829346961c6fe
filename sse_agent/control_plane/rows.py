"""What either engine keeps of agents, commands and uploads → what is told of them, and what is decided from it. Pure.

A row is anything that gives a column by its name, None where there is nothing: SQLite's rows, or hashes of Redis.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import pydantic_core

from sse_agent.control_plane import resumption
from sse_agent.control_plane.engine import Speaker, UploadNews
from sse_agent.control_plane.records import AgentRecord, CommandRecord, PresenceRecord, QueueRecord, UploadRecord
from sse_agent.lifecycle import UNFINISHED, UploadState

_ENDED = frozenset(UploadState) - UNFINISHED


class Row(Protocol):
    """One row."""

    def __getitem__(self, name: str, /) -> Any:
        """The column's value."""
        ...


def bound(agent: Row) -> Speaker | None:
    """Who speaks for it now."""
    if agent["journal"] is None:
        return None
    return Speaker(agent["journal"], agent["epoch"], agent["instance"])


def queue(agent: Row) -> resumption.Queue:
    """Its queue's marks."""
    return resumption.Queue(
        numbering=agent["numbering"],
        last_n=agent["last_n"],
        sent_n=agent["sent_n"],
        passed_n=agent["passed_n"],
        floor_n=agent["floor_n"],
        reset_reason=agent["reset_reason"],
        reset_n=agent["reset_n"],
    )


def since(agent: Row) -> str:
    """From when on it reports again after a reset."""
    # A reset that is told again names the same instant: what was reported in between moved the marks.
    if agent["reset_reason"] is not None and agent["reset_since"] is not None:
        return str(agent["reset_since"])
    return resumption.report_again_since(agent["reported_at"], agent["recorded_at"])


def command_record(command: Row, numbering: str, sent_n: int, replies: Sequence[bytes]) -> CommandRecord:
    """Outcome and replies so far."""
    waiting = "sent" if command["n"] <= sent_n else "queued"
    return CommandRecord(
        id=command["id"],
        client_id=command["client_id"],
        event_id=f"{numbering}/{command['n']}",
        type=command["type"],
        actor=command["actor"],
        expires_at=command["expires_at"],
        queued_at=command["queued_at"],
        accepted_at=command["accepted_at"],
        finished_at=command["finished_at"],
        status=command["outcome"] or ("accepted" if command["accepted_at"] else waiting),
        outcome=command["outcome"],
        error=None if command["error"] is None else parsed(command["error"]),
        replies=[parsed(body) for body in replies],
    )


def agent_record(agent: Row) -> AgentRecord:
    """One agent as last reported."""
    connection = None if agent["connection"] is None else parsed(agent["connection"])
    status = None if agent["status"] is None else parsed(agent["status"])
    return AgentRecord(
        client_id=agent["client_id"],
        presence=PresenceRecord(last_seen_at=agent["last_seen_at"]),
        queue=QueueRecord(
            waiting=agent["last_n"] - agent["passed_n"],
            latest=f"{agent['numbering']}/{agent['last_n']}",
            cursor=f"{agent['numbering']}/{agent['passed_n']}",
        ),
        connection=connection["payload"] if connection else None,
        connection_at=connection["timestamp"] if connection else None,
        status=status["payload"] if status else None,
        status_at=status["timestamp"] if status else None,
        is_readmitted=bool(agent["is_readmitted"]),
    )


def upload_record(upload: Row, news: UploadNews | None) -> UploadRecord:
    """What is durable, with the newest progress where that is newer."""
    details = parsed(upload["details"])
    is_newer = news is not None and news.revision >= upload["revision"] and upload["state"] not in _ENDED
    record = UploadRecord(
        file_id=upload["file_id"],
        state=upload["state"],
        revision=upload["revision"],
        offset=details.get("fileSize") if upload["state"] == "complete" else details.get("offset"),
        file_size=details.get("fileSize", upload["file_size"]),
        updated_at=upload["updated_at"],
        is_lost=bool(upload["is_lost"]),
        result=details if upload["state"] in _ENDED else None,
    )
    return record if news is None or not is_newer else _with(record, news)


def upload_from(news: UploadNews, at: str) -> UploadRecord:
    """One of which only progress was heard."""
    record = UploadRecord(file_id=news.file_id, state="queued", revision=news.revision, updated_at=at)
    return _with(record, news)


def _with(record: UploadRecord, news: UploadNews) -> UploadRecord:
    return record.model_copy(
        update={
            "state": news.state or record.state,
            "revision": news.revision,
            "offset": news.details.get("offset"),
            "file_size": news.details.get("fileSize", record.file_size),
            "is_lost": False,
            "progress": news.details,
        }
    )


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in it."""
    found: dict[str, Any] = pydantic_core.from_json(body)
    return found
