"""What changes reaches who looks on, with a real engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sse_agent.control_plane import receiving, viewers
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.engine import Speaker
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.viewers import View, Viewers
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Whole, on_sqlite

pytestmark = pytest.mark.anyio
SPEAKER = Speaker("journal", 1, "instance")
WITHIN_S = 10.0


@dataclass
class Stage:
    engine: Whole
    viewers: Viewers
    attendance: Attendance
    clock: FakeClock
    count: int = 0

    async def say(self, client_id: str = "a", kind: str = "NOTE", **payload: Any) -> None:
        """One report of an agent, as the engine tells it."""
        self.count += 1
        members = {"id": f"m{self.count}", "timestamp": "2026-11-22T10:30:00Z", "clientId": client_id}
        body = json.dumps({"type": kind, **members, "payload": payload}).encode()
        report = receiving.read(body, client_id, members["id"]).reports[0]
        await self.engine.record(client_id, SPEAKER, [report])
        self.viewers.reported(client_id, report)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    clock = FakeClock()
    engine = on_sqlite(folder, clock)
    await engine.open()
    await engine.enlist(["a", "b"])
    attendance = Attendance(clock, 1.0)
    found = Viewers(engine, attendance, clock)
    running = asyncio.create_task(found.run())
    try:
        yield Stage(engine, found, attendance, clock)
    finally:
        running.cancel()
        await engine.close()


async def heard(view: View) -> None:
    async with asyncio.timeout(WITHIN_S):
        await view.mailbox.bell.wait()
    view.mailbox.bell.clear()


async def test_reports_are_read_once_for_all_who_look_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as there:
        reads = 0
        feed = there.engine.feed

        async def counted(*, after: int, limit: int) -> Any:
            nonlocal reads
            reads += 1
            return await feed(after=after, limit=limit)

        monkeypatch.setattr(there.engine, "feed", counted)
        views = [View(None, False) for _ in range(50)]
        joined = [there.viewers.joined(view) for view in views]
        for one in joined:
            one.__enter__()
        start = await there.engine.feed_end()
        await there.say()
        await there.say()
        for view in views:
            async with asyncio.timeout(WITHIN_S):
                while [record.n for record in await there.viewers.page(start)] != [start + 1, start + 2]:
                    await heard(view)
        assert reads < 20
        for one in joined:
            one.__exit__(None, None, None)


async def test_what_is_older_than_the_tail_is_read_from_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewers, "TAIL", 300)
    async with stage(tmp_path) as there:
        view = View(None, False)
        with there.viewers.joined(view):
            for _ in range(700):
                await there.say()
            places: list[int] = []
            async with asyncio.timeout(WITHIN_S):
                while len(places) < 700:
                    page = await there.viewers.page(places[-1] if places else 0)
                    places += [record.n for record in page]
                    if not page:
                        await heard(view)
            assert places == list(range(1, 701))
            assert len(there.viewers._tail) == viewers.TAIL


async def test_the_tail_and_a_page_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "TAIL_BYTES", 100_000)
    monkeypatch.setattr(viewers, "PAGE_BYTES", 25_000)
    async with stage(tmp_path) as there:
        view = View(None, False)
        with there.viewers.joined(view):
            for _ in range(40):
                await there.say(text="x" * 10_000)
            places: list[int] = []
            async with asyncio.timeout(WITHIN_S):
                while len(places) < 40:
                    page = await there.viewers.page(places[-1] if places else 0)
                    assert len(page) <= 2
                    places += [told.n for told in page]
                    if not page:
                        await heard(view)
            assert places == list(range(1, 41))
            assert 0 < there.viewers._tail_bytes <= 100_000


async def test_a_view_hears_of_its_agents_only(tmp_path: Path) -> None:
    async with stage(tmp_path) as there:
        mine, all_of_them = View(frozenset({"a"}), False), View(None, False)
        progress = {"fileId": "f", "state": "uploading", "revision": 1, "n": 1, "offset": 0, "bytesSent": 0}
        with there.viewers.joined(mine), there.viewers.joined(all_of_them):
            await there.say("b", "UPLOAD_PROGRESS", **progress)
            await heard(all_of_them)
            assert len(all_of_them.mailbox.take(0.0)) == 1
            assert mine.mailbox.take(0.0) == []


async def test_who_leaves_is_told_after_its_grace_and_not_before(tmp_path: Path) -> None:
    async with stage(tmp_path) as there:
        view = View(None, False)
        with there.viewers.joined(view):
            with there.attendance.holding("a", "sse"):
                await heard(view)
                assert b'"connected":true' in there_told(view)
            there.clock.advance(1.9)
            with there.attendance.holding("a", "sse"):
                pass
            there.clock.advance(1.9)
            assert there.attendance.there() == {"a"}
            there.clock.advance(0.2)
            await heard(view)
            assert b'"connected":false' in there_told(view)


def there_told(view: View) -> bytes:
    (frame,) = view.mailbox.take(0.0)
    return frame


async def test_nothing_is_kept_while_nobody_looks(tmp_path: Path) -> None:
    async with stage(tmp_path) as there:
        for _ in range(10):
            await there.say()
            there.viewers.command_changed("c")
            there.viewers.agent_changed("a")
        assert (there.viewers._commands, there.viewers._agents, len(there.viewers._tail)) == ({}, {}, 0)


async def test_there_is_a_bound_to_who_may_look_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "LIMIT", 1)
    async with stage(tmp_path) as there:
        with there.viewers.joined(View(None, False)), pytest.raises(Unavailable):
            there.viewers.joined(View(None, False)).__enter__()
        with there.viewers.joined(View(None, False)):
            pass
