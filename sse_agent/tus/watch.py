"""What the request under way waits for, and how another thread breaks it.

A blocked system call can't be cancelled, but a socket can be shut down under it. That is done on a duplicate of the
socket, below TLS: `SSLSocket.shutdown` would make the worker go on in clear text, and the worker's own socket changes
its identity when TLS is wrapped around it, and may be closed, its number reused, at any moment.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from sse_agent.clock import Clock
from sse_agent.errors import AgentError, Stopped
from sse_agent.tus.answers import NotNow


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that each step may take without moving."""

    connect_s: float = 10.0
    """For the name, for all addresses together, and for TLS: each."""
    stall_s: float = 60.0
    """For a block of the body. tusd itself gives up a body that stands still for 60 s."""
    head_s: float = 45.0
    """tusd waits 20 s for an upload's lock before it answers, and proxies add theirs."""
    post_s: float = 150.0
    """tusd waits 15 s for each hook, and its own writing deadline is 120 s."""
    patch_s: float = 150.0
    """After the last byte. Also what an S3 store takes to complete a large upload."""
    delete_s: float = 60.0
    """Nobody waits for it; it is tried again."""
    idle_s: float = 50.0
    """A connection that was idle for longer is not used again: tusd closes it after 60 s."""


PATIENCE: Final = Patience()


@dataclass(slots=True)
class _Request:
    """The request under way. `verdict` is what another thread decided about it."""

    answer_s: float
    patience_s: float = 0.0
    deadline: float | None = None
    verdict: AgentError | None = None


@dataclass(slots=True, eq=False)
class Line:
    """One connection's breaker. Retired lines live on until the request ends: its answer may still be on the way."""

    _spare: socket.socket
    is_retired: bool = False

    def cut(self) -> None:
        """Every call that waits on the connection ends."""
        with suppress(OSError):
            self._spare.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._spare.close()


class Watch:
    """Shared by the one thread that makes requests and any others that break them."""

    def __init__(self, clock: Clock, patience: Patience) -> None:
        self.clock = clock
        self.patience = patience
        self._lock = threading.Lock()
        self._request: _Request | None = None
        self._is_stopped = False
        self._lines: set[Line] = set()
        self._wake_ups: set[Callable[[], None]] = set()

    # --- from other threads ---

    @property
    def deadline(self) -> float | None:
        """Monotonic instant by which the step under way must have moved; None when nothing is waited for."""
        request = self._request
        return None if request is None else request.deadline

    def abort(self) -> None:
        """The request under way, and later ones until `rearm`, end in Stopped."""
        with self._lock:
            self._is_stopped = True
            self._break(Stopped("the request was broken off"))

    def rearm(self) -> None:
        """Requests work again; one that was broken off stays broken."""
        with self._lock:
            self._is_stopped = False

    def expire(self) -> None:
        """Break the request under way if its deadline has passed.

        Looked at once more here: since the caller did, the step may have moved or another request begun.
        """
        with self._lock:
            request = self._request
            if request is None or request.deadline is None or self.clock.monotonic() < request.deadline:
                return
            self._break(no_answer(request.patience_s))

    def _break(self, verdict: AgentError) -> None:
        if self._request is not None:
            self._request.verdict = self._request.verdict or verdict
            self._request.deadline = None
        for line in self._lines:
            line.cut()
        for wake_up in self._wake_ups:
            wake_up()

    # --- from the thread that makes the request ---

    @contextmanager
    def request(self, answer_s: float) -> Iterator[_Request]:
        """One request, whose answer is due `answer_s` after its last byte. Raises Stopped, or TryAgain if one is on."""
        with self._lock:
            if self._is_stopped:
                raise Stopped("requests are stopped")
            if self._request is not None:
                raise NotNow("the last request is still being broken off")
            self._request = _Request(answer_s)
        try:
            yield self._request
        finally:
            with self._lock:
                self._request = None
                for line in [line for line in self._lines if line.is_retired]:
                    self._discard(line)

    def wait_to_connect(self) -> None:
        """A step on the way to an open connection begins."""
        self._wait(self.patience.connect_s)

    def wait_for_block(self) -> None:
        """Bytes go out."""
        self._wait(self.patience.stall_s)

    def wait_for_answer(self) -> None:
        """The last byte is out."""
        if self._request is not None:
            self._wait(self._request.answer_s)

    def _wait(self, patience_s: float) -> None:
        request = self._request
        if request is not None and request.verdict is None:
            request.patience_s = patience_s
            request.deadline = self.clock.monotonic() + patience_s

    def rest(self) -> None:
        """Nothing is waited for: the caller is reading its file."""
        if self._request is not None:
            self._request.deadline = None

    def check(self) -> None:
        """Raises what another thread decided."""
        if self._request is not None and self._request.verdict is not None:
            raise self._request.verdict

    def track(self, sock: socket.socket) -> Line:
        """From now on the socket can be cut. Raises what another thread decided in the meantime."""
        line = Line(sock.dup())
        with self._lock:
            self._lines.add(line)
            if self._request is not None and self._request.verdict is not None:
                line.cut()
        return line

    def retire(self, line: Line) -> None:
        """Its socket is closed, or will be when the answer is read."""
        with self._lock:
            line.is_retired = True
            if self._request is None:
                self._discard(line)

    def _discard(self, line: Line) -> None:
        self._lines.discard(line)
        line.close()

    @contextmanager
    def woken_by(self, wake_up: Callable[[], None]) -> Iterator[None]:
        """Within the block, breaking the request calls `wake_up`."""
        with self._lock:
            self._wake_ups.add(wake_up)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._wake_ups.discard(wake_up)


def no_answer(seconds: float) -> NotNow:
    """The words for every deadline that passed."""
    return NotNow(f"no answer for {seconds:g} s from the tus server")
