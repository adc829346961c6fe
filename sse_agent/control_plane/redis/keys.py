"""The names of the keys, and pages of what they hold. (The scripts make the same names: scripts/prelude.lua.)

| key behind `sse-agent:` | type | holds |
|---|---|---|
| `agents` | sorted set | every client ID that is not deleted |
| `agent:<id>` | hash | the queue's marks, who speaks, what was last reported |
| `agent:<id>:queue` | stream | commands; their numbers are the entries' IDs: `<n>-0` |
| `agent:<id>:open` | sorted set | IDs of commands without an outcome, by number |
| `agent:<id>:journals` | set | journals that ever spoke |
| `agent:<id>:keys` | hash | message ID → digest, for ever |
| `agent:<id>:events` | stream | places in `feed` of what it reported |
| `agent:<id>:uploads`, `:progress`, `:files` | hash, hash, sorted set | uploads, their newest progress, their IDs |
| `agent:<id>:sizes` | hash | their sizes in bytes, as far as they were told |
| `command:<id>` | hash | one command and its outcome, for ever |
| `service-keys` | hash | Idempotency-Key → digest, for ever |
| `feed`, `feed:n` | stream, counter | what all agents reported |
| `volatile:<id>:<message>` | string | a key of progress or status; expires |
| `documents:<kind>`, `:keys`, `expiring` | hash, sorted set | documents.py |
| `log:<log>`, `:keys`, `:n` | stream, hash, counter | logs |
| `planes`, `plane:<process>` | hash | processes that live, and the agents whose streams each holds; expire |
| `wakes` | counter | wake-ups so far |
"""

from typing import Any

PREFIX = "sse-agent:"


def agent_key(client_id: str, part: str | None = None) -> str:
    """Of one agent."""
    return f"{PREFIX}agent:{client_id}" + (f":{part}" if part else "")


def behind(key: str, after: str, limit: int) -> tuple[str | int, ...]:
    """The command for the next page of names in a sorted set."""
    return ("ZRANGE", key, f"({after}" if after else "-", "+", "BYLEX", "LIMIT", 0, limit)


def entries(key: str, after: int, limit: int) -> tuple[str | int, ...]:
    """The command for the next page of a stream."""
    return ("XRANGE", key, f"({after}-0", "+", "COUNT", limit)


def number(place: bytes) -> int:
    """Of an entry of a stream."""
    return int(place.partition(b"-")[0])


def value(fields: Any, name: bytes) -> bytes:
    """Of an entry of a stream, as a client answers it: a list of pairs, or a mapping."""
    return bytes(fields[name] if isinstance(fields, dict) else fields[fields.index(name) + 1])
