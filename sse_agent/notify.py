"""What systemd is told (sd_notify(3)): READY, STATUS, STOPPING, and WATCHDOG while everything that must move does."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import anyio

from sse_agent.board import Board
from sse_agent.clock import Clock
from sse_agent.errors import TryAgain
from sse_agent.journal import Bell, Journal, Transaction
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, printable

STATUS_EVERY_S = 5.0
STATUS_LIMIT = 512
LATE_S = 1.0
SHOWN_STATES = (UploadState.UPLOADING, UploadState.WAITING, UploadState.QUEUED, UploadState.PAUSED)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Who started us and wants to be told. `watchdog_s`: how often it wants to hear WATCHDOG; None: not at all."""

    address: str | None = None
    watchdog_s: float | None = None

    def tell(self, *assignments: str) -> None:
        """One datagram; without an address nothing. Never raises and never waits: nobody may hold up the agent."""
        family = getattr(socket, "AF_UNIX", None)
        if self.address is None or family is None:
            return
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(errors="replace"), _name_of(self.address))


def supervisor(variable: Callable[[str], str | None]) -> Supervisor:
    """As the environment says; `variable` reads it. A watchdog that is meant for another process is none of ours."""
    address = variable("NOTIFY_SOCKET")
    if not address or address[0] not in "/@":
        return Supervisor()
    usec, pid = variable("WATCHDOG_USEC") or "", variable("WATCHDOG_PID") or ""
    is_wanted = usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
    return Supervisor(address, int(usec) / 1e6 if is_wanted else None)


def _name_of(address: str) -> str:
    # In Linux's abstract namespace, where no file stands for it.
    return "\0" + address[1:] if address.startswith("@") else address


class Pulse:
    """Of one loop: it is alive if it came round since the last look, or rests until an instant that is to come.

    Waiting for what has no end (an answer, a lock, a callback) is no rest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._has_come_round = False
        self._rests: dict[object, float] = {}

    @contextmanager
    def resting(self, seconds: float) -> Iterator[None]:
        """Within the block, for so long."""
        rest = object()
        self._rests[rest] = self._clock.monotonic() + seconds
        try:
            yield
        finally:
            del self._rests[rest]
            self._has_come_round = True

    def look(self) -> bool:
        """Whether the loop is alive. The next look asks about the time from now on."""
        has_come_round, self._has_come_round = self._has_come_round, False
        now = self._clock.monotonic()
        return has_come_round or any(until + LATE_S > now for until in self._rests.values())


class PulsingClock:
    """A loop's own clock: to sleep is to rest."""

    def __init__(self, clock: Clock, pulse: Pulse) -> None:
        self._clock = clock
        self._pulse = pulse

    def now(self) -> datetime:
        """As the clock behind it."""
        return self._clock.now()

    def monotonic(self) -> float:
        """As the clock behind it."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As the clock behind it."""
        with self._pulse.resting(seconds):
            await self._clock.sleep(seconds)


class PulsingBell(Bell):
    """A loop's own bell: to wait at it is to rest."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__()
        self._pulse = pulse

    async def wait(self, at_most_s: float) -> None:
        """Until somebody rings."""
        with self._pulse.resting(at_most_s):
            await super().wait(at_most_s)


class Notifier:
    """Tells the supervisor how the agent is. `alive` says of each part, by its name, whether it moved meanwhile."""

    def __init__(
        self,
        supervisor: Supervisor,
        board: Board,
        journal: Journal,
        clock: Clock,
        alive: Mapping[str, Callable[[], bool]],
    ) -> None:
        self._supervisor = supervisor
        self._board = board
        self._journal = journal
        self._clock = clock
        self._alive = alive
        self._stuck: list[str] = []
        self._asked_at: float | None = None

    async def run(self) -> None:
        """From now on the agent is ready; cancelled, it is stopping. Start it after all other loops."""
        if self._supervisor.address is None:
            return
        self._supervisor.tell("READY=1", f"STATUS={status_line(self._board)}")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch)
                await self._report()
        finally:
            reason = f" ({self._board.stopping})" if self._board.stopping else ""
            self._supervisor.tell("STOPPING=1", f"STATUS=stopping{reason}")

    async def _report(self) -> None:
        """The newest status, when it is another one."""
        told = status_line(self._board)
        while True:
            await self._clock.sleep(STATUS_EVERY_S)
            line = status_line(self._board, [*self._stuck, *self._silent_journal()])
            if line != told:
                self._supervisor.tell(f"STATUS={line}")
                told = line

    async def _watch(self) -> None:
        """Twice in the supervisor's time. Without an answer of the journal's thread it goes no further than that."""
        if self._supervisor.watchdog_s is None:
            return
        while True:
            await self._clock.sleep(self._supervisor.watchdog_s / 2)
            self._asked_at = self._clock.monotonic()
            # A full disk is an answer, too; a restart would not make room.
            with suppress(TryAgain):
                await self._journal.read(_nothing)
            self._asked_at = None
            self._stuck = [name for name, is_alive in self._alive.items() if not is_alive()]
            if not self._stuck:
                self._supervisor.tell("WATCHDOG=1")

    def _silent_journal(self) -> list[str]:
        has_waited = self._asked_at is not None and self._clock.monotonic() - self._asked_at >= STATUS_EVERY_S
        return ["journal"] if has_waited else []


def _nothing(_: Transaction) -> None:
    """That the writer thread came round to it is all there is to know."""


def status_line(board: Board, stuck: Sequence[str] = ()) -> str:
    """`connected; 3 uploading, 120 queued (1.20 GiB), 12.3 MiB/s`: one line, in the words of the console."""
    connection = board.connection
    state = "waiting for the control plane" if connection.state == "waiting" else str(connection.state)
    parts = [f"{state}: {connection.reason}" if connection.reason else state]
    if stuck:
        parts.insert(0, f"stuck: {', '.join(stuck)}")
    counts = [f"{count:,} {state}" for state in SHOWN_STATES if (count := board.count(state))]
    if board.count(UploadState.QUEUED) and board.queued_bytes:
        at = next(n for n, text in enumerate(counts) if text.endswith(UploadState.QUEUED))
        counts[at] += f" ({byte_count(board.queued_bytes)})"
    if board.count(UploadState.UPLOADING):
        counts.append(f"{byte_count(board.rate)}/s")
    parts.append(", ".join(counts) or "nothing to upload")
    return printable("; ".join(parts))[:STATUS_LIMIT]
