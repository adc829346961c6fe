"""What viewers are told, as frames of a Server-Sent Events stream. Pure.

A frame with an `id:` is a report that an agent made durably; its `event:` is the report's type, or REPORT if that type
is none of ours. All others come without an `id:`, so that no agent can speak for the control plane.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pydantic_core

from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, PresenceRecord
from sse_agent.messages import Envelope, EventType

_TYPES = frozenset(EventType)
_SUBJECT = frozenset({"fileId", "fileName", "fileNameB64", "path", "text", "from"})
_HIDDEN = frozenset({"uploadId"})
"""Whoever knows an upload's ID at the tus server can read and delete the upload."""


class News(StrEnum):
    """Frames of the control plane's own."""

    HELLO = "HELLO"
    RESET = "RESET"
    PRESENCE = "PRESENCE"
    AGENT = "AGENT"
    COMMAND = "COMMAND"
    REPORT = "REPORT"


def frame(event: str, data: bytes, *, n: int | None = None) -> bytes:
    """One event. `data` is JSON, and so has no line ends."""
    place = b"" if n is None else b"id: %d\n" % n
    return b"%sevent: %s\ndata: %s\n\n" % (place, event.encode(), data)


def moved(n: int) -> bytes:
    """Moves the cursor past what was not for this viewer, and tells nothing."""
    return b"id: %d\n\n" % n


@dataclass(frozen=True, slots=True)
class Told:
    """A durable report as frames, made once for all who look on."""

    n: int
    client_id: str
    for_services: bytes
    for_people: bytes


def told(record: FeedRecord) -> Told:
    """A durable report: the agent's envelope."""
    kind = record.message["type"]
    event = kind if kind in _TYPES else News.REPORT
    everything = frame(event, pydantic_core.to_json(record.message), n=record.n)
    shown = without_upload_ids(record.message)
    less = everything if shown == record.message else frame(event, pydantic_core.to_json(shown), n=record.n)
    return Told(record.n, record.client_id, everything, less)


def presence(client_id: str, record: PresenceRecord) -> bytes:
    """Whether an agent is there."""
    members = {"clientId": client_id, "presence": record.model_dump(mode="json", by_alias=True)}
    return frame(News.PRESENCE, pydantic_core.to_json(members))


def agent(client_id: str, record: AgentRecord | None) -> bytes:
    """An agent as it is now; None: it was deleted."""
    return frame(
        News.AGENT,
        pydantic_core.to_json({"clientId": client_id, "isDeleted": True}) if record is None else record.encode(),
    )


def command(record: CommandRecord) -> bytes:
    """What is known of a command, without its replies."""
    return frame(
        News.COMMAND, pydantic_core.to_json(record.model_dump(mode="json", by_alias=True, exclude={"replies"}))
    )


def asked(command: Envelope, written: Mapping[str, Any] | None = None) -> bytes:
    """A command that was queued just now. Of its payload only what people may see, and the line that became it."""
    subject = {**command.payload, **(written or {})}
    members = {
        "id": command.id,
        "clientId": command.client_id,
        "type": command.type,
        "actor": command.actor,
        "queuedAt": command.timestamp,
        "status": "queued",
        "outcome": None,
        "subject": {name: value for name, value in subject.items() if name in _SUBJECT},
    }
    return frame(News.COMMAND, pydantic_core.to_json(members))


def without_upload_ids(message: Mapping[str, Any]) -> dict[str, Any]:
    """An envelope for people's eyes."""
    payload = message.get("payload")
    return {**message, "payload": hidden(payload)} if isinstance(payload, dict) else dict(message)


def hidden(details: Mapping[str, Any]) -> dict[str, Any]:
    """A payload without what only services may know."""
    return {name: value for name, value in details.items() if name not in _HIDDEN}
