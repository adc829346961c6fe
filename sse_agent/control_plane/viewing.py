"""`GET /api/v1/stream`: everything that agents report, for live pages and services. Bare ASGI, as streams.py is."""

import asyncio
import random
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pydantic_core
from starlette.types import Receive, Scope, Send

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane import news
from sse_agent.control_plane.access import Access, Viewer
from sse_agent.control_plane.bells import Bells, rang
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.news import News
from sse_agent.control_plane.problems import InvalidParameter, NotAcceptable, NotAllowed, Problem
from sse_agent.control_plane.streams import DRAIN_RETRY_MS, SSE_HEADERS, accepts, leaving
from sse_agent.control_plane.viewers import View, Viewers

PATH = "/api/v1/stream"
TOPIC = "viewers"
REPLAY_LIMIT = 10_000
"""Reports, of all agents, that a viewer may have missed and is still told one by one."""
PAST_EXPIRY_S = 60.0
AGENTS_LIMIT = 100
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(slots=True)
class _Sight:
    """How one stream goes on. `told_n`: the last position that the viewer knows."""

    view: View
    after_n: int
    told_n: int
    ends_at: float


class Viewing:
    """The endpoint. A viewer says where it was with `Last-Event-ID`, and names agents with `?agent=`, if it likes."""

    def __init__(
        self, engine: Engine, access: Access, viewers: Viewers, bells: Bells, clock: Clock, heartbeat_s: int
    ) -> None:
        self._engine = engine
        self._access = access
        self._viewers = viewers
        self._bells = bells
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._instance = uuid4().hex
        """Of another one everything that is not durable may have been missed."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer, whatever it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            viewer = await self._access.require_viewer(headers)
            if not accepts(headers, "text/event-stream"):
                raise NotAcceptable("this stream is text/event-stream")
            view = View(_wanted(viewer, scope), viewer.is_service, viewer.scopes)
            with self._viewers.joined(view), self._bells.listening(TOPIC) as draining:
                await self._stream(view, self._ends_at(viewer), headers.get("last-event-id"), draining, receive, send)
        except Problem as problem:
            await problem.send(send)

    async def _stream(
        self, view: View, ends_at: float, cursor: str | None, draining: asyncio.Event, receive: Receive, send: Send
    ) -> None:
        end_n = await self._engine.feed_end()
        after_n, reason = await self._position(cursor, end_n)
        async with leaving(receive, view.mailbox.bell) as has_left:
            ringing = asyncio.create_task(_pass_on(draining, view.mailbox.bell))
            try:
                await self._within(send, {"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
                # With a comment behind it: some boxes hold one message back until the next one comes.
                await self._write(send, self._hello(view, after_n, reason) + b":\n\n")
                with suppress(Problem):
                    # 200 is out: the stream can only end. The viewer comes back, and is told then.
                    await self._carry(_Sight(view, after_n, after_n, ends_at), has_left, send)
                await self._within(send, {"type": "http.response.body", "body": b""})
            except TimeoutError:
                return
            finally:
                ringing.cancel()

    async def _carry(self, sight: _Sight, has_left: asyncio.Event, send: Send) -> None:
        """Until the viewer leaves, its token is over, or the server stops."""
        mailbox = sight.view.mailbox
        beat_at = self._clock.monotonic() + self._heartbeat_s
        while not has_left.is_set():
            mailbox.bell.clear()
            now = self._clock.monotonic()
            if mailbox.is_overrun:
                mailbox.empty()
                sight.after_n = sight.told_n = await self._engine.feed_end()
                await self._write(send, self._reset(sight.after_n, "too-much"))
                continue
            body, is_whole = await self._next(sight, now)
            if body:
                await self._write(send, body)
                beat_at = self._clock.monotonic() + self._heartbeat_s
            elif not is_whole:
                continue
            elif self._bells.is_draining or now >= sight.ends_at:
                await self._write(send, b"retry: %d\n\n" % random.randint(*DRAIN_RETRY_MS))  # noqa: S311
                return
            elif now >= beat_at:
                # Nothing was for this viewer; its position moves all the same.
                await self._write(send, news.moved(sight.after_n) if sight.after_n != sight.told_n else b":\n\n")
                sight.told_n = sight.after_n
                beat_at = now + self._heartbeat_s
            else:
                await rang(mailbox.bell, min(beat_at, mailbox.due_at(), sight.ends_at) - now)

    async def _next(self, sight: _Sight, now: float) -> tuple[bytes, bool]:
        """What is to be told now, and whether that was all that is there."""
        page = await self._viewers.page(sight.after_n)
        frames = []
        for told in page:
            if sight.view.sees(told.client_id):
                frames.append(told.for_services if sight.view.is_service else told.for_people)
                sight.told_n = told.n
            sight.after_n = told.n
        return b"".join([*frames, *sight.view.mailbox.take(now)]), not page

    async def _position(self, cursor: str | None, end_n: int) -> tuple[int, str | None]:
        """Where a viewer goes on, and why it must read everything again, if so."""
        if cursor is None:
            return end_n, None
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18) or int(cursor) > end_n:
            return end_n, "unknown-position"
        oldest = await self._engine.feed(after=0, limit=1)
        if end_n - int(cursor) > REPLAY_LIMIT or (oldest and int(cursor) + 1 < oldest[0].n):
            return end_n, "away-too-long"
        return int(cursor), None

    def _hello(self, view: View, position: int, reason: str | None) -> bytes:
        hello: dict[str, Any] = {
            "protocol": 1,
            "now": timestamp(self._clock.now()),
            "heartbeatSeconds": self._heartbeat_s,
            "instance": self._instance,
            "scopes": sorted(view.scopes),
            "position": position,
            "resume": reason is None,
        }
        first = news.frame(News.HELLO, pydantic_core.to_json(hello))
        return first if reason is None else first + self._reset(position, reason)

    def _reset(self, position: int, reason: str) -> bytes:
        return news.frame(News.RESET, pydantic_core.to_json({"position": position, "reason": reason}))

    def _ends_at(self, viewer: Viewer) -> float:
        if viewer.ends_at is None:
            return float("inf")
        left_s = (viewer.ends_at - self._clock.now()).total_seconds()
        return self._clock.monotonic() + max(0.0, left_s) + PAST_EXPIRY_S

    async def _write(self, send: Send, body: bytes) -> None:
        await self._within(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _within(self, send: Send, message: Mapping[str, Any]) -> None:
        """A reader that stalls holds no memory for ever. Raises TimeoutError."""
        async with asyncio.timeout(3 * self._heartbeat_s):
            await send(dict(message))


def _wanted(viewer: Viewer, scope: Scope) -> frozenset[str] | None:
    """The agents that this stream is about. Raises InvalidParameter, NotAllowed."""
    names = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=2 * AGENTS_LIMIT).get("agent", [])
    if "watch" not in viewer.scopes:
        raise NotAllowed("this token is not for watching")
    if len(names) > AGENTS_LIMIT or not all(_NAME.fullmatch(name) for name in names):
        raise InvalidParameter(f"agent is the ID of an agent, and comes at most {AGENTS_LIMIT} times")
    if not names:
        return viewer.agents
    if viewer.agents is not None and not viewer.agents.issuperset(names):
        raise NotAllowed("this token is not for that agent")
    return frozenset(names)


async def _pass_on(rung: asyncio.Event, bell: asyncio.Event) -> None:
    while True:
        await rung.wait()
        rung.clear()
        bell.set()
