"""The real control plane, which makes one of the `MISTAKES` at a time: `PUT /mistake` with its name, or nothing.

Run as `python -m tests.conformance.broken`, with the settings of `sse-agent control-plane`.
"""

import sys
from typing import Any

import anyio

from sse_agent import cli
from sse_agent.control_plane import server
from sse_agent.control_plane.sqlite import SqliteEngine
from tests.conformance.bending import Exchange, Mistake
from tests.conformance.mistakes import MISTAKES

LATE_S = 60.0
_now = {"name": ""}
_state: dict[str, Any] = {}
_intact, _intact_take = server.ControlPlane.__call__, SqliteEngine.take


async def _call(self: Any, scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await _intact(self, scope, receive, send)
        return
    if scope["path"] == "/mistake":
        _now["name"] = (await _body(receive)).decode()
        await _send(send, 204, {}, b"")
        return
    mistake = MISTAKES.get(_now["name"])
    if mistake is None:
        await _intact(self, scope, receive, send)
    else:
        await _bent(self, mistake, scope, receive, send)


async def _take(self: Any, client_id: str, speaker: Any, ticket: Any, **more: Any) -> Any:
    return await _intact_take(self, client_id, speaker, None if "older stream" in _now["name"] else ticket, **more)


async def _bent(self: Any, mistake: Mistake, scope: Any, receive: Any, send: Any) -> None:
    body = await _body(receive) if scope["method"] == "POST" else b""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    exchange = Exchange(scope["method"], scope["path"], scope["query_string"].decode(), headers, body, state=_state)
    if mistake.asked:
        mistake.asked(exchange)
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in exchange.headers.items() if value]
    bent = {**scope, "path": exchange.path, "raw_path": exchange.path.encode(), "headers": encoded}
    bent["query_string"] = exchange.query.encode()
    if body:
        bent["headers"] = [pair for pair in encoded if pair[0] != b"content-length"]
        bent["headers"].append((b"content-length", str(len(exchange.body)).encode()))
    is_read = False

    async def receive_bent() -> Any:
        nonlocal is_read
        if not is_read and scope["method"] == "POST":
            is_read = True
            return {"type": "http.request", "body": exchange.body, "more_body": False}
        return await receive()

    async def send_bent(message: Any) -> None:
        if message["type"] == "http.response.start":
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            exchange.status, exchange.answer_headers = message["status"], dict(pairs)
            exchange.memory["is stream"] = exchange.answer_headers.get("content-type") == "text/event-stream"
            if exchange.memory["is stream"]:
                if mistake.head:
                    mistake.head(exchange)
                await send({**message, "headers": _encoded(exchange.answer_headers)})
        elif exchange.memory["is stream"]:
            if mistake.is_deaf:
                await anyio.sleep(LATE_S)
            chunk = message.get("body", b"")
            if mistake.streamed and chunk:
                chunk = mistake.streamed(exchange, chunk)
            await send({**message, "body": chunk})
        else:
            exchange.answer += message.get("body", b"")
            if not message.get("more_body"):
                if mistake.answered:
                    mistake.answered(exchange)
                await _send(send, exchange.status, exchange.answer_headers, exchange.answer)

    await _intact(self, bent, receive_bent, send_bent)


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    length = {} if status == 204 else {"content-length": str(len(body))}
    await send({"type": "http.response.start", "status": status, "headers": _encoded({**headers, **length})})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


if __name__ == "__main__":
    server.ControlPlane.__call__ = _call  # type: ignore[method-assign]
    SqliteEngine.take = _take  # type: ignore[method-assign]
    sys.exit(cli.main(["control-plane"]))
