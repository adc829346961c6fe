"""What waits is tried again, however many dead letters are kept beside it."""

import pytest

from sse_agent.clock import timestamp
from sse_agent.control_plane.webhooks import lane
from sse_agent.control_plane.webhooks.delivery import Delivery
from sse_agent.control_plane.webhooks.lane import Lane
from sse_agent.control_plane.webhooks.progress import Progress
from sse_agent.control_plane.webhooks.registry import WAITING, Registry, Waiting, WebhookWanted
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Make

NOWHERE = "http://127.0.0.1:1/"


async def test_dead_letters_keep_nothing_from_being_tried_again_also_those_of_earlier_versions(
    make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MOST_WAITING", 2)
    engine = make()
    await engine.open()
    registry, delivery = Registry(engine, clock), Delivery(clock, allows_private=True)
    webhook = await registry.make(WebhookWanted(url=NOWHERE), position=0)
    served = Lane(webhook.id, engine, engine, registry, delivery, Progress(), clock)
    fresh = Waiting(message_id="m", n=1, type="ACK", body="{}", tries=1, next_at=timestamp(clock.now()), reason="no")
    for n in range(1, 5):
        dead = fresh.model_copy(update={"n": n, "state": "dead"})
        if n == 1:
            await engine.put(f"{WAITING}/{webhook.id}", f"{n:020}", dead.encode(), version=0)
        else:
            await registry.wait(webhook.id, dead)
    await registry.wait(webhook.id, fresh.model_copy(update={"n": 5}))
    await served.serve(webhook)
    kept = await registry.kept(webhook.id, 10)
    assert [(one.n, one.state, one.tries) for one in kept] == [
        *[(n, "dead", 1) for n in range(1, 5)],
        (5, "waiting", 2),
    ]
    assert [one.n for one in await registry.waiting(webhook.id, 10)] == [5]
    # One of them by hand; it arrives; and the rest goes with its webhook.
    await registry.wait(webhook.id, kept[0].model_copy(update={"state": "waiting"}))
    found = await registry.one(webhook.id, 1)
    assert found is not None
    assert found.state == "waiting"
    await registry.done(webhook.id, 1)
    assert [one.n for one in await registry.kept(webhook.id, 10)] == [2, 3, 4, 5]
    await registry.remove(webhook.id)
    assert await registry.kept(webhook.id, 10) == []
    await delivery.close()
    await engine.close()
