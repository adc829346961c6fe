"""Control plane and tus server of the power-cut harness: loopback, threads, and a world behind them that can change."""

import base64
import json
import random
import re
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from scripts.power_cut_harness.world import CLIENT, NUMBERING, Stored, World

TOKEN = "power-cut-token"
HEARTBEAT_S = 0.5
BODY_LIMIT = 256 * 1024
BLOCK = 32 * 1024
_PLACE = f"/api/v1/agents/{CLIENT}"
_FIRST = re.compile(rb'\s*\{\s*"messages"\s*:\s*\[\s*')


@dataclass
class Door:
    """What a connection leads to: the world of its time, even if another one has come since."""

    world: World
    chance: random.Random
    is_rough: bool
    is_shut: bool = False
    errors: list[str] = field(default_factory=list)
    holders: dict[str, object] = field(default_factory=dict)
    """Of an upload the last request: an earlier one that is still at it must not add to what that one saw."""

    def happens(self, share: float) -> bool:
        """Whether something goes wrong on the way."""
        return self.is_rough and self.chance.random() < share


class Server(ThreadingHTTPServer):
    """A context manager. `open_door` says which world new connections lead to."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    door: Door

    def __init__(self, handler: "type[_Handler]") -> None:
        super().__init__(("127.0.0.1", 0), handler)

    def open_door(self, door: Door) -> None:
        """Connections that are open stay with the world that they had."""
        self.door = door

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.RequestHandlerClass(request, client_address, self.door)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.door.is_shut = True
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break; anything else must not be overlooked."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.door.errors.append(f"the harness itself failed: {error!r}")


class _Cut(ConnectionError):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Door  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing to say."""

    @property
    def world(self) -> World:
        return self.server.world

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204 and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        raise _Cut


class ControlPlaneHandler(_Handler):
    """The command stream and the messages."""

    def do_GET(self) -> None:
        self._claim()
        if self.server.happens(0.05):
            self._problem(503, "overloaded")
            return
        n = self.world.note("connect", self.headers.get("Last-Event-ID"))
        if self.server.happens(0.3):
            # An acknowledgement may have got lost: the last commands come once more.
            n = max(0, n - self.server.chance.randint(1, 3))
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"event: HELLO\ndata: " + json.dumps(self._hello()).encode() + b"\n\n")
        while not self.server.is_shut:
            n = self._send_from(n)

    def _hello(self) -> dict[str, Any]:
        count = len(self.world.facts.queue)
        hello = {
            "protocol": 1,
            "now": datetime.now(UTC).isoformat(),
            "heartbeatSeconds": 10,
            "resume": True,
            "latest": f"{NUMBERING}/{count}",
        }
        return {**hello, "floor": f"{NUMBERING}/1"} if count else hello

    def _send_from(self, n: int) -> int:
        with self.world.condition:
            queue = self.world.facts.queue
            self.world.condition.wait_for(lambda: len(queue) > n or self.server.is_shut, HEARTBEAT_S)
            waiting = queue[n : n + 10]
        for number, given in enumerate(waiting, n + 1):
            if self.server.happens(0.01):
                self.cut()
            head = f"id: {NUMBERING}/{number}\nevent: {given.type}\ndata: ".encode()
            self._chunk(head + given.data + b"\n\n")
        if not waiting:
            self._chunk(b": alive\n")
        return n + len(waiting)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            self.cut()
        self._claim()
        if self.path != f"{_PLACE}/messages":
            self._problem(404, "not-found")
            return
        if self.server.happens(0.03):
            self._problem(503, "overloaded")
            return
        results = [{"id": json.loads(raw)["id"], "status": self.world.note("record", raw)} for raw in split(body)]
        if self.server.happens(0.06):
            self.cut()
        self.world.note("receipt", [result["id"] for result in results if result["status"] in (200, 202)])
        self._report(results, is_batch=body.startswith(b'{"messages"'))

    def _report(self, results: list[dict[str, Any]], *, is_batch: bool) -> None:
        if is_batch:
            for result in results:
                if result["status"] == 422:
                    result["type"] = "urn:sse-agent:problem:other-body"
            self._json(200, {"results": results})
        elif results[0]["status"] == 422:
            self._problem(422, "other-body")
        else:
            self._json(results[0]["status"], results[0])

    def _claim(self) -> None:
        self.world.note("claim", self.headers["Agent-Journal"], int(self.headers["Agent-Epoch"]))

    def _problem(self, status: int, slug: str) -> None:
        problem = {"type": f"urn:sse-agent:problem:{slug}", "status": status}
        self._json(status, problem, "application/problem+json")

    def _json(self, status: int, value: object, media_type: str = "application/json") -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type=media_type)


class TusHandler(_Handler):
    """Creation, offsets, bytes and termination; requests of more than 256 KiB are refused, as by a proxy."""

    def do_POST(self) -> None:
        metadata = dict(_decoded(part) for part in self.headers["Upload-Metadata"].split(","))
        upload_id, size = uuid.uuid4().hex, int(self.headers["Upload-Length"])
        self.world.note("create", upload_id, metadata["fileId"], size)
        if self.server.happens(0.04):
            self.cut()
        self._tus(201, Location=f"/files/{upload_id}", Upload_Offset="0")

    def do_HEAD(self) -> None:
        stored = self._held(object())
        if stored is None or stored.is_deleted:
            self._tus(404)
        else:
            fields = {"Upload_Length": str(stored.size), "Upload_Offset": str(len(stored.data))}
            self._tus(200, Cache_Control="no-store", **fields)

    def do_PATCH(self) -> None:
        request, upload_id, offset = object(), self._upload_id(), int(self.headers["Upload-Offset"])
        stored = self._held(request)
        left, is_taken = int(self.headers["Content-Length"]), False
        if stored is not None and not stored.is_deleted:
            is_taken = left <= BODY_LIMIT and offset == len(stored.data)
            breaks_at = self.server.chance.randrange(left) if self.server.happens(0.04) else -1
            while left and (data := self.rfile.read1(min(BLOCK, left))):
                left, offset = left - len(data), offset + len(data)
                with self.world.condition:
                    is_held = self.server.holders[upload_id] is request
                    self.world.note("take", upload_id, offset, data if is_taken and is_held else b"")
                if not is_held:
                    self.cut()
                if left <= breaks_at:
                    self.cut()
        if left or stored is None or stored.is_deleted:
            self._tus(404)
            self.cut()
        elif is_taken:
            if self.server.happens(0.04):
                self.cut()
            self._tus(204, Upload_Offset=str(offset))
        else:
            self._tus(413 if int(self.headers["Content-Length"]) > BODY_LIMIT else 409)

    def do_DELETE(self) -> None:
        if self._upload_id() in self.world.facts.uploads:
            self.world.note("delete", self._upload_id())
        self._tus(204)

    def _held(self, request: object) -> Stored | None:
        with self.world.condition:
            self.server.holders[self._upload_id()] = request
            return self.world.facts.uploads.get(self._upload_id())

    def _upload_id(self) -> str:
        return self.path.rpartition("/")[2]

    def _tus(self, status: int, **headers: str) -> None:
        self.answer(status, b"", Tus_Resumable="1.0.0", **headers)


def _decoded(part: str) -> tuple[str, str]:
    key, _, value = part.strip().partition(" ")
    return key, base64.b64decode(value).decode()


def split(body: bytes) -> Iterator[bytes]:
    """The envelopes of a POST, each with its bytes exactly as they came."""
    first = _FIRST.match(body)
    if first is None:
        yield body
        return
    text, at = body.decode(), len(body[: first.end()].decode())
    decoder = json.JSONDecoder()
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        yield text[at:end].encode()
        at = end
        while text[at] in " ,\n":
            at += 1
