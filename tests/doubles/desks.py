"""A desk without a journal: what it holds is what a test put there; what it was asked to do is kept."""

from collections.abc import Sequence
from typing import Any

import anyio.lowlevel

from sse_agent.desk import Done
from sse_agent.errors import ErrorCode, GiveUp, TryAgain


def summary(file_id: str, name: str, state: str = "queued", **more: Any) -> dict[str, Any]:
    """An upload as the desk tells of it."""
    return {
        "fileId": file_id,
        "fileName": name,
        "state": state,
        "revision": 1,
        "number": 0,
        "priority": 5,
        "fileSize": 1024,
        "offset": 0,
        "reason": None,
        "nextTryAt": None,
        "code": None,
        "message": None,
        "retryable": False,
        "pausedHere": False,
        "seconds": 0.0,
        "createdAt": "2026-11-22T10:00:00.000Z",
        "finishedAt": None,
        **more,
    }


class FakeDesk:
    """`refuses`: file IDs of which nothing is changed. With `is_stuck` nothing can be read or written now."""

    def __init__(self, *uploads: dict[str, Any]) -> None:
        self.uploads = list(uploads)
        self.refuses: set[str] = set()
        self.is_stuck = False
        self.done: list[tuple[str, str]] = []
        self.asked: list[str] = []

    async def do(self, name: str, file_ids: Sequence[str]) -> Done:
        self._check()
        refused = [(one, GiveUp(ErrorCode.WRONG_STATE, "the upload is complete")) for one in file_ids]
        refused = [pair for pair in refused if pair[0] in self.refuses]
        self.done += [(name, one) for one in file_ids if one not in self.refuses]
        return Done(len(file_ids) - len(refused), refused, [])

    async def do_to_all(self, name: str) -> Done:
        self._check()
        self.done.append((name, "*"))
        return Done(len(self.uploads), [], [])

    async def details(self, file_id: str) -> dict[str, Any]:
        self._check()
        self.asked.append(file_id)
        for one in self.uploads:
            if one["fileId"] == file_id:
                return {**one, "endpoint": "https://tus.example.com/files/secret-path/", "tries": []}
        raise GiveUp(ErrorCode.NOT_FOUND, "no upload has this fileId")

    async def listing(
        self, states: Sequence[str], contains: str, after: int, limit: int, *, or_id: bool = False
    ) -> dict[str, Any]:
        self._check()
        self.asked.append(contains)
        found = [
            (number, one)
            for number, one in enumerate(self.uploads, 1)
            if number > after
            and one["state"] in states
            and (contains in one["fileName"] or (or_id and contains in one["fileId"]))
        ]
        page = found[:limit]
        answer = {"uploads": [one for _, one in page], "next": page[-1][0] if len(found) > limit else None}
        # Something may happen between what is read and who wanted it.
        await anyio.lowlevel.checkpoint()
        return answer

    def _check(self) -> None:
        if self.is_stuck:
            raise TryAgain("the disk is full")
