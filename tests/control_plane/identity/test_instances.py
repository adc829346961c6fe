"""Several instances of one control plane, on one Redis: what one decides the others know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from sse_agent.control_plane.identity import codes
from sse_agent.control_plane.identity.registry import REMEMBERED_S
from sse_agent.control_plane.redis import RedisEngine
from tests.control_plane.identity.machines import Machine, grant_form, speaker_headers
from tests.control_plane.identity.office import ISSUER, Office, Ringing, office
from tests.control_plane.identity.test_enrolment import wrong
from tests.control_plane.identity.test_expiry import command, opened
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Whole
from tests.doubles.planes import slug
from tests.doubles.redis_server import RedisServer

Two = tuple[Office, Office]


def _engine(server: RedisServer, clock: FakeClock, ringing: Ringing) -> Whole:
    return RedisEngine(
        server.url,
        clock,
        ringing,
        queue_limit=100,
        identity_changed=ringing.identity_changed,
        missed=ringing.missed,
    )


@pytest.fixture
async def two(redis: RedisServer, tmp_path: Path) -> AsyncIterator[Two]:
    clock = FakeClock()
    make = partial(_engine, redis, clock)
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(office(tmp_path, clock, make)),
            await stack.enter_async_context(office(tmp_path, clock, make)),
        )


async def test_a_machine_is_enrolled_by_whichever_instance_it_meets(two: Two) -> None:
    one, other = two
    machine = Machine(ISSUER)
    code = await one.code()
    answer = await other.enrol(machine, code=code)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert (await one.state_of(code))["status"] == "redeemed"
    assert (await one.confirm(machine, answer.json()["fingerprint"])).status_code == 200
    assert (await other.enrol(machine, code=code)).json()["status"] == "active"
    token = await other.access(machine)
    path = f"/api/v1/agents/{machine.client_id}/uploads/f/token"
    assert slug(await one.client.post(path, headers=speaker_headers(token))) == "no-upload-tokens"


async def test_an_assertion_that_one_has_seen_is_refused_by_the_other(two: Two) -> None:
    one, other = two
    machine = await one.enrolled()
    form = grant_form(machine.assertion(one.clock.now()))
    answers = await asyncio.gather(*(place.client.post("/api/v1/token", data=form) for place in (one, other) * 3))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 5


async def test_five_wrong_tries_are_five_over_all_instances(two: Two) -> None:
    code = await two[0].code()
    guesses = [
        two[number % 2].enrol(Machine(ISSUER), address=f"203.0.113.{number}", code=wrong(code, number))
        for number in range(12)
    ]
    answers = await asyncio.gather(*guesses)
    assert sum(answer.status_code == 403 for answer in answers) == codes.TRIES
    assert (await two[1].state_of(code))["status"] == "burnt"


async def test_one_code_lets_one_machine_in_though_two_instances_are_asked_at_once(two: Two) -> None:
    for secret in ({"code": await two[0].code()}, {"token": await two[0].token()}):
        answers = await asyncio.gather(*(two[number % 2].enrol(Machine(ISSUER), **secret) for number in range(6)))
        assert [answer.status_code for answer in answers].count(201) == 1


async def test_what_one_has_revoked_is_void_at_the_other_within_seconds(two: Two) -> None:
    one, other = two
    replaced, deleted = await one.enrolled(), await one.enrolled()
    shown = {machine.client_id: speaker_headers(await one.access(machine)) for machine in (replaced, deleted)}

    async def answer_of(machine: Machine) -> str:
        path = f"/api/v1/agents/{machine.client_id}/uploads/f/token"
        return slug(await other.client.post(path, headers=shown[machine.client_id]))

    assert [await answer_of(machine) for machine in (replaced, deleted)] == ["no-upload-tokens"] * 2
    assert (await one.enrol(Machine(ISSUER), token=await one.token(clientId=replaced.client_id))).status_code == 201
    assert (await one.ask("DELETE", f"/api/v1/agents/{deleted.client_id}")).status_code == 204
    # A deletion is known at once: the queue itself says so.
    assert await answer_of(deleted) == "agent-deleted"
    other.clock.advance(REMEMBERED_S)
    assert await answer_of(replaced) == "unauthenticated"
    assert await answer_of(deleted) == "agent-deleted"


async def test_a_key_that_one_replaced_rotated_or_deleted_ends_its_stream_at_the_other_at_once(two: Two) -> None:
    one, other = two
    replaced, deleted, spared = [await one.enrolled() for _ in range(3)]
    async with opened(other, replaced) as first, opened(other, deleted) as second, opened(other, spared) as third:
        for stream in (first, second, third):
            await stream.has(b"HELLO")
        # No second passes on this clock: neither memories nor tokens end.
        assert (await one.enrol(Machine(ISSUER), token=await one.token(clientId=replaced.client_id))).status_code == 201
        await first.ended()
        assert (await one.ask("DELETE", f"/api/v1/agents/{deleted.client_id}")).status_code == 204
        await second.ended()
        new = Machine(ISSUER, client_id=spared.client_id)
        body = spared.rotation(one.clock.now(), new.key)
        path = f"/api/v1/agents/{spared.client_id}/key"
        headers = speaker_headers(await one.access(spared))
        assert (await one.client.post(path, json=body, headers=headers)).status_code == 200
        await command(one, spared, "both-keys-are-good")
        await third.has(b"event: HEARTBEAT")
        await one.access(new)
        await third.ended()


async def test_a_key_that_was_replaced_while_wake_ups_were_lost_ends_its_stream_once_that_is_noticed(two: Two) -> None:
    one, other = two
    machine = await one.enrolled()
    async with opened(other, machine) as stream:
        await stream.has(b"HELLO")
        document = await one.engine.document("identities", machine.client_id)
        assert document is not None
        replaced = document.body.replace(b'"keyVersion":1', b'"keyVersion":2')
        # As if it had been written by a script whose wake-up got lost.
        store = one.engine._store  # type: ignore[attr-defined]
        line = f"{document.version + 1} - ".encode() + replaced
        await store.write("HSET", "sse-agent:documents:identities", machine.client_id, line)
        await command(one, machine, "it-knows-nothing-yet")
        await stream.has(b"event: HEARTBEAT")
        # Counted, and not heard.
        await store.write("INCR", "sse-agent:wakes")
        await command(one, machine, "one-number-is-missing")
        await stream.ended()
