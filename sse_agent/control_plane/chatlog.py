"""What was said between people and an agent's console: the agent's lines are among its reports, ours are kept here.

A line that became a command is among them as it was written; what came of it is with the command.
"""

from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic_core
from fastapi import FastAPI, Query, Request, Response

from sse_agent.clock import Clock
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import KEPT, Engine
from sse_agent.control_plane.records import Record
from sse_agent.messages import CommandType, Envelope, EventType

LINES_LIMIT = 500
_PAGE = 1000
_PAGES = 20
"""Of each side, for one answer."""

Limit = Annotated[int, Query(ge=1, le=LINES_LIMIT)]


class ChatLine(Record):
    """One line. `id` is that of the command or the message; `is_from_service`: of our side, not the agent's.

    `type` is MESSAGE, or the type of the command that the line became.
    """

    id: str
    at: str
    from_: str
    text: str
    is_from_service: bool
    type: str

    def to_json(self) -> dict[str, Any]:
        """Members as they are on the wire."""
        members = self.model_dump(mode="json", by_alias=True, exclude={"from_"})
        return {**members, "from": self.from_}


async def note(documents: Documents, command: Envelope, written: Mapping[str, Any] | None) -> None:
    """A command was queued; if it is a line of chat, or was written as one, it is kept. The same again changes nothing.

    `written`: `text` and `from` of the line that became it. Raises Unavailable.
    """
    payload = command.payload if command.type == CommandType.MESSAGE else written
    if payload is not None:
        line = {"id": command.id, "at": command.timestamp, "actor": command.actor, "payload": payload}
        line["type"] = command.type
        await documents.append(_log(command.client_id), pydantic_core.to_json(line), key=command.id)


class ChatLog:
    """`GET /api/v1/agents/{clientId}/chat`."""

    def __init__(self, engine: Engine, documents: Documents, access: Access, clock: Clock) -> None:
        self._engine = engine
        self._documents = documents
        self._access = access
        self._clock = clock

    def add_to(self, app: FastAPI) -> None:
        """The endpoint."""
        app.add_api_route("/api/v1/agents/{client_id}/chat", self.lines, methods=["GET"], summary="The newest lines")

    async def lines(self, client_id: str, request: Request, limit: Limit = 200) -> Response:
        """The newest lines of its chat, oldest first."""
        (await self._access.require_viewer(request.headers)).require("watch", client_id)
        theirs = await self._theirs(client_id, limit)
        ours = await self._ours(client_id, limit)
        newest = sorted([*theirs, *ours], key=lambda line: line.at)[-limit:]
        body = pydantic_core.to_json({"lines": [line.to_json() for line in newest]})
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def _theirs(self, client_id: str, limit: int) -> deque[ChatLine]:
        found: deque[ChatLine] = deque(maxlen=limit)
        after = 0
        for _ in range(_PAGES):
            page = await self._engine.messages(client_id, after=after, limit=_PAGE, types=[EventType.MESSAGE])
            for record in page:
                payload = record.message["payload"]
                found.append(_line(record.message["id"], record.recorded_at, payload))
            if len(page) < _PAGE:
                break
            after = page[-1].n
        return found

    async def _ours(self, client_id: str, limit: int) -> deque[ChatLine]:
        await self._documents.trim(_log(client_id), before=self._clock.now() - KEPT)
        found: deque[ChatLine] = deque(maxlen=limit)
        after = 0
        for _ in range(_PAGES):
            page = await self._documents.entries(_log(client_id), after=after, limit=_PAGE)
            for entry in page:
                found.append(_kept(pydantic_core.from_json(entry.body)))
            if len(page) < _PAGE:
                break
            after = page[-1].n
        return found


def _kept(said: Mapping[str, Any]) -> ChatLine:
    # Lines of earlier versions are chat, every one.
    line = _line(said["id"], said["at"], said["payload"], said["actor"])
    return line.model_copy(update={"is_from_service": True, "type": said.get("type", CommandType.MESSAGE.value)})


def _line(line_id: str, at: str, payload: Mapping[str, Any], actor: str | None = None) -> ChatLine:
    """Of an agent."""
    name, text = str(payload.get("from") or actor or ""), str(payload.get("text", ""))
    return ChatLine(id=line_id, at=at, from_=name, text=text, is_from_service=False, type=EventType.MESSAGE.value)


def _log(client_id: str) -> str:
    return f"chat/{client_id}"
