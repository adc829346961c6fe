"""Engines to test: every test that takes `engine` or `make` runs once on each."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.doubles.clock import FakeClock
from tests.doubles.engines import Make, Whole, on_redis, on_sqlite
from tests.doubles.redis_server import RedisServer, redis_server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(one_redis: RedisServer) -> RedisServer:
    """An empty one."""
    assert one_redis.ask("FLUSHALL") == b"+OK\r\n"
    return one_redis


@pytest.fixture(params=["sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Make:
    if request.param == "sqlite":
        return partial(on_sqlite, tmp_path, clock)
    return partial(on_redis, request.getfixturevalue("redis"), clock)


@pytest.fixture
async def engine(make: Make) -> AsyncIterator[Whole]:
    found = make()
    await found.open()
    await found.enlist(["agent-1", "agent-2"])
    yield found
    await found.close()
