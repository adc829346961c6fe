"""REST: messages in, and what services call. FastAPI; every error is a problem document."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane import news, problems, receiving
from sse_agent.control_plane.access import Access, Viewer
from sse_agent.control_plane.admission import Admission
from sse_agent.control_plane.answers import json_answer
from sse_agent.control_plane.asked import Asked
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells, command_topic, rang
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity.administration import Administration, asker
from sse_agent.control_plane.ordering import Ordering
from sse_agent.control_plane.problems import (
    AgentDeleted,
    IdempotencyKeyMissing,
    InvalidParameter,
    NotAllowed,
    NoUploadTokens,
    Problem,
    UnknownAgent,
    UnknownCommand,
    UnknownUpload,
)
from sse_agent.control_plane.records import AgentRecord, CommandRecord, Record, UploadRecord
from sse_agent.control_plane.requests import idempotency_key, read_body
from sse_agent.messages import BATCH_BYTES_LIMIT, COMMAND_LIMIT

WAIT_LIMIT_S = 60.0
PAGE_LIMIT = 1000
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")

Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


class Api:
    """The endpoints, as methods; `app` routes to them."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        bells: Bells,
        attendance: Attendance,
        administration: Administration,
        ordering: Ordering,
        clock: Clock,
        admission: Admission | None = None,
        asked: Asked | None = None,
    ) -> None:
        self._engine = engine
        self._access = access
        self._bells = bells
        self._attendance = attendance
        self._administration = administration
        self._ordering = ordering
        self._clock = clock
        self._admission = admission
        self._asked = asked

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="sse-agent control plane", version="1", docs_url=None, redoc_url=None)
        # A path with one slash too many is nothing here, like any other; a redirect would name the host that was sent.
        app.router.redirect_slashes = False
        agent = "/api/v1/agents/{client_id}"
        app.add_api_route(f"{agent}/messages", self.receive, methods=["POST"])
        app.add_api_route(f"{agent}/uploads/{{file_id}}/token", self.mint_token, methods=["POST"])
        app.add_api_route(f"{agent}/commands", self.queue, methods=["POST"])
        app.add_api_route(f"{agent}/readmit", self.readmit, methods=["POST"])
        app.add_api_route(f"{agent}/uploads", self.uploads, methods=["GET"])
        app.add_api_route(f"{agent}/uploads/{{file_id}}", self.upload, methods=["GET"])
        app.add_api_route(f"{agent}/messages", self.messages, methods=["GET"])
        app.add_api_route(agent, self.agent, methods=["GET"])
        app.add_api_route("/api/v1/agents", self.agents, methods=["GET"])
        app.add_api_route("/api/v1/commands/{command_id:path}", self.command, methods=["GET"])
        for kind, handler in _HANDLERS.items():
            app.add_exception_handler(kind, handler)
        return app

    # --- agents ---

    async def receive(self, client_id: str, request: Request) -> Response:
        """Messages of an agent: one, or a batch."""
        call = await self._access.require_agent(client_id, request.headers)
        key = _key(request)
        # A batch of the largest size has some room for the object around it.
        delivery = receiving.read(await read_body(request, BATCH_BYTES_LIMIT + 1024), client_id, key)
        places = delivery.reports
        verdicts = await self._engine.record(client_id, call.speaker, list(places.values()))
        self._attendance.seen(client_id)
        status, answer = receiving.answer(delivery, dict(zip(places, verdicts, strict=True)))
        return json_answer(answer, status)

    async def mint_token(self, client_id: str, file_id: str, request: Request) -> Response:
        """A fresh upload token, if this deployment has any."""
        call = await self._access.require_agent(client_id, request.headers)
        await self._engine.verify(client_id, call.speaker)
        if self._admission is None:
            raise NoUploadTokens
        token, until = await self._admission.renew(client_id, file_id)
        return json_answer({"token": token, "expiresAt": timestamp(until)}, 201)

    # --- services ---

    async def queue(self, client_id: str, request: Request) -> Response:
        """A command for an agent, which may be away."""
        viewer = await self._access.require_viewer(request.headers)
        viewer.require("command", client_id)
        if not _NAME.fullmatch(client_id):
            raise UnknownAgent
        key, body = _key(request), await read_body(request, 2 * COMMAND_LIMIT)
        placed = await self._ordering.place(viewer, client_id, key, body)
        ticket = placed.ticket
        return json_answer({"id": ticket.command_id, "eventId": ticket.event_id, "type": placed.type}, 202)

    async def command(
        self, command_id: str, request: Request, wait: Annotated[float, Query(ge=0, le=WAIT_LIMIT_S)] = 0.0
    ) -> Response:
        """Outcome and replies; with `wait` it waits for the outcome."""
        viewer = await self._access.require_viewer(request.headers)
        until = self._clock.monotonic() + wait
        with self._bells.listening(command_topic(command_id)) as bell:
            while True:
                bell.clear()
                record: CommandRecord = await self._engine.command(command_id)
                if not viewer.may("watch", record.client_id):
                    raise UnknownCommand
                left_s = until - self._clock.monotonic()
                if record.outcome is not None or left_s <= 0 or self._bells.is_draining:
                    return _record(record if viewer.is_service else _for_people(record))
                await rang(bell, left_s)

    async def agents(self, request: Request, after: str = "", limit: Limit = 100) -> Response:
        """Every agent, in the order of the IDs."""
        viewer = await self._access.require_viewer(request.headers)
        found = await self._agents(viewer, after, limit)
        enrolments = await self._administration.enrolments(after, found[-1].client_id) if found else {}
        described = [self._attendance.describe(record) for record in found]
        return _page("agents", [_with(record, enrolments.get(record.client_id)) for record in described])

    async def _agents(self, viewer: Viewer, after: str, limit: int) -> Sequence[AgentRecord]:
        if "watch" not in viewer.scopes:
            raise NotAllowed
        if viewer.agents is None:
            return await self._engine.agents(after=after, limit=limit)
        found = []
        for client_id in sorted(name for name in viewer.agents if name > after)[:limit]:
            with suppress(UnknownAgent, AgentDeleted):
                found.append(await self._engine.agent(client_id))
        return found

    async def agent(self, client_id: str, request: Request) -> Response:
        """One agent as last reported."""
        (await self._access.require_viewer(request.headers)).require("watch", client_id)
        record = self._attendance.describe(await self._engine.agent(client_id))
        return _record(_with(record, await self._administration.enrolment(client_id)))

    async def uploads(self, client_id: str, request: Request, after: str = "", limit: Limit = 100) -> Response:
        """Its uploads, in the order of their file IDs."""
        viewer = await self._access.require_viewer(request.headers)
        viewer.require("watch", client_id)
        return _page("uploads", await self._uploads(viewer, client_id, after, limit))

    async def upload(self, client_id: str, file_id: str, request: Request) -> Response:
        """One of its uploads."""
        viewer = await self._access.require_viewer(request.headers)
        viewer.require("watch", client_id)
        if not _NAME.fullmatch(file_id):
            raise UnknownUpload
        # Behind whatever comes before it: DEL is higher than all that a name can hold.
        before = f"{file_id[:-1]}{chr(ord(file_id[-1]) - 1)}\x7f"
        found = await self._uploads(viewer, client_id, before, 1)
        if not found or found[0].file_id != file_id:
            raise UnknownUpload
        return _record(found[0])

    async def _uploads(self, viewer: Viewer, client_id: str, after: str, limit: int) -> Sequence[UploadRecord]:
        if self._asked is None:
            found = await self._engine.uploads(client_id, after=after, limit=limit)
        else:
            found = await self._asked.uploads(client_id, after=after, limit=limit)
        return found if viewer.is_service else [_upload_for_people(record) for record in found]

    async def messages(
        self,
        client_id: str,
        request: Request,
        after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
        limit: Limit = 100,
        types: Annotated[list[str] | None, Query(alias="type", max_length=20)] = None,
    ) -> Response:
        """What it reported durably, oldest first."""
        viewer = await self._access.require_viewer(request.headers)
        viewer.require("watch", client_id)
        found = await self._engine.messages(client_id, after=after, limit=limit, types=types or [])
        if not viewer.is_service:
            found = [one.model_copy(update={"message": news.without_upload_ids(one.message)}) for one in found]
        return _page("messages", found)

    async def readmit(
        self, client_id: str, request: Request, actor: Annotated[str | None, Query(max_length=256)] = None
    ) -> Response:
        """Let a restored machine in again."""
        who = asker(await self._access.require_manager(request.headers), actor)
        await self._administration.readmit(who, client_id, _key(request), _digest("readmit", client_id, b""))
        return Response(status_code=204)


def _for_people(record: CommandRecord) -> CommandRecord:
    return record.model_copy(update={"replies": [news.without_upload_ids(reply) for reply in record.replies]})


def _upload_for_people(record: UploadRecord) -> UploadRecord:
    return record.model_copy(update={"result": news.hidden(record.result) if record.result else record.result})


def _with(record: AgentRecord, enrolment: dict[str, Any] | None) -> AgentRecord:
    return record.model_copy(update={"enrollment": enrolment})


def _key(request: Request) -> str:
    key = idempotency_key(request.headers)
    if key is None:
        raise IdempotencyKeyMissing
    return key


def _digest(what: str, client_id: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{what}\n{client_id}\n".encode() + body).digest()


def _record(record: Record) -> Response:
    return Response(record.encode(), media_type="application/json", headers={"Cache-Control": "no-store"})


def _page(name: str, records: Any) -> Response:
    body = b'{"%s":[%s]}' % (name.encode(), b",".join(record.encode() for record in records))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def _answer(problem: Problem) -> Response:
    headers = {**problem.headers, "Cache-Control": "no-store"}
    return Response(problem.encode(), status_code=problem.status, media_type=problems.MEDIA_TYPE, headers=headers)


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101
    return _answer(problem)


async def _on_framework(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _answer(problems.from_status(error.status_code, error.headers))


async def _on_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    wrong = error.errors()[0]
    return _answer(InvalidParameter(f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"[:300]))


async def _on_bug(_: Request, __: Exception) -> Response:
    """The framework raises it once more, and the server tells it."""
    return _answer(problems.InternalError())


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Problem: _on_problem,
    HTTPException: _on_framework,
    RequestValidationError: _on_parameter,
    Exception: _on_bug,
}
