"""Reading: rows → what services are told."""

from collections.abc import Collection, Mapping, Sequence

from sse_agent.control_plane import rows
from sse_agent.control_plane.engine import REPLIES_LIMIT, UploadNews
from sse_agent.control_plane.problems import UnknownCommand
from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, MessageRecord, UploadRecord
from sse_agent.control_plane.sqlite import claims
from sse_agent.control_plane.sqlite.database import Transaction


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
    return rows.command_record(row, row["numbering"], row["sent_n"], [reply["body"] for reply in replies])


def commands(tx: Transaction, client_id: str, command_ids: Sequence[str]) -> Sequence[CommandRecord]:
    """Those of one agent, without their replies. Raises UnknownAgent, AgentDeleted."""
    agent = claims.known(tx, client_id)
    found = (tx.one("SELECT * FROM commands WHERE id = ? AND client_id = ?", name, client_id) for name in command_ids)
    return [rows.command_record(row, agent["numbering"], agent["sent_n"], ()) for row in found if row is not None]


def agent(tx: Transaction, client_id: str) -> AgentRecord:
    """One agent as last reported. Raises UnknownAgent, AgentDeleted."""
    return rows.agent_record(claims.known(tx, client_id))


def agents(tx: Transaction, after: str, limit: int) -> Sequence[AgentRecord]:
    """In the order of their IDs; deleted ones are not among them."""
    found = tx.all(
        "SELECT * FROM agents WHERE client_id > ? AND deleted_at IS NULL ORDER BY client_id LIMIT ?", after, limit
    )
    return [rows.agent_record(row) for row in found]


def uploads(
    tx: Transaction, client_id: str, progress: Mapping[str, UploadNews], after: str, limit: int
) -> Sequence[UploadRecord]:
    """In the order of their file IDs: what is durable, with the newest progress where that is newer."""
    claims.known(tx, client_id)
    found = tx.all(
        "SELECT * FROM uploads WHERE client_id = ? AND file_id > ? ORDER BY file_id LIMIT ?", client_id, after, limit
    )
    records = {row["file_id"]: rows.upload_record(row, progress.get(row["file_id"])) for row in found}
    # Of what is past the page nothing is said yet; its turn comes.
    last = max(records) if len(found) == limit else None
    for file_id, news in progress.items():
        if file_id not in records and file_id > after and (last is None or file_id < last):
            records[file_id] = rows.upload_from(news, tx.at)
    return [records[file_id] for file_id in sorted(records)][:limit]


def messages(
    tx: Transaction, client_id: str, after: int, limit: int, types: Collection[str]
) -> Sequence[MessageRecord]:
    """What it reported durably, oldest first."""
    claims.known(tx, client_id)
    wanted = f" AND type IN ({', '.join('?' * len(types))})" if types else ""
    found = tx.all(
        "SELECT serial, recorded_at, body FROM events WHERE client_id = ? AND serial > ?"  # noqa: S608
        f"{wanted} ORDER BY serial LIMIT ?",
        client_id,
        after,
        *types,
        limit,
    )
    return [
        MessageRecord(n=row["serial"], recorded_at=row["recorded_at"], message=rows.parsed(row["body"]))
        for row in found
    ]


def feed(tx: Transaction, after: int, limit: int) -> Sequence[FeedRecord]:
    """What all agents reported durably, oldest first."""
    found = tx.all("SELECT * FROM events WHERE serial > ? ORDER BY serial LIMIT ?", after, limit)
    return [
        FeedRecord(
            n=row["serial"],
            client_id=row["client_id"],
            recorded_at=row["recorded_at"],
            message=rows.parsed(row["body"]),
        )
        for row in found
    ]


def feed_end(tx: Transaction) -> int:
    """The serial number of the newest."""
    row = tx.one("SELECT max(serial) FROM events")
    return 0 if row is None or row[0] is None else int(row[0])
