"""Commands down: the stream and the long poll. Bare ASGI, for a machine shall hold ten thousand of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs

import pydantic_core
from starlette.types import Receive, Scope, Send

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.access import Access, AgentCall
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells, agent_topic, rang
from sse_agent.control_plane.engine import Engine, Greeting, QueuedCommand, Superseded
from sse_agent.control_plane.problems import NotAcceptable, Problem

POLL_LIMIT_S = 60.0
POLL_DEFAULT_S = 25.0
DRAIN_RETRY_MS = (500, 5000)
PAST_EXPIRY_S = 60.0
"""A stream outlives its token by that, so that the next one is opened before it is closed."""
SSE_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Streams:
    """`GET /api/v1/agents/{clientId}/stream`."""

    def __init__(
        self, engine: Engine, access: Access, bells: Bells, attendance: Attendance, clock: Clock, heartbeat_s: int
    ) -> None:
        self._engine = engine
        self._access = access
        self._bells = bells
        self._attendance = attendance
        self._clock = clock
        self._heartbeat_s = heartbeat_s

    async def serve(self, client_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer, whatever it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            call = await self._access.require_agent(client_id, headers)
            cursor = headers.get("last-event-id")
            is_stream, is_poll = accepts(headers, "text/event-stream"), accepts(headers, "application/json")
            # A kilobyte or two that nobody needs any more, for as long as the stream lasts.
            headers.clear()
            if is_stream:
                await self._stream(call, cursor, receive, send)
            elif is_poll:
                await self._poll(call, cursor, scope, receive, send)
            else:
                raise NotAcceptable
        except Problem as problem:
            await problem.send(send)

    # --- the stream ---

    async def _stream(self, call: AgentCall, cursor: str | None, receive: Receive, send: Send) -> None:
        client_id, speaker = call.client_id, call.speaker
        with self._bells.listening(agent_topic(client_id)) as bell:
            greeting = await self._engine.claim(client_id, speaker, cursor, opens_stream=True)
            with self._attendance.holding(client_id, "sse"):
                async with leaving(receive, bell) as has_left:
                    try:
                        await self._within(send, {"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
                        # With a comment behind it: some boxes hold one message back until the next one comes.
                        await self._write(send, f"event: HELLO\ndata: {self._hello(greeting)}\n\n:\n\n".encode())
                        with suppress(Superseded, Problem):
                            # 200 is out: a Problem (the disk is full, say) can only end the stream. The agent comes
                            # back, and is told then.
                            await self._carry(call, greeting, bell, has_left, send)
                        await self._within(send, {"type": "http.response.body", "body": b""})
                    except TimeoutError:
                        return

    async def _carry(
        self, call: AgentCall, greeting: Greeting, bell: asyncio.Event, has_left: asyncio.Event, send: Send
    ) -> None:
        """Until the agent leaves, another stream takes over (Superseded), its token is over, or the server stops."""
        client_id, speaker, after_n = call.client_id, call.speaker, greeting.after_n
        ends_at = self._ends_at(call)
        # Not the time since the last look: a bell that rings for nothing must not put the heartbeat off.
        beat_at = self._clock.monotonic() + self._heartbeat_s
        while not has_left.is_set():
            bell.clear()
            if await self._access.is_over(call):
                return
            page = await self._engine.take(client_id, speaker, greeting.ticket, after_n=after_n)
            if page:
                await self._write(send, b"".join(_frame(command) for command in page))
                after_n = page[-1].n
                beat_at = self._clock.monotonic() + self._heartbeat_s
            elif self._bells.is_draining:
                # Without the jitter all agents of a restarted control plane would come back at the same moment.
                await self._write(send, b"retry: %d\n\n" % random.randint(*DRAIN_RETRY_MS))  # noqa: S311
                return
            elif self._clock.monotonic() >= ends_at:
                return
            elif not await rang(bell, min(beat_at, ends_at) - self._clock.monotonic()):
                await self._write(send, b":\n\n")
                self._attendance.seen(client_id)
                beat_at = self._clock.monotonic() + self._heartbeat_s

    async def _write(self, send: Send, body: bytes) -> None:
        await self._within(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _within(self, send: Send, message: Any) -> None:
        """A reader that stalls holds no memory for ever. Raises TimeoutError."""
        async with asyncio.timeout(3 * self._heartbeat_s):
            await send(message)

    # --- long polling ---

    async def _poll(self, call: AgentCall, cursor: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        client_id, speaker = call.client_id, call.speaker
        until = min(self._clock.monotonic() + _wait_s(scope, POLL_DEFAULT_S), self._ends_at(call))
        with self._bells.listening(agent_topic(client_id)) as bell:
            greeting = await self._engine.claim(client_id, speaker, cursor, opens_stream=False)
            # Only now: whoever is refused is not the agent, and must not make it look present.
            with self._attendance.holding(client_id, "polling"):
                async with leaving(receive, bell) as has_left:
                    page = await self._wait(call, greeting, bell, has_left, until)
        if has_left.is_set():
            return
        events = b",".join(b'{"id":"%s","message":%s}' % (c.event_id.encode(), c.body) for c in page)
        body = b'{"hello":%s,"events":[%s]}' % (self._hello(greeting).encode(), events)
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        with suppress(TimeoutError):
            await self._within(send, {"type": "http.response.start", "status": 200, "headers": headers})
            await self._within(send, {"type": "http.response.body", "body": body})

    async def _wait(
        self, call: AgentCall, greeting: Greeting, bell: asyncio.Event, has_left: asyncio.Event, until: float
    ) -> Sequence[QueuedCommand]:
        """The first page, or nothing: time is up, the server stops, a reset must be told, or the agent has left."""
        client_id, speaker = call.client_id, call.speaker
        while not has_left.is_set():
            bell.clear()
            if await self._access.is_over(call):
                # The next poll is told so.
                break
            try:
                page = await self._engine.take(client_id, speaker, None, after_n=greeting.after_n)
            except Superseded:
                # This says which problem it is; if none, the next poll goes on.
                await self._engine.verify(client_id, speaker)
                break
            left_s = until - self._clock.monotonic()
            if page or left_s <= 0 or greeting.reason is not None or self._bells.is_draining:
                return page
            if not await rang(bell, left_s):
                break
        return ()

    def _ends_at(self, call: AgentCall) -> float:
        """When the stream ends with its token, monotonic."""
        if call.ends_at is None:
            return float("inf")
        left_s = (call.ends_at - self._clock.now()).total_seconds()
        return self._clock.monotonic() + max(0.0, left_s + PAST_EXPIRY_S)

    def _hello(self, greeting: Greeting) -> str:
        hello: dict[str, Any] = {
            "protocol": 1,
            "now": timestamp(self._clock.now()),
            "heartbeatSeconds": self._heartbeat_s,
            "resume": greeting.reason is None,
            "latest": f"{greeting.numbering}/{greeting.latest_n}",
        }
        if greeting.latest_n >= greeting.floor_n:
            hello["floor"] = f"{greeting.numbering}/{greeting.floor_n}"
        if greeting.reason is not None:
            hello["reason"] = greeting.reason
            hello["reset"] = {"cursor": f"{greeting.numbering}/{greeting.after_n}", "since": greeting.since}
        return pydantic_core.to_json(hello).decode()


def _frame(command: QueuedCommand) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (command.event_id.encode(), command.type.encode(), command.body)


def accepts(headers: Mapping[str, str], media_type: str) -> bool:
    wanted = [part.partition(";")[0].strip().lower() for part in headers.get("accept", "*/*").split(",")]
    return media_type in wanted or ("*/*" in wanted and media_type == "text/event-stream")


def _wait_s(scope: Scope, default: float) -> float:
    found = parse_qs(scope["query_string"].decode("latin-1")).get("wait", [""])[0]
    return min(float(found), POLL_LIMIT_S) if found.isascii() and found.isdigit() and len(found) <= 4 else default


@asynccontextmanager
async def leaving(receive: Receive, bell: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the agent closes its end; the bell rings with it."""
    has_left = asyncio.Event()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left.set()
        bell.set()

    watching = asyncio.create_task(watch())
    try:
        yield has_left
    finally:
        watching.cancel()
