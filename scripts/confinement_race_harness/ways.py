"""How a file is opened and a directory read: as the product does it, or in a way that has to fail here."""

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from sse_agent.errors import GiveUp, TryAgain
from sse_agent.files import AllowedFolders
from sse_agent.files.beneath import HeldFolder, openat2, walk
from sse_agent.files.bypath import PathFolder
from sse_agent.files.folder import Folder
from sse_agent.files.names import Parts


class Refused(Exception):
    """With the true reason, which only this machine's log is told."""


class Way(Protocol):
    """Names are relative to the allowed folder."""

    def open(self, name: str) -> io.FileIO:
        """Raises Refused."""
        ...

    def list(self, name: str) -> list[str]:
        """The names in a directory. Raises Refused."""
        ...

    def close(self) -> None:
        """Let go of the folder."""
        ...


class Product:
    """AllowedFolders; relative names are also asked for by their absolute form, in turn."""

    def __init__(self, allowed: Path, hold: Callable[[Path], Folder]) -> None:
        self._folders = AllowedFolders([allowed], hold=hold)
        self._prefix = os.fsencode(allowed) + b"/"
        self._is_absolute = False

    def open(self, name: str) -> io.FileIO:
        try:
            return self._folders.open_file(self._spelt(name)).file
        except (GiveUp, TryAgain) as refusal:
            raise Refused(_why(refusal)) from None

    def list(self, name: str) -> list[str]:
        try:
            return [entry.name for entry in self._folders.list(self._spelt(name), None, 100).entries]
        except (GiveUp, TryAgain) as refusal:
            raise Refused(_why(refusal)) from None

    def close(self) -> None:
        self._folders.close()

    def _spelt(self, name: str) -> bytes:
        self._is_absolute = not self._is_absolute
        is_prefixed = self._is_absolute and not name.startswith("/")
        return (self._prefix if is_prefixed else b"") + name.encode()


def _why(refusal: GiveUp | TryAgain) -> str:
    if isinstance(refusal, TryAgain):
        return f"not now: {refusal.reason}"
    return (refusal.detail or refusal.message).rpartition("': ")[2]


class Plain:
    """open() of the joined path. Not even it may hang in a pipe here, so it is helped out by O_NONBLOCK."""

    def __init__(self, allowed: Path) -> None:
        self._allowed = str(allowed)

    def open(self, name: str) -> io.FileIO:
        try:
            return io.FileIO(self.path(name), opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
        except OSError as error:
            raise Refused(error.strerror) from None

    def list(self, name: str) -> list[str]:
        try:
            return os.listdir(self.path(name))  # noqa: PTH208 - as it is plainly done
        except OSError as error:
            raise Refused(error.strerror) from None

    def close(self) -> None:
        pass

    def path(self, name: str) -> str:
        """Joined."""
        return f"{self._allowed}/{name}"


class Checked(Plain):
    """The same after a look at where the path leads and what is there: the check that a swap makes worthless."""

    def path(self, name: str) -> str:
        path = super().path(name)
        real = os.path.realpath(path)
        if not real.startswith(self._allowed + "/"):
            raise Refused("it leads outside")
        if not os.path.isfile(real) and not os.path.isdir(real):  # noqa: PTH112, PTH113 - as it is plainly done
            raise Refused("it is no regular file")
        return path


def following(folder: int, parts: Parts, flags: int) -> int:
    """The walk as it would be without O_NOFOLLOW."""
    at = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1] if parts else b".", flags, dir_fd=at)
    finally:
        os.close(at)


def final_path(descriptor: int) -> str:
    """What GetFinalPathNameByHandleW says on Windows."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - no normalising


PROVED: dict[str, Callable[[Path], Way]] = {
    "openat2": lambda allowed: Product(allowed, partial(HeldFolder, opener=openat2)),
    "walk": lambda allowed: Product(allowed, partial(HeldFolder, opener=walk)),
    "bypath": lambda allowed: Product(allowed, partial(PathFolder, final_path=final_path)),
}
BROKEN: dict[str, Callable[[Path], Way]] = {
    "plain": Plain,
    "checked": Checked,
    "following": lambda allowed: Product(allowed, partial(HeldFolder, opener=following)),
}
