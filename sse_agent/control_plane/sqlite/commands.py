"""Commands: queued once, marked as sent before they are, finished by an ACK."""

import sqlite3
from collections.abc import Sequence

import pydantic_core

from sse_agent.control_plane.engine import (
    FULL_RETRY_S,
    PAGE_BYTES,
    PAGE_COUNT,
    AckNews,
    Order,
    QueuedCommand,
    Speaker,
    Ticket,
)
from sse_agent.control_plane.problems import IdempotencyKeyReused, QueueFull
from sse_agent.control_plane.sqlite import claims
from sse_agent.control_plane.sqlite.database import Transaction
from sse_agent.messages import AckStatus, parse_event_id


def remember_key(tx: Transaction, key: str, digest: bytes) -> bool:
    """Whether this key is new. Raises IdempotencyKeyReused."""
    row = tx.one("SELECT digest FROM service_keys WHERE key = ?", key)
    if row is None:
        tx.run("INSERT INTO service_keys (key, digest, recorded_at) VALUES (?, ?, ?)", key, digest, tx.at)
        return True
    if row["digest"] != digest:
        raise IdempotencyKeyReused
    return False


def queue(tx: Transaction, client_id: str, order: Order, limit: int) -> Ticket:
    """Raises QueueFull, IdempotencyKeyReused, UnknownAgent, AgentDeleted."""
    agent = claims.known(tx, client_id)
    if not remember_key(tx, order.key, order.digest):
        row = tx.one("SELECT n FROM commands WHERE id = ?", order.command_id)
        n = row["n"] if row else 0
        return Ticket(order.command_id, f"{agent['numbering']}/{n}", is_repeated=True)
    if agent["last_n"] - agent["passed_n"] >= limit:
        raise QueueFull(f"{limit} commands wait for this agent", retry_after_s=FULL_RETRY_S)
    n = agent["last_n"] + 1
    tx.run("UPDATE agents SET last_n = ? WHERE client_id = ?", n, client_id)
    tx.run(
        "INSERT INTO commands (client_id, n, id, type, body, actor, expires_at, queued_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        client_id,
        n,
        order.command_id,
        order.type,
        order.body,
        order.actor,
        order.expires_at,
        tx.at,
    )
    return Ticket(order.command_id, f"{agent['numbering']}/{n}", is_repeated=False)


def take(
    tx: Transaction, client_id: str, speaker: Speaker, ticket: str | None, after_n: int
) -> Sequence[QueuedCommand]:
    """The next page behind `after_n`, marked as sent. Raises Superseded."""
    agent = claims.holder(tx, client_id, speaker, ticket)
    if after_n >= agent["last_n"]:
        return ()
    page: list[QueuedCommand] = []
    size = 0
    cursor = tx.sql.execute(
        "SELECT n, type, body FROM commands WHERE client_id = ? AND n > ? AND n >= ? ORDER BY n LIMIT ?",
        (client_id, after_n, agent["floor_n"], PAGE_COUNT),
    )
    for row in cursor:
        size += len(row["body"])
        if page and size > PAGE_BYTES:
            break
        page.append(QueuedCommand(row["n"], f"{agent['numbering']}/{row['n']}", row["type"], row["body"]))
    if page and page[-1].n > agent["sent_n"]:
        tx.run("UPDATE agents SET sent_n = ? WHERE client_id = ?", page[-1].n, client_id)
    return page


def acknowledge(tx: Transaction, agent: sqlite3.Row, ack: AckNews) -> str | None:
    """Take note of an ACK; returns the command's ID. One for a command that is not known here changes nothing."""
    command = _acknowledged(tx, agent, ack.command_id)
    if command is None:
        return None
    # The journal takes commands in order: whoever has this one has those before it.
    tx.run("UPDATE agents SET passed_n = max(passed_n, ?) WHERE client_id = ?", command["n"], agent["client_id"])
    if ack.status == AckStatus.ACCEPTED:
        tx.run("UPDATE commands SET accepted_at = coalesce(accepted_at, ?) WHERE serial = ?", tx.at, command["serial"])
    else:
        tx.run(
            "UPDATE commands SET outcome = ?, error = ?, finished_at = ?"
            " WHERE serial = ? AND (outcome IS NULL OR outcome = 'unknown')",
            ack.status,
            pydantic_core.to_json(ack.error) if ack.error is not None else None,
            tx.at,
            command["serial"],
        )
    return str(command["id"])


def named(tx: Transaction, agent: sqlite3.Row, command_id: str) -> str | None:
    """The ID of the command that an agent calls so: its own, or its event ID where the agent could not read it."""
    command = _acknowledged(tx, agent, command_id)
    return str(command["id"]) if command is not None else None


def _acknowledged(tx: Transaction, agent: sqlite3.Row, command_id: str) -> sqlite3.Row | None:
    found = tx.one("SELECT serial, n, id FROM commands WHERE id = ? AND client_id = ?", command_id, agent["client_id"])
    if found is not None:
        return found
    try:
        event_id = parse_event_id(command_id)
    except ValueError:
        return None
    if event_id.numbering != agent["numbering"]:
        return None
    return tx.one("SELECT serial, n, id FROM commands WHERE client_id = ? AND n = ?", agent["client_id"], event_id.n)
