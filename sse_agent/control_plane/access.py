"""Who asks: an agent, a service or a viewer. None of them can act for another.

A token that is good, but of another audience, is 403; one that is none, or over, is 401.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeGuard
from uuid import UUID

from sse_agent.control_plane.engine import Speaker
from sse_agent.control_plane.problems import MalformedSpeaker, NotAllowed, Unauthenticated
from sse_agent.control_plane.tokens import Audience

Scope = Literal["watch", "command", "manage"]
_EPOCH_DIGITS = 18
SCOPES: tuple[Scope, ...] = ("watch", "command", "manage")


@dataclass(frozen=True, slots=True)
class AgentCall:
    """An agent that showed its token. `ends_at` and `key_version`: of an access token; a fixed one has neither."""

    client_id: str
    speaker: Speaker
    ends_at: datetime | None = None
    key_version: int | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who watches: a browser with a viewer token, or a service, which may everything.

    `agents`: the client IDs, or None for all of them. `ends_at`: of a viewer token.
    """

    subject: str
    agents: frozenset[str] | None
    scopes: frozenset[str]
    is_service: bool = False
    ends_at: datetime | None = None

    def may(self, scope: Scope, client_id: str) -> bool:
        """Whether this agent may be watched, or commanded."""
        return scope in self.scopes and (self.agents is None or client_id in self.agents)

    def require(self, scope: Scope, client_id: str) -> None:
        """Raises NotAllowed."""
        if not self.may(scope, client_id):
            raise NotAllowed


class Reader(Protocol):
    """Who reads our JWTs."""

    async def read(self, audience: Audience, token: str) -> Mapping[str, Any]:
        """Its claims. Raises Unauthenticated."""
        ...


class Standings(Protocol):
    """Which key of an agent counts."""

    async def require_key(self, client_id: str, key_version: int) -> None:
        """Raises Unauthenticated, AgentDeleted."""
        ...

    async def is_over(self, client_id: str, key_version: int) -> bool:
        """Whether the key was replaced or deleted. Looks up nothing while there is no reason to doubt."""
        ...


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A token of the settings: of an agent, or of a service."""

    client_id: str | None
    service: str | None


class Access:
    """The fixed bearer tokens of the settings (agents by client ID, services by name), and the JWTs minted here."""

    def __init__(
        self, agent_tokens: Mapping[str, str], service_tokens: Mapping[str, str], tokens: Reader, standings: Standings
    ) -> None:
        # By digest: how long a look-up takes then says nothing about how much of a token was right.
        self._fixed = {_digest(token): _Fixed(client_id, None) for client_id, token in agent_tokens.items()}
        self._fixed |= {_digest(token): _Fixed(None, name) for name, token in service_tokens.items()}
        self._tokens = tokens
        self._standings = standings

    async def require_agent(self, client_id: str, headers: Mapping[str, str]) -> AgentCall:
        """This agent itself, and who speaks for it.

        Raises Unauthenticated, NotAllowed, AgentDeleted, MalformedSpeaker.
        """
        token = _bearer(headers)
        fixed = self._fixed.get(_digest(token))
        if fixed is not None:
            if fixed.client_id != client_id:
                raise NotAllowed
            return AgentCall(client_id, _speaker(headers))
        claims = await self._claims(Audience.AGENT, token)
        if claims["sub"] != client_id:
            raise NotAllowed
        key_version = claims.get("kv")
        if not isinstance(key_version, int):
            raise Unauthenticated(is_missing=False)
        await self._standings.require_key(client_id, key_version)
        return AgentCall(client_id, _speaker(headers), datetime.fromtimestamp(claims["exp"], UTC), key_version)

    async def is_over(self, call: AgentCall) -> bool:
        """Whether what was shown when this call began is void by now."""
        return call.key_version is not None and await self._standings.is_over(call.client_id, call.key_version)

    async def require_service(self, headers: Mapping[str, str]) -> str:
        """The service's name. Raises Unauthenticated, NotAllowed."""
        name = await self._service(_bearer(headers))
        if name is None:
            raise NotAllowed
        return name

    async def require_viewer(self, headers: Mapping[str, str]) -> Viewer:
        """A viewer, or a service. Raises Unauthenticated, NotAllowed."""
        token = _bearer(headers)
        fixed = self._fixed.get(_digest(token))
        if fixed is None:
            return _viewer(await self._claims(Audience.VIEWER, token))
        if fixed.service is None:
            raise NotAllowed
        return Viewer(fixed.service, None, frozenset(SCOPES), is_service=True)

    async def require_manager(self, headers: Mapping[str, str]) -> Viewer:
        """Whoever may enrol, readmit and delete: a service, or a person with that scope.

        Raises Unauthenticated, NotAllowed.
        """
        viewer = await self.require_viewer(headers)
        if "manage" not in viewer.scopes or viewer.agents is not None:
            raise NotAllowed
        return viewer

    async def _service(self, token: str) -> str | None:
        """None: it is somebody else's. Raises Unauthenticated."""
        fixed = self._fixed.get(_digest(token))
        if fixed is not None:
            return fixed.service
        await self._claims(None, token)
        return None

    async def _claims(self, wanted: Audience | None, token: str) -> Mapping[str, Any]:
        """Of a token of ours. Raises NotAllowed if it is for another audience, Unauthenticated if it is none."""
        others = [audience for audience in Audience if audience is not wanted]
        for audience in [wanted, *others] if wanted else others:
            try:
                claims = await self._tokens.read(audience, token)
            except Unauthenticated:
                continue
            if audience is not wanted:
                raise NotAllowed
            return claims
        raise Unauthenticated(is_missing=False)


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(is_missing=True)
    return token.strip()


def _viewer(claims: Mapping[str, Any]) -> Viewer:
    agents, scopes = claims.get("agents"), claims.get("scopes")
    if not (agents == "*" or _are_texts(agents)) or not _are_texts(scopes):
        raise Unauthenticated(is_missing=False)
    ends_at = datetime.fromtimestamp(claims["exp"], UTC)
    return Viewer(claims["sub"], None if agents == "*" else frozenset(agents), frozenset(scopes), ends_at=ends_at)


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("latin-1", "replace")).digest()


def _speaker(headers: Mapping[str, str]) -> Speaker:
    """The three headers of every request of an agent."""
    epoch = headers.get("agent-epoch", "")
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= _EPOCH_DIGITS):
        raise MalformedSpeaker("Agent-Epoch is a decimal number")
    try:
        journal, instance = UUID(headers.get("agent-journal", "")), UUID(headers.get("agent-instance", ""))
    except ValueError:
        raise MalformedSpeaker("Agent-Journal and Agent-Instance are UUIDs") from None
    return Speaker(str(journal), int(epoch), str(instance))
