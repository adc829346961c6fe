"""Identity on HTTP: what machines, agents and services ask for, as routes of the application."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import pydantic_core
from fastapi import FastAPI, Query, Request, Response
from pydantic import ValidationError

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity import enrolment, granting
from sse_agent.control_plane.identity.administration import Administration, Asker, asker
from sse_agent.control_plane.identity.enrolment import Application, Enrolled, Enrolment
from sse_agent.control_plane.identity.granting import Granting, TokenError
from sse_agent.control_plane.identity.told import (
    CodeMade,
    CodeTold,
    Confirmation,
    CredentialWanted,
    EnrolmentsTold,
    EnrolmentTold,
    Rotated,
    Rotation,
    TokenMade,
    ViewerWanted,
)
from sse_agent.control_plane.problems import InvalidParameter, MalformedRequest
from sse_agent.control_plane.receiving import first_wrong
from sse_agent.control_plane.requests import FORM, read_body
from sse_agent.control_plane.tokens import Tokens
from sse_agent.messages import Wire

BODY_LIMIT = 64 * 1024
METADATA_PATH = "/.well-known/oauth-authorization-server"
_KEYS_KEPT_S = 300
_ERROR = {"type": "object", "properties": {name: {"type": "string"} for name in ("error", "error_description", "now")}}

W = TypeVar("W", bound=Wire)
Actor = Annotated[str | None, Query(max_length=256)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class Endpoints:
    """As methods; `add_to` routes to them."""

    def __init__(
        self,
        access: Access,
        enrolment: Enrolment,
        granting: Granting,
        administration: Administration,
        engine: Engine,
        tokens: Tokens,
        clock: Clock,
        issuer: str,
    ) -> None:
        self._access = access
        self._enrolment = enrolment
        self._granting = granting
        self._administration = administration
        self._engine = engine
        self._tokens = tokens
        self._clock = clock
        self._issuer = issuer

    def add_to(self, app: FastAPI) -> None:
        """The routes, with what the OpenAPI document says of them."""
        agent = "/api/v1/agents/{client_id}"
        _add(app, "POST", enrolment.PATH, self.enrol, "Enrol a machine", 201, Enrolled, takes=Application)
        self._add_token(app)
        _add(app, "POST", f"{agent}/key", self.rotate, "Rotate an agent's key", 200, Rotated, takes=Rotation)
        codes = "/api/v1/pairing-codes"
        _add(app, "POST", codes, self.make_code, "Make a pairing code", 201, CodeMade, takes=CredentialWanted)
        _add(app, "GET", f"{codes}/{{code_id}}", self.code, "What became of a pairing code", 200, CodeTold)
        tokens = "/api/v1/enrollment-tokens"
        _add(app, "POST", tokens, self.make_token, "Make an enrolment token", 201, TokenMade, takes=CredentialWanted)
        _add(app, "GET", enrolment.PATH, self.waiting, "What waits to be confirmed", 200, EnrolmentsTold)
        confirm = f"{agent}/confirm"
        _add(app, "POST", confirm, self.confirm, "Confirm a fingerprint", 200, EnrolmentTold, takes=Confirmation)
        _add(app, "DELETE", f"{agent}/enrollment", self.refuse, "Refuse what waits to be confirmed", 204)
        _add(app, "DELETE", agent, self.delete, "Delete an agent for ever", 204)
        viewer = "/api/v1/viewer-tokens"
        _add(app, "POST", viewer, self.viewer_token, "Make a token for a browser", 201, TokenMade, takes=ViewerWanted)
        _add(app, "GET", "/api/v1/jwks", self.jwks, "The control plane's public keys", 200)
        _add(app, "GET", METADATA_PATH, self.metadata, "Where to get tokens (RFC 8414)", 200)

    def _add_token(self, app: FastAPI) -> None:
        names = ("grant_type", "client_assertion_type", "client_assertion")
        form = {"type": "object", "required": list(names), "properties": {name: {"type": "string"} for name in names}}
        answers: dict[int | str, dict[str, Any]] = {
            status: {"description": "RFC 6749, 5.2", "content": {"application/json": {"schema": _ERROR}}}
            for status in (400, 401)
        }
        app.add_api_route(
            granting.PATH,
            self.token,
            methods=["POST"],
            summary="Get an access token",
            responses=answers,
            openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": form}}}},
        )

    # --- machines and agents ---

    async def enrol(self, request: Request) -> Response:
        """No token: the code or token in the body is what lets one in."""
        application = await _read(request, Application)
        return _json(await self._enrolment.enrol(application, _address(request)), 201)

    async def token(self, request: Request) -> Response:
        """The assertion in the form is what lets one in."""
        body = await read_body(request, BODY_LIMIT, media_type=FORM)
        try:
            return _plain(await self._granting.grant(_form(body), _address(request)))
        except TokenError as refused:
            told = {
                "error": refused.error,
                "error_description": refused.description,
                "now": timestamp(self._clock.now()),
            }
            return _plain(told, refused.status)

    async def rotate(self, client_id: str, request: Request) -> Response:
        """The agent itself, with both keys."""
        call = await self._access.require_agent(client_id, request.headers)
        rotation = await _read(request, Rotation)
        # A copied machine is told so, and must not take the key over.
        await self._engine.verify(client_id, call.speaker)
        key = await self._granting.rotate(client_id, rotation.public_key, rotation.proof, rotation.old_proof)
        return _json(Rotated(client_id=client_id, fingerprint=key.fingerprint))

    # --- services ---

    async def make_code(self, request: Request) -> Response:
        """For a person to type."""
        viewer = await self._access.require_manager(request.headers)
        wanted = await _read(request, CredentialWanted)
        made = await self._administration.make_code(asker(viewer, wanted.actor), wanted.name, wanted.client_id)
        return _json(made, 201)

    async def make_token(self, request: Request) -> Response:
        """For a script."""
        viewer = await self._access.require_manager(request.headers)
        wanted = await _read(request, CredentialWanted)
        made = await self._administration.make_token(asker(viewer, wanted.actor), wanted.name, wanted.client_id)
        return _json(made, 201)

    async def code(self, code_id: str, request: Request) -> Response:
        """By its first half."""
        await self._access.require_manager(request.headers)
        return _json(await self._administration.code(code_id))

    async def waiting(self, request: Request, after: str = "", limit: Limit = 100) -> Response:
        """In the order of their client IDs."""
        await self._access.require_manager(request.headers)
        found = await self._administration.waiting(after, limit)
        return _json(EnrolmentsTold(enrollments=found))

    async def confirm(self, client_id: str, request: Request) -> Response:
        """Yes."""
        viewer = await self._access.require_manager(request.headers)
        said = await _read(request, Confirmation)
        return _json(await self._administration.confirm(asker(viewer, said.actor), client_id, said.fingerprint))

    async def refuse(self, client_id: str, request: Request, actor: Actor = None) -> Response:
        """No."""
        viewer = await self._access.require_manager(request.headers)
        await self._administration.refuse(asker(viewer, actor), client_id)
        return Response(status_code=204)

    async def delete(self, client_id: str, request: Request, actor: Actor = None) -> Response:
        """For ever."""
        viewer = await self._access.require_manager(request.headers)
        await self._administration.delete(asker(viewer, actor), client_id)
        return Response(status_code=204)

    async def viewer_token(self, request: Request) -> Response:
        """Short-lived."""
        by = await self._access.require_service(request.headers)
        wanted = await _read(request, ViewerWanted)
        agents = None if wanted.agents == "*" else wanted.agents
        made = await self._administration.viewer_token(
            Asker(by, wanted.actor), wanted.subject, agents, list(wanted.scopes), wanted.seconds
        )
        return _json(made, 201)

    # --- anybody ---

    async def jwks(self) -> Response:
        """No secret."""
        await self._tokens.look_again()
        headers = {"Cache-Control": f"public, max-age={_KEYS_KEPT_S}"}
        return Response(
            pydantic_core.to_json(self._tokens.public_keys()), media_type="application/jwk-set+json", headers=headers
        )

    async def metadata(self) -> Response:
        """No secret."""
        return _plain(
            {
                "issuer": self._issuer,
                "token_endpoint": self._issuer + granting.PATH,
                "jwks_uri": f"{self._issuer}/api/v1/jwks",
                "response_types_supported": [],
                "grant_types_supported": [granting.GRANT_TYPE],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["Ed25519", "EdDSA"],
            }
        )


def _add(
    app: FastAPI,
    method: str,
    path: str,
    endpoint: Any,
    summary: str,
    status: int,
    gives: type[Wire] | None = None,
    *,
    takes: type[Wire] | None = None,
) -> None:
    extra: dict[str, Any] | None = None
    if takes is not None:
        content = {"application/json": {"schema": takes.model_json_schema(by_alias=True)}}
        extra = {"requestBody": {"required": True, "content": content}}
    answers: dict[int | str, dict[str, Any]] = {status: {"model": gives}} if gives is not None else {}
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        summary=summary,
        status_code=status,
        responses=answers,
        openapi_extra=extra,
    )


async def _read(request: Request, model: type[W]) -> W:
    """Raises InvalidParameter, MalformedRequest, and what reading does."""
    body = await read_body(request, BODY_LIMIT)
    try:
        return model.model_validate(pydantic_core.from_json(body, allow_inf_nan=False), by_name=False)
    except ValidationError as error:
        raise InvalidParameter(first_wrong(error, "body")) from None
    except ValueError:
        raise MalformedRequest("the body is no JSON") from None


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _form(body: bytes) -> dict[str, str]:
    """Raises TokenError: RFC 6749, 3.2: parameters must not be there twice; unknown ones are ignored."""
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=20, errors="strict"
        )
    except ValueError:
        raise TokenError("invalid_request", "the body is no form") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise TokenError("invalid_request", "a parameter is there twice")
    return dict(pairs)


def _json(value: Wire, status: int = 200) -> Response:
    return _plain(value.to_wire(), status)


def _plain(value: object, status: int = 200) -> Response:
    return Response(
        pydantic_core.to_json(value), status, media_type="application/json", headers={"Cache-Control": "no-store"}
    )
