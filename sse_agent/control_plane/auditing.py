"""`GET /api/v1/audit`: who did what, and what came of it. Lines are only added; the oldest are let go in time."""

from datetime import timedelta
from typing import Annotated, Any

import pydantic_core
from fastapi import FastAPI, Query, Request, Response

from sse_agent.clock import Clock
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.answers import json_answer
from sse_agent.control_plane.documents import Documents, Entry
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity.audit import LOG
from sse_agent.control_plane.problems import UnknownCommand

KEPT = timedelta(days=400)
PATH = "/api/v1/audit"

After = Annotated[int, Query(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Query(ge=1, le=500)]


class Auditing:
    """The endpoint, and the pruning."""

    def __init__(self, access: Access, engine: Engine, documents: Documents, clock: Clock) -> None:
        self._access = access
        self._engine = engine
        self._documents = documents
        self._clock = clock

    def add_to(self, app: FastAPI) -> None:
        """Route to it."""
        app.add_api_route(PATH, self.read, methods=["GET"], summary="The audit log, oldest first")

    async def read(self, request: Request, after: After = 0, limit: Limit = 100) -> Response:
        """For services. A command's line tells its outcome as it is now."""
        await self._access.require_service(request.headers)
        entries = await self._documents.entries(LOG, after=after, limit=limit)
        return json_answer({"entries": [await self._told(entry) for entry in entries]})

    async def prune(self) -> None:
        """Lines that are older than `KEPT`."""
        await self._documents.trim(LOG, before=self._clock.now() - KEPT)

    async def _told(self, entry: Entry) -> dict[str, Any]:
        line: dict[str, Any] = {"n": entry.n, **pydantic_core.from_json(entry.body)}
        if line.get("deed") == "command":
            try:
                record = await self._engine.command(str(line["commandId"]))
            except UnknownCommand:
                # Noted, and then refused (its queue was full, say); or pruned.
                return {**line, "outcome": "refused"}
            if (record.client_id, record.type, record.actor) != (line["clientId"], line["type"], line["actor"]):
                # It is another command that has this ID.
                return {**line, "outcome": "refused"}
            error = record.error or {}
            return {**line, "outcome": record.status, "error": error.get("code"), "finishedAt": record.finished_at}
        return line
