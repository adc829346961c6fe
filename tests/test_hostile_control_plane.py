"""Every misbehaviour of a control plane, against a whole agent in this process: each ends as its table says."""

import io
import json
import ssl
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path

import anyio
import httpx
import pytest

from sse_agent import agent
from sse_agent.config import Settings
from sse_agent.events import (
    CommandReceived,
    CommandRepeated,
    Event,
    MessageBuried,
    SenderHeldUp,
    StreamConnected,
    StreamLost,
    StreamReset,
    UploadWaiting,
)
from sse_agent.lines import Lines
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import Request, command
from tests.doubles.hostile_control_plane import (
    GOOD,
    MISBEHAVIOURS,
    Answered,
    Buried,
    HeldUp,
    HostileControlPlane,
    Lost,
    Misbehaviour,
    Resent,
    Takes,
    UploadWaits,
    hostile_control_plane,
)
from tests.doubles.hostile_tus_server import tables
from tests.doubles.peak import peak
from tests.doubles.shelf import Kept, Shelf
from tests.doubles.tus_server import Exchange, TusServer

MIB = 1024 * 1024
WITHIN_S = 20.0
LOOK_EVERY_S = 0.005
STEP_S = 1.0
LONGEST_WAIT_S = 15 * 60 + 60
WORDS_LIMIT = 600
MEMORY = 24 * MIB
CONTENT = b"content " * 1000
TOKEN, TUS_TOKEN = "c0ntrol-t0ken", "s3ttings-t0ken"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "hostile-peers.md"
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
OWN = {"clientId": b"agent-1", "fileId": b"f", "filename": b"a.bin", "filetype": b"application/octet-stream"}

BY_NAME: dict[str, type[Event]] = {kind.name: kind for kind in (CommandReceived, CommandRepeated, StreamReset)}


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without proxies, and without reading the system's certificates for every row."""
    monkeypatch.setattr("sse_agent.agent.trust", lambda _: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass
class Watching:
    """A view: everything that the agent says."""

    events: list[Event] = field(default_factory=list)
    happened: anyio.Event = field(default_factory=anyio.Event)
    is_attended: bool = True

    async def run(self, inside: agent.Inside) -> None:
        """As agent.View has it."""
        with inside.feed.listening(self.listen):
            await anyio.sleep_forever()

    def listen(self, event: Event) -> None:
        self.events.append(event)
        self.happened.set()
        self.happened = anyio.Event()


@dataclass
class Case:
    """An agent, and both ends that it talks to."""

    there: HostileControlPlane
    view: Watching
    clock: FakeClock
    shelf: Shelf
    tus_heads: list[dict[str, str]]
    expected_fault: str = ""
    """Of a broken build: once it is there, nothing else is waited for."""

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Time passes while the agent has no stream, and while the control plane keeps silent."""
        with anyio.move_on_after(WITHIN_S):
            while not holds():
                if self.expected_fault and any(one.startswith(self.expected_fault) for one in _wrong(self)):
                    raise TimeoutError(f"{what}: not waited for")
                states = [e for e in self.view.events if isinstance(e, StreamConnected | StreamLost)]
                if self.there.is_silent or (states and isinstance(states[-1], StreamLost)):
                    self.clock.advance(STEP_S)
                with anyio.move_on_after(LOOK_EVERY_S):
                    await self.view.happened.wait()
            return
        raise TimeoutError(f"{what}: not within {WITHIN_S:g} s; at last {self.view.events[-3:]}")

    def said(self, kind: type[Event], words: str = "") -> int:
        """How many events of that kind have these words."""
        return sum(isinstance(e, kind) and words in str(getattr(e, "reason", "")) for e in self.view.events)

    def acks(self, command_id: str) -> list[tuple[str, str]]:
        """Status and code of its ACKs that were recorded."""
        found = [m["payload"] for m in self.there.recorded.values() if m["type"] == "ACK"]
        return [
            (ack["status"], ack.get("error", {}).get("code", "")) for ack in found if ack["commandId"] == command_id
        ]

    def is_reached(self) -> bool:
        """Whether the outcome of the row is there."""
        match self.there.row.outcome:
            case Lost(reason):
                return self.said(StreamLost, reason) > 0
            case HeldUp(reason):
                return self.said(SenderHeldUp, reason) > 0
            case Buried(reason):
                return self.said(MessageBuried, reason) > 0
            case UploadWaits(reason):
                return self.said(UploadWaiting, reason) > 0
            case Takes(event, count, _):
                return self.said(BY_NAME[event]) >= count
            case Resent():
                posts = [
                    body for request in self.there.plane.seen if request.method == "POST" for body in _acks(request)
                ]
                return len(posts) > len(set(posts))
            case Answered(status, code, under):
                return (status, code) in self.acks(under)
        raise AssertionError(self.there.row)


def _acks(request: Request) -> list[str]:
    messages = request.messages if request.method == "POST" else []
    return [json.dumps(message) for message in messages if message["type"] == "ACK"]


@asynccontextmanager
async def case(row: Misbehaviour, folder: Path) -> AsyncIterator[Case]:
    """It runs within the block."""
    (folder / "files").mkdir()
    (folder / "files" / "a.bin").write_bytes(CONTENT)
    heads: list[dict[str, str]] = []

    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        heads.append(exchange.headers)
        if row.tus_refuses:
            exchange.drain()
            exchange.answer(401)
        return row.tus_refuses

    shelf, clock, view = Shelf(meddle), FakeClock(), Watching()
    with TusServer(script=shelf) as tus:
        async with hostile_control_plane(row, tus.endpoint) as there, anyio.create_task_group() as group:
            settings = Settings(
                control_plane_url=there.plane.url,
                client_id="agent-1",
                token=TOKEN,
                state_dir=folder / "state",
                allowed_folders=[folder / "files"],
                tus_endpoint=tus.endpoint,
                tus_token=TUS_TOKEN,
            )
            group.start_soon(agent.run, settings, clock, view)
            yield Case(there, view, clock, shelf, heads)
            group.cancel_scope.cancel()


async def faults(row: Misbehaviour, folder: Path, expected: str = "") -> list[str]:
    """What is wrong with an agent against this row. No wait of it is longer than `WITHIN_S`."""
    found: list[str] = []
    with peak() as grown:
        async with case(row, folder) as one:
            one.expected_fault = expected
            try:
                if row.greets_first:
                    await _with_many_messages(one)
                await one.until(one.is_reached, f"outcome: {row.outcome}")
                one.there.is_hostile = one.there.is_silent = False
                await _goes_on(one)
            except TimeoutError as late:
                found += [str(late), f"recorded: {list(one.there.recorded.values())[-3:]}"]
            found += _wrong(one)
    if grown.growth > MEMORY:
        found.append(f"memory: {grown.growth / MIB:.0f} MiB more")
    return found


async def _with_many_messages(one: Case) -> None:
    """Some commands at once, so that their ACKs go out in a batch."""
    await one.until(lambda: one.there.open is not None and one.there.is_greeted, "greeting")
    for n in range(8):
        await one.there.give(command(f"many-{n}"))


async def _goes_on(one: Case) -> None:
    """The control plane mends its ways: the agent comes back, if it has to, and carries out what it is told."""
    there = one.there
    if not isinstance(there.row.outcome, Answered | Takes):
        # Waits of the sender, and of the stream, are over: both look again.
        one.clock.advance(LONGEST_WAIT_S)
        before = one.said(StreamConnected)
        await one.until(lambda: one.said(StreamConnected) > before, "comes back")
    given_on: Request | None = None

    def is_done() -> bool:
        return ("completed", "") in one.acks(GOOD)

    def has_another_stream() -> bool:
        return there.is_greeted and there.open is not None and there.open is not given_on

    while not is_done():
        # As a control plane would: what was given on a stream that broke is given again.
        await one.until(lambda: is_done() or has_another_stream(), "carries out a command afterwards")
        if has_another_stream():
            given_on = there.open
            await there.give(command(GOOD))


def _wrong(one: Case) -> Iterator[str]:
    there = one.there
    if there.thief.connections:
        yield f"thief: {[(found.method, found.target, found.headers) for found in there.thief.seen]}"
    if {request.headers.get("authorization") for request in there.plane.seen} != {f"Bearer {TOKEN}"}:
        yield "token: not the agent's own to the control plane"
    if not {head.get("authorization") for head in one.tus_heads} <= {f"Bearer {TUS_TOKEN}"}:
        yield "token: not the upload's own to the tus server"
    if any("cookie" in request.headers for request in there.plane.seen):
        yield "cookie: came back"
    if any("x-evil" in head for head in one.tus_heads):
        yield "header: injected"
    for kept in one.shelf.uploads:
        wanted = {**OWN, "fileId": b".." if "`..`" in there.row.name else b"f"}
        if {name: kept.metadata.get(name) for name in wanted} != wanted or bytes(kept.data) != CONTENT:
            yield f"upload: {kept.metadata}"
    waits = [e.wait_s for e in one.view.events if isinstance(e, StreamLost | SenderHeldUp)]
    if max(waits, default=0) > LONGEST_WAIT_S:
        yield f"wait: {max(waits)} s"
    for event in one.view.events:
        if isinstance(event, StreamLost | SenderHeldUp | MessageBuried) and len(event.reason) > WORDS_LIMIT:
            yield f"words: {len(event.reason)} characters"
    yield from _leaks(one)


def _leaks(one: Case) -> Iterator[str]:
    """Secrets and control characters in what is shown, logged or sent."""
    written = io.StringIO()
    for style in ("json", "text"):
        lines = Lines(written, one.clock, style=style, level="debug")
        for event in one.view.events:
            lines(event)
    reasons = [str(getattr(e, name, "")) for e in one.view.events for name in ("reason", "detail", "error", "message")]
    sent = [
        json.dumps(message["payload"].get("error", message["payload"].get("message", "")), ensure_ascii=False)
        for message in one.there.recorded.values()
        if message["type"] in ("ACK", "UPLOAD_FAILED")
    ]
    everything = json.dumps(list(one.there.recorded.values()))
    for text in [*written.getvalue().split("\n"), *reasons, *sent, *map(repr, one.view.events)]:
        if any(unicodedata.category(c) == "Cc" or c in BIDI for c in text):
            yield f"control character: in {text[:300]!r}"
    for text in (written.getvalue(), everything, *map(repr, one.view.events)):
        yield from (f"secret: {secret}" for secret in (TOKEN, TUS_TOKEN) if secret in text)


@pytest.mark.parametrize("row", MISBEHAVIOURS, ids=lambda row: f"{row.kind}: {row.name}"[:60])
async def test_each_misbehaviour_of_a_control_plane_ends_as_its_table_says_and_betrays_nothing(
    row: Misbehaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in row.deadlines.items():
        monkeypatch.setattr(f"sse_agent.transport.{name}", seconds)
    assert await faults(row, tmp_path) == []


# --- the table catches what it should ---


def _anywhere(response: httpx.Response, here: httpx.URL) -> httpx.URL | None:
    return here.join(response.headers["location"]) if "location" in response.headers else None


_THIEF = "307 to a thief"
BROKEN: dict[str, tuple[str, object, str, str, str]] = {
    "redirects are followed": (
        "sse_agent.transport._redirect",
        _anywhere,
        "Answers to the stream's GET",
        _THIEF,
        "thief",
    ),
    "cookies are kept": (
        "sse_agent.transport.no_cookies",
        CookieJar,
        "Answers to the stream's GET",
        "`Set-Cookie`",
        "cookie",
    ),
    "any wait is kept to": (
        "sse_agent.retry.asked",
        lambda s: s or 0.0,
        "Answers to the stream's GET",
        "`Retry-After` in the year 9999",
        "wait",
    ),
    "a line is kept whole": (
        "sse_agent.eventstream.EventStreamGuard.__init__.__kwdefaults__",
        {"limit": 2**40},
        "The stream",
        "a line without end",
        "memory",
    ),
    "any tus server will do": (
        "sse_agent.dispatcher.Dispatcher._check_origin",
        lambda _, __: None,
        "Payloads",
        "`tusEndpoint` at a thief's",
        "thief",
    ),
    "the log is written as it comes": (
        "sse_agent.lines.printable",
        str,
        "Envelopes",
        "an `actor` with escape sequences",
        "control character",
    ),
}


@pytest.mark.parametrize("build", BROKEN)
async def test_a_broken_build_is_caught_by_the_row_that_is_meant_for_it(
    build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, broken, kind, name, fault = BROKEN[build]
    monkeypatch.setattr(place, broken)
    row = next(row for row in MISBEHAVIOURS if (row.kind, row.name) == (kind, name))
    found = await faults(row, tmp_path, fault)
    assert any(one.startswith(fault) for one in found), found


def test_the_reference_has_every_row_and_no_other() -> None:
    wanted = tables(MISBEHAVIOURS)
    part = PAGE.read_text().partition("## A control plane\n")[2].partition("\n## ")[0]
    assert part[part.find("### ") :].strip() == wanted
    assert len({(row.kind, row.name) for row in MISBEHAVIOURS}) == len(MISBEHAVIOURS)
