"""A person at the agent's console: the real program on a pseudo-terminal, keys, and what is on the screen."""

import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.doubles.terminal import Terminal

T = TypeVar("T")
WITHIN_S = 30.0
# The child takes the terminal for its own, as a shell's would be; else Ctrl-C would be nobody's signal.
_PROGRAM = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv = ["sse_agent", "run"]
{breaking}
runpy.run_module("sse_agent", run_name="__main__")
"""


class Person:
    """Sits at the other end of a pseudo-terminal."""

    def __init__(self, master: int, slave: int, child: "subprocess.Popen[bytes]", before: list[Any]) -> None:
        self.child = child
        self.screen = Terminal(*termios.tcgetwinsize(slave)[::-1])
        self.written = b""
        self._master, self._slave, self._before = master, slave, before

    def types(self, text: str) -> None:
        """All of it at once."""
        os.write(self._master, text.encode())

    def resizes(self, width: int, height: int) -> None:
        """The window has another size now."""
        self.screen.resize(width, height)
        termios.tcsetwinsize(self._slave, (height, width))

    def sees(self, pattern: str, within_s: float = WITHIN_S) -> str:
        """The line of the screen that matches, as soon as one does."""
        return self.waits_for(
            lambda: next((line for line in self.lines if re.search(pattern, line)), ""), pattern, within_s
        )

    def sees_no_more(self, pattern: str) -> None:
        """As soon as no line of the screen matches."""
        self.waits_for(lambda: not any(re.search(pattern, line) for line in self.lines), f"no {pattern}")

    def waits_for(self, condition: Callable[[], T], what: str, within_s: float = WITHIN_S) -> T:
        """What `condition` returns, once it is true; the screen is read meanwhile."""
        until = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < until, f"{what} was never seen:\n" + "\n".join(self.lines)
            self._read(0.1)
        return found

    def _read(self, within_s: float) -> None:
        if select.select([self._master], [], [], within_s)[0]:
            data = os.read(self._master, 65536)
            self.written += data
            self.screen.feed(data)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return self.screen.lines

    def leaves(self, code: int = 0) -> None:
        """The program ends with that code, and the terminal is as it was before."""
        self.waits_for(lambda: self.child.poll() is not None, "the agent ends")
        while select.select([self._master], [], [], 0)[0]:
            self._read(0)
        assert self.child.returncode == code, "\n".join(self.lines)
        assert termios.tcgetattr(self._slave) == self._before, "the modes of the terminal are others than before"
        assert not self.screen.is_alternate, "the other screen is still shown"
        assert self.screen.is_cursor_shown, "the cursor is hidden"
        assert not self.screen.modes & {"2004", "1000", "1003", "1006"}, "the terminal still reports what is not asked"


@contextmanager
def seated(
    settings: Mapping[str, str],
    folder: Path,
    *,
    width: int = 80,
    height: int = 24,
    breaking: str = "",
    locale: str = "C.UTF-8",
) -> Iterator[Person]:
    """An agent that runs within the block. `breaking`: Python that spoils the program first, to be noticed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SSE_AGENT_")}
    environment = {name: text for name, text in environment.items() if not name.upper().endswith("_PROXY")}
    environment |= {**settings, "TERM": "xterm-256color", "LC_ALL": locale, "COLUMNS": "", "LINES": ""}
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (height, width))
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(breaking=breaking)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield Person(master, slave, child, before)
    finally:
        child.kill()
        child.wait()
        os.close(slave)
        os.close(master)
