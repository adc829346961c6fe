"""Pairing codes and enrolment tokens as documents: made, tried, redeemed once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.documents import Conflict, Document, Documents
from sse_agent.control_plane.identity import codes
from sse_agent.control_plane.identity.identities import Credential
from sse_agent.control_plane.problems import CodeNotValid, CodeOver, CodeUsed, Unavailable, UnknownCode

CODES, TOKENS = "pairing-codes", "enrollment-tokens"
_ATTEMPTS = 50


class Burnt(CodeNotValid):
    """The last try of a code: `credential` is over with it."""

    def __init__(self, credential: Credential) -> None:
        super().__init__()
        self.credential = credential


class Shown(NamedTuple):
    """What an agent brings. `kind` and `key` name the document, `secret` opens it."""

    kind: str
    key: str
    secret: str

    @property
    def is_code(self) -> bool:
        """Whether a person waits to confirm it."""
        return self.kind == CODES


def shown_code(typed: str) -> Shown:
    """Raises CodeNotValid."""
    code = codes.normalised(typed)
    if code is None:
        raise CodeNotValid(f"a code is {2 * codes.HALF} letters, such as BCDF-GHJK: look at it again")
    return Shown(CODES, code[: codes.HALF], code[codes.HALF :])


def shown_token(token: str) -> Shown:
    """A token is its own ID, by its digest."""
    return Shown(TOKENS, codes.digest("", token), token)


class Credentials:
    """Each stays for a day after its end, so that it can be told what became of it."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def make_code(self, **members: Any) -> tuple[str, Credential]:
        """The code, as people read it."""
        for _ in range(_ATTEMPTS):
            code_id, secret, salt = codes.new_half(), codes.new_half(), codes.new_token()
            made = self._made(code_id, secret, salt, codes.CODE_LIFE_S, members)
            if await self._create(CODES, made):
                return codes.shown(code_id, secret), made
        raise Unavailable("no pairing code is free", retry_after_s=60)

    async def make_token(self, **members: Any) -> tuple[str, Credential]:
        """The token."""
        token = codes.new_token()
        made = self._made(codes.digest("", token), token, "", codes.TOKEN_LIFE_S, members)
        await self._create(TOKENS, made)
        return token, made

    async def code(self, code_id: str) -> Credential:
        """Raises UnknownCode."""
        found = await self._documents.document(CODES, code_id)
        if found is None:
            raise UnknownCode
        return Credential.model_validate_json(found.body)

    async def try_out(self, shown: Shown, thumbprint: str) -> Credential:
        """What it stands for, if the secret is right. Raises CodeNotValid, CodeUsed, CodeOver, Burnt."""
        found = await self._change(shown, lambda credential: self._tried(credential, thumbprint))
        if not codes.is_same(codes.digest(found.salt, shown.secret), found.digest):
            raise Burnt(found) if found.tries == codes.TRIES and found.thumbprint is None else CodeNotValid
        return found

    async def redeem(self, shown: Shown, thumbprint: str, members: dict[str, Any]) -> Credential:
        """By this key, once: the first one's `members` stand. Raises CodeUsed."""

        def change(credential: Credential) -> Credential:
            if credential.thumbprint == thumbprint:
                return credential
            if credential.thumbprint is not None:
                raise CodeUsed
            return credential.model_copy(update={**members, "thumbprint": thumbprint, "redeemed_at": self._now()})

        return await self._change(shown, change)

    def _tried(self, credential: Credential, thumbprint: str) -> Credential:
        """A try is counted before anybody knows what it comes to: else many at once would all be the first.

        Of a token there is nothing to guess.
        """
        if credential.thumbprint == thumbprint:
            return credential
        if credential.thumbprint is not None:
            raise CodeUsed
        if credential.is_expired(self._clock.now()) or credential.tries >= codes.TRIES:
            raise CodeOver
        return credential.model_copy(update={"tries": credential.tries + 1}) if credential.salt else credential

    def _made(self, key: str, secret: str, salt: str, life_s: float, members: dict[str, Any]) -> Credential:
        ends = timestamp(self._clock.now() + timedelta(seconds=life_s))
        return Credential(id=key, salt=salt, digest=codes.digest(salt, secret), expires_at=ends, **members)

    async def _create(self, kind: str, made: Credential) -> bool:
        try:
            await self._documents.put(kind, made.id, made.encode(), version=0, expires_at=self._kept())
        except Conflict:
            return False
        return True

    async def _change(self, shown: Shown, change: Callable[[Credential], Credential]) -> Credential:
        for _ in range(_ATTEMPTS):
            found: Document | None = await self._documents.document(shown.kind, shown.key)
            if found is None:
                raise CodeNotValid
            before = Credential.model_validate_json(found.body)
            after = change(before)
            if after == before:
                return after
            try:
                await self._documents.put(
                    shown.kind, shown.key, after.encode(), version=found.version, expires_at=self._kept()
                )
            except Conflict:
                continue
            return after
        raise Unavailable("too many try this code at once", retry_after_s=1)

    def _kept(self) -> Any:
        return self._clock.now() + timedelta(seconds=codes.KEPT_S)

    def _now(self) -> str:
        return timestamp(self._clock.now())
