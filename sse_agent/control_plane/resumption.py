"""Where a stream goes on. Pure: looks at the queue and at the agent's cursor and returns the plan.

Three marks in an agent's queue decide, `passed <= sent <= last`:

* `passed_n`: the newest command known to be durably in the agent's journal (its cursor said so, or an ACK did);
* `sent_n`: the newest command ever handed to a stream; raised durably **before** the first byte is written;
* `last_n`: the newest command.

**A known cursor** resumes behind itself. **No cursor** is a first connection: everything kept, from the floor.

**Journal lost.** What was sent may have been done by the lost journal, or half done, and nobody can tell. So nothing of
that is sent a second time: the reset's cursor is `sent_n`, open commands up to it become *outcome unknown*, and only
what was never handed to a stream is sent. A command that was sent into a dead connection is shown as unknown although
it was never received: people look and send it again, which is the mistake that does no harm.

**Readmitted** (a restored machine). Its journal is known but old: commands up to its own cursor are in it and stay
open, those between that and `sent_n` were received by a later life that is gone, so they become unknown. The cursor
is `sent_n` as well.

**Behind.** A later start of the same journal that shows a cursor below `passed_n` is an older state of it (a snapshot
was restored, or a copy started often enough): whoever wrote that ACK had a higher one. Its epoch lets it in, but what
the later life did must not be done again, so it is treated as readmitted.

**Unknown cursor** of a known journal (this control plane was restored from a backup, or its database was lost). The
journal is intact and knows every command by its `id`, so sending one again is harmless and not sending one is not: the
cursor is `passed_n`. A cursor beyond `last_n` under our own numbering proves that newer commands had the IDs that are
given next; the queue is therefore renumbered, so that no event ID ever names two commands.

A reset for a lost or readmitted journal stands until the agent shows a cursor that comes from it: HELLO may get lost.

`since`, from when on the agent reports again, is a day before the last report recorded here: before the earlier of its
own timestamp and the time of recording, for the agent's clock may be wrong. Of an agent without any report: 1970.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sse_agent.clock import parse_timestamp, timestamp
from sse_agent.messages import EventId, parse_event_id

UNKNOWN_CURSOR = "unknown-cursor"
JOURNAL_LOST = "journal-lost"
READMITTED = "readmitted"
_MARGIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Queue:
    """An agent's queue. `reset_reason`: a reset stands; `reset_n`: its cursor, None as long as nobody was told."""

    numbering: str
    last_n: int
    sent_n: int
    passed_n: int
    floor_n: int
    reset_reason: str | None = None
    reset_n: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stream goes on: from `after_n` on.

    `reason`: it is a reset. `is_standing`: the reset stands until its cursor comes back. `is_renumbered`: with a new
    numbering. `unknown_after_n`: open commands behind that, up to `sent_n`, become *outcome unknown*.
    """

    after_n: int
    reason: str | None = None
    is_standing: bool = False
    is_renumbered: bool = False
    unknown_after_n: int | None = None


def plan(queue: Queue, cursor_text: str | None) -> Plan:
    """The plan for an agent that shows this cursor (`Last-Event-ID`), if any."""
    cursor = _parsed(cursor_text)
    known_n = _known(queue, cursor)
    if queue.reset_reason is not None and not _is_taken(queue, known_n):
        return _standing_reset(queue, known_n)
    if cursor_text is None:
        return Plan(queue.floor_n - 1)
    if known_n is not None:
        return Plan(known_n)
    is_ahead = cursor is not None and cursor.numbering == queue.numbering and cursor.n > queue.last_n
    return Plan(queue.passed_n, UNKNOWN_CURSOR, is_renumbered=is_ahead)


def is_behind(queue: Queue, cursor_text: str | None) -> bool:
    """Whether a later start shows an older state of its journal than the one that spoke before."""
    if queue.reset_reason is not None:
        return False
    known_n = 0 if cursor_text is None else _known(queue, _parsed(cursor_text))
    return known_n is not None and known_n < queue.passed_n


def _standing_reset(queue: Queue, known_n: int | None) -> Plan:
    if queue.reset_n is not None:
        return Plan(queue.reset_n, queue.reset_reason, is_standing=True)
    remembered_n = (known_n or 0) if queue.reset_reason == READMITTED else 0
    return Plan(queue.sent_n, queue.reset_reason, is_standing=True, unknown_after_n=remembered_n)


def _is_taken(queue: Queue, known_n: int | None) -> bool:
    return queue.reset_n is not None and known_n is not None and known_n >= queue.reset_n


def _known(queue: Queue, cursor: EventId | None) -> int | None:
    """The cursor's place, if the queue can go on from it without a hole."""
    if cursor is None or cursor.numbering != queue.numbering:
        return None
    return cursor.n if queue.floor_n - 1 <= cursor.n <= queue.last_n else None


def _parsed(text: str | None) -> EventId | None:
    """A malformed cursor counts as an unknown one: refusing it would lock the agent out for ever."""
    try:
        return parse_event_id(text) if text is not None else None
    except ValueError:
        return None


def report_again_since(reported_at: str | None, recorded_at: str | None) -> str:
    """`since` for a reset, from the last report's own timestamp and the time of its recording."""
    instants = [parse_timestamp(text) for text in (reported_at, recorded_at) if text is not None]
    earliest = datetime(1970, 1, 1, tzinfo=UTC)
    return timestamp(max(min(instants) - _MARGIN, earliest) if instants else earliest)
