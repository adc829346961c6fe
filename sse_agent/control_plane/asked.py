"""What people asked agents for, as people see it: the names of the files of uploads, and news of it for viewers.

Agents report uploads by their `fileId` alone; names are in the commands. They are kept as documents.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sse_agent.clock import Clock
from sse_agent.control_plane import chatlog, news
from sse_agent.control_plane.documents import Conflict, Documents, upload_key
from sse_agent.control_plane.records import UploadRecord
from sse_agent.control_plane.viewers import Viewers
from sse_agent.messages import CommandType, Envelope, UploadStart

KEPT = timedelta(days=400)
"""A name; after that an upload goes by its ID."""
_KIND = "upload-names"
_PAGE = 1000


class Asked:
    """Told of each command when it is queued."""

    def __init__(self, documents: Documents, viewers: Viewers, clock: Clock) -> None:
        self._documents = documents
        self._viewers = viewers
        self._clock = clock

    async def note(self, command: Envelope, written: Mapping[str, Any] | None = None) -> None:
        """A command was queued, or queued before. `written`: the line of chat that became it. Raises Unavailable."""
        if command.type == CommandType.UPLOAD_START:
            start = UploadStart.model_validate(command.payload, by_name=False)
            name = start.raw_name().decode(errors="replace")
            # Two starts of one upload name the same file.
            with suppress(Conflict):
                await self._documents.put(
                    _KIND,
                    upload_key(command.client_id, start.file_id),
                    name.encode(),
                    version=0,
                    expires_at=self._clock.now() + KEPT,
                )
        await chatlog.note(self._documents, command, written)
        self._viewers.tell(command.client_id, f"asked {command.id}", news.asked(command, written))

    async def named(self, client_id: str, records: Sequence[UploadRecord]) -> Sequence[UploadRecord]:
        """The records, a page in the order of their IDs, with the names of their files."""
        if not records:
            return records
        names = await self._names(client_id, records[0].file_id, records[-1].file_id)
        return [record.model_copy(update={"file_name": names.get(record.file_id)}) for record in records]

    async def _names(self, client_id: str, first: str, last: str) -> Mapping[str, str]:
        names: dict[str, str] = {}
        found = await self._documents.document(_KIND, upload_key(client_id, first))
        if found is not None:
            names[first] = found.body.decode()
        after, until = upload_key(client_id, first), upload_key(client_id, last)
        while after < until:
            page = await self._documents.documents(_KIND, after=after, limit=_PAGE)
            for document in page:
                if document.key <= until:
                    names[document.key.partition("/")[2]] = document.body.decode()
            if len(page) < _PAGE:
                break
            after = page[-1].key
        return names
