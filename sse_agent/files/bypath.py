"""Opening by path, for Windows, which has no open relative to a directory.

Weaker than beneath.py: the path is joined and opened, then the system is asked for the final path of what was
opened, and anything but the joined path itself is refused. A link swapped in at the wrong moment can so be opened,
but not read; a directory is looked at just before it is listed, so its entries' names and sizes could be seen.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sse_agent.files.folder import Directory
from sse_agent.files.names import Parts

FinalPath = Callable[[int], str]
"""Descriptor → the path of what it is, without links, as the system knows it."""

_FILE = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOINHERIT", "O_NONBLOCK", "O_CLOEXEC"))

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _get_final_path = ctypes.WinDLL("kernel32", use_last_error=True).GetFinalPathNameByHandleW
    _get_final_path.argtypes = (wintypes.HANDLE, wintypes.LPWSTR, wintypes.DWORD, wintypes.DWORD)
    _get_final_path.restype = wintypes.DWORD
    _LONGEST = 32768

    def final_path(descriptor: int) -> str:
        """GetFinalPathNameByHandleW. Raises OSError."""
        text = ctypes.create_unicode_buffer(_LONGEST)
        if not 0 < _get_final_path(msvcrt.get_osfhandle(descriptor), text, _LONGEST, 0) < _LONGEST:
            raise ctypes.WinError(ctypes.get_last_error())
        if text.value.startswith("\\\\?\\UNC\\"):
            return "\\\\" + text.value.removeprefix("\\\\?\\UNC\\")
        return text.value.removeprefix("\\\\?\\")


class PathFolder:
    """A folder by its path."""

    def __init__(self, path: Path, final_path: FinalPath) -> None:
        """Raises OSError."""
        self._path = os.path.realpath(path, strict=True)
        self._final_path = final_path
        with os.scandir(self._path):
            pass

    def open_file(self, parts: Parts) -> int:
        wanted = self._join(parts)
        with ExitStack() as undo:
            descriptor = os.open(wanted, _FILE)
            undo.callback(os.close, descriptor)
            _require_same(self._final_path(descriptor), wanted)
            undo.pop_all()
        return descriptor

    @contextmanager
    def open_directory(self, parts: Parts) -> Iterator[Directory]:
        wanted = self._join(parts)
        _require_same(os.path.realpath(wanted, strict=True), wanted)
        with os.scandir(wanted) as entries:
            yield Directory(
                names=(os.fsencode(entry.name) for entry in entries),
                lstat=lambda name: os.lstat(os.path.join(wanted, os.fsdecode(name))),  # noqa: PTH118 - no normalising
                status=os.lstat(wanted),
                descriptor=None,
            )

    def status(self) -> os.stat_result:
        return os.lstat(self._path)

    def close(self) -> None:
        pass

    def _join(self, parts: Parts) -> str:
        return os.path.join(self._path, *(os.fsdecode(part) for part in parts))  # noqa: PTH118 - no normalising


def _require_same(found: str, wanted: str) -> None:
    if os.path.normcase(found) != os.path.normcase(wanted):
        raise OSError(errno.ELOOP, "a part of the name is a link, or is spelled in another way")
