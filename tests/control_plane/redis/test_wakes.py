"""Two engines on one real Redis: what one does wakes whoever waits at the other, also when a wake-up got lost."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
import pydantic_core
import pytest

from sse_agent.clock import SystemClock
from sse_agent.control_plane import receiving
from sse_agent.control_plane.engine import Report
from sse_agent.control_plane.redis import RedisEngine, wakes
from tests.control_plane.test_engine import FIRST, LATER, ME, ack, order, taken
from tests.doubles.redis_server import RedisServer

WITHIN_S = 20.0


@dataclass
class Heard:
    """What a listener was told."""

    queues: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    missed: int = 0
    _bell: anyio.Event = field(default_factory=anyio.Event)

    def queue_changed(self, client_id: str) -> None:
        self.queues.append(client_id)
        self._ring()

    def command_changed(self, command_id: str) -> None:
        self.commands.append(command_id)
        self._ring()

    def reported(self, client_id: str, report: Report) -> None:
        self.reports.append(report)
        self._ring()

    def miss(self) -> None:
        self.missed += 1
        self._ring()

    def _ring(self) -> None:
        self._bell.set()
        self._bell = anyio.Event()

    async def until(self, condition: Callable[["Heard"], bool]) -> None:
        with anyio.fail_after(WITHIN_S):
            while not condition(self):
                await self._bell.wait()


@dataclass
class Two:
    """Each with its listener."""

    here: RedisEngine
    there: RedisEngine
    heard_here: Heard
    heard_there: Heard


@pytest.fixture
async def two(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(wakes, "SWEEP_S", 0.1)
    monkeypatch.setattr(wakes, "BACK_WITHIN_S", 0.2)
    heard = Heard(), Heard()
    here, there = (RedisEngine(redis.url, SystemClock(), one, queue_limit=5, missed=one.miss) for one in heard)
    for engine, one in zip((here, there), heard, strict=True):
        await engine.open()
        # It listens now.
        await one.until(lambda found: found.missed > 0)
    await here.enlist([ME])
    # A new agent is heard of at once.
    for one in heard:
        await one.until(lambda found: found.queues == [ME])
        one.queues.clear()
    yield Two(here, there, *heard)
    await here.close()
    await there.close()


def progress(name: str) -> Report:
    """One as it comes over HTTP: what another process hears is read from it again."""
    payload = {
        "fileId": "f",
        "state": "uploading",
        "revision": 1,
        "n": 1,
        "offset": 0,
        "bytesSent": 0,
    }
    envelope = {"type": "UPLOAD_PROGRESS", "id": name, "timestamp": "2026-11-22T10:30:00Z", "clientId": ME}
    body = pydantic_core.to_json({**envelope, "payload": payload})
    ((_, found),) = receiving.read(body, ME, name).messages
    assert isinstance(found, Report)
    return found


async def test_commands_outcomes_and_reports_are_heard_elsewhere_and_here_once(two: Two) -> None:
    await two.here.queue(ME, order("a"))
    await two.heard_there.until(lambda heard: heard.queues == [ME])
    await two.here.record(ME, FIRST, [ack("a", "completed")])
    await two.heard_there.until(lambda heard: "a" in heard.commands)
    await two.there.record(ME, FIRST, [progress("p")])
    await two.heard_here.until(lambda heard: any(report.message_id == "p" for report in heard.reports))
    (heard,) = (report for report in two.heard_here.reports if report.message_id == "p")
    assert heard == progress("p")
    assert [report.message_id for report in two.heard_there.reports].count("p") == 1


async def test_another_speaker_is_heard_where_the_older_one_holds_its_stream(two: Two) -> None:
    greeting = await two.here.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(two.here, FIRST, greeting) == []
    two.heard_here.queues.clear()
    await two.there.verify(ME, LATER)
    await two.heard_here.until(lambda heard: heard.queues == [ME])


async def test_a_wake_up_that_got_lost_is_noticed_by_the_next_one(two: Two, redis: RedisServer) -> None:
    before = two.heard_there.missed
    # Counted, and heard by nobody.
    redis.ask("INCR", "sse-agent:wakes")
    await two.here.queue(ME, order("a"))
    await two.heard_there.until(lambda heard: heard.missed > before)


async def test_a_wake_up_that_got_lost_is_noticed_though_none_comes_after_it(two: Two, redis: RedisServer) -> None:
    before = two.heard_there.missed
    redis.ask("INCR", "sse-agent:wakes")
    await two.heard_there.until(lambda heard: heard.missed > before)


async def test_a_connection_that_broke_is_made_again_and_counts_as_something_missed(
    two: Two, redis: RedisServer
) -> None:
    before = two.heard_there.missed
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await two.heard_there.until(lambda heard: heard.missed > before)
    await two.here.queue(ME, order("a"))
    await two.heard_there.until(lambda heard: ME in heard.queues)


async def test_what_somebody_else_says_on_the_channel_is_passed_over(two: Two, redis: RedisServer) -> None:
    for words in ("", "x", "1 2", "- somebody report", "- somebody report agent-1 {", "9999999 \udcff x y"):
        redis.ask("PUBLISH", "sse-agent:0:wake", words.encode(errors="replace").decode())
    await two.here.queue(ME, order("a"))
    await two.heard_there.until(lambda heard: ME in heard.queues)
