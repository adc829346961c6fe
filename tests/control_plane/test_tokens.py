"""Tokens of three audiences, of one issuer, on the same keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sse_agent.control_plane.problems import Unauthenticated
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.tokens import Audience, Tokens
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
    assert other.read(Audience.AGENT, token)["sub"] == "agent-1"
    for audience in (Audience.VIEWER, Audience.UPLOAD):
        with pytest.raises(Unauthenticated):
            other.read(audience, token)
    with pytest.raises(Unauthenticated):
        (await opened(engine, clock, "https://other.example")).read(Audience.AGENT, token)


async def test_a_token_ends(engine: SqliteEngine, clock: FakeClock) -> None:
    tokens = await opened(engine, clock)
    token, until = tokens.mint(Audience.AGENT, "agent-1", 600)
    assert (until - clock.now()).total_seconds() == 600
    clock.advance(599)
    tokens.read(Audience.AGENT, token)
    clock.advance(10)
    with pytest.raises(Unauthenticated):
        tokens.read(Audience.AGENT, token)


async def test_what_another_key_signed_is_refused_and_a_rotated_key_is_read_once_more(
    engine: SqliteEngine, clock: FakeClock, tmp_path: Path
) -> None:
    tokens = await opened(engine, clock)
    token, _ = tokens.mint(Audience.AGENT, "agent-1", 600)
    await tokens.rotate()
    tokens.read(Audience.AGENT, token)
    await tokens.rotate()
    with pytest.raises(Unauthenticated):
        tokens.read(Audience.AGENT, token)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "ü"])
async def test_what_is_no_token_is_refused(engine: SqliteEngine, clock: FakeClock, token: str) -> None:
    with pytest.raises(Unauthenticated):
        (await opened(engine, clock)).read(Audience.AGENT, token)
