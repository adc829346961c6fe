"""Documents and logs. A document is `version expiry body` in a hash of its kind; a log is a stream."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sse_agent.clock import timestamp
from sse_agent.control_plane.documents import Conflict, Document, Entry
from sse_agent.control_plane.redis.keys import PREFIX, behind, number, value
from sse_agent.control_plane.redis.keys import entries as page_of
from sse_agent.control_plane.redis.store import Store

_FORGOTTEN_AT_ONCE = 500


async def one(store: Store, kind: str, key: str, now: datetime) -> Document | None:
    """None if it is not there, or has expired."""
    (found,) = await store.read(("HGET", _place(kind), key))
    return _document(key, found, now)


async def page(store: Store, kind: str, after: str, limit: int, now: datetime) -> Sequence[Document]:
    """In the order of their keys."""
    documents: list[Document] = []
    while len(documents) < limit:
        (keys,) = await store.read(behind(f"{_place(kind)}:keys", after, limit))
        if not keys:
            break
        (found,) = await store.read(("HMGET", _place(kind), *keys))
        read = (_document(key.decode(), line, now) for key, line in zip(keys, found, strict=True))
        documents += [document for document in read if document is not None]
        after = keys[-1].decode()
    return documents[:limit]


async def put(store: Store, kind: str, key: str, body: bytes, version: int, expires_at: datetime | None) -> Document:
    """Raises Conflict."""
    at, ms = ("-", 0) if expires_at is None else (timestamp(expires_at), int(expires_at.timestamp() * 1000))
    word, *rest = await store.run("put", kind, key, version, body, at, ms)
    if word == b"conflict":
        raise Conflict
    return Document(key, int(rest[0]), body)


async def remove(store: Store, kind: str, key: str, version: int) -> None:
    """Raises Conflict."""
    (word,) = await store.run("remove", kind, key, version)
    if word == b"conflict":
        raise Conflict


async def append(store: Store, log: str, body: bytes, key: str | None) -> int:
    """Its number; the same key again gives the first one's."""
    return int(await store.run("append", log, body, key or ""))


async def entries(store: Store, log: str, after: int, limit: int) -> Sequence[Entry]:
    """Oldest first."""
    (found,) = await store.read(page_of(f"{PREFIX}log:{log}", after, limit))
    return [_entry(place, fields) for place, fields in found]


async def trim(store: Store, log: str, before: datetime) -> int:
    """How many were forgotten."""
    total = 0
    while True:
        count = int(await store.run("forget", log, timestamp(before), _FORGOTTEN_AT_ONCE))
        total += count
        if count < _FORGOTTEN_AT_ONCE:
            return total


async def prune(store: Store, now: datetime) -> None:
    """Documents that have expired."""
    while True:
        (found,) = await store.read(
            ("ZRANGE", f"{PREFIX}expiring", "-inf", int(now.timestamp() * 1000), "BYSCORE", "LIMIT", 0, 500)
        )
        for member in found:
            kind, _, key = member.decode().partition(" ")
            await store.run("remove", kind, key, "-")
        if len(found) < 500:
            return


def _place(kind: str) -> str:
    return f"{PREFIX}documents:{kind}"


def _document(key: str, line: bytes | None, now: datetime) -> Document | None:
    if line is None:
        return None
    version, expires_at, body = line.split(b" ", 2)
    if expires_at != b"-" and expires_at.decode() <= timestamp(now):
        return None
    return Document(key, int(version), body)


def _entry(place: bytes, fields: Any) -> Entry:
    return Entry(number(place), value(fields, b"at").decode(), value(fields, b"body"))
