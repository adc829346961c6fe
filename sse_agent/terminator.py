"""uploads → DELETE: what the tus server has of cancelled uploads is given back to it."""

import io
from datetime import timedelta

import anyio

from sse_agent.clock import Clock
from sse_agent.errors import GiveUp, TryAgain
from sse_agent.journal import Bell, Journal, attempts
from sse_agent.journal.attempts import Termination
from sse_agent.parking import Parking
from sse_agent.retry import NOT_NOW
from sse_agent.tus import TusSession, TusUploader

TRIED_FOR = timedelta(days=1)
AT_ONCE = 20
DEADLINE_S = 90.0


class Terminator:
    """Best effort for a day: an upload that nobody deletes costs the server room, and nobody anything else."""

    def __init__(self, journal: Journal, clock: Clock, parking: Parking, bell: Bell, session: TusSession) -> None:
        self._journal = journal
        self._clock = clock
        self._parking = parking
        self._bell = bell
        self._session = session

    async def run(self) -> None:
        """For ever."""
        failures = 0
        while True:
            await self._parking.until_left()
            try:
                await self._delete_some()
                failures = 0
                await self._bell.wait(60.0)
            except TryAgain as later:
                await self._clock.sleep(NOT_NOW.wait_s(failures, at_least_s=later.retry_after_s))
                failures += 1

    async def _delete_some(self) -> None:
        trouble: TryAgain | None = None
        for termination in await self._journal.read(attempts.terminations, AT_ONCE):
            try:
                await self._delete(termination)
            except GiveUp:
                pass
            except TryAgain as later:
                if self._clock.now() - termination.since < TRIED_FOR:
                    trouble = later
                    continue
            await self._journal.write(attempts.terminated, termination.url)
        if trouble is not None:
            raise trouble

    async def _delete(self, termination: Termination) -> None:
        """Deadlines are the session's own; a stuck thread is left alone when the agent stops."""
        self._session.rearm()
        with anyio.move_on_after(DEADLINE_S) as limit:
            await anyio.to_thread.run_sync(_terminate, self._session, termination, abandon_on_cancel=True)
        if limit.cancelled_caught:
            self._session.abort()
            raise TryAgain("the tus server did not answer a DELETE in time")


def _terminate(session: TusSession, termination: Termination) -> None:
    TusUploader(
        session,
        endpoint=termination.endpoint,
        token=termination.token,
        file=io.BytesIO(),
        size=0,
        metadata={},
        url=termination.url,
    ).terminate()
