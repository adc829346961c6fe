"""Who asks: an agent by its token, or a service. Neither can act for the other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sse_agent.control_plane.engine import Speaker
from sse_agent.control_plane.problems import MalformedSpeaker, NotAllowed, Unauthenticated

_EPOCH_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose token it is. `client_id` is None for a service."""

    client_id: str | None


class Access:
    """The fixed bearer tokens of the settings."""

    def __init__(self, agent_tokens: Mapping[str, str], service_token: str) -> None:
        # By digest: how long a look-up takes then says nothing about how much of a token was right.
        self._principals = {_digest(token): Principal(client_id) for client_id, token in agent_tokens.items()}
        self._principals[_digest(service_token)] = Principal(None)

    def require_agent(self, client_id: str, headers: Mapping[str, str]) -> Speaker:
        """This agent itself, and who speaks for it. Raises Unauthenticated, NotAllowed, MalformedSpeaker."""
        if self._principal(headers).client_id != client_id:
            raise NotAllowed
        return _speaker(headers)

    def require_service(self, headers: Mapping[str, str]) -> None:
        """Raises Unauthenticated, NotAllowed."""
        if self._principal(headers).client_id is not None:
            raise NotAllowed

    def _principal(self, headers: Mapping[str, str]) -> Principal:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(is_missing=True)
        principal = self._principals.get(_digest(token.strip()))
        if principal is None:
            raise Unauthenticated(is_missing=False)
        return principal


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
