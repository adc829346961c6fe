"""Whom the checks speak as: an agent, and a service."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from sse_agent import __version__
from sse_agent.clock import Clock, timestamp
from sse_agent.conformance.check import Broken, expect
from sse_agent.conformance.peer import Answer, Peer, Stream, Token
from sse_agent.messages import AckStatus, CommandType, EventType

PAGE = 1000
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """Who speaks for an agent. `later()` is its next start; a copy with another instance is a clone."""

    peer: Peer
    clock: Clock
    client_id: str
    token: Token
    journal: str = field(default_factory=lambda: str(uuid.uuid4()))
    epoch: int = 1
    instance: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def path(self) -> str:
        """Where everything of this agent is."""
        return f"/api/v1/agents/{quote(self.client_id, safe='')}"

    @property
    def headers(self) -> dict[str, str]:
        """The three that say who speaks."""
        return {"Agent-Journal": self.journal, "Agent-Epoch": str(self.epoch), "Agent-Instance": self.instance}

    def later(self, by: int = 1) -> "Agent":
        """The same journal, started again."""
        return replace(self, epoch=self.epoch + by, instance=str(uuid.uuid4()))

    @asynccontextmanager
    async def stream(self, cursor: str | None) -> AsyncIterator[Stream]:
        """An open stream, whatever was answered."""
        at = {"Last-Event-ID": cursor} if cursor is not None else {}
        async with self.peer.stream(f"{self.path}/stream", self.token, {**self.headers, **at}) as stream:
            yield stream

    async def poll(self, cursor: str | None, wait: int = 0) -> Answer:
        """A long poll."""
        at = {"Last-Event-ID": cursor} if cursor is not None else {}
        headers = {**self.headers, **at, "Accept": "application/json"}
        return await self.peer.ask("GET", f"{self.path}/stream?wait={wait}", self.token, headers=headers)

    def message(self, kind: str = EventType.MESSAGE, payload: Mapping[str, Any] | None = None, **more: Any) -> Message:
        """One event; what `more` names is set. Without a payload it is a chat line."""
        text = {"text": "a message of the conformance checks", "from": "conformance"}
        head = {"type": str(kind), "id": uuid.uuid4().hex, "timestamp": timestamp(self.clock.now())}
        return {**head, "clientId": self.client_id, "payload": text if payload is None else dict(payload), **more}

    def ack(self, command_id: str, status: str = AckStatus.COMPLETED) -> Message:
        """An ACK."""
        return self.message(EventType.ACK, {"commandId": command_id, "status": str(status)}, inReplyTo=command_id)

    async def post(self, body: object, key: str | None, **headers: str) -> Answer:
        """Whatever it is, under that key."""
        all_headers = {**self.headers, **headers}
        if key is not None:
            all_headers["Idempotency-Key"] = key
        return await self.peer.ask("POST", f"{self.path}/messages", self.token, headers=all_headers, body=body)

    async def report(self, message: Message) -> Answer:
        """One message."""
        return await self.post(message, message["id"])

    async def batch(self, messages: Sequence[Message]) -> Answer:
        """Several."""
        return await self.post({"messages": list(messages)}, messages[0]["id"])

    def connected(self, cursor: str | None) -> Message:
        """CLIENT_CONNECTED."""
        state = {"uploads": {}, "unfinished": [], "allowedFolders": [], "capabilities": ["conformance"]}
        who = {"version": __version__, "platform": "conformance", "hostname": "conformance"}
        at = {"cursor": cursor} if cursor is not None else {}
        return self.message(EventType.CLIENT_CONNECTED, {**who, **state, **at})


class Service:
    """What the UI calls, with its token."""

    def __init__(self, peer: Peer, token: Token, client_id: str) -> None:
        self._peer = peer
        self.token = token
        self.path = f"/api/v1/agents/{client_id}"

    async def get(self, path: str, within_s: float = 90.0) -> Answer:
        """Any resource."""
        return await self._peer.ask("GET", path, self.token, within_s=within_s)

    async def post(self, path: str, body: object = None, key: str | None = None) -> Answer:
        """Any POST."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await self._peer.ask("POST", path, self.token, headers=headers, body=body)

    async def delete(self, path: str) -> Answer:
        """Any DELETE."""
        return await self._peer.ask("DELETE", path, self.token)

    async def order(self, key: str, kind: str = CommandType.HEARTBEAT, **body: Any) -> Answer:
        """Queue one command."""
        return await self.post(f"{self.path}/commands", {"type": str(kind), "payload": {}, **body}, key)

    async def command(self, command_id: str, wait: int = 0) -> Message:
        """Outcome and replies so far. Raises Broken."""
        answer = await self.get(f"/api/v1/commands/{command_id}?wait={wait}")
        expect(answer.status == 200, f"GET /commands/{{id}} answered {answer.status}")
        found: Message = answer.json()
        return found

    async def one(self, path: str) -> Message:
        """A resource that must be there. Raises Broken."""
        answer = await self.get(path)
        expect(answer.status == 200, f"GET {path} answered {answer.status}, not 200")
        found: Message = answer.json()
        return found

    async def all_of(self, path: str, name: str, after: object = None) -> list[Message]:
        """A list's rows, from `after` on. Raises Broken."""
        behind = "" if after is None else f"&after={quote(str(after)[:1000], safe='')}"
        found = (await self.one(f"{path}?limit={PAGE}{behind}")).get(name)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise Broken(f"the answer has no list called {name}")
        return found
