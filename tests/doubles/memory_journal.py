"""The journal in the real SQLite, without its thread and without waiting for the disk: for thousands of tries."""

import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sse_agent.clock import Clock
from sse_agent.journal import Journal, Transaction
from sse_agent.journal.database import MIGRATIONS
from tests.doubles.journals import CLIENT

P = ParamSpec("P")
T = TypeVar("T")


class MemoryJournal(Journal):
    """In memory, or in a file where something must be found again. Each call is one transaction, as in the real one."""

    def __init__(self, clock: Clock, path: Path | None = None) -> None:
        self._sql = sqlite3.connect(path or ":memory:", isolation_level=None, cached_statements=256)
        self._sql.row_factory = sqlite3.Row
        self._sql.execute("PRAGMA synchronous=OFF")
        self._told = clock
        self.journal_id, self.epoch = "a-journal", 1
        if self._sql.execute("PRAGMA user_version").fetchone()[0] == 0:
            for name in MIGRATIONS:
                self._sql.executescript(files("sse_agent.journal").joinpath(name).read_text())
            self._sql.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    async def write(
        self,
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return self.transact(work, *args, **kwargs)

    read = write

    def transact(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write`, for who does not wait."""
        return self._run(work, "COMMIT", *args, **kwargs)

    def undo(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The whole work, and then the process dies before the commit."""
        return self._run(work, "ROLLBACK", *args, **kwargs)

    def _run(self, work: Callable[Concatenate[Transaction, P], T], end: str, *args: P.args, **kwargs: P.kwargs) -> T:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            result = work(Transaction(self._sql, CLIENT, self._told.now()), *args, **kwargs)
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute(end)
        return result

    def close(self) -> None:
        """What is in a file stays there."""
        self._sql.close()
