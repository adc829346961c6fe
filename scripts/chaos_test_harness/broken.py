"""Builds of the agent with one mistake each, and the misbehaviours that show it."""

import http.client
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pydantic_core

from sse_agent import eventstream
from sse_agent.errors import TryAgain
from sse_agent.eventstream import Block, EventStreamGuard
from sse_agent.messages import EnvelopeBytes, EventId
from sse_agent.stream import _Connection
from sse_agent.transport import Transport, Verdict
from sse_agent.tus import TusUploader
from sse_agent.tus.answers import NotNow
from sse_agent.tus.connections import _Watched


def new_id() -> None:
    """A message gets its ID when it is sent, so every try has another one."""
    post = Transport.post

    async def renamed(transport: Transport, messages: Sequence[tuple[str, EnvelopeBytes]]) -> list[Verdict]:
        copies = []
        for _, body in messages:
            message_id = str(uuid.uuid4())
            body = EnvelopeBytes(pydantic_core.to_json({**pydantic_core.from_json(body), "id": message_id}))
            copies.append((message_id, body))
        verdicts = await post(transport, copies)
        return [replace(verdict, message_id=own) for verdict, (own, _) in zip(verdicts, messages, strict=True)]

    Transport.post = renamed  # type: ignore[method-assign, assignment]


def lost_is_sent() -> None:
    """A message whose answer was lost counts as received."""
    post = Transport.post

    async def hopeful(transport: Transport, messages: Sequence[tuple[str, EnvelopeBytes]]) -> list[Verdict]:
        try:
            return await post(transport, messages)
        except TryAgain:
            return [Verdict(message_id, is_recorded=True) for message_id, _ in messages]

    Transport.post = hopeful  # type: ignore[method-assign, assignment]


def any_success() -> None:
    """Whatever answers 2xx has recorded the message."""
    send = Transport._send_once

    async def trusting(transport: Transport, path: str, body: bytes, key: str, token: str) -> Any:
        response, answer = await send(transport, path, body, key, token)
        if response.is_success and path == "messages":
            transport._batch_verdicts = _all_recorded  # type: ignore[method-assign, assignment]
            transport._single_verdict = _recorded  # type: ignore[method-assign, assignment]
        else:
            transport.__dict__.pop("_batch_verdicts", None)
            transport.__dict__.pop("_single_verdict", None)
        return response, answer

    Transport._send_once = trusting  # type: ignore[method-assign, assignment]


def _all_recorded(_: httpx.Response, __: bytes, ids: Sequence[str]) -> list[Verdict]:
    return [Verdict(message_id, is_recorded=True) for message_id in ids]


def _recorded(_: httpx.Response, __: bytes, message_id: str) -> Verdict:
    return Verdict(message_id, is_recorded=True)


def sent_is_stored() -> None:
    """Bytes that were handed to the network are there, though the tus server did not say so."""
    send = TusUploader.send

    def hopeful(uploader: TusUploader, length: int, blocks: Iterable[Any]) -> int:
        try:
            return send(uploader, length, blocks)
        except NotNow as trouble:
            if trouble.status is not None:
                raise
            # As far as the file is read; the rest of the attempt goes on from there.
            for _ in blocks:
                pass
            uploader.offset += length
            return uploader.offset

    TusUploader.send = hopeful  # type: ignore[method-assign, assignment]


def holes_pass() -> None:
    """A hole in the stream is not looked for."""
    take = _Connection._take

    async def careless(connection: _Connection, event: Any) -> None:
        if connection._hello is not None and connection._cursor is not None and "/" in event.id:
            numbering, _, n = event.id.partition("/")
            connection._cursor = max(connection._cursor, EventId(numbering, int(n) - 1), key=lambda place: place.n)
        await take(connection, event)

    _Connection._take = careless  # type: ignore[method-assign, assignment]


def half_events() -> None:
    """An event that the end of the stream cut off is taken for a whole one."""

    async def read(
        response: httpx.Response, on_bytes: Callable[[], None], guard: EventStreamGuard
    ) -> AsyncGenerator[Block, None]:
        try:
            async for chunk in response.aiter_raw():
                on_bytes()
                for block in guard.feed(chunk):
                    yield block
        except httpx.HTTPError:
            pass
        for block in guard.feed(b"\n\n"):
            yield block

    eventstream._read_blocks = read


def half_heads() -> None:
    """The end of the connection is taken for the end of an answer's head, as http.client does by itself."""
    _Watched.response_class = http.client.HTTPResponse  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Build:
    """`breaks` makes the mistake; under the misbehaviours `shown_by` it is seen."""

    breaks: Callable[[], None]
    shown_by: tuple[str, ...]


BUILDS: Mapping[str, Build] = {
    "new-id": Build(new_id, ("lost-answer", "repeated")),
    "lost-is-sent": Build(lost_is_sent, ("cut-request", "refused")),
    "any-success": Build(any_success, ("login-page", "empty-success")),
    "sent-is-stored": Build(sent_is_stored, ("cut-request", "stuck-request")),
    "holes-pass": Build(holes_pass, ("event-dropped",)),
    "half-events": Build(half_events, ("event-cut",)),
    "half-heads": Build(half_heads, ("cut-answer",)),
}
