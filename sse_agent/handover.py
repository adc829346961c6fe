"""One connection after the other, each opened before the last is closed. Knows nothing of what goes over them."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio

from sse_agent.clock import Clock
from sse_agent.retry import NOT_NOW, Backoff


class Connection(Protocol):
    """What can be handed over. Each event is set once; `ended` is the last of them."""

    due: anyio.Event
    """Somebody should open the next one."""
    stands: anyio.Event
    """It took over from the one before, which is closed."""
    ended: anyio.Event

    async def carry(self) -> None:
        """Until it breaks, or the next one takes over."""
        ...

    def close(self) -> None:
        """It ends soon."""
        ...

    @property
    def must_stop(self) -> bool:
        """Whether it ended by an order that holds for the one before, too."""
        ...


C = TypeVar("C", bound=Connection)


async def carried(make: Callable[[C | None], C], clock: Clock, backoff: Backoff = NOT_NOW) -> C:
    """Carry `make(None)`, and whenever it is due the one that `make(it)` makes; the one that ended with none after it.

    While the next one can't be opened the present one goes on, and it is tried again. When the present one ends
    meanwhile, that is no loss as long as the next one may still stand: the other end closed it in favour of that.
    """
    present, failures = make(None), 0
    async with anyio.create_task_group() as group:
        group.start_soon(present.carry)
        await _first(present.due, present.ended)
        while not present.ended.is_set():
            following = make(present)
            group.start_soon(following.carry)
            await _first(following.stands, following.ended)
            if following.stands.is_set():
                present, failures = following, 0
            elif following.must_stop or present.ended.is_set():
                present.close()
                present = following
            else:
                await _sleep_unless(present.ended, clock, backoff.wait_s(failures))
                failures += 1
            await _first(present.due, present.ended)
    return present


async def _first(one: anyio.Event, other: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        for event in (one, other):
            group.start_soon(_cancel_when, event, group.cancel_scope)


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _sleep_unless(over: anyio.Event, clock: Clock, seconds: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_when, over, group.cancel_scope)
        await clock.sleep(seconds)
        group.cancel_scope.cancel()
