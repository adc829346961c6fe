"""What people asked agents for, as people see it: names of uploads, those of which no agent has spoken yet, and news.

Agents report uploads by their `fileId` alone, and from when they have them on; names are in the commands. What was
asked for is kept as documents.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import pydantic_core

from sse_agent.clock import Clock
from sse_agent.control_plane import chatlog, news
from sse_agent.control_plane.documents import Conflict, Document, Documents, upload_key
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.records import AskedRecord, CommandRecord, UploadRecord
from sse_agent.control_plane.viewers import Viewers
from sse_agent.lifecycle import UploadState
from sse_agent.messages import AckStatus, CommandType, Envelope, UploadStart

KEPT = timedelta(days=400)
"""A name; after that an upload goes by its ID."""
_KIND = "asked-uploads"
_REFUSED = AckStatus.REJECTED.value
_WAITING = frozenset({"queued", "sent", "accepted", "unknown"})


@dataclass(frozen=True, slots=True)
class _Start:
    """The first command for an upload that was not refused. `size`: bytes, if it named them."""

    command: str
    name: str
    size: int | None


class Asked:
    """Told of each command when it is queued."""

    def __init__(self, engine: Engine, documents: Documents, viewers: Viewers, clock: Clock) -> None:
        self._engine = engine
        self._documents = documents
        self._viewers = viewers
        self._clock = clock

    async def note(self, command: Envelope, written: Mapping[str, Any] | None = None) -> None:
        """A command was queued, or queued before. `written`: the line of chat that became it. Raises Unavailable."""
        if command.type == CommandType.UPLOAD_START:
            await self._note_start(command)
        await chatlog.note(self._documents, command, written)
        self._viewers.tell(command.client_id, f"asked {command.id}", news.asked(command, written))

    async def _note_start(self, command: Envelope) -> None:
        start = UploadStart.model_validate(command.payload, by_name=False)
        name = start.raw_name().decode(errors="replace")
        body = pydantic_core.to_json(asdict(_Start(command.id, name, start.file_size)))
        key = upload_key(command.client_id, start.file_id)
        found = await self._documents.document(_KIND, key)
        # Two starts of one upload name the same file, or the second is refused: the first one's name stands.
        if found is not None and not await self._is_refused(command.client_id, found):
            return
        # In conflict somebody else has asked for it at this moment.
        with suppress(Conflict):
            await self._documents.put(
                _KIND, key, body, version=found.version if found else 0, expires_at=self._clock.now() + KEPT
            )

    async def _is_refused(self, client_id: str, found: Document) -> bool:
        commands = await self._engine.commands(client_id, [_read(found).command])
        return any(command.outcome == _REFUSED for command in commands)

    async def uploads(self, client_id: str, *, after: str, limit: int) -> Sequence[UploadRecord]:
        """In the order of their file IDs, those behind `after`: what was reported, and what was only asked for.

        Raises UnknownAgent, AgentDeleted.
        """
        reported = await self._engine.uploads(client_id, after=after, limit=limit)
        found = {record.file_id: record for record in reported}
        # Of what is past the page it is not known here whether it was reported; its turn comes.
        last = reported[-1].file_id if len(reported) == limit else None
        place = upload_key(client_id, after)
        while True:
            page = await self._documents.documents(_KIND, after=place, limit=limit)
            starts = {_file_id(one): one for one in page if _is_within(one, client_id, last)}
            found |= await self._with(client_id, found, starts)
            is_over = len(page) < limit or len(starts) < len(page)
            if is_over or sum(upload_key(client_id, file_id) <= page[-1].key for file_id in found) >= limit:
                return [found[file_id] for file_id in sorted(found)[:limit]]
            place = page[-1].key

    async def _with(
        self, client_id: str, reported: Mapping[str, UploadRecord], starts: Mapping[str, Document]
    ) -> Mapping[str, UploadRecord]:
        """The reported ones among `starts` with their names, and the others of which more is to be expected."""
        read = {file_id: _read(document) for file_id, document in starts.items()}
        found = {
            file_id: reported[file_id].model_copy(update={"file_name": start.name})
            for file_id, start in read.items()
            if file_id in reported
        }
        only_asked = [start.command for file_id, start in read.items() if file_id not in reported]
        commands = {one.id: one for one in await self._engine.commands(client_id, only_asked)} if only_asked else {}
        for file_id, start in read.items():
            command = commands.get(start.command)
            if command is not None and command.status in _WAITING:
                found[file_id] = _upload(file_id, start, command)
            elif command is not None and command.outcome == _REFUSED:
                # Nothing will come of it. (What was completed or failed was reported this moment.)
                with suppress(Conflict):
                    await self._documents.remove(_KIND, starts[file_id].key, version=starts[file_id].version)
        return found


def _upload(file_id: str, start: _Start, command: CommandRecord) -> UploadRecord:
    return UploadRecord(
        file_id=file_id,
        file_name=start.name,
        state=UploadState.QUEUED,
        revision=None,
        file_size=start.size,
        updated_at=command.finished_at or command.accepted_at or command.queued_at,
        is_lost=command.outcome is not None,
        asked=AskedRecord(command_id=command.id, status=command.status),
    )


def _is_within(document: Document, client_id: str, last: str | None) -> bool:
    whose, _, file_id = document.key.partition("/")
    return whose == client_id and (last is None or file_id <= last)


def _file_id(document: Document) -> str:
    return document.key.partition("/")[2]


def _read(document: Document) -> _Start:
    return _Start(**pydantic_core.from_json(document.body))
