"""Two processes' worth of presence on one real Redis: both answer the same about who is there."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
import pytest

from sse_agent.clock import SystemClock
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.records import PresenceRecord
from sse_agent.control_plane.redis import RedisEngine
from tests.control_plane.test_engine import ME
from tests.doubles.engines import Deaf
from tests.doubles.redis_server import RedisServer

HEARTBEAT_S = 0.5
WITHIN_S = 20.0


@dataclass
class Plane:
    """What one process has."""

    engine: RedisEngine
    attendance: Attendance

    async def says(self, condition: Callable[[bool, str | None], bool]) -> None:
        """Until it says so of the agent: connected, since. Time alone may bring it, so nothing rings for it."""
        until = anyio.current_time() + WITHIN_S
        while not condition(self.now.connected, self.now.since):
            assert anyio.current_time() < until, self.now
            await anyio.sleep(0.02)

    @property
    def now(self) -> PresenceRecord:
        """What it says of the agent."""
        return self.attendance.presence(ME)


async def started(redis: RedisServer, stack: AsyncExitStack) -> Plane:
    clock = SystemClock()
    attendance = Attendance(clock, HEARTBEAT_S)
    engine = RedisEngine(redis.url, clock, Deaf(), queue_limit=5)
    attendance.on_held = engine.share(attendance, HEARTBEAT_S)
    await engine.open()
    stack.push_async_callback(engine.close)
    return Plane(engine, attendance)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as found:
        yield found


async def test_what_one_holds_the_other_knows_and_whoever_starts_later_does(
    redis: RedisServer, stack: AsyncExitStack
) -> None:
    here, there = await started(redis, stack), await started(redis, stack)
    with here.attendance.holding(ME, "polling"):
        since = here.now.since
        await there.says(lambda connected, told: connected and told == since)
        assert there.now.transport == "polling"
        late = await started(redis, stack)
        await late.says(lambda connected, told: connected and told == since)
        # It comes to another one, and was there all the time.
        with there.attendance.holding(ME, "sse"):
            assert there.now.since == since
    await there.says(lambda connected, _: not connected)
    await here.says(lambda connected, _: not connected)


async def test_a_process_that_is_gone_without_a_word_holds_nobody_after_two_heartbeats(
    redis: RedisServer, stack: AsyncExitStack
) -> None:
    there = await started(redis, stack)
    with anyio.CancelScope():
        async with AsyncExitStack() as short:
            here = await started(redis, short)
            holding = here.attendance.holding(ME, "sse")
            holding.__enter__()
            await there.says(lambda connected, _: connected)
    # Its tasks were ended as a SIGKILL would: it never said that it lets go.
    assert there.now.connected
    await there.says(lambda connected, _: not connected)


async def test_it_is_told_again_to_a_redis_that_forgot(redis: RedisServer, stack: AsyncExitStack) -> None:
    here = await started(redis, stack)
    with here.attendance.holding(ME, "sse"):
        there = await started(redis, stack)
        await there.says(lambda connected, _: connected)
        redis.ask("FLUSHALL")
        late = await started(redis, stack)
        await late.says(lambda connected, _: connected)
