"""Lives of the agent without the second that Python takes to read its code: each is a fork of one that has read it.

A fork begins where `sse-agent run` begins, with nothing open and nothing known; what is killed is a process like any
other. The last life of a run, and some before it, are begun as everybody begins them all the same.
"""

import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

READY_WITHIN_S = 60.0


class Life:
    """One process. The part of subprocess.Popen that a world needs."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number if one ended it; None while it runs."""
        if self._code is None and (line := self._nursery.line(0.0)):
            self._code = int(line)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, when it has ended. Raises TimeoutExpired after `timeout` seconds."""
        if self._code is None:
            line = self._nursery.line(timeout)
            if not line:
                raise subprocess.TimeoutExpired("sse-agent", timeout or 0.0)
            self._code = int(line)
        return self._code

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self._pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Begins one life after the other; the one before has to be over."""

    def __init__(self, environment: Mapping[str, str], folder: Path, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.crash_test_harness.nursery"],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )

    def begin(self, arguments: Sequence[str]) -> Life:
        """With arguments for launcher.py."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        self._process.stdin.flush()
        line = self.line(READY_WITHIN_S)
        if not line:
            raise RuntimeError("no life began; see the agent's log")
        return Life(self, int(line))

    def line(self, within_s: float | None) -> str:
        """The next word of the nursery: a process ID, or an exit code. Empty if none comes in time."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], within_s)[0]:
            return ""
        # One line for each life's beginning and one for its end: nothing is left in a buffer.
        return self._process.stdout.readline().decode().strip()

    def close(self) -> None:
        """No more lives."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """For each line of arguments: fork, say its process ID, wait for it, say its exit code."""
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            _live(json.loads(line))
        _say(pid)
        _, status = os.waitpid(pid, 0)
        _say(os.waitstatus_to_exitcode(status))


def _say(number: int) -> None:
    os.write(sys.stdout.fileno(), b"%d\n" % number)


def _live(arguments: list[str]) -> None:
    """In the fork: nothing of the nursery's own is left open, and nothing of it runs after the agent."""
    from scripts.crash_test_harness import launcher

    code = 1
    try:
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        code = launcher.main(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    # All that a headless agent reads before it does anything.
    import anyio._backends._asyncio  # noqa: F401

    import scripts.crash_test_harness.launcher  # noqa: F401
    import sse_agent.agent
    import sse_agent.views  # noqa: F401

    gc.freeze()
    main()
