"""Opening beneath a held directory, on POSIX: never by a joined path, and no link is followed.

There are two forms with the same results. `openat2` (Linux 5.6, openat2(2)) lets the kernel walk the whole name;
`walk` opens one part after the other, each relative to the one before. Neither has a moment between looking and
opening in which a directory could be swapped for a link to elsewhere. scripts/confinement_race tries.

Whatever is refused is refused after the same work, as far as it is ours: as many lookups, and for each as many calls
as the name has parts. What the kernel does within one call (a directory read from the disk) is not evened out.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sse_agent.files.folder import Directory
from sse_agent.files.names import NO_FILE, Parts, Unsuitable

Opener = Callable[[int, Parts, int], int]
"""(descriptor of the folder, parts, flags) → descriptor."""


def _flags(*names: str) -> int:
    """Those that this platform has."""
    return sum(getattr(os, name, 0) for name in names)


_O_PATH = _flags("O_PATH")
_O_NOFOLLOW = _flags("O_NOFOLLOW")
# O_PATH asks for no right to read a directory, only to pass through it; without it O_RDONLY (0) does.
_PLACE = _O_PATH | _flags("O_DIRECTORY", "O_CLOEXEC")
_LOOK = _O_PATH | _flags("O_CLOEXEC")
_DIRECTORY = os.O_RDONLY | _flags("O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK")
# Without O_NONBLOCK a FIFO would hold the thread for ever. A raw openat2 needs O_LARGEFILE where `long` has 32 bits.
_FILE = os.O_RDONLY | _flags("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_LARGEFILE")


def walk(folder: int, parts: Parts, flags: int) -> int:
    """The portable form. Raises OSError; ENOTDIR or ELOOP where a part is a link."""
    at, to_go = folder, len(parts)
    try:
        for part in parts[:-1]:
            below = os.open(part, _PLACE | _O_NOFOLLOW, dir_fd=at)
            if at != folder:
                os.close(at)
            at, to_go = below, to_go - 1
        return os.open(parts[-1] if parts else b".", flags | _O_NOFOLLOW, dir_fd=at)
    except OSError:
        # How far it got, and so which directories are there, must not show in the time.
        for _ in range(to_go - 1):
            with suppress(OSError):
                os.close(os.open(b".", _PLACE, dir_fd=folder))
        raise
    finally:
        if at != folder:
            os.close(at)


if sys.platform == "linux":
    _NUMBER = 437
    # alpha, mips and ia64 count otherwise: there the number would be another call.
    _HAVE_THAT_NUMBER = frozenset({"x86_64", "i686", "aarch64", "armv7l", "armv8l", "riscv64", "ppc64le", "s390x"})
    _RESOLVE_NO_MAGICLINKS = 0x02
    _RESOLVE_NO_SYMLINKS = 0x04
    _RESOLVE_BENEATH = 0x08
    _TRIES = 8
    _PATH_MAX = 4096

    class _OpenHow(ctypes.Structure):
        """`struct open_how` of linux/openat2.h."""

        _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

    _syscall = ctypes.CDLL(None, use_errno=True).syscall
    _syscall.restype = ctypes.c_long

    def openat2(folder: int, parts: Parts, flags: int) -> int:
        """One system call. Raises OSError: ELOOP for a link, EAGAIN if it lost a race with renames 8 times."""
        path = b"/".join(parts) or b"."
        if len(path) >= _PATH_MAX:
            return walk(folder, parts, flags)
        how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS)
        for _ in range(_TRIES):
            number, size = ctypes.c_long(_NUMBER), ctypes.c_size_t(ctypes.sizeof(how))
            descriptor = int(_syscall(number, ctypes.c_int(folder), path, ctypes.byref(how), size))
            if descriptor >= 0:
                return descriptor
            if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def find_opener(folder: int) -> Opener:
    """The better form that works here, found out by trying. Asked once: it does not change while a process runs."""
    if sys.platform == "linux" and os.uname().machine in _HAVE_THAT_NUMBER:
        try:
            os.close(openat2(folder, (), _PLACE))
        except OSError:  # ENOSYS: Linux before 5.6; EPERM: a seccomp filter that does not know it
            return walk
        return openat2
    return walk


def open_beneath(folder: int, parts: Parts, opener: Opener, *, directory: bool = False) -> int:
    """A descriptor of the file or directory there. Raises OSError, and Unsuitable for what is no regular file."""
    if directory:
        return opener(folder, parts, _DIRECTORY)
    if not _O_PATH or (refusal := _look(folder, parts, opener)) is None:
        return opener(folder, parts, _FILE)
    # What may not be read is found out by the second lookup only; for the rest it is made up for.
    with suppress(OSError):
        os.close(opener(folder, (*parts[:-1], NO_FILE), _LOOK))
    raise refusal


def _look(folder: int, parts: Parts, opener: Opener) -> OSError | Unsuitable | None:
    """Opening a FIFO wakes its writer, opening some devices does things: O_PATH finds out without opening.

    That is courtesy; what counts is the kind of what is opened afterwards. Returns why it can't be opened.
    """
    refusal: OSError | Unsuitable | None = None
    try:
        descriptor = opener(folder, parts, _LOOK)
    except OSError as error:
        refusal, descriptor = error, os.dup(folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            refusal = refusal or Unsuitable("it is no regular file")
    finally:
        os.close(descriptor)
    return refusal


class HeldFolder:
    """A folder by its descriptor: renaming or replacing the path does not change what it means."""

    def __init__(self, path: Path, opener: Opener | None = None) -> None:
        """Raises OSError, also if the folder may not be searched."""
        with ExitStack() as undo:
            self._descriptor = os.open(path, _PLACE)
            undo.callback(os.close, self._descriptor)
            # O_PATH asks for no right at all to the folder itself.
            os.close(walk(self._descriptor, (), _PLACE))
            self._opener = opener or find_opener(self._descriptor)
            undo.pop_all()

    def open_file(self, parts: Parts) -> int:
        return open_beneath(self._descriptor, parts, self._opener)

    @contextmanager
    def open_directory(self, parts: Parts) -> Iterator[Directory]:
        descriptor = open_beneath(self._descriptor, parts, self._opener, directory=True)
        try:
            with os.scandir(descriptor) as entries:
                yield Directory(
                    names=(os.fsencode(entry.name) for entry in entries),
                    lstat=lambda name: os.stat(name, dir_fd=descriptor, follow_symlinks=False),
                    status=os.fstat(descriptor),
                    descriptor=descriptor,
                )
        finally:
            os.close(descriptor)

    def status(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
