"""Open, migrate, and the one writer thread. One connection; an arrow of the data flow is one call of `write`."""

import asyncio
import sqlite3
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio

from sse_agent.clock import Clock, timestamp
from sse_agent.config import JOURNAL
from sse_agent.errors import AgentError, CannotStart, ErrorCode, ExitCode, TryAgain
from sse_agent.journal import damage
from sse_agent.journal.lockfile import LOCK, Lockfile

P = ParamSpec("P")
T = TypeVar("T")

MIGRATIONS = ("schema.sql", "prefix.sql", "wishes.sql")
"""Applied in order, each in one transaction; `user_version` counts them."""

AT_ONCE = 64
"""Steps that share a commit at most."""

_DISK_TROUBLE = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_READONLY: "its disk or folder has become read-only",
    sqlite3.SQLITE_IOERR: "its disk fails, the system's log may say why",
    sqlite3.SQLITE_CANTOPEN: "its folder can't be used any more",
}
# Somebody looks into the journal with a program of their own, and holds a lock for longer than we wait.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a function of the journal gets: it runs whole or not at all, and must not keep this."""

    sql: sqlite3.Connection
    client_id: str
    now: datetime

    @property
    def at(self) -> str:
        """`now` as the tables write it."""
        return timestamp(self.now)

    def one(self, statement: str, *values: Any) -> sqlite3.Row | None:
        """The first row, if any."""
        row: sqlite3.Row | None = self.sql.execute(statement, values).fetchone()
        return row

    def all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Every row."""
        return self.sql.execute(statement, values).fetchall()

    def run(self, statement: str, *values: Any) -> int:
        """How many rows the statement changed."""
        return self.sql.execute(statement, values).rowcount


Work = Callable[Concatenate[Transaction, P], T]


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of `write`, and where its result is waited for."""

    work: Callable[[Transaction], Any]
    future: "Future[Any]"


class Journal:
    """Everything durable. Use `opened()`; after the block nothing can be written any more."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, client_id: str, clock: Clock
    ) -> None:
        self._connection = connection
        self._thread = thread
        self.client_id = client_id
        self._clock = clock
        self._steps: deque[_Step] = deque()
        self.journal_id = ""
        self.epoch = 0
        self.is_damaged = False

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(transaction, …)` and commit; it is on the disk when this returns. Raises TryAgain if it can't be.

        A cancellation waits until the commit is decided: nobody must guess whether it happened.
        """
        future = self._submit(work, *args, **kwargs)
        with anyio.CancelScope(shield=True):
            result = await asyncio.wrap_future(future)
        return result  # noqa: RET504 - a scope may swallow, in the eyes of the type checker

    def write_from_thread(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for worker threads; blocks."""
        return self._submit(work, *args, **kwargs).result()

    read = write
    """The same road: one connection, one thread. The name says what the caller means."""

    def _submit(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        self._steps.append(_Step(lambda transaction: work(transaction, *args, **kwargs), future))
        self._thread.submit(self._take)
        return future

    def _take(self) -> None:
        """Whatever has piled up shares one commit: a disk syncs many small steps as fast as one.

        A step that fails undoes them all. Then each runs again by itself, so that only those fail that must.
        """
        taken = [self._steps.popleft() for _ in range(min(AT_ONCE, len(self._steps)))]
        steps = [step for step in taken if step.future.set_running_or_notify_cancel()]
        if len(steps) > 1 and self._commit(steps):
            return
        for step in steps:
            self._commit([step])

    def _commit(self, steps: list[_Step]) -> bool:
        """One transaction. False if it was undone; a step that was alone in it gets the error."""
        try:
            results = self._transact(steps)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            if len(steps) == 1:
                steps[0].future.set_exception(error)
            return False
        for step, result in zip(steps, results, strict=True):
            step.future.set_result(result)
        return True

    def _transact(self, steps: list[_Step]) -> list[Any]:
        transaction = Transaction(self._connection, self.client_id, self._clock.now())
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                results = [step.work(transaction) for step in steps]
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            known = _translated(error)
            self.is_damaged = self.is_damaged or isinstance(known, CannotStart)
            raise known or error from None
        return results


def _translated(error: sqlite3.DatabaseError) -> AgentError | None:
    """What the caller can do about it; None for a bug."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DISK_TROUBLE:
        # query_only and max_page_count say the same as a disk would.
        reason = f"the journal can't be written ({error}): {_DISK_TROUBLE[code]}"
        return TryAgain(reason, code=ErrorCode.DISK_FULL)
    if code in _BUSY:
        return TryAgain("another program holds a lock on the journal")
    wrong = damage.describe(error)
    if wrong is not None:
        message = f"the journal is damaged ({wrong}); nothing more is written to it. Start again: it will be put aside"
        return CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return None


@asynccontextmanager
async def opened(state_dir: Path, *, origin: str, client_id: str, clock: Clock) -> AsyncIterator[Journal]:
    """The journal in `state_dir`, its epoch raised by one.

    Raises CannotStart: 75 if another process holds it, 78 if it belongs to another control plane or client,
    75 if its disk is full or failing, 78 if it was damaged and put aside.
    """
    with held(state_dir, clock.now()) as lockfile:
        async with connected(state_dir / JOURNAL, clock, client_id) as journal:
            try:
                journal.journal_id, journal.epoch = await journal.write(_claim, origin)
                _note_use(lockfile, journal.journal_id)
                yield journal
            finally:
                if journal.is_damaged:
                    with suppress(OSError):
                        lockfile.note_damage()


@contextmanager
def held(state_dir: Path, now: datetime) -> Iterator[Lockfile]:
    """Within the block no other process opens the journal there, and it is whole. Raises CannotStart."""
    lockfile = _lock(state_dir)
    try:
        _refuse_damaged(state_dir / JOURNAL, lockfile, now)
        yield lockfile
    finally:
        lockfile.close()


@asynccontextmanager
async def connected(path: Path, clock: Clock, client_id: str) -> AsyncIterator[Journal]:
    """The database, with its thread. Raises CannotStart."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
    try:
        # sqlite3 binds a connection to the thread that made it: the writer thread makes it.
        connection = await asyncio.wrap_future(thread.submit(_connect, path))
        try:
            yield Journal(connection, thread, client_id, clock)
        finally:
            thread.submit(connection.close).result()
    except TryAgain as trouble:
        raise CannotStart(trouble.reason, ExitCode.TRY_AGAIN) from None
    finally:
        thread.shutdown()


def _lock(state_dir: Path) -> Lockfile:
    try:
        return Lockfile(state_dir / LOCK)
    except BlockingIOError:
        message = (
            f"another sse-agent is running with the state directory {state_dir}; stop it first, "
            "or give this one a state directory of its own (SSE_AGENT_STATE_DIR)"
        )
        raise CannotStart(message, ExitCode.TRY_AGAIN) from None
    except OSError as error:
        message = f"the state directory {state_dir} can't be written: {error.strerror}"
        raise CannotStart(message, ExitCode.TRY_AGAIN) from None


def _refuse_damaged(path: Path, lockfile: Lockfile, now: datetime) -> None:
    wrong = "it showed while the agent ran" if lockfile.is_damaged and path.exists() else None
    wrong = wrong or damage.found(path, was_used=bool(lockfile.journal_id))
    if wrong is None:
        return
    message = f"the journal {path} is damaged ({wrong}). "
    try:
        folder = damage.put_aside(path, now)
        lockfile.journal_id = ""
    except OSError as error:
        message += f"It could not be put aside ({error.strerror}): move it away, and look after its disk"
    else:
        message += (
            f"It was put aside, unchanged, as {folder}. Look after its disk, then start again: the agent begins with "
            "an empty journal, and the control plane shows what was open as outcome unknown"
        )
    raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def _note_use(lockfile: Lockfile, journal_id: str) -> None:
    # Only so that an emptied file is told from a new one: a full disk need not keep the agent from starting.
    with suppress(OSError):
        if lockfile.journal_id != journal_id:
            lockfile.journal_id = journal_id


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _open_and_migrate(path)
    except sqlite3.Error as error:
        known = _translated(error) if isinstance(error, sqlite3.DatabaseError) else None
        if isinstance(known, CannotStart):
            raise known from None
        reason = known.reason if isinstance(known, TryAgain) else str(error)
        raise CannotStart(f"{path} can't be opened: {reason}", ExitCode.TRY_AGAIN) from None


def _open_and_migrate(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5, cached_statements=256)
    path.chmod(0o600)
    connection.row_factory = sqlite3.Row
    connection.create_function("casefold", 1, _casefold, deterministic=True)
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL: a command that was acknowledged must survive a power cut; NORMAL would lose the last commits.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=1")
    # What a statement may have to undo holds tokens: never in a file outside the state directory.
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA wal_autocheckpoint=256")
    connection.execute("PRAGMA journal_size_limit=4194304")
    # After a sync that failed Linux takes for written what was not. Only what is written again is safe: nothing may be
    # appended to what a process left in the log that ended so (scripts/power_cut --errors --forgetful).
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        message = f"the journal {path} was written by a newer sse-agent; install that version again"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    for number, name in enumerate(MIGRATIONS[version:], start=version + 1):
        script = files("sse_agent.journal").joinpath(name).read_text()
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")
    return connection


def _casefold(name: bytes) -> bytes:
    """For SQL: as names are compared by people. Bytes that are no text stay what they are."""
    return name.decode(errors="surrogateescape").casefold().encode(errors="surrogateescape")


def _claim(tx: Transaction, origin: str) -> tuple[str, int]:
    """The journal's ID and its new epoch; binds a new journal to one control plane and one client."""
    for key, value in (
        ("origin", origin),
        ("client_id", tx.client_id),
        ("journal_id", str(uuid.uuid4())),
        ("epoch", "0"),
    ):
        tx.run("INSERT OR IGNORE INTO about (key, value) VALUES (?, ?)", key, value)
    tx.run("UPDATE about SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
    known = {str(row["key"]): str(row["value"]) for row in tx.all("SELECT key, value FROM about")}
    for key, value, setting in (
        ("origin", origin, "SSE_AGENT_CONTROL_PLANE_URL"),
        ("client_id", tx.client_id, "SSE_AGENT_CLIENT_ID"),
    ):
        if known[key] != value:
            message = (
                f"this journal belongs to {known[key]}, but {setting} says {value}; "
                "set it back, or give the agent an empty state directory"
            )
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return known["journal_id"], int(known["epoch"])


def about(tx: Transaction, key: str) -> str | None:
    """One of the journal's own facts."""
    row = tx.one("SELECT value FROM about WHERE key = ?", key)
    return None if row is None else str(row["value"])


def set_about(tx: Transaction, key: str, value: str) -> None:
    """Replace one of the journal's own facts."""
    tx.run(
        "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        value,
    )
