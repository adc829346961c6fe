"""One connection on one writer thread, and group commit: works that wait together share one transaction.

Each work runs in a savepoint of its own, so that one that fails takes nothing of the others with it, and is answered
only after COMMIT. While one group is being synced to the disk the next one gathers: the more there is to do, the more
works share one sync.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import anyio

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.problems import Problem, Unavailable
from sse_agent.errors import CannotStart, ExitCode

P = ParamSpec("P")
T = TypeVar("T")

MIGRATIONS = ("schema.sql", "documents.sql", "sizes.sql")
"""Applied in order, each in one transaction; `user_version` counts them."""

GROUP_LIMIT = 256
WAITING_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a work gets: it runs whole or not at all, and must not keep this."""

    sql: sqlite3.Connection
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


class _Job(Generic[T]):
    """One work that waits, and what became of it."""

    def __init__(self, work: Callable[[Transaction], T], future: "asyncio.Future[T]") -> None:
        self._work = work
        self._future = future
        self._result: T | None = None
        self._error: BaseException | None = None

    def carry_out(self, transaction: Transaction) -> None:
        """In a savepoint. Raises sqlite3.Error only if the whole transaction is gone."""
        transaction.sql.execute("SAVEPOINT work")
        try:
            self._result = self._work(transaction)
        except BaseException as error:
            self._error = _translated(error)
            # Some errors (a full disk, say) end the transaction on SQLite's side: then nothing is left to roll back to.
            if not transaction.sql.in_transaction:
                raise sqlite3.OperationalError(str(error)) from error
            transaction.sql.execute("ROLLBACK TO work")
        transaction.sql.execute("RELEASE work")

    def fail(self, error: BaseException) -> None:
        """The group was not committed."""
        self._error = error

    def deliver(self) -> None:
        """On the event loop."""
        if self._future.cancelled():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(cast("T", self._result))


class _Copying(_Job[None]):
    """A copy of the whole database, between two transactions."""

    def __init__(self, target: Path, future: "asyncio.Future[None]") -> None:
        super().__init__(lambda _: None, future)
        self._target = target

    def copy(self, connection: sqlite3.Connection) -> None:
        """Outside of any transaction."""
        try:
            copied = sqlite3.connect(self._target)
            try:
                connection.backup(copied)
            finally:
                copied.close()
        except sqlite3.Error as error:
            self._error = Unavailable(f"the copy can't be written: {error}")


class Database:
    """Everything durable. Open it, run works, close it: closing waits for what was asked for before."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._is_closed = True
        self._connection: sqlite3.Connection
        self._thread: threading.Thread
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Raises CannotStart: 75 if another process holds it or its disk fails, 78 if it is no database of ours."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        # sqlite3 binds a connection to the thread that made it: the writer thread makes it.
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="control-plane-db", daemon=True)
        self._thread.start()
        await opened
        self._is_closed = False

    async def close(self) -> None:
        """Everything that was asked for is decided before this returns."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def run(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(transaction, …)`; it is on the disk when this returns. Raises its Problem, or Unavailable.

        A cancellation waits until the commit is decided: nobody must guess whether it happened.
        """
        if self._is_closed or self._waiting >= WAITING_LIMIT:
            raise Unavailable("too much is waiting for the disk", retry_after_s=1)
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._jobs.put(_Job(lambda transaction: work(transaction, *args, **kwargs), future))
        try:
            with anyio.CancelScope(shield=True):
                result = await future
            return result  # noqa: RET504 - a scope may swallow, in the eyes of the type checker
        finally:
            self._waiting -= 1

    async def copy(self, target: Path) -> None:
        """A consistent copy, into an empty file. Nothing else is written meanwhile. Raises Unavailable."""
        if self._is_closed:
            raise Unavailable("the control plane is stopping")
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Copying(target, future))
        with anyio.CancelScope(shield=True):
            await future

    def _serve(self, opened: "asyncio.Future[None]") -> None:
        try:
            self._connection = connect(self._path)
        except CannotStart as error:
            self._loop.call_soon_threadsafe(opened.set_exception, error)
            return
        self._loop.call_soon_threadsafe(opened.set_result, None)
        while group := self._next_group():
            alone = [job for job in group if isinstance(job, _Copying)]
            if together := [job for job in group if not isinstance(job, _Copying)]:
                self._commit(together)
            for job in alone:
                job.copy(self._connection)
            self._loop.call_soon_threadsafe(_deliver, group)
        self._connection.close()

    def _next_group(self) -> list[_Job[Any]]:
        """Whatever waits, at least one; empty when it is time to close."""
        job = self._jobs.get()
        group: list[_Job[Any]] = []
        while job is not None:
            group.append(job)
            if len(group) == GROUP_LIMIT:
                return group
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._jobs.put(None)
        return group

    def _commit(self, group: Sequence[_Job[Any]]) -> None:
        transaction = Transaction(self._connection, self._clock.now())
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                job.carry_out(transaction)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # If even that fails, the next group's BEGIN does, and it is tried again: the thread must not end.
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            for job in group:
                job.fail(_translated(error))


def _deliver(group: Sequence[_Job[Any]]) -> None:
    for job in group:
        job.deliver()


def _translated(error: BaseException) -> BaseException:
    """No exception of sqlite3 leaves this file."""
    if isinstance(error, sqlite3.OperationalError) and not isinstance(error, Problem):
        return Unavailable("the database can't be written", retry_after_s=5)
    if isinstance(error, sqlite3.Error):
        return RuntimeError(f"a statement failed: {error}")
    return error


class Damaged(CannotStart):
    """The file is no database, or one whose content is broken."""


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether it is the file, and not the disk or another process."""
    return (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def connect(path: Path) -> sqlite3.Connection:
    """The open, migrated database. Raises CannotStart: 75 if another process holds it, 78 if it is none of ours.

    Raises Damaged, which is one of the latter.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        _shut(path)
        return _open_and_migrate(path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            message = f"the database {path} is damaged or none of ours ({error}); nothing was changed in it"
            raise Damaged(message, ExitCode.WRONG_CONFIGURATION) from None
        if (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY:
            message = f"another process holds the database {path}; stop it first"
            raise CannotStart(message, ExitCode.TRY_AGAIN) from None
        raise CannotStart(f"the database {path} can't be opened: {error}", ExitCode.TRY_AGAIN) from None
    except OSError as error:
        message = f"the database {path} can't be opened: {error.strerror}"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None


def _shut(path: Path) -> None:
    """Upload tokens wait in it. What SQLite makes beside it gets its mode, but keeps the one it has."""
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if os.name == "posix" and file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _open_and_migrate(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=2, cached_statements=256)
    try:
        _prepare(connection, path)
    except (sqlite3.Error, CannotStart):
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    # Exclusive: a second control plane on the same file would number commands twice.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL: what was answered 202 must survive a power cut; NORMAL would lose the last commits.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=1")
    # What a savepoint undoes can hold upload tokens: not into a file in the folder for temporary ones.
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA journal_size_limit=67108864")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        message = f"the database {path} was written by a newer control plane; install that version again"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    for number, name in enumerate(MIGRATIONS[version:], start=version + 1):
        script = files("sse_agent.control_plane.sqlite").joinpath(name).read_text()
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")
