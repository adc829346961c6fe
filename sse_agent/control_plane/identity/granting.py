"""Access tokens for agents (RFC 6749, 4.4 with RFC 7523 private_key_jwt), and the rotation of their keys."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from joserfc.jwk import OKPKey

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.documents import Conflict, Documents
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity import assertions, keys
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.identity.identities import Identity, Key
from sse_agent.control_plane.identity.limits import TokenRequests
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.problems import AgentDeleted, InvalidParameter, InvalidProof, Unauthenticated, UnknownAgent
from sse_agent.control_plane.tokens import Audience, Tokens

PATH = "/api/v1/token"
GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ACCESS_LIFE_S = 600
_KIND = "assertions"


class TokenError(Exception):
    """An answer of RFC 6749, section 5.2. `description` repeats nothing that was sent."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


class KeyOfDeleted(AgentDeleted):
    """To whoever has signed with the agent's key, and to nobody else. An error of RFC 6749, 5.2, at the same time."""

    def __init__(self, now: str) -> None:
        super().__init__()
        self.now = now

    def document(self) -> dict[str, Any]:
        told = {"error": "invalid_client", "error_description": "this agent was deleted", "now": self.now}
        return {**super().document(), **told}


def _refused(description: str) -> TokenError:
    return TokenError("invalid_client", description, 401)


class Granting:
    """Gives access tokens to whoever has an agent's key."""

    def __init__(
        self,
        engine: Engine,
        documents: Documents,
        registry: Registry,
        tokens: Tokens,
        audit: Audit,
        clock: Clock,
        issuer: str,
    ) -> None:
        self._engine = engine
        self._documents = documents
        self._registry = registry
        self._tokens = tokens
        self._audit = audit
        self._clock = clock
        self._issuer = issuer
        self._requests = TokenRequests(clock)

    async def grant(self, form: dict[str, str], address: str) -> dict[str, Any]:
        """The answer of RFC 6749, 5.1, to that address. Raises TokenError, KeyOfDeleted, TooManyRequests."""
        self._requests.from_address(address)
        if "grant_type" not in form:
            raise TokenError("invalid_request", "grant_type is missing")
        if form["grant_type"] != GRANT_TYPE:
            raise TokenError("unsupported_grant_type", f"grant_type is {GRANT_TYPE}")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenError("invalid_request", f"client_assertion_type is {ASSERTION_TYPE}")
        if not form.get("client_assertion"):
            raise TokenError("invalid_request", "client_assertion is missing")
        identity = await self._identify(form["client_assertion"], form.get("client_id"))
        token, _ = self._tokens.mint(Audience.AGENT, identity.client_id, ACCESS_LIFE_S, kv=identity.key_version)
        return {"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_LIFE_S}

    async def _identify(self, assertion: str, named: str | None) -> Identity:
        if len(assertion) > assertions.SIZE:
            raise _refused(f"the assertion: it is longer than {assertions.SIZE} characters")
        client_id = assertions.subject(assertion)
        identity = None if client_id is None or len(client_id) > 128 else await self._registry.find(client_id)
        if identity is None or (named is not None and named != identity.client_id):
            raise _refused(_STRANGER)
        key = await self._verified(assertion, identity)
        if identity.status == "deleted":
            raise KeyOfDeleted(timestamp(self._clock.now()))
        if identity.waiting is not None and key.thumbprint == identity.waiting.thumbprint:
            raise TokenError("unauthorized_client", "this agent waits until a person confirms its key's fingerprint")
        await self._ensure_known(identity.client_id)
        if identity.next_key is not None and key.thumbprint == identity.next_key.thumbprint:
            return await self._promote(identity, key)
        return identity

    async def _verified(self, assertion: str, identity: Identity) -> Key:
        """The key of the agent that it is signed with. Raises TokenError."""
        now, refused = self._clock.now(), None
        for key in _keys(identity):
            audiences = (self._issuer, self._issuer + PATH)
            try:
                claims = assertions.read(assertion, keys.public_key(key.public_key), audiences, now)
            except assertions.Refused as why:
                # Signed by it, but not good: that is worth more to know than that the others did not sign it.
                refused = refused if why.args[0] == assertions.NOT_SIGNED else why
                continue
            if not claims.get("iss") == claims.get("sub") == identity.client_id:
                raise _refused("the assertion: its iss and sub are not the clientId")
            self._requests.by_client(identity.client_id)
            await self._spend(identity.client_id, claims)
            return key
        raise _refused(_STRANGER if refused is None else f"the assertion: {refused}")

    async def _spend(self, client_id: str, claims: Any) -> None:
        """Once: what is caught is good for nothing. Kept for as long as it would be good."""
        key = hashlib.sha256(f"{client_id}\n{claims['jti']}".encode()).hexdigest()
        ends = datetime.fromtimestamp(claims["exp"], tz=self._clock.now().tzinfo) + timedelta(
            seconds=2 * assertions.SKEW_S
        )
        try:
            await self._documents.put(_KIND, key, b"", version=0, expires_at=ends)
        except Conflict:
            raise _refused("the assertion: its jti was used before") from None

    async def _ensure_known(self, client_id: str) -> None:
        """A confirmation may have been cut short between the identity and the queue."""
        try:
            await self._engine.agent(client_id)
        except UnknownAgent:
            await self._engine.enlist([client_id])
        except AgentDeleted:
            raise KeyOfDeleted(timestamp(self._clock.now())) from None

    async def _promote(self, identity: Identity, key: Key) -> Identity:
        """The first use of a rotated key ends the one before."""

        def change(known: Identity) -> Identity:
            if known.next_key is None or known.next_key.thumbprint != key.thumbprint:
                return known
            version = known.key_version + 1
            return known.model_copy(update={"key": known.next_key, "next_key": None, "key_version": version})

        after = await self._registry.change(identity.client_id, change)
        if after is None or after.status != "active" or after.key is None or after.key.thumbprint != key.thumbprint:
            raise _refused("this key was replaced")
        await self._audit.note(
            "key-rotated", client_id=identity.client_id, key=f"rotated {identity.client_id} {after.key_version}"
        )
        return after

    async def rotate(self, client_id: str, jwk: dict[str, Any], proof: str, old_proof: str) -> Key:
        """The next key, once both have signed for it. Raises InvalidParameter, InvalidProof, Unauthenticated."""
        try:
            fresh = keys.public_key(jwk)
        except ValueError as wrong:
            raise InvalidParameter(str(wrong)) from None
        identity = await self._registry.find(client_id)
        if identity is None or identity.key is None:
            raise Unauthenticated(is_missing=False)
        self._check("proof", proof, fresh, client_id, fresh)
        self._check("oldProof", old_proof, keys.public_key(identity.key.public_key), client_id, fresh)
        used = identity.key
        next_key = Key(
            public_key=keys.as_jwk(fresh),
            thumbprint=fresh.thumbprint(),
            fingerprint=keys.fingerprint(fresh),
            created_at=timestamp(self._clock.now()),
            host=used.host,
            platform=used.platform,
            version=used.version,
        )

        def change(known: Identity) -> Identity:
            if known.key is None or known.status != "active" or known.key.thumbprint != used.thumbprint:
                raise Unauthenticated(is_missing=False)
            is_there = known.next_key is not None and known.next_key.thumbprint == next_key.thumbprint
            is_there = is_there or known.key.thumbprint == next_key.thumbprint
            return known if is_there else known.model_copy(update={"next_key": next_key})

        await self._registry.change(client_id, change)
        return next_key

    def _check(self, name: str, proof: str, key: OKPKey, client_id: str, fresh: OKPKey) -> None:
        now = self._clock.now()
        audiences = (self._issuer, f"{self._issuer}/api/v1/agents/{client_id}/key")
        try:
            claims = assertions.read(proof, key, audiences, now)
        except assertions.Refused as refused:
            raise InvalidProof(f"{name}: {refused}", timestamp(now)) from None
        if not claims.get("iss") == claims.get("sub") == client_id or claims.get("jkt") != fresh.thumbprint():
            raise InvalidProof(f"{name}: it is not for this agent and the new key", timestamp(now))


_STRANGER = "no agent is called that, or the assertion is not signed by its key with Ed25519"
"""Both in the same words: a stranger must not find out which agents there are."""


def _keys(identity: Identity) -> Sequence[Key]:
    return [key for key in (identity.key, identity.next_key, identity.waiting) if key is not None]
