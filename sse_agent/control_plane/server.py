"""`sse-agent control-plane`: opens the engine, listens, stops in order."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from sse_agent import bugs
from sse_agent.clock import Clock, SystemClock
from sse_agent.control_plane import connections
from sse_agent.control_plane import settings as configuration
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.api import Api
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells, agent_topic, command_topic
from sse_agent.control_plane.engine import Report
from sse_agent.control_plane.problems import MethodNotAllowed, Unavailable
from sse_agent.control_plane.settings import Settings
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.streams import Streams
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import EventType

PRUNE_EVERY_S = 3600.0
DRAIN_S = 1
_STREAM = re.compile(r"/api/v1/agents/([^/]+)/stream")


class ControlPlane:
    """The ASGI application: the stream endpoint is bare, the rest is the framework's."""

    def __init__(self, streams: Streams, rest: ASGIApp) -> None:
        self._streams = streams
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _STREAM.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._rest(scope, receive, send)
        elif scope["method"] == "GET":
            await self._streams.serve(found[1], scope, receive, send)
        else:
            await MethodNotAllowed(headers={"Allow": "GET"}).send(send)


class _Ringing:
    """What the engine says has changed → bells and attendance."""

    def __init__(self, bells: Bells, attendance: Attendance) -> None:
        self._bells = bells
        self._attendance = attendance

    def queue_changed(self, client_id: str) -> None:
        self._bells.ring(agent_topic(client_id))

    def command_changed(self, command_id: str) -> None:
        self._bells.ring(command_topic(command_id))

    def reported(self, client_id: str, report: Report) -> None:
        if report.type == EventType.CLIENT_DISCONNECTED:
            self._attendance.left(client_id)


class _Server(uvicorn.Server):
    """uvicorn waits for open streams for ever; ours end themselves when a signal comes."""

    def __init__(self, config: uvicorn.Config, bells: Bells, url: str) -> None:
        super().__init__(config)
        self._bells = bells
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever reads where it listens may at once send a signal: it is handled by now."""
        await super().startup(sockets)
        print(json.dumps({"listening": self._url}), flush=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {
            number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._bells.drain()


def main() -> int:
    """Serve until SIGINT or SIGTERM. The first line on standard output says where. Raises CannotStart."""
    settings = configuration.load()
    with bugs.told_without_words():
        asyncio.run(_serve(settings, SystemClock()))
    return int(ExitCode.STOPPED)


async def _serve(settings: Settings, clock: Clock) -> None:
    bells = Bells()
    attendance = Attendance(clock, settings.heartbeat_seconds)
    tokens = {client_id: token.get_secret_value() for client_id, token in settings.agent_tokens.items()}
    access = Access(tokens, settings.service_token.get_secret_value())
    engine = SqliteEngine(settings.database, clock, _Ringing(bells, attendance), queue_limit=settings.queue_limit)
    await engine.open()
    pruning = asyncio.create_task(_prune(engine, clock))
    try:
        await engine.enlist(tokens)
        streams = Streams(engine, access, bells, attendance, clock, settings.heartbeat_seconds)
        app = ControlPlane(streams, Api(engine, access, bells, attendance, clock).app())
        with _listen(settings) as listener:
            await _Server(_uvicorn(settings, app), bells, _url(settings, listener)).serve(sockets=[listener])
    finally:
        pruning.cancel()
        await engine.close()


def _uvicorn(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections.protocol(settings.tls_certificate, settings.tls_key),
        # Its own would print the words of exceptions, which are anybody's.
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
        # Connections inherit it. asyncio sets it only on sockets that were made with a protocol number; without it an
        # answer waits 40 ms for the acknowledgement of its own head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Inherited, too. A connection whose reader stalls would else stay until it has read what is buffered: for ever.
        user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
        if user_timeout is not None:
            listener.setsockopt(socket.IPPROTO_TCP, user_timeout, 3000 * settings.heartbeat_seconds)
        return listener
    except OSError as error:
        message = (
            f"can't listen on {settings.host} port {settings.port}: {error.strerror}; choose another "
            f"{configuration.PREFIX}HOST or {configuration.PREFIX}PORT"
        )
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None


def _url(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


async def _prune(engine: SqliteEngine, clock: Clock) -> None:
    while True:
        await clock.sleep(PRUNE_EVERY_S)
        try:
            await engine.prune()
        except Unavailable as later:
            print(f"sse-agent control-plane: old entries could not be pruned: {later}", file=sys.stderr)
