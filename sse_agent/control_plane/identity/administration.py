"""What services decide about agents' identities, for the people behind them."""

from datetime import datetime
from typing import Any, NamedTuple

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane.access import Viewer
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity import codes, keys
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.identity.credentials import Credentials
from sse_agent.control_plane.identity.enrolment import in_use, is_known
from sse_agent.control_plane.identity.identities import Credential, Identity
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.identity.told import CodeMade, CodeTold, EnrolmentTold, TokenMade, Waiting
from sse_agent.control_plane.problems import AgentDeleted, UnknownAgent, WrongFingerprint
from sse_agent.control_plane.tokens import Audience, Tokens


class Asker(NamedTuple):
    """For the audit log: the service that asks, and the person. One of them may not be known."""

    by: str | None
    actor: str | None


def asker(viewer: Viewer, said: str | None) -> Asker:
    """A service says who the person is; a person is who the token says, whatever else is said."""
    return Asker(viewer.subject, said) if viewer.is_service else Asker(None, viewer.subject)


class Administration:
    """What it decides, and the audit log of it."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        credentials: Credentials,
        tokens: Tokens,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._credentials = credentials
        self._tokens = tokens
        self._audit = audit
        self._clock = clock

    async def make_code(self, who: Asker, name: str | None, client_id: str | None) -> CodeMade:
        """A pairing code. Raises UnknownAgent, AgentDeleted if it shall be bound to one."""
        await self._check_bound(client_id)
        code, made = await self._credentials.make_code(
            name=name, actor=who.actor, made_by=who.by, client_id=client_id, is_bound=client_id is not None
        )
        await self._audit.note("code-made", by=who.by, actor=who.actor, client_id=client_id, code=made.id)
        return CodeMade(code=code, id=made.id, expires_at=made.expires_at)

    async def make_token(self, who: Asker, name: str | None, client_id: str | None) -> TokenMade:
        """An enrolment token. Raises as `make_code`."""
        await self._check_bound(client_id)
        token, made = await self._credentials.make_token(
            name=name, actor=who.actor, made_by=who.by, client_id=client_id, is_bound=client_id is not None
        )
        await self._audit.note("token-made", by=who.by, actor=who.actor, client_id=client_id)
        return TokenMade(token=token, expires_at=made.expires_at)

    async def code(self, code_id: str) -> CodeTold:
        """What became of a code. Raises UnknownCode."""
        credential = await self._credentials.code(code_id.upper())
        told = CodeTold(
            id=credential.id,
            status=await self._code_status(credential),
            expires_at=credential.expires_at,
            client_id=credential.client_id,
            fingerprint=credential.fingerprint,
            redeemed_at=credential.redeemed_at,
            name=credential.name,
        )
        return told.model_copy(update=credential.machine)

    async def waiting(self, after: str, limit: int) -> list[EnrolmentTold]:
        """Whatever waits to be confirmed."""
        return [told(identity, self._clock.now()) for identity in await self._registry.waiting(after, limit)]

    async def confirm(self, who: Asker, client_id: str, fingerprint: str) -> EnrolmentTold:
        """Yes. Raises UnknownAgent, AgentDeleted, WrongFingerprint."""
        at = timestamp(self._clock.now())
        replaced = False

        def change(identity: Identity) -> Identity:
            nonlocal replaced
            _check_there(identity)
            if identity.waiting is not None and keys.is_fingerprint(fingerprint, identity.waiting.fingerprint):
                replaced = identity.key is not None
                return in_use(identity, identity.waiting, at)
            if identity.key is not None and keys.is_fingerprint(fingerprint, identity.key.fingerprint):
                return identity
            raise WrongFingerprint

        try:
            identity = await self._registry.change(client_id, change)
        except WrongFingerprint:
            await self._audit.note(
                "confirmed", by=who.by, actor=who.actor, client_id=client_id, outcome="wrong-fingerprint"
            )
            raise
        if identity is None:
            raise UnknownAgent
        await self._engine.enlist([client_id])
        deed = "key-replaced" if replaced else "confirmed"
        key = f"confirmed {client_id} {identity.key_version}"
        await self._audit.note(
            deed, by=who.by, actor=who.actor, client_id=client_id, key=key, fingerprint=_fingerprint(identity)
        )
        return told(identity, self._clock.now())

    async def refuse(self, who: Asker, client_id: str) -> None:
        """No. Whoever has another key keeps it. Raises UnknownAgent, AgentDeleted."""
        was_waiting = False

        def change(identity: Identity) -> Identity:
            nonlocal was_waiting
            _check_there(identity)
            was_waiting = identity.waiting is not None
            return identity.without_waiting()

        if await self._registry.change(client_id, change) is None:
            raise UnknownAgent
        if was_waiting:
            await self._audit.note("refused", by=who.by, actor=who.actor, client_id=client_id)

    async def delete(self, who: Asker, client_id: str) -> None:
        """For ever, with its keys; also one that still waits. Raises UnknownAgent."""

        def change(identity: Identity) -> Identity:
            if identity.status == "deleted":
                return identity
            # The keys stay, so that whoever has one can be told.
            ended = {"status": "deleted", "waiting": None, "key_version": identity.key_version + 1}
            return identity.model_copy(update=ended)

        # The identity first: it gives no new token then, whatever happens in between; a repetition does the rest.
        identity = await self._registry.change(client_id, change)
        try:
            await self._engine.delete(client_id)
        except UnknownAgent:
            if identity is None:
                raise
        await self._audit.note("deleted", by=who.by, actor=who.actor, client_id=client_id, key=f"deleted {client_id}")

    async def readmit(self, who: Asker, client_id: str, key: str, digest: bytes) -> None:
        """A restored machine. Raises as `Engine.readmit`."""
        await self._engine.readmit(client_id, key, digest)
        await self._audit.note(
            "readmitted", by=who.by, actor=who.actor, client_id=client_id, key=f"readmitted {client_id} {key}"
        )

    async def viewer_token(
        self, who: Asker, subject: str, agents: list[str] | None, scopes: list[str], seconds: int
    ) -> TokenMade:
        """For a browser. `agents`: None for all."""
        claims: dict[str, Any] = {"agents": "*" if agents is None else agents, "scopes": scopes}
        token, ends_at = self._tokens.mint(Audience.VIEWER, subject, seconds, **claims)
        await self._audit.note(
            "viewer-token-minted", by=who.by, actor=who.actor, subject=subject, seconds=seconds, **claims
        )
        return TokenMade(token=token, expires_at=timestamp(ends_at))

    async def enrolments(self, after: str, last: str) -> dict[str, dict[str, Any]]:
        """Of the agents behind `after` up to `last` that have one: what `enrollment` says of them."""
        found = await self._registry.between(after, last)
        now = self._clock.now()
        return {client_id: told(identity, now).to_wire() for client_id, identity in found.items()}

    async def enrolment(self, client_id: str) -> dict[str, Any] | None:
        """Of one agent."""
        identity = await self._registry.find(client_id)
        return None if identity is None else told(identity, self._clock.now()).to_wire()

    async def _check_bound(self, client_id: str | None) -> None:
        if client_id is None:
            return
        identity = await self._registry.find(client_id)
        if identity is not None:
            _check_there(identity)
        elif not await is_known(self._engine, client_id):
            raise UnknownAgent

    async def _code_status(self, credential: Credential) -> Any:
        if credential.thumbprint is None:
            if credential.is_expired(self._clock.now()):
                return "expired"
            return "burnt" if credential.tries >= codes.TRIES else "open"
        identity = await self._registry.find(credential.client_id or "")
        became = "pending" if identity is None else identity.status_of(credential.thumbprint)
        return {"pending": "redeemed", "active": "confirmed", "refused": "refused"}[became]


def told(identity: Identity, now: datetime) -> EnrolmentTold:
    """What services see of it."""
    key, waiting = identity.key or identity.waiting, identity.waiting
    return EnrolmentTold(
        client_id=identity.client_id,
        status=identity.status,
        name=identity.name,
        enrolled_at=identity.enrolled_at,
        confirmed_at=identity.confirmed_at,
        fingerprint=key.fingerprint if key else None,
        host=key.host if key else "",
        platform=key.platform if key else "",
        version=key.version if key else "",
        key_created_at=key.created_at if key else None,
        key_age_seconds=(now - parse_timestamp(key.created_at)).total_seconds() if key else None,
        waiting=None
        if waiting is None
        else Waiting(
            fingerprint=waiting.fingerprint,
            host=waiting.host,
            platform=waiting.platform,
            version=waiting.version,
            enrolled_at=waiting.created_at,
        ),
    )


def _fingerprint(identity: Identity) -> str | None:
    return identity.key.fingerprint if identity.key else None


def _check_there(identity: Identity) -> None:
    if identity.status == "deleted":
        raise AgentDeleted
