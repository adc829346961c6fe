"""The oracle's doors: commands, messages, upload tokens. It misbehaves as networks do, but forgets nothing."""

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from scripts.crash_test_harness.faults import Faults
from scripts.crash_test_harness.ledger import CLIENT, Ledger
from scripts.crash_test_harness.tokens import Tokens

TOKEN = "crash-test-token"
HEARTBEAT_S = 1.0
REPEATED = 3
_PLACE = f"/api/v1/agents/{CLIENT}"
_TOKEN = re.compile(rf"{_PLACE}/uploads/([^/]+)/token")
_FIRST = re.compile(rb'\s*\{\s*"messages"\s*:\s*\[\s*')


class Ambush:
    """Waits for a POST and holds it until the agent is dead: before it is recorded, or before it is answered."""

    LONGEST_S = 5.0

    def __init__(self, *, is_recorded: bool) -> None:
        self.is_recorded = is_recorded
        self._has_come = threading.Event()
        self._is_over = threading.Event()

    def wait(self, within_s: float) -> bool:
        """Whether one came."""
        return self._has_come.wait(within_s)

    def hold(self, *, is_recorded: bool) -> None:
        """From the POST, at both places."""
        if is_recorded == self.is_recorded and not self._is_over.is_set():
            self._has_come.set()
            self._is_over.wait(self.LONGEST_S)

    def end(self) -> None:
        """What is held goes on."""
        self._is_over.set()


class Oracle(ThreadingHTTPServer):
    """A context manager; `url` is the control plane's address for the agent."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, ledger: Ledger, faults: Faults, tokens: Tokens) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ledger = ledger
        self.faults = faults
        self.tokens = tokens
        self.is_ending = False
        self.open_posts = 0
        self.ambush = Ambush(is_recorded=False)
        self.ambush.end()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="oracle", daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.is_ending = True
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections of killed agents break; anything else must not be overlooked."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.ledger.complain(f"the oracle itself failed: {error!r}")


class _Cut(ConnectionError):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Oracle

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing to say."""

    # --- the command stream ---

    def do_GET(self) -> None:
        if self.path != f"{_PLACE}/stream" or not self._is_welcome():
            return
        fault = self.server.faults.of_stream()
        if fault == "503":
            self._problem(503, "overloaded")
            return
        ledger = self.server.ledger
        hello, n = ledger.open_stream(
            self.headers.get("Last-Event-ID"), is_restored=self.server.faults.happens("restoring")
        )
        if self.server.faults.happens("repeating"):
            n = max(0, n - REPEATED)
        number, numbering = ledger.streams, ledger.numbering
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache, no-transform")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._frame(b"event: HELLO\ndata: " + json.dumps(hello).encode() + b"\n\n")
        if fault == "cut at once":
            self._cut()
        while not self.server.is_ending and (ledger.streams, ledger.numbering) == (number, numbering):
            n = self._next_frames(number, n)

    def _next_frames(self, number: int, n: int) -> int:
        """Send what waits behind command `n`, or a sign of life. Returns the new `n`."""
        ledger = self.server.ledger
        with ledger.condition:
            ledger.condition.wait_for(lambda: len(ledger.frames) > n or ledger.streams != number, HEARTBEAT_S)
            if ledger.streams != number:
                return n
            waiting = [(ledger.event_id(n + 1 + i), frame) for i, frame in enumerate(ledger.frames[n : n + 20])]
        for event_id, frame in waiting:
            text = f"id: {event_id}\nevent: {frame.type}\ndata: ".encode() + frame.data + b"\n\n"
            if self.server.faults.cuts_frame():
                self._frame(text[: len(text) // 2])
                self._cut()
            self._frame(text)
        if not waiting:
            self._frame(b": alive\n")
        return n + len(waiting)

    def _frame(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    # --- messages ---

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it died meanwhile.
            self._cut()
        if not self._is_welcome():
            return
        file_id = _TOKEN.fullmatch(self.path)
        if self.path != f"{_PLACE}/messages" and file_id is None:
            self._problem(404, "not-found")
            return
        self.server.open_posts += 1
        try:
            if file_id is None:
                self._take(body)
            else:
                self._renew(file_id[1])
        finally:
            self.server.open_posts -= 1

    def _renew(self, file_id: str) -> None:
        """An upload token. Not idempotent: after an answer that got lost there is one more."""
        fault = self.server.faults.of_post()
        if fault == "503":
            self._problem(503, "overloaded")
            return
        token = self.server.tokens.mint(file_id)
        if fault.startswith("cut"):
            self._cut()
        self._json(201, {"token": token, "expiresAt": (datetime.now(UTC) + timedelta(minutes=10)).isoformat()})

    def _take(self, body: bytes) -> None:
        ledger, fault = self.server.ledger, self.server.faults.of_post()
        if fault == "503":
            self._problem(503, "overloaded")
            return
        if fault == "cut before":
            self._cut()
        parts = list(split(body))
        if self.headers.get("Idempotency-Key") != parts[0][1]["id"]:
            ledger.complain("a POST's Idempotency-Key is not the ID of its first message")
        if fault == "cut half-way":
            parts = parts[: (len(parts) + 1) // 2]
        postponed = parts[-1][1]["id"] if fault == "in progress" else None
        epoch = int(self.headers["Agent-Epoch"])
        ambush = self.server.ambush
        ambush.hold(is_recorded=False)
        results = []
        for raw, envelope in parts:
            status = 409 if envelope["id"] == postponed else self._record(raw, envelope, epoch)
            results.append({"id": envelope["id"], "status": status})
        ambush.hold(is_recorded=True)
        trap = ledger.trap
        if trap is not None and trap.sprung.is_set():
            ledger.trap = None
            self._cut()
        if fault.startswith("cut"):
            self._cut()
        if fault == "slow":
            time.sleep(0.3)
        self._answer(results, is_batch=body.startswith(b'{"messages"'))

    def _record(self, raw: bytes, envelope: Mapping[str, Any], epoch: int) -> int:
        """As the ledger says; but by chance a message is refused for good, and then always."""
        ledger, message_id = self.server.ledger, str(envelope["id"])
        status = ledger.record(raw, envelope, epoch)
        if status == 202 and envelope.get("inReplyTo") and self.server.faults.happens("burying"):
            ledger.bury(message_id)
        return 422 if message_id in ledger.buried else status

    def _answer(self, results: list[dict[str, Any]], *, is_batch: bool) -> None:
        if is_batch:
            self._json(200, {"results": [_with_type(result) for result in results]})
        elif results[0]["status"] in (200, 202):
            self._json(results[0]["status"], results[0])
        else:
            self._problem(results[0]["status"], _SLUGS[results[0]["status"]])

    # --- both ---

    def _is_welcome(self) -> bool:
        """Known, and of the newest epoch; else it has been answered."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._problem(401, "unauthorized")
            return False
        fields = self.headers
        if not self.server.ledger.claim(fields["Agent-Journal"], int(fields["Agent-Epoch"]), fields["Agent-Instance"]):
            self._problem(409, "newer-epoch")
            return False
        return True

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        raise _Cut

    def _problem(self, status: int, slug: str) -> None:
        problem = {"type": f"urn:sse-agent:problem:{slug}", "status": status}
        self._json(status, problem, "application/problem+json")

    def _json(self, status: int, value: Mapping[str, Any], media_type: str = "application/json") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_SLUGS = {409: "in-progress", 422: "other-body"}


def _with_type(result: dict[str, Any]) -> dict[str, Any]:
    slug = _SLUGS.get(result["status"])
    return {**result, "type": f"urn:sse-agent:problem:{slug}"} if slug else result


def split(body: bytes) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """The envelopes of a POST, each with its bytes exactly as they came."""
    first = _FIRST.match(body)
    if first is None:
        yield body, json.loads(body)
        return
    text, at = body.decode(), len(body[: first.end()].decode())
    decoder = json.JSONDecoder()
    while text[at] != "]":
        envelope, end = decoder.raw_decode(text, at)
        yield text[at:end].encode(), envelope
        at = end
        while text[at] in " ,\n":
            at += 1
