"""Commands: each received once, acknowledged, carried out, finished once. The cursor moves in the same transaction."""

from collections.abc import Collection
from dataclasses import dataclass, field

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import outbox
from sse_agent.journal.database import Transaction, about, set_about
from sse_agent.lifecycle import CommandState
from sse_agent.messages import Ack, AckError, AckStatus, CommandType, EventType, derived_id, parse_envelope


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event of the command stream. `refusal` says why it is no command for us, judged on receipt."""

    event_id: str
    command_id: str
    type: str
    lane: str
    body: bytes = field(repr=False)
    refusal: GiveUp | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One command to carry out. `body` is the envelope as received; `attempts` counts this one, too."""

    command_id: str
    type: str
    body: bytes = field(repr=False)
    attempts: int


def receive(tx: Transaction, arrival: Arrival) -> bool:
    """Command, cursor and first acknowledgement, all or nothing. False: it was here before."""
    set_about(tx, "cursor", arrival.event_id)
    if is_repeated(tx, arrival.command_id):
        return False
    status = AckStatus.ACCEPTED if arrival.refusal is None else AckStatus.REJECTED
    tx.run(
        "INSERT INTO inbox (command_id, event_id, type, lane, body, state, ack_id, received_at, finished_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        arrival.command_id,
        arrival.event_id,
        arrival.type,
        arrival.lane,
        arrival.body,
        CommandState.RECEIVED if arrival.refusal is None else CommandState.FINISHED,
        _acknowledge(tx, arrival.command_id, status, arrival.refusal, lane=arrival.lane),
        tx.at,
        None if arrival.refusal is None else tx.at,
    )
    return True


def is_repeated(tx: Transaction, command_id: str) -> bool:
    """Whether this command is here already; if so its last acknowledgement goes out again, byte for byte."""
    row = tx.one("SELECT ack_id FROM inbox WHERE command_id = ?", command_id)
    if row is None:
        return False
    outbox.send_again(tx, row["ack_id"])
    return True


def begin_next(tx: Transaction) -> Command | None:
    """The oldest command not yet carried out; the attempt is counted before anything is tried.

    Counting first is what stops a command that kills the whole process from doing so for ever.
    """
    row = tx.one("SELECT * FROM inbox WHERE state = 'received' ORDER BY n LIMIT 1")
    if row is None:
        return None
    tx.run("UPDATE inbox SET attempts = attempts + 1 WHERE n = ?", row["n"])
    return Command(row["command_id"], row["type"], row["body"], row["attempts"] + 1)


def excuse(tx: Transaction, command_ids: Collection[str]) -> None:
    """An orderly stop broke off what was being carried out: that attempt was no failure of the command."""
    for command_id in command_ids:
        tx.run(
            "UPDATE inbox SET attempts = attempts - 1 WHERE command_id = ? AND state <> ? AND attempts > 0",
            command_id,
            CommandState.FINISHED,
        )


def leave_open(tx: Transaction, command_id: str, file_id: str | None) -> None:
    """It goes on: with an upload, or with work that the dispatcher does aside."""
    tx.run("UPDATE inbox SET state = ?, file_id = ? WHERE command_id = ?", CommandState.OPEN, file_id, command_id)


def take_back(tx: Transaction, command_id: str) -> None:
    """Work aside stumbled: the dispatcher carries the command out again."""
    tx.run(
        "UPDATE inbox SET state = ? WHERE command_id = ? AND state = ?",
        CommandState.RECEIVED,
        command_id,
        CommandState.OPEN,
    )


def open_for(tx: Transaction, file_id: str, kind: CommandType) -> list[str]:
    """The command IDs that wait for that upload, oldest first."""
    rows = tx.all(
        "SELECT command_id FROM inbox WHERE state = 'open' AND file_id = ? AND type = ? ORDER BY n", file_id, kind
    )
    return [row["command_id"] for row in rows]


def actor_of(tx: Transaction, command_id: str) -> str:
    """Who asked for it; empty if the command names nobody, or is not kept any more."""
    row = tx.one("SELECT body FROM inbox WHERE command_id = ?", command_id)
    return "" if row is None else parse_envelope(row["body"]).actor or ""


def finish(tx: Transaction, command_id: str, status: AckStatus, error: GiveUp | None = None) -> None:
    """The final acknowledgement, once: a command that is finished stays as it is."""
    row = tx.one("SELECT ack_id, state, lane FROM inbox WHERE command_id = ?", command_id)
    if row is None or row["state"] == CommandState.FINISHED:
        return
    ack_id = _acknowledge(tx, command_id, status, error, lane=row["lane"])
    outbox.supersede(tx, row["ack_id"])
    tx.run(
        "UPDATE inbox SET state = ?, ack_id = ?, finished_at = ? WHERE command_id = ?",
        CommandState.FINISHED,
        ack_id,
        tx.at,
        command_id,
    )


def _acknowledge(tx: Transaction, command_id: str, status: AckStatus, error: GiveUp | None, *, lane: str) -> str:
    payload = Ack(
        command_id=command_id,
        status=status,
        error=None if error is None else AckError(code=error.code, message=error.message),
    )
    # The first acknowledgement and the final one are the only two that a command ever has.
    counter = 0 if status is AckStatus.ACCEPTED else 1
    message_id = derived_id(command_id, EventType.ACK, counter)
    return outbox.report(tx, EventType.ACK, payload, message_id=message_id, in_reply_to=command_id, lane=lane)


def reopen(tx: Transaction) -> int:
    """At start: what the dispatcher had aside when the last process ended is carried out again."""
    return tx.run(
        "UPDATE inbox SET state = ? WHERE state = ? AND file_id IS NULL", CommandState.RECEIVED, CommandState.OPEN
    )


def waiting(tx: Transaction) -> int:
    """Commands received and not yet carried out."""
    row = tx.one("SELECT count(*) FROM inbox WHERE state = 'received'")
    return int(row[0]) if row else 0


def cursor(tx: Transaction) -> str | None:
    """The event ID of the last command that is durable here."""
    return about(tx, "cursor")


def reset(tx: Transaction, new_cursor: str, since: str) -> int:
    """The control plane lost its place: take its cursor, send the outcomes again. Returns how many messages."""
    set_about(tx, "cursor", new_cursor)
    return outbox.send_again_since(tx, since)


def prune(tx: Transaction, before: str) -> int:
    """Drop commands that were finished before that instant."""
    return tx.run("DELETE FROM inbox WHERE finished_at < ?", before)


def poison(command: Command) -> GiveUp:
    """What a command that keeps failing here is answered with."""
    return GiveUp(ErrorCode.POISON, f"carrying it out failed {command.attempts - 1} times; it was put aside")
