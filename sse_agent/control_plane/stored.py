"""What the tus server itself says it has of an upload: noted by its ID, so a hook that comes twice changes nothing."""

from collections.abc import Sequence
from typing import Literal

import pydantic_core

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.documents import Conflict, Documents, upload_key
from sse_agent.control_plane.records import Record

KEPT_OF_ONE = 20
"""Uploads on the tus server for one file: one for each attempt whose answer was lost."""
_KIND = "stored-uploads"
_RANK = {"created": 0, "finished": 1, "terminated": 2}

State = Literal["created", "finished", "terminated"]


class StoredUpload(Record):
    """One upload on the tus server. `size` in bytes; `state` only moves forward, for hooks come in any order."""

    upload_id: str
    attempt_id: str | None
    size: int | None
    state: State
    at: str


class Stored:
    """Noting and reading."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def note(
        self, client_id: str, file_id: str, upload_id: str, attempt_id: str | None, size: int | None, state: State
    ) -> None:
        """The tus server says so. Of two states of an upload the later one stays."""
        key = upload_key(client_id, file_id)
        news = StoredUpload(
            upload_id=upload_id,
            attempt_id=attempt_id,
            size=size,
            state=state,
            at=timestamp(self._clock.now()),
        )
        while True:
            found = await self._documents.document(_KIND, key)
            known = [] if found is None else _read(found.body)
            mine = next((upload for upload in known if upload.upload_id == upload_id), None)
            if mine is not None and _RANK[mine.state] >= _RANK[state]:
                return
            rest = [upload for upload in known if upload is not mine]
            body = pydantic_core.to_json([upload.model_dump() for upload in [*rest, news][-KEPT_OF_ONE:]])
            try:
                await self._documents.put(_KIND, key, body, version=0 if found is None else found.version)
            except Conflict:
                continue
            return

    async def of(self, client_id: str, file_id: str) -> Sequence[StoredUpload]:
        """Oldest news first."""
        found = await self._documents.document(_KIND, upload_key(client_id, file_id))
        return [] if found is None else _read(found.body)


def _read(body: bytes) -> list[StoredUpload]:
    return [StoredUpload.model_validate(item, by_name=True) for item in pydantic_core.from_json(body)]
