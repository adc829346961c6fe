"""What services are told: state as last reported. JSON members are camelCase; absent facts are null."""

from typing import Any

import pydantic_core

from sse_agent.messages import Wire


class Record(Wire):
    """The root of what is answered to services."""

    def encode(self) -> bytes:
        """The JSON object, every member present."""
        return pydantic_core.to_json(self.model_dump(mode="json", by_alias=True))


class PresenceRecord(Record):
    """Whether an agent is there, since when, and how old that knowledge is."""

    connected: bool = False
    transport: str | None = None
    since: str | None = None
    last_seen_at: str | None = None
    age_seconds: float | None = None


class QueueRecord(Record):
    """An agent's queue. `waiting` commands are not known to be in its journal; `cursor` is the newest that is."""

    waiting: int
    latest: str
    cursor: str


class AgentRecord(Record):
    """One agent. `connection` and `status` are the payloads of its last CLIENT_CONNECTED and CLIENT_STATUS.

    `enrollment`: what is known of its key; null if it has a fixed token.
    """

    client_id: str
    presence: PresenceRecord = PresenceRecord()
    queue: QueueRecord
    connection: dict[str, Any] | None = None
    connection_at: str | None = None
    status: dict[str, Any] | None = None
    status_at: str | None = None
    is_readmitted: bool = False
    enrollment: dict[str, Any] | None = None


class AskedRecord(Record):
    """The command that asked for an upload: `status` is queued, sent, accepted or unknown."""

    command_id: str
    status: str


class UploadRecord(Record):
    """One upload. `result` is the payload of the event that ended it; `progress` that of the newest progress event.

    `is_lost`: it was unfinished when the agent's journal was lost, and nothing was heard of it since.
    `asked`: while the agent has reported nothing of it; there is no `revision` then.
    """

    file_id: str
    file_name: str | None = None
    state: str
    revision: int | None
    offset: int | None = None
    file_size: int | None = None
    updated_at: str
    is_lost: bool = False
    asked: AskedRecord | None = None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


class CommandRecord(Record):
    """One command. `outcome`: completed, failed, rejected, or unknown (the agent's journal was lost); null: open.

    `status` says more: queued, sent, accepted, or the outcome. `replies`: envelopes of events that answer it.
    """

    id: str
    client_id: str
    event_id: str
    type: str
    actor: str | None = None
    expires_at: str | None = None
    queued_at: str
    accepted_at: str | None = None
    finished_at: str | None = None
    status: str
    outcome: str | None = None
    error: dict[str, Any] | None = None
    replies: list[dict[str, Any]] = []  # noqa: RUF012 - pydantic copies it


class MessageRecord(Record):
    """One reported message. `n` rises; it is what `after` takes."""

    n: int
    recorded_at: str
    message: dict[str, Any]


class FeedRecord(Record):
    """One reported message, whoever reported it. `n` rises over all agents, with holes."""

    n: int
    client_id: str
    recorded_at: str
    message: dict[str, Any]
