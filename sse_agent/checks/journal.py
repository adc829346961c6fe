"""The journal, looked at without a change: held, whole, of this version, and bound to these settings."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sse_agent.checks.report import Check, failed, ok
from sse_agent.config import JOURNAL, Settings
from sse_agent.journal import damage
from sse_agent.journal.database import MIGRATIONS
from sse_agent.journal.lockfile import LOCK, Lockfile
from sse_agent.printable import byte_count, duration

NAME = "journal"


def check(settings: Settings, status: dict[str, Any] | None) -> Check:
    """`status` is the running agent's, None if none runs. Raises OSError."""
    if status is not None:
        return ok(NAME, f"held by the agent that has been running for {duration(status['seconds'])}")
    path, lock = settings.state_dir / JOURNAL, settings.state_dir / LOCK
    journal_id = ""
    if lock.exists():
        try:
            # For a moment only. An agent that starts in it ends with 75, as if it had come second.
            lockfile = Lockfile(lock)
        except BlockingIOError:
            advice = "it may be starting or ending: try again; else find it (fuser journal.lock) and stop it"
            return failed(NAME, "held by another process that does not answer", advice)
        journal_id = lockfile.journal_id
        lockfile.close()
    if not path.exists():
        return ok(NAME, "none yet: the first start makes it")
    wrong = damage.found(path, was_used=bool(journal_id))
    if wrong is not None:
        advice = "look after its disk; the next start puts it aside, unchanged, and the one after begins anew"
        return failed(NAME, f"damaged ({wrong})", advice)
    return _belonging(settings) or ok(NAME, f"whole, {byte_count(path.stat().st_size)}, free")


def owner(state_dir: Path) -> str | None:
    """The client ID that the journal there belongs to, as far as that can be read; None if there is none."""
    try:
        with closing(_connected(state_dir / JOURNAL)) as connection:
            row = connection.execute("SELECT value FROM about WHERE key = 'client_id'").fetchone()
    except sqlite3.DatabaseError:
        return None
    return None if row is None else str(row[0])


def _connected(path: Path) -> sqlite3.Connection:
    # Read only, and so without the migration that opening it for good begins with.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)


def _belonging(settings: Settings) -> Check | None:
    path = settings.state_dir / JOURNAL
    try:
        with closing(_connected(path)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] > len(MIGRATIONS):
                return failed(NAME, "written by a newer sse-agent", "install that version again")
            known = dict(connection.execute("SELECT key, value FROM about").fetchall())
    except sqlite3.DatabaseError as error:
        is_new = "no such table" in str(error)
        return None if is_new else failed(NAME, f"can't be read: {error}", "look after its disk and its permissions")
    wanted = (("origin", settings.origin, "CONTROL_PLANE_URL"), ("client_id", settings.client_id, "CLIENT_ID"))
    for key, value, setting in wanted:
        if known.get(key, value) != value:
            advice = "set it back, or give the agent an empty state directory"
            return failed(NAME, f"it belongs to {known[key]}, but SSE_AGENT_{setting} says {value}", advice)
    return None
