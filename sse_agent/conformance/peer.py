"""HTTP with a memory: what was sent and what came is kept for whoever must mend it; tokens are not."""

import json
import re
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sse_agent.clock import Clock
from sse_agent.conformance.check import Broken, expect
from sse_agent.conformance.frames import Frame, Frames, TooMuch
from sse_agent.errors import GiveUp
from sse_agent.messages import Hello, parse_hello

ANSWER_WITHIN_S = 30.0
HELLO_WITHIN_S = 2.0
REFUSAL_WITHIN_S = 2.0
BODY_LIMIT = 4 * 1024 * 1024
SHOWN = 700
EXCHANGES_KEPT = 3
FRAMES_LIMIT = 64
"""Of one stream, that nobody has looked at yet; then no more is read."""
# What the control plane makes for checks, before and after they use it: tokens, codes, assertions.
_MADE = re.compile(r'("(?:token|access_token|secret|link)": ?"|client_assertion=|"code": ?"(?=[A-Z]{4}-))[^"&]+')
PROBLEM_PREFIX = "urn:sse-agent:problem:"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and whose it is."""

    owner: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it, as text, cut short, without tokens."""

    sent: str
    came: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def media_type(self) -> str:
        """Without its parameters, in lower case."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The JSON object of the body. Raises Broken."""
        try:
            found = json.loads(self.body)
        except ValueError:
            raise Broken(f"the body of the {self.status} is no JSON") from None
        expect(isinstance(found, dict), f"the body of the {self.status} is no JSON object")
        return found

    @property
    def slug(self) -> str | None:
        """The problem's name, if the body is a problem document."""
        try:
            kind = json.loads(self.body)["type"]
        except (ValueError, KeyError, TypeError):
            return None
        is_ours = isinstance(kind, str) and kind.startswith(PROBLEM_PREFIX)
        return kind.removeprefix(PROBLEM_PREFIX) if is_ours and self.media_type == "application/problem+json" else None


class Stream:
    """What comes down, one frame at a time."""

    def __init__(self, sender: MemoryObjectSendStream[Frame], frames: MemoryObjectReceiveStream[Frame]) -> None:
        self.sender = sender
        self._frames = frames
        self.opened = anyio.Event()
        self.closed = anyio.Event()
        self.answer: Answer | None = None
        """Its head; with a body only if it is no stream."""
        self.seen: list[Frame] = []

    async def head(self, within_s: float = ANSWER_WITHIN_S) -> Answer:
        """Status and headers. Raises Broken."""
        with anyio.move_on_after(within_s):
            await self.opened.wait()
        if self.answer is None:
            raise Broken(f"the stream was not answered within {within_s:g} s")
        return self.answer

    async def frame(self, within_s: float) -> Frame | None:
        """The next one; None if the stream is over. Raises Broken if none comes in time."""
        try:
            with anyio.fail_after(within_s):
                found = await self._frames.receive()
        except TimeoutError:
            raise Broken(f"nothing came on the stream within {within_s:g} s") from None
        except anyio.EndOfStream:
            return None
        if len(self.seen) < EXCHANGES_KEPT * 4:
            self.seen.append(found)
        return found

    async def event(self, within_s: float) -> Frame:
        """The next frame with `data`; comments and `retry` are passed over. Raises Broken."""
        try:
            with anyio.fail_after(within_s):
                while True:
                    found = await self.frame(within_s)
                    expect(found is not None, "the stream ended")
                    if found is not None and found.data is not None:
                        return found
        except TimeoutError:
            raise Broken(f"no event came on the stream within {within_s:g} s") from None

    async def hello(self, within_s: float) -> Hello:
        """The first event, which must be a HELLO that can be read. Raises Broken."""
        first = await self.event(within_s)
        expect(first.get("event") == "HELLO", f"the first event is called {first.get('event')!a}, not HELLO")
        try:
            return parse_hello(first.data or "")
        except GiveUp as wrong:
            raise Broken(f"HELLO can't be read: {wrong.message}") from None

    async def ended(self, within_s: float) -> bool:
        """Whether it comes to its end in time, whatever else comes before."""
        with anyio.move_on_after(within_s):
            while await self.frame(within_s + 1) is not None:
                pass
            return True
        return False


class Peer:
    """The control plane, as seen over HTTP. `pumps` reads the streams."""

    def __init__(self, client: httpx.AsyncClient, pumps: TaskGroup, clock: Clock) -> None:
        self._client = client
        self._pumps = pumps
        self._clock = clock
        self._secrets: set[str] = set()
        self.exchanges: deque[Exchange] = deque(maxlen=EXCHANGES_KEPT)

    async def ask(
        self,
        method: str,
        path: str,
        token: Token | None,
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        within_s: float = ANSWER_WITHIN_S,
        secrets: Collection[str] = (),
    ) -> Answer:
        """One request; `body` is bytes, or what becomes JSON; `secrets` are in it. Raises Broken if no answer comes."""
        self._secrets.update(secrets)
        request = self._request(method, path, token, headers or {}, body)
        try:
            with anyio.fail_after(within_s):
                response = await self._client.send(request, stream=True)
                try:
                    answer = Answer(response.status_code, response.headers, await _read(response))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise self._lost(request, f"no answer within {within_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._lost(request, f"no answer: {type(error).__name__}") from None
        self._note(request, _shown_answer(answer))
        return answer

    @asynccontextmanager
    async def stream(self, path: str, token: Token | None, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """A stream that is read in the background from now on, and let go of after the block."""
        request = self._request("GET", path, token, {"Accept": "text/event-stream", **headers}, None)
        stream = Stream(*anyio.create_memory_object_stream[Frame](FRAMES_LIMIT))
        scope = anyio.CancelScope()
        self._pumps.start_soon(self._pump, request, stream, scope)
        try:
            yield stream
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await stream.closed.wait()
            stream._frames.close()
            self._note(request, _shown_stream(stream))

    async def _pump(self, request: httpx.Request, stream: Stream, scope: anyio.CancelScope) -> None:
        frames = Frames()
        try:
            with scope:
                response = await self._client.send(request, stream=True)
                try:
                    is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
                    body = b""
                    # What is called something else may be a stream all the same, and never end.
                    with anyio.move_on_after(REFUSAL_WITHIN_S):
                        body = b"" if is_stream else await _read(response)
                    stream.answer = Answer(response.status_code, response.headers, body)
                    stream.opened.set()
                    if is_stream:
                        async for chunk in response.aiter_raw():
                            for frame in frames.feed(chunk):
                                await stream.sender.send(frame)
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except (httpx.HTTPError, TooMuch, anyio.BrokenResourceError):
            # Whoever reads the stream sees its end.
            pass
        finally:
            stream.sender.close()
            stream.opened.set()
            stream.closed.set()

    def _request(
        self, method: str, path: str, token: Token | None, headers: Mapping[str, str], body: object
    ) -> httpx.Request:
        all_headers = {"Accept-Encoding": "identity", "User-Agent": "sse-agent-conformance", **headers}
        if token is not None:
            self._secrets.add(token.value)
            all_headers["Authorization"] = f"Bearer {token.value}"
        content = None
        if body is not None:
            all_headers.setdefault("Content-Type", "application/json")
            content = body if isinstance(body, bytes) else encoded(body)
        # No limit of httpx's own: every wait here has a deadline, and the client's pool is as large as its checks need.
        return self._client.build_request(method, path, headers=all_headers, content=content, timeout=None)

    def _lost(self, request: httpx.Request, words: str) -> Broken:
        self._note(request, words)
        return Broken(words)

    def _note(self, request: httpx.Request, came: str) -> None:
        self.exchanges.append(Exchange(self._without_secrets(_shown_request(request)), self._without_secrets(came)))

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "(token)")
        return _MADE.sub(r"\1(token)", text)


def encoded(value: object) -> bytes:
    """JSON, compact."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


async def _read(response: httpx.Response) -> bytes:
    """The body, or as much of it as is of interest."""
    parts, size = [], 0
    async for part in response.aiter_raw():
        parts.append(part)
        size += len(part)
        if size > BODY_LIMIT:
            break
    return b"".join(parts)


def _shown_request(request: httpx.Request) -> str:
    hidden = {"host", "accept-encoding", "connection", "user-agent", "content-length"}
    lines = [f"{name}: {value}" for name, value in request.headers.items() if name not in hidden]
    return "\n".join([f"{request.method} {request.url.raw_path.decode()}", *lines, *_shown_body(request.content)])


def _shown_answer(answer: Answer) -> str:
    wanted = ("content-type", "cache-control", "x-accel-buffering", "retry-after", "www-authenticate")
    lines = [f"{name}: {answer.headers[name]}" for name in wanted if name in answer.headers]
    return "\n".join([str(answer.status), *lines, *_shown_body(answer.body)])


def _shown_stream(stream: Stream) -> str:
    head = _shown_answer(stream.answer) if stream.answer is not None else "no answer"
    return "\n\n".join([head, *(frame.text()[:SHOWN] for frame in stream.seen)])


def _shown_body(body: bytes) -> list[str]:
    if not body:
        return []
    more = f"… ({len(body)} bytes)" if len(body) > SHOWN else ""
    return ["", body[:SHOWN].decode(errors="replace") + more]
