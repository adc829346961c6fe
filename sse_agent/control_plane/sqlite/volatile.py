"""What is kept in memory only: keys of progress and status, and the newest progress of each upload.

A restart forgets it: the agent's next report brings the progress back, and a repeated one does no harm.
"""

from collections import OrderedDict
from collections.abc import Mapping

from sse_agent.control_plane.engine import KEYS_KEPT_S, PROGRESS_LIMIT, Report, UploadNews, Verdict

KEYS_LIMIT = 200_000


class VolatileKeys:
    """Idempotency keys for `KEYS_KEPT_S` seconds, oldest first; fewer if there are too many."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()

    def knows(self, client_id: str, report: Report) -> bool:
        """Whether this key was seen."""
        return (client_id, report.message_id) in self._keys

    def remember(self, client_id: str, report: Report, now: float) -> Verdict:
        """What this key says of the report, at a monotonic instant."""
        while self._keys and (len(self._keys) >= KEYS_LIMIT or next(iter(self._keys.values()))[1] < now - KEYS_KEPT_S):
            self._keys.popitem(last=False)
        known = self._keys.get((client_id, report.message_id))
        if known is None:
            self._keys[client_id, report.message_id] = (report.digest, now)
            return Verdict.RECORDED
        return Verdict.REPEATED if known[0] == report.digest else Verdict.CONFLICT


class Progress:
    """The newest progress of each upload: higher revision first, then higher `n`."""

    def __init__(self) -> None:
        self._by_agent: dict[str, OrderedDict[str, UploadNews]] = {}

    def note(self, client_id: str, news: UploadNews) -> None:
        """Keep it if it is newer."""
        known = self._by_agent.setdefault(client_id, OrderedDict())
        before = known.get(news.file_id)
        if before is not None and (before.revision, before.n) >= (news.revision, news.n):
            return
        known[news.file_id] = news
        known.move_to_end(news.file_id)
        if len(known) > PROGRESS_LIMIT:
            known.popitem(last=False)

    def overtaken(self, client_id: str, news: UploadNews) -> None:
        """A durable event says more."""
        known = self._by_agent.get(client_id, OrderedDict())
        before = known.get(news.file_id)
        if before is not None and before.revision < news.revision:
            del known[news.file_id]

    def forget(self, client_id: str) -> None:
        """Another journal counts its revisions anew."""
        self._by_agent.pop(client_id, None)

    def of(self, client_id: str) -> Mapping[str, UploadNews]:
        """By file ID."""
        return self._by_agent.get(client_id, {})
