"""The local socket: a second process of this machine's user asks the running agent, in one line of JSON each way.

A Unix socket in the state directory, which is open to its owner alone: whoever can connect may also read the journal.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

from sse_agent import bugs
from sse_agent.board import Board, Upload
from sse_agent.desk import DEEDS, Desk, Done, Json, names
from sse_agent.errors import CannotStart, ErrorCode, GiveUp, TryAgain
from sse_agent.lifecycle import UploadState

SOCKET = "agent.sock"
REQUEST_LIMIT = 1024 * 1024
ANSWER_LIMIT = 64 * 1024 * 1024
LONGEST_NAME = 100
WITHIN_S = 30.0
CLOSES_WITHIN_S = 1.0
AT_ONCE = 8
ACTIVE_SHOWN = 64


class Wrong(Exception):
    """The request is none; its text says why."""


class LocalApi:
    """Answers until cancelled; see docs/reference/local-api.md."""

    def __init__(
        self,
        state_dir: Path,
        desk: Desk,
        status: Callable[[], Json],
        rotate: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """`rotate` replaces the machine's key, and returns the new one's fingerprint; None where there is none."""
        self._rotate = rotate
        self._path = state_dir / SOCKET
        self._desk = desk
        self._status = status
        self._turns = anyio.Semaphore(AT_ONCE)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started when it listens. A socket that can't be made is no reason not to upload."""
        # Left by a process that was killed: the journal's lock says that there is no other.
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        async with anyio.create_task_group() as group:

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.start_soon(self._serve, reader, writer)

            try:
                server = await self._listen(connected)
            except (OSError, NotImplementedError, AttributeError):
                # A platform without such sockets, or a disk that takes none.
                task_status.started()
                await anyio.sleep_forever()
            task_status.started()
            try:
                async with server:
                    await anyio.sleep_forever()
            finally:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    async def _listen(self, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> asyncio.Server:
        # asyncio's own streams: anyio's trip over a cancellation and a byte that come at the same time.
        with socket_name(self._path.parent) as name:
            server = await asyncio.start_unix_server(connected, name, limit=REQUEST_LIMIT)
        self._path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with anyio.move_on_after(WITHIN_S), suppress(OSError, asyncio.IncompleteReadError):
                async with self._turns:
                    try:
                        answer = await self.answer(await reader.readuntil(b"\n"))
                    except asyncio.LimitOverrunError:
                        answer = _error("INVALID", f"a request is one line of at most {REQUEST_LIMIT} bytes")
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        finally:
            writer.close()
            with anyio.move_on_after(CLOSES_WITHIN_S, shield=True), suppress(OSError):
                await writer.wait_closed()

    async def answer(self, line: bytes) -> Json:
        """What one request is answered with. Raises CannotStart: the journal is damaged."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or _text(request, "do") not in _ANSWERS:
                raise Wrong(f"a request is one JSON object whose member `do` is one of {', '.join(_ANSWERS)}")
            return {"ok": True, **await _ANSWERS[request["do"]](self, request)}
        except (ValueError, RecursionError):
            return _error("INVALID", "the request is no JSON")
        except Wrong as wrong:
            return _error("INVALID", str(wrong))
        except GiveUp as refused:
            return _error(refused.code, refused.message)
        except TryAgain as later:
            return _error("TRY_AGAIN", later.reason)
        except CannotStart:
            raise
        except Exception as bug:  # noqa: BLE001 - who only asks must not end the agent
            return _error("BUG", f"a bug in the agent: {bugs.place(bug)}")

    async def _status_now(self, _: Json) -> Json:
        return {"status": {**self._status(), **await self._desk.counts()}}

    async def _uploads(self, request: Json) -> Json:
        states, contains = _texts(request, "states"), _text(request, "contains")
        after, limit = _count(request, "after", 0), _count(request, "limit", 100)
        return await self._desk.listing(states, contains, after, limit)

    async def _details(self, request: Json) -> Json:
        return {"upload": await self._desk.details(_text(request, "fileId"))}

    async def _deed(self, request: Json) -> Json:
        name = str(request["do"])
        if request.get("all") is True:
            if not DEEDS[name].all_of:
                raise Wrong(f"{name} is done to uploads that are named, one by one")
            return _done(await self._desk.do_to_all(name))
        return _done(await self._desk.do(name, _texts(request, "fileIds")))

    async def _dead_letters(self, request: Json) -> Json:
        return await self._desk.dead_letters(_count(request, "limit", 100))

    async def _rotate_key(self, _: Json) -> Json:
        if self._rotate is None:
            reason = "no key is in use: no agent runs here, or it shows a fixed token"
            raise GiveUp(ErrorCode.WRONG_STATE, reason)
        return {"fingerprint": await self._rotate()}

    async def _revive(self, request: Json) -> Json:
        message_ids = None if request.get("all") is True else _texts(request, "messageIds")
        return {"count": await self._desk.revive_dead_letters(message_ids)}


_ANSWERS: dict[str, Callable[[LocalApi, Json], Awaitable[Json]]] = {
    "status": LocalApi._status_now,
    "uploads": LocalApi._uploads,
    "details": LocalApi._details,
    **dict.fromkeys(DEEDS, LocalApi._deed),
    "dead-letters": LocalApi._dead_letters,
    "send-dead-letters": LocalApi._revive,
    "rotate-key": LocalApi._rotate_key,
}


def status_of(board: Board, now: float) -> Json:
    """What only a running agent knows. `now` is monotonic; rates in bytes per second."""
    connection = board.connection
    return {
        "running": True,
        "version": board.version,
        "clientId": board.client_id,
        "controlPlane": board.control_plane,
        "seconds": round(now - (board.started_at or now), 1),
        "connection": {
            "state": connection.state,
            "transport": connection.transport or None,
            "seconds": round(now - connection.since, 1),
            "reason": connection.reason or None,
            "nextTrySeconds": None
            if connection.next_try_at is None
            else max(0.0, round(connection.next_try_at - now, 1)),
        },
        "rate": board.rate,
        "active": [_active(upload, now) for upload in board.first(UploadState.UPLOADING, ACTIVE_SHOWN)],
        "troubles": [trouble.text for trouble in board.troubles(now)],
    }


def _active(upload: Upload, now: float) -> Json:
    stalled_s, confirming_s = upload.stalled_s(now), upload.confirming_s(now)
    return {
        "fileId": upload.file_id,
        **names(upload.name.encode(errors="surrogateescape")),
        "fileSize": upload.size,
        "offset": upload.offset,
        "bytesSent": upload.bytes_sent,
        "rate": upload.rate,
        "etaSeconds": None if upload.left_s is None else round(upload.left_s),
        "stalledSeconds": None if stalled_s is None else round(stalled_s, 1),
        "confirmingSeconds": None if confirming_s is None else round(confirming_s, 1),
    }


@contextmanager
def socket_name(state_dir: Path) -> Iterator[str]:
    """The socket's name, in a form that is short enough for one: the kernel takes about 100 bytes."""
    name = str(state_dir / SOCKET)
    if len(os.fsencode(name)) < LONGEST_NAME or not Path("/proc/self/fd").is_dir():
        yield name
        return
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


def _text(request: Json, name: str) -> str:
    value = request.get(name, "")
    if not isinstance(value, str):
        raise Wrong(f"`{name}` is no text")
    return value


def _count(request: Json, name: str, default: int) -> int:
    value = request.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise Wrong(f"`{name}` is no whole number")
    return value


def _texts(request: Json, name: str) -> list[str]:
    value = request.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Wrong(f"`{name}` is no list of texts")
    return value


def _done(done: Done) -> Json:
    refused = [{"fileId": file_id, "code": why.code, "message": why.message} for file_id, why in done.refused]
    return {"count": done.count, "refused": refused}


def _error(code: str, message: str) -> Json:
    return {"ok": False, "error": {"code": code, "message": message}}
