"""Bytes → events: the guard in front of httpx-sse.

httpx-sse parses; the guard hands it only what it reads as the WHATWG text means it. Rules: HTML Living Standard,
9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream".
"""

import codecs
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, cast

import httpx
from httpx_sse import EventSource

from sse_agent.errors import TryAgain

EVENT_BYTES_LIMIT = 256 * 1024
"""For one line, and for the `id`, `event` and `data` lines of one event together, their line ends counted as one."""

RETRY_MS_LIMIT = 9_999_999_999
_MEDIA_TYPE = "text/event-stream"
_LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event as dispatched. `id` is the last event ID string, which an event without an `id` line inherits.

    `is_truncated`: a line or the whole was over EVENT_BYTES_LIMIT, and what was over it is missing.
    """

    id: str
    type: str
    data: str = field(repr=False)
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class Block:
    """What a block says, for httpx-sse: LF line ends only, and a blank line only if `is_event`.

    Without it the block dispatches nothing and moves the last event ID alone.
    """

    text: str
    is_event: bool
    is_truncated: bool


@dataclass(slots=True)
class _Pending:
    """The fields of a block whose blank line has not come; `data` as lines for httpx-sse."""

    bytes_left: int
    last_event_id: bytes | None = None
    type: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    is_truncated: bool = False

    def add_data(self, value: bytes) -> None:
        """After `bytes_left` has been lowered by the line; below zero that much of the line is too much."""
        if self.bytes_left < 0:
            # A first data line stays even if empty: without any, httpx-sse may not dispatch.
            if self.is_truncated and self.data:
                return
            self.is_truncated = True
            value = _cut(value, len(value) + self.bytes_left)
        self.data += b"data: " + value + b"\n"

    def block(self) -> Block | None:
        """What the blank line makes of it; None if it says nothing."""
        # httpx-sse dispatches at every blank line once it has seen an ID. It must not see those of heartbeats.
        text = b"" if self.last_event_id is None else b"id: " + self.last_event_id + b"\n"
        if self.data:
            text += b"event: " + self.type + b"\n" + self.data + b"\n"
        if not text:
            return None
        return Block(text.decode(errors="replace"), is_event=bool(self.data), is_truncated=self.is_truncated)


class EventStreamGuard:
    """The bytes of one connection in, blocks out; no I/O.

    `last_event_id` is what an event inherits before the stream names one. Raises ValueError if it is no possible ID.
    `limit` is EVENT_BYTES_LIMIT, or less where that is too much to try everything out.
    """

    def __init__(self, last_event_id: str = "", *, limit: int = EVENT_BYTES_LIMIT) -> None:
        if re.search(r"[\0\r\n]", last_event_id):
            raise ValueError("an event ID holds no NUL and no line end")
        self.retry_ms: int | None = None
        """The newest `retry:`, in milliseconds, at most RETRY_MS_LIMIT."""
        self._line = bytearray()
        self._is_line_cut = False
        self._is_first_line = True
        self._is_after_cr = False
        self._limit = limit
        self._pending = _Pending(limit, last_event_id.encode() or None)

    @property
    def retained_bytes(self) -> int:
        """Bytes kept until more come: less than 5 × EVENT_BYTES_LIMIT, whatever comes."""
        pending = self._pending
        return len(self._line) + len(pending.data) + len(pending.type) + len(pending.last_event_id or b"")

    def feed(self, chunk: bytes) -> list[Block]:
        """The blocks that end in `chunk`, in order. Never raises."""
        if not chunk:
            return []
        blocks = []
        # A CR ended its line when it came. The LF behind it is no second end.
        start = 1 if self._is_after_cr and chunk.startswith(b"\n") else 0
        self._is_after_cr = chunk.endswith(b"\r")
        for end in _LINE_END.finditer(chunk, start):
            self._keep(chunk, start, end.start())
            block = self._end_line()
            if block is not None:
                blocks.append(block)
            start = end.end()
        self._keep(chunk, start, len(chunk))
        return blocks

    def _keep(self, chunk: bytes, start: int, end: int) -> None:
        room = self._limit - len(self._line)
        self._line += chunk[start : min(end, start + room)]
        self._is_line_cut = self._is_line_cut or end - start > room

    def _end_line(self) -> Block | None:
        line, is_cut = bytes(self._line), self._is_line_cut
        self._line.clear()
        self._is_line_cut = False
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line:
            pending, self._pending = self._pending, _Pending(self._limit)
            return pending.block()
        name, _, value = line.partition(b":")
        self._take(name, value.removeprefix(b" "), len(line) + 1, is_cut=is_cut)
        return None

    def _take(self, name: bytes, value: bytes, line_bytes: int, *, is_cut: bool) -> None:
        """One field. Those that are not known (a comment has the name "") cost nothing and are forgotten."""
        if name == b"retry":
            self._take_retry(value, is_cut=is_cut)
        if name not in (b"id", b"event", b"data"):
            return
        self._pending.bytes_left -= line_bytes
        if name == b"data":
            self._pending.add_data(value)
            # A byte order mark took room of the first line and counts for nothing now: the line's size does not tell.
            self._pending.is_truncated = self._pending.is_truncated or is_cut
        elif is_cut:
            # Half an ID or a type would be another one.
            self._pending.is_truncated = True
        elif name == b"event":
            self._pending.type = value
        elif b"\0" not in value:
            self._pending.last_event_id = value

    def _take_retry(self, value: bytes, *, is_cut: bool) -> None:
        # Of bytes, isdigit() is true for ASCII digits only; and int() refuses more than 4300 of them.
        if value.isdigit() and not is_cut:
            digits = value.lstrip(b"0") or b"0"
            self.retry_ms = int(digits) if len(digits) <= len(str(RETRY_MS_LIMIT)) else RETRY_MS_LIMIT


def _cut(value: bytes, size: int) -> bytes:
    """At most `size` bytes of `value`, not ending within a character."""
    kept = value[: max(size, 0)]
    return kept[: codecs.utf_8_decode(kept, "replace", False)[1]]


class _GuardedResponse:
    """What httpx-sse sees of a response: text, one block at a time, only when it asks for more."""

    # check_response has judged the real one, and better than httpx-sse does.
    headers: ClassVar = {"content-type": _MEDIA_TYPE}

    def __init__(self, blocks: AsyncGenerator[Block, None]) -> None:
        self._blocks = blocks
        self.is_truncated = False

    def aiter_text(self) -> "_GuardedResponse":
        return self

    def __aiter__(self) -> "_GuardedResponse":
        return self

    async def __anext__(self) -> str:
        block = await anext(self._blocks)
        self.is_truncated = block.is_truncated
        return block.text


async def _read_blocks(
    response: httpx.Response, on_bytes: Callable[[], None], guard: EventStreamGuard
) -> AsyncGenerator[Block, None]:
    # Raw: httpx's text would be decoded by the charset that the header names, and the standard knows UTF-8 only.
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
        async for chunk in chunks:
            on_bytes()
            for block in guard.feed(chunk):
                yield block


async def read_events(
    response: httpx.Response, *, on_bytes: Callable[[], None], guard: EventStreamGuard
) -> AsyncGenerator[StreamEvent, None]:
    """The events of `response`, each as soon as its last byte is there; `on_bytes` is called for every chunk.

    Ends when the body ends, dropping an incomplete event. Raises httpx.HTTPError as it comes. To be closed by the
    caller, as the response is.
    """
    async with aclosing(_read_blocks(response, on_bytes, guard)) as blocks:
        guarded = _GuardedResponse(blocks)
        async with aclosing(EventSource(cast("httpx.Response", guarded)).aiter_sse()) as events:
            async for event in events:
                yield StreamEvent(event.id, event.event, event.data, guarded.is_truncated)


def check_response(response: httpx.Response) -> None:
    """Raises TryAgain unless `response` is an event stream: 200, its media type exactly, and not compressed."""
    if response.status_code != 200:
        raise TryAgain(f"the control plane answered {response.status_code}, where an event stream takes 200")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip(" \t")
    if media_type.lower() != _MEDIA_TYPE:
        found = ascii(media_type[:80]) if media_type else "an answer without a media type"
        raise TryAgain(f"{found} came in place of an event stream (a login page or a proxy on the way?)")
    # Compressed, events may wait in a buffer on the way, and a few bytes may become gigabytes.
    encodings = response.headers.get("content-encoding", "")
    if any(encoding.strip(" \t").lower() not in ("", "identity") for encoding in encodings.split(",")):
        raise TryAgain(f"a compressed stream came ({encodings[:80]!a}), though none was asked for")
