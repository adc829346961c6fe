"""The allowed folders: the only way to a file. Every refusal is in the same words, so that a probe learns nothing."""

import builtins
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sse_agent.errors import CannotStart, ErrorCode, ExitCode, GiveUp
from sse_agent.files import listing, names
from sse_agent.files.beneath import HeldFolder
from sse_agent.files.folder import Folder
from sse_agent.files.mounts import kernels_own
from sse_agent.files.names import Parts, Unsuitable
from sse_agent.files.openfile import OpenFile, is_passing, not_now, why
from sse_agent.messages import FileList

T = TypeVar("T")

NOT_FOUND_MESSAGE = "no such file in the allowed folders"
_OUTSIDE = "it lies outside the allowed folders"

if sys.platform == "win32":
    from sse_agent.files.bypath import PathFolder, final_path

    def _hold(path: Path) -> Folder:
        return PathFolder(path, final_path)
else:

    def _hold(path: Path) -> Folder:
        return HeldFolder(path)


@dataclass(frozen=True, slots=True)
class _Allowed:
    """One folder, as configured and as it is without links."""

    folder: Folder
    name: bytes
    spellings: tuple[Parts, ...]
    device: int

    def open_file(self, parts: Parts) -> OpenFile:
        with ExitStack() as undo:
            descriptor = self.folder.open_file(parts)
            undo.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unsuitable("it is no regular file")
            self._check_mount(status.st_dev, descriptor)
            file = OpenFile(descriptor, parts[-1], status)
            undo.pop_all()
        return file

    def page(self, parts: Parts, path: str, after: bytes, limit: int) -> FileList:
        with self.folder.open_directory(parts) as directory:
            self._check_mount(directory.status.st_dev, directory.descriptor)
            return listing.page(path, directory.names, directory.lstat, after, limit)

    def _check_mount(self, device: int, descriptor: int | None) -> None:
        """Another disk mounted in the folder is welcome; a /proc in a chroot there is not."""
        if device != self.device and (kind := kernels_own(device, descriptor=descriptor)):
            raise Unsuitable(f"it is on a file system of the kernel, {kind}")


@dataclass(frozen=True, slots=True)
class _Place:
    """What a name means in one folder. With a flaw it means nothing there, and `parts` are those of no file.

    They are looked for all the same: a name that lies outside by its spelling alone must not be refused sooner than
    one of which nothing is there. It would tell what links the folder's own path has.
    """

    parts: Parts
    flaw: str = ""


class AllowedFolders:
    """Holds the folders open from start to end. Blocking, and safe to be used by several threads.

    A hard link is a name like any other and is opened: a file has no true name, and snapshots, backups and package
    stores are full of files with several. It gains its maker nothing where `fs.protected_hardlinks` is 1, as
    distributions set it: only who owns a file, or may read and write it, can link it, and could as well copy it.
    Where it is 0, people who are not to read what the agent can read must not be able to write to its folders.
    """

    def __init__(self, folders: Sequence[Path], *, hold: Callable[[Path], Folder] = _hold) -> None:
        """Raises CannotStart: 78 for what is no folder or a kernel's own, 77 for what may not be opened."""
        with ExitStack() as undo:
            self._allowed: list[_Allowed] = []
            for path in folders:
                allowed = _admit(path.absolute(), hold)
                undo.callback(allowed.folder.close)
                self._allowed.append(allowed)
            self._closing = undo.pop_all()

    def paths(self) -> builtins.list[str]:
        """The folders as configured, as text for people."""
        return [listing.shown(allowed.name) for allowed in self._allowed]

    def open_file(self, name: bytes) -> OpenFile:
        """The regular file of that name: absolute, or relative to the first folder that has it.

        Raises GiveUp, `NOT_FOUND`, and TryAgain for a passing trouble of the machine. What is outside, missing, no
        regular file or not readable is refused in the same words and after the same work.
        """

        return self._first(name, lambda allowed, parts: allowed.open_file(parts), directory=False)

    def list(self, path: bytes | None, cursor: str | None, limit: int) -> FileList:
        """One page, 1 to 1000 entries, of the folder `path`, named as a file is; None: of the allowed folders.

        Raises GiveUp, `NOT_FOUND` or for a bad cursor `INVALID_PAYLOAD`, and TryAgain as `open_file` does.
        """
        after = listing.parse_cursor(cursor)
        if path is None:
            by_name = {allowed.name: allowed.folder for allowed in self._allowed}
            return listing.page("", by_name, lambda name: by_name[name].status(), after, limit)
        shown = listing.shown(path)
        name = path[:-1] if len(path) > 1 and path.endswith(b"/") else path
        return self._first(name, lambda allowed, parts: allowed.page(parts, shown, after, limit), directory=True)

    def _first(self, name: bytes, take: Callable[[_Allowed, Parts], T], *, directory: bool) -> T:
        """What `take` makes of the first place where that works."""
        reasons: dict[str, None] = {}
        for allowed, place in self._places(name, directory=directory):
            try:
                found = take(allowed, place.parts)
                if not place.flaw:
                    return found
                # Somebody has made what is looked for in vain.
                if isinstance(found, OpenFile):
                    found.close()
                reason = place.flaw
            except Unsuitable as unsuitable:
                reason = str(unsuitable)
            except OSError as error:
                # Going on to the next folder would make "the first that has it" a matter of luck.
                if is_passing(error):
                    raise not_now("the file could not be opened", error) from None
                reason = why(error)
            reasons[place.flaw or reason] = None
        true_ones = [reason for reason in reasons if reason != _OUTSIDE]
        raise _not_found(name, "; ".join(true_ones) or _OUTSIDE)

    def _places(self, name: bytes, *, directory: bool) -> Iterator[tuple[_Allowed, _Place]]:
        """An absolute name is held against each spelling of each folder, any other one against each folder."""
        try:
            components, flaw = names.split(name), ""
        except Unsuitable as unsuitable:
            components, flaw = (name[:1].strip(b"/"),), str(unsuitable)
        is_absolute = names.is_absolute(components)
        for allowed in self._allowed:
            for spelling in allowed.spellings if is_absolute else [()]:
                yield allowed, _nowhere(flaw, 1) if flaw else _place(components, spelling, directory=directory)

    def close(self) -> None:
        """Let go of the folders; what is open stays open."""
        self._closing.close()

    def __enter__(self) -> "AllowedFolders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place(components: Parts, spelling: Parts, *, directory: bool) -> _Place:
    parts, depth = names.beneath(components, spelling), len(components) - len(spelling)
    if parts is None:
        return _nowhere(_OUTSIDE, depth)
    if not parts and not directory:
        return _nowhere("it is an allowed folder itself", depth)
    try:
        names.check(parts)
    except Unsuitable as unsuitable:
        return _nowhere(str(unsuitable), depth)
    return _Place(parts)


def _nowhere(flaw: str, depth: int) -> _Place:
    return _Place((names.NO_FILE,) * max(1, min(depth, names.DEPTH_LIMIT)), flaw)


def _not_found(name: bytes, reason: str) -> GiveUp:
    # An upload whose file is gone for a while, as when a network disk is not mounted, can be resumed when it is back.
    return GiveUp(
        ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE, retryable=True, detail=f"{os.fsdecode(name[:500])!r}: {reason}"
    )


def _admit(path: Path, hold: Callable[[Path], Folder]) -> _Allowed:
    try:
        resolved = os.path.realpath(path, strict=True)
        folder = hold(Path(resolved))
        device = folder.status().st_dev
    except OSError as error:
        raise _cannot_start(path, error) from None
    if kind := kernels_own(device, resolved):
        folder.close()
        message = f"it belongs to the kernel ({kind}) and has no files to upload; name another folder"
        raise CannotStart(f"the allowed folder {str(path)!r}: {message}", ExitCode.WRONG_CONFIGURATION)
    spellings = dict.fromkeys((names.spelling(os.fsencode(path)), names.spelling(os.fsencode(resolved))))
    return _Allowed(folder, os.fsencode(path), tuple(spellings), device)


def _cannot_start(path: Path, error: OSError) -> CannotStart:
    if isinstance(error, PermissionError):
        code, what_to_do = ExitCode.NOT_PERMITTED, "let the agent's user read and search it"
    elif is_passing(error):
        code, what_to_do = ExitCode.TRY_AGAIN, "start the agent again when the machine has recovered"
    else:
        code, what_to_do = ExitCode.WRONG_CONFIGURATION, "make it, or correct SSE_AGENT_ALLOWED_FOLDERS"
    return CannotStart(f"the allowed folder {str(path)!r} can't be opened: {why(error)}; {what_to_do}", code)
