"""Access tokens: a signed assertion is traded for one (RFC 7523), which is held in memory and renewed in time.

There is nothing to lose: no refresh token, nothing on the disk. The machine's key is the credential.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import anyio

from sse_agent.clock import Clock
from sse_agent.credentials.key import MachineKey
from sse_agent.credentials.succession import Succession
from sse_agent.errors import CannotStart, Parked, TryAgain
from sse_agent.retry import NOT_NOW, Uniform

ASSERTION_S = 60
RENEWED_AT = (0.75, 0.8)
"""Of its life, at random: a fleet that started together does not come back together."""
LIFE_LIMITS_S = (5.0, 24 * 3600.0)
CLOCKS_AGREE_S = 2.0


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token and how long it lives, in seconds from when it was asked for."""

    token: str = field(repr=False)
    life_s: float


class KeyRefused(TryAgain):
    """The control plane says that this key is nobody's."""


class WrongTime(TryAgain):
    """The assertion was refused, and the control plane says what time it is: ours may be wrong."""

    def __init__(self, reason: str, *, now: datetime, retry_after_s: float | None = None) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.now = now


Ask = Callable[[str], Awaitable[Grant]]
"""Trade an assertion for a token. Raises TryAgain, WrongTime or Parked."""


@dataclass(frozen=True, slots=True)
class _Held:
    """Instants are monotonic."""

    token: str = field(repr=False)
    renew_at: float
    ends_at: float


class AccessTokens:
    """One token at a time. However many want one at once, one is asked for, and its answer is everybody's."""

    def __init__(
        self,
        key: MachineKey,
        ask: Ask,
        clock: Clock,
        *,
        client_id: str,
        issuer: str,
        succession: Succession | None = None,
        uniform: Uniform = random.uniform,
    ) -> None:
        self._key = key
        self._ask = ask
        self._clock = clock
        self._client_id = client_id
        self._issuer = issuer
        self._succession = succession
        self._uniform = uniform
        self._lock = anyio.Lock()
        self._held: _Held | None = None
        self._ahead = timedelta(0)
        self._tries = self._failures = 0
        self._trouble: TryAgain | None = None
        self._renew_not_before = 0.0

    def __repr__(self) -> str:
        return f"AccessTokens({self._client_id})"

    async def current(self) -> str:
        """The token to show now; a fresh one as soon as the last is to be renewed. Raises TryAgain if there is none."""
        held, now = self._held, self._clock.monotonic()
        if held is None or now >= held.ends_at:
            return await self.refreshed("" if held is None else held.token)
        if now < max(held.renew_at, self._renew_not_before):
            return held.token
        try:
            return await self.refreshed(held.token)
        except Parked:
            raise
        except TryAgain as trouble:
            # It still lives: its holder need not wait, but need not knock with every message either.
            wait_s = NOT_NOW.wait_s(self._failures, at_least_s=trouble.retry_after_s)
            self._renew_not_before = self._clock.monotonic() + wait_s
            return held.token

    async def refreshed(self, refused: str) -> str:
        """Another token than that one. Raises TryAgain if there is none now."""
        tries = self._tries
        async with self._lock:
            held = self._held
            if held is not None and held.token != refused and self._clock.monotonic() < held.ends_at:
                return held.token
            if self._tries != tries and self._trouble is not None:
                # Somebody asked while we waited, in vain: once is enough for both.
                raise self._trouble
            return (await self._renew()).token

    def renew_at(self, token: str) -> float | None:
        """The monotonic instant at which whatever was opened with that token should be opened anew; None: never."""
        held = self._held
        return held.renew_at if held is not None and held.token == token else self._clock.monotonic()

    async def _renew(self) -> _Held:
        self._tries += 1
        began = self._clock.monotonic()
        try:
            grant = await self._granted()
        except TryAgain as trouble:
            self._trouble = trouble
            self._failures += 1
            raise
        self._trouble, self._failures, self._renew_not_before = None, 0, 0.0
        life_s = min(LIFE_LIMITS_S[1], max(LIFE_LIMITS_S[0], grant.life_s))
        self._held = _Held(grant.token, began + life_s * self._uniform(*RENEWED_AT), began + life_s)
        return self._held

    async def _granted(self) -> Grant:
        """To the key in use; if that is refused, to the one that is to take its place, which then has."""
        try:
            return await self._granted_to(self._key)
        except KeyRefused as refused:
            new = await self._heir()
            if new is None:
                raise
            try:
                grant = await self._granted_to(new)
            except Parked:
                raise
            except TryAgain:
                raise refused from None
        await self._succeed(new)
        return grant

    async def _heir(self) -> MachineKey | None:
        if self._succession is None:
            return None
        with suppress(CannotStart):
            return await anyio.to_thread.run_sync(self._succession.heir, self._key.key_id)
        return None

    async def _succeed(self, new: MachineKey) -> None:
        assert self._succession is not None  # noqa: S101 - it has named the key
        self._key = new
        # A disk that fails is no reason to end: the next start finds it out again.
        with suppress(CannotStart), anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._succession.settle, new.key_id)
        self._succession.tell(new.fingerprint)

    async def _granted_to(self, key: MachineKey) -> Grant:
        """By a clock that the control plane agrees with: if it tells the time, the assertion is made anew by that."""
        try:
            return await self._ask(self.statement(key))
        except WrongTime as wrong:
            before, self._ahead = self._ahead, wrong.now - self._clock.now()
            if abs(self._ahead - before) < timedelta(seconds=CLOCKS_AGREE_S):
                raise
        return await self._ask(self.statement(key))

    def statement(self, key: MachineKey | None = None, **claims: str) -> str:
        """`private_key_jwt` (RFC 7523, section 3; OpenID Connect Core, section 9): good once, for a minute.

        By that key, or by the one in use.
        """
        at = int((self._clock.now() + self._ahead).timestamp())
        return (key or self._key).signed(
            {
                "iss": self._client_id,
                "sub": self._client_id,
                "aud": self._issuer,
                "jti": uuid4().hex,
                "iat": at,
                "exp": at + ASSERTION_S,
                **claims,
            }
        )

    def use(self, key: MachineKey) -> None:
        """From now on it is that key which signs."""
        self._key = key
