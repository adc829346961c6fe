"""One webhook's way: what is new, what waits to be tried again, and the newest progress."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pydantic_core

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.records import FeedRecord
from sse_agent.control_plane.webhooks import schedule
from sse_agent.control_plane.webhooks.delivery import Delivery, Outcome
from sse_agent.control_plane.webhooks.progress import Progress
from sse_agent.control_plane.webhooks.registry import Registry, Waiting, WebhookKept, signing_secrets
from sse_agent.messages import EventType

PAGE = 50
AT_ONCE = 8
MOST_WAITING = 10_000
LOG = "webhook-deliveries"


class Lane:
    """The position is saved after what failed was put aside: a crash sends twice, with the same ID."""

    def __init__(
        self,
        webhook_id: str,
        engine: Engine,
        documents: Documents,
        registry: Registry,
        delivery: Delivery,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._id = webhook_id
        self._engine = engine
        self._documents = documents
        self._registry = registry
        self._delivery = delivery
        self._progress = progress
        self._clock = clock
        self._look_at: datetime | None = clock.now()
        """When the oldest of what waits is due. Looking is not for free; None: nothing waits."""
        self._waits = 0
        self._told_progress = 0
        self._progress_at = clock.monotonic()

    def look_again(self) -> None:
        """Somebody changed what waits."""
        self._look_at = self._clock.now()

    async def serve(self, webhook: WebhookKept) -> bool:
        """Whether there is more already."""
        if self._look_at is not None and self._look_at <= self._clock.now():
            await self._try_again(webhook)
        has_more = self._waits < MOST_WAITING and await self._send_new()
        await self._send_progress(webhook)
        return has_more

    async def _try_again(self, webhook: WebhookKept) -> None:
        found = await self._waiting()
        now = self._clock.now()
        due = [one for one in found if parse_timestamp(one.next_at) <= now]
        later = [parse_timestamp(one.next_at) for one in found if parse_timestamp(one.next_at) > now]
        self._waits = len(found)
        self._look_at = now if len(due) > PAGE else min(later, default=None)
        await self._send_all(webhook, due[:PAGE])

    async def _waiting(self) -> Sequence[Waiting]:
        while True:
            found = await self._registry.waiting(self._id, 2 * MOST_WAITING)
            dead = [one for one in found if one.state == "dead"]
            if not dead:
                return found
            for one in dead:
                await self._registry.wait(self._id, one)

    async def _send_new(self) -> bool:
        page = await self._engine.feed(after=await self._registry.position(self._id), limit=PAGE)
        if not page:
            return False
        # Read behind them: what was changed before something was reported, its secret say, counts for it.
        webhook = await self._registry.now(self._id)
        if webhook.stopped is not None:
            return False
        wanted = [record for record in page if webhook.wants(str(record.message.get("type")), record.client_id)]
        await self._send_all(webhook, [_first(record) for record in wanted])
        await self._registry.move(self._id, page[-1].n)
        return len(page) == PAGE

    async def _send_all(self, webhook: WebhookKept, deliveries: Sequence[Waiting]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(delivery: Waiting) -> None:
            async with turns:
                await self._send(webhook, delivery)

        await asyncio.gather(*(one(delivery) for delivery in deliveries))

    async def _send(self, webhook: WebhookKept, delivery: Waiting) -> None:
        outcome = await self._post(webhook, delivery.message_id, delivery.body)
        await self._log(delivery, outcome)
        if outcome.reason is not None:
            await self._put_aside(webhook, delivery, outcome)
        elif delivery.tries:
            await self._registry.done(self._id, delivery.n)
            self._waits -= 1

    async def _post(self, webhook: WebhookKept, message_id: str, body: str) -> Outcome:
        secrets = signing_secrets(webhook, self._clock.now())
        return await self._delivery.send(webhook.url, secrets, message_id, body)

    async def _put_aside(self, webhook: WebhookKept, delivery: Waiting, outcome: Outcome) -> None:
        tries = delivery.tries + 1
        after_s = schedule.wait_s(tries, asked_s=outcome.retry_after_s)
        next_at = self._clock.now() + timedelta(seconds=after_s or 0.0)
        change = {
            "tries": tries,
            "sent": _sent(delivery),
            "reason": outcome.reason,
            "next_at": timestamp(next_at),
            "state": "dead" if after_s is None else "waiting",
        }
        await self._registry.wait(self._id, delivery.model_copy(update=change))
        if after_s is not None:
            self._waits += 0 if delivery.tries else 1
            self._look_at = next_at if self._look_at is None else min(self._look_at, next_at)
        if outcome.is_gone:
            await self._registry.stop(self._id, "it answered 410: nothing more is wanted there")

    async def _send_progress(self, webhook: WebhookKept) -> None:
        """The newest of each upload, in its time; what fails is forgotten, for newer is on its way."""
        now = self._clock.monotonic()
        if webhook.progress_seconds == 0 or now - self._progress_at < webhook.progress_seconds:
            return
        kind = EventType.UPLOAD_PROGRESS.value
        self._progress_at = now
        self._told_progress, news = self._progress.since(self._told_progress)
        wanted = [(client_id, body) for client_id, body in news if webhook.wants(kind, client_id)]
        for start in range(0, len(wanted), AT_ONCE):
            await asyncio.gather(
                *(
                    self._post(webhook, uuid.uuid4().hex, _body(client_id, None, pydantic_core.from_json(body)))
                    for client_id, body in wanted[start : start + AT_ONCE]
                )
            )

    async def _log(self, delivery: Waiting, outcome: Outcome) -> None:
        line = {
            "messageId": delivery.message_id,
            "type": delivery.type,
            "try": _sent(delivery),
            "status": outcome.status,
            "reason": outcome.reason,
        }
        await self._documents.append(f"{LOG}/{self._id}", pydantic_core.to_json(line))


def _sent(delivery: Waiting) -> int:
    """How often, with the try just now. What waits since before `sent` was counted has its tries alone."""
    return max(delivery.sent, delivery.tries) + 1


def _first(record: FeedRecord) -> Waiting:
    """A delivery that nobody has tried."""
    return Waiting(
        message_id=str(record.message.get("id")),
        n=record.n,
        type=str(record.message.get("type")),
        body=_body(record.client_id, record.n, record.message),
        tries=0,
        next_at=record.recorded_at,
        reason="",
    )


def _body(client_id: str, n: int | None, message: dict[str, Any]) -> str:
    """The members that Standard Webhooks names, and the agent's message whole."""
    told = {
        "type": message.get("type"),
        "timestamp": message.get("timestamp"),
        "data": {"clientId": client_id, "n": n, "message": message},
    }
    return pydantic_core.to_json(told).decode()
