"""A machine's key becomes an agent's: what the machine sends, and what a person says to it."""

import hashlib
import re
import secrets
from typing import Annotated, Any

from joserfc.jwk import OKPKey
from joserfc.util import to_str, urlsafe_b64encode
from pydantic import StringConstraints, model_validator

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity import assertions, keys
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.identity.credentials import Burnt, Credentials, Shown, shown_code, shown_token
from sse_agent.control_plane.identity.identities import Credential, Identity, Key
from sse_agent.control_plane.identity.limits import WrongTries
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.problems import (
    AgentDeleted,
    CodeNotValid,
    CodeUsed,
    InvalidParameter,
    InvalidProof,
    Unavailable,
    UnknownAgent,
)
from sse_agent.messages import Wire

PATH = "/api/v1/enrollments"
_ATTEMPTS = 20
_SPENT = 19
_SUFFIX = "0123456789abcdefghjkmnpqrstvwxyz"
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")

MachineName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Told = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class Application(Wire):
    """What a machine sends."""

    code: Annotated[str, StringConstraints(max_length=64)] | None = None
    token: Annotated[str, StringConstraints(max_length=256)] | None = None
    name: MachineName
    public_key: dict[str, Any]
    proof: Annotated[str, StringConstraints(max_length=assertions.SIZE)]
    host: _Told = ""
    platform: _Told = ""
    version: _Told = ""

    @model_validator(mode="after")
    def _has_one_credential(self) -> "Application":
        if (self.code is None) == (self.token is None):
            raise ValueError("code or token, one of them")
        return self


class Enrolled(Wire):
    """The answer."""

    client_id: str
    issuer: str
    status: str
    fingerprint: str


class Enrolment:
    """Redeems codes and tokens. Each step can be repeated: the first that is written makes the next attempt finish."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        credentials: Credentials,
        audit: Audit,
        clock: Clock,
        issuer: str,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._credentials = credentials
        self._audit = audit
        self._clock = clock
        self._issuer = issuer
        self._tries = WrongTries(clock)

    async def enrol(self, application: Application, address: str) -> Enrolled:
        """From `address`. Raises InvalidParameter, InvalidProof, CodeNotValid, CodeUsed, CodeOver, TooManyTries."""
        self._tries.check(address)
        try:
            key = keys.public_key(application.public_key)
        except ValueError as wrong:
            raise InvalidParameter(str(wrong)) from None
        shown = self._shown(application, address)
        self._check_proof(application, shown, key)
        try:
            credential = await self._credentials.try_out(shown, key.thumbprint())
        except CodeNotValid as wrong:
            self._tries.count(address)
            if isinstance(wrong, Burnt):
                await self._audit.note("code-burnt", outcome="refused", code=shown.key, address=address)
            raise
        return await self._redeem(application, shown, credential, key)

    def _shown(self, application: Application, address: str) -> Shown:
        if application.token is not None:
            return shown_token(application.token)
        try:
            return shown_code(application.code or "")
        except CodeNotValid:
            self._tries.count(address)
            raise

    def _check_proof(self, application: Application, shown: Shown, key: OKPKey) -> None:
        """Whoever sends this has the key, now, and means this code: what is caught elsewhere is good for nothing."""
        now = self._clock.now()
        try:
            claims = assertions.read(application.proof, key, (self._issuer, self._issuer + PATH), now)
        except assertions.Refused as refused:
            raise InvalidProof(f"the proof: {refused}", timestamp(now)) from None
        meant = shown.key + shown.secret if shown.is_code else shown.secret
        if claims.get("credential_sha256") != credential_sha256(meant):
            raise InvalidProof("the proof: credential_sha256 is not that of this code or token", timestamp(now))

    async def _redeem(self, application: Application, shown: Shown, credential: Credential, key: OKPKey) -> Enrolled:
        is_first = credential.thumbprint is None
        if is_first:
            members = {
                "client_id": credential.client_id or await self._new_client_id(credential.name or application.name),
                "fingerprint": keys.fingerprint(key),
                "machine": {
                    "name": credential.name or application.name,
                    "host": application.host,
                    "platform": application.platform,
                    "version": application.version,
                },
            }
            credential = await self._credentials.redeem(shown, key.thumbprint(), members)
        identity = await self._admit(credential, shown, key)
        if identity.status == "active":
            await self._engine.enlist([identity.client_id])
        status = identity.status_of(key.thumbprint())
        await self._audit.note(
            "enrolled",
            by=credential.made_by,
            actor=credential.actor,
            client_id=identity.client_id,
            # What it came to then: a repetition of a request may find more decided.
            outcome="refused" if status == "refused" else "pending" if shown.is_code else "active",
            key=f"enrolled {shown.kind} {shown.key} {credential.redeemed_at}",
            fingerprint=keys.fingerprint(key),
        )
        return Enrolled(
            client_id=identity.client_id, issuer=self._issuer, status=status, fingerprint=keys.fingerprint(key)
        )

    async def _admit(self, credential: Credential, shown: Shown, key: OKPKey) -> Identity:
        """The identity, with this key in it as the credential says."""
        client_id, fresh = credential.client_id or "", self._key(credential, key)
        spent = f"{shown.key} {credential.redeemed_at}"

        def admitted(identity: Identity) -> Identity:
            if spent in identity.spent or identity.status == "deleted":
                return identity
            if identity.spent and not credential.is_bound:
                raise CodeUsed
            identity = identity.model_copy(update={"spent": [*identity.spent[-_SPENT:], spent]})
            return _waiting(identity, fresh) if shown.is_code else in_use(identity, fresh, fresh.created_at)

        if await self._registry.find(client_id) is None:
            name = credential.machine.get("name", client_id)
            made = Identity(client_id=client_id, name=name, status="pending", enrolled_at=fresh.created_at)
            if await self._registry.create(admitted(made)):
                return admitted(made)
        after = await self._registry.change(client_id, admitted)
        assert after is not None  # noqa: S101 - identities stay for ever
        return after

    def _key(self, credential: Credential, key: OKPKey) -> Key:
        machine = {name: credential.machine.get(name, "") for name in ("host", "platform", "version")}
        return Key(
            public_key=keys.as_jwk(key),
            thumbprint=key.thumbprint(),
            fingerprint=keys.fingerprint(key),
            created_at=credential.redeemed_at or timestamp(self._clock.now()),
            **machine,
        )

    async def _new_client_id(self, name: str) -> str:
        """Readable, and never given out before."""
        stem = _NOT_IN_A_NAME.sub("-", name.lower()).strip("-")[:48] or "agent"
        for _ in range(_ATTEMPTS):
            client_id = f"{stem}-{''.join(secrets.choice(_SUFFIX) for _ in range(6))}"
            if await self._registry.find(client_id) is None and not await is_known(self._engine, client_id):
                return client_id
        raise Unavailable("no client ID is free", retry_after_s=1)


async def is_known(engine: Engine, client_id: str) -> bool:
    """Whether the engine has such an agent, or had one."""
    try:
        await engine.agent(client_id)
    except UnknownAgent:
        return False
    except AgentDeleted:
        return True
    return True


def in_use(identity: Identity, key: Key, at: str) -> Identity:
    """From now on this key counts, and no other."""
    return identity.model_copy(
        update={
            "status": "active",
            "key": key,
            "key_version": identity.key_version + 1,
            "next_key": None,
            "waiting": None,
            "confirmed_at": at,
        }
    )


def _waiting(identity: Identity, key: Key) -> Identity:
    status = "pending" if identity.key is None else identity.status
    return identity.model_copy(update={"waiting": key, "status": status})


def credential_sha256(credential: str) -> str:
    """What a proof says of the code (eight letters, no dash) or token that it is for."""
    return to_str(urlsafe_b64encode(hashlib.sha256(credential.encode()).digest()))
