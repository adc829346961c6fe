"""Commands: queued once, marked as sent before they are."""

from collections.abc import Sequence

from sse_agent.control_plane.engine import (
    FULL_RETRY_S,
    PAGE_BYTES,
    PAGE_COUNT,
    Order,
    QueuedCommand,
    Speaker,
    Superseded,
    Ticket,
)
from sse_agent.control_plane.problems import IdempotencyKeyReused, QueueFull
from sse_agent.control_plane.redis.claims import PROBLEMS
from sse_agent.control_plane.redis.store import Store


async def queue(store: Store, client_id: str, order: Order, limit: int) -> Ticket:
    """Raises QueueFull, IdempotencyKeyReused, UnknownAgent, AgentDeleted."""
    more = {"actor": order.actor, "expires_at": order.expires_at, "id": order.command_id}
    fields = [part for name, value in more.items() if value is not None for part in (name, value)]
    word, *rest = await store.run(
        "queue",
        client_id,
        order.key,
        order.digest.hex(),
        order.command_id,
        order.type,
        order.body,
        limit,
        *fields,
    )
    if word in PROBLEMS:
        raise PROBLEMS[word]
    if word == b"reused":
        raise IdempotencyKeyReused
    if word == b"full":
        raise QueueFull(f"{limit} commands wait for this agent", retry_after_s=FULL_RETRY_S)
    numbering, n = (part.decode() for part in rest)
    return Ticket(order.command_id, f"{numbering}/{n}", is_repeated=word == b"repeated")


async def take(
    store: Store, client_id: str, speaker: Speaker, ticket: str | None, after_n: int
) -> Sequence[QueuedCommand]:
    """The next page behind `after_n`, marked as sent. Raises Superseded."""
    word, *rest = await store.run(
        "take",
        client_id,
        speaker.journal,
        speaker.epoch,
        speaker.instance,
        ticket or "",
        after_n,
        PAGE_COUNT,
        PAGE_BYTES,
    )
    if word == b"superseded":
        raise Superseded
    numbering = rest[0].decode()
    return [QueuedCommand(int(n), f"{numbering}/{int(n)}", kind.decode(), body) for n, kind, body in rest[1:]]


async def readmit(store: Store, client_id: str, key: str, digest: bytes) -> None:
    """The next claim that would be refused is let in."""
    (word,) = await store.run("readmit", client_id, key, digest.hex())
    if word in PROBLEMS:
        raise PROBLEMS[word]
    if word == b"reused":
        raise IdempotencyKeyReused


async def delete(store: Store, client_id: str) -> tuple[str, ...]:
    """For ever; what was open becomes unknown. Returns the IDs of those commands."""
    word, *rest = await store.run("delete", client_id)
    if word in PROBLEMS:
        raise PROBLEMS[word]
    return tuple(command_id.decode() for command_id in rest[0])
