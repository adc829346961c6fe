"""What is fuzzed: each target makes inputs and checks one. Anything but a documented error is a complaint."""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, cast

import httpx
from tusclient.uploader.baseuploader import BaseUploader

from scripts.fuzz_harness import corpus, judge
from scripts.fuzz_harness.complaint import Complaint, insist
from sse_agent import eventstream, messages
from sse_agent.control_plane import receiving
from sse_agent.control_plane.problems import Problem
from sse_agent.credentials import FixedToken
from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.events import Feed
from sse_agent.eventstream import EVENT_BYTES_LIMIT, RETRY_MS_LIMIT, StreamEvent
from sse_agent.journal import Transaction, inbox
from sse_agent.messages import BATCH_BYTES_LIMIT, COMMAND_LIMIT, EVENT_LIMIT, UploadStart, parse_event_id
from sse_agent.parking import Parking
from sse_agent.retry import parse_http_date, parse_retry_after
from sse_agent.stream import Stream, _Connection
from sse_agent.transport import CommandStream, Speaker, Transport
from tests.doubles.clock import FakeClock
from tests.doubles.memory_journal import MemoryJournal
from tests.doubles.reference_parser import read_stream

SHORT, FINELY_CUT, READ_TWICE = 40, 512, 4096
RECEIVED_ONE_IN = 8
NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
T = TypeVar("T")


class Target(Protocol):
    """One thing that reads."""

    name: str

    def make(self, chance: random.Random) -> bytes:
        """The next input."""
        ...

    def check(self, data: bytes, chance: random.Random) -> None:
        """Raises Complaint, or whatever was not to be raised."""
        ...


class StreamTarget:
    """Bytes of a command stream: the guard and httpx-sse, whole and cut; and the way into a journal."""

    name = "stream"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._journal = MemoryJournal(FakeClock())

    def make(self, chance: random.Random) -> bytes:
        return corpus.stream(chance)

    def check(self, data: bytes, chance: random.Random) -> None:
        whole = read([data])
        insist(read(_pieces(data, chance)) == whole, "where the bytes are cut changes what is read")
        if len(data) <= SHORT:
            for at in range(1, len(data)):
                insist(read([data[:at], data[at:]]) == whole, f"a cut behind byte {at} changes what is read")
        if len(data) <= READ_TWICE:
            _compare(whole, data)
        if chance.randrange(RECEIVED_ONE_IN) == 0:
            self._loop.run_until_complete(_receive(_pieces(data, chance), self._journal))


class CommandTarget:
    """JSON of every kind: commands, HELLO, the control plane's reading of reports, its answers to ours."""

    name = "command"

    def __init__(self) -> None:
        self._connection = _connection(MemoryJournal(FakeClock()), None)
        self._connection._hello = messages.parse_hello(json.dumps(corpus.HELLO))
        speaker = Speaker("agent-1", "a-journal", 1, "an-instance")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._transport = Transport("https://control.example.com", speaker, FixedToken("t"), tls, FakeClock())

    def make(self, chance: random.Random) -> bytes:
        return corpus.command(chance)[:BATCH_BYTES_LIMIT]

    def check(self, data: bytes, chance: random.Random) -> None:
        text = data.decode("utf-8", "replace")
        self._read_command(data)
        _refused(lambda: messages.parse_hello(text), ErrorCode.INVALID_ENVELOPE)
        self._judge_arrival(text)
        self._read_as_control_plane(data)
        self._read_answer(data, chance)
        for part in (text[:70], text):
            parse_http_date(part)
            seconds = parse_retry_after(part, NOW)
            insist(seconds is None or seconds >= 0, "a negative Retry-After")
        _event_id_is_canonical(text[:60])

    def _read_command(self, data: bytes) -> None:
        envelope = _refused(lambda: messages.parse_envelope(data), ErrorCode.INVALID_ENVELOPE)
        if envelope is None:
            return
        judge.judge_envelope(data, envelope)
        codes = (ErrorCode.INVALID_PAYLOAD, ErrorCode.UNKNOWN_TYPE)
        payload = _refused(lambda: messages.parse_payload(envelope.type, envelope.payload), *codes)
        if payload is None:
            return
        judge.judge_bounds(envelope.payload)
        if isinstance(payload, UploadStart):
            _judge_start(payload)

    def _judge_arrival(self, text: str) -> None:
        arrival = self._connection._arrival(StreamEvent("k1/1", "X", text, False))
        insist(len(arrival.body) <= COMMAND_LIMIT, "a command over its bound goes into the journal")
        insist(set(arrival.command_id) <= judge.VISIBLE, "a command ID that can't be named")
        insist(len(arrival.lane) <= 140, "a lane has no bound")
        if arrival.refusal is not None:
            judge.judge_words(arrival.refusal)

    def _read_as_control_plane(self, data: bytes) -> None:
        try:
            delivery = receiving.read(data, "agent-1", "cmd-1")
            receiving.answer(delivery, {})
        except Problem:
            return

    def _read_answer(self, data: bytes, chance: random.Random) -> None:
        status = chance.choice((200, 202, 400, 401, 403, 409, 410, 413, 422, 429, 503))
        media = chance.choice(("application/json", "application/problem+json", "text/html"))
        response = httpx.Response(status, headers={"content-type": media})
        for ids in (["cmd-1"], ["cmd-1", "cmd-2"]):
            try:
                if len(ids) == 1:
                    self._transport._single_verdict(response, data, ids[0])
                else:
                    self._transport._batch_verdicts(response, data, ids)
            except TryAgain:
                continue


def _judge_start(start: UploadStart) -> None:
    insist(bool(start.raw_name()), "a file without a name")
    insist(set(start.file_id) <= judge.NAME, "a file ID that can't stand in a path")
    insist(start.identity() == start.identity() and start.identity().isascii(), "an identity that changes")
    carrying = cast("BaseUploader", _Carrying(start.metadata))
    header = ",".join(BaseUploader.encode_metadata(carrying))  # type: ignore[no-untyped-call]
    insist(header.isascii() and (not header or header.isprintable()), "metadata that breaks its header")


class _Carrying:
    """What tuspy's encoder of metadata looks at."""

    metadata_encoding = "utf-8"

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata


def _event_id_is_canonical(text: str) -> None:
    try:
        found = parse_event_id(text)
    except ValueError:
        return
    insist(str(found) == text, "an event ID with two spellings")


def _refused(parse: Callable[[], T], *codes: ErrorCode) -> T | None:
    """What was read; None if it was refused, in words and with a code that are documented."""
    try:
        return parse()
    except GiveUp as refusal:
        insist(refusal.code in codes, f"refused as {refusal.code}")
        judge.judge_words(refusal)
        return None


# --- event streams ---


class _Body(httpx.AsyncByteStream):
    """Hands out pieces; after each the guard may keep so much and no more."""

    def __init__(self, pieces: Iterable[bytes], guard: eventstream.EventStreamGuard | None = None) -> None:
        self._pieces = pieces
        self._guard = guard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
            kept = 0 if self._guard is None else self._guard.retained_bytes
            insist(kept < 5 * EVENT_BYTES_LIMIT, f"the guard keeps {kept} bytes")


def read(pieces: Iterable[bytes]) -> tuple[list[StreamEvent], int | None]:
    """The events and the last `retry:`."""
    guard = eventstream.EventStreamGuard()
    return _at_once(_events(pieces, guard)), guard.retry_ms


async def _events(pieces: Iterable[bytes], guard: eventstream.EventStreamGuard) -> list[StreamEvent]:
    response = httpx.Response(200, stream=_Body(pieces, guard))
    reading = eventstream.read_events(response, on_bytes=lambda: None, guard=guard)
    async with aclosing(reading):
        return [found async for found in reading]


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Without an event loop: nothing in it waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise Complaint("reading bytes that are there waits for something")


def _compare(whole: tuple[list[StreamEvent], int | None], data: bytes) -> None:
    expected = read_stream(data)
    found = [(event.id, event.type, event.data) for event in whole[0]]
    wanted = [(event.last_event_id, event.type, event.data) for event in expected.events]
    insist(found == wanted, f"events differ from the second parser's: {found!a:.300} and {wanted!a:.300}")
    insist(not any(event.is_truncated for event in whole[0]), "an event within the bound is marked as cut")
    retry_ms = None if expected.retry_ms is None else min(expected.retry_ms, RETRY_MS_LIMIT)
    insist(whole[1] == retry_ms, f"retry differs from the second parser's: {whole[1]} and {retry_ms}")


def _pieces(data: bytes, chance: random.Random) -> list[bytes]:
    most = chance.choice((1, 3, 9)) if len(data) <= FINELY_CUT else 1 + len(data) // chance.choice((3, 40))
    pieces, at = [], 0
    while at < len(data):
        size = chance.randrange(1, most + 1)
        pieces.append(data[at : at + size])
        at += size
    return pieces


class _OneStream:
    """A transport whose GET is answered with these bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def stream(
        self, cursor: str | None, on_bytes: Callable[[], None], *, instead_of: str | None = None
    ) -> AbstractAsyncContextManager[CommandStream]:
        return self._opened(on_bytes)

    @asynccontextmanager
    async def _opened(self, on_bytes: Callable[[], None]) -> AsyncIterator[CommandStream]:
        yield CommandStream(httpx.Response(200, stream=_Body(self._pieces)), on_bytes)


def _connection(journal: MemoryJournal, transport: _OneStream | None) -> _Connection:
    async def greet(_: object) -> None:
        return

    feed, parking = Feed(), Parking(on_park=lambda: None)
    there = Stream(
        cast("Transport", transport),
        journal,
        feed,
        FakeClock(),
        parking,
        client_id="agent-1",
        on_accepted=lambda: None,
        on_hello=greet,
        on_command=lambda: None,
    )
    return _Connection(there)


async def _receive(pieces: Sequence[bytes], journal: MemoryJournal) -> None:
    """The whole way into a journal: how it ends is a reason to try again, what is stored is in order and bounded."""
    journal.transact(_empty)
    connection = _connection(journal, _OneStream(pieces))
    await connection.carry()
    insist(isinstance(connection.cause, TryAgain), f"a stream ended with {connection.cause!r}")
    journal.transact(_judge_journal)


def _empty(tx: Transaction) -> None:
    for table in ("inbox", "outbox", "about"):
        tx.run(f"DELETE FROM {table}")


def _judge_journal(tx: Transaction) -> None:
    stored = inbox.cursor(tx)
    cursor = None if stored is None else parse_event_id(stored)
    last = 0
    for row in tx.all("SELECT * FROM inbox ORDER BY n"):
        at = parse_event_id(row["event_id"])
        insist(cursor is not None and last < at.n <= cursor.n, "commands are stored out of their order")
        last = at.n
        insist(len(row["body"]) <= COMMAND_LIMIT, "a command over its bound is stored")
        insist(set(row["command_id"]) <= judge.VISIBLE, "a command ID that can't be named is stored")
    acks = tx.all("SELECT body FROM outbox")
    insist(len(acks) == len(tx.all("SELECT 1 FROM inbox")), "a command has not exactly one first acknowledgement")
    for row in acks:
        insist(len(row["body"]) <= EVENT_LIMIT, "an acknowledgement over the bound of an event")
        error = json.loads(row["body"])["payload"].get("error")
        if error is not None:
            judge.judge_sentence(error["message"])
