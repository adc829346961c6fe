"""The journal as a whole: who may hold it, and what survives."""

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import anyio
import pytest

from sse_agent.errors import CannotStart, ErrorCode, ExitCode, TryAgain
from sse_agent.journal import Transaction, damage, inbox, opened, uploads
from sse_agent.messages import UploadStart
from tests.doubles import disks
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


async def make_used(folder: Path) -> None:
    """A journal with something in it, some of it in the log only, as a killed process leaves it."""
    async with journal_in(folder) as journal:
        for n in range(1, 200):
            await receive(journal, n, "MESSAGE", {"text": "x" * 1000})
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in left.items():
        (folder / name).write_bytes(content)


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def overwritten_in_the_middle(path: Path, pages: int = 20) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * pages)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096 * 5)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_an_index_entry(path: Path) -> None:
    """What a lost page leaves: an index that knows less than its table, so that commands would be passed over."""
    change_schema(path, "sql = replace(sql, 'received', 'never')", "inbox_received")


def with_a_schema_that_is_no_text(path: Path) -> None:
    change_schema(path, "name = CAST(x'ff' AS TEXT)", "outbox_at")


def change_schema(path: Path, change: str, name: str) -> None:
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        assert connection.execute(f"UPDATE sqlite_schema SET {change} WHERE name = ?", (name,)).rowcount == 1
    connection.close()


HARM = [
    no_database,
    overwritten_in_the_middle,
    cut,
    emptied,
    without_an_index_entry,
    with_a_schema_that_is_no_text,
]


@pytest.mark.parametrize("harm", HARM)
async def test_a_damaged_journal_is_put_aside_as_it_is_and_people_are_told(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    await make_used(tmp_path)
    (tmp_path / "journal.db-wal").unlink()
    harm(tmp_path / "journal.db")
    damaged = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(CannotStart, match="damaged") as refused:
        async with journal_in(tmp_path):
            pass
    assert refused.value.exit_code == ExitCode.WRONG_CONFIGURATION
    [folder] = tmp_path.glob("damaged-*")
    assert str(folder) in str(refused.value)
    assert (folder / "journal.db").read_bytes() == damaged
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (tmp_path / "journal.db").exists()
    async with journal_in(tmp_path) as journal:
        assert journal.epoch == 1, "an empty one, as the message said"


async def test_what_only_the_log_has_is_put_aside_with_a_damaged_journal(tmp_path: Path) -> None:
    await make_used(tmp_path)
    log = (tmp_path / "journal.db-wal").read_bytes()
    assert log
    overwritten_in_the_middle(tmp_path / "journal.db", 400)
    with pytest.raises(CannotStart, match="put aside"):
        async with journal_in(tmp_path):
            pass
    [folder] = tmp_path.glob("damaged-*")
    assert (folder / "journal.db-wal").read_bytes() == log


async def test_looking_for_damage_leaves_a_whole_journal_alone(tmp_path: Path) -> None:
    await make_used(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("journal.db", "journal.db-wal")}
    assert damage.found(tmp_path / "journal.db", was_used=True) is None
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    async with journal_in(tmp_path) as journal:
        assert await journal.read(inbox.cursor) == "k1/199"


async def test_an_empty_file_that_no_journal_was_in_is_the_beginning_of_one(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"")
    async with journal_in(tmp_path) as journal:
        assert journal.epoch == 1


async def test_a_state_directory_that_cannot_be_written_is_told_from_one_in_use(tmp_path: Path) -> None:
    (tmp_path / "journal.lock").mkdir()
    with pytest.raises(CannotStart, match="can't be written") as refused:
        async with journal_in(tmp_path):
            pass
    assert refused.value.exit_code == ExitCode.TRY_AGAIN


async def test_a_journal_of_the_first_version_is_brought_up_to_date_with_all_it_has(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as old:
        old.executescript(files("sse_agent.journal").joinpath("schema.sql").read_text())
        old.execute("PRAGMA user_version=1")
        old.execute("INSERT INTO about (key, value) VALUES ('cursor', 'k1/7')")
    old.close()
    async with journal_in(tmp_path) as journal:
        assert await journal.read(inbox.cursor) == "k1/7"
        start = UploadStart(file_id="f", file_name="a")
        upload = await journal.write(uploads.add, "c", start, "https://tus.example.com/files/", None)
        assert (upload.hashed, upload.hashed_sha256) == (0, None)


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
    with pytest.raises(CannotStart, match="Start again: it will be put aside") as ended:
        async with journal_in(tmp_path) as journal:
            # Pages in the log or in memory would hide it.
            await disks.execute(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
            await disks.execute(journal, "PRAGMA shrink_memory")
            overwritten_in_the_middle(tmp_path / "journal.db")
            for n in range(200, 400):
                await receive(journal, n, "MESSAGE", {"text": "x" * 1000})
    assert ended.value.exit_code == ExitCode.WRONG_CONFIGURATION
    # What was seen once counts, whatever the next look says.
    (tmp_path / "journal.db").unlink()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as whole:
        whole.execute("CREATE TABLE t (x)")
    with pytest.raises(CannotStart, match="put aside"):
        async with journal_in(tmp_path):
            pass
    async with journal_in(tmp_path) as journal:
        assert journal.epoch == 1


def add(tx: Transaction, file_id: str, result: int) -> int:
    tx.run("INSERT INTO cancelled_before_start (file_id, at) VALUES (?, 'now')", file_id)
    return result


def count_rows(tx: Transaction) -> int:
    row = tx.one("SELECT count(*) FROM cancelled_before_start")
    assert row is not None
    return int(row[0])
