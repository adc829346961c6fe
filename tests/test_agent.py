"""The whole agent as a process of its own, against a control plane that does as it is told: how it begins and ends."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.text import TextReceiveStream

from sse_agent.agent import DRAIN_S, FAREWELL_S, tell_of_before
from sse_agent.board import Board
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import Feed
from sse_agent.journal import transitions, uploads
from sse_agent.lifecycle import UploadState
from sse_agent.messages import UploadStart
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import ControlPlane, Request, command, control_plane
from tests.doubles.journals import journal_in

WITHIN_S = 30.0


@dataclass
class Agent:
    """A process, and what it says on standard error."""

    process: anyio.abc.Process
    log: str = ""
    _spoken: anyio.Event = field(default_factory=anyio.Event)

    async def listen(self) -> None:
        """Until it says no more."""
        assert self.process.stderr is not None
        async for text in TextReceiveStream(self.process.stderr):
            self.log += text
            self._spoken.set()
            self._spoken = anyio.Event()

    async def says(self, text: str) -> None:
        """Wait for it."""
        with anyio.fail_after(WITHIN_S):
            while text not in self.log:
                await self._spoken.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        with anyio.fail_after(WITHIN_S):
            return await self.process.wait()


def environment(plane: ControlPlane, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("SSE_AGENT_")}
    return {
        **{name: value for name, value in inherited.items() if not name.lower().endswith("_proxy")},
        "SSE_AGENT_CONTROL_PLANE_URL": plane.url,
        "SSE_AGENT_CLIENT_ID": "agent-1",
        "SSE_AGENT_TOKEN": "secret",
        "SSE_AGENT_STATE_DIR": str(folder / "state"),
        "SSE_AGENT_ALLOWED_FOLDERS": f'["{folder / "files"}"]',
        "XDG_CONFIG_HOME": str(folder / "config"),
        **more,
    }


@asynccontextmanager
async def agent(plane: ControlPlane, folder: Path, **more: str) -> AsyncIterator[Agent]:
    """It runs within the block, and is killed if it did not end by itself."""
    (folder / "files").mkdir(exist_ok=True)
    process = await anyio.open_process(
        [sys.executable, "-m", "sse_agent", "run", "--headless"],
        env=environment(plane, folder, more),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    async with process, anyio.create_task_group() as group:
        there = Agent(process)
        group.start_soon(there.listen)
        try:
            yield there
        finally:
            if process.returncode is None:
                process.kill()


async def connected(plane: ControlPlane) -> Request:
    """The agent's stream, greeted; its own greeting received."""
    stream = await plane.stream_request()
    await stream.open_stream(floor="k1/1")
    greeting = await plane.post()
    assert greeting.types == ["CLIENT_CONNECTED"]
    await greeting.accept()
    return stream


async def until(plane: ControlPlane, kind: str) -> Request:
    """Take everything that comes until one of that type; it is left to answer."""
    while True:
        request = await plane.post()
        if kind in request.types:
            return request
        await request.accept()


async def test_uploads_that_failed_before_the_start_have_names_on_the_board(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        start = UploadStart(file_id="f", file_name="old scan.tiff")
        await journal.write(uploads.add, "start", start, "https://tus.example.com/files/", 7)
        await journal.write(transitions.begin, "f")
        failure = GiveUp(ErrorCode.NO_PROGRESS, "no progress for 24 h", retryable=True)
        await journal.write(transitions.settle, "f", failure, 1.0)
        board, clock = Board(), FakeClock()
        feed = Feed()
        with feed.listening(lambda event: board.apply(event, clock.monotonic(), clock.now())):
            await tell_of_before(journal, feed, board, "https://control.example.com")
        [failed] = board.failed.values()
        assert (failed.name, failed.reason) == ("old scan.tiff", "NO_PROGRESS: no progress for 24 h")
        assert (failed.is_retryable, board.count(UploadState.FAILED)) == (True, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_says_goodbye_and_ends_with_0(tmp_path: Path, number: int) -> None:
    async with control_plane() as plane, agent(plane, tmp_path) as there:
        stream = await connected(plane)
        await stream.say("k1/1", command("c-1"))
        acknowledged = await until(plane, "ACK")
        there.signal(number)
        await acknowledged.accept()
        farewell = await until(plane, "CLIENT_DISCONNECTED")
        assert farewell.messages[-1]["payload"] == {"reason": signal.Signals(number).name}
        await farewell.accept()
        assert await there.ended() == 0
        await there.says('"agent.stopped"')


async def test_a_parked_agent_sends_nothing_more_and_a_signal_ends_it_with_0(tmp_path: Path) -> None:
    async with control_plane() as plane, agent(plane, tmp_path) as there:
        await (await plane.stream_request()).problem(410, "agent-deleted")
        await there.says('"agent.parked"')
        there.signal(signal.SIGTERM)
        assert await there.ended() == 0
        assert len(plane.seen) == 1


async def test_a_second_signal_does_not_wait_for_the_farewell(tmp_path: Path) -> None:
    async with control_plane() as plane, agent(plane, tmp_path) as there:
        await connected(plane)
        there.signal(signal.SIGTERM)
        await until(plane, "CLIENT_DISCONNECTED")
        there.signal(signal.SIGTERM)
        with anyio.fail_after(FAREWELL_S * 0.9):
            assert await there.ended() == 0
        await there.says('"agent.stopped"')


async def test_a_farewell_that_nobody_answers_ends_in_time(tmp_path: Path) -> None:
    async with control_plane() as plane, agent(plane, tmp_path) as there:
        await connected(plane)
        there.signal(signal.SIGTERM)
        await until(plane, "CLIENT_DISCONNECTED")
        with anyio.fail_after(DRAIN_S):
            assert await there.ended() == 0


async def test_a_second_agent_on_one_journal_ends_with_75_and_the_first_goes_on(tmp_path: Path) -> None:
    async with control_plane() as plane, agent(plane, tmp_path) as first:
        stream = await connected(plane)
        async with agent(plane, tmp_path) as second:
            assert await second.ended() == 75
            await second.says("another sse-agent is running")
        await stream.say("k1/1", command("c-1"))
        await (await until(plane, "ACK")).accept()
        assert first.process.returncode is None


async def test_wrong_settings_end_with_78_before_anything_is_opened(tmp_path: Path) -> None:
    async with control_plane() as plane:
        async with agent(plane, tmp_path, SSE_AGENT_MAX_CONCURRENT_UPLOADS="none") as there:
            assert await there.ended() == 78
            await there.says("SSE_AGENT_MAX_CONCURRENT_UPLOADS")
        async with agent(plane, tmp_path, ALL_PROXY="socks9://proxy.example.com") as there:
            assert await there.ended() == 78
            await there.says("proxy")
        assert plane.seen == []


async def test_killed_it_comes_back_with_the_next_epoch_from_its_cursor_and_says_again_what_was_not_received(
    tmp_path: Path,
) -> None:
    async with control_plane() as plane:
        async with agent(plane, tmp_path) as there:
            stream = await connected(plane)
            journal, epoch, instance = (stream.headers[f"agent-{name}"] for name in ("journal", "epoch", "instance"))
            await stream.say("k1/1", command("c-1"))
            lost = await until(plane, "ACK")
            there.signal(signal.SIGKILL)
            assert await there.ended() == -signal.SIGKILL
            await lost.cut()
        async with agent(plane, tmp_path):
            stream = await plane.stream_request()
            assert stream.headers["last-event-id"] == "k1/1"
            assert stream.headers["agent-journal"] == journal
            assert int(stream.headers["agent-epoch"]) == int(epoch) + 1
            assert stream.headers["agent-instance"] != instance
            await stream.open_stream(floor="k1/1")
            await (await plane.post()).accept()
            again = await until(plane, "ACK")
            ack = next(message for message in lost.messages if message["type"] == "ACK")
            assert ack in again.messages
