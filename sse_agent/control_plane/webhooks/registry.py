"""Where to send what. A webhook is a document; so is each delivery that waits to be tried again.

Dead letters are documents of another kind, so that none of them stands in the way of what waits. (Earlier versions kept
both under `WAITING`; whoever looks at what waits moves them.)
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Literal, NoReturn
from uuid import uuid4

import pydantic_core
from pydantic import Field, StringConstraints

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.control_plane.documents import Conflict, Document, Documents
from sse_agent.control_plane.problems import IdempotencyKeyReused, Problem
from sse_agent.control_plane.records import Record
from sse_agent.messages import EventType, Name, Wire

WEBHOOKS, POSITIONS = "webhooks", "webhook-positions"
WAITING, DEAD = "webhook-waiting", "webhook-dead"
OLD_SECRET_LASTS = timedelta(hours=24)
MOST_WEBHOOKS = 100
KEPT = timedelta(days=30)
"""How long a dead letter can still be sent again."""


class UnknownWebhook(Problem):
    status, slug, title = 404, "unknown-webhook", "No webhook is called that"


class WebhookExists(Problem):
    """The same request again. The secret was told once; whoever missed it makes another."""

    status, slug, title = 409, "webhook-exists", "A request with this key has made a webhook"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"it is {webhook_id}; if its secret got lost, POST /api/v1/webhooks/{webhook_id}/secret")


class TooManyWebhooks(Problem):
    status, slug, title = 429, "too-many-webhooks", f"There are at most {MOST_WEBHOOKS} webhooks; delete one"


class WebhookWanted(Wire):
    """What a service asks for. Empty lists: everything. `progress_seconds`: 0 sends no UPLOAD_PROGRESS."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    types: list[EventType] = Field(default_factory=list, max_length=50)
    agents: list[Name] = Field(default_factory=list, max_length=1000)
    progress_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0


class Webhook(Record):
    """One webhook. `stopped`: why nothing is sent there any more (it answered 410, say)."""

    id: str
    url: str
    types: list[str]
    agents: list[str]
    progress_seconds: float
    made_at: str
    stopped: str | None = None


class WebhookKept(Webhook):
    """With its secrets (`whsec_…`), newest first. The second one signs, too, until it ends."""

    secrets: list[str] = Field(repr=False)
    old_secret_until: str | None = None

    def told(self) -> Webhook:
        """What services are told of it later."""
        return Webhook.model_validate(self.model_dump(exclude={"secrets", "old_secret_until"}), by_name=True)

    def wants(self, kind: str, client_id: str) -> bool:
        """Whether that event goes there."""
        return (not self.types or kind in self.types) and (not self.agents or client_id in self.agents)


class Waiting(Record):
    """A delivery that failed. `body` is what is sent; `state` `dead`: it is not tried any more.

    `tries` decides when it is tried again, and begins anew when somebody does that by hand; `sent` counts all of them.
    """

    message_id: str
    n: int
    type: str
    body: str
    tries: int
    sent: int = 0
    next_at: str
    reason: str
    state: Literal["waiting", "dead"] = "waiting"


Change = Callable[[WebhookKept], WebhookKept]


class Registry:
    """Reading and writing both."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def make(self, wanted: WebhookWanted, position: int, request: str | None = None) -> WebhookKept:
        """A new webhook, which gets what is reported behind `position`.

        `request` names what asks for it: the same one again makes no other, as long as the first is there. Raises
        TooManyWebhooks, WebhookExists, IdempotencyKeyReused.
        """
        made = WebhookKept(
            **wanted.model_dump(),
            id=uuid4().hex if request is None else hashlib.sha256(request.encode()).hexdigest()[:32],
            made_at=timestamp(self._clock.now()),
            secrets=[new_secret()],
        )
        there = await self.all()
        for before in there:
            if before.id == made.id:
                _refuse_repeated(before, wanted)
        if len(there) >= MOST_WEBHOOKS:
            raise TooManyWebhooks
        # Its position first: without one it would begin with everything that was ever reported. In conflict an earlier
        # try came this far, and its position holds.
        with suppress(Conflict):
            await self._documents.put(POSITIONS, made.id, b"%d" % position, version=0)
        try:
            await self._documents.put(WEBHOOKS, made.id, _json(made), version=0)
        except Conflict:
            _refuse_repeated(_webhook(await self._found(made.id)), wanted)
        return made

    async def all(self) -> Sequence[WebhookKept]:
        """Every one."""
        return [_webhook(document) for document in await self._documents.documents(WEBHOOKS, limit=MOST_WEBHOOKS)]

    async def now(self, webhook_id: str) -> WebhookKept:
        """As it is. Raises UnknownWebhook."""
        return _webhook(await self._found(webhook_id))

    async def rotate(self, webhook_id: str) -> WebhookKept:
        """A new secret; the one before it signs for another day. Raises UnknownWebhook."""
        until = timestamp(self._clock.now() + OLD_SECRET_LASTS)
        return await self._change(
            webhook_id,
            lambda now: now.model_copy(
                update={"secrets": [new_secret(), *now.secrets[:1]], "old_secret_until": until},
            ),
        )

    async def stop(self, webhook_id: str, why: str | None) -> WebhookKept:
        """Send nothing there any more; None: again. Raises UnknownWebhook."""
        return await self._change(webhook_id, lambda now: now.model_copy(update={"stopped": why}))

    async def remove(self, webhook_id: str) -> None:
        """For good, with what waits for it. Raises UnknownWebhook."""
        found = await self._found(webhook_id)
        await self._documents.remove(WEBHOOKS, webhook_id, version=found.version)
        await self._remove(POSITIONS, webhook_id)
        for kind in (_waiting(webhook_id), _dead(webhook_id)):
            while page := await self._documents.documents(kind):
                for document in page:
                    # In conflict it was tried at this moment, and is in the next page.
                    with suppress(Conflict):
                        await self._documents.remove(kind, document.key, version=document.version)

    # --- how far it is ---

    async def position(self, webhook_id: str) -> int:
        """Everything reported up to that serial number was sent there, or waits."""
        found = await self._documents.document(POSITIONS, webhook_id)
        return 0 if found is None else int(found.body)

    async def move(self, webhook_id: str, position: int) -> None:
        """It has come that far."""
        found = await self._documents.document(POSITIONS, webhook_id)
        version = 0 if found is None else found.version
        await self._documents.put(POSITIONS, webhook_id, b"%d" % position, version=version)

    # --- what waits ---

    async def waiting(self, webhook_id: str, limit: int) -> Sequence[Waiting]:
        """Deliveries that are tried again, oldest first. Dead ones are left of earlier versions alone."""
        return await self._deliveries(_waiting(webhook_id), limit)

    async def kept(self, webhook_id: str, limit: int) -> Sequence[Waiting]:
        """Deliveries that failed, oldest first, dead ones too."""
        dead = await self._deliveries(_dead(webhook_id), limit)
        # Of one that is in both at this moment, what waits counts.
        found = {one.n: one for one in [*dead, *await self.waiting(webhook_id, limit)]}
        return [found[n] for n in sorted(found)[:limit]]

    async def one(self, webhook_id: str, n: int) -> Waiting | None:
        """The delivery with that number, dead or not; None: it has not failed, or arrived."""
        for kind in (_waiting(webhook_id), _dead(webhook_id)):
            found = await self._documents.document(kind, _place(n))
            if found is not None:
                return _delivery(found)
        return None

    async def wait(self, webhook_id: str, delivery: Waiting) -> None:
        """It failed: try it again, or keep it as a dead letter."""
        is_dead = delivery.state == "dead"
        expires = self._clock.now() + KEPT if is_dead else None
        kind, key = _dead(webhook_id) if is_dead else _waiting(webhook_id), _place(delivery.n)
        found = await self._documents.document(kind, key)
        version = 0 if found is None else found.version
        await self._documents.put(kind, key, delivery.encode(), version=version, expires_at=expires)
        await self._remove(_waiting(webhook_id) if is_dead else _dead(webhook_id), key)

    async def done(self, webhook_id: str, n: int) -> None:
        """It arrived."""
        for kind in (_dead(webhook_id), _waiting(webhook_id)):
            await self._remove(kind, _place(n))

    async def _remove(self, kind: str, key: str) -> None:
        found = await self._documents.document(kind, key)
        if found is not None:
            await self._documents.remove(kind, key, version=found.version)

    async def _deliveries(self, kind: str, limit: int) -> Sequence[Waiting]:
        return [_delivery(found) for found in await self._documents.documents(kind, limit=limit)]

    async def _found(self, webhook_id: str) -> Document:
        found = await self._documents.document(WEBHOOKS, webhook_id)
        if found is None:
            raise UnknownWebhook
        return found

    async def _change(self, webhook_id: str, change: Change) -> WebhookKept:
        while True:
            found = await self._found(webhook_id)
            changed = change(_webhook(found))
            try:
                await self._documents.put(WEBHOOKS, webhook_id, _json(changed), version=found.version)
            except Conflict:
                continue
            return changed


def _refuse_repeated(before: WebhookKept, wanted: WebhookWanted) -> NoReturn:
    if before.model_dump(include=set(WebhookWanted.model_fields)) != wanted.model_dump():
        raise IdempotencyKeyReused
    raise WebhookExists(before.id)


def signing_secrets(webhook: WebhookKept, now: datetime) -> list[str]:
    """Those that sign now."""
    is_one = webhook.old_secret_until is None or parse_timestamp(webhook.old_secret_until) <= now
    return webhook.secrets[:1] if is_one else webhook.secrets


def new_secret() -> str:
    """256 bits, as Standard Webhooks writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _webhook(document: Document) -> WebhookKept:
    return WebhookKept.model_validate_json(document.body, by_alias=True)


def _json(webhook: WebhookKept) -> bytes:
    return pydantic_core.to_json(webhook.model_dump(mode="json", by_alias=True))


def _waiting(webhook_id: str) -> str:
    return f"{WAITING}/{webhook_id}"


def _dead(webhook_id: str) -> str:
    return f"{DEAD}/{webhook_id}"


def _delivery(document: Document) -> Waiting:
    return Waiting.model_validate_json(document.body, by_alias=True)


def _place(n: int) -> str:
    """In the order of the numbers."""
    return f"{n:020}"
