"""HTTP/1.1 as far as the chaos proxy has to understand it: heads, Content-Length, chunks, blocks of an event stream."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

BLOCK = 64 * 1024
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Head:
    """First line and fields of a request or an answer, in the order and spelling in which they came."""

    first: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first.partition(" ")[0]

    @property
    def target(self) -> str:
        """Of a request."""
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(" ")[1])

    @property
    def length(self) -> int:
        """Content-Length in bytes; 0 without one."""
        return int(self.get("content-length") or 0)

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.get("transfer-encoding").lower()

    @property
    def is_event_stream(self) -> bool:
        """Of an answer: a stream that may go on for ever."""
        return self.status == 200 and self.get("content-type").startswith("text/event-stream")

    def get(self, name: str) -> str:
        """A field's value, its name in any case; empty if it is not there."""
        return next((value for found, value in self.fields if found.lower() == name.lower()), "")

    def having(self, name: str, value: str) -> "Head":
        """The same with that field replaced, or added at the end."""
        kept = tuple(field for field in self.fields if field[0].lower() != name.lower())
        return Head(self.first, (*kept, (name, value)))

    def render(self) -> bytes:
        """As it goes over the wire."""
        return "\r\n".join([self.first, *(f"{name}: {value}" for name, value in self.fields), "", ""]).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Chunks are joined: it always has a Content-Length, unless it has no body by definition."""

    head: Head
    body: bytes = b""

    def render(self) -> bytes:
        """As it goes over the wire."""
        return self.head.render() + self.body


def answer(status: int, reason: str, body: bytes = b"", content_type: str = "text/html", **fields: str) -> Answer:
    """One of the proxy's own making; underscores in names of fields become hyphens."""
    more = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    basic = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return Answer(Head(f"HTTP/1.1 {status} {reason}", basic + more), body)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None if the connection ends before it begins. Raises EOFError if it ends within."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    parts = (line.partition(":") for line in lines)
    return Head(first, tuple((name, value.strip()) for name, _, value in parts))


async def read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    """The whole answer to a request; of an event stream only the head. Raises EOFError if there is none, or half."""
    head = await read_head(reader)
    if head is None:
        raise EOFError
    if head.is_event_stream or method == "HEAD" or head.status in _BODILESS:
        return Answer(head)
    body = b"".join([piece async for piece in pieces(reader, head)])
    if not head.is_chunked and head.get("content-length"):
        return Answer(head, body)
    plain = tuple(field for field in head.fields if field[0].lower() != "transfer-encoding")
    return Answer(Head(head.first, plain).having("Content-Length", str(len(body))), body)


async def pieces(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The body as it comes, without its chunks. Raises EOFError if it ends early."""
    if head.is_chunked:
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return
    left = head.length if head.get("content-length") else -1
    while left:
        piece = await reader.read(BLOCK if left < 0 else min(BLOCK, left))
        if not piece and left < 0:
            return
        if not piece:
            raise EOFError
        left -= len(piece) if left > 0 else 0
        yield piece


async def blocks(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """An event stream, one event or comment at a time, blank line included."""
    pending = b""
    async for piece in pieces(reader, head):
        *whole, pending = re.split(rb"(?<=\n\n)", pending + piece)
        for block in whole:
            yield block


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)
