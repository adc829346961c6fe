"""A stream ends with its token, and with its key: the real endpoint, by a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sse_agent.control_plane.bells import agent_topic
from tests.control_plane.identity.machines import Machine, speaker_headers
from tests.control_plane.identity.office import ISSUER, Office

WITHIN_S = 20.0


class Open:
    """One request at the stream endpoint, as the server would make it."""

    def __init__(self, office: Office, machine: Machine, headers: dict[str, str]) -> None:
        self._office = office
        self._machine = machine
        self._headers = headers
        self.status = 0
        self.body = b""
        self._sent = asyncio.Event()
        self.task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        encoded = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
        scope = {"type": "http", "method": "GET", "headers": encoded, "query_string": b"wait=60"}

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            self.status = message.get("status", self.status)
            self.body += message.get("body", b"")
            self._sent.set()

        await self._office.streams.serve(self._machine.client_id, scope, receive, send)

    async def has(self, text: bytes, times: int = 1) -> None:
        """Wait until that was sent so many times."""
        with anyio.fail_after(WITHIN_S):
            while self.body.count(text) < times:
                self._sent.clear()
                await self._sent.wait()

    async def ended(self) -> None:
        """Wait until it is over."""
        with anyio.fail_after(WITHIN_S):
            await self.task

    def wake(self) -> None:
        """It looks again, as it would at any heartbeat."""
        self._office.bells.ring(agent_topic(self._machine.client_id))


@asynccontextmanager
async def opened(office: Office, machine: Machine, accept: str = "text/event-stream") -> AsyncIterator[Open]:
    """A stream, or a long poll."""
    found = Open(office, machine, speaker_headers(await office.access(machine), Accept=accept))
    try:
        yield found
    finally:
        found.task.cancel()


async def is_there(office: Office, machine: Machine) -> None:
    """Wait until its stream or poll is held."""
    with anyio.fail_after(WITHIN_S):
        while not (await office.ask("GET", f"/api/v1/agents/{machine.client_id}")).json()["presence"]["connected"]:
            pass


async def command(office: Office, machine: Machine, key: str) -> None:
    answer = await office.ask(
        "POST",
        f"/api/v1/agents/{machine.client_id}/commands",
        json={"type": "HEARTBEAT"},
        headers={"Idempotency-Key": key},
    )
    assert answer.status_code == 202


async def test_a_stream_outlives_its_token_by_a_minute_and_no_longer(open_office: Office) -> None:
    machine = await open_office.enrolled()
    async with opened(open_office, machine) as stream:
        await stream.has(b"HELLO")
        open_office.clock.advance(659)
        await command(open_office, machine, "late")
        # It is still there, and carries.
        await stream.has(b"event: HEARTBEAT")
        open_office.clock.advance(2)
        stream.wake()
        await stream.ended()
    assert stream.status == 200


async def test_a_stream_whose_key_is_replaced_ends_at_once(open_office: Office) -> None:
    machine = await open_office.enrolled()
    async with opened(open_office, machine) as stream:
        await stream.has(b"HELLO")
        token = await open_office.token(clientId=machine.client_id)
        assert (await open_office.enrol(Machine(ISSUER), token=token)).status_code == 201
        await stream.ended()
        assert b"event: HEARTBEAT" not in stream.body


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_stream_or_poll_of_a_deleted_agent_ends_at_once_and_no_other(open_office: Office, accept: str) -> None:
    machine, other = await open_office.enrolled(), await open_office.enrolled()
    async with opened(open_office, machine, accept) as first, opened(open_office, other) as spared:
        await spared.has(b"HELLO")
        await is_there(open_office, machine)
        assert (await open_office.ask("DELETE", f"/api/v1/agents/{machine.client_id}")).status_code == 204
        await first.ended()
        await command(open_office, other, f"spared-{accept[:4]}")
        await spared.has(b"event: HEARTBEAT")


async def test_a_stream_of_a_key_that_was_rotated_goes_on_until_the_new_one_is_used(open_office: Office) -> None:
    machine = await open_office.enrolled()
    async with opened(open_office, machine) as stream:
        await stream.has(b"HELLO")
        new = Machine(ISSUER, client_id=machine.client_id)
        token = await open_office.access(machine)
        answer = await open_office.client.post(
            f"/api/v1/agents/{machine.client_id}/key",
            json=machine.rotation(open_office.clock.now(), new.key),
            headers=speaker_headers(token),
        )
        assert answer.status_code == 200
        await command(open_office, machine, "still")
        await stream.has(b"event: HEARTBEAT")
        await open_office.access(new)
        await stream.ended()


async def test_a_poll_does_not_outlive_its_token_by_more_than_a_minute(open_office: Office) -> None:
    machine = await open_office.enrolled()
    token = await open_office.access(machine)
    open_office.clock.advance(603)
    # Five seconds of difference between clocks are allowed for, so this is still let in.
    call = await open_office.parts.access.require_agent(
        machine.client_id, {name.lower(): value for name, value in speaker_headers(token).items()}
    )
    assert open_office.streams._ends_at(call) - open_office.clock.monotonic() == 57
