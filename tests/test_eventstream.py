"""The event stream as the WHATWG text has it, whatever the bytes and however they are cut."""

import gc
import random
import socket
import struct
import sys
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from sse_agent.clock import SystemClock
from sse_agent.errors import TryAgain
from sse_agent.eventstream import (
    EVENT_BYTES_LIMIT,
    RETRY_MS_LIMIT,
    Block,
    EventStreamGuard,
    StreamEvent,
    check_response,
    read_events,
)
from tests.doubles.reference_parser import read_stream

LIMIT = EVENT_BYTES_LIMIT
EVENT_STREAM = {"content-type": "text/event-stream"}


class Body(httpx.AsyncByteStream):
    """Hands out `chunks`, then raises `error` if there is one."""

    def __init__(self, chunks: Iterable[bytes], error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error


def event(data: str, id: str = "", type: str = "message") -> StreamEvent:  # noqa: A002 - the standard's words
    return StreamEvent(id=id, type=type, data=data, is_truncated=False)


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size or 1)]


async def events_of(
    chunks: Iterable[bytes], *, guard: EventStreamGuard | None = None, content_type: str = "text/event-stream"
) -> list[StreamEvent]:
    response = httpx.Response(200, headers={"content-type": content_type}, stream=Body(chunks))
    check_response(response)
    async with aclosing(read_events(response, on_bytes=lambda: None, guard=guard or EventStreamGuard())) as reading:
        return [found async for found in reading]


async def assert_reads(stream: bytes, expected: list[StreamEvent]) -> None:
    for size in (len(stream), 1, 2, 3):
        assert await events_of(cut(stream, size)) == expected, f"in chunks of {size}"


# --- the rules, one by one --------------------------------------------------------------------------

RULES: dict[str, tuple[bytes, list[StreamEvent]]] = {
    # bytes to lines
    "the BOM is stripped": (b"\xef\xbb\xbfdata:1\n\ndata:2\n\n", [event("1"), event("2")]),
    "only the BOM at the very beginning is": (b"data:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", [event("1"), event("3")]),
    "a second BOM belongs to the name": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n", [event("2")]),
    "a BOM in a value stays": (b"data:\xef\xbb\xbf1\n\n", [event("\ufeff1")]),
    "half a BOM is none": (b"\xef\xbbdata:1\n\ndata:2\n\n", [event("2")]),
    "a line that is all BOM is blank": (b"\xef\xbb\xbf\ndata:1\n\n", [event("1")]),
    "always UTF-8": ("data:ok…ü😀\n\n".encode(), [event("ok…ü😀")]),
    "invalid bytes are replaced": (
        b"data:a\xffb\xc0\x80c\xed\xa0\x80\n\n",
        [event("a\ufffdb\ufffd\ufffdc" + "\ufffd" * 3)],
    ),
    "a character cut off by the line is replaced": (b"data:a\xe2\x80\ndata:b\n\n", [event("a\ufffd\nb")]),
    "the stream goes on behind invalid bytes": (b"data:\xf0\x9f\n\ndata:2\n\n", [event("\ufffd"), event("2")]),
    "LF": (b"data:1\ndata:2\n\ndata:3\n\n", [event("1\n2"), event("3")]),
    "CRLF": (b"data:1\r\ndata:2\r\n\r\ndata:3\r\n\r\n", [event("1\n2"), event("3")]),
    "CR": (b"data:1\rdata:2\r\rdata:3\r\r", [event("1\n2"), event("3")]),
    "a mixture": (b"data:test\r\ndata\ndata:test\r\n\r", [event("test\n\ntest")]),
    "LF CR are two": (b"data:1\n\rdata:2\n\n", [event("1"), event("2")]),
    "CR CRLF are two": (b"data:1\r\r\ndata:2\n\n", [event("1"), event("2")]),
    "CRLF LF are two": (b"data:1\r\n\ndata:2\n\n", [event("1"), event("2")]),
    "nothing else ends a line": (
        "data:a\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029b\0\n\n".encode(),
        [event("a\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029b\0")],
    ),
    # lines to fields
    "comments are dropped": (b": ping\n\n:\n\ndata:1\n:data:2\ndata:3\n\n: ping\n\n", [event("1\n3")]),
    "comments between data": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2049 + b"\rdata:3\n:data:fail\r:" + b"x" * 2049 + b"\ndata:4\n\n",
        [event("1\n2\n3\n4")],
    ),
    "one leading space goes": (b"data: 1\ndata:  2\ndata:\t3\ndata: \ndata:4 \n\n", [event("1\n 2\n\t3\n\n4 ")]),
    "no colon is an empty value": (b"data\n\ndata\ndata\n\n", [event(""), event("\n")]),
    "a value keeps its colons": (b'data:{"a": "b:c"}\n\n', [event('{"a": "b:c"}')]),
    "names are exact": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:3\ndata:4\n\n",
        [event("\0\n 2\n1\n3\n\n4")],
    ),
    "unknown fields": (b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:comment\n\n", [event("test\n")]),
    "case counts in every name": (b"ID:1\nEvent:x\nDATA:y\ndata:1\n\n", [event("1")]),
    "a space before the colon counts": (b"id :1\nevent :x\ndata :y\ndata:1\n\n", [event("1")]),
    # dispatch
    "no event without a blank line": (b"data:1\n\ndata:2\n", [event("1")]),
    "no event without a blank line, not even an ID": (b"data:1\n\nid:9\ndata:2", [event("1")]),
    "data alone dispatches": (b"data:\n\ndata\n\n", [event(""), event("")]),
    "blank lines dispatch nothing": (b"\n\n\r\r\r\n\ndata:1\n\n\n\n\n", [event("1")]),
    "a type": (b"event:test\ndata:x\n\ndata:x\n\n", [event("x", type="test"), event("x")]),
    "an empty type": (b"event: \ndata:1\n\nevent\ndata:2\n\n", [event("1"), event("2")]),
    "the last type counts": (b"event:a\nevent:b\ndata:1\nevent:c\n\n", [event("1", type="c")]),
    "a type is taken back": (b"event:a\nevent:\ndata:1\n\n", [event("1")]),
    "a type without data is forgotten": (b"event:a\n\ndata:1\n\n", [event("1")]),
    "the order of fields is free": (b"data:1\nevent:a\nid:7\ndata:2\n\n", [event("1\n2", id="7", type="a")]),
    # the last event ID
    "an ID is inherited": (
        b"id:1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\n",
        [event("a", "1"), event("b", "1"), event("c", "2")],
    ),
    "an ID without data moves the cursor": (b"id:1\n\ndata:a\n\n", [event("a", "1")]),
    "each ID without data does": (b"id:1\n\nid:2\nevent:x\n\nid:3\n: ping\n\ndata:a\n\n", [event("a", "3")]),
    "an empty ID resets it": (b"id:1\ndata:a\n\nid:\ndata:b\n\n", [event("a", "1"), event("b")]),
    "a bare ID resets it": (b"id:1\ndata:a\n\nid\n\ndata:b\n\n", [event("a", "1"), event("b")]),
    "an ID with NUL is ignored": (
        b"id:1\ndata:a\n\nid:2\0\ndata:b\n\nid:\0\ndata:c\n\n",
        [event(d, "1") for d in "abc"],
    ),
    "the last ID counts": (b"id:1\nid:2\nid:3\0\ndata:a\n\n", [event("a", "2")]),
    "an ID may be any text": ("id:  …ü \ndata:a\n\n".encode(), [event("a", " …ü ")]),
    "heartbeats behind an ID are no events": (
        b"id:1\ndata:a\n\n: ping\n\n:\r\n\r\n: ping\r\rdata:b\n\n: ping\n\n",
        [event("a", "1"), event("b", "1")],
    ),
    "a type or a retry behind an ID is no event": (
        b"id:1\ndata:a\n\nevent:x\n\nretry:5\n\nfoo:bar\n\nid:2\n\ndata:b\n\n",
        [event("a", "1"), event("b", "2")],
    ),
    "an empty body": (b"", []),
}


@pytest.mark.parametrize(("stream", "expected"), RULES.values(), ids=RULES.keys())
async def test_every_rule_holds_however_the_bytes_are_cut(stream: bytes, expected: list[StreamEvent]) -> None:
    await assert_reads(stream, expected)


async def test_the_charset_of_the_header_is_ignored() -> None:
    found = await events_of(["data:ok…\n\n".encode()], content_type="text/event-stream;charset=windows-1252")
    assert found == [event("ok…")]


async def test_an_event_inherits_the_id_that_the_connection_before_ended_with() -> None:
    stream = b": ping\n\ndata:a\n\nid:2\ndata:b\n\n"
    for size in (len(stream), 1, 2, 3):
        found = await events_of(cut(stream, size), guard=EventStreamGuard("…1"))
        assert found == [event("a", "…1"), event("b", "2")]
    assert await events_of([b"id\ndata:a\n\n"], guard=EventStreamGuard("1")) == [event("a")]


@pytest.mark.parametrize("impossible", ["a\nb", "a\rb", "a\0b", "\ud800"])
def test_no_impossible_id_is_taken_over(impossible: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two kinds of it
        EventStreamGuard(impossible)


# --- against a reading of the whole text ------------------------------------------------------------


def textbook(stream: bytes) -> list[StreamEvent]:
    """The standard's steps over the whole body, with no thought of chunks or bounds."""
    return [event(found.data, found.last_event_id, found.type) for found in read_stream(stream).events]


@pytest.mark.parametrize(("stream", "expected"), RULES.values(), ids=RULES.keys())
def test_the_second_parser_keeps_every_rule_too(stream: bytes, expected: list[StreamEvent]) -> None:
    assert textbook(stream) == expected


PIECES = (
    *(
        b"\n",
        b"\n",
        b"\r",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"data",
        b"data:",
        b"id:",
        b"id",
        b"event:",
        b"retry:9",
        b":",
        b" ",
    ),
    *(b"x", b"\0", b"\t", b"\xef\xbb\xbf", b"\xe2", b"\x80", b"\xa8", b"\xf0\x9f", b"\xff", b"\x85", b"\x0b"),
)


@pytest.mark.parametrize("seed", range(8))
async def test_any_bytes_in_any_chunks_read_as_the_whole_text_does(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(150):
        stream = b"".join(chance.choices(PIECES, k=chance.randrange(60)))
        chunks, at = [], 0
        while at < len(stream):
            size = chance.randrange(1, 9)
            chunks.append(stream[at : at + size])
            at += size
        assert await events_of(chunks) == textbook(stream), stream


# --- at once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r", b"\n\r", b"\r\r\n", b"\r\n\r\n"])
def test_a_block_is_handed_on_with_its_last_byte(end: bytes) -> None:
    assert EventStreamGuard().feed(b"id:1\rdata:x" + end) == [
        Block("id: 1\nevent: \ndata: x\n\n", is_event=True, is_truncated=False)
    ]


def test_the_lf_of_a_crlf_that_was_cut_is_no_second_line_end() -> None:
    guard = EventStreamGuard()
    assert len(guard.feed(b"data:1\r\n\r")) == 1
    assert guard.feed(b"") == []
    assert guard.feed(b"\n") == []
    assert guard.feed(b"data:2\r") == []
    assert guard.feed(b"\ndata:3\r") == []
    assert [block.text for block in guard.feed(b"\r")] == ["event: \ndata: 2\ndata: 3\n\n"]


def test_a_blank_line_is_only_handed_on_behind_data() -> None:
    blocks = EventStreamGuard().feed(b"id:1\n\n: ping\n\nevent:x\n\nretry:1\n\n\n\nid:2\nevent:y\n\n")
    assert [(block.text, block.is_event) for block in blocks] == [("id: 1\n", False), ("id: 2\n", False)]


# --- retry ------------------------------------------------------------------------------------------

RETRIES = [
    (b"retry:3000\n", 3000),
    (b"retry: 03000\n", 3000),
    (b"retry:0\n", 0),
    (b"retry:3000\r", 3000),
    (b"retry:1\nretry:2\n", 2),
    (b"retry:1\nretry:2", 1),
    (b"retry:1\nretry\nretry:\nretry:x\nretry:+2\nretry:-2\nretry:1_0\nretry:2 \nretry:  2\nretry:2.0\nretry:0x2\n", 1),
    ("retry:３０００\nretry:²\nretry:٣\n".encode(), None),
    (b"Retry:3000\nretry :3000\n", None),
    (b"retry:" + b"9" * 10 + b"\n", 9_999_999_999),
    (b"retry:" + b"9" * 11 + b"\n", RETRY_MS_LIMIT),
    (b"retry:" + b"9" * 5000 + b"\n", RETRY_MS_LIMIT),
    (b"retry:" + b"0" * 5000 + b"7\n", 7),
    (b"retry:5\nretry:" + b"1" * LIMIT + b"\n", 5),
]


@pytest.mark.parametrize(("stream", "retry_ms"), RETRIES, ids=[repr(stream[:20]) for stream, _ in RETRIES])
async def test_retry_is_ascii_digits_and_counts_from_its_line_on(stream: bytes, retry_ms: int | None) -> None:
    for size in (len(stream), 1, 2, 3):
        guard = EventStreamGuard()
        assert await events_of(cut(stream, size), guard=guard) == []
        assert guard.retry_ms == retry_ms
    if len(stream) < LIMIT:
        second = read_stream(stream).retry_ms
        assert retry_ms == (None if second is None else min(second, RETRY_MS_LIMIT))


# --- bounds -----------------------------------------------------------------------------------------


def with_data(total: int, head: bytes = b"id:1\nevent:x\n") -> bytes:
    """An event whose lines are `total` bytes."""
    return head + b"data:" + b"d" * (total - len(head) - len(b"data:\n")) + b"\n\n"


@pytest.mark.parametrize("chunk", [1, 3, 65536, LIMIT * 4])
async def test_an_event_of_just_the_limit_is_whole_and_one_byte_more_is_cut(chunk: int) -> None:
    whole, over = await events_of(cut(with_data(LIMIT) + with_data(LIMIT + 1), chunk))
    assert (
        (whole.id, whole.type, whole.is_truncated) == (over.id, over.type, not over.is_truncated) == ("1", "x", False)
    )
    assert whole.data == over.data == "d" * (LIMIT - len("id:1\nevent:x\ndata:\n"))


LONG = b"d" * (LIMIT * 2)
TOO_LARGE: dict[str, tuple[bytes, str, str, str]] = {
    # name: (block, id, type, beginning of the data)
    "one line": (b"id:1\nevent:x\ndata:" + LONG, "1", "x", "ddd"),
    "many lines": (b"id:1\nevent:x\n" + b"data:dd\r\n" * LIMIT, "1", "x", "dd\ndd\n"),
    "many empty lines": (b"id:1\nevent:x\n" + b"data\n" * LIMIT, "1", "x", "\n\n"),
    "an ID behind the cut": (b"data:" + LONG + b"\nid:1\nevent:x\ndata:more", "1", "x", "ddd"),
    "a type behind many lines": (b"data:dd\n" * LIMIT + b"event:x\nid:0\nid:1", "1", "x", "dd\ndd\n"),
    "a type that is too long": (b"id:1\nevent:" + LONG + b"\ndata:abc", "1", "message", ""),
    "an ID that is too long": (b"id:1\nid:" + LONG + b"\ndata:abc\ndata:def", "1", "message", ""),
    "many IDs": (b"id:1\n" * LIMIT + b"data:abc\ndata:def", "1", "message", ""),
}


@pytest.mark.parametrize(("block", "id_", "type_", "beginning"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
@pytest.mark.parametrize("chunk", [4096, LIMIT * 16])
async def test_an_event_over_the_limit_comes_cut_and_marked_and_the_next_comes_whole(
    block: bytes, id_: str, type_: str, beginning: str, chunk: int
) -> None:
    large, good, last = await events_of(cut(block + b"\n\n: ping\n\ndata:good\n\nid:2\ndata:last\n\n", chunk))
    assert (large.id, large.type, large.is_truncated) == (id_, type_, True)
    assert large.data.startswith(beginning)
    assert len(large.data) <= LIMIT
    assert [good, last] == [event("good", "1"), event("last", "2")]


async def test_a_first_line_with_a_byte_order_mark_is_marked_when_it_is_cut() -> None:
    (found,) = await events_of([b"\xef\xbb\xbfdata:" + LONG + b"\n\n"])
    assert found.is_truncated


async def test_a_cut_falls_between_two_characters() -> None:
    for shift in range(4):
        (found,) = await events_of([b"data:" + b"d" * shift + "😀".encode() * LIMIT + b"\n\n"])
        assert found.is_truncated
        assert set(found.data[shift:]) == {"😀"}


async def test_what_is_dropped_anyway_has_no_bound_and_cuts_nothing() -> None:
    endless = b":" + LONG + b"\n" + b": ping\n" * LIMIT + b"foo:" + LONG + b"\n" + LONG + b"\n"
    assert await events_of(cut(endless + b"data:1\n" + endless + b"data:2\n\n", 65536)) == [event("1\n2")]


@pytest.mark.parametrize("chunk", [64 * 1024, 16 * 1024 * 1024])
def test_a_line_of_64_mib_takes_no_memory(chunk: int) -> None:
    guard = EventStreamGuard()
    piece = b"d" * chunk
    tracemalloc.start()
    try:
        guard.feed(b"id:1\ndata:")
        for _ in range(64 * 1024 * 1024 // chunk):
            assert guard.feed(piece) == []
            assert guard.retained_bytes <= LIMIT + 1
        (block,) = guard.feed(b"\n\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert block.is_truncated
    assert peak < 2 * 1024 * 1024
    assert guard.retained_bytes == 0


def test_the_worst_event_stays_within_the_bound() -> None:
    guard = EventStreamGuard()
    for line in (b"data\n", b"data:\n"):
        guard.feed(line * LIMIT)
    for name in (b"id:", b"event:", b"data:"):
        guard.feed(name + b"x" * (LIMIT - len(name)) + b"\n")
    guard.feed(LONG)
    assert 4 * LIMIT < guard.retained_bytes < 5 * LIMIT


def test_a_byte_costs_no_more_at_the_end_of_a_long_line_than_at_its_beginning() -> None:
    clock, guard = SystemClock(), EventStreamGuard()

    def cost_s(count: int = 4096) -> float:
        begun_at = clock.monotonic()
        for _ in range(count):
            guard.feed(b"x")
        return clock.monotonic() - begun_at

    early: list[float] = []
    late: list[float] = []
    for _ in range(5):
        guard.feed(b"data:")
        early += [cost_s() for _ in range(4)]
        guard.feed(b"x" * (LIMIT - 8 * 4096 - 5))
        late += [cost_s() for _ in range(4)]
        guard.feed(b"\n\n")
    # Copying the line for each byte costs 20 times as much at its end. The best of many is what a busy machine
    # does not distort.
    assert min(late) < 5 * min(early)


# --- the response -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["text/event-stream", "Text/Event-Stream", "text/event-stream;", "TEXT/EVENT-STREAM ; charset=x; foo"],
)
def test_an_event_stream_is_taken(content_type: str) -> None:
    check_response(httpx.Response(200, headers={"content-type": content_type, "content-encoding": "Identity"}))
    check_response(httpx.Response(200, headers={"content-type": content_type}))


@pytest.mark.parametrize(
    "status", [201, 202, 204, 205, 206, 210, 299, 301, 307, 304, 401, 404, 409, 410, 429, 500, 503]
)
def test_any_status_but_200_is_not_now(status: int) -> None:
    with pytest.raises(TryAgain, match=f"answered {status}"):
        check_response(httpx.Response(status, headers=EVENT_STREAM))


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/event-stream-bogus", "x-text/event-stream", "text/event-streams", "text/event stream", "event-stream"),
        *("text/html", "application/json; x=text/event-stream", "text/html, text/event-stream", "", ";", "*/*"),
    ],
)
def test_any_other_media_type_is_not_now(content_type: str) -> None:
    with pytest.raises(TryAgain, match="in place of an event stream"):
        check_response(httpx.Response(200, headers={"content-type": content_type}))


def test_no_media_type_is_not_now() -> None:
    with pytest.raises(TryAgain, match="without a media type"):
        check_response(httpx.Response(200))


@pytest.mark.parametrize("head", [[b"content-type"], [b"content-type", b"content-encoding"]])
def test_what_a_stranger_sent_is_shown_short_and_without_control_characters(head: list[bytes]) -> None:
    good = [(name, b"text/event-stream") for name in head[:-1]]
    with pytest.raises(TryAgain) as caught:
        check_response(httpx.Response(200, headers=[*good, (head[-1], b"x/\x9b31m" + b"x" * 9999)], stream=Body([])))
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 250


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "x-unknown"])
def test_a_compressed_stream_is_not_now(encoding: str) -> None:
    headers = {**EVENT_STREAM, "content-encoding": encoding}
    with pytest.raises(TryAgain, match="compressed stream"):
        check_response(httpx.Response(200, headers=headers, stream=Body([])))


async def test_every_chunk_is_a_sign_of_life_even_without_an_event() -> None:
    signs: list[int] = []
    response = httpx.Response(200, headers=EVENT_STREAM, stream=Body([b":", b" ping", b"\n\n", b"\r", b"data"]))
    async with aclosing(read_events(response, on_bytes=lambda: signs.append(1), guard=EventStreamGuard())) as reading:
        assert [found async for found in reading] == []
    assert len(signs) == 5


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("silence"), httpx.ReadError("reset"), httpx.RemoteProtocolError("cut")]
)
async def test_an_error_of_the_connection_comes_as_it_is_behind_the_events_before(error: httpx.HTTPError) -> None:
    response = httpx.Response(200, headers=EVENT_STREAM, stream=Body([b"data:1\n\ndata:2\n"], error))
    found: list[StreamEvent] = []
    async with aclosing(read_events(response, on_bytes=lambda: None, guard=EventStreamGuard())) as reading:
        with pytest.raises(type(error)) as caught:
            async for one in reading:
                found.append(one)
    assert caught.value is error
    assert found == [event("1")]


# --- over a real connection -------------------------------------------------------------------------

Answer = Callable[[SocketStream], Awaitable[None]]


@asynccontextmanager
async def stream_from(answer: Answer) -> AsyncIterator[httpx.Response]:
    """A response to a real GET, whose body is what `answer` writes; its connection ends with `answer`."""

    async def serve(connection: SocketStream) -> None:
        async with connection:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += await connection.receive()
            await answer(connection)

    with anyio.fail_after(10):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
                yield response
            group.cancel_scope.cancel()


def reading_of(response: httpx.Response) -> "aclosing[AsyncGenerator[StreamEvent, None]]":
    check_response(response)
    return aclosing(read_events(response, on_bytes=lambda: None, guard=EventStreamGuard()))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
UNTIL_CLOSED = HEAD + b"Connection: close\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


@pytest.mark.parametrize(
    "body",
    [
        UNTIL_CLOSED + b"id:1\ndata:a\n\nid:2\ndata:b\n",
        CHUNKED + chunked(b"id:1\nda") + chunked(b"ta:a\n\nid:2\ndata:b\n") + b"0\r\n\r\n",
    ],
    ids=["closed", "last chunk"],
)
async def test_a_body_that_ends_ends_the_events_and_drops_the_unfinished_one(body: bytes) -> None:
    async def answer(connection: SocketStream) -> None:
        await connection.send(body)

    async with stream_from(answer) as response, reading_of(response) as reading:
        assert [found async for found in reading] == [event("a", "1")]


async def test_a_cut_chunk_is_an_error_behind_the_events_before() -> None:
    async def answer(connection: SocketStream) -> None:
        await connection.send(CHUNKED + chunked(b"id:1\ndata:a\n\n") + b"ff\r\ndata:b\n")

    async with stream_from(answer) as response, reading_of(response) as reading:
        assert await anext(reading) == event("a", "1")
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(reading)


async def test_a_reset_is_an_error_behind_the_events_before() -> None:
    is_read = anyio.Event()

    async def answer(connection: SocketStream) -> None:
        await connection.send(UNTIL_CLOSED + b"data:a\r\r")
        await is_read.wait()
        raw = connection.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with stream_from(answer) as response, reading_of(response) as reading:
        assert await anext(reading) == event("a")
        is_read.set()
        with pytest.raises(httpx.ReadError):
            await anext(reading)


async def test_each_event_is_there_before_the_next_byte_is_sent() -> None:
    wanted = [b"data:1\r\r", b"data:2\r\n\r", b"\ndata:3\n\n", b"data:4\r\n\r\n", b": ping\n\ndata:5\r\r"]
    turn = anyio.create_memory_object_stream[None](1)

    async def answer(connection: SocketStream) -> None:
        await connection.send(CHUNKED)
        for piece in wanted:
            await connection.send(chunked(piece))
            await turn[1].receive()

    with turn[0], turn[1]:
        async with stream_from(answer) as response, reading_of(response) as reading:
            for data in "12345":
                assert await anext(reading) == event(data)
                await turn[0].send(None)


async def test_who_stops_reading_leaves_nothing_open() -> None:
    is_gone = anyio.Event()

    async def answer(connection: SocketStream) -> None:
        await connection.send(UNTIL_CLOSED + b"data:a\n\ndata:b\n\n")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await connection.receive()
        is_gone.set()

    async with stream_from(answer) as response:
        async with reading_of(response) as reading:
            async for found in reading:
                assert found == event("a")
                break
        await response.aclose()
        await is_gone.wait()


async def test_a_cancelled_reader_stops_at_once() -> None:
    is_read = anyio.Event()

    async def answer(connection: SocketStream) -> None:
        await connection.send(UNTIL_CLOSED + b"data:a\n\n")
        await anyio.sleep_forever()

    async with stream_from(answer) as response, anyio.create_task_group() as group:

        async def read() -> None:
            async with reading_of(response) as reading:
                async for _ in reading:
                    is_read.set()

        group.start_soon(read)
        await is_read.wait()
        group.cancel_scope.cancel()


async def test_who_stops_reading_leaves_no_generator_to_the_garbage_collector() -> None:
    left: list[str] = []
    hooks = sys.get_asyncgen_hooks()

    def note(generator: Any) -> None:
        left.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(finalizer=note)
    try:
        response = httpx.Response(200, headers=EVENT_STREAM, stream=Body([b"data:1\n\ndata:2\n\n", b"data:3\n\n"]))
        async with reading_of(response) as reading:
            assert await anext(reading) == event("1")
        gc.collect()
    finally:
        sys.set_asyncgen_hooks(*hooks)
    # httpx closes the stream's own iterator no other way.
    assert set(left) <= {"Body.__aiter__"}
