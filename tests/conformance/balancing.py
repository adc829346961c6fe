"""A TCP load balancer on loopback that is as unkind as they come: each connection goes to the next instance."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@dataclass
class Balancer:
    """`counts`: how many connections each instance got."""

    url: str
    counts: list[int] = field(default_factory=list)


@asynccontextmanager
async def balancing(urls: Sequence[str]) -> AsyncIterator[Balancer]:
    """In front of these; gone after the block."""
    ports = [urlsplit(url).port or 0 for url in urls]
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    balancer = Balancer(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}", [0] * len(ports))

    async def serve(client: ByteStream) -> None:
        place = sum(balancer.counts) % len(ports)
        balancer.counts[place] += 1
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", ports[place]) as instance,
            anyio.create_task_group() as both,
        ):
            both.start_soon(_carry, client, instance, both.cancel_scope)
            both.start_soon(_carry, instance, client, both.cancel_scope)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield balancer
        finally:
            group.cancel_scope.cancel()


async def _carry(source: ByteStream, target: ByteStream, over: anyio.CancelScope) -> None:
    with suppress(*LOST):
        while True:
            await target.send(await source.receive())
    over.cancel()
