"""Which agents are there, told between processes: what one holds the others know.

Each process keeps the agents that it holds in a hash that expires unless it says that it is alive; whoever starts, or
missed something, reads those hashes, and hears of changes from then on. So every process answers the same.
"""

import asyncio
import random
from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.redis.keys import PREFIX
from sse_agent.control_plane.redis.store import Store

AT_ONCE = 500


class Roll(Protocol):
    """Who is there, in memory (attendance.py). Other processes are named by their origin."""

    def held_here(self, client_id: str) -> tuple[str, str] | None:
        """Transport and since when, if this process holds it."""
        ...

    def all_here(self) -> Iterable[str]:
        """Every agent that this process holds."""
        ...

    def held_there(self, origin: str, client_id: str, transport: str, since: str) -> None:
        """Another process holds it."""
        ...

    def let_go_there(self, origin: str, client_id: str) -> None:
        """It does not any more."""
        ...

    def is_alive(self, origin: str) -> None:
        """That process said so."""
        ...

    def only(self, origin: str, client_ids: Iterable[str]) -> None:
        """That process holds none but these."""
        ...

    def let_silent_go(self) -> None:
        """Forget processes that said nothing for two heartbeats."""
        ...


class Presence:
    """Tells others what this process holds, and the roll what others do."""

    def __init__(self, store: Store, clock: Clock, roll: Roll, heartbeat_s: float) -> None:
        self._store = store
        self._clock = clock
        self._roll = roll
        self._heartbeat_s = heartbeat_s
        self._stands_ms = int(2000 * heartbeat_s)
        self._changed: set[str] = set()
        self._bell = asyncio.Event()
        self._hears_since = clock.monotonic()

    def changed(self, client_id: str) -> None:
        """This process holds it now, or does not any more."""
        self._changed.add(client_id)
        self._bell.set()

    async def tell(self) -> None:
        """For ever: what changed, many at once."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._changed:
                some = [self._changed.pop() for _ in range(min(AT_ONCE, len(self._changed)))]
                try:
                    await self._store.run("present", self._stands_ms, *self._words(some))
                except Unavailable:
                    self._changed.update(some)
                    await self._clock.sleep(random.uniform(0.1, 2.0))  # noqa: S311

    def _words(self, client_ids: Iterable[str]) -> list[str]:
        words = []
        for client_id in client_ids:
            transport, since = self._roll.held_here(client_id) or ("", "")
            words += [client_id, transport, since]
        return words

    async def beat(self) -> None:
        """For ever: this process is alive; others that say nothing are not."""
        while True:
            gone = timestamp(self._clock.now() - timedelta(seconds=20 * self._heartbeat_s))
            try:
                stands = await self._store.run("beat", self._stands_ms, gone)
                if not stands:
                    # Redis was started anew from an older state, or this process was held up for long.
                    for client_id in self._roll.all_here():
                        self.changed(client_id)
                # Only whoever hears others may judge their silence.
                if self._clock.monotonic() - self._hears_since > 2 * self._heartbeat_s:
                    self._roll.let_silent_go()
            except Unavailable:
                pass
            await self._clock.sleep(random.uniform(0.4, 0.6) * self._heartbeat_s)  # noqa: S311

    async def read(self) -> None:
        """What others hold. Raises Unavailable."""
        self._hears_since = self._clock.monotonic()
        (names,) = await self._store.read(("HKEYS", f"{PREFIX}planes"))
        origins = [name.decode() for name in names if name.decode() != self._store.origin]
        found = await self._store.read(*[("HGETALL", f"{PREFIX}plane:{origin}") for origin in origins])
        for origin, pairs in zip(origins, found, strict=True):
            held = {client_id.decode(): line.decode() for client_id, line in pairs.items()}
            for client_id, line in held.items():
                self._held(origin, client_id, line)
            self._roll.only(origin, list(held))

    def hear(self, origin: str, word: str, rest: bytes) -> None:
        """A wake-up of another process."""
        client_id, _, line = rest.decode().partition(" ")
        if word == "here":
            self._held(origin, client_id, line)
        elif word == "away":
            self._roll.let_go_there(origin, client_id)
        elif word == "beat":
            self._roll.is_alive(origin)

    def _held(self, origin: str, client_id: str, line: str) -> None:
        transport, _, since = line.partition(" ")
        self._roll.held_there(origin, client_id, transport, since)
