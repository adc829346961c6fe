"""Of the chaos proxy: one request and what comes of it. Misbehaviours are made of these methods."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.doubles.chaos_flow import Flow, Line
from tests.doubles.chaos_wire import BLOCK, Answer, Head, blocks, chunk, read_answer

if TYPE_CHECKING:
    from tests.doubles.chaos import Chaos

CONNECTS_WITHIN_S = 5.0
LONGEST_HOLE_S = 240.0
LINGERS_S = 2.0
_LOOK_EVERY_S = 0.05

At = Literal["accept", "flow", "request", "event"]


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """`at` says when `do` is called: in place of serving a connection, before a request, in place of passing a request
    on, in place of passing a block of an event stream on. `kinds`: of requests; empty means all.
    """

    name: str
    at: At
    do: Callable[["Exchange"], Awaitable[None]]
    kinds: frozenset[str] = frozenset()


@dataclass(slots=True)
class Front:
    """One door of the proxy. `kind_of` names the kind of a request; `fields` are added to each."""

    port: int
    kind_of: Callable[[Head], str]
    tls: ssl.SSLContext | None
    fields: dict[str, str]
    listening: socket.socket
    delivered: set[str] = field(default_factory=set)
    """Targets of requests that the server has, or may still get, to their last byte."""


class Exchange:
    """One request and what comes of it. Misbehaviours are made of its methods.

    `is_over`: the connection is not to be used again. `block` is the event at hand, where there is one.
    """

    def __init__(self, chaos: "Chaos", front: Front, line: Line, request: Head, chance: random.Random) -> None:
        self.chaos = chaos
        self.front = front
        self.line = line
        self.request = request
        self.kind = front.kind_of(request) if request.first else ""
        self.chance = chance
        self.round = chaos.round
        self.flow = Flow()
        self.is_over = self.is_cut = False
        self.block = b""
        self.passed: list[bytes] = []
        self._unread = request.length
        self._body: bytes | None = None

    # --- the request ---

    @property
    def size(self) -> int:
        """Bytes of the request, head and body."""
        return len(self.request.render()) + self.request.length

    async def body(self) -> bytes:
        """The whole body, kept."""
        if self._body is None:
            self._body = await self.line.reader.readexactly(self._unread)
            self._unread = 0
        return self._body

    async def open(self) -> Line:
        """A connection to the server, of this exchange alone."""
        opening = asyncio.open_connection("127.0.0.1", self.front.port)
        streams = await asyncio.wait_for(opening, CONNECTS_WITHIN_S)
        return Line(streams[1].get_extra_info("socket"), streams)

    async def forward(self, server: Line, most: int | None = None) -> None:
        """The request as it comes, or its first `most` bytes. Raises OSError or EOFError when either side is gone."""
        head = self.request.render()
        left = self.size if most is None else most
        await self._write(server, head[:left])
        left -= len(head)
        if self._body is not None:
            await self._write(server, self._body[: max(0, left)])
            return
        while left > 0:
            block = await self.line.reader.read(min(BLOCK, left))
            if not block:
                raise EOFError
            self._unread -= len(block)
            left -= len(block)
            await self._write(server, block)

    async def deliver(self) -> Answer:
        """The request is delivered and the answer taken. Of an event stream that is the head; it ends with it."""
        server = await self.open()
        try:
            return await self._delivered(server)
        finally:
            server.cut(with_reset=False)

    async def _delivered(self, server: Line) -> Answer:
        """Forward, but hear an answer that comes before the server has it all."""
        if self.request.length:
            self.front.delivered.add(self.request.target)
        forwarding = asyncio.create_task(self.forward(server))
        answering = asyncio.create_task(read_answer(server.reader, self.request.method))
        try:
            await asyncio.wait({forwarding, answering}, return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done() and isinstance(forwarding.exception(), EOFError):
                raise EOFError
            found = await answering
            self.is_over = self.is_over or not forwarding.done() or forwarding.exception() is not None
            self.chaos.note_answer(self, found)
            return found
        finally:
            for task in (forwarding, answering):
                task.cancel()
            await asyncio.gather(forwarding, answering, return_exceptions=True)

    # --- the answer ---

    async def pass_on(self) -> None:
        """As a proxy should."""
        server = await self.open()
        try:
            found = await self._delivered(server)
            if not found.head.is_event_stream:
                await self.say(found.render())
                return
            await self.say(found.head.render())
            await self._carry_stream(server, found.head)
        finally:
            server.cut(with_reset=False)

    async def say(self, data: bytes) -> None:
        """To the client."""
        await self._write(self.line, data)

    async def _write(self, line: Line, data: bytes) -> None:
        await self.flow.write(line.writer, data, self.chance, self.round)

    async def _carry_stream(self, server: Line, head: Head) -> None:
        """Until the server ends it or the client leaves."""
        carrying = asyncio.create_task(self._carry_blocks(server, head))
        leaving = asyncio.create_task(self.line.reader.read(1))
        self.is_over = True
        try:
            await asyncio.wait({carrying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (carrying, leaving):
                task.cancel()
            await asyncio.gather(carrying, leaving, return_exceptions=True)

    async def _carry_blocks(self, server: Line, head: Head) -> None:
        async for block in blocks(server.reader, head):
            self.block, self.round = block, self.chaos.round
            deed = self.chaos.draw(self, "event")
            await (deed.do(self) if deed else self.say_event(block))
            self.passed.append(block)
        await self.say(b"0\r\n\r\n")

    async def say_event(self, data: bytes) -> None:
        """A piece of the event stream."""
        await self.say(chunk(data))

    # --- the end ---

    async def linger(self) -> None:
        """After an answer to a request that was not read to its end: closed at once, the answer would be lost."""
        until = time.monotonic() + LINGERS_S
        while self._unread > 0 and not self.is_cut and time.monotonic() < until:
            block = await asyncio.wait_for(self.line.reader.read(BLOCK), LINGERS_S)
            if not block:
                return
            self._unread -= len(block)

    def cut(self, *, with_reset: bool | None = None) -> None:
        """The client's connection, at once; None leaves it to chance how."""
        self.is_over = self.is_cut = True
        self.line.cut(with_reset=self.chance.random() < 0.5 if with_reset is None else with_reset)

    async def hole(self, label: str = "") -> None:
        """Silence until the round is over, or, where holes last, until the client has enough; then the cut."""
        round_, began = self.round, time.monotonic()
        until = began + LONGEST_HOLE_S
        try:
            while not self.line.is_gone and time.monotonic() < until and (round_.holes_last or not round_.is_over):
                await round_.pause(_LOOK_EVERY_S)
        finally:
            if round_.holes_last:
                self.chaos.held.append((label, self.line.is_gone, time.monotonic() - began))
        self.cut(with_reset=True)

    def cut_when_over(self) -> None:
        """Something was withheld that nobody can miss yet: such a connection does not outlive the round."""

        async def wait() -> None:
            while not self.round.is_over:
                await self.round.wait(1.0)
            self.cut()

        self.chaos.spawn(wait())
