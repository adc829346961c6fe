"""The engine on SQLite: each call is one work of the writer thread; then the listener is told."""

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from sse_agent.clock import Clock
from sse_agent.control_plane import engine
from sse_agent.control_plane.documents import Document, Entry
from sse_agent.control_plane.engine import Greeting, Order, QueuedCommand, Report, Speaker, Ticket, Verdict
from sse_agent.control_plane.fencing import Ruling
from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, MessageRecord, UploadRecord
from sse_agent.control_plane.sqlite import claims, commands, documents, queries, reports, retention
from sse_agent.control_plane.sqlite.database import Database, Transaction
from sse_agent.control_plane.sqlite.volatile import Progress, VolatileKeys
from sse_agent.messages import EventType

_NEW_JOURNAL = (Ruling.JOURNAL_LOST, Ruling.READMITTED)


class SqliteEngine:
    """Implements `engine.Engine` and `documents.Documents`. Open it, use it, close it."""

    def __init__(self, path: Path, clock: Clock, listener: engine.Listener, *, queue_limit: int) -> None:
        self._database = Database(path, clock)
        self._clock = clock
        self._listener = listener
        self._queue_limit = queue_limit
        self._keys = VolatileKeys()
        self._progress = Progress()

    async def open(self) -> None:
        """Raises CannotStart."""
        await self._database.open()

    async def close(self) -> None:
        """Everything that was asked for is decided before this returns."""
        await self._database.close()

    async def enlist(self, client_ids: Collection[str]) -> None:
        await self._database.run(claims.enlist, client_ids)
        for client_id in client_ids:
            self._listener.queue_changed(client_id)

    async def claim(self, client_id: str, speaker: Speaker, cursor: str | None, *, opens_stream: bool) -> Greeting:
        claim = await self._database.run(claims.claim, client_id, speaker, cursor, opens_stream=opens_stream)
        if claim.has_changed_journal:
            self._progress.forget(client_id)
        if claim.ends_streams:
            self._listener.queue_changed(client_id)
        self._tell_commands(claim.unknown)
        return claim.greeting

    async def verify(self, client_id: str, speaker: Speaker) -> None:
        ruling = await self._database.run(claims.bind, client_id, speaker)
        self._tell_ruling(client_id, ruling)

    async def take(
        self, client_id: str, speaker: Speaker, ticket: str | None, *, after_n: int
    ) -> Sequence[QueuedCommand]:
        return await self._database.run(commands.take, client_id, speaker, ticket, after_n)

    async def record(self, client_id: str, speaker: Speaker, new: Sequence[Report]) -> Sequence[Verdict]:
        volatile, durable = engine.split(new)
        # A repeated status is not written again: a newer one may have come since.
        statuses = {
            place: report
            for place, report in volatile.items()
            if report.type == EventType.CLIENT_STATUS and not self._keys.knows(client_id, report)
        }
        progress = self._progress.of(client_id)
        told = (report.upload.file_id for report in durable.values() if report.upload is not None)
        sizes = {file_id: progress[file_id].file_size for file_id in told if file_id in progress}
        recording = await self._database.run(reports.record, client_id, speaker, durable, statuses, sizes)
        self._tell_ruling(client_id, recording.ruling)
        now = self._clock.monotonic()
        verdicts = dict(recording.verdicts)
        for place, report in volatile.items():
            verdicts[place] = self._keys.remember(client_id, report, now)
        for place, report in enumerate(new):
            if verdicts[place] is Verdict.RECORDED:
                self._note(client_id, report)
        self._tell_commands(recording.commands)
        return [verdicts[place] for place in range(len(new))]

    async def queue(self, client_id: str, order: Order) -> Ticket:
        ticket = await self._database.run(commands.queue, client_id, order, self._queue_limit)
        self._listener.queue_changed(client_id)
        return ticket

    async def readmit(self, client_id: str, key: str, digest: bytes) -> None:
        await self._database.run(_readmit, client_id, key, digest)

    async def delete(self, client_id: str) -> None:
        unknown = await self._database.run(claims.delete, client_id)
        self._progress.forget(client_id)
        self._listener.queue_changed(client_id)
        self._tell_commands(unknown)

    async def command(self, command_id: str) -> CommandRecord:
        return await self._database.run(queries.command, command_id)

    async def commands(self, client_id: str, command_ids: Sequence[str]) -> Sequence[CommandRecord]:
        return await self._database.run(queries.commands, client_id, command_ids)

    async def agent(self, client_id: str) -> AgentRecord:
        return await self._database.run(queries.agent, client_id)

    async def agents(self, *, after: str, limit: int) -> Sequence[AgentRecord]:
        return await self._database.run(queries.agents, after, limit)

    async def uploads(self, client_id: str, *, after: str, limit: int) -> Sequence[UploadRecord]:
        progress = dict(self._progress.of(client_id))
        return await self._database.run(queries.uploads, client_id, progress, after, limit)

    async def messages(
        self, client_id: str, *, after: int, limit: int, types: Collection[str]
    ) -> Sequence[MessageRecord]:
        return await self._database.run(queries.messages, client_id, after, limit, types)

    async def feed(self, *, after: int, limit: int) -> Sequence[FeedRecord]:
        return await self._database.run(queries.feed, after, limit)

    async def feed_end(self) -> int:
        return await self._database.run(queries.feed_end)

    async def copy(self, target: Path) -> None:
        """The whole database, into an empty file. Raises Unavailable."""
        await self._database.copy(target)

    async def prune(self) -> None:
        await self._database.run(retention.prune)
        await self._database.run(documents.prune)

    # --- documents.Documents ---

    async def document(self, kind: str, key: str) -> Document | None:
        return await self._database.run(documents.one, kind, key)

    async def documents(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Document]:
        return await self._database.run(documents.page, kind, after, limit)

    async def put(
        self, kind: str, key: str, body: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Document:
        return await self._database.run(documents.put, kind, key, body, version, expires_at)

    async def remove(self, kind: str, key: str, *, version: int) -> None:
        await self._database.run(documents.remove, kind, key, version)

    async def append(self, log: str, body: bytes, *, key: str | None = None) -> int:
        return await self._database.run(documents.append, log, body, key)

    async def entries(self, log: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        return await self._database.run(documents.entries, log, after, limit)

    async def trim(self, log: str, *, before: datetime) -> int:
        return await self._database.run(documents.trim, log, before)

    def _note(self, client_id: str, report: Report) -> None:
        if report.upload is not None:
            if report.type == EventType.UPLOAD_PROGRESS:
                self._progress.note(client_id, report.upload)
            else:
                self._progress.overtaken(client_id, report.upload)
        self._listener.reported(client_id, report)

    def _tell_ruling(self, client_id: str, ruling: Ruling) -> None:
        if ruling in _NEW_JOURNAL:
            self._progress.forget(client_id)
        if ruling is not Ruling.BOUND:
            self._listener.queue_changed(client_id)

    def _tell_commands(self, command_ids: Collection[str]) -> None:
        for command_id in command_ids:
            self._listener.command_changed(command_id)


def _readmit(tx: Transaction, client_id: str, key: str, digest: bytes) -> None:
    if commands.remember_key(tx, key, digest):
        claims.readmit(tx, client_id)
