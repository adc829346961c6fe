"""Reading: keys → what services are told."""

from collections.abc import Collection, Sequence
from typing import TypeVar

from sse_agent.control_plane import rows
from sse_agent.control_plane.engine import UploadNews
from sse_agent.control_plane.problems import AgentDeleted, UnknownAgent, UnknownCommand
from sse_agent.control_plane.records import AgentRecord, CommandRecord, FeedRecord, MessageRecord, UploadRecord
from sse_agent.control_plane.redis.keys import PREFIX, agent_key, behind, entries, number, value
from sse_agent.control_plane.redis.store import Row, Store, row
from sse_agent.lifecycle import UNFINISHED

T = TypeVar("T")
_PAGE = 1000


async def command(store: Store, command_id: str) -> CommandRecord:
    """Outcome and replies so far. Raises UnknownCommand."""
    found = await store.run("command", command_id)
    if not found:
        raise UnknownCommand
    pairs, (numbering, sent_n), replies = found
    fields = row(pairs)
    return rows.command_record(fields, numbering.decode(), int(sent_n), replies)


async def commands(store: Store, client_id: str, command_ids: Sequence[str]) -> Sequence[CommandRecord]:
    """Those of one agent, without their replies. Raises UnknownAgent, AgentDeleted."""
    standing, *found = await store.read(
        ("HMGET", agent_key(client_id), "numbering", "deleted_at", "sent_n"),
        *[("HGETALL", f"{PREFIX}command:{command_id}") for command_id in command_ids],
    )
    numbering, _, sent_n = _known(standing)
    known = (row(fields) for fields in found if fields)
    return [
        rows.command_record(fields, numbering.decode(), int(sent_n), ())
        for fields in known
        if fields["client_id"] == client_id
    ]


async def agent(store: Store, client_id: str) -> AgentRecord:
    """One agent as last reported. Raises UnknownAgent, AgentDeleted."""
    (found,) = await store.read(("HGETALL", agent_key(client_id)))
    fields = row(found)
    _known((fields["numbering"], fields["deleted_at"]))
    return _agent(client_id, fields)


async def agents(store: Store, after: str, limit: int) -> Sequence[AgentRecord]:
    """In the order of their IDs; deleted ones are not among them."""
    (listed,) = await store.read(behind(f"{PREFIX}agents", after, limit))
    client_ids = [name.decode() for name in listed]
    found = await store.read(*[("HGETALL", agent_key(client_id)) for client_id in client_ids])
    agents_by_id = {client_id: row(fields) for client_id, fields in zip(client_ids, found, strict=True)}
    # One may have been deleted since it was listed.
    return [_agent(client_id, fields) for client_id, fields in agents_by_id.items() if fields["deleted_at"] is None]


def _agent(client_id: str, fields: Row) -> AgentRecord:
    fields["client_id"] = client_id
    return rows.agent_record(fields)


async def uploads(store: Store, client_id: str, after: str, limit: int) -> Sequence[UploadRecord]:
    """In the order of their file IDs: what is durable, with the newest progress where that is newer."""
    records: list[UploadRecord] = []
    while len(records) < limit:
        standing, listed = await store.read(_standing(client_id), behind(agent_key(client_id, "files"), after, limit))
        generation = int(_known(standing)[2] or 0)
        if not listed:
            break
        found = await store.read(
            *[("HMGET", agent_key(client_id, part), *listed) for part in ("uploads", "progress", "sizes")]
        )
        for name, line, news, size in zip(listed, *found, strict=True):
            record = _upload(name.decode(), generation, line, news, size)
            # Only progress was heard of it, and that is forgotten.
            if record is not None:
                records.append(record)
        after = listed[-1].decode()
        if len(listed) < limit:
            break
    return records[:limit]


def _upload(
    file_id: str, generation: int, line: bytes | None, progress: bytes | None, size: bytes | None
) -> UploadRecord | None:
    news, at = _progress(file_id, progress)
    if line is None:
        return None if news is None else rows.upload_from(news, at)
    of_generation, revision, state, updated_at, details = line.split(b" ", 4)
    # What another journal said is out of date: its revisions count as 0, and what was unfinished is lost.
    is_current = int(of_generation) == generation
    fields = {
        "file_id": file_id,
        "state": state.decode(),
        "revision": int(revision) if is_current else 0,
        "details": details,
        "file_size": None if size is None else int(size),
        "updated_at": updated_at.decode(),
        "is_lost": not is_current and state.decode() in UNFINISHED,
    }
    return rows.upload_record(fields, news)


def _progress(file_id: str, line: bytes | None) -> tuple[UploadNews | None, str]:
    if line is None:
        return None, ""
    revision, n, state, at, details = line.split(b" ", 4)
    word = None if state == b"-" else state.decode()
    return UploadNews(file_id, int(revision), int(n), word, rows.parsed(details)), at.decode()


async def messages(
    store: Store, client_id: str, after: int, limit: int, types: Collection[str]
) -> Sequence[MessageRecord]:
    """What it reported durably, oldest first."""
    wanted = {name.encode() for name in types}
    places: list[bytes] = []
    while len(places) < limit:
        standing, found = await store.read(
            _standing(client_id),
            entries(agent_key(client_id, "events"), after, _PAGE if wanted else limit),
        )
        _known(standing)
        if not found:
            break
        places += [place for place, fields in found if not wanted or value(fields, b"type") in wanted]
        after = number(found[-1][0])
    bodies = await store.read(*[("XRANGE", f"{PREFIX}feed", place, place) for place in places[:limit]])
    return [
        MessageRecord(
            n=number(place),
            recorded_at=value(fields, b"at").decode(),
            message=rows.parsed(value(fields, b"body")),
        )
        for page in bodies
        for place, fields in page
    ]


async def feed(store: Store, after: int, limit: int) -> Sequence[FeedRecord]:
    """What all agents reported durably, oldest first."""
    (found,) = await store.read(entries(f"{PREFIX}feed", after, limit))
    return [
        FeedRecord(
            n=number(place),
            client_id=value(fields, b"client").decode(),
            recorded_at=value(fields, b"at").decode(),
            message=rows.parsed(value(fields, b"body")),
        )
        for place, fields in found
    ]


async def feed_end(store: Store) -> int:
    """The serial number of the newest."""
    (found,) = await store.read(("GET", f"{PREFIX}feed:n"))
    return int(found or 0)


def _standing(client_id: str) -> tuple[str, ...]:
    return ("HMGET", agent_key(client_id), "numbering", "deleted_at", "generation")


def _known(standing: Sequence[T]) -> Sequence[T]:
    """Raises UnknownAgent, AgentDeleted."""
    if standing[0] is None:
        raise UnknownAgent
    if standing[1] is not None:
        raise AgentDeleted
    return standing
