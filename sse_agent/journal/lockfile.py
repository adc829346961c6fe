"""One process a journal. The lock dies with its process, however that ends."""

import errno
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


LOCK = "journal.lock"
_DAMAGED = "damaged"
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Lockfile:
    """Holds an exclusive lock on `path` until it is closed.

    Raises BlockingIOError if another process has it, another OSError if there can be no lock. `journal_id` names the
    journal that was last used here, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(self._fd)
        except OSError as error:
            os.close(self._fd)
            if error.errno in _TAKEN:
                raise BlockingIOError(error.errno, f"{path} is locked") from None
            raise

    @property
    def journal_id(self) -> str:
        """As written last."""
        return self._read().removesuffix(_DAMAGED).strip()

    @journal_id.setter
    def journal_id(self, journal_id: str) -> None:
        self._write(journal_id)

    @property
    def is_damaged(self) -> bool:
        """Whether damage showed while an agent ran."""
        return self._read().endswith(_DAMAGED)

    def note_damage(self) -> None:
        """The next start must not go on with that journal."""
        if not self.is_damaged:
            self._write(f"{self._read()} {_DAMAGED}")

    def _read(self) -> str:
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.read(self._fd, 64).decode("ascii", "replace").strip()

    def _write(self, text: str) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, os.write(self._fd, text.encode("ascii", "replace")))

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._fd)
