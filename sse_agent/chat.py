"""Keyboard → outbox: a person at the console answers. One line, edited in place."""

import codecs
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TextIO

import anyio

from sse_agent.errors import TryAgain
from sse_agent.messages import MESSAGE_LIMIT

POLL_S = 0.05
_READ_BYTES = 4096
# One key a match: a sequence of a terminal (CSI, SS3, the strings that answer questions nobody asked), Alt with a key,
# or a character. What is cut at the end of a read waits for the next one, but a lone Esc means the key.
_KEY = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b[PX^_\]][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?|\x1b.?|.", re.DOTALL
)
_CUT = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}|O)?\Z")
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


class Editor:
    """What is being typed, and where in it the next character goes. Pure."""

    def __init__(self) -> None:
        self.before = ""
        self.after = ""
        self._cut = ""
        self._is_pasting = False

    def type(self, text: str) -> Iterator[str]:
        """Take in what came from the keyboard; yields each line that Enter ended."""
        if self._cut == "\x1b" and text[:1] not in ("[", "O"):
            self._cut = ""
        text = self._cut + text
        cut = _CUT.search(text)
        self._cut = cut[0] if cut else ""
        for key in _KEY.findall(text.removesuffix(self._cut)):
            if key in (_PASTE, _PASTED):
                self._is_pasting = key == _PASTE
            elif key in ("\r", "\n") and not self._is_pasting:
                yield from self._take()
            elif self._is_pasting and key in ("\r", "\n", "\t"):
                self.insert(" ")
            elif not self._is_pasting and key in _EDITS:
                self.before, self.after = _EDITS[key](self.before, self.after)
            elif len(key) == 1 and key >= " " and not "\x7f" <= key < "\xa0":
                self.insert(key)

    def insert(self, text: str) -> None:
        """At the cursor, as far as there is room."""
        self.before += text[: max(0, MESSAGE_LIMIT - len(self.before) - len(self.after))]

    def _take(self) -> Iterator[str]:
        line = (self.before + self.after).strip()
        self.before = self.after = ""
        if line:
            yield line


def _without_word(before: str, after: str) -> tuple[str, str]:
    return re.sub(r"\S*\s*\Z", "", before), after


def _left(before: str, after: str) -> tuple[str, str]:
    return before[:-1], before[-1:] + after


def _right(before: str, after: str) -> tuple[str, str]:
    return before + after[:1], after[1:]


def _home(before: str, after: str) -> tuple[str, str]:
    return "", before + after


def _end(before: str, after: str) -> tuple[str, str]:
    return before + after, ""


_EDITS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "\x7f": lambda before, after: (before[:-1], after),
    "\x08": lambda before, after: (before[:-1], after),
    "\x15": lambda _, after: ("", after),
    "\x0b": lambda before, _: (before, ""),
    "\x17": _without_word,
    "\x1b[3~": lambda before, after: (before, after[1:]),
    "\x1b[D": _left,
    "\x1bOD": _left,
    "\x1b[C": _right,
    "\x1bOC": _right,
    "\x01": _home,
    "\x1b[H": _home,
    "\x1bOH": _home,
    "\x1b[1~": _home,
    "\x05": _end,
    "\x1b[F": _end,
    "\x1bOF": _end,
    "\x1b[4~": _end,
}


class Keyboard:
    """Reads the keyboard where there is one."""

    def __init__(self, stdin: TextIO | None) -> None:
        self._stdin = stdin
        self._editor = Editor()

    @property
    def draft(self) -> tuple[str, str]:
        """What is typed and not sent yet: before and after the cursor."""
        return self._editor.before, self._editor.after

    async def read(self, say: Callable[[str], Awaitable[None]]) -> None:
        """Until cancelled, or until there is nothing to read any more. What `say` can't take now stays to be edited."""
        if self._stdin is None or self._stdin.closed or not self._stdin.isatty():
            return
        # Closed here and now, not when the garbage is collected: it gives the terminal back.
        async with aclosing(_typed(self._stdin.fileno())) as typed:
            async for text in typed:
                for line in self._editor.type(text):
                    try:
                        await say(line)
                    except TryAgain:
                        self._editor.insert(line)


if sys.platform == "win32":
    import msvcrt

    # The two characters that msvcrt gives for a key, and what a terminal sends for it.
    _WINDOWS_KEYS = {"K": "\x1b[D", "M": "\x1b[C", "G": "\x1b[H", "O": "\x1b[F", "S": "\x1b[3~"}

    async def _typed(_: int) -> AsyncGenerator[str, None]:
        """What is typed, polled: Windows can't wait for a console and for sockets at once."""
        while True:
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                yield _WINDOWS_KEYS.get(msvcrt.getwch(), "") if key in ("\x00", "\xe0") else key
            await anyio.sleep(POLL_S)

else:
    import os
    import termios

    async def _typed(fd: int) -> AsyncGenerator[str, None]:
        """What is typed, as it comes. Waiting is the event loop's: no thread can hang in a read."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with _one_by_one(fd):
            while True:
                await anyio.wait_readable(fd)
                try:
                    data = os.read(fd, _READ_BYTES)
                except OSError:
                    return
                if not data:
                    return
                yield decoder.decode(data)

    @contextmanager
    def _one_by_one(fd: int) -> Iterator[None]:
        """Within the block keys come at once and are not echoed. Ctrl-C still is a signal; Ctrl-Z is not."""
        before = termios.tcgetattr(fd)
        changed = termios.tcgetattr(fd)
        # Ctrl-S would stop the output of a program that has other things to do than to wait for Ctrl-Q.
        changed[0] &= ~termios.IXON
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        changed[3] |= termios.ISIG
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        # A stopped agent would look alive on the screen and be dead to everybody else.
        changed[6][termios.VSUSP] = os.fpathconf(fd, "PC_VDISABLE").to_bytes(1, "little")
        try:
            termios.tcsetattr(fd, termios.TCSANOW, changed)
            yield
        finally:
            # Half a line is not for the shell. Not TCSAFLUSH: it waits for a terminal that may have stopped reading.
            termios.tcflush(fd, termios.TCIFLUSH)
            termios.tcsetattr(fd, termios.TCSANOW, before)
