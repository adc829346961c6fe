"""Keyboard → keys: what a person at the console types, key by key, whatever way it comes."""

import codecs
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TextIO

import anyio

POLL_S = 0.05
ESC_S = 0.1
"""What begins like a sequence of the terminal and does not go on within this time was the Esc key."""
_READ_BYTES = 4096
# One key a match: a sequence of a terminal (CSI, SS3, the strings that answer questions nobody asked), Alt with a key,
# or a character. What is cut at the end of a read waits for the next one.
_KEY = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b[PX^_\]][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?|\x1b[^\x1b]?|.", re.DOTALL
)
_CUT = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}|O)?\Z")
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
PASTE = "paste:"
"""Before what was pasted: it is no key, and no key's name either."""

NAMES = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x1b": "esc",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b[3~": "delete",
    "\x15": "ctrl-u",
    "\x0b": "ctrl-k",
    "\x17": "ctrl-w",
    "\x01": "home",
    "\x05": "end",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[7~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b[8~": "end",
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\x1b[5~": "pgup",
    "\x1b[6~": "pgdn",
}


class Splitter:
    """Text from a terminal → keys: a character, one of `NAMES`, or `PASTE` and what was pasted. Pure."""

    def __init__(self) -> None:
        self._cut = ""
        self._is_pasting = False

    @property
    def is_cut(self) -> bool:
        """Whether something waits for its other half."""
        return bool(self._cut)

    def split(self, text: str) -> Iterator[str]:
        """The keys in what came, and in what waited for it."""
        if self._cut == "\x1b" and text[:1] not in ("[", "O"):
            yield from self.flush()
        text = self._cut + text
        cut = _CUT.search(text)
        self._cut = cut[0] if cut else ""
        pasted = ""
        for key in _KEY.findall(text.removesuffix(self._cut)):
            if key in (_PASTE, _PASTED):
                self._is_pasting = key == _PASTE
            elif self._is_pasting:
                pasted += _pasted(key)
                continue
            if pasted:
                yield PASTE + pasted
                pasted = ""
            yield from self._named(key)
        if pasted:
            yield PASTE + pasted

    def flush(self) -> Iterator[str]:
        """Nothing more comes: what waited was the Esc key."""
        is_key, self._cut = bool(self._cut) and not self._is_pasting, ""
        if is_key:
            yield "esc"

    def _named(self, key: str) -> Iterator[str]:
        if key in NAMES:
            yield NAMES[key]
        elif len(key) == 1 and _is_text(key):
            yield key


def _is_text(key: str) -> bool:
    return key >= " " and not "\x7f" <= key < "\xa0"


def _pasted(key: str) -> str:
    """Pasted text does nothing: its line ends are spaces, its sequences nothing."""
    if key in ("\r", "\n", "\t"):
        return " "
    return key if len(key) == 1 and _is_text(key) else ""


class Keyboard:
    """Reads the keyboard where there is one."""

    def __init__(self, stdin: TextIO | None) -> None:
        self._stdin = stdin
        self._splitter = Splitter()

    async def read(self, press: Callable[[str], None]) -> None:
        """Until cancelled, or until there is nothing to read any more: `press` gets every key."""
        if self._stdin is None or self._stdin.closed or not self._stdin.isatty():
            return
        # Closed here and now, not when the garbage is collected: it gives the terminal back.
        async with aclosing(_typed(self._stdin.fileno(), lambda: self._splitter.is_cut)) as typed:
            async for text in typed:
                for key in self._splitter.flush() if text is None else self._splitter.split(text):
                    press(key)


if sys.platform == "win32":
    import msvcrt

    # The two characters that msvcrt gives for a key, and what a terminal sends for it.
    _WINDOWS_KEYS = {
        "H": "\x1b[A",
        "P": "\x1b[B",
        "K": "\x1b[D",
        "M": "\x1b[C",
        "G": "\x1b[H",
        "O": "\x1b[F",
        "I": "\x1b[5~",
        "Q": "\x1b[6~",
        "S": "\x1b[3~",
    }

    async def _typed(_: int, __: Callable[[], bool]) -> AsyncGenerator[str | None, None]:
        """What is typed, polled: Windows can't wait for a console and for sockets at once."""
        while True:
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                yield _WINDOWS_KEYS.get(msvcrt.getwch(), "") if key in ("\x00", "\xe0") else key
                if key == "\x1b":
                    yield None
            await anyio.sleep(POLL_S)

else:
    import os
    import termios

    async def _typed(fd: int, is_cut: Callable[[], bool]) -> AsyncGenerator[str | None, None]:
        """What is typed, as it comes; None when the other half of something does not come.

        Waiting is the event loop's: no thread can hang in a read.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with _one_by_one(fd):
            while True:
                with anyio.move_on_after(ESC_S if is_cut() else None) as patience:
                    await anyio.wait_readable(fd)
                if patience.cancelled_caught:
                    yield None
                    continue
                try:
                    data = os.read(fd, _READ_BYTES)
                except OSError:
                    return
                if not data:
                    return
                yield decoder.decode(data)

    @contextmanager
    def _one_by_one(fd: int) -> Iterator[None]:
        """Within the block keys come at once and are not echoed. Ctrl-C still is a signal; Ctrl-Z is not.

        A terminal that hung up (its termios.error is no OSError) has nothing to be changed: reading it ends at once.
        """
        try:
            before, changed = termios.tcgetattr(fd), termios.tcgetattr(fd)
        except termios.error:
            yield
            return
        # Ctrl-S would stop the output of a program that has other things to do than to wait for Ctrl-Q.
        changed[0] &= ~termios.IXON
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        changed[3] |= termios.ISIG
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        # A stopped agent would look alive on the screen and be dead to everybody else.
        changed[6][termios.VSUSP] = os.fpathconf(fd, "PC_VDISABLE").to_bytes(1, "little")
        try:
            with suppress(termios.error):
                termios.tcsetattr(fd, termios.TCSANOW, changed)
            yield
        finally:
            # Half a line is not for the shell. Not TCSAFLUSH: it waits for a terminal that may have stopped reading.
            with suppress(termios.error):
                termios.tcflush(fd, termios.TCIFLUSH)
            with suppress(termios.error):
                termios.tcsetattr(fd, termios.TCSANOW, before)
