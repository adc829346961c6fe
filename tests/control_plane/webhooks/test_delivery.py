"""One request, on a connection of its own and within its time, whatever the endpoint does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from sse_agent.clock import SystemClock
from sse_agent.control_plane.webhooks import delivery
from sse_agent.control_plane.webhooks.delivery import Delivery
from sse_agent.control_plane.webhooks.registry import new_secret

WITHIN_S = 20.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def endpoint(serve: Serve) -> AsyncIterator[tuple[Delivery, int]]:
    """What sends, and the port of a server that does that with each connection."""

    serving: set[asyncio.Future[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(one(reader, writer)))

    sending = Delivery(SystemClock(), allows_private=True)
    async with asyncio.timeout(WITHIN_S), await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        yield sending, server.sockets[0].getsockname()[1]
        await sending.close()
        await asyncio.gather(*serving)


async def test_no_connection_serves_two_names_for_the_second_ones_certificate_would_not_be_looked_at() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with endpoint(serve) as (sending, port):
        for host in ("127.0.0.1", "localhost"):
            outcome = await sending.send(f"http://{host}:{port}/", [new_secret()], "m", "{}")
            assert outcome.reason is None
    assert connections == 2


async def test_an_endpoint_that_answers_byte_by_byte_has_no_more_time_than_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "ANSWERED_WITHIN_S", 1.0)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with endpoint(serve) as (sending, port):
        outcome = await sending.send(f"http://127.0.0.1:{port}/", [new_secret()], "m", "{}")
    assert outcome.reason == "no answer within 1 s"
