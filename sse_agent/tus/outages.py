"""Which endpoints are in trouble as a whole, since when, and until when nothing new is begun there.

Without it every upload finds out for itself, again and again: some thousands in the queue keep a machine busy for as
long as the tus server is away, and fall upon it when it comes back. No I/O; monotonic time is a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sse_agent.errors import ErrorCode
from sse_agent.retry import NOT_NOW, Backoff
from sse_agent.tus.answers import NotNow, Stranger


@dataclass(slots=True)
class _Outage:
    since: float
    failures: int = 0
    until: float = 0.0


class Outages:
    """`patience` failures in a row are those of single uploads; from then on the endpoint's, which backs off."""

    def __init__(self, patience: int, backoff: Backoff = NOT_NOW) -> None:
        self._patience = patience
        self._backoff = backoff
        self._outages: dict[str, _Outage] = {}

    def note_answer(self, endpoint: str) -> None:
        """It does what it should."""
        self._outages.pop(endpoint, None)

    def note_trouble(self, endpoint: str, trouble: NotNow, now: float) -> None:
        """An attempt ended so. Trouble of that one upload is as good as an answer."""
        if not _is_of_the_server(trouble):
            self.note_answer(endpoint)
            return
        outage = self._outages.setdefault(endpoint, _Outage(now))
        outage.failures += 1
        more = outage.failures - self._patience
        if more > 0 or trouble.retry_after_s is not None:
            wait_s = self._backoff.wait_s(max(0, more), at_least_s=trouble.retry_after_s)
            outage.until = max(outage.until, now + wait_s)

    def quiet(self, now: float) -> Mapping[str, float]:
        """Endpoints where nothing is to be begun now → seconds until something may be."""
        return {endpoint: outage.until - now for endpoint, outage in self._outages.items() if outage.until > now}

    def lasting(self, now: float) -> Mapping[str, float]:
        """Endpoints in trouble → seconds since the first failure."""
        return {endpoint: now - outage.since for endpoint, outage in self._outages.items()}


def _is_of_the_server(trouble: NotNow) -> bool:
    """No answer, or one that the next upload would get as well."""
    if trouble.code is ErrorCode.LOCKED_ON_SERVER:
        return False
    if isinstance(trouble, Stranger):
        return True
    return trouble.status is None or trouble.status == 429 or trouble.status >= 500
