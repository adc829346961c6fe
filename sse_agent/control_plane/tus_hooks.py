"""`POST /api/v1/tus-hooks`: the HTTP hooks of tusd. What nobody commanded is not stored.

tusd knows no secret but its URL: it comes as the password of Basic authentication (`https://tusd:SECRET@host/…`), or as
a Bearer token from a proxy between the two. A refusal is 200 with `RejectUpload`: tusd makes a 500 of anything else.
"""

import base64
import binascii
import hmac
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from sse_agent.control_plane.access import Access
from sse_agent.control_plane.admission import Admission, Refused
from sse_agent.control_plane.answers import json_answer
from sse_agent.control_plane.problems import InvalidPayload, NotAllowed, Unauthenticated
from sse_agent.control_plane.requests import read_body
from sse_agent.control_plane.stored import State, Stored
from sse_agent.messages import Name

BODY_LIMIT = 256 * 1024
PATH = "/api/v1/tus-hooks"
_STATES: Mapping[str, State] = {"post-create": "created", "post-finish": "finished", "post-terminate": "terminated"}


class _Hook(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: to_pascal(name).replace("Id", "ID"), frozen=True)


def _a_size(size: int) -> int | None:
    return size if size >= 0 else None


class TusUpload(_Hook):
    """Of the hook: the upload as the tus server knows it. Sizes in bytes."""

    id: str = Field(default="", max_length=1024)
    size: Annotated[int, AfterValidator(_a_size)] | None = None
    size_is_deferred: bool = False
    meta_data: dict[str, str] = Field(default_factory=dict)
    is_partial: bool = False


class TusRequest(_Hook):
    """Of the hook: the agent's request."""

    header: dict[str, list[str]] = Field(default_factory=dict)

    def bearer(self) -> str | None:
        """The agent's upload token."""
        for name, values in self.header.items():
            if name.lower() == "authorization" and len(values) == 1:
                scheme, _, token = values[0].partition(" ")
                return token.strip() if scheme.lower() == "bearer" else None
        return None


class TusEvent(_Hook):
    """Of the hook: what happened."""

    upload: TusUpload
    http_request: TusRequest = Field(default_factory=TusRequest, alias="HTTPRequest")


class TusHook(_Hook):
    """What tusd sends."""

    type: str = Field(max_length=64)
    event: TusEvent


class _Owner(BaseModel):
    """Whose upload it is, by its metadata."""

    client_id: Name = Field(alias="clientId")
    file_id: Name = Field(alias="fileId")


class TusHooks:
    """The endpoints. Without a secret every hook is refused, so that a tusd that asks stores nothing."""

    def __init__(self, access: Access, admission: Admission, stored: Stored, secret: str | None) -> None:
        self._access = access
        self._admission = admission
        self._stored = stored
        self._secret = secret

    def add_to(self, app: FastAPI) -> None:
        """Route to it."""
        app.add_api_route(
            PATH, self.receive, methods=["POST"], summary="The HTTP hooks of tusd", openapi_extra={"security": []}
        )
        app.add_api_route(
            "/api/v1/agents/{client_id}/uploads/{file_id}/stored",
            self.stored,
            methods=["GET"],
            summary="What the tus server says it has of an upload",
        )

    async def receive(self, request: Request) -> Response:
        """One hook."""
        self._require_secret(request.headers)
        hook = await _read(request)
        if hook.type == "pre-create":
            refused = await self._judge(hook.event)
            return json_answer({} if refused is None else _rejection(refused))
        if hook.type in _STATES and not hook.event.upload.is_partial:
            await self._note(hook.event.upload, _STATES[hook.type])
        return json_answer({})

    async def stored(self, client_id: str, file_id: str, request: Request) -> Response:
        """For services; newest last. Empty if no hook came (yet)."""
        await self._access.require_service(request.headers)
        found = await self._stored.of(client_id, file_id)
        return json_answer({"uploads": [upload.model_dump(mode="json", by_alias=True) for upload in found]})

    async def _judge(self, event: TusEvent) -> Refused | None:
        upload = event.upload
        size = None if upload.size_is_deferred else upload.size
        return await self._admission.judge(event.http_request.bearer(), upload.meta_data, size)

    async def _note(self, upload: TusUpload, state: State) -> None:
        """An upload without our metadata is somebody else's, on the same tus server."""
        try:
            owner = _Owner.model_validate(upload.meta_data)
        except ValidationError:
            return
        if upload.id:
            attempt_id = upload.meta_data.get("attemptId")
            await self._stored.note(owner.client_id, owner.file_id, upload.id, attempt_id, upload.size, state)

    def _require_secret(self, headers: Mapping[str, str]) -> None:
        if self._secret is None:
            logging.getLogger(__name__).warning("a tus hook came, but TUS_HOOK_SECRET is not set: refused")
            raise NotAllowed("tus hooks are switched off: set TUS_HOOK_SECRET")
        shown = _shown(headers.get("authorization", ""))
        if shown is None:
            raise Unauthenticated(is_missing=True)
        if not hmac.compare_digest(shown, self._secret.encode()):
            raise Unauthenticated(is_missing=False)


def _shown(authorization: str) -> bytes | None:
    """The secret that was sent, whichever way."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return None


async def _read(request: Request) -> TusHook:
    try:
        return TusHook.model_validate_json(await read_body(request, BODY_LIMIT))
    except ValidationError:
        raise InvalidPayload("this is no hook of tusd") from None


def _rejection(refused: Refused) -> dict[str, Any]:
    return {
        "RejectUpload": True,
        "HTTPResponse": {
            "StatusCode": 401 if refused.is_token else 403,
            "Body": refused.reason,
            "Header": {"Content-Type": "text/plain; charset=utf-8"},
        },
    }
