"""Who speaks for an agent, and where its stream goes on."""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sse_agent.clock import timestamp
from sse_agent.control_plane import resumption, rows
from sse_agent.control_plane.engine import Greeting, Speaker, Superseded
from sse_agent.control_plane.fencing import Ruling, Standing, rule
from sse_agent.control_plane.problems import AgentDeleted, NewerEpoch, UnknownAgent
from sse_agent.control_plane.sqlite.database import Transaction

_SEEN_EVERY = timedelta(minutes=1)
_RESETS = {Ruling.JOURNAL_LOST: resumption.JOURNAL_LOST, Ruling.READMITTED: resumption.READMITTED}


@dataclass(frozen=True, slots=True)
class Claim:
    """A greeting, and what changed for others: streams that are over, commands that became unknown."""

    greeting: Greeting
    ends_streams: bool
    has_changed_journal: bool
    unknown: tuple[str, ...]


def enlist(tx: Transaction, client_ids: Iterable[str]) -> None:
    """Make agents known, each with an empty queue."""
    for client_id in client_ids:
        tx.run("INSERT OR IGNORE INTO agents (client_id, numbering) VALUES (?, ?)", client_id, _new_numbering())


def known(tx: Transaction, client_id: str) -> sqlite3.Row:
    """The agent's row. Raises UnknownAgent, AgentDeleted."""
    row = tx.one("SELECT * FROM agents WHERE client_id = ?", client_id)
    if row is None:
        raise UnknownAgent
    if row["deleted_at"] is not None:
        raise AgentDeleted
    return row


def bind(tx: Transaction, client_id: str, speaker: Speaker) -> Ruling:
    """Let this speaker speak for the agent. Raises NewerEpoch, and what `known` raises."""
    agent = known(tx, client_id)
    seen = tx.one("SELECT 1 FROM journals WHERE client_id = ? AND journal = ?", client_id, speaker.journal)
    ruling = rule(Standing(rows.bound(agent), seen is not None, bool(agent["is_readmitted"])), speaker)
    if ruling is Ruling.REFUSED:
        raise NewerEpoch
    if ruling is not Ruling.BOUND:
        _rebind(tx, client_id, speaker)
    if ruling in _RESETS:
        _let_go(tx, agent, _RESETS[ruling])
    if ruling is Ruling.READMITTED:
        tx.run("UPDATE agents SET is_readmitted = 0 WHERE client_id = ?", client_id)
    _note_seen(tx, agent)
    return ruling


def claim(tx: Transaction, client_id: str, speaker: Speaker, cursor: str | None, *, opens_stream: bool) -> Claim:
    """Bind, place the cursor, and hand out the newest stream's ticket."""
    ruling = bind(tx, client_id, speaker)
    agent = known(tx, client_id)
    if ruling is Ruling.TAKES_OVER and resumption.is_behind(rows.queue(agent), cursor):
        ruling = Ruling.READMITTED
        _let_go(tx, agent, _RESETS[ruling])
        agent = known(tx, client_id)
    plan = resumption.plan(rows.queue(agent), cursor)
    since = rows.since(agent) if plan.reason is not None else None
    unknown = _place(tx, agent, plan)
    ticket = uuid.uuid4().hex if opens_stream else None
    if ticket is not None:
        tx.run("UPDATE agents SET stream = ? WHERE client_id = ?", ticket, client_id)
    agent = known(tx, client_id)
    greeting = Greeting(agent["numbering"], agent["last_n"], agent["floor_n"], plan.after_n, ticket, plan.reason, since)
    return Claim(greeting, opens_stream or ruling is not Ruling.BOUND, ruling in _RESETS, unknown)


def holder(tx: Transaction, client_id: str, speaker: Speaker, ticket: str | None) -> sqlite3.Row:
    """The agent's row, if this speaker still holds the claim, and this ticket the stream. Raises Superseded."""
    agent = tx.one("SELECT * FROM agents WHERE client_id = ?", client_id)
    if agent is None or agent["deleted_at"] is not None or rows.bound(agent) != speaker:
        raise Superseded
    if ticket is not None and agent["stream"] != ticket:
        raise Superseded
    return agent


def readmit(tx: Transaction, client_id: str) -> None:
    """The next claim that would be refused is let in."""
    known(tx, client_id)
    tx.run("UPDATE agents SET is_readmitted = 1 WHERE client_id = ?", client_id)


def delete(tx: Transaction, client_id: str) -> tuple[str, ...]:
    """For ever; what was open becomes unknown. Returns the IDs of those commands."""
    row = tx.one("SELECT deleted_at, last_n FROM agents WHERE client_id = ?", client_id)
    if row is None:
        raise UnknownAgent
    if row["deleted_at"] is not None:
        return ()
    tx.run("UPDATE agents SET deleted_at = ?, stream = NULL WHERE client_id = ?", tx.at, client_id)
    return make_unknown(tx, client_id, after_n=0, up_to_n=row["last_n"])


def make_unknown(tx: Transaction, client_id: str, *, after_n: int, up_to_n: int) -> tuple[str, ...]:
    """Nobody can tell any more what became of these open commands. A late final ACK still may."""
    ended = tx.all(
        "UPDATE commands SET outcome = 'unknown', finished_at = ?"
        " WHERE client_id = ? AND n > ? AND n <= ? AND outcome IS NULL RETURNING id",
        tx.at,
        client_id,
        after_n,
        up_to_n,
    )
    return tuple(row["id"] for row in ended)


def _rebind(tx: Transaction, client_id: str, speaker: Speaker) -> None:
    """The old speaker's stream is over with this."""
    tx.run(
        "UPDATE agents SET journal = ?, epoch = ?, instance = ?, stream = NULL WHERE client_id = ?",
        speaker.journal,
        speaker.epoch,
        speaker.instance,
        client_id,
    )
    tx.run("INSERT OR IGNORE INTO journals (client_id, journal) VALUES (?, ?)", client_id, speaker.journal)


def _let_go(tx: Transaction, agent: sqlite3.Row, reason: str) -> None:
    """A reset stands from now on, and what the other journal said about uploads is out of date.

    `since` is fixed here: this may be a POST, and what it brings moves the marks before the stream asks.
    """
    client_id = agent["client_id"]
    tx.run(
        "UPDATE agents SET reset_reason = ?, reset_n = NULL, reset_since = ? WHERE client_id = ?",
        reason,
        resumption.report_again_since(agent["reported_at"], agent["recorded_at"]),
        client_id,
    )
    unfinished = "state IN ('queued', 'uploading', 'waiting', 'paused')"
    # A restored journal may have as unfinished what its later life completed: that stands, whatever it says of it.
    changing = "state <> 'complete'" if reason == resumption.READMITTED else "1"
    tx.run(
        f"UPDATE uploads SET revision = 0, is_lost = {unfinished} WHERE client_id = ? AND {changing}",  # noqa: S608
        client_id,
    )


def _place(tx: Transaction, agent: sqlite3.Row, plan: resumption.Plan) -> tuple[str, ...]:
    """Write down what the plan changes."""
    client_id = agent["client_id"]
    unknown: tuple[str, ...] = ()
    if plan.is_renumbered:
        tx.run("UPDATE agents SET numbering = ? WHERE client_id = ?", _new_numbering(), client_id)
    if plan.unknown_after_n is not None:
        unknown = make_unknown(tx, client_id, after_n=plan.unknown_after_n, up_to_n=agent["sent_n"])
    if plan.is_standing:
        tx.run("UPDATE agents SET reset_n = ? WHERE client_id = ? AND reset_n IS NULL", plan.after_n, client_id)
    elif plan.reason is None and agent["reset_reason"] is not None:
        tx.run("UPDATE agents SET reset_reason = NULL, reset_n = NULL WHERE client_id = ?", client_id)
    if plan.after_n > agent["passed_n"]:
        tx.run("UPDATE agents SET passed_n = ? WHERE client_id = ?", plan.after_n, client_id)
    return unknown


def _note_seen(tx: Transaction, agent: sqlite3.Row) -> None:
    # To the minute: a heartbeat's worth of progress must cost no durable write.
    if agent["last_seen_at"] is None or agent["last_seen_at"] <= timestamp(tx.now - _SEEN_EVERY):
        tx.run("UPDATE agents SET last_seen_at = ? WHERE client_id = ?", tx.at, agent["client_id"])


def _new_numbering() -> str:
    return uuid.uuid4().hex[:12]
