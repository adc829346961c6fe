"""One connection after the other: who is carried when, whatever breaks in which order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from sse_agent.handover import carried
from sse_agent.retry import Backoff
from tests.doubles.clock import FakeClock


class Line:
    """A connection that does as it is told: `breaks`, or `takes_over`, or nothing."""

    def __init__(self, before: "Line | None") -> None:
        self.before = before
        self.due, self.stands, self.ended = anyio.Event(), anyio.Event(), anyio.Event()
        self.must_stop = False
        self._over = anyio.Event()
        self.is_closed = False

    async def carry(self) -> None:
        try:
            await self._over.wait()
        finally:
            self.ended.set()

    def close(self) -> None:
        self.is_closed = True
        self._over.set()

    def breaks(self, *, must_stop: bool = False) -> None:
        self.must_stop = must_stop
        self._over.set()

    async def takes_over(self) -> None:
        assert self.before is not None
        self.before.close()
        await self.before.ended.wait()
        self.stands.set()


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.made: list[Line] = []
        self.left: Line | None = None

    def make(self, before: Line | None) -> Line:
        self.made.append(Line(before))
        return self.made[-1]

    async def run(self) -> None:
        self.left = await carried(self.make, self.clock, Backoff(uniform=lambda _, most: most))

    async def settle(self) -> None:
        await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            there = Bench()
            group.start_soon(there.run)
            await there.settle()
            yield there
            group.cancel_scope.cancel()


async def test_one_that_ends_before_it_is_due_has_none_after_it() -> None:
    async with bench() as there:
        there.made[0].breaks()
        await there.settle()
        assert there.left is there.made[0]
        assert len(there.made) == 1


async def test_the_next_one_takes_over_while_the_one_before_goes_on_and_so_on() -> None:
    async with bench() as there:
        for number in range(3):
            there.made[number].due.set()
            await there.settle()
            assert len(there.made) == number + 2
            assert there.made[-1].before is there.made[number]
            assert not there.made[number].ended.is_set(), "it is carried until the next one stands"
            await there.made[-1].takes_over()
            await there.settle()
            assert there.left is None
        there.made[-1].breaks()
        await there.settle()
        assert there.left is there.made[3]


async def test_one_that_the_other_end_closes_for_the_newer_ones_sake_is_no_loss() -> None:
    async with bench() as there:
        there.made[0].due.set()
        await there.settle()
        there.made[0].breaks()
        await there.settle()
        assert there.left is None
        await there.made[1].takes_over()
        await there.settle()
        assert there.left is None
        assert len(there.made) == 2


async def test_when_the_next_one_cant_be_opened_the_present_one_goes_on_and_it_is_tried_again_ever_later() -> None:
    async with bench() as there:
        there.made[0].due.set()
        await there.settle()
        for wait_s in (1, 2, 4, 8):
            tried = len(there.made)
            there.made[-1].breaks()
            await there.settle()
            there.clock.advance(wait_s - 0.1)
            await there.settle()
            assert len(there.made) == tried
            there.clock.advance(0.1)
            await there.settle()
            assert len(there.made) == tried + 1
        assert not there.made[0].ended.is_set()
        await there.made[-1].takes_over()
        await there.settle()
        assert there.left is None
        assert there.made[0].is_closed


async def test_when_the_present_one_ends_while_the_next_try_is_waited_for_there_is_no_more_waiting() -> None:
    async with bench() as there:
        there.made[0].due.set()
        await there.settle()
        there.made[1].breaks()
        await there.settle()
        there.made[0].breaks()
        await there.settle()
        assert there.left is there.made[0]
        assert len(there.made) == 2


async def test_when_both_are_gone_the_reason_is_the_newer_ones() -> None:
    async with bench() as there:
        there.made[0].due.set()
        await there.settle()
        there.made[0].breaks()
        there.made[1].breaks()
        await there.settle()
        assert there.left is there.made[1]


@pytest.mark.parametrize("is_first_gone", [False, True])
async def test_an_order_to_stop_ends_the_present_one_too(is_first_gone: bool) -> None:
    async with bench() as there:
        there.made[0].due.set()
        await there.settle()
        if is_first_gone:
            there.made[0].breaks()
        there.made[1].breaks(must_stop=True)
        await there.settle()
        assert there.left is there.made[1]
        assert there.made[0].ended.is_set()
