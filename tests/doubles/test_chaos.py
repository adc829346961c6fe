"""The chaos proxy: what it passes on, and what each misbehaviour is to the two sides."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import trustme

from scripts.chaos_test_harness.misbehaviours import MISBEHAVIOURS
from scripts.chaos_test_harness.streams import STREAM_MISBEHAVIOURS
from tests.doubles.chaos import Chaos
from tests.doubles.chaos_flow import Round
from tests.doubles.chaos_wire import Head
from tests.doubles.services import until

BODY = bytes(range(256)) * 40
SAID = json.dumps({"id": "m-1", "status": 202}).encode()
EVENTS = [b"event: HELLO\ndata: {}\n\n", *(b"id: k/%d\nevent: X\ndata: {}\n\n" % n for n in (1, 2, 3))]
KNOWN = {m.name: m for m in (*MISBEHAVIOURS, *STREAM_MISBEHAVIOURS)}
REQUESTS = [m.name for m in MISBEHAVIOURS if m.at == "request"]
ENDS_WITHIN_S = 20.0


class Server(ThreadingHTTPServer):
    """Remembers what arrived: whole requests and broken ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.whole: list[tuple[str, bytes]] = []
        self.broken: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/"

    def handle_error(self, *_: object) -> None:
        """Connections break here all the time."""


class Handler(BaseHTTPRequestHandler):
    """Answers with JSON, or with four events."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_PATCH(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.server.broken.append(body)
            return
        self.server.whole.append((self.command, body))
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Upload-Offset", str(len(BODY)))
        self.send_header("Content-Length", str(len(SAID)))
        self.end_headers()
        self.wfile.write(SAID)

    def do_POST(self) -> None:
        self.do_PATCH()

    def do_GET(self) -> None:
        self.server.whole.append((self.command, b""))
        self.send_response_only(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in EVENTS:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Silence."""


class Place:
    """A server behind a proxy."""

    def __init__(self, server: Server, chaos: Chaos, url: str, trust: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.chaos = chaos
        self.netloc = urlsplit(url).netloc
        self.trust = trust

    def play(self, *names: str) -> None:
        """From now on every request meets these."""
        self.chaos.begin(Round([KNOWN[name] for name in names], severity=1.0))

    def calm(self) -> None:
        """From now on none does."""
        self.chaos.begin(Round())

    def ask(self, method: str = "PATCH") -> tuple[int, http.client.HTTPMessage, bytes] | None:
        """Status, fields and body; None if no whole answer came."""
        host, port = self.netloc.split(":")
        connection: http.client.HTTPConnection = http.client.HTTPConnection(host, int(port), timeout=ENDS_WITHIN_S)
        if self.trust is not None:
            connection = http.client.HTTPSConnection(host, int(port), timeout=ENDS_WITHIN_S, context=self.trust)
        try:
            connection.request(method, "/files/1", body=None if method == "GET" else BODY)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def ask_raw(self, count: int) -> bytes:
        """The first so many bytes of the answer to a PATCH; fewer if it ends before."""
        host, port = self.netloc.split(":")
        head = f"PATCH /files/1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        with socket.create_connection((host, int(port)), timeout=ENDS_WITHIN_S) as sock:
            sock.sendall(head + BODY)
            found = b""
            while len(found) < count and (data := sock.recv(65536)):
                found += data
        return found


@contextmanager
def place(tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None) -> Iterator[Place]:
    """It runs within the block."""
    with Server() as server, Chaos(seed=1) as chaos:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield Place(server, chaos, chaos.in_front_of(server.url, _kind_of, tls=tls), trust)
        finally:
            server.shutdown()
            serving.join(ENDS_WITHIN_S)
        assert chaos.bugs == []


def _kind_of(request: Head) -> str:
    return {"GET": "stream", "POST": "messages"}.get(request.method, "patch")


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as found:
        yield found


def test_without_misbehaviours_requests_and_answers_pass_unchanged(here: Place) -> None:
    answer = here.ask()
    assert answer is not None
    assert (answer[0], answer[1]["Upload-Offset"], answer[2]) == (200, str(len(BODY)), SAID)
    assert here.server.whole == [("PATCH", BODY)]


def test_without_misbehaviours_an_event_stream_passes_unchanged(here: Place) -> None:
    answer = here.ask("GET")
    assert answer is not None
    assert answer[2] == b"".join(EVENTS)


def test_over_tls_it_is_the_same() -> None:
    authority = trustme.CA()
    tls, trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(trust)
    with place(tls, trust) as there:
        answer = there.ask()
        assert answer is not None
        assert answer[2] == SAID
        there.play("lost-answer")
        assert there.ask() is None
        assert len(there.server.whole) == 2


@pytest.mark.parametrize("name", REQUESTS)
def test_no_misbehaviour_changes_a_byte_of_a_request(here: Place, name: str) -> None:
    method = "POST" if "patch" not in (KNOWN[name].kinds or {"patch"}) else "PATCH"
    here.play(name)
    for n in range(8):
        asking = threading.Thread(target=here.ask, args=(method,))
        asking.start()
        until(partial(_has_happened, here, name, n + 1), f"{name} for the request {n}")
        # Black holes end with their round.
        here.play(name)
        asking.join(ENDS_WITHIN_S)
        assert not asking.is_alive()
    here.calm()
    assert all(body == BODY for _, body in here.server.whole)
    assert all(BODY.startswith(body) for body in here.server.broken)


@pytest.mark.parametrize(
    ("name", "arrives", "is_answered"),
    [
        ("refused", 0, False),
        ("cut-request", 0, False),
        ("half-request", 0, False),
        ("repeated", 2, True),
        ("lost-answer", 1, False),
        ("late-answer", 1, True),
        ("late-request", 1, False),
        ("latency", 1, True),
        ("jitter", 1, True),
        ("trickle", 1, True),
        ("one-byte-writes", 1, True),
    ],
)
def test_the_server_gets_a_request_as_often_as_the_name_says(
    here: Place, name: str, arrives: int, is_answered: bool
) -> None:
    here.play(name)
    asking = threading.Thread(target=lambda: answers.append(here.ask()))
    answers: list[object] = []
    asking.start()
    until(lambda: here.chaos.counts[name] == 1, name)
    until(lambda: len(here.server.whole) >= arrives, f"{arrives} requests")
    here.calm()
    asking.join(ENDS_WITHIN_S)
    assert len(here.server.whole) == arrives
    assert (answers[0] is not None) is is_answered


@pytest.mark.parametrize("name", ["deaf", "never-answered"])
def test_a_black_hole_says_nothing_and_ends_with_its_round(here: Place, name: str) -> None:
    here.play(name)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(here.ask()))
    asking.start()
    until(lambda: here.chaos.counts[name] == 1, name)
    asking.join(0.2)
    assert answers == []
    here.calm()
    asking.join(ENDS_WITHIN_S)
    assert answers == [None]
    assert here.server.whole == []


def test_a_black_hole_that_lasts_is_ended_by_the_client(here: Place) -> None:
    here.chaos.begin(Round([KNOWN["deaf"]], severity=1.0, holes_last=True))
    host, port = here.netloc.split(":")
    with socket.create_connection((host, int(port))):
        until(lambda: here.chaos.counts["deaf"] == 1, "deaf")
        here.calm()
        assert here.chaos.held == []
    until(lambda: here.chaos.held, "the client's end is seen")
    assert here.chaos.held[0][1]


def test_a_flipped_bit_is_one_bit_of_the_answer_and_never_of_the_offset(here: Place) -> None:
    plain = here.ask_raw(_length(here))
    here.play("bit-flipped")
    for _ in range(60):
        found = here.ask_raw(len(plain))
        differing = [(a ^ b).bit_count() for a, b in zip(plain, found, strict=True)]
        assert sum(differing) == 1
        assert b"%d" % len(BODY) in found


def _has_happened(here: Place, name: str, times: int) -> bool:
    return here.chaos.counts[name] >= times


def _length(here: Place) -> int:
    head = here.ask_raw(1)
    while not head.endswith(SAID):
        head = here.ask_raw(len(head) + 1)
    return len(head)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("login-page", {200, 302}),
        ("bad-gateway", {502, 503, 504}),
        ("box-refuses", {409, 423, 429}),
        ("empty-success", {200, 204}),
    ],
)
def test_an_answer_of_another_box_is_not_the_servers(here: Place, name: str, statuses: set[int]) -> None:
    here.play(name)
    answers = [here.ask() for _ in range(12)]
    found = {answer[0] for answer in answers if answer is not None}
    assert found
    assert found <= statuses
    assert all(answer[2] != SAID for answer in answers if answer is not None)


def test_a_lowered_offset_is_never_above_the_true_one(here: Place) -> None:
    here.play("offset-lowered")
    answers = [here.ask() for _ in range(10)]
    offsets = [int(answer[1]["Upload-Offset"]) for answer in answers if answer is not None]
    assert len(offsets) == 10
    assert max(offsets) <= len(BODY)
    assert min(offsets) < len(BODY)


def test_truncated_json_has_the_length_it_claims(here: Place) -> None:
    here.play("json-truncated")
    for _ in range(5):
        answer = here.ask("POST")
        assert answer is not None
        assert SAID.startswith(answer[2])
        assert answer[2] != SAID


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("event-commented", {1, 2, 3}),
        ("event-in-pieces", {1, 2, 3}),
        ("event-line-ends", {1, 2, 3}),
        ("event-repeated", {1, 2, 3}),
        ("events-replayed", {1, 2, 3}),
        ("event-dropped", set()),
        ("greeting-cut", set()),
        ("event-cut", set()),
        ("chunk-garbled", set()),
    ],
)
def test_of_a_disturbed_event_stream_whole_events_arrive_as_the_name_says(
    here: Place, name: str, seen: set[int]
) -> None:
    here.play(name)
    host, port = here.netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=ENDS_WITHIN_S) as sock:
        sock.sendall(b"GET /files/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        with suppress(ConnectionResetError):
            while data := sock.recv(65536):
                found += data
    here.calm()
    body = b"".join(_chunks(found.partition(b"\r\n\r\n")[2])).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = [line for line in body.split(b"\n") if not line.startswith(b":")]
    whole = b"\n".join(lines)
    assert {n for n in (1, 2, 3) if EVENTS[n] in whole + b"\n"} == seen


def _chunks(data: bytes) -> Iterator[bytes]:
    """The chunks until one is garbled."""
    while True:
        size, _, rest = data.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            return
        if length <= 0 or rest[length : length + 2] != b"\r\n":
            return
        yield rest[:length]
        data = rest[length + 2 :]


def test_a_seed_decides_what_happens() -> None:
    def happened() -> list[str]:
        names = ["lost-answer", "repeated", "login-page", "cut-answer", "latency"]
        found = []
        with place() as there:
            there.chaos.begin(Round([KNOWN[name] for name in names], severity=0.6))
            for _ in range(12):
                before = dict(there.chaos.counts)
                there.ask()
                found.append(",".join(n for n in names if there.chaos.counts[n] != before.get(n, 0)))
        return found

    assert happened() == happened()
