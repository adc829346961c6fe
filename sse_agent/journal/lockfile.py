"""One process a journal. The lock dies with its process, however that ends."""

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lockfile:
    """Holds an exclusive lock on `path` until it is closed. Raises BlockingIOError if another process has it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(self._fd)
        except OSError:
            os.close(self._fd)
            raise BlockingIOError(f"{path} is locked") from None

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._fd)
