"""The real application on a real database, in this process, by a clock that stands still; services that ask it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sse_agent.control_plane.api import Api
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells, agent_topic
from sse_agent.control_plane.engine import Report
from sse_agent.control_plane.identity import parts
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.ordering import Ordering
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.streams import Streams
from tests.control_plane.identity.machines import Machine, grant_form
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Whole

ISSUER = "https://control.example"
SERVICE, FIXED = "service-token", "fixed-agent"


@dataclass
class Office:
    """What a test needs of it."""

    engine: Whole
    clock: FakeClock
    parts: parts.Parts
    bells: Bells
    streams: Streams
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A service asks."""
        headers = {"Authorization": f"Bearer {SERVICE}", **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def code(self, **members: Any) -> str:
        """A new pairing code."""
        answer = await self.ask("POST", "/api/v1/pairing-codes", json=members)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["code"]
        return found

    async def token(self, **members: Any) -> str:
        """A new enrolment token."""
        answer = await self.ask("POST", "/api/v1/enrollment-tokens", json=members)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["token"]
        return found

    async def state_of(self, code: str) -> dict[str, Any]:
        """What became of it."""
        answer = await self.ask("GET", f"/api/v1/pairing-codes/{code[:4]}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def enrol(self, machine: Machine, address: str = "198.51.100.7", **what: Any) -> httpx.Response:
        """A machine asks: `code=` or `token=`, and members that replace others."""
        body = machine.application(self.clock.now(), **what)
        transport = httpx.ASGITransport(self.client._transport.app, client=(address, 1))  # type: ignore[attr-defined]
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            answer = await client.post("/api/v1/enrollments", json=body)
        if answer.status_code == 201:
            machine.client_id = answer.json()["clientId"]
        return answer

    async def confirm(self, machine: Machine, fingerprint: str, **more: Any) -> httpx.Response:
        """A person says yes."""
        path = f"/api/v1/agents/{machine.client_id}/confirm"
        return await self.ask("POST", path, json={"fingerprint": fingerprint, **more})

    async def enrolled(self, **of_code: Any) -> Machine:
        """A machine that is an agent."""
        machine = Machine(ISSUER)
        answer = await self.enrol(machine, code=await self.code(**of_code))
        assert answer.status_code == 201, answer.text
        assert (await self.confirm(machine, answer.json()["fingerprint"])).status_code == 200
        return machine

    async def grant(self, machine: Machine, **claims: Any) -> httpx.Response:
        """A machine asks for an access token; members of `claims` replace others."""
        form = grant_form(machine.assertion(self.clock.now(), **claims))
        return await self.client.post("/api/v1/token", data=form)

    async def access(self, machine: Machine) -> str:
        """An access token."""
        answer = await self.grant(machine)
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["access_token"]
        return found

    async def audit(self) -> list[dict[str, Any]]:
        """Its lines."""
        return [json.loads(entry.body) for entry in await self.engine.entries("audit")]


class Ringing:
    """What the engine says has changed → the streams."""

    def __init__(self, bells: Bells) -> None:
        self._bells = bells
        self.registry: Registry

    def queue_changed(self, client_id: str) -> None:
        self._bells.ring(agent_topic(client_id))

    def command_changed(self, command_id: str) -> None:
        pass

    def reported(self, client_id: str, report: Report) -> None:
        pass

    def identity_changed(self, client_id: str) -> None:
        self.registry.doubt(client_id)

    def missed(self) -> None:
        if hasattr(self, "registry"):
            self.registry.doubt_all()
        self._bells.ring_all()


Make = Callable[[Ringing], Whole]


@asynccontextmanager
async def office(folder: Path, clock: FakeClock, make: Make | None = None) -> AsyncIterator[Office]:
    """Open until the block ends. The same folder again is the same control plane, restarted. `make`: another engine."""
    bells, attendance = Bells(), Attendance(clock, 15)
    ringing = Ringing(bells)
    engine = make(ringing) if make else SqliteEngine(folder / "control-plane.db", clock, ringing, queue_limit=100)
    await engine.open()
    try:
        await engine.enlist([FIXED])
        found = await parts.opened(
            engine,
            engine,
            clock,
            ISSUER,
            agents={FIXED: "fixed-token"},
            services={"service": SERVICE, "laravel": "next-token"},
            on_change=lambda client_id: bells.ring(agent_topic(client_id)),
        )
        ringing.registry = found.registry
        ordering = Ordering(engine, found.audit, clock, per_s=1000)
        app = Api(engine, found.access, bells, attendance, found.administration, ordering, clock).app()
        found.endpoints.add_to(app)
        streams = Streams(engine, found.access, bells, attendance, clock, 15)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as client:
            yield Office(engine, clock, found, bells, streams, client)
    finally:
        await engine.close()
