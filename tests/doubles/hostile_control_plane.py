"""A control plane that means harm: one table of what it does, and of what the agent must make of it.

Each row is played for as long as `is_hostile`; whatever its script leaves alone, and everything afterwards, is done as
it should be. A thief listens at another origin, as in hostile_tus_server.py.
"""

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

from tests.doubles.control_plane import PROBLEM, ControlPlane, Request, command, control_plane
from tests.doubles.tus_server import TusServer

MIB = 1024 * 1024
ENDLESS = 40 * MIB
GOOD = "good"
NUMBERING = "k1"


# --- outcomes ---


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream is given up for that reason."""

    reason: str

    def __str__(self) -> str:
        return f"the stream is dropped: {self.reason}"


@dataclass(frozen=True, slots=True)
class Answered:
    """The final ACK, of the command `c` or under the event ID."""

    status: str
    code: str = ""
    under: str = "c"

    def __str__(self) -> str:
        what = f"`{self.status}`" + (f", `{self.code}`" if self.code else "")
        return what + (" under the event ID" if "/" in self.under else "")


@dataclass(frozen=True, slots=True)
class HeldUp:
    """Messages wait, for that reason, and are sent again unchanged."""

    reason: str

    def __str__(self) -> str:
        return f"messages wait, and go out again: {self.reason}"


@dataclass(frozen=True, slots=True)
class Buried:
    """One message becomes a dead letter."""

    reason: str

    def __str__(self) -> str:
        return f"a dead letter: {self.reason}"


@dataclass(frozen=True, slots=True)
class UploadWaits:
    """The upload waits for that reason."""

    reason: str

    def __str__(self) -> str:
        return f"the upload is `waiting`: {self.reason}"


@dataclass(frozen=True, slots=True)
class Takes:
    """So many events of the feed, of that name: what is asked is done."""

    event: str
    count: int
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Resent:
    """What was sent once is sent again, unchanged."""

    words: str

    def __str__(self) -> str:
        return self.words


Outcome = Lost | Answered | HeldUp | Buried | UploadWaits | Takes | Resent


# --- the control plane ---


@dataclass
class HostileControlPlane:
    """`recorded` is what was accepted, by message ID; `sent` how much of something endless was taken."""

    row: "Misbehaviour"
    plane: ControlPlane
    thief: TusServer
    tus_endpoint: str
    is_hostile: bool = True
    is_silent: bool = False
    is_greeted: bool = False
    sent: int = 0
    streams: int = 0
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)
    open: Request | None = None
    next_n: int = 1
    numbering: str = NUMBERING
    changed: anyio.Event = field(default_factory=anyio.Event)

    def fill(self, text: str) -> str:
        """`{own}`, `{thief}`, `{tus}`: authorities."""
        own, thief = f"127.0.0.1:{self.plane.port}", f"127.0.0.1:{self.thief.port}"
        tus = self.tus_endpoint.split("/")[2]
        return text.replace("{own}", own).replace("{thief}", thief).replace("{tus}", tus)

    async def serve_streams(self) -> None:
        async with anyio.create_task_group() as group:
            while True:
                request = await self.plane._queues["GET"][1].receive()
                self.streams += 1
                self.open = None
                if self.is_hostile and self.row.stream is not None:
                    group.start_soon(self.row.stream, self, request)
                else:
                    await self.welcome(request)

    async def welcome(self, request: Request, **hello: object) -> None:
        """HELLO as it should be, from where the agent stands."""
        numbering, _, n = request.headers.get("last-event-id", f"{self.numbering}/0").partition("/")
        self.numbering, self.next_n = numbering, int(n) + 1
        await request.open_stream(**{"latest": f"{numbering}/900000000", "floor": f"{numbering}/1", **hello})
        self.open = request

    async def give(self, envelope: bytes) -> None:
        """The next command, on the open stream."""
        assert self.open is not None
        await self.open.say(f"{self.numbering}/{self.next_n}", envelope)
        self.next_n += 1

    async def serve_posts(self) -> None:
        async with anyio.create_task_group() as group:
            while True:
                request = await self.plane._queues["POST"][1].receive()
                is_ours = self.is_hostile and self.row.post is not None
                if is_ours and not (self.row.greets_first and not self.is_greeted):
                    assert self.row.post is not None
                    group.start_soon(self.row.post, self, request)
                elif request.target.endswith("/token"):
                    await request.problem(404, "no-tokens")
                else:
                    await self.record(request)

    async def record(self, request: Request) -> None:
        """Accept what came."""
        for message in request.messages:
            self.recorded.setdefault(message["id"], message)
        self.is_greeted = self.is_greeted or "CLIENT_CONNECTED" in request.types
        await request.accept()
        self.changed.set()
        self.changed = anyio.Event()

    async def pour(self, request: Request, block: bytes) -> None:
        """Send it until the client closes, or long enough."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while self.sent < ENDLESS:
                await request._wire.send(block)
                self.sent += len(block)


Play = Callable[[HostileControlPlane, Request], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One row. `deadlines`: of sse_agent.transport, shorter than they are; `tus_refuses`: the tus server says 401."""

    kind: str
    name: str
    outcome: Outcome
    stream: Play | None = None
    post: Play | None = None
    greets_first: bool = False
    deadlines: Mapping[str, float] = field(default_factory=dict)
    tus_refuses: bool = False

    @property
    def line(self) -> str:
        """As docs/reference/hostile-peers.md has it."""
        return f"| {self.name} | {self.outcome} |"


@asynccontextmanager
async def hostile_control_plane(row: Misbehaviour, tus_endpoint: str) -> AsyncIterator[HostileControlPlane]:
    """It misbehaves as the row says until `is_hostile` is False."""
    with TusServer(script=lambda exchange: exchange.answer(200)) as thief:
        async with control_plane() as plane, anyio.create_task_group() as group:
            there = HostileControlPlane(row, plane, thief, tus_endpoint)
            group.start_soon(there.serve_streams)
            group.start_soon(there.serve_posts)
            yield there
            group.cancel_scope.cancel()


# --- plays ---


def answers(status: int, body: bytes = b"", **headers: str) -> Play:
    async def play(there: HostileControlPlane, request: Request) -> None:
        await request.answer(status, body, **{name: there.fill(text) for name, text in headers.items()})

    return play


def problem(status: int, slug: str, **headers: str) -> Play:
    async def play(_: HostileControlPlane, request: Request) -> None:
        await request.problem(status, slug, **headers)

    return play


def says(raw: bytes, *, closes: bool = True) -> Play:
    async def play(_: HostileControlPlane, request: Request) -> None:
        await request.send(raw)
        if closes:
            await request.cut()

    return play


def pours(head: bytes, block: bytes) -> Play:
    async def play(there: HostileControlPlane, request: Request) -> None:
        await request.send(head)
        await there.pour(request, block)
        await request.cut()

    return play


async def hang(there: HostileControlPlane, request: Request) -> None:
    there.is_silent = True
    await request.gone()


async def drip(_: HostileControlPlane, request: Request) -> None:
    # Not silent: the bound on such a body is one of real time, and the test's clock must not outrun it.
    await request.send(b"HTTP/1.1 503 No\r\nContent-Length: 1000000\r\n\r\n")
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await request._wire.send(b"x")
            await anyio.sleep(0.02)


async def no_hello(there: HostileControlPlane, request: Request) -> None:
    there.is_silent = True
    await request.begin_stream()
    await request.gone()


def hello(**changes: object) -> Play:
    async def play(_: HostileControlPlane, request: Request) -> None:
        await request.open_stream(**changes)

    return play


def writes(*raw: bytes, ends: bool = True) -> Play:
    """Bytes of the stream behind a good HELLO."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        await there.welcome(request)
        for one in raw:
            await request.write(one)
        if ends:
            await request.end()

    return play


def floods(head: bytes, block: bytes) -> Play:
    """Without end, behind a good HELLO."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        await there.welcome(request)
        await request.write(head)
        await there.pour(request, f"{len(block):x}\r\n".encode() + block + b"\r\n")
        await request.cut()

    return play


def gives(*envelopes: bytes) -> Play:
    """Commands, on a stream that stays open."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        await there.welcome(request)
        for envelope in envelopes:
            await there.give(envelope)

    return play


async def burst(there: HostileControlPlane, request: Request) -> None:
    """As many large commands as the network takes."""
    await there.welcome(request)
    there.open = None
    padding = "x" * 50_000
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while there.is_hostile:
            n = there.next_n
            data = command(f"b-{n}", padding=padding)
            raw = f"id: {NUMBERING}/{n}\nevent: HEARTBEAT\ndata: ".encode() + data + b"\n\n"
            await request._wire.send(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
            there.next_n += 1
    await request.cut()


async def reset_again(there: HostileControlPlane, request: Request) -> None:
    since = "2020-01-01T00:00:00Z"
    await request.open_stream(resume=False, reason="\x1b[31mlost", reset={"cursor": "k9/41", "since": since})
    there.numbering, there.next_n = "k9", 42
    await request.end()


def upload(**payload: object) -> Play:
    """An UPLOAD_START of the file that is there, but for these members."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        filled = {name: there.fill(text) if isinstance(text, str) else text for name, text in payload.items()}
        members = {"fileId": "f", "fileName": "a.bin", **filled}
        wanted = {name: value for name, value in members.items() if value is not None}
        await gives(command("c", "UPLOAD_START", wanted))(there, request)

    return play


def asks(kind: str, **payload: object) -> Play:
    return gives(command("c", kind, payload))


def batch(change: Callable[[list[dict[str, object]]], object], *, is_waited: bool = False) -> Play:
    """Batches are answered so; what comes alone is accepted."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        if len(request.ids) == 1:
            await there.record(request)
            return
        there.is_silent = is_waited
        results = change([{"id": name, "status": 202} for name in request.ids])
        await request.answer(200, json.dumps({"results": results}).encode(), content_type="application/json")

    return play


def single(body: Callable[[str], object], status: int = 202) -> Play:
    async def play(_: HostileControlPlane, request: Request) -> None:
        await request.answer(status, json.dumps(body(request.ids[0])).encode(), content_type="application/json")

    return play


def mints(status: int, body: object, **headers: str) -> Play:
    """Messages are accepted; a request for an upload token is answered so."""

    async def play(there: HostileControlPlane, request: Request) -> None:
        if not request.target.endswith("/token"):
            await there.record(request)
            return
        filled = {name: there.fill(text) for name, text in headers.items()}
        await request.answer(status, json.dumps(body).encode(), content_type="application/json", **filled)

    return play


def _raw(members: str) -> bytes:
    """An envelope with these members, as they are written."""
    start = '{"type":"HEARTBEAT","id":"c","timestamp":"2026-11-22T10:30:00Z","clientId":"agent-1","payload":{}'
    return f"{start},{members}}}".encode()


_DEEP, _DEEPER = "[" * 30_000 + "]" * 30_000, "[" * 100_000 + "]" * 100_000
_ELSEWHERE = "in the control plane's place"
_LINES = (b"data: " + b"x" * 1000 + b"\n") * 64
_NO_URL = "the control plane answered a redirect to what is no URL"
_NO_HTTP = "what answered speaks no proper HTTP/1.1"
_ENDED = "the connection ended before the answer did"
_EVENT_ID = "the control plane sent a command without an event ID"
UNDER = f"{NUMBERING}/1"
_NO_ENVELOPE = Answered("rejected", "INVALID_ENVELOPE", UNDER)
_NO_PAYLOAD = Answered("rejected", "INVALID_PAYLOAD")
_NOT_FOUND = Answered("rejected", "NOT_FOUND")
_NOT_ALLOWED = Answered("rejected", "NOT_ALLOWED")
_DONE = Answered("completed")
_G, _H, _S, _E, _P, _M, _T = (
    "Answers to the stream's GET",
    "HELLO",
    "The stream",
    "Envelopes",
    "Payloads",
    "Answers to messages",
    "Upload tokens",
)
_HTML = {"content_type": "text/html"}

MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    *(
        Misbehaviour(
            _G,
            f"{status} to a thief",
            Lost(f"the control plane answered {status}"),
            answers(status, location="http://{thief}/"),
        )
        for status in (301, 302, 307, 308)
    ),
    Misbehaviour(
        _G,
        "307 to our origin, with a user name",
        Lost("the control plane answered 307"),
        answers(307, location="http://u:p@{own}/x"),
    ),
    Misbehaviour(_G, "307 to itself", Lost("the control plane answered 307"), answers(307, location="http://{own}/x")),
    Misbehaviour(
        _G,
        "307 to a `javascript:` URL",
        Lost(_NO_URL),
        answers(307, location="javascript:alert(1)"),
    ),
    Misbehaviour(
        _G,
        "401 for ever",
        Lost("the control plane answered 401 token-unknown: the token was not accepted"),
        problem(401, "token-unknown"),
    ),
    Misbehaviour(
        _G, "200 with HTML", Lost("'text/html' came in place of an event stream"), answers(200, b"<html>", **_HTML)
    ),
    Misbehaviour(_G, "204", Lost(f"something on the way answered 204 {_ELSEWHERE}"), answers(204)),
    Misbehaviour(
        _G, "410 without a problem document", Lost("the control plane answered 410"), answers(410, b"agent-deleted")
    ),
    Misbehaviour(
        _G,
        "a compressed stream",
        Lost("a compressed stream came"),
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"),
    ),
    Misbehaviour(_G, "no answer", Lost("no answer within 30 s"), hang),
    Misbehaviour(
        _G,
        "an error body of one byte now and then",
        Lost("the control plane answered 503"),
        drip,
        deadlines={"_REFUSAL_WITHIN_S": 0.2},
    ),
    Misbehaviour(
        _G,
        "an error body without end",
        Lost("the control plane answered 500"),
        pours(b"HTTP/1.1 500 No\r\n\r\n", b"x" * 65536),
    ),
    Misbehaviour(
        _G,
        "headers without end",
        Lost(_NO_HTTP),
        pours(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 4000),
    ),
    Misbehaviour(
        _G,
        "100s and 103s, then an answer",
        Lost("the control plane answered 500"),
        says(
            b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Go\r\n\r\n" * 1000 + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        ),
    ),
    Misbehaviour(
        _G,
        "a header line that is none, of 60 KB",
        Lost(_NO_HTTP),
        says(b"HTTP/1.1 200 OK\r\n" + b"\x1b]0;x\x07" * 10_000 + b"\r\n\r\n"),
    ),
    Misbehaviour(_G, "escape sequences in place of HTTP", Lost(_NO_HTTP), says(b"\x1b[2J\x1b]52;c;eA==\x07\r\n\r\n")),
    Misbehaviour(_G, "closed in place of an answer", Lost(_ENDED), says(b"")),
    Misbehaviour(_G, "`Retry-After: -1`", Lost("the control plane answered 503"), answers(503, retry_after="-1")),
    Misbehaviour(
        _G, "`Retry-After` of 10^30 s", Lost("the control plane answered 503"), answers(503, retry_after="1" + "0" * 30)
    ),
    Misbehaviour(
        _G,
        "`Retry-After` in the year 9999",
        Lost("the control plane answered 503"),
        answers(503, retry_after="Fri, 31 Dec 9999 23:59:59 GMT"),
    ),
    Misbehaviour(_G, "`Set-Cookie`", Lost("the control plane answered 503"), answers(503, set_cookie="bait=1; Path=/")),
    Misbehaviour(
        _H,
        "none before the first command",
        Lost("the stream did not begin with HELLO"),
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: k1/1\nevent: HEARTBEAT\ndata: {}\n\n"),
    ),
    Misbehaviour(_H, "never", Lost("no HELLO within 10 s"), no_hello),
    Misbehaviour(_H, "twice", Lost(_EVENT_ID), writes(b"event: HELLO\ndata: {}\n\n")),
    Misbehaviour(_H, "a heartbeat of 0 s", Lost("the control plane's HELLO is malformed"), hello(heartbeatSeconds=0)),
    Misbehaviour(
        _H, "a heartbeat of 10^9 s", Lost("the control plane's HELLO is malformed"), hello(heartbeatSeconds=1e9)
    ),
    Misbehaviour(
        _H, "a heartbeat of NaN", Lost("the control plane's HELLO is malformed"), hello(heartbeatSeconds=float("nan"))
    ),
    Misbehaviour(
        _H, "another protocol", Lost("the control plane speaks protocol 2; this agent speaks 1"), hello(protocol=2)
    ),
    Misbehaviour(
        _H, "`latest` that is no event ID", Lost("the control plane's HELLO is malformed"), hello(latest="k1/\u0663")
    ),
    Misbehaviour(
        _H,
        "a cursor with a line end in `reset`",
        Lost("the control plane's HELLO is malformed"),
        hello(resume=False, reset={"cursor": "k1/1\r\nX: y", "since": "2026-11-22T10:30:00Z"}),
    ),
    Misbehaviour(
        _H, "`resume: false` without `reset`", Lost("the control plane's HELLO is malformed"), hello(resume=False)
    ),
    Misbehaviour(
        _H,
        "`reset` at every connection",
        Takes("stream.reset", 3, "each is followed; outcomes since then are sent again, under their IDs"),
        reset_again,
    ),
    Misbehaviour(
        _S, "an event of 300 KB", Answered("rejected", "TOO_LARGE", UNDER), gives(command("c", padding="x" * 300_000))
    ),
    Misbehaviour(
        _S,
        "an event of 64 KiB and a byte",
        Answered("rejected", "TOO_LARGE", UNDER),
        gives(command("c").ljust(64 * 1024 + 1)),
    ),
    Misbehaviour(_S, "a line without end", Lost("the stream broke"), floods(b"id: k1/1\ndata: ", b"x" * 65536)),
    Misbehaviour(
        _S,
        "an event without a blank line",
        Lost("the stream broke"),
        floods(b"id: k1/1\n", _LINES),
    ),
    Misbehaviour(
        _S,
        "100,000 tiny events that say nothing",
        Lost("the control plane ended the stream"),
        writes(*[b":\n\n\n\nid: k1/7\n\n" * 2500] * 20),
    ),
    Misbehaviour(_S, "a hole", Lost("the stream has a hole between k1/0 and k1/2"), writes(b"id: k1/2\ndata: {}\n\n")),
    Misbehaviour(
        _S,
        "another numbering",
        Lost("the stream changed its numbering from k1/0 to k2/1"),
        writes(b"id: k2/1\ndata: {}\n\n"),
    ),
    Misbehaviour(
        _S,
        "a number that goes back",
        Takes("command.repeated", 1, "a duplicate: nothing changes"),
        writes(b"id: k1/0\ndata: {}\n\n", ends=False),
    ),
    Misbehaviour(_S, "number 10^18", Lost(_EVENT_ID), writes(b"id: k1/1000000000000000000\ndata: {}\n\n")),
    Misbehaviour(
        _S, "a number of 100,000 digits", Lost(_EVENT_ID), writes(b"id: k1/" + b"1" * 100_000 + b"\ndata: {}\n\n")
    ),
    Misbehaviour(_S, "a number in other digits", Lost(_EVENT_ID), writes("id: k1/\u0661\ndata: {}\n\n".encode())),
    Misbehaviour(_S, "an event ID with a NUL", Lost(_EVENT_ID), writes(b"id: k1/1\0\ndata: {}\n\n")),
    Misbehaviour(_S, "no event ID", Lost(_EVENT_ID), writes(b"data: {}\n\n")),
    Misbehaviour(
        _S,
        "chunks that are none",
        Lost("the stream broke"),
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ),
    Misbehaviour(
        _S,
        "`retry:` of 10^30 ms",
        Lost("the control plane ended the stream"),
        writes(b"retry: 1" + b"0" * 30 + b"\n\n"),
    ),
    Misbehaviour(
        _S,
        "more commands than can be stored, as fast as they are taken",
        Takes("command.received", 40, "taken one transaction at a time; the rest waits in the network"),
        burst,
    ),
    Misbehaviour(_E, "no JSON", _NO_ENVELOPE, gives(b"no")),
    Misbehaviour(_E, "no UTF-8", _NO_ENVELOPE, gives(b"\xff\xfe{}")),
    Misbehaviour(_E, "an array", _NO_ENVELOPE, gives(b"[]")),
    Misbehaviour(_E, "30,000 levels", _NO_ENVELOPE, gives(_raw(f'"x":{_DEEP}'))),
    Misbehaviour(_E, "100,000 levels", Answered("rejected", "TOO_LARGE", UNDER), gives(_raw(f'"x":{_DEEPER}'))),
    Misbehaviour(_E, "a number of 60,000 digits", _NO_ENVELOPE, gives(_raw('"x":' + "9" * 60_000))),
    Misbehaviour(_E, "NaN", _NO_ENVELOPE, gives(_raw('"x":NaN'))),
    Misbehaviour(_E, "1e400", _NO_ENVELOPE, gives(_raw('"x":1e400'))),
    Misbehaviour(_E, "half of a surrogate pair", _NO_ENVELOPE, gives(_raw('"x":"\\ud800"'))),
    Misbehaviour(_E, "a member twice", Answered("completed", under="c2"), gives(_raw('"id":"c2"'))),
    Misbehaviour(
        _E, "another agent's `clientId`", Answered("rejected", "WRONG_CLIENT"), gives(command("c", clientId="agent-2"))
    ),
    Misbehaviour(_E, "a `clientId` that is a path", _NO_ENVELOPE, gives(command("c", clientId="../agent-1"))),
    *(
        Misbehaviour(_E, f"an `id` {words}", _NO_ENVELOPE, gives(command(text)))
        for words, text in [
            ("with a line end", "c\r\nX: y"),
            ("that ends in a line end", "c\n"),
            ("with a NUL", "c\0"),
            ("of 129 characters", "c" * 129),
            ("of no character", ""),
            ("in other letters", "\u0441"),
        ]
    ),
    Misbehaviour(_E, "a `type` with an escape sequence", _NO_ENVELOPE, gives(command("c", "HEARTBEAT\x1b[31m"))),
    Misbehaviour(
        _E,
        "an unknown `type`",
        Answered("rejected", "UNKNOWN_TYPE"),
        gives(command("c", "RUN_SHELL", {"command": "id"})),
    ),
    Misbehaviour(
        _E,
        "an `actor` with escape sequences",
        _DONE,
        gives(command("c", actor="\x1b[2J\x1b]0;x\x07\u202eroot\x9b\x00")),
    ),
    Misbehaviour(_E, "an `actor` of 257 characters", _NO_ENVELOPE, gives(command("c", actor="x" * 257))),
    Misbehaviour(
        _E, "`expiresAt` in the year 0000", _NO_ENVELOPE, gives(command("c", expiresAt="0000-01-01T00:00:00Z"))
    ),
    *(
        Misbehaviour(_P, f"`fileName` {words}", outcome, upload(fileName=text))
        for words, text, outcome in [
            ("with a NUL", "a.bin\0.txt", _NOT_FOUND),
            ("with `..`", "../files/a.bin", _NOT_FOUND),
            ("with a line end", "a.bin\r\nX: y", _NOT_FOUND),
            ("with an escape sequence", "\x1b[2Ja.bin", _NOT_FOUND),
            ("of another folder", "/etc/passwd", _NOT_FOUND),
            ("that is a `file:` URL", "file:///etc/passwd", _NOT_FOUND),
            ("of 4,097 characters", "x" * 4097, _NO_PAYLOAD),
        ]
    ),
    Misbehaviour(_P, "`fileNameB64` that is none", _NO_PAYLOAD, upload(fileName=None, fileNameB64="a.bin\r\n")),
    *(
        Misbehaviour(_P, f"`fileId` {words}", _NO_PAYLOAD, upload(fileId=text))
        for words, text in [
            ("with a slash", "a/b"),
            ("with a line end", "f\r\nX: y"),
            ("that ends in a line end", "f\n"),
            ("with percent escapes", "%2e%2e"),
            ("of 129 characters", "f" * 129),
        ]
    ),
    Misbehaviour(_P, "`fileId` that is `..`", _DONE, upload(fileId="..")),
    Misbehaviour(_P, "a `metadata` key with a line end", _NO_PAYLOAD, upload(metadata={"a\r\nX": "y"})),
    Misbehaviour(_P, "a `metadata` key with a space and a comma", _NO_PAYLOAD, upload(metadata={"a b,clientId": "y"})),
    Misbehaviour(_P, "a `metadata` value that is no string", _NO_PAYLOAD, upload(metadata={"a": ["y"]})),
    Misbehaviour(_P, "`metadata` of 5 KiB", _NO_PAYLOAD, upload(metadata={"a": "y" * 5000})),
    Misbehaviour(
        _P,
        "`metadata` values with line ends, NUL and base64",
        _DONE,
        upload(metadata={"a": "x\r\nX-Evil: 1\0,clientId ZXZpbA=="}),
    ),
    Misbehaviour(
        _P,
        "`metadata` that would replace ours",
        _DONE,
        upload(
            metadata={
                "clientId": "evil",
                "fileId": "evil",
                "filename": "../evil",
                "filetype": "evil",
                "attemptId": "evil",
            }
        ),
    ),
    *(
        Misbehaviour(_P, f"`tusEndpoint` {words}", _NOT_ALLOWED, upload(tusEndpoint=text))
        for words, text in [
            ("at a thief's", "http://{thief}/files/"),
            ("whose user name is our origin", "http://{tus}@{thief}/files/"),
            ("with a user name", "http://u:p@{tus}/files/"),
            ("with a backslash", "http://{thief}\\@{tus}/files/"),
            ("with a backslash behind the host", "http://{tus}\\.evil.example/files/"),
            ("with a tab", "http://{tus}\t.evil.example/files/"),
            ("in other digits", "http://\uff11\uff12\uff17.0.0.1/files/"),
            ("in https", "https://{tus}/files/"),
            ("that is `javascript:`", "javascript:alert(1)"),
            ("that is no URL", "http://[::1"),
        ]
    ),
    *(
        Misbehaviour(_P, f"`{name}` {words}", _NO_PAYLOAD, upload(**{name: value}))
        for name, words, value in [
            ("uploadToken", "with a line end", "t\r\nX-Evil: 1"),
            ("uploadToken", "with a space", "t t"),
            ("uploadToken", "of 8,193 characters", "t" * 8193),
            ("sha256", "that ends in a line end", "0" * 64 + "\n"),
            ("sha256", "of 63 digits", "0" * 63),
            ("fileSize", "below 0", -1),
            ("fileSize", "of 2^63", 2**63),
            ("fileSize", "that is no integer", 1.5),
            ("priority", "of 10", 10),
            ("priority", "below 0", -1),
            ("priority", "that is `true`", True),
        ]
    ),
    Misbehaviour(
        _P,
        "an unknown member of 60,000 digits",
        Answered("rejected", "INVALID_ENVELOPE", UNDER),
        gives(command("c", "HEARTBEAT").replace(b'"payload": {}', b'"payload": {"x": ' + b"9" * 60_000 + b"}")),
    ),
    Misbehaviour(_P, "an unknown member of 100 digits", _NO_PAYLOAD, gives(command("c", payload={"x": 10**99}))),
    Misbehaviour(_P, "`limit` of 0", _NO_PAYLOAD, asks("LIST_FILES", limit=0)),
    Misbehaviour(_P, "`limit` of 1,001", _NO_PAYLOAD, asks("LIST_FILES", limit=1001)),
    Misbehaviour(_P, "`cursor` that we never gave", _NO_PAYLOAD, asks("LIST_FILES", cursor="\x1b[31m\u0661")),
    Misbehaviour(_P, "`path` with a NUL", _NOT_FOUND, asks("LIST_FILES", path="a\0b")),
    Misbehaviour(_P, "`path` with `..`", _NOT_FOUND, asks("LIST_FILES", path="../..")),
    Misbehaviour(
        _P,
        "`text` and `from` with escape sequences",
        _DONE,
        asks("MESSAGE", text="\x1b[2J\u202e\x9b31mx", **{"from": "\x07\x1b]0;x\x07"}),
    ),
    Misbehaviour(_P, "`text` of 4,001 characters", _NO_PAYLOAD, asks("MESSAGE", text="x" * 4001)),
    *(
        Misbehaviour(
            _M,
            f"{status} to a thief",
            HeldUp(f"the control plane answered {status}"),
            post=answers(status, location="http://{thief}/"),
        )
        for status in (301, 307, 308)
    ),
    Misbehaviour(
        _M,
        "200 with HTML",
        HeldUp(f"something on the way answered 200 {_ELSEWHERE}"),
        post=answers(200, b"<html>", **_HTML),
    ),
    Misbehaviour(_M, "204", HeldUp(f"something on the way answered 204 {_ELSEWHERE}"), post=answers(204)),
    Misbehaviour(
        _M, "202 without JSON", HeldUp(f"something on the way answered 202 {_ELSEWHERE}"), post=answers(202, b"ok")
    ),
    Misbehaviour(
        _M,
        "202 with another `id`",
        HeldUp(f"something on the way answered 202 {_ELSEWHERE}"),
        post=single(lambda _: {"id": "another", "status": 202}),
    ),
    Misbehaviour(
        _M,
        "202 without `status`",
        HeldUp(f"something on the way answered 202 {_ELSEWHERE}"),
        post=single(lambda found: {"id": found}),
    ),
    Misbehaviour(
        _M,
        "202 with 100,000 levels",
        HeldUp(f"something on the way answered 202 {_ELSEWHERE}"),
        post=answers(202, _DEEPER.encode()),
    ),
    Misbehaviour(
        _M,
        "401 for ever",
        HeldUp("the control plane answered 401 token-unknown: the token was not accepted"),
        post=problem(401, "token-unknown"),
    ),
    Misbehaviour(
        _M, "400 without a problem document", HeldUp("the control plane answered 400"), post=answers(400, b"no")
    ),
    Misbehaviour(
        _M,
        "422 with escape sequences in its `type`",
        HeldUp("the control plane answered 422"),
        post=problem(422, "\x1b[31m"),
    ),
    Misbehaviour(_M, "422 to the greeting", Buried("422 key-reused"), post=problem(422, "key-reused")),
    Misbehaviour(
        _M, "403 and 404", HeldUp("the control plane answered 403 not-allowed"), post=problem(403, "not-allowed")
    ),
    Misbehaviour(_M, "no answer", HeldUp("no whole answer within"), post=hang, deadlines={"_POST_DEADLINE_S": 0.3}),
    Misbehaviour(
        _M,
        "an answer of one byte now and then",
        HeldUp("the control plane answered 503"),
        post=drip,
        deadlines={"_ANSWER_WITHIN_S": 0.2},
    ),
    Misbehaviour(
        _M,
        "an answer without end",
        HeldUp(f"something on the way answered 200 {_ELSEWHERE}"),
        post=pours(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    ),
    Misbehaviour(
        _M,
        "headers without end",
        HeldUp(_NO_HTTP),
        post=pours(b"HTTP/1.1 202 OK\r\n", b"X-More: and more\r\n" * 4000),
    ),
    Misbehaviour(_M, "closed in place of an answer", HeldUp(_ENDED), post=says(b"")),
    Misbehaviour(
        _M,
        "`Retry-After` of 10^30 s",
        HeldUp("the control plane answered 503"),
        post=answers(503, retry_after="1" + "0" * 30),
    ),
    Misbehaviour(
        _M, "`Set-Cookie`", HeldUp("the control plane answered 503"), post=answers(503, set_cookie="bait=1; Path=/")
    ),
    Misbehaviour(
        _M,
        "fewer results than messages",
        HeldUp(f"something on the way answered 200 {_ELSEWHERE}"),
        post=batch(lambda found: found[1:]),
        greets_first=True,
    ),
    Misbehaviour(
        _M,
        "more results than messages",
        HeldUp(f"something on the way answered 200 {_ELSEWHERE}"),
        post=batch(lambda found: [*found, *found]),
        greets_first=True,
    ),
    Misbehaviour(
        _M,
        "results in another order",
        Resent("those in the wrong place are sent again"),
        post=batch(lambda found: found[::-1], is_waited=True),
        greets_first=True,
    ),
    Misbehaviour(
        _M, "a redirect to a `javascript:` URL", HeldUp(_NO_URL), post=answers(302, location="javascript:a(1)")
    ),
    Misbehaviour(
        _M,
        "a refusal with escape sequences in a batch",
        Buried("422 "),
        post=batch(lambda found: [{**one, "status": 422, "type": PROBLEM + "\x1b[31m"} for one in found]),
        greets_first=True,
    ),
    Misbehaviour(
        _T,
        "a token with a line end",
        UploadWaits(f"something on the way answered 201 {_ELSEWHERE}"),
        upload(),
        mints(201, {"token": "t\r\nX-Evil: 1"}),
        tus_refuses=True,
    ),
    Misbehaviour(
        _T,
        "a token of 10,000 characters",
        UploadWaits(f"something on the way answered 201 {_ELSEWHERE}"),
        upload(),
        mints(201, {"token": "t" * 10_000}),
        tus_refuses=True,
    ),
    Misbehaviour(
        _T,
        "307 to a thief",
        UploadWaits("the control plane answered 307"),
        upload(),
        mints(307, {}, location="http://{thief}/"),
        tus_refuses=True,
    ),
)
