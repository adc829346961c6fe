"""Tokens that were checked a moment ago: remembered, but not past their end, and not for another audience."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sse_agent.control_plane.identity import remembered
from sse_agent.control_plane.identity.remembered import RememberedTokens
from sse_agent.control_plane.problems import Unauthenticated
from sse_agent.control_plane.tokens import Audience, Tokens
from tests.control_plane.identity.office import ISSUER
from tests.doubles.clock import FakeClock
from tests.doubles.engines import on_sqlite


class Counting(Tokens):
    """Counts what it reads."""

    reads = 0

    async def read(self, audience: Audience, token: str) -> Any:
        self.reads += 1
        return await super().read(audience, token)


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[tuple[Counting, RememberedTokens, FakeClock]]:
    clock = FakeClock()
    engine = on_sqlite(tmp_path, clock)
    await engine.open()
    found = Counting(engine, clock, ISSUER)
    await found.open()
    yield found, RememberedTokens(found, clock), clock
    await engine.close()


async def test_a_token_is_checked_once_in_half_a_minute(tokens: tuple[Counting, RememberedTokens, FakeClock]) -> None:
    counted, reading, clock = tokens
    token, _ = counted.mint(Audience.AGENT, "agent-1", 600)
    claims = [await reading.read(Audience.AGENT, token) for _ in range(5)]
    assert (counted.reads, claims[0]["sub"]) == (1, "agent-1")
    assert claims == [claims[0]] * 5
    clock.advance(30)
    await reading.read(Audience.AGENT, token)
    assert counted.reads == 2


async def test_it_is_not_remembered_past_its_end(tokens: tuple[Counting, RememberedTokens, FakeClock]) -> None:
    counted, reading, clock = tokens
    token, _ = counted.mint(Audience.AGENT, "agent-1", 10)
    await reading.read(Audience.AGENT, token)
    clock.advance(20)
    with pytest.raises(Unauthenticated):
        await reading.read(Audience.AGENT, token)


async def test_it_is_remembered_for_its_audience_alone_and_a_bad_one_never(
    tokens: tuple[Counting, RememberedTokens, FakeClock],
) -> None:
    counted, reading, _ = tokens
    token, _ = counted.mint(Audience.AGENT, "agent-1", 600)
    await reading.read(Audience.AGENT, token)
    for audience, shown in ((Audience.VIEWER, token), (Audience.AGENT, token[:-8]), (Audience.AGENT, "\udcff")):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await reading.read(audience, shown)
    assert counted.reads == 7


async def test_what_is_remembered_is_bounded(
    tokens: tuple[Counting, RememberedTokens, FakeClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, reading, _ = tokens
    monkeypatch.setattr(remembered, "_REMEMBERED", 3)
    minted = [counted.mint(Audience.AGENT, f"agent-{number}", 600)[0] for number in range(5)]
    for token in minted:
        await reading.read(Audience.AGENT, token)
    assert len(reading._memory) == 3
    await reading.read(Audience.AGENT, minted[-1])
    assert counted.reads == 5
