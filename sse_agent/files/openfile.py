"""An opened file and its identity: which file it was, and in which state."""

import errno
import io
import os
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from sse_agent.errors import TryAgain

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBADF,  # only after close(): the agent stops
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_WINDOWS_IN_USE = (32, 33)


def is_passing(error: OSError) -> bool:
    """Trouble of the machine, a network file system or another program, not of the file."""
    return error.errno in _PASSING or getattr(error, "winerror", None) in _WINDOWS_IN_USE


def not_now(what: str, error: OSError) -> TryAgain:
    """Without the path: the reason of a waiting upload goes over the wire."""
    return TryAgain(f"{what}: {why(error)}")


def why(error: OSError) -> str:
    """In words, without the path that str() would give."""
    return error.strerror or type(error).__name__


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Equal as long as it is the same file with, as far as the file system can tell, the same bytes. Times in ns."""

    # Not compared: btrfs, NFS and LVM may number their devices anew at a reboot, which would end every upload under
    # way. Another file with the same inode, size and both times to the nanosecond does not come about by accident.
    device: int = field(compare=False)
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileIdentity":
        """From fstat(2)."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def to_text(self) -> str:
        """For the journal."""
        return f"{self.device} {self.inode} {self.size} {self.mtime_ns} {self.ctime_ns}"

    @classmethod
    def from_text(cls, text: str) -> "FileIdentity":
        """The inverse. Raises ValueError for anything else."""
        device, inode, size, mtime_ns, ctime_ns = (int(number) for number in text.split(" "))
        return cls(device, inode, size, mtime_ns, ctime_ns)


class _Reading(io.FileIO):
    """A raw file whose trouble in reading is TryAgain: a failing disk is no bug of the reader."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size)
        except OSError as error:
            raise not_now("the file could not be read", error) from None

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise not_now("the file could not be read", error) from None


class OpenFile:
    """A regular file, open for reading until closed; it stays that file whatever happens to its name.

    `file` is raw and seekable, and raises TryAgain when reading fails; `name` is the last part of its path.
    """

    def __init__(self, descriptor: int, name: bytes, status: os.stat_result) -> None:
        self.file: io.FileIO = _Reading(descriptor, "rb")
        self.name = name
        self.identity = FileIdentity.of(status)

    def current_identity(self) -> FileIdentity:
        """What it is now; differs from `identity` once somebody wrote to it. Raises TryAgain."""
        try:
            return FileIdentity.of(os.fstat(self.file.fileno()))
        except OSError as error:
            raise not_now("the file could not be looked at", error) from None

    def close(self) -> None:
        """Harmless if it is closed."""
        self.file.close()

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
