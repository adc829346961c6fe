"""A control plane for one agent that ends streams in every way there is, and answers POSTs badly now and then."""

import json
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, Self

CLIENT = "agent-1"
TOKEN = "leak-test-token"
SAYS_ALIVE_S = 0.5
_PLACE = f"/api/v1/agents/{CLIENT}"


class Hole(Exception):
    """The connection ends here, in the way that its text says."""


class Plane:
    """A context manager. Until `calm` streams end as soon as they are good; then one is held, and all is well."""

    def __init__(self, tls: ssl.SSLContext, stranger: ssl.SSLContext, seed: int, *, only_good: bool) -> None:
        """`stranger` has a certificate that nobody trusts. `only_good`: streams end in the ways that are routine."""
        self._tls = tls
        self._stranger = stranger
        self._chance = random.Random(seed)
        self._ends = list(_GOOD) if only_good else [*_GOOD, *_BAD]
        self._only_good = only_good
        self._frames: list[tuple[str, bytes]] = []
        self._next = 0
        self._sockets: set[socket.socket] = set()
        self._bell = threading.Condition()
        self.is_calm = True
        self.ways: Counter[str] = Counter()
        self.streams = 0
        self.posts = 0
        self.finals: dict[str, str] = {}
        self.moves: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, name="plane", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listening)
        with self._bell:
            sockets = list(self._sockets)
        for sock in sockets:
            _close(sock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def give(self, command_id: str, kind: str, **payload: Any) -> None:
        """One command; it goes out with the next stream, or on the one that is held."""
        envelope = {"type": kind, "id": command_id, "timestamp": "2026-11-22T10:30:00Z", "clientId": CLIENT}
        with self._bell:
            self._frames.append((kind, json.dumps({**envelope, "payload": payload}).encode()))
            self._bell.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str, within_s: float) -> None:
        """Until it is so. Raises TimeoutError."""
        with self._bell:
            if not self._bell.wait_for(condition, within_s):
                raise TimeoutError(f"not within {within_s:g} s: {what}")

    def be_calm(self, is_calm: bool) -> None:
        """Whether streams are held."""
        with self._bell:
            self.is_calm = is_calm
            self._bell.notify_all()

    # --- connections ---

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), name="plane", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._bell:
            self._sockets.add(connection)
        wire: socket.socket = connection
        try:
            with suppress(OSError, ssl.SSLError, ValueError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                wire = self._greeted(connection)
                with self._bell:
                    self._sockets = (self._sockets - {connection}) | {wire}
                with wire.makefile("rb") as incoming:
                    while self._answer(wire, incoming):
                        pass
        except Hole as way:
            _end(wire, str(way))
        finally:
            _close(wire)
            with self._bell:
                self._sockets -= {connection, wire}

    def _greeted(self, connection: socket.socket) -> socket.socket:
        """TLS, unless it fails on purpose."""
        fate = "" if self.is_calm or self._only_good else self._pick({"": 92, "hung up": 3, "no TLS": 2, "stranger": 3})
        if fate:
            self._note(f"connection: {fate}")
        if fate == "hung up":
            raise Hole("reset")
        if fate == "no TLS":
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            raise Hole("FIN")
        return (self._stranger if fate == "stranger" else self._tls).wrap_socket(connection, server_side=True)

    def _answer(self, wire: socket.socket, incoming: BinaryIO) -> bool:
        """One request; whether there may be another."""
        line = incoming.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return False
        headers: dict[str, str] = {}
        while text := incoming.readline(65536).decode("latin-1").strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = incoming.read(int(headers.get("content-length", "0")))
        if line[0] == "GET":
            return self._stream(wire, line[1], headers)
        return self._message(wire, line[1], headers, body)

    # --- streams ---

    def _stream(self, wire: socket.socket, target: str, headers: dict[str, str]) -> bool:
        if target.endswith("?again"):
            return _whole(wire, 503, _problem("overloaded"), "application/problem+json")
        way = "" if self.is_calm else self._chance.choice(self._ends)
        with self._bell:
            self.streams += 1
            self._bell.notify_all()
        if way:
            self._note(f"stream: {way}")
        if way in _REFUSALS:
            status, media_type, more, body = _REFUSALS[way]
            return _whole(wire, status, body, media_type, **more)
        if way == "reset before the answer":
            raise Hole("reset")
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.sendall(head.encode())
        if way == "no HELLO":
            _chunk(wire, b"event: HEARTBEAT\ndata: {}\n\n")
            raise Hole("FIN")
        self._carry(wire, int(headers.get("last-event-id", "k1/0").partition("/")[2]), way)
        return True

    def _carry(self, wire: socket.socket, n: int, way: str) -> None:
        hello = {"protocol": 1, "now": "2026-11-22T10:30:00Z", "heartbeatSeconds": 15, "resume": True}
        with self._bell:
            latest = len(self._frames)
        hello["latest"] = f"k1/{latest}"
        if latest:
            hello["floor"] = "k1/1"
        _chunk(wire, b"event: HELLO\ndata: " + json.dumps(hello).encode() + b"\n\n:\n\n")
        n = self._send_from(wire, n)
        if way in _BREAKS:
            _BREAKS[way](wire, n)
        while not way and self.is_calm:
            with self._bell:
                self._bell.wait_for(lambda n=n: len(self._frames) > n or not self.is_calm, SAYS_ALIVE_S)  # type: ignore[misc]
            before, n = n, self._send_from(wire, n)
            if n == before:
                _chunk(wire, b":\n\n")
        wire.sendall(b"0\r\n\r\n")

    def _send_from(self, wire: socket.socket, n: int) -> int:
        with self._bell:
            waiting = self._frames[n : n + 20]
        for kind, data in waiting:
            n += 1
            _chunk(wire, f"id: k1/{n}\nevent: {kind}\ndata: ".encode() + data + b"\n\n")
        return n

    # --- messages ---

    def _message(self, wire: socket.socket, target: str, headers: dict[str, str], body: bytes) -> bool:
        with self._bell:
            self.posts += 1
        if target.endswith("/token"):
            return _whole(wire, 404, _problem("no-upload-tokens"), "application/problem+json")
        fate = "" if self.is_calm else self._pick({"": 92, "503": 2, "cut": 2, "reset": 2, "close": 2})
        if fate:
            self._note(f"POST: {fate}")
        if fate == "503":
            return _whole(wire, 503, _problem("overloaded"), "application/problem+json")
        parsed = json.loads(body)
        messages = parsed.get("messages", [parsed])
        for message in messages:
            self._record(message)
        if fate in ("cut", "reset"):
            raise Hole("FIN" if fate == "cut" else "reset")
        more = {"Connection": "close"} if fate == "close" else {}
        results = [{"id": message["id"], "status": 202} for message in messages]
        status, answer = (200, {"results": results}) if "messages" in parsed else (202, results[0])
        return _whole(wire, status, json.dumps(answer).encode(), "application/json", **more) and fate != "close"

    def _record(self, message: dict[str, Any]) -> None:
        payload = message["payload"]
        with self._bell:
            if message["type"] == "ACK" and payload["status"] != "accepted":
                self.finals[payload["commandId"]] = payload.get("error", {}).get("code") or payload["status"]
            self.moves[message["type"]] += 1
            self._bell.notify_all()

    def _pick(self, weights: dict[str, int]) -> str:
        with self._bell:
            return self._chance.choices(list(weights), list(weights.values()))[0]

    def _note(self, way: str) -> None:
        with self._bell:
            self.ways[way] += 1


def _cut_in_frame(wire: socket.socket, _: int) -> None:
    wire.sendall(b"40\r\n: half a fra")
    raise Hole("FIN")


def _reset_in_frame(wire: socket.socket, n: int) -> None:
    _chunk(wire, b"id: k1/%d\nevent: HEARTBEAT\nda" % (n + 1))
    raise Hole("reset")


def _hole(wire: socket.socket, n: int) -> None:
    """The agent has to leave by itself; so it must have closed its end."""
    _chunk(wire, b"id: k1/%d\nevent: HEARTBEAT\ndata: {}\n\n" % (n + 5))
    wire.settimeout(20)
    with suppress(OSError):
        while wire.recv(4096):
            pass
    raise Hole("FIN")


def _garble(wire: socket.socket, _: int) -> None:
    wire.sendall(b"this is no chunk\r\n")
    raise Hole("FIN")


def _hang_up(wire: socket.socket, _: int) -> None:
    raise Hole("FIN")


def _reset(wire: socket.socket, _: int) -> None:
    raise Hole("reset")


_GOOD = ("ended", "ended", "FIN", "reset", "cut in a frame")
_BREAKS: dict[str, Callable[[socket.socket, int], None]] = {
    "FIN": _hang_up,
    "reset": _reset,
    "cut in a frame": _cut_in_frame,
    "reset in a frame": _reset_in_frame,
    "hole": _hole,
    "garbled": _garble,
}


def _problem(slug: str) -> bytes:
    return json.dumps({"type": f"urn:sse-agent:problem:{slug}", "title": slug}).encode()


_REFUSALS: dict[str, tuple[int, str, dict[str, str], bytes]] = {
    "503": (503, "application/problem+json", {}, _problem("overloaded")),
    "401": (401, "application/problem+json", {}, _problem("unauthenticated")),
    "204": (204, "text/plain", {}, b""),
    "login page": (200, "text/html", {}, b"<html>" + b"please log in " * 2000),
    "redirect": (307, "text/plain", {"Location": f"{_PLACE}/stream?again"}, b"over there"),
    "elsewhere": (302, "text/html", {"Location": "https://login.example.com/"}, b"over there"),
}
_BAD = ("reset in a frame", "hole", "garbled", "no HELLO", "reset before the answer", *_REFUSALS)


def _whole(wire: socket.socket, status: int, body: bytes, media_type: str, **more: str) -> bool:
    fields = {"Content-Type": media_type, **({} if status == 204 else {"Content-Length": str(len(body))}), **more}
    lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    wire.sendall("\r\n".join(lines).encode() + body)
    return True


def _chunk(wire: socket.socket, data: bytes) -> None:
    wire.sendall(b"%x\r\n%s\r\n" % (len(data), data))


def _end(sock: socket.socket, way: str) -> None:
    """Without TLS's farewell. `reset`: the other end gets RST."""
    with suppress(OSError):
        if way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    sock.close()


def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether it came true in time: for what another process comes to by itself and tells nobody."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
