"""The last lines of the text log, kept for the console."""

import io
import re
from collections import deque
from dataclasses import dataclass
from itertools import islice

KEPT = 500
_LINE = re.compile(r"(\S+Z) (\w+) +(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: `at` is RFC 3339 in UTC."""

    at: str
    level: str
    text: str


class Logbook(io.StringIO):
    """A stream for the text log. Entries are numbered from 0; the last `KEPT` are there."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.total = 0

    @property
    def first(self) -> int:
        """The number of the oldest entry that is there."""
        return self.total - len(self._entries)

    def write(self, line: str) -> int:
        """One line."""
        found = _LINE.fullmatch(line.rstrip("\n"))
        self._entries.append(Entry(*found.groups()) if found else Entry("", "info", line.rstrip("\n")))
        self.total += 1
        return len(line)

    def before(self, end: int, most: int) -> list[Entry]:
        """Up to `most` entries before number `end`, oldest first."""
        start = max(0, end - self.first - most)
        return list(islice(self._entries, start, max(0, end - self.first)))
