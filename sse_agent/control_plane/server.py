"""`sse-agent control-plane`: opens the engine, listens, stops in order."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from sse_agent import bugs
from sse_agent.clock import Clock, SystemClock
from sse_agent.control_plane import backup, connections, openapi
from sse_agent.control_plane import settings as configuration
from sse_agent.control_plane.admission import Admission
from sse_agent.control_plane.api import Api
from sse_agent.control_plane.asked import Asked
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.auditing import Auditing
from sse_agent.control_plane.bells import Bells, agent_topic, command_topic
from sse_agent.control_plane.chatlog import ChatLog
from sse_agent.control_plane.engine import Engine, Report
from sse_agent.control_plane.identity import parts as identity
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.ordering import Ordering
from sse_agent.control_plane.page import Page
from sse_agent.control_plane.problems import MethodNotAllowed, Unavailable
from sse_agent.control_plane.settings import Settings
from sse_agent.control_plane.signin import Grant, SignIn
from sse_agent.control_plane.sqlite import SqliteEngine
from sse_agent.control_plane.stored import Stored
from sse_agent.control_plane.streams import Streams
from sse_agent.control_plane.tus_hooks import TusHooks
from sse_agent.control_plane.viewers import Viewers
from sse_agent.control_plane.viewing import PATH as VIEW_PATH
from sse_agent.control_plane.viewing import Viewing
from sse_agent.control_plane.webhooks import parts as webhooks
from sse_agent.control_plane.webhooks.courier import Courier
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import EventType

if TYPE_CHECKING:
    from sse_agent.control_plane.redis import RedisEngine

PRUNE_EVERY_S = 3600.0
DRAIN_S = 1
_STREAM = re.compile(r"/api/v1/agents/([^/]+)/stream")


class ControlPlane:
    """The ASGI application: the stream endpoint is bare, the rest is the framework's."""

    def __init__(self, streams: Streams, viewing: Viewing, page: Page, rest: ASGIApp) -> None:
        self._streams = streams
        self._viewing = viewing
        self._page = page
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _STREAM.fullmatch(scope["path"]) if scope["type"] == "http" else None
        is_view = found is None and scope["path"] == VIEW_PATH
        if found is None and not is_view:
            is_page = scope["type"] == "http" and self._page.knows(scope["path"])
            await (self._page.serve if is_page else self._rest)(scope, receive, send)
        elif scope["method"] != "GET":
            await MethodNotAllowed(headers={"Allow": "GET"}).send(send)
        elif found is not None:
            await self._streams.serve(found[1], scope, receive, send)
        else:
            await self._viewing.serve(scope, receive, send)


class _Ringing:
    """What the engine says has changed → bells and attendance."""

    def __init__(self, bells: Bells, attendance: Attendance) -> None:
        self._bells = bells
        self._attendance = attendance
        self.viewers: Viewers | None = None
        """Comes later: it reads from the engine that tells this."""
        self.courier: Courier | None = None
        self.registry: Registry | None = None

    def queue_changed(self, client_id: str) -> None:
        self._bells.ring(agent_topic(client_id))
        if self.viewers is not None:
            self.viewers.agent_changed(client_id)

    def command_changed(self, command_id: str) -> None:
        self._bells.ring(command_topic(command_id))
        if self.viewers is not None:
            self.viewers.command_changed(command_id)

    def reported(self, client_id: str, report: Report) -> None:
        if self.viewers is not None:
            self.viewers.reported(client_id, report)
        if self.courier is not None:
            self.courier.reported(client_id, report)
        if report.type == EventType.CLIENT_DISCONNECTED:
            self._attendance.left(client_id)

    def identity_changed(self, client_id: str) -> None:
        if self.registry is not None:
            self.registry.doubt(client_id)

    def missed(self) -> None:
        if self.registry is not None:
            self.registry.doubt_all()
        self._bells.ring_all()


class _Server(uvicorn.Server):
    """uvicorn waits for open streams for ever; ours end themselves when a signal comes."""

    def __init__(self, config: uvicorn.Config, bells: Bells, url: str, greeting: str) -> None:
        super().__init__(config)
        self._bells = bells
        self._url = url
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever reads where it listens may at once send a signal: it is handled by now."""
        await super().startup(sockets)
        print(json.dumps({"listening": self._url}), flush=True)
        if self._greeting:
            print(self._greeting, file=sys.stderr, flush=True)

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
    ringing = _Ringing(bells, attendance)
    engine = _engine(settings, clock, ringing, attendance)
    await engine.open()
    viewers = ringing.viewers = Viewers(engine, attendance, clock)
    try:
        await engine.enlist(tokens)
        # Listening comes first: tokens name the address, if no other is set.
        with _listen(settings) as listener:
            parts = await identity.opened(
                engine,
                engine,
                clock,
                settings.issuer or _url(settings, listener),
                agents=tokens,
                services=settings.services,
                on_change=lambda client_id: bells.ring(agent_topic(client_id)),
            )
            ringing.registry = parts.registry
            streams = Streams(engine, parts.access, bells, attendance, clock, settings.heartbeat_seconds)
            secret = settings.tus_hook_secret.get_secret_value() if settings.tus_hook_secret else None
            admission = Admission(engine, engine, parts.tokens, clock, settings.upload_token_seconds)
            admitting = admission if secret else None
            asked = Asked(engine, engine, viewers, clock)
            ordering = Ordering(
                engine, parts.audit, clock, per_s=settings.commands_per_second, admission=admitting, asked=asked
            )
            rest = Api(
                engine, parts.access, bells, attendance, parts.administration, ordering, clock, admitting, asked
            ).app()
            auditing = Auditing(parts.access, engine, engine, clock)
            auditing.add_to(rest)
            TusHooks(parts.access, admission, Stored(engine, clock), secret).add_to(rest)
            parts.endpoints.add_to(rest)
            hooks = webhooks.wired(
                engine, engine, parts.access, parts.audit, clock, allows_private=settings.webhook_private_addresses
            )
            ringing.courier = hooks.courier
            hooks.endpoints.add_to(rest)
            signin = SignIn(engine, parts.tokens, parts.access, clock, settings.issuer or _url(settings, listener))
            signin.add_to(rest)
            ChatLog(engine, engine, parts.access, clock).add_to(rest)
            openapi.publish(rest)
            viewing = Viewing(engine, parts.access, viewers, bells, clock, settings.heartbeat_seconds)
            app = ControlPlane(streams, viewing, Page(), rest)
            server = _Server(_uvicorn(settings, app), bells, _url(settings, listener), await _greeting(signin))
            pruning = _prune(engine, clock, [auditing.prune, hooks.courier.prune])
            async with _copying(engine, settings, clock), _beside(viewers.run(), hooks.courier.run(), pruning):
                await server.serve(sockets=[listener])
            await hooks.delivery.close()
    finally:
        await engine.close()


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They run until the block ends. One that ends by a bug ends the block: whoever started us starts us anew.

    Without it the page would stand still, or webhooks wait, and all else look well.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _engine(
    settings: Settings, clock: Clock, ringing: _Ringing, attendance: Attendance
) -> "SqliteEngine | RedisEngine":
    if settings.redis_url is None:
        return SqliteEngine(settings.database, clock, ringing, queue_limit=settings.queue_limit)
    # Its client takes ten megabytes: whoever runs on SQLite does without.
    from sse_agent.control_plane.redis import RedisEngine

    url = settings.redis_url.get_secret_value()
    engine = RedisEngine(
        url,
        clock,
        ringing,
        queue_limit=settings.queue_limit,
        identity_changed=ringing.identity_changed,
        missed=ringing.missed,
    )
    attendance.on_held = engine.share(attendance, settings.heartbeat_seconds)
    return engine


def _copying(
    engine: "SqliteEngine | RedisEngine", settings: Settings, clock: Clock
) -> AbstractAsyncContextManager[None]:
    """Redis is copied by its own means."""
    if isinstance(engine, SqliteEngine):
        return cast("AbstractAsyncContextManager[None]", backup.listening(settings.database, engine.copy, clock))
    return nullcontext()


async def _greeting(signin: SignIn) -> str:
    """For a person who sees it. What is no terminal may be a log that others read: no secret goes there."""
    if sys.stderr is None or not sys.stderr.isatty():
        return ""
    made = await signin.link(Grant())
    return f"The live page, for one person, once, within 15 minutes:\n  {made.link}"


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


async def _prune(engine: Engine, clock: Clock, more: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """`more`: what else forgets."""
    while True:
        await clock.sleep(PRUNE_EVERY_S)
        try:
            await engine.prune()
            for prune in more:
                await prune()
        except Unavailable as later:
            print(f"sse-agent control-plane: old entries could not be pruned: {later}", file=sys.stderr)
