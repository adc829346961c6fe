"""Bytes of an event stream → frames, with what a reader for programs throws away: comments, and the order of fields.

Lines and fields as in the HTML Living Standard, 9.2.5 and 9.2.6. Pure.
"""

import re
from dataclasses import dataclass

FRAME_BYTES_LIMIT = 512 * 1024
_LINE_END = re.compile(rb"\r\n|\r|\n")


class TooMuch(Exception):
    """More than FRAME_BYTES_LIMIT without a blank line."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The fields up to a blank line, in the order in which they came; a comment is a frame of its own, named ""."""

    fields: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Each field's name once, in the order of their first lines."""
        return tuple(dict.fromkeys(name for name, _ in self.fields))

    @property
    def is_comment(self) -> bool:
        """A sign of life."""
        return self.names == ("",)

    @property
    def data(self) -> str | None:
        """The lines of `data`, joined."""
        lines = [value for name, value in self.fields if name == "data"]
        return "\n".join(lines) if lines else None

    def get(self, name: str) -> str | None:
        """The last value of a field."""
        return dict(self.fields).get(name)

    def text(self) -> str:
        """As it was on the wire, more or less."""
        return "\n".join(f"{name}: {value}" for name, value in self.fields)


class Frames:
    """The bytes of one stream in, frames out."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: list[tuple[str, str]] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that end in this chunk. Raises TooMuch."""
        # A CR at the end may be half of a CR LF: it waits for the next byte.
        data = self._rest + chunk
        end = len(data) - 1 if data.endswith(b"\r") else len(data)
        found, start = [], 0
        for line_end in _LINE_END.finditer(data, 0, end):
            frame = self._line(data[start : line_end.start()])
            start = line_end.end()
            if frame is not None:
                found.append(frame)
        self._rest = data[start:]
        if self._size + len(self._rest) > FRAME_BYTES_LIMIT:
            raise TooMuch
        return found

    def _line(self, line: bytes) -> Frame | None:
        if not line:
            fields, self._fields, self._size = tuple(self._fields), [], 0
            return Frame(fields) if fields else None
        name, _, value = line.decode(errors="replace").partition(":")
        field = (name, value.removeprefix(" "))
        if not name:
            return Frame((field,))
        self._size += len(line)
        self._fields.append(field)
        return None
