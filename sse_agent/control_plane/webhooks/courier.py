"""Reports → POSTs: a lane for each webhook, all of them driven by the one control plane that holds the lease."""

import asyncio
import uuid
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from sse_agent.clock import Clock
from sse_agent.control_plane.documents import Conflict, Documents
from sse_agent.control_plane.engine import Engine, Report
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.webhooks.delivery import Delivery
from sse_agent.control_plane.webhooks.lane import LOG, Lane
from sse_agent.control_plane.webhooks.progress import Progress
from sse_agent.control_plane.webhooks.registry import Registry, UnknownWebhook, WebhookKept
from sse_agent.messages import EventType

LOOK_EVERY_S = 1.0
LEASE = timedelta(seconds=10)
LOG_KEPT = timedelta(days=7)


class Courier:
    """Run it, and tell it of reports."""

    def __init__(
        self, engine: Engine, documents: Documents, registry: Registry, delivery: Delivery, clock: Clock
    ) -> None:
        self._engine = engine
        self._documents = documents
        self._registry = registry
        self._delivery = delivery
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._bell = asyncio.Event()
        self._progress = Progress()
        self._lanes: dict[str, Lane] = {}
        self._busy: set[str] = set()

    def reported(self, client_id: str, report: Report) -> None:
        """An agent reported something new. Must not block."""
        if report.upload is not None and report.type == EventType.UPLOAD_PROGRESS:
            self._progress.note(client_id, report.upload.file_id, report.body)
            return
        if report.upload is not None:
            self._progress.forget(client_id, report.upload.file_id)
        self._bell.set()

    def look_again(self, webhook_id: str) -> None:
        """What waits for it was changed by hand."""
        if webhook_id in self._lanes:
            self._lanes[webhook_id].look_again()
        self._bell.set()

    async def run(self) -> None:
        """For ever. Cancelled, it leaves at most some deliveries to be sent once more."""
        async with asyncio.TaskGroup() as group:
            while True:
                with suppress(Unavailable):
                    for webhook in await self._mine():
                        if webhook.id not in self._busy:
                            self._busy.add(webhook.id)
                            group.create_task(self._serve(webhook))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._bell.wait()
                self._bell.clear()

    async def prune(self) -> None:
        """Old lines of the logs."""
        for webhook in await self._registry.all():
            await self._documents.trim(f"{LOG}/{webhook.id}", before=self._clock.now() - LOG_KEPT)

    async def _mine(self) -> Collection[WebhookKept]:
        """Those to be served from here."""
        found = [webhook for webhook in await self._registry.all() if webhook.stopped is None]
        for gone in self._lanes.keys() - {webhook.id for webhook in found} - self._busy:
            del self._lanes[gone]
        return found if found and await self._holds_lease() else ()

    async def _holds_lease(self) -> bool:
        found = await self._documents.document("leases", "webhooks")
        if found is not None and found.body.decode() != self._me:
            # What another one left may be out of date here when its turn is over.
            self._lanes.clear()
            return False
        until, version = self._clock.now() + LEASE, 0 if found is None else found.version
        try:
            await self._documents.put("leases", "webhooks", self._me.encode(), version=version, expires_at=until)
        except Conflict:
            return False
        return True

    async def _serve(self, webhook: WebhookKept) -> None:
        """Each by itself: one that hangs holds up no other."""
        try:
            with suppress(Unavailable, Conflict, UnknownWebhook):
                if await self._lane(webhook.id).serve(webhook):
                    self._bell.set()
        finally:
            self._busy.discard(webhook.id)

    def _lane(self, webhook_id: str) -> Lane:
        if webhook_id not in self._lanes:
            self._lanes[webhook_id] = Lane(
                webhook_id,
                self._engine,
                self._documents,
                self._registry,
                self._delivery,
                self._progress,
                self._clock,
            )
        return self._lanes[webhook_id]
