"""One page of a folder, in the order of the names' bytes.

The cursor is the last name of the page before: no state is kept between pages, and entries that come and go
meanwhile neither repeat nor hide others.
"""

import base64
import errno
import heapq
import os
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pydantic_core

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.messages import EVENT_LIMIT, FileEntry, FileList

PAGE_LIMIT = EVENT_LIMIT - 16 * 1024
"""Bytes of path and entries, encoded; the rest of the event is for the envelope and the cursor."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

Kind = Literal["file", "directory", "link", "other"]


def shown(name: bytes) -> str:
    """A name as text: what is not UTF-8 is replaced, nothing is normalised."""
    return name.decode(errors="replace")


def parse_cursor(cursor: str | None) -> bytes:
    """The name to go on after; empty for the first page. Raises GiveUp, `INVALID_PAYLOAD`."""
    if cursor is None:
        return b""
    try:
        name = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        name = b""
    if not name:
        raise GiveUp(ErrorCode.INVALID_PAYLOAD, "cursor: not one that this agent gave out")
    return name


def page(
    path: str, names: Iterable[bytes], lstat: Callable[[bytes], os.stat_result], after: bytes, limit: int
) -> FileList:
    """At most `limit` entries with names above `after`, fewer if they grow too large.

    A folder with a million entries is read through, but only one page of names is kept and looked at.
    """
    found = heapq.nsmallest(limit + 1, (name for name in names if name > after))
    entries: list[FileEntry] = []
    room, done = PAGE_LIMIT - _encoded_size(path), 0
    for name in found[:limit]:
        entry = _entry(name, lstat)
        if entry is not None:
            room -= _encoded_size(entry.to_wire()) + 1
            if room < 0:
                break
            entries.append(entry)
        done += 1
    cursor = base64.urlsafe_b64encode(found[done - 1]).decode() if done < len(found) else None
    return FileList(path=path, entries=entries, cursor=cursor)


def _entry(name: bytes, lstat: Callable[[bytes], os.stat_result]) -> FileEntry | None:
    """None if it is gone. What may not be looked at (another user's FUSE mount, say) is there all the same."""
    try:
        status = lstat(name)
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.ESTALE) else _describe(name, "other", 0, 0)
    kind = _kind(status.st_mode)
    return _describe(name, kind, status.st_size if kind == "file" else 0, status.st_mtime_ns)


def _describe(name: bytes, kind: Kind, size: int, mtime_ns: int) -> FileEntry:
    text = shown(name)
    raw = None if text.encode() == name else base64.b64encode(name).decode()
    return FileEntry(name=text, name_b64=raw, kind=kind, size=size, modified_at=modified_at(mtime_ns))


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def modified_at(mtime_ns: int) -> str:
    """RFC 3339; a file system can hold times that a calendar of four-digit years can't, so they are clamped."""
    return timestamp(_EPOCH + max(_FIRST, min(mtime_ns // 1000, _LAST)) * _MICROSECOND)


def _encoded_size(value: object) -> int:
    return len(pydantic_core.to_json(value))
