"""The local socket: whatever is asked, and however."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent import events
from sse_agent.board import Board
from sse_agent.desk import Desk
from sse_agent.events import Feed
from sse_agent.journal import uploads
from sse_agent.localapi import REQUEST_LIMIT, SOCKET, LocalApi, socket_name, status_of
from sse_agent.messages import UploadStart
from tests.doubles.journals import journal_in

WITHIN_S = 10.0


@asynccontextmanager
async def api(folder: Path) -> AsyncIterator[LocalApi]:
    async with journal_in(folder) as journal:
        start = UploadStart(file_id="f", file_name="a.bin")
        await journal.write(uploads.add, "start", start, "https://tus.example.com/files/", 7)
        yield LocalApi(folder, Desk(journal, Feed(), lambda: None), lambda: status_of(Board(), 5.0))


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[None]:
    async with api(folder) as there, anyio.create_task_group() as group:
        with anyio.fail_after(WITHIN_S):
            await group.start(there.run)
        yield
        group.cancel_scope.cancel()


async def connect(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with socket_name(folder) as name:
        return await asyncio.open_unix_connection(name)


async def ask(folder: Path, line: bytes) -> dict[str, Any]:
    with anyio.fail_after(WITHIN_S):
        reader, writer = await connect(folder)
        try:
            writer.write(line)
            result: dict[str, Any] = json.loads(await reader.read())
        finally:
            writer.close()
            await writer.wait_closed()
    return result


async def test_one_line_is_answered_with_one_line_and_only_the_owner_may_ask(tmp_path: Path) -> None:
    async with listening(tmp_path):
        assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
        told = await ask(tmp_path, b'{"do": "status"}\n')
        assert told["ok"]
        assert told["status"]["uploads"] == {"queued": 1}
        assert (await ask(tmp_path, b'{"do": "pause", "fileIds": ["f"]}\n')) == {"ok": True, "count": 1, "refused": []}
    assert not (tmp_path / SOCKET).exists(), "nobody is misled by what is left"


async def test_a_socket_that_a_killed_agent_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_bytes(b"")
    async with api(tmp_path) as there, anyio.create_task_group() as group:
        with anyio.fail_after(WITHIN_S):
            await group.start(there.run)
        assert (tmp_path / SOCKET).is_socket()
        group.cancel_scope.cancel()


async def test_a_state_directory_may_have_a_name_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with listening(deep):
        assert (await ask(deep, b'{"do": "status"}\n'))["ok"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"\n",
        b"no JSON\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b'{"do": "destroy"}\n',
        b'{"do": ["status"]}\n',
        b'{"do": "cancel", "all": true}\n',
        b'{"do": "pause", "fileIds": "f"}\n',
        b'{"do": "pause", "fileIds": [1]}\n',
        b'{"do": "uploads", "limit": -1}\n',
        b'{"do": "uploads", "limit": true}\n',
        b'{"do": "uploads", "after": 1e3}\n',
        b'{"do": "uploads", "states": [["queued"]]}\n',
        b'{"do": "details"}\n',
    ],
)
async def test_what_is_no_request_is_answered_with_what_is_wrong_and_changes_nothing(
    tmp_path: Path, request_line: bytes
) -> None:
    async with api(tmp_path) as there:
        told = await there.answer(request_line)
        assert told["ok"] is False
        assert told["error"]["message"]
        assert (await there.answer(b'{"do": "status"}'))["status"]["uploads"] == {"queued": 1}


async def test_a_bug_in_an_answer_is_told_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stumble(*_: object) -> None:
        raise KeyError("5ecre7")

    monkeypatch.setattr(Desk, "details", stumble)
    async with listening(tmp_path):
        told = await ask(tmp_path, b'{"do": "details", "fileId": "f"}\n')
        assert told["error"]["code"] == "BUG"
        assert "5ecre7" not in told["error"]["message"]
        assert (await ask(tmp_path, b'{"do": "status"}\n'))["ok"]


async def test_whoever_says_nothing_or_too_much_holds_up_nobody(tmp_path: Path) -> None:
    async with listening(tmp_path):
        silent, chatty = await connect(tmp_path), await connect(tmp_path)
        chatty[1].write(b"x" * (REQUEST_LIMIT * 2))
        with anyio.fail_after(WITHIN_S):
            told = json.loads(await chatty[0].readline())
        assert "one line of at most" in told["error"]["message"]
        assert (await ask(tmp_path, b'{"do": "status"}\n'))["ok"]
        for _, writer in (silent, chatty):
            writer.close()


async def test_an_agent_ends_whoever_is_connected(tmp_path: Path) -> None:
    async with listening(tmp_path):
        reader, writer = await connect(tmp_path)
    with anyio.fail_after(WITHIN_S):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_of_an_upload_that_stalls_it_is_told_for_how_long() -> None:
    board, at = Board(), datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    board.apply(events.UploadStarted("f", "a.bin", 100, 0, 1), 10.0, at)
    board.apply(events.UploadProgressed("f", 0, 40, 100, 8, 40), 11.0, at)
    [active] = status_of(board, 12.0)["active"]
    assert (active["offset"], active["bytesSent"], active["rate"], active["stalledSeconds"]) == (0, 40, 8, None)
    board.apply(events.UploadProgressed("f", 0, 40, 100, 0, 40), 22.0, at)
    [active] = status_of(board, 71.0)["active"]
    assert (active["rate"], active["etaSeconds"], active["stalledSeconds"]) == (0, None, 60.0)
    board.apply(events.UploadProgressed("f", 0, 100, 100, 0, 100, confirming=True), 75.0, at)
    [active] = status_of(board, 90.0)["active"]
    assert (active["confirmingSeconds"], active["stalledSeconds"]) == (15.0, None)
