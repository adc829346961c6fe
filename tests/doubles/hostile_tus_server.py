"""A tus server that means harm: one table of what it does, and of what the agent must make of it.

Each row is played for as long as `is_hostile`; everything that its script leaves alone is done as it should be. A
second server, the thief, listens at another origin: whatever reaches it was led away.
"""

import array
import fcntl
import gzip
import itertools
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from sse_agent.errors import ErrorCode
from tests.doubles.shelf import Kept, Shelf
from tests.doubles.tus_server import Exchange, TusServer

MIB = 1024 * 1024
ENDLESS = 64 * MIB
DRIP_S = 0.01
INCOMING = 64 * 1024
SECRET_ID = "5ecre7"
"""Of every upload's URL; the shelf's."""


# --- outcomes ---


@dataclass(frozen=True, slots=True)
class Completes:
    """In spite of it."""

    confirmation: str = "response"

    def __str__(self) -> str:
        return f"`complete`, `confirmation: {self.confirmation}`"


@dataclass(frozen=True, slots=True)
class Fails:
    """At once. `words` are in the message of UPLOAD_FAILED."""

    code: ErrorCode
    words: str
    is_retryable: bool = True

    def __str__(self) -> str:
        return f"`failed`, `{self.code}`, {'retryable' if self.is_retryable else 'for good'}: {self.words}"


@dataclass(frozen=True, slots=True)
class Waits:
    """Tried again and again; `code` when that was in vain for as long as the settings say, 24 hours by default."""

    reason: str
    code: ErrorCode = ErrorCode.NO_PROGRESS

    def __str__(self) -> str:
        return f"`waiting`: {self.reason}; after 24 h `failed`, `{self.code}`, retryable"


Outcome = Completes | Fails | Waits


# --- the server ---


@dataclass
class HostileTusServer:
    """`shelf` has what was stored, `thief` whoever was led away, `sent` how much of an endless answer was taken."""

    row: "Misbehaviour"
    server: TusServer
    thief: TusServer
    shelf: Shelf = field(default_factory=Shelf)
    is_hostile: bool = True
    sent: int = 0
    heads: list[Mapping[str, str]] = field(default_factory=list)
    played: list["Script"] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """It waits for the client to lose patience: time may pass."""

    def meddle(self, exchange: Exchange, kept: Kept | None) -> bool:
        self.heads.append(exchange.headers)
        return self.is_hostile and self.row.script(self, exchange, kept)

    def fall_silent(self, exchange: Exchange, *, unread: bool = False) -> None:
        """Say and read nothing more; with `unread` as soon as the client can send no more."""
        waiting, unchanged = 0, 0
        while unread and unchanged < 20:
            time.sleep(DRIP_S)
            before, waiting = waiting, _incoming(exchange.connection)
            unchanged = unchanged + 1 if before == waiting else 0
        self.silent.set()
        exchange.hang()

    def drip(self, exchange: Exchange, raw: bytes) -> None:
        """A byte now and then, for ever."""
        self.silent.set()
        for byte in itertools.chain(raw, itertools.repeat(ord("1"))):
            exchange.send(bytes([byte]))
            time.sleep(DRIP_S)

    def pour(self, exchange: Exchange, block: bytes) -> None:
        """Send it until the client closes."""
        sent = 0
        with suppress(OSError):
            while sent < ENDLESS:
                exchange.send(block)
                sent += len(block)
                self.sent = max(self.sent, sent)
        exchange.close()

    def fill(self, text: str) -> str:
        """`{own}`, `{thief}`: authorities; `{id}`: the next upload."""
        own, thief = f"127.0.0.1:{self.server.port}", f"127.0.0.1:{self.thief.port}"
        return text.replace("{own}", own).replace("{thief}", thief)


def _incoming(connection: socket.socket) -> int:
    """Bytes that have come and were not read."""
    found = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, found)
    return found[0]


Script = Callable[[HostileTusServer, Exchange, Kept | None], bool]


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One row. `is_large`: with a file that no buffer holds."""

    kind: str
    name: str
    script: Script
    outcome: Outcome
    over_tls: bool = False
    is_large: bool = False

    @property
    def line(self) -> str:
        """As docs/reference/hostile-peers.md has it."""
        return f"| {self.name} | {self.outcome} |"


class Row(Protocol):
    """A misbehaviour of either double."""

    @property
    def kind(self) -> str: ...

    @property
    def line(self) -> str: ...


def tables(rows: Sequence[Row]) -> str:
    """As docs/reference/hostile-peers.md has them, one for each kind."""
    kinds = dict.fromkeys(row.kind for row in rows)
    parts = [[f"### {kind}", "", "| it sends | the agent |", "|---|---|"] for kind in kinds]
    for part, kind in zip(parts, kinds, strict=True):
        part += [row.line for row in rows if row.kind == kind]
    return "\n\n".join("\n".join(part) for part in parts)


@contextmanager
def hostile_tus_server(row: Misbehaviour, tls: ssl.SSLContext) -> Iterator[HostileTusServer]:
    """It misbehaves as the row says until `is_hostile` is False."""
    with TusServer(script=lambda exchange: exchange.answer(200)) as thief:
        server = TusServer(tls=tls if row.over_tls else None)
        there = HostileTusServer(row, server, thief)
        there.shelf.meddle = there.meddle
        server.script = there.shelf
        with server:
            # Inherited by its connections: else a body that nobody reads is swallowed by the kernel.
            server._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, INCOMING)
            yield there


# --- scripts ---


def at(method: str, do: Callable[[HostileTusServer, Exchange, Kept | None], object]) -> Script:
    """Requests of that method are answered by `do`."""

    def script(there: HostileTusServer, exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method != method:
            return False
        do(there, exchange, kept)
        return True

    return script


def location(text: str) -> Script:
    """Creations are stored, and said to be there: `{id}` is the upload's name."""

    def create(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
        own = there.shelf.create(exchange)
        value = there.fill(text).replace("{id}", own.rpartition("/")[2])
        exchange.send(f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: {value}\r\n\r\n".encode("latin-1"))

    return at("POST", create)


def answers(method: str, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Script:
    """Whatever is asked with that method; a body is read, and forgotten."""

    def answer(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
        exchange.drain()
        filled = {name: there.fill(text) for name, text in (headers or {}).items()}
        exchange.answer(status, filled, b"" if method == "HEAD" else body)

    return at(method, answer)


def takes_and_answers(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Script:
    """PATCHes are stored, and answered so; `{end}` is the true offset."""

    def answer(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
        assert kept is not None
        Shelf.take(exchange, kept)
        end = str(len(kept.data))
        exchange.answer(status, {name: text.replace("{end}", end) for name, text in (headers or {}).items()}, body)

    return at("PATCH", answer)


def says(method: str, raw: bytes, *, closes: bool = True) -> Script:
    """Those bytes in place of an answer."""

    def speak(_: HostileTusServer, exchange: Exchange, __: Kept | None) -> None:
        exchange.drain()
        exchange.send(raw)
        if closes:
            exchange.close()

    return at(method, speak)


def first_cut(then: Script) -> Script:
    """Half of a PATCH is stored, then the connection is cut; `then` meets the HEAD that follows."""

    def cut(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
        assert kept is not None
        Shelf.take(exchange, kept, exchange.length // 2)
        exchange.close()

    return either(at("PATCH", cut), then)


def either(*scripts: Script) -> Script:
    """The first that has an answer."""
    return lambda there, exchange, kept: any(script(there, exchange, kept) for script in scripts)


def once(script: Script) -> Script:
    """Its first answer only."""

    def first(there: HostileTusServer, exchange: Exchange, kept: Kept | None) -> bool:
        if script in there.played or not script(there, exchange, kept):
            return False
        there.played.append(script)
        return True

    return first


def head(headers: Mapping[str, str], status: int = 200) -> Script:
    """What HEAD is told after a cut."""
    return first_cut(answers("HEAD", status, headers))


def _drop(_: HostileTusServer, exchange: Exchange, __: Kept | None) -> None:
    exchange.drain()
    exchange.close()


def _reset(_: HostileTusServer, exchange: Exchange, __: Kept | None) -> None:
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.close()


def _hang(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    there.fall_silent(exchange)


def _hang_unread(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    there.fall_silent(exchange, unread=True)


def _drip_head(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    there.drip(exchange, b"HTTP/1.1 204 No Content\r\nUpload-Offset: ")


def _drip_body(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    exchange.send(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nERR_INTERNAL_SERVER_ERROR: ")
    there.drip(exchange, b"slowly ")


def _pour_body(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    exchange.send(b"HTTP/1.1 500 No\r\nContent-Length: 100000000000\r\n\r\nERR_OF_MINE: ")
    there.pour(exchange, b"x" * 65536)


def _pour_chunks(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    exchange.send(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    there.pour(exchange, b"10000\r\n" + b"x" * 65536 + b"\r\n")


def _pour_headers(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    exchange.send(b"HTTP/1.1 204 No Content\r\n")
    there.pour(exchange, b"X-More: and more\r\n" * 1000)


def _pour_one_header(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    exchange.drain()
    exchange.send(b"HTTP/1.1 204 No Content\r\nUpload-Offset: ")
    there.pour(exchange, b"1" * 65536)


def _pour_interim(status: bytes) -> Callable[[HostileTusServer, Exchange, Kept | None], None]:
    def flood(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
        exchange.drain()
        there.pour(exchange, b"HTTP/1.1 %s Still\r\n\r\n" % status * 1000)

    return flood


def _interim_then_well(there: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n")
    exchange.send(b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 999\r\n\r\n")
    there.shelf.serve(exchange, kept)


def _early(status: int, body: bytes) -> Callable[[HostileTusServer, Exchange, Kept | None], None]:
    """In the middle of the body, of which no more is read then."""

    def refuse(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
        exchange.drain(MIB)
        exchange.answer(status, body=body)
        there.fall_silent(exchange, unread=True)

    return refuse


def _claim_unread(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    end = int(exchange.headers["upload-offset"]) + exchange.length
    exchange.answer(204, {"Upload-Offset": str(end)})
    there.fall_silent(exchange, unread=True)


def _claim_whole(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
    assert kept is not None
    exchange.answer(200, {"Upload-Offset": str(kept.size), "Upload-Length": str(kept.size)})


def _say_secrets(_: HostileTusServer, exchange: Exchange, __: Kept | None) -> None:
    exchange.drain()
    token = exchange.headers["authorization"]
    exchange.answer(500, body=f"you are {token} at {exchange.target} or {SECRET_ID}-0, are you not?".encode())


def _bake(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
    assert kept is not None
    Shelf.take(exchange, kept, exchange.length // 2)
    # Else what is left would be the next request, and one without a token.
    exchange.drain()
    exchange.answer(204, {"Upload-Offset": str(len(kept.data)), "Set-Cookie": "bait=1; Path=/"})


def _answer_in_advance(there: HostileTusServer, exchange: Exchange, _: Kept | None) -> None:
    place, end = there.shelf.create(exchange), exchange.headers["upload-length"]
    advance = f"HTTP/1.1 204 No Content\r\nUpload-Offset: {end}\r\n\r\n"
    exchange.send(f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: {place}\r\n\r\n{advance}".encode())


def _store_part(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
    """Tells the truth about the half that it kept."""
    assert kept is not None
    Shelf.take(exchange, kept, max(1, exchange.length // 2))
    exchange.drain()
    exchange.answer(204, {"Upload-Offset": str(len(kept.data))})


def _forget_half(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
    assert kept is not None
    del kept.data[len(kept.data) // 2 :]
    exchange.answer(200, {"Upload-Offset": str(len(kept.data)), "Upload-Length": str(kept.size)})


def _store_and(do: Callable[[Exchange], object]) -> Callable[[HostileTusServer, Exchange, Kept | None], None]:
    def store(_: HostileTusServer, exchange: Exchange, kept: Kept | None) -> None:
        assert kept is not None
        Shelf.take(exchange, kept)
        do(exchange)

    return store


NO, NO_PROGRESS = ErrorCode.SERVER_REFUSED, ErrorCode.NO_PROGRESS
NO_OFFSET = Waits("the tus server's answer has no usable Upload-Offset")
BROKE = Waits("the connection broke before the tus server answered")
REDIRECT = "the tus server redirects; redirects are not followed"
NOT_TUS = Waits("the answer is not a tus server's; something in between may have given it")
ELSEWHERE = Fails(NO, "the tus server gave the upload a URL at another origin than its endpoint's")
UNUSABLE = Fails(NO, "the tus server gave the upload a URL that is not usable")
DOWNGRADE = Fails(NO, "the tus server gave the upload an http URL although its endpoint is https")
NEVER_SENT = Fails(NO, "the tus server claims to have bytes that were never sent")
TROUBLE = "the tus server has trouble of its own (500)"
ESCAPES = "no \x1b[31m\x07\u202eyes\x9b\x00 \r\nX-Evil: 1".encode()

_W, _R, _O, _N, _E, _H, _B = (
    "Where the upload is",
    "Redirects",
    "Offsets and lengths",
    "Answers that never end or never come",
    "Error answers, for ever",
    "Bytes that are no answer",
    "The last byte",
)

MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    Misbehaviour(_W, "`Location` at another origin", location("http://{thief}/files/{id}"), ELSEWHERE),
    Misbehaviour(_W, "`Location` at another origin, without a scheme", location("//{thief}/files/{id}"), ELSEWHERE),
    Misbehaviour(_W, "`Location` in https of an http endpoint", location("https://{own}/files/{id}"), ELSEWHERE),
    Misbehaviour(_W, "`Location` in http of an https endpoint", location("http://{own}/files/{id}"), DOWNGRADE, True),
    Misbehaviour(_W, "`Location` in http elsewhere", location("http://{thief}/files/{id}"), DOWNGRADE, True),
    Misbehaviour(_W, "`Location` with a user name and password", location("http://u:p@{own}/files/{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` whose user name is our origin", location("http://{own}@{thief}/{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` with a backslash in the authority", location("http://{thief}\\@{own}/{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` that is `javascript:`", location("javascript:alert(1)"), UNUSABLE),
    Misbehaviour(_W, "`Location` that is `file:`", location("file:///etc/passwd"), UNUSABLE),
    Misbehaviour(_W, "`Location` of 8 KiB", location("/files/" + "a" * 8192), UNUSABLE),
    Misbehaviour(_W, "`Location` with a tab", location("/fi\tles/{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` with an escape sequence", location("/files/\x1b[31m{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` folded over two lines", location("/files/{id}\r\n .evil"), UNUSABLE),
    Misbehaviour(_W, "`Location` twice", location("/files/{id}\r\nLocation: http://{thief}/files/{id}"), UNUSABLE),
    Misbehaviour(_W, "`Location` with escapes in percent form", location("/files/%1b%5b31m%00-{id}"), Completes()),
    Misbehaviour(_W, "`Location` elsewhere at our origin", location("/else/where/{id}"), Completes()),
    Misbehaviour(_W, "`Location` that is relative", location("{id}"), Completes()),
    Misbehaviour(_W, "201 without `Location`", answers("POST", 201), NOT_TUS),
    Misbehaviour(_W, "201 with an empty `Location`", answers("POST", 201, {"Location": ""}), NOT_TUS),
    *(
        Misbehaviour(
            _R,
            f"{status} of a {method} to a thief",
            (first_cut if method == "HEAD" else either)(
                answers(method, status, {"Location": "http://{thief}/files/x", "Upload-Offset": "7"})
            ),
            Waits(f"{REDIRECT} ({status})"),
        )
        for method in ("POST", "HEAD", "PATCH")
        for status in (301, 302, 307, 308)
    ),
    Misbehaviour(_O, "204 without `Upload-Offset`", answers("PATCH", 204), NO_OFFSET),
    Misbehaviour(_O, "204 with a negative offset", answers("PATCH", 204, {"Upload-Offset": "-1"}), NO_OFFSET),
    Misbehaviour(_O, "204 with offset 10^30", answers("PATCH", 204, {"Upload-Offset": "1" + "0" * 30}), NO_OFFSET),
    Misbehaviour(
        _O, "204 with 60,000 digits of offset", answers("PATCH", 204, {"Upload-Offset": "9" * 60000}), NO_OFFSET
    ),
    Misbehaviour(
        _O, "204 with an offset that is no number", answers("PATCH", 204, {"Upload-Offset": "abc"}), NO_OFFSET
    ),
    Misbehaviour(
        _O, "204 with an offset that is no integer", answers("PATCH", 204, {"Upload-Offset": "1.5"}), NO_OFFSET
    ),
    Misbehaviour(
        _O, "204 with an offset beyond what was sent", answers("PATCH", 204, {"Upload-Offset": "9" * 12}), NO_OFFSET
    ),
    Misbehaviour(
        _O,
        "204 with the offset twice",
        takes_and_answers(204, {"Upload-Offset": "{end}\r\nUpload-Offset: 1"}),
        Completes("offset"),
    ),
    Misbehaviour(_O, "204 with the old offset", answers("PATCH", 204, {"Upload-Offset": "0"}), NO_OFFSET),
    Misbehaviour(_O, "204 with less than was sent, and true", at("PATCH", _store_part), Completes()),
    Misbehaviour(_O, "204 at once, the body unread", at("PATCH", _claim_unread), NO_OFFSET, is_large=True),
    Misbehaviour(_O, "HEAD without `Upload-Offset`", head({}), NO_OFFSET),
    Misbehaviour(_O, "HEAD with a negative offset", head({"Upload-Offset": "-5"}), NO_OFFSET),
    Misbehaviour(_O, "HEAD with offset 10^30", head({"Upload-Offset": "1" + "0" * 30}), NO_OFFSET),
    Misbehaviour(_O, "HEAD with an offset that is no number", head({"Upload-Offset": "0x10"}), NO_OFFSET),
    Misbehaviour(_O, "HEAD with an offset that is no integer", head({"Upload-Offset": "1e3"}), NO_OFFSET),
    Misbehaviour(_O, "HEAD with the offset twice", head({"Upload-Offset": "5\r\nUpload-Offset: 5"}), NO_OFFSET),
    Misbehaviour(
        _O,
        "HEAD with another `Upload-Length`",
        head({"Upload-Offset": "5", "Upload-Length": "6"}),
        Fails(NO, "the upload on the tus server is for a file of another size"),
    ),
    Misbehaviour(
        _O,
        "HEAD with bytes that were never sent",
        either(at("PATCH", _reset), at("HEAD", _claim_whole)),
        NEVER_SENT,
        is_large=True,
    ),
    Misbehaviour(
        _O,
        "204 at once, the body unread, and HEAD that says the same",
        either(at("PATCH", _claim_unread), answers("HEAD", 200, {"Upload-Offset": str(8 * MIB)})),
        NEVER_SENT,
        is_large=True,
    ),
    Misbehaviour(
        _O,
        "HEAD whose offset goes back",
        either(once(first_cut(lambda *_: False)), once(at("HEAD", _forget_half))),
        Completes(),
    ),
    Misbehaviour(_N, "no answer to POST", at("POST", _hang), Waits("no answer for 150 s from the tus server")),
    Misbehaviour(
        _N, "no answer to HEAD", first_cut(at("HEAD", _hang)), Waits("no answer for 45 s from the tus server")
    ),
    Misbehaviour(_N, "no answer to PATCH", at("PATCH", _hang), Waits("no answer for 150 s from the tus server")),
    Misbehaviour(
        _N,
        "no byte of a PATCH is read",
        at("PATCH", _hang_unread),
        Waits("no answer for 60 s from the tus server"),
        is_large=True,
    ),
    Misbehaviour(
        _N,
        "an answer of one byte now and then",
        at("PATCH", _drip_head),
        Waits("no answer for 150 s from the tus server"),
    ),
    Misbehaviour(
        _N,
        "an error body of one byte now and then",
        at("POST", _drip_body),
        Waits("the tus server has trouble of its own (500 ERR_INTERNAL_SERVER_ERROR): slowly"),
    ),
    Misbehaviour(
        _N,
        "an error body of 100 GB",
        at("POST", _pour_body),
        Waits("the tus server has trouble of its own (500 ERR_OF_MINE): xxx"),
    ),
    Misbehaviour(_N, "an error body in chunks without end", at("POST", _pour_chunks), Waits(TROUBLE)),
    Misbehaviour(_N, "headers without end", at("PATCH", _pour_headers), BROKE),
    Misbehaviour(_N, "a header line without end", at("PATCH", _pour_one_header), BROKE),
    Misbehaviour(_N, "100s without end", at("PATCH", _pour_interim(b"100")), BROKE),
    Misbehaviour(_N, "103s without end", at("PATCH", _pour_interim(b"103")), BROKE),
    Misbehaviour(_N, "closed in place of an answer to POST", at("POST", _drop), BROKE),
    Misbehaviour(_N, "closed in place of an answer to HEAD", first_cut(at("HEAD", _drop)), BROKE),
    Misbehaviour(_N, "reset in the middle of a PATCH", at("PATCH", _reset), BROKE, is_large=True),
    Misbehaviour(
        _E, "409 to every PATCH", answers("PATCH", 409), Waits("the tus server refuses the offset that it names itself")
    ),
    Misbehaviour(
        _E,
        "423 to every PATCH",
        answers("PATCH", 423),
        Waits("the upload is locked on the tus server (423)", ErrorCode.LOCKED_ON_SERVER),
    ),
    Misbehaviour(
        _E, "404 to every HEAD", head({}, 404), Fails(NO, "the upload disappeared from the tus server 4 times")
    ),
    Misbehaviour(
        _E, "410 to every HEAD", head({}, 410), Fails(NO, "the upload disappeared from the tus server 4 times")
    ),
    Misbehaviour(
        _E, "404 to every POST", answers("POST", 404), Fails(NO, "there is no tus server at the endpoint (404)")
    ),
    Misbehaviour(
        _E, "412 to POST", answers("POST", 412), Fails(NO, "the tus server did not see the header Tus-Resumable", False)
    ),
    Misbehaviour(
        _E,
        "413 with `ERR_MAX_SIZE_EXCEEDED`",
        answers("POST", 413, {}, b"ERR_MAX_SIZE_EXCEEDED: no\n"),
        Fails(ErrorCode.TOO_LARGE, "the file is larger than the tus server takes", False),
    ),
    Misbehaviour(
        _E,
        "413 without a name to every PATCH",
        answers("PATCH", 413, {}, b"<html>"),
        Fails(ErrorCode.TOO_LARGE, "something in front of the tus server limits the size of a request"),
        is_large=True,
    ),
    Misbehaviour(
        _E,
        "500 with a full disk",
        answers("PATCH", 500, {}, b"ERR_INTERNAL_SERVER_ERROR: write /srv/5ecre7-0: no space left on device\n"),
        Waits("the tus server's disk is full (500 ERR_INTERNAL_SERVER_ERROR)", ErrorCode.SERVER_DISK_FULL),
    ),
    Misbehaviour(
        _E,
        "401 to every POST, fresh tokens too",
        answers("POST", 401),
        Fails(NO, "the tus server does not accept the upload token (401)"),
    ),
    Misbehaviour(
        _E,
        "403 to every PATCH, fresh tokens too",
        answers("PATCH", 403),
        Fails(NO, "the tus server does not accept the upload token (403)"),
    ),
    *(
        Misbehaviour(
            _E,
            f"503 with `Retry-After` {text}",
            answers("POST", 503, {"Retry-After": value}),
            Waits("the tus server is not available (503)"),
        )
        for text, value in [
            ("of -1", "-1"),
            ("of 10^18", "1" + "0" * 18),
            ("in the year 9999", "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("that is no date", "Fri, 99 Foo 99999 99:99:99 +9999"),
        ]
    ),
    Misbehaviour(
        _E,
        "an early 403 over TLS, in the middle of a large PATCH",
        at("PATCH", _early(403, b"ERR_MODIFY_FINAL: no\n")),
        Fails(NO, "the upload on the tus server is a concatenation and takes no bytes", False),
        over_tls=True,
        is_large=True,
    ),
    Misbehaviour(
        _E,
        "an early 403 in the middle of a large PATCH",
        at("PATCH", _early(403, b"ERR_MODIFY_FINAL: no\n")),
        Fails(NO, "the upload on the tus server is a concatenation and takes no bytes", False),
        is_large=True,
    ),
    Misbehaviour(
        _E,
        "escape sequences in the reason and in the body",
        says("POST", b"HTTP/1.1 422 \x1b[31mNo\x07\x9b\r\nContent-Length: %d\r\n\r\n" % len(ESCAPES) + ESCAPES),
        Fails(NO, "the tus server refuses the request (422): no [31m yes", False),
    ),
    Misbehaviour(
        _E,
        "our token and the upload's URL in the body",
        at("PATCH", _say_secrets),
        Waits("the tus server has trouble of its own (500): you are Bearer … at … or …, are you not?"),
    ),
    Misbehaviour(
        _E,
        "a compressed error body",
        answers("POST", 500, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10 * MIB))),
        Waits(TROUBLE),
    ),
    Misbehaviour(
        _H, "200 with HTML to POST", answers("POST", 200, {"Content-Type": "text/html"}, b"<html>Log in"), NOT_TUS
    ),
    Misbehaviour(
        _H, "200 with HTML to PATCH", answers("PATCH", 200, {"Content-Type": "text/html"}, b"<html>Log in"), NO_OFFSET
    ),
    Misbehaviour(_H, "no HTTP", says("POST", b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), BROKE),
    Misbehaviour(_H, "a status of five digits", says("POST", b"HTTP/1.1 20100 Yes\r\n\r\n"), BROKE),
    Misbehaviour(_H, "a negative status", says("POST", b"HTTP/1.1 -201 Yes\r\n\r\n"), BROKE),
    Misbehaviour(
        _H,
        "chunks that are none, under a 500",
        says("POST", b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n-5\r\n"),
        Waits(TROUBLE),
    ),
    Misbehaviour(
        _H,
        "a negative `Content-Length`, under a 500",
        says("POST", b"HTTP/1.1 500 No\r\nContent-Length: -7\r\n\r\nno"),
        Waits(TROUBLE),
    ),
    Misbehaviour(
        _H,
        "two lengths, under a 500",
        says("POST", b"HTTP/1.1 500 No\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nno"),
        BROKE,
    ),
    Misbehaviour(_H, "the answer to the next request in advance", at("POST", _answer_in_advance), Completes()),
    Misbehaviour(
        _H,
        "100, 103 and 104 before the answer",
        either(at("POST", _interim_then_well), at("PATCH", _interim_then_well)),
        Completes(),
    ),
    Misbehaviour(_H, "`Set-Cookie`", once(at("PATCH", _bake)), Completes()),
    Misbehaviour(_B, "the last answer is lost", once(at("PATCH", _store_and(Exchange.close))), Completes("offset")),
    Misbehaviour(
        _B,
        "500 to the PATCH with the last byte",
        once(at("PATCH", _store_and(lambda e: e.answer(500, body=b"ERR_OF_MINE: no\n")))),
        Fails(
            NO,
            "the tus server refused the upload at its end: the tus server has trouble of its own (500 ERR_OF_MINE): no",
        ),
    ),
    Misbehaviour(
        _B,
        "422 to the PATCH with the last byte",
        once(at("PATCH", _store_and(lambda e: e.answer(422, body=b"ERR_OF_MINE: no\n")))),
        Fails(
            NO,
            "the tus server refused the upload at its end: the tus server refuses the request (422 ERR_OF_MINE): no",
            False,
        ),
    ),
)
