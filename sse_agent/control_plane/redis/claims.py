"""Who speaks for an agent, and where its stream goes on: read, decide, write if nothing moved meanwhile.

The rules are those of fencing.py and resumption.py; the script only checks that what they looked at still stands.
"""

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import anyio
import pydantic_core

from sse_agent.clock import timestamp
from sse_agent.control_plane import resumption, rows
from sse_agent.control_plane.engine import Greeting, Speaker
from sse_agent.control_plane.fencing import Ruling, Standing, rule
from sse_agent.control_plane.problems import AgentDeleted, NewerEpoch, Problem, Unavailable, UnknownAgent
from sse_agent.control_plane.redis.keys import agent_key
from sse_agent.control_plane.redis.store import Row, Store, row

ATTEMPTS = 20
SEEN_EVERY = timedelta(minutes=1)
_RESETS = {Ruling.JOURNAL_LOST: resumption.JOURNAL_LOST, Ruling.READMITTED: resumption.READMITTED}
_LOOKED_AT = (
    "numbering",
    "last_n",
    "sent_n",
    "passed_n",
    "floor_n",
    "journal",
    "epoch",
    "instance",
    "is_readmitted",
    "reset_reason",
    "reset_n",
    "reset_since",
    "reported_at",
    "recorded_at",
    "generation",
    "deleted_at",
)
PROBLEMS: dict[bytes, type[Problem]] = {b"unknown-agent": UnknownAgent, b"agent-deleted": AgentDeleted}
"""What scripts answer, and what that is."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A greeting, and what changed for others: streams that are over, commands that became unknown."""

    greeting: Greeting | None
    ruling: Ruling
    ends_streams: bool
    unknown: tuple[str, ...]


@dataclass(slots=True)
class _Change:
    """What is to be written. `agent` is the row as it will be."""

    agent: Row
    set: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    journal: str | None = None
    unknown: tuple[int, int] | None = None
    forgets: bool = False

    def put(self, name: str, value: str | int) -> None:
        """Set a field."""
        self.set[name] = str(value)
        self.agent[name] = value

    def drop(self, *names: str) -> None:
        """Let fields go."""
        for name in names:
            self.set.pop(name, None)
            self.unset.append(name)
            self.agent.pop(name, None)


async def enlist(store: Store, client_ids: Iterable[str]) -> None:
    """Make agents known, each with an empty queue."""
    pairs = [part for client_id in client_ids for part in (client_id, _new_numbering())]
    for start in range(0, len(pairs), 2000):
        await store.run("enlist", *pairs[start : start + 2000])


async def bind(store: Store, client_id: str, speaker: Speaker, now: datetime) -> Claim:
    """Let this speaker speak for the agent. Raises NewerEpoch, UnknownAgent, AgentDeleted."""
    return await _settle(store, client_id, speaker, now, None, is_claim=False, opens_stream=False)


async def claim(
    store: Store, client_id: str, speaker: Speaker, cursor: str | None, now: datetime, *, opens_stream: bool
) -> Claim:
    """Bind, place the cursor, and hand out the newest stream's ticket."""
    return await _settle(store, client_id, speaker, now, cursor, is_claim=True, opens_stream=opens_stream)


async def _settle(
    store: Store,
    client_id: str,
    speaker: Speaker,
    now: datetime,
    cursor: str | None,
    *,
    is_claim: bool,
    opens_stream: bool,
) -> Claim:
    for _ in range(ATTEMPTS):
        before, is_seen = await _look(store, client_id, speaker.journal)
        change = _Change(Row(before))
        ruling = _rule(change, speaker, is_seen)
        if is_claim and ruling is Ruling.TAKES_OVER and resumption.is_behind(rows.queue(change.agent), cursor):
            ruling = Ruling.READMITTED
            _let_go(change, ruling)
        greeting = _greet(change, cursor, opens_stream=opens_stream) if is_claim else None
        ends_streams = opens_stream or ruling is not Ruling.BOUND
        _note_seen(change, now)
        if not change.set and not change.unset:
            return Claim(greeting, ruling, ends_streams, ())
        answer = await store.run("settle", client_id, _encoded(before, change, wakes=ends_streams))
        if answer[0] == b"ok":
            unknown = tuple(command_id.decode() for command_id in answer[1])
            return Claim(greeting, ruling, ends_streams, unknown)
        await anyio.sleep(random.uniform(0, 0.01))  # noqa: S311
    raise Unavailable("too many speak for this agent at once", retry_after_s=1)


async def _look(store: Store, client_id: str, journal: str) -> tuple[Row, bool]:
    values, is_seen = await store.read(
        ("HMGET", agent_key(client_id), *_LOOKED_AT, "last_seen_at"),
        ("SISMEMBER", agent_key(client_id, "journals"), journal),
    )
    names = [name.encode() for name in (*_LOOKED_AT, "last_seen_at")]
    agent = row({name: value for name, value in zip(names, values, strict=True) if value is not None})
    if agent["numbering"] is None:
        raise UnknownAgent
    if agent["deleted_at"] is not None:
        raise AgentDeleted
    return agent, bool(is_seen)


def _rule(change: _Change, speaker: Speaker, is_seen: bool) -> Ruling:
    """What the fence says of this speaker, and what follows. Raises NewerEpoch."""
    agent = change.agent
    ruling = rule(Standing(rows.bound(agent), is_seen, bool(agent["is_readmitted"])), speaker)
    if ruling is Ruling.REFUSED:
        raise NewerEpoch
    if ruling is not Ruling.BOUND:
        change.put("journal", speaker.journal)
        change.put("epoch", speaker.epoch)
        change.put("instance", speaker.instance)
        # The old speaker's stream is over with this.
        change.drop("stream")
        change.journal = speaker.journal
    if ruling in _RESETS:
        _let_go(change, ruling)
    if ruling is Ruling.READMITTED:
        change.drop("is_readmitted")
    return ruling


def _let_go(change: _Change, ruling: Ruling) -> None:
    """A reset stands from now on, and what the other journal said about uploads is out of date."""
    agent = change.agent
    # Fixed here: this may be a POST, and what it brings moves the marks before the stream asks.
    since = resumption.report_again_since(agent["reported_at"], agent["recorded_at"])
    change.put("reset_reason", _RESETS[ruling])
    change.drop("reset_n")
    change.put("reset_since", since)
    # Of an older generation (see record.lua). A restored journal may have as unfinished what its later life completed:
    # that stands, whatever it says of it.
    generation = (agent["generation"] or 0) + 1
    change.put("generation", generation)
    if ruling is Ruling.READMITTED:
        change.put("standing", generation)
    change.forgets = True


def _greet(change: _Change, cursor: str | None, *, opens_stream: bool) -> Greeting:
    agent = change.agent
    plan = resumption.plan(rows.queue(agent), cursor)
    since = rows.since(agent) if plan.reason is not None else None
    if plan.is_renumbered:
        change.put("numbering", _new_numbering())
    if plan.unknown_after_n is not None:
        change.unknown = (plan.unknown_after_n, agent["sent_n"])
    if plan.is_standing:
        if agent["reset_n"] is None:
            change.put("reset_n", plan.after_n)
    elif plan.reason is None and agent["reset_reason"] is not None:
        change.drop("reset_reason", "reset_n")
    if plan.after_n > agent["passed_n"]:
        change.put("passed_n", plan.after_n)
    ticket = uuid.uuid4().hex if opens_stream else None
    if ticket is not None:
        change.put("stream", ticket)
    return Greeting(agent["numbering"], agent["last_n"], agent["floor_n"], plan.after_n, ticket, plan.reason, since)


def _note_seen(change: _Change, now: datetime) -> None:
    # To the minute: a heartbeat's worth of progress must cost no durable write.
    seen = change.agent["last_seen_at"]
    if seen is None or seen <= timestamp(now - SEEN_EVERY):
        change.put("last_seen_at", timestamp(now))


def _encoded(before: Row, change: _Change, *, wakes: bool) -> bytes:
    expected = {name: False if before[name] is None else str(before[name]) for name in _LOOKED_AT}
    body: dict[str, Any] = {
        "expected": expected,
        "set": change.set,
        "unset": [name for name in change.unset if name not in change.set],
        "forgets": change.forgets,
        "wakes": wakes,
    }
    if change.journal is not None:
        body["journal"] = change.journal
    if change.unknown is not None:
        body["unknown"] = change.unknown
    return pydantic_core.to_json(body)


def _new_numbering() -> str:
    return uuid.uuid4().hex[:12]
