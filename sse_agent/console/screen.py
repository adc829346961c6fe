"""The terminal: taken over, painted where it changed, and given back as it was."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import anyio
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

# Another screen, no cursor, pasted text marked as such, and no reordering of right-to-left names, which in terminals
# that do it would take the figures behind a name along. What a terminal takes for wider than we do ends at the edge.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[8l\x1b[?7l\x1b[2J"
# Empty and with the cursor at home: of a screen that was resized meanwhile tmux keeps the rows above the cursor.
LEAVE = "\x1b[?7h\x1b[8h\x1b[?2004l\x1b[?25h\x1b[0m\x1b[H\x1b[2J\x1b[?1049l"
CLEAR = "\x1b[2J"
# Terminals that know it show a frame at once; the others ignore it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
WHOLE_EVERY = 40
LEAVE_WITHIN_S = 1.0


class Screen:
    """Writes in a thread: a terminal that stops reading (a dead ssh connection) must not stop the agent."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._painted: list[list[Segment]] = []
        self._codes: dict[Style | None, tuple[str, str]] = {None: ("", "")}
        self._size = (0, 0)
        self._frames = 0
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.is_gone = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in cells, now."""
        return self._console.size

    async def enter(self) -> None:
        """Take the terminal over."""
        await self._write(ENTER)

    async def leave(self) -> None:
        """Give it back, unless it takes nothing any more."""
        await self._last_words(LEAVE)

    async def paint(self, lines: Sequence[list[Segment]], size: tuple[int, int]) -> None:
        """Write the lines that changed; now and then all of them, in case something else has written on them."""
        is_whole = size != self._size or self._frames % WHOLE_EVERY == 0
        before = [] if is_whole else self._painted
        changed = "".join(
            # Erased first: after the last cell of a line terminals would erase that cell.
            f"\x1b[{number + 1};1H\x1b[K{self._written(line)}"
            for number, line in enumerate(lines)
            if number >= len(before) or before[number] != line
        )
        clear = CLEAR if size != self._size else ""
        self._painted, self._size = list(lines), size
        self._frames += 1
        if changed:
            await self._write(f"{_BEGIN}{clear}{changed}{_END}")

    def _written(self, line: list[Segment]) -> str:
        """As the terminal is told it. By far cheaper than to let rich print it, which looks for what is not there."""
        parts: list[str] = []
        for text, style, _ in line:
            before, after = self._codes.get(style) or self._codes_of(style)
            parts += (before, text, after)
        return "".join(parts)

    def _codes_of(self, style: Style | None) -> tuple[str, str]:
        """What rich writes before and after a text in that style, on this terminal."""
        before, _, after = self._rendered(Text("x", style or ""), end="").partition("x")
        self._codes[style] = (before, after)
        return before, after

    async def say(self, renderable: RenderableType) -> None:
        """Print it below what is on the screen already."""
        await self._last_words(self._rendered(renderable))

    def _rendered(self, renderable: RenderableType, end: str = "\n") -> str:
        """As rich would write it. Not by `capture`: at its end that flushes the terminal, which may have hung up."""
        terminal = self._console.file
        aside = _Aside(terminal)
        self._console.file = aside
        try:
            self._console.print(renderable, end=end)
        finally:
            self._console.file = terminal
        return aside.getvalue()

    async def _last_words(self, text: str) -> None:
        """Also when cancelled, but not for ever."""
        with anyio.move_on_after(LEAVE_WITHIN_S, shield=True) as limit:
            await self._write(text)
        self.is_gone = self.is_gone or limit.cancelled_caught

    async def _write(self, text: str) -> None:
        if self.is_gone:
            return
        try:
            await anyio.to_thread.run_sync(
                _put, self._console.file, text, abandon_on_cancel=True, limiter=self._one_at_a_time
            )
        except OSError:
            self.is_gone = True


class _Aside(io.StringIO):
    """In a terminal's place, and to rich like it."""

    def __init__(self, terminal: Any) -> None:
        super().__init__()
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override] # Its type says that it can be set; it can't.
        return getattr(self._terminal, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return bool(self._terminal.isatty())


def _put(file: Any, text: str) -> None:
    """All of it. Past Python's own buffers where that is possible: a thread stuck there would hold their locks."""
    if sys.platform == "win32" or not file.isatty():
        file.write(text)
        file.flush()
        return
    data = memoryview(text.encode(file.encoding or "utf-8", "replace"))
    while data:
        data = data[os.write(file.fileno(), data) :]
