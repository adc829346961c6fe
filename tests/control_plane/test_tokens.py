"""Tokens of three audiences, of one issuer, on the same keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from sse_agent.control_plane.problems import Unauthenticated
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.tokens import LOOK_AGAIN_S, Audience, Tokens
from tests.control_plane.test_engine import made
from tests.doubles.clock import FakeClock

ISSUER = "https://control.example"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteEngine]:
    found = made(tmp_path, clock)
    await found.open()
    yield found
    await found.close()


async def opened(engine: SqliteEngine, clock: FakeClock, issuer: str = ISSUER) -> Tokens:
    found = Tokens(engine, clock, issuer)
    await found.open()
    return found


async def test_a_token_is_read_by_another_instance_for_its_audience_alone(
    engine: SqliteEngine, clock: FakeClock
) -> None:
    token, _ = (await opened(engine, clock)).mint(Audience.AGENT, "agent-1", 600, scope="x")
    other = await opened(engine, clock)
    assert (await other.read(Audience.AGENT, token))["sub"] == "agent-1"
    for audience in (Audience.VIEWER, Audience.UPLOAD):
        with pytest.raises(Unauthenticated):
            await other.read(audience, token)
    with pytest.raises(Unauthenticated):
        await (await opened(engine, clock, "https://other.example")).read(Audience.AGENT, token)


async def test_a_token_ends(engine: SqliteEngine, clock: FakeClock) -> None:
    tokens = await opened(engine, clock)
    token, until = tokens.mint(Audience.AGENT, "agent-1", 600)
    assert (until - clock.now()).total_seconds() == 600
    clock.advance(599)
    await tokens.read(Audience.AGENT, token)
    clock.advance(10)
    with pytest.raises(Unauthenticated):
        await tokens.read(Audience.AGENT, token)


async def test_what_another_key_signed_is_refused_and_a_rotated_key_is_read_once_more(
    engine: SqliteEngine, clock: FakeClock, tmp_path: Path
) -> None:
    tokens = await opened(engine, clock)
    token, _ = tokens.mint(Audience.AGENT, "agent-1", 600)
    await tokens.rotate()
    await tokens.read(Audience.AGENT, token)
    await tokens.rotate()
    with pytest.raises(Unauthenticated):
        await tokens.read(Audience.AGENT, token)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "ü"])
async def test_what_is_no_token_is_refused(engine: SqliteEngine, clock: FakeClock, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await (await opened(engine, clock)).read(Audience.AGENT, token)


async def test_a_key_that_another_instance_made_is_looked_up_and_forged_names_cost_one_read_in_two_seconds(
    engine: SqliteEngine, clock: FakeClock
) -> None:
    one, other = await opened(engine, clock), Counting(engine, clock, ISSUER)
    await other.open()
    clock.advance(LOOK_AGAIN_S)
    await one.rotate()
    token, _ = one.mint(Audience.AGENT, "agent-1", 600)
    forged = jwt.encode(
        {"alg": "Ed25519", "kid": "made-up"}, {}, OKPKey.generate_key("Ed25519"), algorithms=["Ed25519"]
    )
    async with anyio.create_task_group() as group:
        # All at once: those behind the first wait for what it finds.
        for _ in range(10):
            group.start_soon(other.read, Audience.AGENT, token)
    assert other.looks == 2
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await other.read(Audience.AGENT, forged)
    assert other.looks == 2
    clock.advance(LOOK_AGAIN_S)
    with pytest.raises(Unauthenticated):
        await other.read(Audience.AGENT, forged)
    assert other.looks == 3


async def test_an_instance_that_reads_tokens_signs_with_no_key_that_another_one_has_dropped(
    engine: SqliteEngine, clock: FakeClock
) -> None:
    one, other = await opened(engine, clock), await opened(engine, clock)
    early, _ = other.mint(Audience.AGENT, "agent-1", 600)
    await one.rotate()
    await other.read(Audience.AGENT, early)
    await one.rotate()
    clock.advance(60)
    with pytest.raises(Unauthenticated):
        await other.read(Audience.AGENT, early)
    await one.read(Audience.AGENT, other.mint(Audience.AGENT, "agent-1", 600)[0])


class Counting(Tokens):
    """Counts how often it looks for keys."""

    looks = 0

    async def open(self) -> None:
        self.looks += 1
        await super().open()
