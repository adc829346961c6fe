"""Both engines, each as whoever composes a control plane makes it: for suites that must be green on either."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import Engine, Report
from sse_agent.control_plane.redis import RedisEngine
from sse_agent.control_plane.sqlite import SqliteEngine
from tests.doubles.clock import FakeClock
from tests.doubles.redis_server import RedisServer

QUEUE_LIMIT = 5


class Whole(Engine, Documents, Protocol):
    """What either engine is."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


Make = Callable[[], Whole]
"""One more engine on the same store."""


class Deaf:
    """A listener to whom nothing matters."""

    def queue_changed(self, client_id: str) -> None: ...

    def command_changed(self, command_id: str) -> None: ...

    def reported(self, client_id: str, report: Report) -> None: ...


def on_sqlite(folder: Path, clock: FakeClock, limit: int = QUEUE_LIMIT) -> SqliteEngine:
    """On a file in that folder."""
    return SqliteEngine(folder / "control-plane.db", clock, Deaf(), queue_limit=limit)


def on_redis(server: RedisServer, clock: FakeClock, limit: int = QUEUE_LIMIT) -> RedisEngine:
    """On that server."""
    return RedisEngine(server.url, clock, Deaf(), queue_limit=limit)
