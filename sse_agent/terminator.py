"""uploads → DELETE: what the tus server has of cancelled uploads is given back to it."""

import io
from collections.abc import Callable
from datetime import timedelta

import anyio

from sse_agent.clock import Clock
from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.journal import Bell, Journal, attempts
from sse_agent.journal.attempts import Termination
from sse_agent.parking import Parking
from sse_agent.retry import NOT_NOW
from sse_agent.tus import TokenRefused, TusSession, TusUploader

TRIED_FOR = timedelta(days=1)
AT_ONCE = 100
DEADLINE_S = 90.0
GATHER_S = 1.0
REFUSED_S = 3600.0
"""Until a DELETE whose token was refused is tried again: there may be thousands, and most of them are in vain."""

TokenFor = Callable[[str, str | None], str | None]
"""(endpoint, the upload's own token) → the token for that endpoint."""


class Terminator:
    """Best effort for a day: an upload that nobody deletes costs the server room, and nobody anything else."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        parking: Parking,
        bell: Bell,
        session: TusSession,
        token_for: TokenFor = lambda _, own: own,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._parking = parking
        self._bell = bell
        self._session = session
        self._token_for = token_for
        # Nobody renews their tokens: URL → monotonic instant before which it is not tried again.
        self._refused: dict[str, float] = {}

    async def run(self) -> None:
        """For ever. What is under way when it is cancelled is broken off."""
        failures = 0
        try:
            while True:
                await self._parking.until_left()
                try:
                    await self._delete_some()
                    failures = 0
                    await self._bell.wait(60.0)
                    # The bell rings for every change of an upload; few of them leave something to delete.
                    await self._clock.sleep(GATHER_S)
                except TryAgain as later:
                    await self._clock.sleep(NOT_NOW.wait_s(failures, at_least_s=later.retry_after_s))
                    failures += 1
        finally:
            self._session.close()

    async def _delete_some(self) -> None:
        """Everything, but no more at an endpoint where one was in vain: each may take as long as its time-outs."""
        troubles: dict[str, TryAgain] = {}
        after = ""
        # By pages: many that are in vain must not hide those behind them.
        while page := await self._journal.read(attempts.terminations, AT_ONCE, after):
            for termination in page:
                is_refused = self._refused.get(termination.url, 0.0) > self._clock.monotonic()
                if termination.endpoint not in troubles and not is_refused and not self._parking.is_parked:
                    await self._try(termination, troubles)
            after = page[-1].url
        for trouble in troubles.values():
            raise trouble

    async def _try(self, termination: Termination, troubles: dict[str, TryAgain]) -> None:
        try:
            await self._delete(termination)
        except GiveUp:
            pass
        except TryAgain as later:
            # A token that expired is one upload's trouble, not the server's; and so is a lock.
            is_its_own = isinstance(later, TokenRefused) or later.code is ErrorCode.LOCKED_ON_SERVER
            troubles["" if is_its_own else termination.endpoint] = later
            if isinstance(later, TokenRefused):
                self._refused[termination.url] = self._clock.monotonic() + REFUSED_S
            if self._clock.now() - termination.since < TRIED_FOR:
                return
        self._refused.pop(termination.url, None)
        await self._journal.write(attempts.terminated, termination.url)

    async def _delete(self, termination: Termination) -> None:
        """Deadlines are the session's own; a stuck thread is left alone when the agent stops."""
        self._session.rearm()
        with anyio.move_on_after(DEADLINE_S) as limit:
            token = self._token_for(termination.endpoint, termination.token)
            await anyio.to_thread.run_sync(_terminate, self._session, termination, token, abandon_on_cancel=True)
        if limit.cancelled_caught:
            self._session.abort()
            raise TryAgain("the tus server did not answer a DELETE in time")


def _terminate(session: TusSession, termination: Termination, token: str | None) -> None:
    TusUploader(
        session,
        endpoint=termination.endpoint,
        token=token,
        file=io.BytesIO(),
        size=0,
        metadata={},
        url=termination.url,
    ).terminate()
