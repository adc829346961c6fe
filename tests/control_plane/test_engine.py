"""The engine, through its interface, on a real file."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from sse_agent.control_plane.engine import (
    AckNews,
    Engine,
    Greeting,
    Order,
    Report,
    Speaker,
    Superseded,
    UploadNews,
    Verdict,
)
from sse_agent.control_plane.problems import (
    AgentDeleted,
    IdempotencyKeyReused,
    NewerEpoch,
    QueueFull,
    Unavailable,
    UnknownAgent,
)
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.sqlite.volatile import KEYS_LIMIT, PROGRESS_LIMIT, Progress, VolatileKeys
from sse_agent.errors import CannotStart, ExitCode
from tests.doubles.clock import FakeClock

ME = "agent-1"
FIRST = Speaker("journal-1", 1, "instance-1")
LATER = Speaker("journal-1", 2, "instance-2")
NEW = Speaker("journal-2", 1, "instance-3")


class Deaf:
    """A listener to whom nothing matters."""

    def queue_changed(self, client_id: str) -> None: ...

    def command_changed(self, command_id: str) -> None: ...

    def reported(self, client_id: str, report: Report) -> None: ...


def made(folder: Path, clock: FakeClock, limit: int = 5) -> SqliteEngine:
    return SqliteEngine(folder / "control-plane.db", clock, Deaf(), queue_limit=limit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteEngine]:
    found = made(tmp_path, clock)
    await found.open()
    await found.enlist([ME, "agent-2"])
    yield found
    await found.close()


def order(name: str, body: bytes = b"{}") -> Order:
    return Order(name, hashlib.sha256(body).digest(), name, "HEARTBEAT", body, None, None)


def report(
    name: str,
    kind: str = "NOTE",
    body: bytes = b'{"payload": {}}',
    ack: AckNews | None = None,
    upload: UploadNews | None = None,
) -> Report:
    return Report(name, kind, "2026-11-22T10:30:00Z", None, body, hashlib.sha256(body).digest(), ack, upload)


def ack(name: str, status: str) -> Report:
    return report(f"ack-{name}-{status}", "ACK", ack=AckNews(name, status))


def news(revision: int, state: str, n: int = 0) -> UploadNews:
    return UploadNews("file-1", revision, n, state, {"offset": revision, "fileSize": 9})


async def queued(engine: Engine, *names: str) -> None:
    for name in names:
        await engine.queue(ME, order(name))


async def taken(engine: Engine, speaker: Speaker, greeting: Greeting) -> list[str]:
    page = await engine.take(ME, speaker, greeting.ticket, after_n=greeting.after_n)
    return [command.event_id.rpartition("/")[2] for command in page]


async def statuses(engine: Engine, *names: str) -> list[str]:
    return [(await engine.command(name)).status for name in names]


async def test_commands_come_in_order_without_holes_from_behind_the_cursor(engine: SqliteEngine) -> None:
    await queued(engine, "a", "b", "c")
    first = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(engine, FIRST, first) == ["1", "2", "3"]
    again = await engine.claim(ME, FIRST, f"{first.numbering}/2", opens_stream=True)
    assert (again.reason, await taken(engine, FIRST, again)) == (None, ["3"])


async def test_the_newest_stream_and_the_newest_epoch_are_the_only_ones_that_get_commands(engine: SqliteEngine) -> None:
    older = await engine.claim(ME, FIRST, None, opens_stream=True)
    newer = await engine.claim(ME, FIRST, None, opens_stream=True)
    await queued(engine, "a")
    with pytest.raises(Superseded):
        await taken(engine, FIRST, older)
    assert await taken(engine, FIRST, newer) == ["1"]
    await engine.verify(ME, LATER)
    with pytest.raises(Superseded):
        await taken(engine, FIRST, newer)
    for refused in (FIRST, replace(LATER, instance="clone")):
        with pytest.raises(NewerEpoch):
            await engine.claim(ME, refused, None, opens_stream=True)
        with pytest.raises(NewerEpoch):
            await engine.record(ME, refused, [report("m")])


async def test_of_a_lost_journal_what_was_sent_is_unknown_and_only_the_rest_is_sent(engine: SqliteEngine) -> None:
    await queued(engine, "a", "b")
    await taken(engine, FIRST, await engine.claim(ME, FIRST, None, opens_stream=True))
    await engine.record(ME, FIRST, [ack("a", "completed")])
    await queued(engine, "c")
    reset = await engine.claim(ME, NEW, None, opens_stream=True)
    assert (reset.reason, reset.after_n) == ("journal-lost", 2)
    assert await statuses(engine, "a", "b", "c") == ["completed", "unknown", "queued"]
    # HELLO was lost: it is said again, although something more was sent meanwhile.
    assert await taken(engine, NEW, reset) == ["3"]
    again = await engine.claim(ME, NEW, None, opens_stream=True)
    assert (again.reason, again.after_n, again.since) == ("journal-lost", 2, reset.since)
    after = await engine.claim(ME, NEW, f"{reset.numbering}/2", opens_stream=True)
    assert (after.reason, await taken(engine, NEW, after)) == (None, ["3"])
    with pytest.raises(NewerEpoch):
        await engine.claim(ME, replace(FIRST, epoch=99), None, opens_stream=True)


async def test_a_readmitted_machine_gets_one_reset_and_a_late_answer_still_counts(engine: SqliteEngine) -> None:
    await queued(engine, "a", "b")
    greeting = await engine.claim(ME, LATER, None, opens_stream=True)
    await taken(engine, LATER, greeting)
    with pytest.raises(NewerEpoch):
        await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.readmit(ME, "key", b"digest")
    reset = await engine.claim(ME, FIRST, f"{greeting.numbering}/1", opens_stream=True)
    assert (reset.reason, reset.after_n) == ("readmitted", 2)
    assert await statuses(engine, "a", "b") == ["sent", "unknown"]
    await engine.record(ME, FIRST, [ack("b", "failed")])
    assert await statuses(engine, "b") == ["failed"]


async def test_what_a_restored_machine_posts_first_does_not_move_the_instant_it_reports_from(
    engine: SqliteEngine, clock: FakeClock
) -> None:
    await engine.record(ME, LATER, [report("before")])
    await engine.readmit(ME, "key", b"digest")
    clock.advance(timedelta(days=40).total_seconds())
    await engine.record(ME, FIRST, [replace(report("after"), timestamp="2027-01-01T10:30:00Z")])
    reset = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert reset.since == "2026-11-21T10:30:00.000Z"


async def test_a_cursor_from_the_future_gives_the_queue_new_numbers(engine: SqliteEngine) -> None:
    await queued(engine, "a")
    before = await engine.claim(ME, FIRST, None, opens_stream=True)
    reset = await engine.claim(ME, FIRST, f"{before.numbering}/7", opens_stream=True)
    assert (reset.reason, reset.numbering == before.numbering) == ("unknown-cursor", False)
    assert await taken(engine, FIRST, reset) == ["1"]


async def test_keys_stand_across_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    body, other = b'{"payload": 1}', b'{"payload": 2}'
    expected = {1: (Verdict.RECORDED, False), 2: (Verdict.REPEATED, True)}
    for run, (verdict, is_repeated) in expected.items():
        engine = made(tmp_path, clock)
        await engine.open()
        await engine.enlist([ME])
        assert await engine.record(ME, FIRST, [report("m", body=body)]) == [verdict], run
        assert await engine.record(ME, FIRST, [report("m", body=other)]) == [Verdict.CONFLICT]
        ticket = await engine.queue(ME, order("c", body))
        assert (ticket.is_repeated, ticket.event_id.endswith("/1")) == (is_repeated, True)
        with pytest.raises(IdempotencyKeyReused):
            await engine.queue(ME, order("c", other))
        assert len(await engine.messages(ME, after=0, limit=10, types=[])) == 1
        await engine.close()


async def test_a_full_queue_refuses_drops_nothing_and_takes_again_when_one_is_acknowledged(
    engine: SqliteEngine,
) -> None:
    await queued(engine, *"abcde")
    with pytest.raises(QueueFull):
        await queued(engine, "f")
    assert (await engine.queue(ME, order("a"))).is_repeated
    assert await taken(engine, FIRST, await engine.claim(ME, FIRST, None, opens_stream=True)) == list("12345")
    await engine.record(ME, FIRST, [ack("a", "accepted")])
    await queued(engine, "f")


async def test_of_two_events_about_an_upload_the_higher_revision_counts_and_of_two_progresses_the_higher_n(
    engine: SqliteEngine,
) -> None:
    async def state(*reports: Report) -> tuple[str, int]:
        await engine.record(ME, FIRST, list(reports))
        (upload,) = await engine.uploads(ME, after="", limit=10)
        return upload.state, upload.revision

    def progress(name: str, what: UploadNews) -> Report:
        return report(name, "UPLOAD_PROGRESS", upload=what)

    assert await state(progress("p1", news(2, "waiting", n=2)), progress("p2", news(2, "uploading", n=1))) == (
        "waiting",
        2,
    )
    assert await state(report("e1", "UPLOAD_PAUSED", upload=news(3, "paused"))) == ("paused", 3)
    assert await state(report("e2", "UPLOAD_RESUMED", upload=news(2, "queued"))) == ("paused", 3)
    assert await state(progress("p3", news(2, "uploading", n=9))) == ("paused", 3)
    assert await state(report("e3", "UPLOAD_COMPLETE", upload=news(6, "complete"))) == ("complete", 6)
    assert await state(progress("p4", news(6, "uploading", n=99))) == ("complete", 6)


async def test_progress_costs_no_write(engine: SqliteEngine, tmp_path: Path) -> None:
    await engine.record(ME, FIRST, [report("m")])
    log = tmp_path / "control-plane.db-wal"
    before = log.read_bytes()
    for n in range(20):
        await engine.record(ME, FIRST, [report(f"p{n}", "UPLOAD_PROGRESS", upload=news(1, "uploading", n))])
    assert log.read_bytes() == before


async def test_an_old_status_that_is_repeated_does_not_replace_the_new_one(engine: SqliteEngine) -> None:
    old, new = (
        report(name, "CLIENT_STATUS", b'{"timestamp": "t", "payload": {"is": "%s"}}' % name.encode())
        for name in ("old", "new")
    )
    verdicts = await engine.record(ME, FIRST, [old, new])
    verdicts = [*verdicts, *await engine.record(ME, FIRST, [old])]
    assert verdicts == [Verdict.RECORDED, Verdict.RECORDED, Verdict.REPEATED]
    assert (await engine.agent(ME)).status == {"is": "new"}


async def test_a_deleted_agent_is_gone_for_ever_and_another_is_not(engine: SqliteEngine) -> None:
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await queued(engine, "a")
    await engine.delete(ME)
    await engine.delete(ME)
    await engine.enlist([ME])
    with pytest.raises(Superseded):
        await taken(engine, FIRST, greeting)
    for call in (engine.claim(ME, FIRST, None, opens_stream=True), engine.record(ME, FIRST, [report("m")])):
        with pytest.raises(AgentDeleted):
            await call
    assert await statuses(engine, "a") == ["unknown"]
    assert [agent.client_id for agent in await engine.agents(after="", limit=9)] == ["agent-2"]
    with pytest.raises(UnknownAgent):
        await engine.agent("nobody")


async def test_pruning_leaves_what_is_open_and_no_hole(engine: SqliteEngine, clock: FakeClock) -> None:
    await queued(engine, "a", "b", "c")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await taken(engine, FIRST, greeting)
    await engine.record(ME, FIRST, [ack("a", "completed"), ack("c", "completed")])
    clock.advance(timedelta(days=100).total_seconds())
    await engine.prune()
    again = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert (again.floor_n, await taken(engine, FIRST, again)) == (2, ["2", "3"])
    reset = await engine.claim(ME, FIRST, f"{again.numbering}/0", opens_stream=True)
    assert reset.reason == "unknown-cursor"


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


async def test_one_work_that_fails_takes_nothing_of_its_group_with_it(engine: SqliteEngine) -> None:
    outcomes: dict[str, str] = {}

    async def attempt(client_id: str, name: str) -> None:
        try:
            outcomes[name] = (await engine.queue(client_id, order(name))).command_id
        except UnknownAgent:
            outcomes[name] = "unknown"

    async with anyio.create_task_group() as group:
        for client_id, name in ((ME, "a"), ("nobody", "b"), (ME, "c")):
            group.start_soon(attempt, client_id, name)
    assert outcomes == {"a": "a", "b": "unknown", "c": "c"}
    assert (await engine.agent(ME)).queue.waiting == 2


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
