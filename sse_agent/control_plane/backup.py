"""`sse-agent control-plane backup FILE` and `restore FILE`: the SQLite database, while it is used, and back.

Whoever runs holds the database alone, so it makes the copy itself, asked over a Unix socket beside the database, which
is its owner's alone. A restored database gives every queue a new numbering: agents then come with a cursor that is not
known, and by the contract's reset report their state and send again what they reported since, under numbers above all
that were told.
"""

import asyncio
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.documents import FOR_ONE_USE
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.sqlite.database import MIGRATIONS, Damaged, connect, is_damage
from sse_agent.errors import CannotStart, ExitCode

SOCKET = "control-plane.sock"
ASKED_WITHIN_S = 600.0
REQUEST_LIMIT = 16 * 1024
_NUMBERS_LOST = 1_000_000
"""More reports than were taken since the backup, should the clock be wrong."""
_STOPPED = "the database is used, but nobody answers: stop the control plane, and try again"

Copy = Callable[[Path], Awaitable[None]]


# --- while it runs ---


@asynccontextmanager
async def listening(database: Path, copy: Copy, clock: Clock) -> Any:
    """Answers requests for backups within the block. Where there are no Unix sockets it does nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = json.loads(await reader.readuntil(b"\n"))
            writer.write(json.dumps(await _answer(Path(request["file"]), copy, clock)).encode() + b"\n")
            await writer.drain()
        writer.close()

    try:
        with _name(database.parent, is_fresh=True) as name:
            server = await asyncio.start_unix_server(serve, name, limit=REQUEST_LIMIT)
        (database.parent / SOCKET).chmod(0o600)
    except (OSError, NotImplementedError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        server.close()
        with suppress(OSError):
            (database.parent / SOCKET).unlink()


async def _answer(file: Path, copy: Copy, clock: Clock) -> dict[str, str]:
    try:
        with _new(file) as fresh:
            await copy(fresh)
            await asyncio.to_thread(_finish, fresh, clock.now())
    except (CannotStart, Unavailable) as error:
        return {"error": str(error)}
    return {"file": str(file)}


# --- what a person asks for ---


def backup(database: Path, file: Path, clock: Clock) -> None:
    """A consistent copy of the database, mode 0600. Raises CannotStart; an existing file is never overwritten."""
    file = file.absolute()
    if not database.exists():
        raise CannotStart(f"there is no database at {database}", ExitCode.WRONG_CONFIGURATION)
    answer = _asked(database, file)
    if answer is not None:
        if "error" in answer:
            raise CannotStart(answer["error"], ExitCode.TRY_AGAIN)
        return
    with _new(file) as fresh:
        with closing(connect(database)) as connection, closing(sqlite3.connect(fresh)) as copied:
            connection.backup(copied)
        _finish(fresh, clock.now())


def restore(database: Path, file: Path, clock: Clock) -> str | None:
    """Put the backup in the database's place; what was there is kept beside it. Raises CannotStart.

    Returns when the backup was made (RFC 3339, UTC), None if that is not known.
    """
    taken_at = _checked(file)
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = database.with_name(database.name + ".restoring")
    fresh.unlink(missing_ok=True)
    try:
        _copy(file, fresh)
        with closing(connect(fresh)) as connection:
            _renumber(connection, clock.now())
        if database.exists():
            _put_aside(database, clock.now())
        fresh.replace(database)
        _sync(database.parent)
    except OSError as error:
        raise CannotStart(f"{database} can't be written: {error.strerror}", ExitCode.TRY_AGAIN) from None
    finally:
        for name in (fresh.name, fresh.name + "-wal", fresh.name + "-shm"):
            fresh.with_name(name).unlink(missing_ok=True)
    return taken_at


def _asked(database: Path, file: Path) -> dict[str, str] | None:
    """What a running control plane answers; None if there is none."""
    if not hasattr(socket, "AF_UNIX") or not (database.parent / SOCKET).exists():
        return None
    with socket.socket(socket.AF_UNIX) as asking, _name(database.parent) as name:
        asking.settimeout(ASKED_WITHIN_S)
        try:
            asking.connect(name)
        except OSError:
            return None  # Left behind by one that was killed.
        try:
            asking.sendall(json.dumps({"file": str(file)}).encode() + b"\n")
            with asking.makefile("rb") as answers:
                answer: dict[str, str] = json.loads(answers.readline(REQUEST_LIMIT))
        except (OSError, ValueError):
            raise CannotStart(_STOPPED, ExitCode.TRY_AGAIN) from None
    return answer


# --- files ---


@contextmanager
def _new(file: Path) -> Iterator[Path]:
    """An empty file beside it, that gets its name at the end of the block."""
    if file.exists():
        raise CannotStart(f"{file} exists already; name another file", ExitCode.WRONG_CONFIGURATION)
    part = file.with_name(file.name + ".part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise CannotStart(f"{part} can't be made: {error.strerror}", ExitCode.WRONG_CONFIGURATION) from None
    try:
        yield part
        os.link(part, file)
        _sync(file.parent)
    except FileExistsError:
        raise CannotStart(f"{file} exists already; name another file", ExitCode.WRONG_CONFIGURATION) from None
    except (OSError, sqlite3.Error) as error:
        raise CannotStart(f"{file} can't be written: {error}", ExitCode.TRY_AGAIN) from None
    finally:
        part.unlink(missing_ok=True)


def _finish(copied: Path, now: datetime) -> None:
    """Looked through, dated, and on the disk."""
    with closing(sqlite3.connect(copied, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            raise CannotStart("the copy is damaged, and so may be the database; nothing was kept", ExitCode.TRY_AGAIN)
        connection.execute(
            "INSERT OR REPLACE INTO documents (kind, key, version, body) VALUES ('backups', 'taken', 1, ?)",
            (timestamp(now).encode(),),
        )
    with copied.open("rb") as file:
        os.fsync(file.fileno())


def _checked(file: Path) -> str | None:
    """When the backup was made. Raises CannotStart for what is none."""
    if not file.is_file():
        raise CannotStart(f"there is no file {file}", ExitCode.WRONG_CONFIGURATION)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise CannotStart(f"{file} is damaged; nothing was changed", ExitCode.WRONG_CONFIGURATION)
            if version > len(MIGRATIONS):
                message = f"{file} was made by a newer control plane; install that version first"
                raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
            connection.execute("SELECT count(*) FROM agents")
            row = connection.execute("SELECT body FROM documents WHERE kind = 'backups' AND key = 'taken'").fetchone()
    except sqlite3.Error:
        message = f"{file} is no backup of a control plane; nothing was changed"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    return None if row is None else bytes(row[0]).decode()


def _renumber(connection: sqlite3.Connection, now: datetime) -> None:
    """No event ID of before may name another command now. What was good for one use may have been used since.

    Reports and lines of logs go on above every number of before, so that whoever reads behind the newest one misses
    none: at the time in milliseconds, which grows faster than they do, also from one restore of a backup to the next.
    """
    connection.execute("BEGIN IMMEDIATE")
    for table in ("events", "entries"):
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        number = max(found[0] + _NUMBERS_LOST if found else 0, int(now.timestamp() * 1000))
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
    connection.execute("UPDATE agents SET numbering = lower(hex(randomblob(6))), stream = NULL")
    connection.executemany("DELETE FROM documents WHERE kind = ?", [(kind,) for kind in (*FOR_ONE_USE, "backups")])
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _put_aside(database: Path, now: datetime) -> None:
    """What is there gets a second name, with the time. Raises CannotStart if a control plane runs on it.

    It keeps its own name until the other one takes it: whatever ends the restore, there is a database. A damaged one is
    kept as it is, with its log (`-wal`), which would else be taken for the new one's.
    """
    aside = database.with_name(f"{database.name}.before-{now:%Y%m%dT%H%M%SZ}")
    wal, wal_aside = (file.with_name(file.name + "-wal") for file in (database, aside))
    if wal.exists():
        # Looking at a damaged database may empty it.
        _copy(wal, wal_aside)
    is_kept = False
    try:
        is_kept = not _is_settled(database)
    finally:
        if not is_kept:
            wal_aside.unlink(missing_ok=True)
    # It has the name already where a restore was cut off at this second.
    if not (aside.exists() and aside.samefile(database)):
        os.link(database, aside)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    _sync(database.parent)


def _is_settled(database: Path) -> bool:
    """Whether everything is in the one file now; a damaged one is left alone. Raises CannotStart."""
    try:
        with closing(connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except Damaged:
        return False
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise CannotStart(f"the database {database} can't be opened: {error}", ExitCode.TRY_AGAIN) from None
    return True


def _copy(file: Path, fresh: Path) -> None:
    with file.open("rb") as source, os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as to:
        shutil.copyfileobj(source, to, 1024 * 1024)
        to.flush()
        os.fsync(to.fileno())


def _sync(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _name(folder: Path, *, is_fresh: bool = False) -> Iterator[str]:
    """The socket's path; over a handle of its folder where that is possible, for a socket's path may have 100 bytes."""
    if is_fresh:
        (folder / SOCKET).unlink(missing_ok=True)
    if not Path("/proc/self/fd").exists():
        yield str(folder / SOCKET)
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
