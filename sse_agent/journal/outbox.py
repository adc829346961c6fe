"""Messages to the control plane: stored once, resent unchanged, in order within a lane."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sse_agent.journal.database import Transaction
from sse_agent.lifecycle import DeliveryState
from sse_agent.messages import Envelope, EnvelopeBytes, EventType, Wire, event

_REPORTED_AGAIN = (EventType.ACK, EventType.UPLOAD_COMPLETE, EventType.UPLOAD_FAILED, EventType.UPLOAD_CANCELLED)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message that waits to be sent."""

    seq: int
    message_id: str
    type: str
    lane: str
    body: EnvelopeBytes = field(repr=False)


def put(tx: Transaction, envelope: Envelope, *, lane: str, is_kept: bool = False) -> str:
    """Store a message for sending; the same ID again changes nothing. Returns the message ID."""
    tx.run(
        "INSERT OR IGNORE INTO outbox (message_id, type, lane, body, at, state, is_kept) VALUES (?, ?, ?, ?, ?, ?, ?)",
        envelope.id,
        envelope.type,
        lane,
        envelope.encode(),
        envelope.timestamp,
        DeliveryState.PENDING,
        is_kept,
    )
    return envelope.id


def report(
    tx: Transaction,
    kind: EventType,
    payload: Wire,
    *,
    message_id: str,
    in_reply_to: str | None,
    lane: str,
) -> str:
    """Store an event made now. Outcomes and acknowledgements are kept for when they are asked for again."""
    envelope = event(kind, payload, client_id=tx.client_id, at=tx.now, message_id=message_id, in_reply_to=in_reply_to)
    return put(tx, envelope, lane=lane, is_kept=kind in _REPORTED_AGAIN)


def heads(tx: Transaction, limit: int) -> list[Outgoing]:
    """The first pending message of each lane, oldest first: what may go out now without breaking the order."""
    rows = tx.all(
        "SELECT seq, message_id, type, lane, body FROM outbox WHERE seq IN ("
        "  SELECT min(seq) FROM outbox WHERE state = 'pending' GROUP BY lane ORDER BY 1 LIMIT ?) ORDER BY seq",
        limit,
    )
    return [
        Outgoing(row["seq"], row["message_id"], row["type"], row["lane"], EnvelopeBytes(row["body"])) for row in rows
    ]


def forget(tx: Transaction, message_ids: list[str]) -> None:
    """They were received: keep only what may be asked for again."""
    for message_id in message_ids:
        tx.run("DELETE FROM outbox WHERE message_id = ? AND NOT is_kept", message_id)
        tx.run("UPDATE outbox SET state = ? WHERE message_id = ?", DeliveryState.SENT, message_id)


def bury(tx: Transaction, message_id: str, refusal: str) -> None:
    """Refused for good: a dead letter, for people to look at."""
    tx.run(
        "UPDATE outbox SET state = ?, refusal = ? WHERE message_id = ?", DeliveryState.DEAD, refusal[:500], message_id
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was refused for good."""

    message_id: str
    type: str
    at: str
    refusal: str


def dead(tx: Transaction, limit: int) -> list[DeadLetter]:
    """Dead letters, oldest first."""
    rows = tx.all("SELECT * FROM outbox WHERE state = 'dead' ORDER BY seq LIMIT ?", limit)
    return [DeadLetter(row["message_id"], row["type"], row["at"], row["refusal"] or "") for row in rows]


def revive(tx: Transaction, message_ids: Sequence[str] | None) -> int:
    """Dead letters are to be sent again; all without IDs. Returns how many."""
    return tx.run(
        "UPDATE outbox SET state = ?1, refusal = NULL WHERE state = 'dead'"
        " AND (?2 IS NULL OR message_id IN (SELECT value FROM json_each(?2)))",
        DeliveryState.PENDING,
        None if message_ids is None else json.dumps(list(message_ids)),
    )


def send_again(tx: Transaction, message_id: str) -> None:
    """The stored bytes go out once more."""
    tx.run("UPDATE outbox SET state = ? WHERE message_id = ?", DeliveryState.PENDING, message_id)


def send_again_since(tx: Transaction, since: str) -> int:
    """Every stored outcome and last acknowledgement whose timestamp is not before `since`. Returns how many."""
    return tx.run(
        "UPDATE outbox SET state = ? WHERE state = ? AND is_kept AND at >= ?",
        DeliveryState.PENDING,
        DeliveryState.SENT,
        since,
    )


def supersede(tx: Transaction, message_id: str) -> None:
    """A later message says more: this one need not be kept once it was sent."""
    tx.run("DELETE FROM outbox WHERE message_id = ? AND state = ?", message_id, DeliveryState.SENT)
    tx.run("UPDATE outbox SET is_kept = 0 WHERE message_id = ?", message_id)


def counts(tx: Transaction) -> dict[str, int]:
    """Messages that wait and dead letters, by delivery state. What was sent and is kept may be very many."""
    rows = tx.all(
        "SELECT 'pending', count(*) FROM outbox WHERE state = 'pending'"
        " UNION ALL SELECT 'dead', count(*) FROM outbox WHERE state = 'dead'"
    )
    return {row[0]: row[1] for row in rows}


def pending_of(tx: Transaction, kind: EventType, most: int) -> int:
    """How many messages of that type wait to be sent; counted up to `most`."""
    row = tx.one("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE state = 'pending' AND type = ? LIMIT ?)", kind, most)
    return int(row[0]) if row else 0


def prune(tx: Transaction, before: str) -> int:
    """Drop what was sent or buried before that instant."""
    return tx.run("DELETE FROM outbox WHERE at < ? AND state != ?", before, DeliveryState.PENDING)
