"""What agents report: keys, events and the state that follows, in one script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic_core

from sse_agent.clock import timestamp
from sse_agent.control_plane.engine import (
    KEYS_KEPT_S,
    PROGRESS_LIMIT,
    REPLIES_LIMIT,
    Report,
    Speaker,
    UploadNews,
    Verdict,
)
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.redis import claims
from sse_agent.control_plane.redis.store import Store
from sse_agent.messages import parse_event_id

PROGRESS_KEPT_S = 3600.0
"""Since the agent's last one. A waiting upload says something every 30 s."""
_DIGEST_BYTES = 16
_LARGEST_N = 2**53
_VERDICTS = {verdict.value.encode(): verdict for verdict in Verdict}


@dataclass(frozen=True, slots=True)
class Recording:
    """One verdict for each report; the commands it changed; what the speaker's claim came to, if it was not bound."""

    verdicts: Sequence[Verdict]
    commands: tuple[str, ...]
    claim: claims.Claim | None


async def record(store: Store, client_id: str, speaker: Speaker, reports: Sequence[Report], now: datetime) -> Recording:
    """Keys and state change together or not at all. Raises NewerEpoch, UnknownAgent, AgentDeleted."""
    arguments = [part for report in reports for part in (pydantic_core.to_json(_news(report)), report.body)]
    claim = None
    for _ in range(claims.ATTEMPTS):
        word, *rest = await store.run(
            "record",
            client_id,
            speaker.journal,
            speaker.epoch,
            speaker.instance,
            timestamp(now - claims.SEEN_EVERY),
            int(1000 * KEYS_KEPT_S),
            PROGRESS_LIMIT,
            int(1000 * PROGRESS_KEPT_S),
            REPLIES_LIMIT,
            *arguments,
        )
        if word in claims.PROBLEMS:
            raise claims.PROBLEMS[word]
        if word == b"ok":
            verdicts, changed = rest
            return Recording(
                [_VERDICTS[verdict] for verdict in verdicts], tuple(name.decode() for name in changed), claim
            )
        # The fence decides; who is let in by it speaks again.
        claim = await claims.bind(store, client_id, speaker, now)
    raise Unavailable("too many speak for this agent at once", retry_after_s=1)


def _news(report: Report) -> Mapping[str, Any]:
    """What record.lua needs to know of it. Absent is what does not apply: Lua's JSON has a null of its own."""
    found: dict[str, Any] = {
        "id": report.message_id,
        "type": report.type,
        "timestamp": report.timestamp,
        "digest": report.digest[:_DIGEST_BYTES].hex(),
        "volatile": report.is_volatile,
        "uploads": [_upload(news) for news in report.uploads],
    }
    if report.in_reply_to is not None:
        found["reply"] = _named(report.in_reply_to)
    if report.ack is not None:
        found["ack"] = {**_named(report.ack.command_id), "status": report.ack.status}
        if report.ack.error is not None:
            found["ack"]["error"] = pydantic_core.to_json(report.ack.error).decode()
    if report.upload is not None:
        found["upload"] = _upload(report.upload)
    if report.cursor is not None:
        found["cursor"] = _place(report.cursor)
    return found


def _named(command_id: str) -> dict[str, str]:
    """A command as an agent names it: by its ID, or by its event ID where the agent could not read it."""
    return {"id": command_id, **_place(command_id)}


def _place(event_id: str) -> dict[str, str]:
    try:
        found = parse_event_id(event_id)
    except ValueError:
        return {}
    return {"numbering": found.numbering, "n": str(min(found.n, _LARGEST_N))}


def _upload(news: UploadNews) -> dict[str, str]:
    size = {} if news.file_size is None else {"size": str(news.file_size)}
    return {
        **size,
        "file": news.file_id,
        "revision": str(news.revision),
        "n": str(news.n),
        "state": news.state or "-",
        "details": pydantic_core.to_json(news.details).decode(),
    }
