"""Which uploads begin and which make room for them: decided and begun in one transaction."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sse_agent.clock import parse_timestamp, timestamp
from sse_agent.journal import transitions
from sse_agent.journal.database import Transaction
from sse_agent.journal.uploads import Upload, upload_of
from sse_agent.lifecycle import Wish

LONGEST_WAIT = timedelta(minutes=20)
"""Longer than any wait that retry.py gives. A try that is further away was planned before the clock was set back."""

HELD = 200
"""Waiting uploads of which it is said when their tus server is tried again; more are tried later in any case."""

_NOT_QUIET = "endpoint NOT IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upload that could run now."""

    file_id: str
    priority: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the uploader plans by. `candidates` come most urgent first, oldest first among equals."""

    under_way: dict[str, tuple[Wish, int]]
    """What people want of each upload under way, and its priority, by file ID."""
    candidates: list[Candidate]
    next_try_at: datetime | None
    """When the next waiting upload is due."""


def outlook(tx: Transaction, limit: int, quiet: Collection[str] = ()) -> Outlook:
    """All of it as of one moment, at most `limit` candidates, none of them for an endpoint in `quiet`."""
    endpoints = json.dumps(list(quiet))
    under_way = tx.all("SELECT file_id, wish, priority FROM uploads WHERE state = 'uploading'")
    queued = tx.all(
        f"SELECT file_id, priority, n FROM uploads WHERE state = 'queued' AND {_NOT_QUIET}"  # noqa: S608
        " ORDER BY priority DESC, n LIMIT ?",
        endpoints,
        limit,
    )
    due = tx.all(
        f"SELECT file_id, priority, n FROM uploads WHERE state = 'waiting' AND {_NOT_QUIET}"  # noqa: S608
        " AND (next_try_at <= ? OR next_try_at > ?) ORDER BY priority DESC, n LIMIT ?",
        endpoints,
        tx.at,
        timestamp(tx.now + LONGEST_WAIT),
        limit,
    )
    row = tx.one("SELECT min(next_try_at) FROM uploads WHERE state = 'waiting' AND next_try_at > ?", tx.at)
    ordered = sorted([*queued, *due], key=lambda row: (-row["priority"], row["n"]))
    return Outlook(
        {row["file_id"]: (Wish(row["wish"]), row["priority"]) for row in under_way},
        [Candidate(row["file_id"], row["priority"]) for row in ordered[:limit]],
        parse_timestamp(row[0]) if row and row[0] else None,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner wants: uploads to begin, and runs that must make room."""

    begin: list[str]
    displace: list[str]


def plan(running: Mapping[str, int], stopping: int, candidates: Collection[Candidate], limit: int) -> Plan:
    """Decide without I/O.

    `running` maps a file ID to its priority, in the order in which they began; `stopping` more make room by
    themselves; `candidates` come most urgent first.
    """
    free = max(0, limit - len(running) - stopping)
    ordered = list(candidates)
    begin = [upload.file_id for upload in ordered[:free]]
    # Of equals the one that began last has the least to lose.
    newest_first = list(running.items())[::-1]
    least_urgent = sorted(newest_first, key=lambda item: item[1])
    displace = []
    for upload, (file_id, priority) in zip(ordered[free + stopping :], least_urgent, strict=False):
        if upload.priority <= priority:
            break
        displace.append(file_id)
    return Plan(begin, displace)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now: durable already for those that were begun."""

    begun: list[Upload]
    stop: list[str]
    next_try_at: datetime | None
    held: list[Upload]
    """Those that wait at the endpoints that were asked about, at most `HELD`."""


def decide(
    tx: Transaction,
    runs: Mapping[str, bool],
    limit: int,
    quiet: Collection[str],
    outages: Mapping[str, float],
    asked_about: Collection[str] = (),
) -> Decision:
    """What `plan` says, done. `quiet`: endpoints where nothing may begin now; `outages` as `transitions.begin` has it.

    `runs` says of each run, in the order in which they began, whether it is stopping already.
    """
    seen = outlook(tx, limit + len(runs), quiet)
    wanted = {file_id: seen.under_way[file_id] for file_id in runs if file_id in seen.under_way and not runs[file_id]}
    running = {file_id: priority for file_id, (wish, priority) in wanted.items() if wish is Wish.RUN}
    candidates = [upload for upload in seen.candidates if upload.file_id not in runs]
    decided = plan(running, len(runs) - len(running), candidates, limit)
    begun = [transitions.begin(tx, file_id, outages) for file_id in decided.begin]
    return Decision(
        [upload for upload in begun if upload is not None],
        [*(wanted.keys() - running.keys()), *decided.displace],
        seen.next_try_at,
        _waiting_at(tx, asked_about) if asked_about else [],
    )


def _waiting_at(tx: Transaction, endpoints: Collection[str]) -> list[Upload]:
    rows = tx.all(
        "SELECT * FROM uploads WHERE state = 'waiting' AND endpoint IN (SELECT value FROM json_each(?))"
        " ORDER BY next_try_at LIMIT ?",
        json.dumps(list(endpoints)),
        HELD,
    )
    return [upload_of(row) for row in rows]
