"""JWTs that this control plane mints and reads: one issuer, three audiences that can't act for each other.

Signed with Ed25519 (RFC 8037). The keys are a document, so every instance of a control plane has the same; what another
one has rotated is looked up when a token names a key that is not known here, and every minute in which one is read.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

import anyio
import pydantic_core
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, OKPKey

from sse_agent.clock import Clock
from sse_agent.control_plane.documents import Conflict, Documents
from sse_agent.control_plane.problems import InvalidParameter, Unauthenticated, Unavailable

ALGORITHM = "Ed25519"
_KIND, _KEY = "signing-keys", "current"
_SKEW_S = 5.0
"""Between the clocks of two instances."""
SIZE = 7168
"""Of a token, in bytes. It travels in a header, and many boxes take 8 KiB of all headers together."""
LOOK_AGAIN_S = 2.0
"""The least time between two looks for keys: whoever makes names of keys up costs one read in that."""
_OLD_S = 60.0
"""So old may what is known of the keys be: another instance may have dropped the one that signs here."""


class Audience(StrEnum):
    """What a token is for."""

    AGENT = "agent"
    VIEWER = "viewer"
    UPLOAD = "upload"


class Tokens:
    """Open it, then mint and read. `issuer` is the control plane's public URL."""

    def __init__(self, documents: Documents, clock: Clock, issuer: str) -> None:
        self._documents = documents
        self._clock = clock
        self._issuer = issuer
        self._keys: KeySet
        self._looked_at = 0.0
        self._lock = anyio.Lock()

    async def open(self) -> None:
        """The keys that are there, or the first one. The newest signs; all are read."""
        found = await self._documents.document(_KIND, _KEY)
        if found is None:
            keys = pydantic_core.to_json({"keys": [_new_key().as_dict(private=True)]})
            try:
                found = await self._documents.put(_KIND, _KEY, keys, version=0)
            except Conflict:
                found = await self._documents.document(_KIND, _KEY)
        assert found is not None  # noqa: S101 - nobody removes it
        self._keys = KeySet.import_key_set(pydantic_core.from_json(found.body))
        self._looked_at = self._clock.monotonic()

    async def rotate(self) -> None:
        """A new key signs from now on; the one before it is still read, older ones no more."""
        found = await self._documents.document(_KIND, _KEY)
        assert found is not None  # noqa: S101 - open() made it
        keys = [*pydantic_core.from_json(found.body)["keys"][-1:], _new_key().as_dict(private=True)]
        await self._documents.put(_KIND, _KEY, pydantic_core.to_json({"keys": keys}), version=found.version)
        await self.open()

    def public_keys(self) -> dict[str, Any]:
        """The JWK set (RFC 7517) that others check our tokens with."""
        return {"keys": [key.as_dict(private=False) for key in self._keys.keys]}

    def mint(self, audience: Audience, subject: str, life_s: float, **claims: Any) -> tuple[str, datetime]:
        """A token, and when it ends. Raises InvalidParameter if what it names is too much for a header."""
        now = self._clock.now()
        until = now + timedelta(seconds=life_s)
        key = self._keys.keys[-1]
        members = {
            "iss": self._issuer,
            "aud": audience.value,
            "sub": subject,
            "iat": int(now.timestamp()),
            "exp": int(until.timestamp()),
            "jti": uuid4().hex,
            **claims,
        }
        token = jwt.encode({"alg": ALGORITHM, "kid": key.kid}, members, key, algorithms=[ALGORITHM])
        if len(token) > SIZE:
            raise InvalidParameter(
                f"body: the token would take {len(token)} bytes, and a header of a request holds {SIZE} of it: "
                'name fewer agents, or all of them ("*")'
            )
        return token, until

    async def look_again(self, after_s: float = LOOK_AGAIN_S) -> None:
        """What other instances made of the keys, if the last look is that long ago. Raises Unavailable."""
        # Those who come while one looks wait for what it finds.
        async with self._lock:
            if self._clock.monotonic() - self._looked_at >= after_s:
                self._looked_at = self._clock.monotonic()
                await self.open()

    async def read(self, audience: Audience, token: str) -> Mapping[str, Any]:
        """Its claims. Raises Unauthenticated; Unavailable if nobody can tell whether the key is a new one."""
        # While the store is away, what is known goes on.
        with suppress(Unavailable):
            await self.look_again(_OLD_S)
        try:
            claims = self._decoded(token)
        except InvalidKeyIdError:
            await self.look_again()
            try:
                claims = self._decoded(token)
            except InvalidKeyIdError:
                raise Unauthenticated(is_missing=False) from None
        expires = claims.get("exp")
        is_ours = claims.get("iss") == self._issuer and claims.get("aud") == audience.value
        is_fresh = isinstance(expires, int) and expires + _SKEW_S > self._clock.now().timestamp()
        if not (is_ours and is_fresh and isinstance(claims.get("sub"), str)):
            raise Unauthenticated(is_missing=False)
        return claims

    def _decoded(self, token: str) -> dict[str, Any]:
        """Raises Unauthenticated, and InvalidKeyIdError if it names a key that is not known here."""
        try:
            return jwt.decode(token, self._keys, algorithms=[ALGORITHM]).claims
        except InvalidKeyIdError:
            raise
        except (JoseError, ValueError, TypeError):
            raise Unauthenticated(is_missing=False) from None


def _new_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
