"""The event-stream guard, with httpx-sse behind it, against a second parser: whatever the bytes, however cut."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing

import httpx
from hypothesis import event as note
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_agent.eventstream import EVENT_BYTES_LIMIT, RETRY_MS_LIMIT, EventStreamGuard, StreamEvent, read_events
from tests.doubles.reference_parser import Dispatched, Reading, read_stream
from tests.properties.profile import REPEATABLE

NAMES = st.sampled_from([b"data", b"data", b"data", b"id", b"event", b"retry", b"", b"Data", b" data", b"data\0", b"x"])
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\n\r", b""])
ODD = (b"", b" ", b"\0", b"1", b"x\0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xf0\x9f\x98", b"\xff", b"\x85", b"\x0b")
VALUES = st.one_of(st.sampled_from(ODD), st.binary(max_size=12), st.text(max_size=8).map(str.encode), st.just(b"20"))
COLONS = st.sampled_from([b":", b": ", b":  ", b""])
LINES = st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join)
HEADS = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"])
STREAMS = st.one_of(st.binary(max_size=120), st.tuples(HEADS, st.lists(LINES, max_size=25).map(b"".join)).map(b"".join))
CUTS = st.lists(st.integers(1, 40), max_size=60)
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=6)


def pieces(stream: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """`stream` in pieces of these sizes, the rest as one."""
    at = 0
    for size in sizes:
        yield stream[at : at + size]
        at += size
    yield stream[at:]


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def _events(chunks: Iterator[bytes], guard: EventStreamGuard) -> list[StreamEvent]:
    response = httpx.Response(200, stream=_Body(chunks))
    async with aclosing(read_events(response, on_bytes=lambda: None, guard=guard)) as reading:
        return [found async for found in reading]


def read(
    stream: bytes, sizes: Sequence[int], *, last_event_id: str = "", limit: int = EVENT_BYTES_LIMIT
) -> tuple[list[StreamEvent], int | None]:
    """The events and the last `retry:`, as the agent reads them."""
    guard = EventStreamGuard(last_event_id, limit=limit)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_events(pieces(stream, sizes), guard)), guard.retry_ms
    finally:
        loop.close()


def as_dispatched(found: StreamEvent) -> Dispatched:
    return Dispatched(found.id, found.type, found.data)


def clamped(reading: Reading) -> int | None:
    return None if reading.retry_ms is None else min(reading.retry_ms, RETRY_MS_LIMIT)


@given(stream=STREAMS, sizes=CUTS, last_event_id=IDS)
@settings(REPEATABLE, max_examples=400)
def test_any_bytes_in_any_pieces_read_as_the_standard_reads_the_whole(
    stream: bytes, sizes: list[int], last_event_id: str
) -> None:
    events, retry_ms = read(stream, sizes, last_event_id=last_event_id)
    expected = read_stream(stream, last_event_id)
    assert [as_dispatched(found) for found in events] == expected.events
    assert not any(found.is_truncated for found in events)
    assert retry_ms == clamped(expected)


@given(stream=STREAMS)
@settings(REPEATABLE, max_examples=40)
def test_a_cut_at_every_place_changes_nothing(stream: bytes) -> None:
    whole = read(stream, [])
    assert read(stream, [1] * len(stream)) == whole
    for at in range(1, len(stream)):
        assert read(stream, [at]) == whole, f"cut behind byte {at}"


# --- beyond the bound ---


def sized_blocks(stream: bytes) -> list[int]:
    """For each event of the standard's reading, the bytes of those lines of its block that count."""
    sizes, size, has_data = [], 0, False
    for line in stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        name = line.split(b":")[0]
        if not line:
            sizes += [size] if has_data else []
            size, has_data = 0, False
        elif name in (b"id", b"event", b"data"):
            size += len(line) + 1
            has_data = has_data or name == b"data"
    return sizes


@given(stream=STREAMS, sizes=CUTS, limit=st.integers(8, 60))
@example(stream=b"\xef\xbb\xbfdata:12345678\n\n", sizes=[], limit=12)
@example(stream=b"data:1\nid:" + b"x" * 60 + b"\n\ndata:2\n\n", sizes=[], limit=20)
@settings(REPEATABLE, max_examples=400)
def test_beyond_the_bound_events_keep_their_number_and_order_and_say_what_is_missing(
    stream: bytes, sizes: list[int], limit: int
) -> None:
    events, retry_ms = read(stream, sizes, limit=limit)
    assert (events, retry_ms) == read(stream, [], limit=limit), "where the bytes are cut makes no difference"
    expected = read_stream(stream).events
    assert len(events) == len(expected)
    is_id_certain = True
    for found, true, size in zip(events, expected, sized_blocks(stream), strict=True):
        note(f"truncated: {found.is_truncated}")
        assert found.is_truncated or found.data == true.data
        assert true.data.startswith(found.data), "what is kept is the beginning, cut between two characters"
        assert found.type == true.type or (found.is_truncated and found.type == "message")
        assert len(found.data.encode("utf-8", "surrogatepass")) <= 3 * limit, "a replacement takes three bytes"
        # An ID that is too long is none: the one before it stands, for the events that inherit it, too.
        is_id_certain = is_id_certain and (len(true.last_event_id.encode()) + 3 <= limit)
        assert found.id == true.last_event_id or not is_id_certain
        if size <= limit and b"\xef\xbb\xbf" not in stream[:3]:
            assert not found.is_truncated, "what is within the bound is whole"


@given(chunks=st.lists(st.one_of(STREAMS, st.integers(0, 300).map(lambda n: b"data:" + b"y" * n)), max_size=20))
@settings(REPEATABLE)
def test_what_is_kept_until_more_comes_is_bounded_by_five_times_the_limit(chunks: list[bytes]) -> None:
    guard = EventStreamGuard(limit=50)
    for chunk in chunks:
        guard.feed(chunk)
        assert guard.retained_bytes < 5 * 50


# --- the second parser itself ---


def test_the_second_parser_reads_the_standards_own_examples() -> None:
    quotes = b"data: YHOO\ndata: +2\ndata: 10\n\n"
    assert read_stream(quotes).events == [Dispatched("", "message", "YHOO\n+2\n10")]
    blocks = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert read_stream(blocks).events == [
        Dispatched("1", "message", "first event"),
        Dispatched("", "message", "second event"),
        Dispatched("", "message", " third event"),
    ]
    assert read_stream(b"data\n\ndata\ndata\n\ndata:").events == [
        Dispatched("", "message", ""),
        Dispatched("", "message", "\n"),
    ]
    assert read_stream(b"data:test\n\ndata: test\n\n").events == [Dispatched("", "message", "test")] * 2
