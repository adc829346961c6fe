"""The conformance suite of documents and logs: the same tests on SQLite and on a real Redis."""

from datetime import timedelta

import anyio
import pytest

from sse_agent.control_plane.documents import Conflict
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Make, Whole


async def test_of_two_that_write_the_same_version_one_is_told_of_the_other(engine: Whole) -> None:
    first = await engine.put("codes", "a", b"1", version=0)
    assert first.version == 1
    await engine.put("codes", "a", b"2", version=1)
    for version in (0, 1, 3):
        with pytest.raises(Conflict):
            await engine.put("codes", "a", b"3", version=version)
    found = await engine.document("codes", "a")
    assert found is not None
    assert (found.version, found.body) == (2, b"2")


async def test_what_has_expired_is_not_there_and_may_be_written_anew(engine: Whole, clock: FakeClock) -> None:
    await engine.put("codes", "a", b"1", version=0, expires_at=clock.now() + timedelta(seconds=10))
    await engine.put("codes", "b", b"1", version=0)
    clock.advance(11)
    assert await engine.document("codes", "a") is None
    assert [document.key for document in await engine.documents("codes")] == ["b"]
    assert (await engine.put("codes", "a", b"2", version=0)).version == 1


async def test_removing_needs_the_version_and_what_is_gone_stays_gone(engine: Whole) -> None:
    await engine.put("codes", "a", b"1", version=0)
    with pytest.raises(Conflict):
        await engine.remove("codes", "a", version=2)
    await engine.remove("codes", "a", version=1)
    await engine.remove("codes", "a", version=1)
    assert await engine.document("codes", "a") is None


async def test_documents_come_in_pages_of_one_kind(engine: Whole) -> None:
    for key in ("b", "a", "c"):
        await engine.put("codes", key, b"", version=0)
    await engine.put("keys", "d", b"", version=0)
    assert [document.key for document in await engine.documents("codes", limit=2)] == ["a", "b"]
    assert [document.key for document in await engine.documents("codes", after="b")] == ["c"]


async def test_a_log_grows_in_order_and_takes_a_key_once(engine: Whole, clock: FakeClock) -> None:
    first = await engine.append("audit", b"1", key="k")
    assert await engine.append("audit", b"other", key="k") == first
    clock.advance(60)
    second = await engine.append("audit", b"2")
    await engine.append("deliveries", b"3", key="k")
    assert [(entry.n, entry.body) for entry in await engine.entries("audit")] == [(first, b"1"), (second, b"2")]
    assert [entry.body for entry in await engine.entries("audit", after=first)] == [b"2"]
    assert await engine.trim("audit", before=clock.now()) == 1
    assert [entry.body for entry in await engine.entries("audit")] == [b"2"]


async def test_documents_and_logs_stand_across_a_restart(make: Make) -> None:
    for run in (1, 2):
        engine = make()
        await engine.open()
        if run == 1:
            await engine.put("codes", "a", bytes(range(256)), version=0)
            await engine.append("audit", b"\x00\xff", key="k")
        found = await engine.document("codes", "a")
        assert found is not None, run
        assert (found.version, found.body) == (1, bytes(range(256)))
        assert [entry.body for entry in await engine.entries("audit")] == [b"\x00\xff"]
        await engine.close()


async def test_what_has_expired_is_pruned_and_nothing_else(engine: Whole, clock: FakeClock) -> None:
    await engine.put("codes", "a", b"1", version=0, expires_at=clock.now() + timedelta(seconds=10))
    await engine.put("codes", "b", b"1", version=0, expires_at=clock.now() + timedelta(seconds=10))
    await engine.put("codes", "b", b"2", version=1)
    clock.advance(11)
    await engine.put("codes", "c", b"1", version=0, expires_at=clock.now() + timedelta(seconds=10))
    await engine.prune()
    assert [document.key for document in await engine.documents("codes")] == ["b", "c"]


async def test_of_many_that_write_at_once_one_wins_each_time(engine: Whole) -> None:
    won: list[int] = []

    async def write(number: int) -> None:
        try:
            await engine.put("codes", "a", b"%d" % number, version=0)
        except Conflict:
            return
        won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(write, number)
    found = await engine.document("codes", "a")
    assert found is not None
    assert [b"%d" % number for number in won] == [found.body]


async def test_hundreds_at_once_are_all_answered_each_with_its_own(engine: Whole) -> None:
    numbers: dict[bytes, int] = {}

    async def write(body: bytes) -> None:
        numbers[body] = await engine.append("audit", body)

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(write, b"%d" % number)
    found = {entry.body: entry.n for entry in await engine.entries("audit")}
    assert found == numbers
    assert len(found) == 300
