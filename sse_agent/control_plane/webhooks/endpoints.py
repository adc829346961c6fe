"""Webhooks on HTTP: services make them, look at what was sent, and send dead letters again."""

from collections.abc import Sequence
from typing import Annotated, Any

import pydantic_core
from fastapi import FastAPI, Query, Request, Response
from pydantic import ValidationError

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.answers import json_answer
from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.problems import AgentDeleted, InvalidParameter, UnknownAgent
from sse_agent.control_plane.receiving import first_wrong
from sse_agent.control_plane.requests import idempotency_key, read_body
from sse_agent.control_plane.webhooks import addresses
from sse_agent.control_plane.webhooks.courier import Courier
from sse_agent.control_plane.webhooks.lane import LOG
from sse_agent.control_plane.webhooks.registry import Registry, WebhookKept, WebhookWanted

BODY_LIMIT = 64 * 1024
PATH = "/api/v1/webhooks"

After = Annotated[int, Query(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class Endpoints:
    """As methods; `add_to` routes to them."""

    def __init__(
        self,
        access: Access,
        engine: Engine,
        documents: Documents,
        registry: Registry,
        courier: Courier,
        audit: Audit,
        clock: Clock,
        *,
        allows_private: bool,
    ) -> None:
        self._access = access
        self._engine = engine
        self._documents = documents
        self._registry = registry
        self._courier = courier
        self._audit = audit
        self._clock = clock
        self._allows_private = allows_private

    def add_to(self, app: FastAPI) -> None:
        """The routes."""
        one = f"{PATH}/{{webhook_id}}"
        for method, path, deed, summary in (
            ("POST", PATH, self.make, "Make a webhook; its secret is told once"),
            ("GET", PATH, self.all, "The webhooks"),
            ("DELETE", one, self.remove, "Remove a webhook and what waits for it"),
            ("POST", f"{one}/secret", self.rotate, "A new secret; the old one signs for another day"),
            ("POST", f"{one}/resume", self.resume, "Send to a stopped webhook again"),
            ("GET", f"{one}/deliveries", self.deliveries, "What was sent, and what was answered"),
            ("GET", f"{one}/waiting", self.waiting, "What failed and waits, dead letters too"),
            ("POST", f"{one}/waiting/{{n}}/retry", self.retry, "Send one again now"),
        ):
            app.add_api_route(path, deed, methods=[method], summary=summary)

    async def make(self, request: Request) -> Response:
        """It gets what is reported from now on."""
        by = await self._access.require_service(request.headers)
        key = idempotency_key(request.headers)
        try:
            wanted = WebhookWanted.model_validate_json(await read_body(request, BODY_LIMIT), by_name=False)
            addresses.check(wanted.url, allows_private=self._allows_private)
        except ValidationError as error:
            raise InvalidParameter(first_wrong(error, "the body")) from None
        except addresses.NotThere as error:
            raise InvalidParameter(f"url: {error}") from None
        await self._require_agents(wanted.agents)
        position = await self._engine.feed_end()
        made = await self._registry.make(wanted, position, None if key is None else f"{by}\n{key}")
        await self._audit.note("webhook-made", by=by, webhook=made.id)
        self._courier.look_again(made.id)
        return json_answer(_with_secret(made), 201)

    async def _require_agents(self, client_ids: Sequence[str]) -> None:
        """Of an agent that is not there nothing would ever come. Raises InvalidParameter."""
        for client_id in client_ids:
            try:
                await self._engine.agent(client_id)
            except (UnknownAgent, AgentDeleted) as error:
                why = f"agents: {client_id}: {error.title.lower()}; GET /api/v1/agents has those that there are"
                raise InvalidParameter(why) from None

    async def all(self, request: Request) -> Response:
        """Without their secrets."""
        await self._access.require_service(request.headers)
        return json_answer({"webhooks": [_told(webhook) for webhook in await self._registry.all()]})

    async def remove(self, webhook_id: str, request: Request) -> Response:
        """For good."""
        by = await self._access.require_service(request.headers)
        await self._registry.remove(webhook_id)
        await self._audit.note("webhook-removed", by=by, webhook=webhook_id)
        return Response(status_code=204)

    async def rotate(self, webhook_id: str, request: Request) -> Response:
        """Until the old one ends, both sign."""
        by = await self._access.require_service(request.headers)
        changed = await self._registry.rotate(webhook_id)
        await self._audit.note("webhook-secret-rotated", by=by, webhook=webhook_id)
        return json_answer(_with_secret(changed))

    async def resume(self, webhook_id: str, request: Request) -> Response:
        """It goes on where it stopped."""
        await self._access.require_service(request.headers)
        changed = await self._registry.stop(webhook_id, None)
        self._courier.look_again(webhook_id)
        return json_answer(_told(changed))

    async def deliveries(self, webhook_id: str, request: Request, after: After = 0, limit: Limit = 100) -> Response:
        """The log of a week, oldest first."""
        await self._access.require_service(request.headers)
        found = await self._documents.entries(f"{LOG}/{webhook_id}", after=after, limit=limit)
        return json_answer({"deliveries": [{"n": e.n, "at": e.at, **pydantic_core.from_json(e.body)} for e in found]})

    async def waiting(self, webhook_id: str, request: Request, limit: Limit = 100) -> Response:
        """Oldest first."""
        await self._access.require_service(request.headers)
        found = await self._registry.kept(webhook_id, limit)
        told = [one.model_dump(mode="json", by_alias=True, exclude={"body"}) for one in found]
        return json_answer({"waiting": told})

    async def retry(self, webhook_id: str, n: int, request: Request) -> Response:
        """Its tries begin anew."""
        await self._access.require_service(request.headers)
        found = await self._registry.one(webhook_id, n)
        if found is None:
            raise InvalidParameter("nothing with that number waits")
        change = {"tries": 1, "state": "waiting", "next_at": timestamp(self._clock.now())}
        await self._registry.wait(webhook_id, found.model_copy(update=change))
        self._courier.look_again(webhook_id)
        return Response(status_code=202)


def _told(webhook: WebhookKept) -> dict[str, Any]:
    return webhook.told().model_dump(mode="json", by_alias=True)


def _with_secret(webhook: WebhookKept) -> dict[str, Any]:
    return {**_told(webhook), "secret": webhook.secrets[0]}
