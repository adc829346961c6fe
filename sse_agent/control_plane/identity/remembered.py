"""Tokens that were checked a moment ago are not checked again: an agent shows the same one with every message."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from sse_agent.clock import Clock
from sse_agent.control_plane.tokens import Audience, Tokens

REMEMBERED_S = 30.0
"""How long a token may outlive the key that signed it."""
_REMEMBERED = 20_000


class RememberedTokens:
    """Reads as `Tokens` does. Only what was good is remembered, by digest, and never past its end."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._memory: OrderedDict[tuple[Audience, bytes], tuple[float, Mapping[str, Any]]] = OrderedDict()

    async def read(self, audience: Audience, token: str) -> Mapping[str, Any]:
        """Its claims. Raises Unauthenticated."""
        key = (audience, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())
        now = self._clock.monotonic()
        until, claims = self._memory.get(key, (now, {}))
        if until > now and claims["exp"] > self._clock.now().timestamp():
            return claims
        claims = await self._tokens.read(audience, token)
        self._memory[key] = (now + REMEMBERED_S, claims)
        self._memory.move_to_end(key)
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
        return claims
