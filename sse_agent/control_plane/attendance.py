"""Which agents are there, as far as this process knows: streams held, polls, messages. In memory.

Where several processes share the agents, each hears from the others which ones those hold (`redis/presence.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane.records import AgentRecord, PresenceRecord


@dataclass(slots=True)
class _Entry:
    """One agent. Instants are monotonic, but for `since` and `seen`, which people read."""

    held: set[object] = field(default_factory=set)
    """One mark for each stream and poll that counts; of those that another process holds, that process's name."""
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
        self._alive: dict[str, tuple[float, str]] = {}
        """When another process last said that it is alive: monotonic, and for people."""
        self.on_held: Callable[[str], None] = lambda client_id: None
        """Called when this process begins or ends to hold an agent."""

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
        self.on_held(client_id)
        try:
            yield
        finally:
            # A mark, not a count: the stream of an agent that said good-bye may end after its next one has begun.
            if mark in entry.held:
                entry.held.discard(mark)
                entry.held_until = self._clock.monotonic() + self._grace_s
                self.on_held(client_id)

    def seen(self, client_id: str) -> None:
        """It said something."""
        entry = self._entries.setdefault(client_id, _Entry())
        entry.seen, entry.seen_at = timestamp(self._clock.now()), self._clock.monotonic()

    def left(self, client_id: str) -> None:
        """It said good-bye."""
        entry = self._entries.setdefault(client_id, _Entry())
        entry.held_until = 0.0
        entry.held.clear()
        self.on_held(client_id)

    def describe(self, record: AgentRecord) -> AgentRecord:
        """The record with what is known here."""
        if record.client_id not in self._entries:
            return self._from_before(record)
        return record.model_copy(update={"presence": self.presence(record.client_id)})

    def presence(self, client_id: str) -> PresenceRecord:
        """What is known here of one agent."""
        entry = self._entries.get(client_id)
        if entry is None:
            return PresenceRecord()
        is_there = self._is_there(entry)
        seen_at, seen = self._seen(entry)
        return PresenceRecord(
            connected=is_there,
            transport=entry.transport if is_there else None,
            since=entry.since if is_there else None,
            last_seen_at=seen,
            age_seconds=round(self._clock.monotonic() - seen_at, 3),
        )

    def there(self) -> frozenset[str]:
        """The agents that are there."""
        return frozenset(client_id for client_id, entry in self._entries.items() if self._is_there(entry))

    def _from_before(self, record: AgentRecord) -> AgentRecord:
        """Not heard of since this process started: what is durable, with its age by the wall clock."""
        seen = record.presence.last_seen_at
        if seen is None:
            return record
        age_s = max(0.0, (self._clock.now() - parse_timestamp(seen)).total_seconds())
        return record.model_copy(update={"presence": record.presence.model_copy(update={"age_seconds": age_s})})

    def _is_there(self, entry: _Entry) -> bool:
        return bool(entry.held) or self._clock.monotonic() < entry.held_until

    def _seen(self, entry: _Entry) -> tuple[float, str | None]:
        """When it was last heard of: a process that holds its stream, and is alive, just wrote to it."""
        alive = [self._alive[mark] for mark in entry.held if isinstance(mark, str) and mark in self._alive]
        return max([(entry.seen_at, entry.seen), *alive], key=lambda found: found[0])

    # --- other processes ---

    def held_here(self, client_id: str) -> tuple[str, str] | None:
        """Transport and since when, if this process holds it."""
        entry = self._entries.get(client_id)
        if entry is None or all(isinstance(mark, str) for mark in entry.held):
            return None
        return entry.transport, entry.since or timestamp(self._clock.now())

    def all_here(self) -> Iterable[str]:
        """Every agent that this process holds."""
        return [client_id for client_id in self._entries if self.held_here(client_id) is not None]

    def held_there(self, origin: str, client_id: str, transport: str, since: str) -> None:
        """Another process holds it."""
        self.is_alive(origin)
        entry = self._entries.setdefault(client_id, _Entry())
        if not self._is_there(entry) or entry.since is None or since < entry.since:
            entry.since = since
        if not entry.held:
            entry.transport = transport
        entry.held.add(origin)
        self.seen(client_id)

    def let_go_there(self, origin: str, client_id: str) -> None:
        """It does not any more."""
        entry = self._entries.get(client_id)
        if entry is not None and origin in entry.held:
            entry.held.discard(origin)
            entry.held_until = self._clock.monotonic() + self._grace_s

    def is_alive(self, origin: str) -> None:
        """Another process said that it is."""
        self._alive[origin] = (self._clock.monotonic(), timestamp(self._clock.now()))

    def only(self, origin: str, client_ids: Iterable[str]) -> None:
        """Another process holds none but these."""
        kept = set(client_ids)
        for client_id in [client_id for client_id, entry in self._entries.items() if origin in entry.held]:
            if client_id not in kept:
                self.let_go_there(origin, client_id)

    def let_silent_go(self) -> None:
        """A process that said nothing for two heartbeats holds nobody: they had that long to come to another one."""
        before = self._clock.monotonic() - self._grace_s
        for origin in [origin for origin, (at, _) in self._alive.items() if at < before]:
            del self._alive[origin]
            for entry in self._entries.values():
                if origin in entry.held:
                    entry.held.discard(origin)
                    entry.held_until = before
