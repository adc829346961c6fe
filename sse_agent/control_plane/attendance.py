"""Which agents are there, as far as this process knows: streams held, polls, messages. In memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane.records import AgentRecord


@dataclass(slots=True)
class _Entry:
    """One agent. Instants are monotonic, but for `since` and `seen`, which people read."""

    held: set[object] = field(default_factory=set)
    """One mark for each stream and poll that counts."""
    transport: str = "sse"
    since: str | None = None
    seen: str | None = None
    seen_at: float = 0.0
    held_until: float = 0.0
    """A stream that ended may only be between two connections."""


class Attendance:
    """An agent is there while it holds a stream, and for two heartbeats after, unless it said good-bye."""

    def __init__(self, clock: Clock, heartbeat_s: float) -> None:
        self._clock = clock
        self._grace_s = 2 * heartbeat_s
        self._entries: dict[str, _Entry] = {}

    @contextmanager
    def holding(self, client_id: str, transport: str) -> Iterator[None]:
        """Within the block it holds a stream or a poll."""
        entry = self._entries.setdefault(client_id, _Entry())
        if not self._is_there(entry):
            entry.since = timestamp(self._clock.now())
        entry.transport = transport
        mark = object()
        entry.held.add(mark)
        self.seen(client_id)
        try:
            yield
        finally:
            # A mark, not a count: the stream of an agent that said good-bye may end after its next one has begun.
            if mark in entry.held:
                entry.held.discard(mark)
                entry.held_until = self._clock.monotonic() + self._grace_s

    def seen(self, client_id: str) -> None:
        """It said something."""
        entry = self._entries.setdefault(client_id, _Entry())
        entry.seen, entry.seen_at = timestamp(self._clock.now()), self._clock.monotonic()

    def left(self, client_id: str) -> None:
        """It said good-bye."""
        entry = self._entries.setdefault(client_id, _Entry())
        entry.held_until = 0.0
        entry.held.clear()

    def describe(self, record: AgentRecord) -> AgentRecord:
        """The record with what is known here."""
        entry = self._entries.get(record.client_id)
        if entry is None:
            return self._from_before(record)
        is_there = self._is_there(entry)
        presence = record.presence.model_copy(
            update={
                "connected": is_there,
                "transport": entry.transport if is_there else None,
                "since": entry.since if is_there else None,
                "last_seen_at": entry.seen,
                "age_seconds": round(self._clock.monotonic() - entry.seen_at, 3),
            }
        )
        return record.model_copy(update={"presence": presence})

    def _from_before(self, record: AgentRecord) -> AgentRecord:
        """Not heard of since this process started: what is durable, with its age by the wall clock."""
        seen = record.presence.last_seen_at
        if seen is None:
            return record
        age_s = max(0.0, (self._clock.now() - parse_timestamp(seen)).total_seconds())
        return record.model_copy(update={"presence": record.presence.model_copy(update={"age_seconds": age_s})})

    def _is_there(self, entry: _Entry) -> bool:
        return bool(entry.held) or self._clock.monotonic() < entry.held_until
