"""Light agents for the benchmark, many in one process: bare sockets, no parser but for what is needed to time things.

Started by bench_control_plane with JSON on standard input; says JSON lines on standard output.
"""

import asyncio
import json
import random
import sys
import time
import uuid
from typing import Any

TOKEN = "token-of-agent-{}"
OPENING = 200
"""Connections that are being opened at once."""


class Stream(asyncio.Protocol):
    """One open stream: it counts bytes, and finds command IDs if somebody wants them."""

    __slots__ = ("bell", "buffer", "client", "commands", "is_greeted", "lost", "transport")

    def __init__(self, client: "Client", commands: "asyncio.Queue[str] | None") -> None:
        self.client = client
        self.commands = commands
        self.buffer = b""
        self.is_greeted = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.client.bytes += len(data)
        if not self.is_greeted:
            self.buffer += data
            if b"event: HELLO" in self.buffer:
                self.is_greeted = True
                self.client.greeted(self)
                self.buffer = b""
            elif b"\r\n\r\n" in self.buffer and b" 200 " not in self.buffer[:16]:
                self.client.refused += 1
                self.transport.close()
            return
        if self.commands is None:
            return
        self.buffer += data
        *whole, self.buffer = self.buffer.split(b"\n\n")
        for event in whole:
            for line in event.splitlines():
                if line.startswith(b"data: "):
                    self.commands.put_nowait(json.loads(line[6:])["id"])

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.lost(self)


class Client:
    """Every stream of this process."""

    def __init__(self, host: str, port: int, first: int, count: int) -> None:
        self.host, self.port = host, port
        self.numbers = range(first, first + count)
        self.bytes = self.refused = 0
        self.open: set[Stream] = set()
        self._all = asyncio.Event()
        self._none = asyncio.Event()
        self._bells: dict[Stream, asyncio.Event] = {}
        self._journals = {number: str(uuid.uuid4()) for number in self.numbers}
        self._instances = {number: str(uuid.uuid4()) for number in self.numbers}

    def greeted(self, stream: Stream) -> None:
        self.open.add(stream)
        if stream in self._bells:
            self._bells[stream].set()

    def lost(self, stream: Stream) -> None:
        self.open.discard(stream)
        if stream in self._bells:
            self._bells[stream].set()
        if not self.open:
            self._none.set()

    def headers(self, number: int) -> str:
        return (
            f"Authorization: Bearer {TOKEN.format(number)}\r\nAgent-Journal: {self._journals[number]}\r\n"
            f"Agent-Epoch: 1\r\nAgent-Instance: {self._instances[number]}\r\n"
        )

    async def connect(self, number: int, commands: "asyncio.Queue[str] | None" = None) -> Stream | None:
        """A stream that was greeted, or None."""
        loop = asyncio.get_running_loop()
        stream = Stream(self, commands)
        bell = self._bells[stream] = asyncio.Event()
        try:
            await loop.create_connection(lambda: stream, self.host, self.port)
            request = f"GET /api/v1/agents/agent-{number}/stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            stream.transport.write((request + self.headers(number) + "\r\n").encode())
            await bell.wait()
        except OSError:
            return None
        finally:
            del self._bells[stream]
        return stream if stream.is_greeted else None

    async def connect_all(self) -> float:
        """Seconds until the last one was greeted."""
        began = time.monotonic()
        numbers = iter(self.numbers)

        async def some() -> None:
            for number in numbers:
                while await self.connect(number) is None:  # noqa: ASYNC110 - the server may be too busy
                    await asyncio.sleep(random.uniform(0, 0.5))

        await asyncio.gather(*[some() for _ in range(OPENING)])
        return time.monotonic() - began

    async def come_back(self) -> list[float]:
        """Each as an agent does when the server is gone: seconds until it was greeted again, since all were lost."""
        await self._none.wait()
        began = time.monotonic()
        took: list[float] = []

        async def one(number: int) -> None:
            attempt = 0
            # A stream that was healthy: 0–2 s, then full jitter (docs/reference: when agents come back).
            await asyncio.sleep(random.uniform(0, 2))
            while await self.connect(number) is None:
                await asyncio.sleep(random.uniform(0, min(60, 2**attempt)))
                attempt += 1
            took.append(time.monotonic() - began)

        await asyncio.gather(*[one(number) for number in self.numbers])
        return took


class Poster:
    """ACKs, over one connection that stays open."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter

    async def acknowledge(self, command_ids: list[str]) -> None:
        at = "2026-11-22T10:30:00Z"
        messages = [
            {
                "type": "ACK",
                "id": f"ack-{command_id}",
                "timestamp": at,
                "clientId": f"agent-{self._number}",
                "inReplyTo": command_id,
                "payload": {"commandId": command_id, "status": "completed"},
            }
            for command_id in command_ids
        ]
        body = json.dumps({"messages": messages}).encode()
        head = (
            f"POST /api/v1/agents/agent-{self._number}/messages HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {messages[0]['id']}\r\n"
            f"Content-Length: {len(body)}\r\n{self._client.headers(self._number)}\r\n"
        )
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._client.host, self._client.port)
        self._writer.write(head.encode() + body)
        status = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in status[:16], status
        length = int(status.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)


async def act(client: Client, number: int) -> None:
    """An agent that acknowledges whatever comes, what came together together."""
    commands: asyncio.Queue[str] = asyncio.Queue()
    assert await client.connect(number, commands) is not None
    say({"active": number})
    poster = Poster(client, number)
    while True:
        some = [await commands.get()]
        while not commands.empty() and len(some) < 100:
            some.append(commands.get_nowait())
        await poster.acknowledge(some)


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    """Do what the first line asks for; end when standard input does."""
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    client = Client(order["host"], order["port"], order["first"], order["count"])
    acting = None
    if order["is_active"]:
        acting = asyncio.gather(*[act(client, number) for number in client.numbers])
    else:
        say({"seconds": await client.connect_all(), "open": len(client.open)})
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.startswith("back"):
            client.port = int(line.split()[1])
            say({"took": await client.come_back(), "open": len(client.open)})
        else:
            say({"open": len(client.open), "bytes": client.bytes, "refused": client.refused})
    if acting is not None:
        acting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
