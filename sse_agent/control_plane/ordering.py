"""What somebody asks an agent for → a command in its queue: who may how often, chat, upload tokens, the audit log."""

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic_core
from pydantic import Field, StringConstraints, ValidationError

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane import chat, receiving
from sse_agent.control_plane.access import Viewer
from sse_agent.control_plane.admission import Admission
from sse_agent.control_plane.asked import Asked
from sse_agent.control_plane.engine import Engine, Order, Ticket
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.problems import InvalidParameter, InvalidPayload, MalformedRequest, Problem, TooLarge
from sse_agent.control_plane.rates import Rates
from sse_agent.control_plane.requests import canonical
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.messages import COMMAND_LIMIT, CommandType, Envelope, UploadStart, Wire, parse_payload

PEOPLE_PER_S, PEOPLE_BURST = 10.0, 200.0
SERVICE_BURST_S = 10.0
_TOLD = ("fileId", "fileName", "path")
"""Members of a payload that the audit log shows; never a token."""


class TooOften(Problem):
    status, slug, title = 429, "too-often", "Commands come faster than is allowed"


class CommandOrder(Wire):
    """What a service or a person asks for."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
    payload: dict[str, Any] = Field(default_factory=dict)
    expires_at: Annotated[str, StringConstraints(max_length=64)] | None = None
    actor: Annotated[str, StringConstraints(max_length=256)] | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A command in the queue. `type`: what a line of chat became."""

    ticket: Ticket
    type: str


class Ordering:
    """`per_s`: commands a second of one service in the long run; a person may give `PEOPLE_PER_S`."""

    def __init__(
        self,
        engine: Engine,
        audit: Audit,
        clock: Clock,
        *,
        per_s: float,
        admission: Admission | None = None,
        asked: Asked | None = None,
    ) -> None:
        self._engine = engine
        self._audit = audit
        self._clock = clock
        self._admission = admission
        self._asked = asked
        self._services = Rates(per_s, per_s * SERVICE_BURST_S)
        self._people = Rates(PEOPLE_PER_S, PEOPLE_BURST)

    async def place(self, viewer: Viewer, client_id: str, key: str, body: bytes) -> Placed:
        """`key` is the Idempotency-Key and becomes the command's ID; `body` is the request's. Raises a Problem."""
        self._check_rate(viewer)
        value = _parsed(body)
        told = _read(value)
        order = _real(told, key)
        envelope = Envelope(
            type=order.type,
            id=key,
            timestamp=timestamp(self._clock.now()),
            client_id=client_id,
            payload=await self._with_token(client_id, order, key),
            expires_at=order.expires_at,
            # A person acts in their own name; a service says for whom.
            actor=order.actor if viewer.is_service else viewer.subject,
        )
        encoded = envelope.encode()
        if len(encoded) > COMMAND_LIMIT:
            raise TooLarge(f"a command is at most {COMMAND_LIMIT} bytes")
        digest = hashlib.sha256(f"command\n{client_id}\n".encode() + canonical(value)).digest()
        # Before it is done: nothing is done of which the log does not tell.
        await self._note(viewer, envelope, digest)
        ticket = await self._engine.queue(
            client_id,
            Order(key, digest, key, order.type, encoded, order.expires_at, envelope.actor),
        )
        if self._asked is not None:
            await self._asked.note(envelope, None if order.type == told.type else told.payload)
        return Placed(ticket, order.type)

    def _check_rate(self, viewer: Viewer) -> None:
        rates = self._services if viewer.is_service else self._people
        wait_s = rates.wait_s(viewer.subject, self._clock.monotonic())
        if wait_s:
            raise TooOften(retry_after_s=math.ceil(wait_s))

    async def _note(self, viewer: Viewer, envelope: Envelope, digest: bytes) -> None:
        about = {name: envelope.payload[name] for name in _TOLD if name in envelope.payload}
        await self._audit.note(
            "command",
            by=viewer.subject if viewer.is_service else None,
            actor=envelope.actor,
            client_id=envelope.client_id,
            outcome="asked",
            # With all that was asked, and who did: one that is refused takes no line from another with its ID.
            key=f"command {envelope.id} {digest.hex()} {'service' if viewer.is_service else 'person'} {viewer.subject}",
            commandId=envelope.id,
            type=envelope.type,
            about=about,
        )

    async def _with_token(self, client_id: str, order: CommandOrder, key: str) -> dict[str, Any]:
        """An upload is told its token, unless whoever commands it brings one."""
        if self._admission is None or order.type != CommandType.UPLOAD_START:
            return order.payload
        start = UploadStart.model_validate(order.payload, by_name=False)
        # A token and a tus server of their own: there is no other token, and ours is none of that server's business.
        if start.upload_token is not None and start.tus_endpoint is not None:
            return order.payload
        token = await self._admission.command(client_id, start.file_id, key, start.file_size)
        return {**order.payload, "uploadToken": start.upload_token or token}


def _real(order: CommandOrder, key: str) -> CommandOrder:
    """A line of chat that is a command is that command."""
    if order.type != CommandType.MESSAGE:
        return order
    text = str(order.payload.get("text", ""))
    meant = chat.command_of(text, key)
    if meant is None:
        return order.model_copy(update={"payload": {**order.payload, "text": chat.without_escape(text)}})
    return order.model_copy(update={"type": meant[0].value, "payload": meant[1]})


def _parsed(body: bytes) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedRequest(str(error)[:300]) from None


def _read(value: Any) -> CommandOrder:
    try:
        order = CommandOrder.model_validate(value)
    except ValidationError as error:
        raise InvalidParameter(receiving.first_wrong(error, "command")) from None
    if order.expires_at is not None:
        try:
            parse_timestamp(order.expires_at)
        except ValueError as error:
            raise InvalidParameter(f"expiresAt: {error}") from None
    _check(order)
    return order


def _check(order: CommandOrder) -> None:
    try:
        parse_payload(order.type, order.payload)
    except GiveUp as wrong_payload:
        # Of a type that is not known here a newer agent may be the judge.
        if wrong_payload.code is not ErrorCode.UNKNOWN_TYPE:
            raise InvalidPayload(wrong_payload.message) from None
