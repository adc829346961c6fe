"""A control plane that does exactly what a test says, however wrong: raw HTTP/1.1 on a free port of this machine."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.streams.tls import TLSListener

WITHIN_S = 30.0
PROBLEM = "urn:sse-agent:problem:"
HELLO = {
    "protocol": 1,
    "now": "2026-11-22T10:30:00Z",
    "heartbeatSeconds": 15,
    "resume": True,
    "latest": "k1/9",
    "floor": "k1/1",
}


def command(command_id: str, kind: str = "HEARTBEAT", payload: object = None, **more: object) -> bytes:
    """An envelope for `agent-1`; what `more` names is set, or left out if None."""
    envelope = {
        "type": kind,
        "id": command_id,
        "timestamp": "2026-11-22T10:30:00Z",
        "clientId": "agent-1",
        "payload": {} if payload is None else payload,
        **more,
    }
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


@dataclass
class Request:
    """One request, waiting for what the test does with it. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    _wire: AnyByteStream
    _over: anyio.Event = field(default_factory=anyio.Event)
    _is_kept_alive: bool = True

    async def send(self, raw: bytes) -> None:
        """Bytes as they are. A client that has gone does not mind."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._wire.send(raw)

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `_` in header names stands for `-`."""
        lines = [f"HTTP/1.1 {status} Words"] + [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self._over.set()

    async def problem(self, status: int, slug: str, **headers: str) -> None:
        """An answer that is a problem document of the contract."""
        body = json.dumps({"type": PROBLEM + slug, "title": slug, "status": status}).encode()
        await self.answer(status, body, content_type="application/problem+json", **headers)

    async def cut(self) -> None:
        """Close the connection in the middle."""
        self._is_kept_alive = False
        self._over.set()

    async def gone(self) -> None:
        """Wait until the client closes its end."""
        with anyio.fail_after(WITHIN_S), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self._wire.receive()
        await self.cut()

    # --- a command stream ---

    async def open_stream(self, **hello: object) -> None:
        """200, and HELLO with these members changed."""
        await self.begin_stream()
        await self.say_hello(**hello)

    async def begin_stream(self, content_type: str = "text/event-stream", **headers: str) -> None:
        """Only the head of the answer."""
        fields = {"Content-Type": content_type, "Transfer-Encoding": "chunked", **headers}
        lines = ["HTTP/1.1 200 OK", *(f"{name.replace('_', '-')}: {text}" for name, text in fields.items()), "", ""]
        await self.send("\r\n".join(lines).encode())

    async def say_hello(self, **changes: object) -> None:
        """HELLO; a member that is None is left out."""
        hello = {name: value for name, value in {**HELLO, **changes}.items() if value is not None}
        await self.write(f"event: HELLO\ndata: {json.dumps(hello)}\n\n".encode())

    async def say(self, event_id: str, data: bytes, kind: str = "HEARTBEAT") -> None:
        """One event."""
        lines = b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
        await self.write(f"id: {event_id}\nevent: {kind}\n".encode() + lines + b"\n")

    async def say_alive(self) -> None:
        """A comment."""
        await self.write(b": alive\n\n")

    async def write(self, raw: bytes) -> None:
        """Bytes of the stream."""
        await self.send(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")

    async def end(self) -> None:
        """The stream ends as it should."""
        await self.send(b"0\r\n\r\n")
        self._over.set()

    # --- messages ---

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The envelopes of a POST, one or a batch."""
        body = json.loads(self.body)
        found: list[dict[str, Any]] = body.get("messages", [body])
        return found

    @property
    def ids(self) -> list[str]:
        """Their message IDs."""
        return [message["id"] for message in self.messages]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [message["type"] for message in self.messages]

    async def accept(self, **statuses: int) -> None:
        """Record them all, but those whose ID (`_` for `-`) has another status here."""
        of = {name.replace("_", "-"): status for name, status in statuses.items()}
        if "messages" not in json.loads(self.body):
            answer: object = {"id": self.ids[0], "status": 202}
            await self.answer(202, json.dumps(answer).encode(), content_type="application/json")
            return
        results = [{"id": name, "status": of.get(name, 202)} for name in self.ids]
        await self.answer(200, json.dumps({"results": results}).encode(), content_type="application/json")


@dataclass
class ControlPlane:
    """What is asked comes out of `stream_request` and `post`, in order; the test answers when it likes."""

    port: int
    scheme: str
    seen: list[Request] = field(default_factory=list)
    _queues: dict[str, tuple[MemoryObjectSendStream[Request], MemoryObjectReceiveStream[Request]]] = field(
        default_factory=dict
    )

    @property
    def url(self) -> str:
        """As a setting names it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def stream_request(self) -> Request:
        """The next GET."""
        return await self._next("GET")

    async def post(self) -> Request:
        """The next POST."""
        return await self._next("POST")

    async def _next(self, method: str) -> Request:
        with anyio.fail_after(WITHIN_S):
            return await self._queues[method][1].receive()

    async def serve(self, wire: AnyByteStream) -> None:
        """One connection."""
        async with wire:
            incoming = BufferedByteReceiveStream(wire)
            with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                while True:
                    request = await _read(incoming, wire)
                    self.seen.append(request)
                    await self._queues[request.method][0].send(request)
                    await request._over.wait()
                    if not request._is_kept_alive:
                        return


async def _read(incoming: BufferedByteReceiveStream, wire: AnyByteStream) -> Request:
    head = (await incoming.receive_until(b"\r\n\r\n", 65536)).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await incoming.receive_exactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, wire)


@asynccontextmanager
async def control_plane(tls: ssl.SSLContext | None = None) -> AsyncIterator[ControlPlane]:
    """A control plane that listens; everything of it is gone after the block."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port: int = listener.extra(SocketAttribute.local_port)
    plane = ControlPlane(port, "https" if tls else "http")
    for method in ("GET", "POST"):
        plane._queues[method] = anyio.create_memory_object_stream[Request](1000)
    serving = TLSListener(listener, tls, standard_compatible=False) if tls else listener
    async with serving:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(serving.serve, plane.serve)
                yield plane
                group.cancel_scope.cancel()
        finally:
            for sender, receiver in plane._queues.values():
                sender.close()
                receiver.close()


def retry_after(seconds: float) -> Mapping[str, str]:
    """As a header for `answer` and `problem`."""
    return {"retry_after": f"{seconds:g}"}
