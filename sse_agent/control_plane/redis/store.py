"""The only place that talks to Redis: scripts and reads, over a bounded pool, every wait with a deadline.

Whatever waits together is sent together, in the order in which it was asked for. (A connection for each call would be
unfair: the pool gives a place to whoever asks at the right moment, and others wait for ever.)

What a script wrote is durable when it answers, if Redis syncs its append-only file before it answers (`appendfsync
always`, see requirements.py). One that was cut off may have run or not: every deed has a key, or changes nothing when
repeated, so whoever asked asks again.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import anyio
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.redis.keys import PREFIX
from sse_agent.errors import CannotStart, ExitCode

WORKERS = 4
CONNECTIONS = WORKERS + 4
"""One for each worker, one for wake-ups, and some that are being let go of."""
GROUP_LIMIT = 128
WITHIN_S = 5.0
"""How long a connection, a place in the pool, and an answer may take, each."""
WAITING_LIMIT = 10_000
SCHEMA = 1
"""Of the keys; in `sse-agent:schema`. A newer one is refused."""

Argument = str | bytes | int
Command = tuple[Argument, ...]


class Store:
    """Open it, use it, close it."""

    def __init__(self, url: str, clock: Clock) -> None:
        try:
            self._pool = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=WITHIN_S,
                socket_timeout=WITHIN_S,
                socket_connect_timeout=WITHIN_S,
                **({} if url.startswith("unix:") else {"socket_keepalive": True}),
                client_name="sse-agent-control-plane",
                # Whoever is told "not now" asks again, with a jitter of its own.
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            # Its words may repeat the URL, and the password in it.
            raise CannotStart(
                "REDIS_URL is no URL of a Redis: expected redis://[user:password@]host:port/number, rediss://… for "
                "TLS, or unix:///path",
                ExitCode.WRONG_CONFIGURATION,
            ) from None
        self.client = redis.Redis(connection_pool=self._pool)
        self.channel = f"{PREFIX}{self._pool.connection_kwargs.get('db', 0)}:wake"
        """Channels know nothing of Redis's numbered databases."""
        self.origin = uuid.uuid4().hex
        """This process, in wake-ups and in what is said about presence."""
        self._clock = clock
        self._digests: dict[str, str] = {}
        self._requests: deque[_Request] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Give Redis the scripts. Raises redis's exceptions: it is asked at start only."""
        for name in SCRIPTS:
            self._digests[name] = await self.client.script_load(text(name))

    async def close(self) -> None:
        """Everything that was asked for is decided before this returns."""
        await asyncio.gather(*self._workers)
        await self.client.aclose()
        await self._pool.aclose()

    async def run(self, script: str, *arguments: Argument) -> Any:
        """What the script answers. Raises Unavailable."""
        passed = (0, PREFIX, self.channel, self.origin, timestamp(self._clock.now()), *arguments)
        (found,) = await self._ask(("EVALSHA", self._digests[script], *passed))
        if isinstance(found, exceptions.NoScriptError):
            # Redis was started anew.
            (found,) = await self._ask(("EVAL", text(script), *passed))
        return _answer(found)

    async def read(self, *commands: Command) -> list[Any]:
        """The answers to several commands that change nothing, asked at once. Raises Unavailable."""
        return [_answer(found) for found in await self._ask(*commands)] if commands else []

    async def write(self, *command: Argument) -> None:
        """One command that needs no script. Raises Unavailable."""
        await self.read(command)

    def subscription(self) -> PubSub:
        """To the wake-ups; on a connection of its own."""
        return self.client.pubsub(ignore_subscribe_messages=True)

    async def _ask(self, *commands: Command) -> list[Any]:
        """The answers; what Redis refused is an exception among them.

        A cancellation waits until it is decided, within bounds: nobody must guess whether it happened.
        """
        if len(self._requests) >= WAITING_LIMIT:
            raise Unavailable("too much is waiting for Redis", retry_after_s=1)
        request = _Request(commands, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        if len(self._workers) < WORKERS:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        with anyio.CancelScope(shield=True):
            answers = await request.answers
        return answers  # noqa: RET504 - a scope may swallow, in the eyes of the type checker

    async def _work(self) -> None:
        """Until nothing waits: whatever waits together is sent together, and shares one sync of Redis's file."""
        while self._requests:
            group = [self._requests.popleft() for _ in range(min(GROUP_LIMIT, len(self._requests)))]
            try:
                answers = await self._send([command for request in group for command in request.commands])
            except (TimeoutError, exceptions.RedisError, OSError):
                # What waits would fare no better, each for seconds.
                for request in (*group, *self._requests):
                    request.fail(Unavailable("Redis can't be reached", retry_after_s=1))
                self._requests.clear()
                continue
            for request in group:
                request.deliver(answers[: len(request.commands)])
                del answers[: len(request.commands)]

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        async with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers


@dataclass(slots=True, eq=False)
class _Request:
    """Commands of one caller, and who waits for the answers."""

    commands: Sequence[Command]
    answers: "asyncio.Future[list[Any]]"

    def deliver(self, answers: list[Any]) -> None:
        """Redis answered."""
        if not self.answers.done():
            self.answers.set_result(answers)

    def fail(self, error: Exception) -> None:
        """Nobody knows whether it was done."""
        if not self.answers.done():
            self.answers.set_exception(error)


SCRIPTS = (
    "enlist",
    "settle",
    "queue",
    "take",
    "record",
    "readmit",
    "delete",
    "command",
    "trim",
    "put",
    "remove",
    "append",
    "forget",
    "present",
    "beat",
)


@cache
def text(script: str) -> str:
    """The script, with the prelude in front."""
    folder = files("sse_agent.control_plane.redis").joinpath("scripts")
    return "\n".join(folder.joinpath(f"{name}.lua").read_text() for name in ("prelude", script))


def _answer(found: Any) -> Any:
    """No exception of redis leaves this package. Its words may repeat what was sent: they are not passed on."""
    if not isinstance(found, Exception):
        return found
    if isinstance(found, exceptions.ResponseError) and not _is_passing(found):
        code = str(found).partition(" ")[0][:40]
        raise RuntimeError(f"Redis refused a command ({code if code.isupper() else 'ERR'})")
    raise Unavailable("Redis can't be written", retry_after_s=1)


def _is_passing(error: exceptions.ResponseError) -> bool:
    """Whether it is a state of Redis, not a mistake of ours: full, read-only, loading, its disk fails."""
    states = ("OOM", "MISCONF", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY", "NOAUTH", "WRONGPASS")
    return (
        isinstance(error, exceptions.AuthenticationError | exceptions.BusyLoadingError)
        or str(error).startswith(states)
        or type(error) in (exceptions.OutOfMemoryError, exceptions.ReadOnlyError)
    )


def row(pairs: Sequence[bytes] | dict[bytes, bytes]) -> "Row":
    """A hash as Redis answers it."""
    items = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
    return Row({name.decode(): _value(name.decode(), value) for name, value in items})


class Row(dict[str, Any]):
    """A hash by the names of its fields, as rows.Row."""

    def __missing__(self, name: str) -> None:
        return None


_NUMBERS = frozenset(
    {"last_n", "sent_n", "passed_n", "floor_n", "epoch", "is_readmitted", "reset_n", "n", "generation", "standing"}
)
_BODIES = frozenset({"connection", "status", "error"})


def _value(name: str, value: bytes) -> Any:
    if name in _NUMBERS:
        return int(value)
    return value if name in _BODIES else value.decode()
