"""The newest progress of each upload under way, for whoever sends it on from time to time."""

from collections.abc import Sequence

LIMIT = 10_000


class Progress:
    """In memory, bounded: with more uploads than `LIMIT` under way the oldest news is dropped."""

    def __init__(self) -> None:
        self._count = 0
        self._newest: dict[tuple[str, str], tuple[int, bytes]] = {}

    def note(self, client_id: str, file_id: str, body: bytes) -> None:
        """A progress event; `body` is its envelope."""
        self._count += 1
        # At the end of the dictionary: it stays in the order of the news.
        self._newest.pop((client_id, file_id), None)
        self._newest[client_id, file_id] = (self._count, body)
        if len(self._newest) > LIMIT:
            del self._newest[next(iter(self._newest))]

    def forget(self, client_id: str, file_id: str) -> None:
        """It is in another state now, of which a durable event tells."""
        self._newest.pop((client_id, file_id), None)

    def since(self, count: int) -> tuple[int, Sequence[tuple[str, bytes]]]:
        """What is newer than that count, and the count to ask with next time."""
        news = [(client_id, body) for (client_id, _), (at, body) in self._newest.items() if at > count]
        return self._count, news
