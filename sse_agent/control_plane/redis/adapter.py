"""The engine on Redis: each call is a script or a read; then the listener is told, here and in the other processes."""

import asyncio
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime

import anyio
import pydantic_core

from sse_agent.clock import Clock
from sse_agent.control_plane import engine, receiving
from sse_agent.control_plane.documents import Document, Entry
from sse_agent.control_plane.engine import Greeting, Order, QueuedCommand, Report, Speaker, Ticket, Verdict
from sse_agent.control_plane.fencing import Ruling
from sse_agent.control_plane.problems import Problem
from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, MessageRecord, UploadRecord
from sse_agent.control_plane.redis import claims, commands, documents, queries, reports, requirements, retention
from sse_agent.control_plane.redis.presence import Presence, Roll
from sse_agent.control_plane.redis.store import Store
from sse_agent.control_plane.redis.wakes import Wakes
from sse_agent.errors import CannotStart


class RedisEngine:
    """Implements `engine.Engine` and `documents.Documents`. Open it, use it, close it.

    `identity_changed` is told whose identity another process changed. `missed` is called when wake-ups of other
    processes may have been lost: whatever waits looks for itself then.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        listener: engine.Listener,
        *,
        queue_limit: int,
        identity_changed: Callable[[str], None] = lambda _: None,
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = Store(url, clock)
        self._clock = clock
        self._listener = listener
        self._queue_limit = queue_limit
        self._identity_changed = identity_changed
        self._told_missed = missed
        self._wakes = Wakes(self._store, clock, self._hear, self._missed)
        self._presence: Presence | None = None
        self._scope: anyio.CancelScope
        self._serving: asyncio.Task[None] | None = None

    def share(self, roll: Roll, heartbeat_s: float) -> Callable[[str], None]:
        """Tell the other processes which agents this one holds. Returns what is to be called when that changes."""
        self._presence = Presence(self._store, self._clock, roll, heartbeat_s)
        return self._presence.changed

    async def open(self) -> None:
        """Raises CannotStart."""
        try:
            warning = await requirements.check(self._store)
        except CannotStart:
            await self._store.close()
            raise
        if warning is not None:
            print(f"sse-agent control-plane: {warning}", file=sys.stderr)  # noqa: T201
        self._scope = anyio.CancelScope()
        self._serving = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Everything that was asked for is decided before this returns."""
        if self._serving is not None:
            self._scope.cancel()
            await self._serving
        await self._store.close()

    async def _serve(self) -> None:
        # A scope, for it asks again and again: redis swallows a task's own cancellation now and then.
        with self._scope:
            async with anyio.create_task_group() as group:
                group.start_soon(self._wakes.listen)
                if self._presence is not None:
                    group.start_soon(self._presence.tell)
                    group.start_soon(self._presence.beat)

    async def enlist(self, client_ids: Collection[str]) -> None:
        await claims.enlist(self._store, client_ids)
        for client_id in client_ids:
            self._listener.queue_changed(client_id)

    async def claim(self, client_id: str, speaker: Speaker, cursor: str | None, *, opens_stream: bool) -> Greeting:
        claim = await claims.claim(
            self._store, client_id, speaker, cursor, self._clock.now(), opens_stream=opens_stream
        )
        self._tell_claim(client_id, claim)
        assert claim.greeting is not None  # noqa: S101 - a claim has one
        return claim.greeting

    async def verify(self, client_id: str, speaker: Speaker) -> None:
        self._tell_claim(client_id, await claims.bind(self._store, client_id, speaker, self._clock.now()))

    async def take(
        self, client_id: str, speaker: Speaker, ticket: str | None, *, after_n: int
    ) -> Sequence[QueuedCommand]:
        return await commands.take(self._store, client_id, speaker, ticket, after_n)

    async def record(self, client_id: str, speaker: Speaker, new: Sequence[Report]) -> Sequence[Verdict]:
        recording = await reports.record(self._store, client_id, speaker, new, self._clock.now())
        if recording.claim is not None:
            self._tell_claim(client_id, recording.claim)
        for report, verdict in zip(new, recording.verdicts, strict=True):
            if verdict is Verdict.RECORDED:
                self._listener.reported(client_id, report)
        self._tell_commands(recording.commands)
        return recording.verdicts

    async def queue(self, client_id: str, order: Order) -> Ticket:
        ticket = await commands.queue(self._store, client_id, order, self._queue_limit)
        self._listener.queue_changed(client_id)
        return ticket

    async def readmit(self, client_id: str, key: str, digest: bytes) -> None:
        await commands.readmit(self._store, client_id, key, digest)

    async def delete(self, client_id: str) -> None:
        unknown = await commands.delete(self._store, client_id)
        self._listener.queue_changed(client_id)
        self._tell_commands(unknown)

    async def command(self, command_id: str) -> CommandRecord:
        return await queries.command(self._store, command_id)

    async def commands(self, client_id: str, command_ids: Sequence[str]) -> Sequence[CommandRecord]:
        return await queries.commands(self._store, client_id, command_ids)

    async def agent(self, client_id: str) -> AgentRecord:
        return await queries.agent(self._store, client_id)

    async def agents(self, *, after: str, limit: int) -> Sequence[AgentRecord]:
        return await queries.agents(self._store, after, limit)

    async def uploads(self, client_id: str, *, after: str, limit: int) -> Sequence[UploadRecord]:
        return await queries.uploads(self._store, client_id, after, limit)

    async def messages(
        self, client_id: str, *, after: int, limit: int, types: Collection[str]
    ) -> Sequence[MessageRecord]:
        return await queries.messages(self._store, client_id, after, limit, types)

    async def feed(self, *, after: int, limit: int) -> Sequence[FeedRecord]:
        return await queries.feed(self._store, after, limit)

    async def feed_end(self) -> int:
        return await queries.feed_end(self._store)

    async def prune(self) -> None:
        await retention.prune(self._store, self._clock.now())
        await documents.prune(self._store, self._clock.now())

    # --- documents.Documents ---

    async def document(self, kind: str, key: str) -> Document | None:
        return await documents.one(self._store, kind, key, self._clock.now())

    async def documents(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Document]:
        return await documents.page(self._store, kind, after, limit, self._clock.now())

    async def put(
        self, kind: str, key: str, body: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Document:
        return await documents.put(self._store, kind, key, body, version, expires_at)

    async def remove(self, kind: str, key: str, *, version: int) -> None:
        await documents.remove(self._store, kind, key, version)

    async def append(self, log: str, body: bytes, *, key: str | None = None) -> int:
        return await documents.append(self._store, log, body, key)

    async def entries(self, log: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        return await documents.entries(self._store, log, after, limit)

    async def trim(self, log: str, *, before: datetime) -> int:
        return await documents.trim(self._store, log, before)

    # --- what changed ---

    def _tell_claim(self, client_id: str, claim: claims.Claim) -> None:
        if claim.ends_streams or claim.ruling is not Ruling.BOUND:
            self._listener.queue_changed(client_id)
        self._tell_commands(claim.unknown)

    def _tell_commands(self, command_ids: Collection[str]) -> None:
        for command_id in command_ids:
            self._listener.command_changed(command_id)

    def _hear(self, origin: str, word: str, rest: bytes) -> None:
        """A wake-up of another process. Raises ValueError for what none of ours says."""
        if word == "agent":
            self._listener.queue_changed(rest.decode())
        elif word == "identity":
            self._identity_changed(rest.decode())
        elif word == "command":
            self._listener.command_changed(rest.decode())
        elif word == "report":
            client_id, _, body = rest.partition(b" ")
            self._reported(client_id.decode(), body)
        elif self._presence is not None:
            self._presence.hear(origin, word, rest)

    def _reported(self, client_id: str, body: bytes) -> None:
        # Checked by the process that took it; what this one does not understand (another version runs there) it leaves.
        with suppress(Problem, ValueError):
            found = pydantic_core.from_json(body)
            key = found.get("id") if isinstance(found, dict) else None
            (_, what), *_ = receiving.read(body, client_id, str(key)).messages
            if isinstance(what, Report):
                self._listener.reported(client_id, what)

    async def _missed(self) -> None:
        if self._presence is not None:
            await self._presence.read()
        self._told_missed()
