"""REST: messages in, and what services call. FastAPI; every error is a problem document."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import anyio
import pydantic_core
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, StringConstraints, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane import problems, receiving
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells, command_topic, rang
from sse_agent.control_plane.engine import Engine, Order
from sse_agent.control_plane.problems import (
    IdempotencyKeyMissing,
    InvalidParameter,
    InvalidPayload,
    MalformedRequest,
    NoUploadTokens,
    Problem,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from sse_agent.control_plane.records import CommandRecord, Record
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.messages import (
    BATCH_BYTES_LIMIT,
    COMMAND_LIMIT,
    Envelope,
    Wire,
    parse_payload,
)

BODY_WITHIN_S = 30.0
WAIT_LIMIT_S = 60.0
PAGE_LIMIT = 1000
_KEY = StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")

Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


class CommandOrder(Wire):
    """What a service asks for."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
    payload: dict[str, Any] = Field(default_factory=dict)
    expires_at: Annotated[str, StringConstraints(max_length=64)] | None = None
    actor: Annotated[str, StringConstraints(max_length=256)] | None = None


class IdempotencyKey(Wire):
    """An `Idempotency-Key`; of a command it becomes the ID."""

    key: Annotated[str, _KEY]


class Api:
    """The endpoints, as methods; `app` routes to them."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        bells: Bells,
        attendance: Attendance,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._access = access
        self._bells = bells
        self._attendance = attendance
        self._clock = clock

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
        app.add_api_route(f"{agent}/messages", self.messages, methods=["GET"])
        app.add_api_route(agent, self.agent, methods=["GET"])
        app.add_api_route(agent, self.delete, methods=["DELETE"])
        app.add_api_route("/api/v1/agents", self.agents, methods=["GET"])
        app.add_api_route("/api/v1/commands/{command_id:path}", self.command, methods=["GET"])
        for kind, handler in _HANDLERS.items():
            app.add_exception_handler(kind, handler)
        return app

    # --- agents ---

    async def receive(self, client_id: str, request: Request) -> Response:
        """Messages of an agent: one, or a batch."""
        speaker = self._access.require_agent(client_id, request.headers)
        key = _key(request)
        # A batch of the largest size has some room for the object around it.
        delivery = receiving.read(await _body(request, BATCH_BYTES_LIMIT + 1024), client_id, key)
        places = delivery.reports
        verdicts = await self._engine.record(client_id, speaker, list(places.values()))
        self._attendance.seen(client_id)
        status, answer = receiving.answer(delivery, dict(zip(places, verdicts, strict=True)))
        return _json(answer, status)

    async def mint_token(self, client_id: str, file_id: str, request: Request) -> Response:
        """A fresh upload token: this deployment has none."""
        speaker = self._access.require_agent(client_id, request.headers)
        await self._engine.verify(client_id, speaker)
        raise NoUploadTokens

    # --- services ---

    async def queue(self, client_id: str, request: Request) -> Response:
        """A command for an agent, which may be away."""
        self._access.require_service(request.headers)
        key, body = _key(request), await _body(request, 2 * COMMAND_LIMIT)
        order = _order(body)
        envelope = Envelope(
            type=order.type,
            id=key,
            timestamp=timestamp(self._clock.now()),
            client_id=client_id,
            payload=order.payload,
            expires_at=order.expires_at,
            actor=order.actor,
        )
        encoded = envelope.encode()
        if len(encoded) > COMMAND_LIMIT:
            raise TooLarge(f"a command is at most {COMMAND_LIMIT} bytes")
        ticket = await self._engine.queue(
            client_id,
            Order(key, _digest("command", client_id, body), key, order.type, encoded, order.expires_at, order.actor),
        )
        return _json({"id": ticket.command_id, "eventId": ticket.event_id}, 202)

    async def command(
        self, command_id: str, request: Request, wait: Annotated[float, Query(ge=0, le=WAIT_LIMIT_S)] = 0.0
    ) -> Response:
        """Outcome and replies; with `wait` it waits for the outcome."""
        self._access.require_service(request.headers)
        until = self._clock.monotonic() + wait
        with self._bells.listening(command_topic(command_id)) as bell:
            while True:
                bell.clear()
                record: CommandRecord = await self._engine.command(command_id)
                left_s = until - self._clock.monotonic()
                if record.outcome is not None or left_s <= 0 or self._bells.is_draining:
                    return _record(record)
                await rang(bell, left_s)

    async def agents(self, request: Request, after: str = "", limit: Limit = 100) -> Response:
        """Every agent, in the order of the IDs."""
        self._access.require_service(request.headers)
        found = await self._engine.agents(after=after, limit=limit)
        return _page("agents", [self._attendance.describe(record) for record in found])

    async def agent(self, client_id: str, request: Request) -> Response:
        """One agent as last reported."""
        self._access.require_service(request.headers)
        return _record(self._attendance.describe(await self._engine.agent(client_id)))

    async def uploads(self, client_id: str, request: Request, after: str = "", limit: Limit = 100) -> Response:
        """Its uploads, in the order of their file IDs."""
        self._access.require_service(request.headers)
        return _page("uploads", await self._engine.uploads(client_id, after=after, limit=limit))

    async def messages(
        self,
        client_id: str,
        request: Request,
        after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
        limit: Limit = 100,
        types: Annotated[list[str] | None, Query(alias="type", max_length=20)] = None,
    ) -> Response:
        """What it reported durably, oldest first."""
        self._access.require_service(request.headers)
        found = await self._engine.messages(client_id, after=after, limit=limit, types=types or [])
        return _page("messages", found)

    async def readmit(self, client_id: str, request: Request) -> Response:
        """Let a restored machine in again."""
        self._access.require_service(request.headers)
        await self._engine.readmit(client_id, _key(request), _digest("readmit", client_id, b""))
        return Response(status_code=204)

    async def delete(self, client_id: str, request: Request) -> Response:
        """Delete an agent for ever."""
        self._access.require_service(request.headers)
        await self._engine.delete(client_id)
        return Response(status_code=204)


def _order(body: bytes) -> CommandOrder:
    try:
        order = CommandOrder.model_validate(pydantic_core.from_json(body, allow_inf_nan=False))
        if order.expires_at is not None:
            parse_timestamp(order.expires_at)
    except ValidationError as error:
        raise InvalidParameter(receiving.first_wrong(error, "command")) from None
    except ValueError as error:
        raise MalformedRequest(str(error)[:300]) from None
    try:
        parse_payload(order.type, order.payload)
    except GiveUp as wrong_payload:
        # Of a type that is not known here a newer agent may be the judge.
        if wrong_payload.code is not ErrorCode.UNKNOWN_TYPE:
            raise InvalidPayload(wrong_payload.message) from None
    return order


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, within bounds of size and time."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    parts, size = [], 0
    try:
        with anyio.fail_after(BODY_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge(f"at most {limit} bytes")
                parts.append(part)
    except TimeoutError:
        raise RequestTimeout from None
    except ClientDisconnect:
        # Nobody hears this; but an agent that is killed in the middle of a POST is no bug of ours.
        raise MalformedRequest("the body ends early") from None
    return b"".join(parts)


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if not key:
        raise IdempotencyKeyMissing
    try:
        return IdempotencyKey(key=key).key
    except ValidationError:
        raise InvalidParameter("an Idempotency-Key is 1 to 128 visible ASCII characters") from None


def _digest(what: str, client_id: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{what}\n{client_id}\n".encode() + body).digest()


def _json(value: object, status: int = 200) -> Response:
    return Response(
        pydantic_core.to_json(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


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
