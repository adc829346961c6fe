"""The journal as a whole: who may hold it, and what survives."""

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from sse_agent.errors import CannotStart, ErrorCode, ExitCode, TryAgain
from sse_agent.journal import Transaction, inbox, opened
from tests.doubles.clock import FakeClock
from tests.doubles.journals import CLIENT, ORIGIN, journal_in, receive

HOLD = """
import sys, time
from pathlib import Path
from sse_agent.journal.lockfile import Lockfile
lock = Lockfile(Path(sys.argv[1]) / "journal.lock")
print("held", flush=True)
sys.stdin.read()
"""


async def test_every_start_raises_the_epoch_and_keeps_the_journals_identity(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as first:
        identity, epoch = first.journal_id, first.epoch
    async with journal_in(tmp_path) as second:
        assert (second.journal_id, second.epoch) == (identity, epoch + 1)


async def test_a_journal_that_another_process_holds_is_refused_with_75(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(CannotStart, match="another sse-agent is running") as refused:
            async with journal_in(tmp_path):
                pass
        assert refused.value.exit_code == ExitCode.TRY_AGAIN
    finally:
        holder.communicate()
    async with journal_in(tmp_path):
        pass


@pytest.mark.parametrize(("origin", "client"), [("https://other.example.com", CLIENT), (ORIGIN, "agent-2")])
async def test_a_journal_of_another_control_plane_or_client_is_refused_with_78(
    tmp_path: Path, origin: str, client: str
) -> None:
    async with journal_in(tmp_path):
        pass
    with pytest.raises(CannotStart, match="belongs to") as refused:
        async with opened(tmp_path, origin=origin, client_id=client, clock=FakeClock()):
            pass
    assert refused.value.exit_code == ExitCode.WRONG_CONFIGURATION
    async with journal_in(tmp_path) as journal:
        assert journal.epoch == 2, "a refused start must not raise the epoch"


async def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    damaged = b"this is no database" * 1000
    (tmp_path / "journal.db").write_bytes(damaged)
    with pytest.raises(CannotStart, match="damaged") as refused:
        async with journal_in(tmp_path):
            pass
    assert refused.value.exit_code == ExitCode.WRONG_CONFIGURATION
    assert (tmp_path / "journal.db").read_bytes() == damaged


async def test_a_journal_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    async with journal_in(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(CannotStart, match="newer sse-agent"):
        async with journal_in(tmp_path):
            pass


async def test_a_commit_is_synced_to_the_disk_before_it_is_believed(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        synchronous = await journal.read(lambda tx: tx.one("PRAGMA synchronous"))
        mode = await journal.read(lambda tx: tx.one("PRAGMA journal_mode"))
    assert synchronous is not None
    assert mode is not None
    assert (synchronous[0], mode[0]) == (2, "wal")


async def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


async def test_work_that_fails_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    def half(tx: Transaction) -> None:
        tx.run("INSERT INTO cancelled_before_start (file_id, at) VALUES ('x', 'now')")
        raise RuntimeError("in the middle")

    async with journal_in(tmp_path) as journal:
        with pytest.raises(RuntimeError):
            await journal.write(half)
        assert await journal.read(lambda tx: tx.all("SELECT * FROM cancelled_before_start")) == []


async def test_a_full_disk_is_not_now_and_loses_nothing_that_was_there(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        # SQLite's own limit answers as a full disk does.
        await journal.read(
            lambda tx: tx.one(f"PRAGMA max_page_count={tx.sql.execute('PRAGMA page_count').fetchone()[0]}")
        )
        with pytest.raises(TryAgain, match="disk") as trouble:
            for n in range(2, 2000):
                await receive(journal, n, "MESSAGE", {"text": "x" * 4000})
        assert trouble.value.code is ErrorCode.DISK_FULL
        cursor = await journal.read(inbox.cursor)
        count = await journal.read(inbox.waiting)
        assert cursor == f"k1/{count}", "the cursor stands at the last command that is there"


async def test_steps_that_pile_up_share_a_commit_and_each_gets_its_own_result(tmp_path: Path) -> None:
    commits = 0
    held = threading.Event()

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    async with journal_in(tmp_path) as journal:
        await journal.read(lambda tx: tx.sql.set_trace_callback(count))
        commits = 0
        results: dict[int, object] = {}

        async def write(n: int) -> None:
            results[n] = await journal.write(add, f"x{n}", n)

        async with anyio.create_task_group() as group:
            group.start_soon(journal.write, lambda _: held.wait(20.0))
            for n in range(40):
                group.start_soon(write, n)
            await anyio.wait_all_tasks_blocked()
            held.set()
        assert results == {n: n for n in range(40)}
        assert commits < 10
        await journal.read(lambda tx: tx.sql.set_trace_callback(None))
    async with journal_in(tmp_path) as journal:
        assert await journal.read(count_rows) == 40


async def test_a_step_that_fails_takes_none_of_those_with_it_that_shared_its_commit(tmp_path: Path) -> None:
    held = threading.Event()
    ends: dict[int, object] = {}

    def add_unless_seven(tx: Transaction, n: int) -> int:
        add(tx, f"x{n}", n)
        if n == 7:
            raise RuntimeError("seven")
        return n

    async with journal_in(tmp_path) as journal:

        async def write(n: int) -> None:
            try:
                ends[n] = await journal.write(add_unless_seven, n)
            except RuntimeError as error:
                ends[n] = str(error)

        async with anyio.create_task_group() as group:
            group.start_soon(journal.write, lambda _: held.wait(20.0))
            for n in range(12):
                group.start_soon(write, n)
            await anyio.wait_all_tasks_blocked()
            held.set()
        assert ends == {n: "seven" if n == 7 else n for n in range(12)}
        assert await journal.read(count_rows) == 11


async def test_another_programs_lock_is_not_now(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.read(lambda tx: tx.one("PRAGMA busy_timeout=10"))
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TryAgain, match="another program"):
                await receive(journal, 1, "HEARTBEAT", {})
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert await receive(journal, 1, "HEARTBEAT", {})


async def test_damage_that_shows_up_later_ends_the_agent_with_words(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for n in range(1, 200):
            await receive(journal, n, "MESSAGE", {"text": "x" * 1000})
        await journal.read(lambda tx: tx.sql.execute("SELECT 1"))
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 20)
    with pytest.raises(CannotStart, match="damaged") as ended:
        async with journal_in(tmp_path) as journal:
            for n in range(200, 400):
                await receive(journal, n, "MESSAGE", {"text": "x" * 1000})
    assert ended.value.exit_code == ExitCode.WRONG_CONFIGURATION


def add(tx: Transaction, file_id: str, result: int) -> int:
    tx.run("INSERT INTO cancelled_before_start (file_id, at) VALUES (?, 'now')", file_id)
    return result


def count_rows(tx: Transaction) -> int:
    row = tx.one("SELECT count(*) FROM cancelled_before_start")
    assert row is not None
    return int(row[0])
