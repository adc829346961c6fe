"""What the journal uses of the module `sqlite3`, on apsw, which alone can carry a VFS written in Python."""

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

import sse_agent.journal

_KINDS: dict[int, type[sqlite3.Error]] = {
    apsw.SQLITE_CORRUPT: sqlite3.DatabaseError,
    apsw.SQLITE_NOTADB: sqlite3.DatabaseError,
    apsw.SQLITE_CONSTRAINT: sqlite3.IntegrityError,
    apsw.SQLITE_MISMATCH: sqlite3.IntegrityError,
    apsw.SQLITE_TOOBIG: sqlite3.DataError,
    apsw.SQLITE_INTERNAL: sqlite3.InternalError,
    apsw.SQLITE_NOTFOUND: sqlite3.InternalError,
    apsw.SQLITE_MISUSE: sqlite3.InterfaceError,
}
_CHANGES_ROWS = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Row:
    """One row, by place or by name."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: dict[str, int], values: Sequence[Any]) -> None:
        self._places = places
        self._values = tuple(values)

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self._places)


class Cursor:
    """What `execute` returns. The statement has run to its end already."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """The next row or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class Connection:
    """A connection, as the journal uses one."""

    def __init__(self, module: "Adaptor", name: str, flags: int, timeout_s: float) -> None:
        self._module = module
        with _translated():
            self._connection = apsw.Connection(name, flags=flags, vfs=module.vfs)
            self._connection.set_busy_timeout(int(timeout_s * 1000))
        self.row_factory: Any = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.in_transaction)

    def create_function(self, name: str, count: int, function: Callable[..., Any], *, deterministic: bool) -> None:
        """A function that statements can call; `count` of arguments."""
        self._connection.create_scalar_function(name, function, count, deterministic=deterministic)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        """One statement."""
        statement = self._module.said(statement)
        try:
            with _translated():
                cursor = self._run(statement, values)
        except sqlite3.DatabaseError as error:
            if self._module.swallows(self, statement, error):
                return Cursor([], -1)
            raise
        if statement.startswith("PRAGMA wal_autocheckpoint="):
            self._checkpoint_every(int(statement.partition("=")[2]))
        return cursor

    def _run(self, statement: str, values: Sequence[Any]) -> Cursor:
        found: list[Any] = []
        cursor = self._connection.cursor()
        places: dict[str, int] = {}
        for row in cursor.execute(statement, tuple(values)):
            if not places:
                places = {column[0]: place for place, column in enumerate(cursor.description)}
            found.append(tuple(row) if self.row_factory is None else Row(places, row))
        is_change = statement.lstrip().upper().startswith(_CHANGES_ROWS)
        return Cursor(found, self._connection.changes() if is_change else -1)

    def executescript(self, script: str) -> None:
        """Several statements."""
        with _translated():
            for _ in self._connection.execute(script):
                pass

    def set_trace_callback(self, told: Any) -> None:
        """Called with each statement."""
        trace = None if told is None else lambda _, statement, __: told(statement) or True
        self._connection.exec_trace = trace

    def close(self) -> None:
        """Close it. That its last checkpoint fails is nothing to SQLite, but apsw would say so."""
        with suppress(apsw.Error):
            self._connection.close()

    def _checkpoint_every(self, pages: int) -> None:
        """As SQLite's own hook, which passes over a checkpoint that fails; with it apsw would raise that in COMMIT."""

        def checkpoint(connection: apsw.Connection, _: str, waiting: int) -> int:
            if waiting >= pages:
                with suppress(apsw.Error):
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return apsw.SQLITE_OK

        self._connection.set_wal_hook(checkpoint)


class Adaptor:
    """Stands where the module stands. What is not here is the module's own: constants, exceptions, versions.

    Two mistakes for builds that have to fail: `is_normal` turns `synchronous=FULL` into `NORMAL`, `is_deaf` takes a
    COMMIT that failed for one that did not.
    """

    def __init__(self, vfs: str, *, is_normal: bool = False, is_deaf: bool = False) -> None:
        self.vfs = vfs
        self._is_normal = is_normal
        self._is_deaf = is_deaf

    def connect(self, name: Path | str, *, timeout: float = 5.0, uri: bool = False, **_: object) -> Connection:
        """Open or make a database."""
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | (apsw.SQLITE_OPEN_URI if uri else 0)
        return Connection(self, str(name), flags, timeout)

    def said(self, statement: str) -> str:
        """The statement as this build says it."""
        return statement.replace("synchronous=FULL", "synchronous=NORMAL") if self._is_normal else statement

    def swallows(self, connection: Connection, statement: str, error: sqlite3.DatabaseError) -> bool:
        """Whether this build takes that failure for a success."""
        del error
        if not (self._is_deaf and statement == "COMMIT"):
            return False
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


@contextmanager
def journal_on(adaptor: Adaptor) -> Iterator[None]:
    """Within the block every module of the journal that says `sqlite3` gets the adaptor."""
    prefix = f"{sse_agent.journal.__name__}."
    modules = [module for name, module in sys.modules.items() if name.startswith(prefix) and "sqlite3" in vars(module)]
    before = {module: module.sqlite3 for module in modules}
    for module in modules:
        vars(module)["sqlite3"] = adaptor
    try:
        yield
    finally:
        for module, real in before.items():
            vars(module)["sqlite3"] = real


@contextmanager
def _translated() -> Iterator[None]:
    """apsw's exceptions as those of `sqlite3`, with the same code."""
    try:
        yield
    except apsw.Error as error:
        code = int(getattr(error, "extendedresult", 0) or getattr(error, "result", 0) or apsw.SQLITE_ERROR)
        same = _KINDS.get(code & 0xFF, sqlite3.OperationalError)(str(error))
        same.sqlite_errorcode = code
        same.sqlite_errorname = str(apsw.mapping_extended_result_codes.get(code, apsw.mapping_result_codes.get(code)))
        raise same from None
