"""Documents and logs, through their interface, on a real file."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sse_agent.control_plane.documents import Conflict
from sse_agent.control_plane.sqlite import SqliteEngine
from tests.control_plane.test_engine import made
from tests.doubles.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteEngine]:
    found = made(tmp_path, clock)
    await found.open()
    yield found
    await found.close()


async def test_of_two_that_write_the_same_version_one_is_told_of_the_other(engine: SqliteEngine) -> None:
    first = await engine.put("codes", "a", b"1", version=0)
    assert first.version == 1
    await engine.put("codes", "a", b"2", version=1)
    for version in (0, 1, 3):
        with pytest.raises(Conflict):
            await engine.put("codes", "a", b"3", version=version)
    found = await engine.document("codes", "a")
    assert found is not None
    assert (found.version, found.body) == (2, b"2")


async def test_what_has_expired_is_not_there_and_may_be_written_anew(engine: SqliteEngine, clock: FakeClock) -> None:
    await engine.put("codes", "a", b"1", version=0, expires_at=clock.now() + timedelta(seconds=10))
    await engine.put("codes", "b", b"1", version=0)
    clock.advance(11)
    assert await engine.document("codes", "a") is None
    assert [document.key for document in await engine.documents("codes")] == ["b"]
    assert (await engine.put("codes", "a", b"2", version=0)).version == 1


async def test_removing_needs_the_version_and_what_is_gone_stays_gone(engine: SqliteEngine) -> None:
    await engine.put("codes", "a", b"1", version=0)
    with pytest.raises(Conflict):
        await engine.remove("codes", "a", version=2)
    await engine.remove("codes", "a", version=1)
    await engine.remove("codes", "a", version=1)
    assert await engine.document("codes", "a") is None


async def test_documents_come_in_pages_of_one_kind(engine: SqliteEngine) -> None:
    for key in ("b", "a", "c"):
        await engine.put("codes", key, b"", version=0)
    await engine.put("keys", "d", b"", version=0)
    assert [document.key for document in await engine.documents("codes", limit=2)] == ["a", "b"]
    assert [document.key for document in await engine.documents("codes", after="b")] == ["c"]


async def test_a_log_grows_in_order_and_takes_a_key_once(engine: SqliteEngine, clock: FakeClock) -> None:
    first = await engine.append("audit", b"1", key="k")
    assert await engine.append("audit", b"other", key="k") == first
    clock.advance(60)
    second = await engine.append("audit", b"2")
    await engine.append("deliveries", b"3", key="k")
    assert [(entry.n, entry.body) for entry in await engine.entries("audit")] == [(first, b"1"), (second, b"2")]
    assert [entry.body for entry in await engine.entries("audit", after=first)] == [b"2"]
    assert await engine.trim("audit", before=clock.now()) == 1
    assert [entry.body for entry in await engine.entries("audit")] == [b"2"]
