"""What only the engine on SQLite promises, on a real file."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from sse_agent.control_plane.engine import PROGRESS_LIMIT, UploadNews, Verdict
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.sqlite.volatile import KEYS_LIMIT, Progress, VolatileKeys
from sse_agent.errors import CannotStart, ExitCode
from tests.control_plane.test_engine import FIRST, ME, news, report
from tests.doubles.clock import FakeClock
from tests.doubles.engines import on_sqlite as made


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteEngine]:
    found = made(tmp_path, clock)
    await found.open()
    await found.enlist([ME, "agent-2"])
    yield found
    await found.close()


async def test_progress_costs_no_write(engine: SqliteEngine, tmp_path: Path) -> None:
    await engine.record(ME, FIRST, [report("m")])
    log = tmp_path / "control-plane.db-wal"
    before = log.read_bytes()
    for n in range(20):
        await engine.record(ME, FIRST, [report(f"p{n}", "UPLOAD_PROGRESS", upload=news(1, "uploading", n))])
    assert log.read_bytes() == before


async def test_a_full_disk_is_answered_later_and_the_writer_goes_on_when_there_is_room(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    connection = engine._database._connection

    def limit(tx: object, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    await engine._database.run(limit, 1)
    body = b'{"payload": "' + b"x" * 300_000 + b'"}'
    results: list[object] = []

    async def attempt(name: str) -> None:
        try:
            results.append(await engine.record(ME, FIRST, [report(name, body=body)]))
        except Unavailable as later:
            results.append(later.headers["Retry-After"])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for name in ("a", "b", "c"):
                group.start_soon(attempt, name)
    assert results == ["5", "5", "5"]
    await engine._database.run(limit, 1_000_000)
    assert await engine.record(ME, FIRST, [report("a", body=body)]) == [Verdict.RECORDED]


async def test_a_file_that_is_held_damaged_or_newer_is_refused_and_left_alone(
    engine: SqliteEngine, tmp_path: Path, clock: FakeClock
) -> None:
    with pytest.raises(CannotStart, match="another process") as held:
        await made(tmp_path, clock).open()
    assert held.value.exit_code is ExitCode.TRY_AGAIN
    for name in ("damaged", "newer"):
        (tmp_path / name).mkdir()
    damaged = tmp_path / "damaged" / "control-plane.db"
    damaged.write_bytes(b"no database" * 500)
    connection = sqlite3.connect(tmp_path / "newer" / "control-plane.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    for name in ("damaged", "newer"):
        with pytest.raises(CannotStart) as refused:
            await made(tmp_path / name, clock).open()
        assert refused.value.exit_code is ExitCode.WRONG_CONFIGURATION
    assert damaged.read_bytes() == b"no database" * 500


def test_what_is_kept_in_memory_is_bounded() -> None:
    keys, progress = VolatileKeys(), Progress()
    for n in range(KEYS_LIMIT + 10):
        keys._keys[ME, str(n)] = (b"", 0.0)
    keys.remember(ME, report("last"), 0.0)
    assert len(keys._keys) == KEYS_LIMIT
    keys.remember(ME, report("much later"), 10_000.0)
    assert len(keys._keys) == 1
    for n in range(PROGRESS_LIMIT + 10):
        progress.note(ME, UploadNews(str(n), 1, 1, "uploading", {}))
    assert len(progress.of(ME)) == PROGRESS_LIMIT
