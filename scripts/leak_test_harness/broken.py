"""Builds with one leak each, of the kind that is easily made. The leak test fails on all of them, by name."""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import httpx

from sse_agent.files import OpenFile
from sse_agent.stream import Stream
from sse_agent.tus import TusSession
from sse_agent.tus.watch import Line

_kept: list[Any] = []


def keeps_sockets() -> None:
    """A stream's answer is not closed."""
    close = httpx.Response.aclose

    async def forget(response: httpx.Response) -> None:
        if "text/event-stream" in response.headers.get("content-type", ""):
            _kept.append(response)
        else:
            await close(response)

    httpx.Response.aclose = forget  # type: ignore[method-assign]


def keeps_breakers() -> None:
    """The duplicate by which another thread breaks a connection is not closed."""

    def forget(line: Line) -> None:
        _kept.append(line)

    Line.close = forget  # type: ignore[method-assign]


def keeps_threads() -> None:
    """Each attempt at an upload leaves a thread behind."""
    rearm = TusSession.rearm

    def rearm_and_watch(session: TusSession) -> None:
        threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()
        rearm(session)

    TusSession.rearm = rearm_and_watch  # type: ignore[method-assign]


def keeps_files() -> None:
    """Each upload's file stays open."""
    enter = OpenFile.__enter__

    def enter_twice(file: OpenFile) -> OpenFile:
        os.dup(file.file.fileno())
        return enter(file)

    OpenFile.__enter__ = enter_twice  # type: ignore[method-assign]


def keeps_tasks() -> None:
    """Each lost stream leaves a task that waits for ever."""
    least_wait_s = Stream._least_wait_s

    def wait(stream: Stream, *args: Any) -> float | None:
        _kept.append(asyncio.ensure_future(asyncio.Event().wait()))
        return least_wait_s(stream, *args)

    Stream._least_wait_s = wait  # type: ignore[method-assign]


def keeps_memory() -> None:
    """Each lost stream leaves something behind, reachable and of no use."""
    least_wait_s = Stream._least_wait_s

    def wait(stream: Stream, *args: Any) -> float | None:
        _kept.append(os.urandom(1024 * 1024))
        return least_wait_s(stream, *args)

    Stream._least_wait_s = wait  # type: ignore[method-assign]


def plane_keeps_watchers() -> None:
    """On the control plane each stream leaves a task behind."""
    from sse_agent.control_plane.streams import Streams

    serve = Streams.serve

    async def serve_and_watch(streams: Streams, *args: Any) -> None:
        _kept.append(asyncio.ensure_future(asyncio.Event().wait()))
        await serve(streams, *args)

    Streams.serve = serve_and_watch  # type: ignore[method-assign]


def plane_keeps_sockets() -> None:
    """On the control plane a lost connection is not closed."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    made = H11Protocol.connection_made

    def make(protocol: Any, transport: Any) -> None:
        os.dup(transport.get_extra_info("socket").fileno())
        made(protocol, transport)

    H11Protocol.connection_made = make  # type: ignore[method-assign]


def plane_keeps_memory() -> None:
    """On the control plane a lost connection leaves its buffers behind."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    made = H11Protocol.connection_made

    def make(protocol: Any, transport: Any) -> None:
        _kept.append(os.urandom(512 * 1024))
        made(protocol, transport)

    H11Protocol.connection_made = make  # type: ignore[method-assign]


AGENT_BUILDS: dict[str, Callable[[], None]] = {
    "keeps-sockets": keeps_sockets,
    "keeps-breakers": keeps_breakers,
    "keeps-threads": keeps_threads,
    "keeps-files": keeps_files,
    "keeps-tasks": keeps_tasks,
    "keeps-memory": keeps_memory,
}
PLANE_BUILDS: dict[str, Callable[[], None]] = {
    "plane-keeps-watchers": plane_keeps_watchers,
    "plane-keeps-sockets": plane_keeps_sockets,
    "plane-keeps-memory": plane_keeps_memory,
}
BUILDS = AGENT_BUILDS | PLANE_BUILDS
