"""SIGINT and SIGTERM, the same on every platform: the first drains, the second stops now."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import anyio

from sse_agent.errors import ExitCode

SECOND_SIGNAL_S = 1.0


class Stop:
    """Whether somebody asked the agent to stop. `hurried` is set when it was asked twice."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = anyio.Event()
        self._reason = ""
        self.hurried = anyio.Event()

    def handle(self, number: int, _: FrameType | None) -> None:
        """A signal handler. A second signal leaves no time for anything: the journal needs none."""
        if self._reason:
            self.end_process_after(SECOND_SIGNAL_S)
            self._loop.call_soon_threadsafe(self.hurried.set)
            return
        self._reason = signal.Signals(number).name
        self._loop.call_soon_threadsafe(self._asked.set)

    def ask(self, reason: str = "asked at the console") -> None:
        """As a first signal; on the event loop's thread."""
        if not self._reason:
            self._reason = reason
            self._asked.set()

    async def requested(self) -> str:
        """Wait for the first signal; its name."""
        await self._asked.wait()
        return self._reason

    def end_process_after(self, seconds: float) -> None:
        """A last resort: threads that hang in the system (DNS, a dead network disk) can't be stopped otherwise."""
        timer = threading.Timer(seconds, os._exit, (int(ExitCode.STOPPED),))
        timer.daemon = True
        timer.start()


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within the block signals are requests to stop. Only on the main thread."""
    stop = Stop()
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
