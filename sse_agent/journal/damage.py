"""A damaged journal is put aside, whole, and people are told: never read on, never silently replaced."""

import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

PARTS = ("", "-wal", "-shm")
SMALL = 64 * 1024 * 1024


def found(path: Path, *, was_used: bool) -> str | None:
    """What is wrong with the database file, in SQLite's words; None if nothing is, or it is not there.

    Read only: SQLite writes what is left of the log into a file that it opened for writing, when it closes it.
    `was_used`: an empty file is what is left of a journal, not the beginning of one.
    """
    if not path.exists():
        return None
    if path.stat().st_size == 0:
        return "the file is empty" if was_used else None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return _wrong_in(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Trouble of the disk, or of somebody's lock, is no damage: opening it for good will tell.
        return describe(error)


def describe(error: Exception) -> str | None:
    """SQLite's words if that error tells of damage. Python's own, for bytes where text should be, have no code."""
    if isinstance(error, UnicodeDecodeError):
        return "its schema is no text"
    if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return str(error)
    return "a column is no text" if "decode to UTF-8" in str(error) else None


def _wrong_in(connection: sqlite3.Connection) -> str | None:
    """A small journal is compared with its indexes, too: that takes about four times as long."""
    pages, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    check = "integrity_check" if pages * size <= SMALL else "quick_check"
    verdict = str(connection.execute(f"PRAGMA {check}(1)").fetchone()[0])
    return None if verdict == "ok" else verdict.splitlines()[-1]


def put_aside(path: Path, now: datetime) -> Path:
    """Move the database, with its log, into a folder of its own beside it. Returns the folder. Raises OSError."""
    folder = path.with_name(f"damaged-{now:%Y%m%dT%H%M%SZ}")
    folder.mkdir(mode=0o700)
    # The database last: if this is broken off, the next start finds it damaged again.
    for suffix in reversed(PARTS):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(folder / (path.name + suffix))
    return folder
