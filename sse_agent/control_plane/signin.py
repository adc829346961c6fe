"""People at the live page where no identity provider is set: a one-use link, then a session that the browser keeps.

The link's secret stands behind its `#`, so no server's log sees it. The page trades it for a viewer token of a few
minutes, which it keeps in memory only, and for a cookie that scripts cannot read and that is good for one thing: the
next token. The cookie names no path: browsers then take that of the request as they sent it, whatever path a proxy
serves us under. Links and sessions are documents, under the SHA-256 of their secrets.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import pydantic_core
from fastapi import FastAPI, Request, Response
from pydantic import Field, StringConstraints, ValidationError

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.access import SCOPES, Access, Scope
from sse_agent.control_plane.documents import Conflict, Documents
from sse_agent.control_plane.problems import InvalidParameter, LinkNotValid, NotAllowed, SignedOut
from sse_agent.control_plane.receiving import first_wrong
from sse_agent.control_plane.requests import read_body
from sse_agent.control_plane.tokens import Audience, Tokens
from sse_agent.messages import Name, Wire

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=12)
TOKEN_LIFE_S = 900.0
PATH = "/api/v1/sessions"
_COOKIE = "sse-agent-session"
_LINKS, _SESSIONS = "signin-links", "sessions"
_BODY_LIMIT = 64 * 1024

W = TypeVar("W", bound=Wire)
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=3)]


class Grant(Wire):
    """Who signs in, and what they may: watch agents, command them, manage (enrol, readmit, delete) them."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "operator"
    agents: Literal["*"] | Annotated[list[Name], Field(max_length=1000)] = "*"
    scopes: Scopes = Field(default_factory=lambda: list(SCOPES))


class Link(Wire):
    """`link` is for one person, once. It is a secret: send it no way that others can read."""

    link: str = Field(repr=False)
    expires_at: str


class Secret(Wire):
    """What stands behind `#signin=`."""

    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")] = Field(repr=False)


class SignedIn(Grant):
    """A viewer token, and until when it and the session behind it are good."""

    token: str = Field(repr=False)
    expires_at: str
    session_expires_at: str


@dataclass(frozen=True, slots=True)
class Session:
    """A person's. `secret` is the cookie's value."""

    grant: Grant
    ends_at: datetime
    secret: str


class SignIn:
    """`issuer` is the public URL, with its path."""

    def __init__(self, documents: Documents, tokens: Tokens, access: Access, clock: Clock, issuer: str) -> None:
        self._documents = documents
        self._tokens = tokens
        self._access = access
        self._clock = clock
        self._issuer = issuer.rstrip("/")
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(self._issuer))

    def add_to(self, app: FastAPI) -> None:
        """The endpoints."""
        app.add_api_route("/api/v1/signin-links", self.make_link, methods=["POST"], summary="A one-use link")
        app.add_api_route(PATH, self.sign_in, methods=["POST"], summary="Trade a link's secret for a session")
        app.add_api_route(f"{PATH}/renew", self.renew, methods=["POST"], summary="The next token of a session")
        app.add_api_route(PATH, self.sign_out, methods=["DELETE"], summary="End a session")

    async def link(self, grant: Grant) -> Link:
        """A new link for one person."""
        secret, until = secrets.token_urlsafe(32), self._clock.now() + LINK_LIFE
        body = grant.model_dump_json(by_alias=True).encode()
        await self._documents.put(_LINKS, _digest(secret), body, version=0, expires_at=until)
        return Link(link=f"{self._issuer}/#signin={secret}", expires_at=timestamp(until))

    # --- endpoints ---

    async def make_link(self, request: Request) -> Response:
        """For whom the service says; the same key again makes another link."""
        await self._access.require_service(request.headers)
        grant = _parsed(Grant, await read_body(request, _BODY_LIMIT))
        # What is too much for a token must be told to whoever asks for the link, not to the person who follows it.
        self._mint(grant, TOKEN_LIFE_S)
        link = await self.link(grant)
        return _json(link, 201)

    async def sign_in(self, request: Request) -> Response:
        """No token: the secret is what lets one in, once."""
        self._require_own_page(request.headers, is_needed=False)
        secret = _parsed(Secret, await read_body(request, _BODY_LIMIT)).secret
        key = _digest(secret)
        found = await self._documents.document(_LINKS, key)
        if found is None or not found.body:
            raise LinkNotValid
        try:
            # Emptied, not removed: of two who come at once only one may still find it as it was.
            until = self._clock.now() + LINK_LIFE
            await self._documents.put(_LINKS, key, b"", version=found.version, expires_at=until)
        except Conflict:
            raise LinkNotValid from None
        grant = Grant.model_validate_json(found.body)
        session = Session(grant, self._clock.now() + SESSION_LIFE, secrets.token_urlsafe(32))
        body = grant.model_dump_json(by_alias=True).encode()
        kept = pydantic_core.to_json({"grant": body.decode(), "endsAt": timestamp(session.ends_at)})
        await self._documents.put(_SESSIONS, _digest(session.secret), kept, version=0, expires_at=session.ends_at)
        return self._answer(session, 201, sets_cookie=True)

    async def renew(self, request: Request) -> Response:
        """No token: the session's cookie, and only from our own page."""
        self._require_own_page(request.headers, is_needed=True)
        session = await self._session(request)
        return self._answer(session, 200, sets_cookie=False)

    async def sign_out(self, request: Request) -> Response:
        """Ends the session of the cookie, if there is one."""
        self._require_own_page(request.headers, is_needed=True)
        secret = request.cookies.get(self._cookie)
        if secret is not None:
            found = await self._documents.document(_SESSIONS, _digest(secret))
            if found is not None:
                await self._documents.remove(_SESSIONS, _digest(secret), version=found.version)
        answer = Response(status_code=204)
        answer.set_cookie(
            self._cookie, "", max_age=0, path=None, secure=self._is_secure, httponly=True, samesite="strict"
        )
        return answer

    # --- how ---

    async def _session(self, request: Request) -> Session:
        """Raises SignedOut."""
        secret = request.cookies.get(self._cookie)
        found = await self._documents.document(_SESSIONS, _digest(secret)) if secret else None
        if found is None or secret is None:
            raise SignedOut
        kept = pydantic_core.from_json(found.body)
        return Session(Grant.model_validate_json(kept["grant"]), datetime.fromisoformat(kept["endsAt"]), secret)

    def _answer(self, session: Session, status: int, *, sets_cookie: bool) -> Response:
        grant = session.grant
        left_s = (session.ends_at - self._clock.now()).total_seconds()
        token, until = self._mint(grant, min(TOKEN_LIFE_S, left_s))
        told = SignedIn(
            token=token,
            expires_at=timestamp(until),
            session_expires_at=timestamp(session.ends_at),
            **grant.model_dump(),
        )
        answer = _json(told, status)
        if sets_cookie:
            answer.set_cookie(
                self._cookie,
                session.secret,
                max_age=int(SESSION_LIFE.total_seconds()),
                path=None,
                secure=self._is_secure,
                httponly=True,
                samesite="strict",
            )
        return answer

    def _mint(self, grant: Grant, life_s: float) -> tuple[str, datetime]:
        """Raises InvalidParameter if it names too many agents."""
        return self._tokens.mint(Audience.VIEWER, grant.subject, life_s, agents=grant.agents, scopes=grant.scopes)

    def _require_own_page(self, headers: Mapping[str, str], *, is_needed: bool) -> None:
        """Only a page of ours may use the cookie, or sign somebody in. Raises NotAllowed."""
        origin = headers.get("origin")
        if origin is None and not is_needed:
            return
        # Where it listens may be called by another name than the issuer's; then the page and its request share that.
        scheme = self._issuer.partition("://")[0]
        if origin not in (self._origin, f"{scheme}://{headers.get('host', '')}"):
            raise NotAllowed("only the control plane's own page may ask for this")

    @property
    def _is_secure(self) -> bool:
        return self._issuer.startswith("https://")

    @property
    def _cookie(self) -> str:
        # The prefix keeps whoever can write cookies over plain HTTP from planting one (RFC 6265bis, 4.1.3.1).
        return f"__Secure-{_COOKIE}" if self._is_secure else _COOKIE


def _parsed(model: type[W], body: bytes) -> W:
    try:
        return model.model_validate_json(body or b"{}", by_name=False)
    except ValidationError as error:
        raise InvalidParameter(first_wrong(error, "body")) from None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _json(value: Wire, status: int) -> Response:
    body = pydantic_core.to_json(value.to_wire())
    return Response(body, status_code=status, media_type="application/json", headers={"Cache-Control": "no-store"})
