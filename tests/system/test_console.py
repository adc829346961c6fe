"""A real agent on a real terminal: a person types, presses Ctrl-C, and has the terminal back as it was."""

import json
import os
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

WITHIN_S = 20.0
# The child takes the terminal for its own, as a shell's would be; else Ctrl-C would be nobody's signal.
PROGRAM = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'sse_agent', 'run'])\n"
)


class Person:
    """Sits at the other end of a pseudo-terminal."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.seen = ""

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, text: str) -> None:
        """Read on until it is there."""
        until = time.monotonic() + WITHIN_S
        while text not in re.sub(r"\x1b\[[0-9;]*[mG]", "", self.seen):
            assert time.monotonic() < until, f"{text!r} was never shown: {self.seen[-2000:]!r}"
            if select.select([self.master], [], [], 1.0)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")


def test_a_person_chats_stops_the_agent_and_gets_the_terminal_back(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    settings = {
        "SSE_AGENT_CONTROL_PLANE_URL": "http://127.0.0.1:9",
        "SSE_AGENT_CLIENT_ID": "seat-1",
        "SSE_AGENT_TOKEN": "a-token-of-the-test",
        "SSE_AGENT_STATE_DIR": str(tmp_path / "state"),
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(tmp_path / "files")]),
    }
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {**settings, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        person = Person(master)
        person.sees("seat-1")
        person.sees("disconnected")
        person.types("anybody there?")
        person.sees("› anybody there?")
        person.types("\r")
        person.sees("you  anybody there?")
        assert termios.tcgetattr(slave) != before
        person.types("half a line\x03")
        person.sees("to go on  nothing")
        assert child.wait(WITHIN_S) == 0
        assert termios.tcgetattr(slave) == before
        assert "\x1b[?1049l" in person.seen
        assert "a-token-of-the-test" not in person.seen
    finally:
        child.kill()
        child.wait()
        os.close(slave)
        os.close(master)
