"""What is forgotten, and when: as in SQLite. IDs and keys never; bodies and events after `KEPT`."""

from datetime import datetime

from sse_agent.clock import timestamp
from sse_agent.control_plane.engine import KEPT
from sse_agent.control_plane.redis.keys import PREFIX, agent_key, behind, entries, number, value
from sse_agent.control_plane.redis.store import Store

_PAGE = 500


async def prune(store: Store, now: datetime) -> None:
    """Bodies of old commands that are over, from the oldest on: what is kept of a queue has no holes."""
    before = timestamp(now - KEPT)
    oldest = await _trim_feed(store, before)
    after = ""
    while True:
        (found,) = await store.read(behind(f"{PREFIX}agents", after, _PAGE))
        for name in found:
            await _trim_agent(store, name.decode(), before, oldest)
        if len(found) < _PAGE:
            return
        after = found[-1].decode()


async def _trim_feed(store: Store, before: str) -> int:
    """Events are in the order in which they were recorded. Returns the first serial number that stays."""
    after = 0
    while True:
        (found,) = await store.read(entries(f"{PREFIX}feed", after, _PAGE))
        old = [number(place) for place, fields in found if value(fields, b"at").decode() < before]
        after = old[-1] if old else after
        if len(old) < _PAGE:
            break
    if after > 0:
        await store.write("XTRIM", f"{PREFIX}feed", "MINID", f"{after + 1}-0")
    return after + 1


async def _trim_agent(store: Store, client_id: str, before: str, oldest: int) -> None:
    floor_n, passed_n = (
        int(value or 0) for value in (await store.read(("HMGET", agent_key(client_id), "floor_n", "passed_n")))[0]
    )
    needed = await _first_needed(store, client_id, floor_n, passed_n, before)
    if needed > floor_n:
        await store.run("trim", client_id, needed)
    await store.write("XTRIM", agent_key(client_id, "events"), "MINID", f"{oldest}-0")


async def _first_needed(store: Store, client_id: str, floor_n: int, passed_n: int, before: str) -> int:
    """The first command from the floor on that is open, finished lately, or not passed."""
    n = floor_n
    while n <= passed_n:
        (found,) = await store.read(
            ("XRANGE", agent_key(client_id, "queue"), f"{n}-0", f"{passed_n}-0", "COUNT", _PAGE)
        )
        if not found:
            return n
        ids = [value(fields, b"id").decode() for _, fields in found]
        ends = await store.read(*[("HGET", f"{PREFIX}command:{command_id}", "finished_at") for command_id in ids])
        for (place, _), end in zip(found, ends, strict=True):
            if end is None or end.decode() >= before:
                return number(place)
        n = number(found[-1][0]) + 1
    return n
