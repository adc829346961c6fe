"""A real journal in a folder of the test's own, and commands to put into it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sse_agent.errors import GiveUp
from sse_agent.journal import Journal, Transaction, inbox, opened
from sse_agent.journal.inbox import Arrival
from tests.doubles.clock import FakeClock

CLIENT = "agent-1"
ORIGIN = "https://control.example.com"


@asynccontextmanager
async def journal_in(folder: Path, clock: FakeClock | None = None) -> AsyncIterator[Journal]:
    """A journal as the agent opens it."""
    async with opened(folder, origin=ORIGIN, client_id=CLIENT, clock=clock or FakeClock()) as journal:
        yield journal


def arrival(
    n: int, kind: str, payload: dict[str, Any], command_id: str | None = None, refusal: GiveUp | None = None
) -> Arrival:
    """Command number `n` of the queue, as the stream hands it to the journal."""
    command_id = command_id or f"cmd-{n}"
    body = {"type": kind, "id": command_id, "timestamp": "2026-11-22T10:30:00Z", "clientId": CLIENT, "payload": payload}
    lane = f"upload {payload['fileId']}" if "fileId" in payload else f"command {command_id}"
    return Arrival(f"k1/{n}", command_id, kind, lane, json.dumps(body).encode(), refusal)


async def receive(journal: Journal, n: int, kind: str, payload: dict[str, Any], **more: Any) -> bool:
    """Receive that command."""
    return await journal.write(inbox.receive, arrival(n, kind, payload, **more))


def outgoing(tx: Transaction) -> list[tuple[str, dict[str, Any]]]:
    """Every pending message as (type, payload), oldest first."""
    rows = tx.all("SELECT body FROM outbox WHERE state = 'pending' ORDER BY seq")
    bodies = [json.loads(row["body"]) for row in rows]
    return [(body["type"], body["payload"]) for body in bodies]


def acknowledgements(tx: Transaction, command_id: str) -> list[str]:
    """The statuses in the ACKs of one command that are still to be sent, oldest first."""
    return [payload["status"] for kind, payload in outgoing(tx) if kind == "ACK" and payload["commandId"] == command_id]
