"""Upload tokens: each admits the uploads of one file of one agent to the tus server, and nothing else."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import pydantic_core

from sse_agent.clock import Clock
from sse_agent.control_plane.documents import Conflict, Document, Documents, upload_key
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.problems import AgentDeleted, NoUploadTokens, Unauthenticated, UnknownAgent
from sse_agent.control_plane.tokens import Audience, Tokens
from sse_agent.messages import AckStatus

KEPT = timedelta(days=90)
"""How long an upload may be begun after the command for it, or after the last renewal of its token."""
_KIND = "commanded-uploads"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an upload is not admitted. `is_token`: another token may help. `reason` is for the agent's log."""

    is_token: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Start:
    """The command that counts. `size`: bytes, if it named them; `command`: None of documents of earlier versions."""

    size: int | None
    command: str | None = None


class Admission:
    """What was commanded, as documents: a token alone must not let in what nobody asked for."""

    def __init__(self, engine: Engine, documents: Documents, tokens: Tokens, clock: Clock, life_s: float) -> None:
        self._engine = engine
        self._documents = documents
        self._tokens = tokens
        self._clock = clock
        self._life_s = life_s

    async def command(self, client_id: str, file_id: str, command: str, size: int | None) -> str:
        """An upload is commanded: its token. The size (bytes) of the first command counts that was not refused."""
        while True:
            found = await self._documents.document(_KIND, upload_key(client_id, file_id))
            start = _Start(size, command)
            if found is not None and not await self._is_refused(client_id, _start(found)):
                start = _start(found)
            try:
                await self._write(client_id, file_id, found, start)
            except Conflict:
                continue
            return self._mint(client_id, file_id)[0]

    async def _is_refused(self, client_id: str, start: _Start) -> bool:
        """By its agent, or before it came into the queue."""
        if start.command is None:
            return False
        try:
            found = await self._engine.commands(client_id, [start.command])
        except (UnknownAgent, AgentDeleted):
            return False  # Nothing is admitted for it, and whoever queues the command says so.
        return not found or found[0].outcome == AckStatus.REJECTED

    async def renew(self, client_id: str, file_id: str) -> tuple[str, datetime]:
        """A fresh token, and when it ends. Raises NoUploadTokens for what was never commanded."""
        found = await self._documents.document(_KIND, upload_key(client_id, file_id))
        if found is None:
            raise NoUploadTokens("nobody commanded this upload, or it was long ago; command it again")
        # In conflict somebody else has just renewed it.
        with suppress(Conflict):
            await self._write(client_id, file_id, found, _start(found))
        return self._mint(client_id, file_id)

    async def judge(self, token: str | None, metadata: Mapping[str, str], size: int | None) -> Refused | None:
        """Whether the tus server may create this upload; None: yes. `size` is None where it comes later."""
        if not token:
            return Refused(True, "the request carries no upload token")
        try:
            claims = await self._tokens.read(Audience.UPLOAD, token)
        except Unauthenticated:
            return Refused(True, "the upload token is not valid, or over")
        client_id, file_id = str(claims["sub"]), str(claims.get("file_id", ""))
        if (metadata.get("clientId"), metadata.get("fileId")) != (client_id, file_id):
            return Refused(False, "the upload token is for another file or another agent")
        try:
            await self._engine.agent(client_id)
        except (UnknownAgent, AgentDeleted):
            return Refused(False, "the agent was deleted, or is not known")
        found = await self._documents.document(_KIND, upload_key(client_id, file_id))
        if found is None:
            return Refused(False, "nobody commanded this upload")
        if size is None:
            return Refused(False, "the upload must tell its size when it is created")
        commanded = _start(found).size
        if commanded is not None and commanded != size:
            return Refused(False, f"the command says {commanded} bytes, the upload has {size}")
        return None

    async def _write(self, client_id: str, file_id: str, found: Document | None, start: _Start) -> None:
        await self._documents.put(
            _KIND,
            upload_key(client_id, file_id),
            pydantic_core.to_json(asdict(start)),
            version=0 if found is None else found.version,
            expires_at=self._clock.now() + KEPT,
        )

    def _mint(self, client_id: str, file_id: str) -> tuple[str, datetime]:
        return self._tokens.mint(Audience.UPLOAD, client_id, self._life_s, file_id=file_id)


def _start(found: Document) -> _Start:
    return _Start(**pydantic_core.from_json(found.body))
