"""What agents report: key, event and state change in one transaction."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import pydantic_core

from sse_agent.control_plane.engine import Report, Speaker, UploadNews, Verdict
from sse_agent.control_plane.fencing import Ruling
from sse_agent.control_plane.sqlite import claims, commands
from sse_agent.control_plane.sqlite.database import Transaction
from sse_agent.messages import EventType, parse_event_id


@dataclass(frozen=True, slots=True)
class Recording:
    """One verdict for each report, by place; and what changed for others."""

    verdicts: Mapping[int, Verdict]
    commands: frozenset[str]
    ruling: Ruling


def record(
    tx: Transaction,
    client_id: str,
    speaker: Speaker,
    durable: Mapping[int, Report],
    statuses: Mapping[int, Report],
    sizes: Mapping[str, int | None],
) -> Recording:
    """`durable` ones have keys here; of `statuses`, whose keys are kept elsewhere, the last one is written down.

    `sizes`: bytes of uploads as their progress told, by file ID.
    """
    ruling = claims.bind(tx, client_id, speaker)
    agent = claims.known(tx, client_id)
    changed: set[str] = set()
    verdicts = {}
    for place, report in durable.items():
        verdicts[place] = _remember_key(tx, client_id, report)
        if verdicts[place] is Verdict.RECORDED:
            changed |= _apply(tx, agent, report, sizes)
    for report in statuses.values():
        tx.run("UPDATE agents SET status = ? WHERE client_id = ?", report.body, client_id)
    return Recording(verdicts, frozenset(changed), ruling)


def _remember_key(tx: Transaction, client_id: str, report: Report) -> Verdict:
    row = tx.one("SELECT digest FROM message_keys WHERE client_id = ? AND key = ?", client_id, report.message_id)
    if row is not None:
        return Verdict.REPEATED if row["digest"] == report.digest else Verdict.CONFLICT
    tx.run(
        "INSERT INTO message_keys (client_id, key, digest) VALUES (?, ?, ?)",
        client_id,
        report.message_id,
        report.digest,
    )
    return Verdict.RECORDED


def _apply(tx: Transaction, agent: sqlite3.Row, report: Report, sizes: Mapping[str, int | None]) -> set[str]:
    """The event, and the state that follows from it. Returns the IDs of the commands that it is about."""
    client_id = agent["client_id"]
    answered = commands.named(tx, agent, report.in_reply_to) if report.in_reply_to is not None else None
    tx.run(
        "INSERT INTO events (client_id, type, in_reply_to, recorded_at, body) VALUES (?, ?, ?, ?, ?)",
        client_id,
        report.type,
        answered,
        tx.at,
        report.body,
    )
    tx.run("UPDATE agents SET reported_at = ?, recorded_at = ? WHERE client_id = ?", report.timestamp, tx.at, client_id)
    changed = {answered}
    if report.ack is not None:
        changed.add(commands.acknowledge(tx, agent, report.ack))
    for news in (report.upload, *report.uploads):
        if news is not None:
            _note_upload(tx, client_id, news, sizes.get(news.file_id))
    if report.type == EventType.CLIENT_CONNECTED:
        tx.run("UPDATE agents SET connection = ? WHERE client_id = ?", report.body, client_id)
        _note_cursor(tx, agent, report.cursor)
    if report.type == EventType.CLIENT_STATUS:
        tx.run("UPDATE agents SET status = ? WHERE client_id = ?", report.body, client_id)
    return {command_id for command_id in changed if command_id is not None}


def _note_upload(tx: Transaction, client_id: str, news: UploadNews, size: int | None) -> None:
    """The higher revision wins; complete is final, but not what a lost journal said (its revision is 0)."""
    tx.run(
        "INSERT INTO uploads (client_id, file_id, revision, state, details, updated_at, file_size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (client_id, file_id) DO UPDATE SET revision = excluded.revision, state = excluded.state,"
        " details = excluded.details, updated_at = excluded.updated_at, is_lost = 0,"
        " file_size = coalesce(excluded.file_size, uploads.file_size)"
        " WHERE excluded.revision > uploads.revision AND (uploads.state <> 'complete' OR uploads.revision = 0)",
        client_id,
        news.file_id,
        news.revision,
        news.state,
        pydantic_core.to_json(news.details),
        tx.at,
        size if news.file_size is None else news.file_size,
    )


def _note_cursor(tx: Transaction, agent: sqlite3.Row, cursor: str | None) -> None:
    try:
        event_id = parse_event_id(cursor or "")
    except ValueError:
        return
    # Of a reset that is not taken yet the cursor says nothing: it may be the old one of a restored machine.
    if event_id.numbering == agent["numbering"] and agent["reset_reason"] is None:
        tx.run(
            "UPDATE agents SET passed_n = max(passed_n, min(?, last_n)) WHERE client_id = ?",
            event_id.n,
            agent["client_id"],
        )
