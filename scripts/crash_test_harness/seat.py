"""A person at the agent's console: a pseudo-terminal, what is typed there, and what the screen showed as said."""

import os
import re
import termios
import threading
from collections import Counter
from contextlib import suppress

# The child takes the terminal for its own, as a shell's would be.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
TERMINAL = {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SAID = re.compile(r"you +(line-\d+-typed)")
_KEPT = 200_000


class Seat:
    """`slave` is the child's standard input and output. `typed` and `shown`: whole lines, in all lives."""

    def __init__(self) -> None:
        self.typed: list[str] = []
        self.shown: set[str] = set()
        self.slave = -1
        self._master = -1
        self._reader: threading.Thread | None = None

    def take(self) -> None:
        """Another terminal, for another life of the agent."""
        self._master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, (40, 120))
        self._reader = threading.Thread(target=self._read, args=(self._master,), name="seat", daemon=True)
        self._reader.start()

    def leave(self) -> None:
        """The child is dead; what it showed until then is read to the end."""
        if self._reader is None:
            return
        os.close(self.slave)
        self._reader.join(10.0)
        os.close(self._master)
        self._reader = None

    def type(self) -> None:
        """One line, pasted, for typed keys would press others in the list; and Enter."""
        line = f"line-{len(self.typed) + 1}-typed"
        self.typed.append(line)
        os.write(self._master, f"\x1b[200~{line}\x1b[201~\r".encode())

    def _read(self, master: int) -> None:
        """Nobody reading would stop the agent."""
        seen = ""
        # EIO says that the other side is closed.
        with suppress(OSError):
            while data := os.read(master, 65536):
                seen = (seen + data.decode(errors="replace"))[-_KEPT:]
                self.shown.update(_SAID.findall(_CODES.sub("", seen)))

    def judge(self, heard: list[str]) -> list[str]:
        """Complaints. `heard`: the lines that the control plane has, one for each message ID."""
        complaints = [f"lost: {line!r}, which the console showed as said" for line in sorted(self.shown - {*heard})]
        for line, count in Counter(heard).items():
            if count > 1:
                complaints.append(f"carried out twice: {line!r} was sent {count} times")
            if line not in self.typed:
                complaints.append(f"nobody typed {line!r}")
        return complaints
