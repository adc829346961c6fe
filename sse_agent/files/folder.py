"""What a held folder can do, on every platform. Raises OSError and Unsuitable; allowed.py translates."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sse_agent.files.names import Parts


@dataclass(frozen=True, slots=True)
class Directory:
    """An open directory: the names in it, in no order, and what each one is. No link is followed.

    `descriptor`: its own, where the platform has one for a directory.
    """

    names: Iterator[bytes]
    lstat: Callable[[bytes], os.stat_result]
    status: os.stat_result
    descriptor: int | None


class Folder(Protocol):
    """One allowed folder, held from start to end."""

    def open_file(self, parts: Parts) -> int:
        """A descriptor for reading, of something that need not be a regular file. Never blocks on a FIFO."""
        ...

    def open_directory(self, parts: Parts) -> AbstractContextManager[Directory]:
        """The directory there; no parts: the folder itself."""
        ...

    def status(self) -> os.stat_result:
        """Of the folder itself."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
