"""Wake-ups between processes: one channel, counted, so that whoever listens knows when it missed some.

A wake-up that is lost costs a delay: everything that waits is woken when a number is missing, after every break of the
connection, and when nothing was heard for a few seconds although others counted on.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis import exceptions
from redis.asyncio.client import PubSub

from sse_agent.clock import Clock
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.redis.keys import PREFIX
from sse_agent.control_plane.redis.store import Store

SWEEP_S = 3.0
BACK_WITHIN_S = 2.0


class Wakes:
    """`hear` gets every wake-up of other processes: who, about what, and the rest of its words. Must not block.

    `missed` is called when some may have been missed, and once at the start; it may raise Unavailable.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        hear: Callable[[str, str, bytes], None],
        missed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._hear = hear
        self._missed = missed
        self._n = 0
        """Of the newest that was heard."""
        self._counted = (0, 0)
        """How many there were at the last two looks."""

    async def listen(self) -> None:
        """For ever; comes back with a jitter when Redis was gone."""
        while True:
            subscription = self._store.subscription()
            try:
                await self._listen(subscription)
            except (exceptions.RedisError, OSError, TimeoutError, Unavailable):
                pass
            finally:
                await _closed(subscription)
            await self._clock.sleep(random.uniform(0.1, BACK_WITHIN_S))  # noqa: S311

    async def _listen(self, subscription: PubSub) -> None:
        await subscription.subscribe(self._store.channel)
        # The answer to the subscription: whatever is counted from here on will be heard.
        await subscription.get_message(timeout=SWEEP_S)
        self._n = await self._count()
        self._counted = (self._n, self._n)
        await self._missed()
        while True:
            message = await subscription.get_message(timeout=SWEEP_S)
            if message is not None:
                await self._take(message["data"])
            elif await self._is_deaf():
                return

    async def _take(self, data: bytes) -> None:
        number, origin, word, rest = _words(data)
        if number.isascii() and number.isdigit() and len(number) < 16:
            if int(number) > self._n + 1:
                self._n = await self._count()
                await self._missed()
            else:
                self._n = max(self._n, int(number))
        if origin != self._store.origin:
            # Somebody else's words: the channel is open to whoever may use Redis.
            with suppress(ValueError):
                self._hear(origin, word, rest)

    async def _is_deaf(self) -> bool:
        """Whether something was counted two looks ago, and was not heard since.

        Not after one: a process that is busy for seconds has what it was told, and did not come to it.
        """
        before, between = self._counted
        self._counted = (between, await self._count())
        return before > self._n

    async def _count(self) -> int:
        (found,) = await self._store.read(("GET", f"{PREFIX}wakes"))
        return int(found or 0)


def _words(data: bytes) -> tuple[str, str, str, bytes]:
    """Number, or "-"; who; what; the rest. Empty is what is not there."""
    number, origin, word, rest = [*data.split(b" ", 3), b"", b"", b""][:4]
    return number.decode("ascii", "replace"), origin.decode("ascii", "replace"), word.decode("ascii", "replace"), rest


async def _closed(subscription: PubSub) -> None:
    with suppress(exceptions.RedisError, OSError, TimeoutError):
        await subscription.aclose()  # type: ignore[no-untyped-call]
