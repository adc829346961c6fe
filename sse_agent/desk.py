"""What a person at this machine may look at and do: the same for the console's keys and the local socket.

Plain functions of a transaction, so that they serve a stopped agent's journal as well; `Desk` runs them in a live one.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import Event, Feed
from sse_agent.journal import Journal, Transaction, outbox, tries, uploads, wishes
from sse_agent.journal.uploads import Upload
from sse_agent.journal.wishes import Effects
from sse_agent.lifecycle import UploadState
from sse_agent.progress import Reading

AT_ONCE = 500
"""Uploads that one transaction changes: others must not wait for ten thousand."""
LISTED_AT_ONCE = 1000

Json = dict[str, Any]
Live = Callable[[str], Reading | None]


@dataclass(frozen=True, slots=True)
class Done:
    """`count` uploads were changed; of those in `refused` it is said why not."""

    count: int
    refused: list[tuple[str, GiveUp]]
    events: Effects


def _pause(tx: Transaction, file_id: str) -> Effects:
    return wishes.pause(tx, file_id, None)


def _resume(tx: Transaction, file_id: str) -> Effects:
    return wishes.resume(tx, file_id, None)


def _retry(tx: Transaction, file_id: str) -> Effects:
    """Of a failed one: resumed. Of one that waits: now."""
    if uploads.try_now(tx, file_id):
        return []
    upload = uploads.find(tx, file_id)
    if upload is not None and upload.state is not UploadState.FAILED:
        raise GiveUp(ErrorCode.WRONG_STATE, f"the upload is {upload.state}; only a waiting or a failed one is retried")
    return wishes.resume(tx, file_id, None)


def _cancel(tx: Transaction, file_id: str) -> Effects:
    return wishes.cancel(tx, file_id, None)


@dataclass(frozen=True, slots=True)
class Deed:
    """What can be done to uploads, and to which of them when it is done to all."""

    do: Callable[[Transaction, str], Effects]
    all_of: tuple[UploadState, ...]


DEEDS = {
    "pause": Deed(_pause, (UploadState.QUEUED, UploadState.UPLOADING, UploadState.WAITING)),
    "resume": Deed(_resume, (UploadState.PAUSED,)),
    "retry": Deed(_retry, (UploadState.WAITING, UploadState.FAILED)),
    "cancel": Deed(_cancel, ()),
}


def do(tx: Transaction, name: str, file_ids: Sequence[str]) -> Done:
    """One deed, to each of these uploads; one that is refused keeps none of the others from it."""
    count, refused, events = 0, [], list[Event]()
    for file_id in file_ids:
        try:
            events += DEEDS[name].do(tx, file_id)
            count += 1
        except GiveUp as why:
            refused.append((file_id, why))
    return Done(count, refused, events)


def targets(tx: Transaction, name: str, after: int) -> list[tuple[int, str]]:
    """The next uploads, as (n, file ID), that the deed is meant for when it is done to all."""
    return uploads.ids_in(tx, DEEDS[name].all_of, after, AT_ONCE)


def _nothing_live(_: str) -> Reading | None:
    return None


def names(name: bytes) -> Json:
    """`fileName`, and `fileNameB64`, the bytes, of one that is not UTF-8: as on the wire."""
    text = name.decode(errors="replace")
    is_text = text.encode() == name
    return {"fileName": text, **({} if is_text else {"fileNameB64": base64.b64encode(name).decode()})}


def summary(upload: Upload, live: Live = _nothing_live) -> Json:
    """One upload, in the words of the wire; without its URL and token. What `live` knows is newer than the journal."""
    now = live(upload.file_id)
    if now is None or now.revision != upload.revision:
        next_try_at = upload.next_try_at if upload.state is UploadState.WAITING else None
        now = Reading(
            upload.file_id,
            upload.state,
            upload.revision,
            upload.offset,
            upload.offset,
            upload.known_size,
            next_try_at=next_try_at,
        )
    return {
        "fileId": upload.file_id,
        **names(upload.name),
        "state": str(upload.state),
        "revision": upload.revision,
        "number": upload.number,
        "priority": upload.priority,
        "fileSize": now.size or (upload.size if upload.size is not None else upload.wanted_size),
        "offset": now.offset,
        "bytesSent": now.bytes_sent,
        "rate": now.rate,
        "etaSeconds": now.left_s,
        "reason": upload.reason,
        "nextTryAt": timestamp(now.next_try_at) if now.next_try_at else None,
        "code": upload.code,
        "message": upload.message,
        "retryable": upload.is_retryable,
        "pausedHere": upload.is_paused_here,
        "seconds": round(upload.seconds, 3),
        "createdAt": upload.created_at,
        "sha256": upload.complete_sha256,
        "finishedAt": upload.finished_at,
    }


def listing(
    tx: Transaction,
    states: Sequence[str],
    contains: str,
    after: int,
    limit: int,
    live: Live = _nothing_live,
    *,
    or_id: bool = False,
) -> Json:
    """Uploads in the order of their arrival, from the one behind number `after` on; `next` goes on from there."""
    limit = max(1, min(limit, LISTED_AT_ONCE))
    # One more than wanted: whether there is more is known only from it.
    found = uploads.chosen(tx, states, contains.encode(errors="surrogateescape"), after, limit + 1, or_id=or_id)
    chosen = found[:limit]
    goes_on = chosen[-1][0] if len(found) > limit else None
    return {"uploads": [summary(upload, live) for _, upload in chosen], "next": goes_on}


def details(tx: Transaction, file_id: str, live: Live = _nothing_live) -> Json:
    """One upload and how its last attempts ended. Raises GiveUp, `NOT_FOUND`."""
    upload = uploads.find(tx, file_id)
    if upload is None:
        raise GiveUp(ErrorCode.NOT_FOUND, "no upload has this fileId")
    return {
        **summary(upload, live),
        "endpoint": upload.endpoint,
        "tries": [_tried(one) for one in tries.of(tx, file_id)],
    }


def _tried(one: tries.Try) -> Json:
    return {
        "endedAt": one.ended_at,
        "seconds": one.seconds,
        "offset": one.offset,
        "state": one.state,
        "reason": one.reason,
    }


def counts(tx: Transaction) -> Json:
    """How much of everything there is."""
    return {
        "uploads": uploads.counts(tx),
        "queuedBytes": uploads.queued_bytes(tx),
        "outbox": {"pending": 0, "dead": 0, **outbox.counts(tx)},
    }


def dead_letters(tx: Transaction, limit: int) -> Json:
    """Messages that the control plane refused for good, oldest first; `isComplete` unless there are more."""
    limit = min(limit, LISTED_AT_ONCE)
    found = outbox.dead(tx, limit + 1)
    return {
        "deadLetters": [
            {"messageId": one.message_id, "type": one.type, "timestamp": one.at, "refusal": one.refusal}
            for one in found[:limit]
        ],
        "isComplete": len(found) <= limit,
    }


class Desk:
    """In a live agent: each deed is told to whoever watches, and the loops are woken.

    `live`: the latest reading of an upload that runs or waits. It is asked on the journal's thread.
    """

    def __init__(self, journal: Journal, feed: Feed, on_change: Callable[[], None], live: Live = _nothing_live) -> None:
        self._journal = journal
        self._feed = feed
        self._on_change = on_change
        self._live = live

    async def do(self, name: str, file_ids: Sequence[str]) -> Done:
        """One deed, to these. Raises TryAgain."""
        done = await self._journal.write(do, name, file_ids)
        for event in done.events:
            self._feed.emit(event)
        self._on_change()
        return done

    async def do_to_all(self, name: str) -> Done:
        """One deed, to all that it is meant for, some at a time. Raises TryAgain."""
        count, refused, after = 0, list[tuple[str, GiveUp]](), 0
        while chosen := await self._journal.read(targets, name, after):
            done = await self.do(name, [file_id for _, file_id in chosen])
            count, refused, after = count + done.count, refused + done.refused, chosen[-1][0]
        return Done(count, refused, [])

    async def details(self, file_id: str) -> Json:
        """One upload. Raises GiveUp, TryAgain."""
        return await self._journal.read(details, file_id, self._live)

    async def listing(
        self, states: Sequence[str], contains: str, after: int, limit: int, *, or_id: bool = False
    ) -> Json:
        """Uploads by name, with `or_id` by file ID as well. Raises TryAgain."""
        return await self._journal.read(listing, states, contains, after, limit, self._live, or_id=or_id)

    async def counts(self) -> Json:
        """How much of everything there is. Raises TryAgain."""
        return await self._journal.read(counts)

    async def dead_letters(self, limit: int) -> Json:
        """What was refused for good. Raises TryAgain."""
        return await self._journal.read(dead_letters, limit)

    async def revive_dead_letters(self, message_ids: Sequence[str] | None) -> int:
        """Send them again; all without IDs. Raises TryAgain."""
        count = await self._journal.write(outbox.revive, message_ids)
        self._on_change()
        return count
