"""Starts of the program from a process that has imported it already: most of a short start is reading modules.

Each is a process of its own, forked from one that has a single thread and has done nothing but import. Arguments,
environment, folder, rights, output and exit code are those of a `python -m sse_agent …` that was started so.

`python -m tests.cli.starter FD` is the process that is forked from; orders come from the Unix socket FD.
"""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
ORDER_LIMIT = 256 * 1024
WITHIN_S = 120.0
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC_PRIVATE = 0x44000
CAPABILITIES_VERSION_3 = 0x20080522
LIBC = ctypes.CDLL(None, use_errno=True)


class Start:
    """One start. `output` is what it has printed, on standard output and error alike, as far as it was read."""

    def __init__(self, output: int, keeper: int) -> None:
        self._output, self._keeper = output, keeper
        self._told = ""
        self._code: int | None = None
        self.output = ""
        self.pid = int(self._line())

    def read(self, within_s: float = 1.0) -> bool:
        """More of the output, if there is some by then; False at its end."""
        if not select.select([self._output], [], [], within_s)[0]:
            return True
        data = os.read(self._output, 65536)
        self.output += data.decode(errors="replace")
        return bool(data)

    def read_until(self, is_enough: Callable[[str], bool]) -> None:
        """Raises AssertionError if that is never so."""
        until = time.monotonic() + WITHIN_S
        while not is_enough(self.output):
            if not self.read() or time.monotonic() > until:
                raise AssertionError(f"it was not seen:\n{self.output}")

    def wait(self) -> int:
        """The exit code, once all that it printed was read; negative is the signal that ended it."""
        until = time.monotonic() + WITHIN_S
        while self.read():
            if time.monotonic() > until:
                raise AssertionError(f"it has not ended after {WITHIN_S:.0f} s:\n{self.output}")
        return self._ended()

    def abandon(self) -> None:
        """Let go of it without a word, as tests do that are killed."""
        os.close(self._output)
        os.close(self._keeper)

    def kill(self) -> None:
        """At once, if it still runs; when this returns it does not."""
        if self._code is None and not select.select([self._keeper], [], [], 0)[0]:
            # Between these two lines it may end, but its keeper has only just been told: nobody else has its PID yet.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._ended()

    def close(self) -> None:
        """Kill it, and let go of it."""
        self.kill()
        os.close(self._output)
        os.close(self._keeper)

    def _ended(self) -> int:
        if self._code is None:
            self._code = int(self._line())
        return self._code

    def _line(self) -> str:
        until = time.monotonic() + WITHIN_S
        while "\n" not in self._told:
            if not select.select([self._keeper], [], [], max(0.0, until - time.monotonic()))[0]:
                raise AssertionError("whoever waits for it does not answer")
            data = os.read(self._keeper, 64)
            if not data:
                raise AssertionError("whoever waits for it is gone")
            self._told += data.decode()
        line, _, self._told = self._told.partition("\n")
        return line


class Starter:
    """`with Starter() as starter`; any thread may start something."""

    def __enter__(self) -> "Starter":
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.cli.starter", str(theirs.fileno())]
        self._child = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._turn = threading.Lock()
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._child.wait(WITHIN_S)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        capabilities: str = "",
        full_disk: str = "",
    ) -> Start:
        """`capabilities` that it is to lack, as numbers with commas; `full_disk`: a folder that is to be one."""
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "capabilities": capabilities,
            "full_disk": full_disk,
        }
        (output, printed), (keeper, told) = os.pipe(), os.pipe()
        with self._turn:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [printed, told])
        os.close(printed)
        os.close(told)
        return Start(output, keeper)


# --- the process that is forked from ----------------------------------------------------------------


def serve(orders: socket.socket) -> None:
    """Until nobody gives orders any more."""
    import sse_agent.agent
    import sse_agent.checks.all
    import sse_agent.views
    from sse_agent.cli import main

    assert sse_agent.views
    # Ctrl-C is for those that were started, and keepers wait for themselves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, ORDER_LIMIT, 2)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _keep(json.loads(order), *descriptors, main)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(order: dict[str, Any], output: int, told: int, main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Start it, say its PID, and then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(order, output, main)
    os.close(output)
    os.write(told, f"{pid}\n".encode())
    poller = select.poll()
    poller.register(os.pidfd_open(pid), select.POLLIN)
    # Nobody reads it any more (POLLERR): the tests themselves were killed.
    poller.register(told, 0)
    if any(descriptor == told for descriptor, _ in poller.poll()):
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(told, f"{code}\n".encode())
    os._exit(0)


def _become(order: dict[str, Any], output: int, main: Callable[[Sequence[str]], int]) -> NoReturn:
    code: int | str | None = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape")
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        os.environ.clear()
        os.environ.update(order["environment"])
        time.tzset()
        os.chdir(order["folder"])
        _confine(order["capabilities"], order["full_disk"])
        code = main(order["arguments"])
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else bool(code))


def _confine(capabilities: str, full_disk: str) -> None:
    """Root may read and write everything: without some capabilities it is a user like any other.

    The full disk is one of a single page, mounted where only this process sees it.
    """
    if full_disk:
        user, group, is_root = os.geteuid(), os.getegid(), os.geteuid() == 0
        _done(LIBC.unshare(CLONE_NEWNS if is_root else CLONE_NEWNS | CLONE_NEWUSER), "mount a disk")
        if not is_root:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                Path("/proc/self", name).write_text(text)
        _done(LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount a disk")
        _done(LIBC.mount(b"small", full_disk.encode(), b"tmpfs", 0, b"size=4k,mode=700"), "mount a disk")
    if capabilities:
        # capset(2): of three sets of 64 bits the lower halves come first.
        header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION_3, 0), (ctypes.c_uint32 * 6)()
        _done(LIBC.capget(header, sets), "look at capabilities")
        for n in range(3):
            sets[n] &= ~sum(1 << int(one) for one in capabilities.split(","))
        _done(LIBC.capset(header, sets), "drop a capability")


def _done(result: int, what: str) -> None:
    if result != 0:
        print(f"no way to {what}: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
