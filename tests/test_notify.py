"""What systemd is told, over a socket such as it has; and that nothing which stands still is called alive."""

import os
import socket
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from sse_agent import events
from sse_agent.board import Board
from sse_agent.errors import TryAgain
from sse_agent.journal import Journal, Transaction
from sse_agent.notify import (
    STATUS_EVERY_S,
    STATUS_LIMIT,
    Notifier,
    Pulse,
    PulsingBell,
    PulsingClock,
    Supervisor,
    status_line,
    supervisor,
)
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in

WITHIN_S = 20.0
WATCHDOG_S = 60.0
AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


class Systemd:
    """The other end: every datagram that came, as its lines."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """All lines until now."""
        while True:
            try:
                self.heard += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    there = Systemd(f"@sse-agent-test-{uuid.uuid4()}")
    yield there
    there.close()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(WITHIN_S):
        while not condition():
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def notifying(
    systemd: Systemd,
    journal: Journal,
    clock: FakeClock,
    alive: Mapping[str, Callable[[], bool]] | None = None,
    board: Board | None = None,
) -> AsyncIterator[None]:
    """It runs within the block; both of its loops sleep when the block begins."""
    notifier = Notifier(
        Supervisor(systemd.address, WATCHDOG_S), Board() if board is None else board, journal, clock, alive or {}
    )
    async with anyio.create_task_group() as group:
        group.start_soon(notifier.run)
        await until(lambda: len(clock.sleeps) == 2)
        yield
        group.cancel_scope.cancel()


async def half_a_time(clock: FakeClock) -> None:
    """Until the watchdog was fed, or was not."""
    looks = clock.sleeps.count(WATCHDOG_S / 2)
    clock.advance(WATCHDOG_S / 2)
    await until(lambda: clock.sleeps.count(WATCHDOG_S / 2) > looks)


def environment(**variables: str) -> Callable[[str], str | None]:
    return variables.get


def test_the_environment_says_whom_to_tell_and_how_often() -> None:
    ours = str(os.getpid())
    assert supervisor(environment()) == Supervisor()
    assert supervisor(environment(NOTIFY_SOCKET="/run/n")) == Supervisor("/run/n", None)
    assert supervisor(environment(NOTIFY_SOCKET="@n", WATCHDOG_USEC="60000000")) == Supervisor("@n", 60.0)
    mine = environment(NOTIFY_SOCKET="@n", WATCHDOG_USEC="500000", WATCHDOG_PID=ours)
    assert supervisor(mine) == Supervisor("@n", 0.5)
    others = environment(NOTIFY_SOCKET="@n", WATCHDOG_USEC="500000", WATCHDOG_PID="1")
    assert supervisor(others) == Supervisor("@n", None)
    for wrong in ("", "0", "soon", "-1", "²"):
        assert supervisor(environment(NOTIFY_SOCKET="@n", WATCHDOG_USEC=wrong)).watchdog_s is None
    assert supervisor(environment(NOTIFY_SOCKET="vsock:2:1", WATCHDOG_USEC="1")) == Supervisor()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A socket's name has room for about a hundred bytes only."""
    with tempfile.TemporaryDirectory(prefix="n-") as folder:
        yield Path(folder)


def test_a_socket_may_be_a_file_or_an_abstract_name_and_nobody_there_is_no_trouble() -> None:
    with short_folder() as folder:
        for address in (str(folder / "notify"), f"@{folder}"):
            there = Systemd(address)
            Supervisor(address).tell("READY=1", "STATUS=here")
            assert there.listen() == ["READY=1", "STATUS=here"]
            there.close()
            Supervisor(address).tell("READY=1")
        Supervisor(str(folder / "nowhere")).tell("READY=1")
        Supervisor(None).tell("READY=1")


def test_a_supervisor_that_does_not_read_holds_nothing_up(systemd: Systemd) -> None:
    for number in range(10_000):
        Supervisor(systemd.address).tell(f"STATUS={number}")
    assert 0 < len(systemd.listen()) < 10_000


async def test_ready_is_said_at_once_and_stopping_at_the_end(tmp_path: Path, systemd: Systemd) -> None:
    board = Board()
    async with journal_in(tmp_path) as journal:
        async with notifying(systemd, journal, FakeClock(), board=board):
            assert systemd.listen() == ["READY=1", "STATUS=connecting; nothing to upload"]
            board.apply(events.AgentStopping("SIGTERM"), 5.0, AT)
        assert systemd.listen()[2:] == ["STOPPING=1", "STATUS=stopping (SIGTERM)"]


async def test_without_a_supervisor_there_is_nothing_to_do(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        with anyio.fail_after(WITHIN_S):
            await Notifier(Supervisor(), Board(), journal, FakeClock(), {}).run()


async def test_a_status_comes_at_most_every_five_seconds_and_only_when_it_is_another_one(
    tmp_path: Path, systemd: Systemd
) -> None:
    clock, board = FakeClock(), Board()
    async with journal_in(tmp_path) as journal, notifying(systemd, journal, clock, board=board):
        for second in range(1, 31):
            if second <= 12:
                board.apply(events.UploadQueued(f"f{second}", "x", 1024, 0, 5, "new"), 5.0, AT)
            looks = clock.sleeps.count(STATUS_EVERY_S)
            clock.advance(1.0)
            if second % STATUS_EVERY_S == 0:
                await until(lambda looks=looks: clock.sleeps.count(STATUS_EVERY_S) > looks)
        told = [line for line in systemd.listen()[2:] if line.startswith("STATUS=")]
    assert told == [
        "STATUS=connecting; 5 queued (5.00 KiB)",
        "STATUS=connecting; 10 queued (10.0 KiB)",
        "STATUS=connecting; 12 queued (12.0 KiB)",
    ]


async def test_the_watchdog_is_fed_twice_in_its_time_while_all_moves(tmp_path: Path, systemd: Systemd) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path) as journal, notifying(systemd, journal, clock, {"stream": lambda: True}):
        for times in range(1, 4):
            await half_a_time(clock)
            assert systemd.listen().count("WATCHDOG=1") == times


async def test_one_part_that_stands_still_is_enough_not_to_feed_it_and_is_named(
    tmp_path: Path, systemd: Systemd
) -> None:
    clock, moves = FakeClock(), {"stream": True, "uploader": False}
    alive = {name: lambda name=name: moves[name] for name in moves}
    async with journal_in(tmp_path) as journal, notifying(systemd, journal, clock, alive):
        await half_a_time(clock)
        assert "WATCHDOG=1" not in systemd.listen()
        clock.advance(STATUS_EVERY_S)
        await until(lambda: "STATUS=stuck: uploader; connecting; nothing to upload" in systemd.listen())
        moves["uploader"] = True
        await half_a_time(clock)
        assert systemd.listen().count("WATCHDOG=1") == 1


async def test_a_journal_thread_that_is_blocked_does_not_feed_it(tmp_path: Path, systemd: Systemd) -> None:
    clock, is_blocked, may_go = FakeClock(), threading.Event(), threading.Event()

    def block(_: Transaction) -> None:
        is_blocked.set()
        assert may_go.wait(WITHIN_S)

    async with journal_in(tmp_path) as journal, notifying(systemd, journal, clock):
        async with anyio.create_task_group() as group:
            group.start_soon(journal.write, block)
            await until(is_blocked.is_set)
            clock.advance(WATCHDOG_S / 2)
            await until(lambda: len(journal._steps) == 1)
            clock.advance(STATUS_EVERY_S)
            await until(lambda: "STATUS=stuck: journal; connecting; nothing to upload" in systemd.listen())
            assert "WATCHDOG=1" not in systemd.listen()
            may_go.set()
        await until(lambda: "WATCHDOG=1" in systemd.listen())


async def test_a_full_disk_is_no_reason_to_be_killed(tmp_path: Path, systemd: Systemd) -> None:
    clock = FakeClock()

    class Full(Journal):
        async def read(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise TryAgain("the disk is full")

    async with journal_in(tmp_path) as journal:
        journal.__class__ = Full
        async with notifying(systemd, journal, clock):
            await half_a_time(clock)
            assert "WATCHDOG=1" in systemd.listen()
        journal.__class__ = Journal


async def test_a_loop_is_alive_while_it_rests_and_when_it_came_round_and_at_no_other_time() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    assert not pulse.look(), "it never came"
    async with anyio.create_task_group() as group:
        group.start_soon(PulsingClock(clock, pulse).sleep, 3600.0)
        await until(lambda: clock.sleeps)
        for _ in range(3):
            assert pulse.look()
            clock.jump(600)
        clock.advance(3600.0)
    assert pulse.look(), "it came round"
    assert not pulse.look(), "it is stuck in whatever came then"


async def test_a_loop_that_does_not_wake_from_its_rest_is_not_alive() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    with pulse.resting(10.0):
        assert pulse.look()
        clock.advance(30.0)
        assert not pulse.look()


async def test_a_loop_that_waits_at_its_bell_is_alive_and_the_bell_rings_as_any_other() -> None:
    pulse = Pulse(FakeClock())
    bell = PulsingBell(pulse)
    bell.ring()
    with anyio.fail_after(WITHIN_S):
        await bell.wait(3600.0)
    assert pulse.look()
    assert not pulse.look()
    async with anyio.create_task_group() as group:
        group.start_soon(bell.wait, 3600.0)
        await until(lambda: pulse._rests)
        assert pulse.look()
        bell.ring()


def test_the_status_line_speaks_as_the_console_does_and_obeys_nobody() -> None:
    board = Board()
    board.apply(events.AgentStarted("1", "c", "https://c", 1, {"queued": 117, "paused": 2}, 1 << 30), 0.0, AT)
    board.apply(events.StreamConnected("sse", True, "k/1"), 1.0, AT)
    for number in range(3):
        board.apply(events.UploadQueued(f"q{number}", "x", 1 << 20, 0, 5, "new"), 2.0, AT)
        board.apply(events.UploadQueued(f"u{number}", "x", 1 << 20, 0, 5, "new"), 2.0, AT)
        board.apply(events.UploadStarted(f"u{number}", "x", 1 << 20, 0, 1), 3.0, AT)
        board.apply(events.UploadProgressed(f"u{number}", 0, 1000, 1 << 20, 1 << 19), 4.0, AT)
    assert status_line(board) == "connected; 3 uploading, 120 queued (1.00 GiB), 2 paused, 1.50 MiB/s"
    board.apply(events.StreamLost("\x1b[2J\nREADY=1" + "x" * 1000, 3.0, 1), 9.0, AT)
    line = status_line(board)
    assert line.startswith("waiting for the control plane: \\x1b[2J\\nREADY=1x")
    assert line.isprintable()
    assert len(line) <= STATUS_LIMIT
