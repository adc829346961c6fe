"""A VFS of SQLite that writes to real files, records on a tape, and fails when it is told to."""

from collections import Counter
from enum import StrEnum
from itertools import count
from pathlib import Path
from types import TracebackType

import apsw

from scripts.power_cut_harness.tape import Kind, Op, Tape

_NUMBERS = count(1)


class Failure(StrEnum):
    """How a disk fails."""

    FULL = "ENOSPC"
    BROKEN = "EIO"
    SHORT = "short write"


class Trouble:
    """The operations from `first` to `first + count - 1`, counted from 0 with those that fail, end in a failure."""

    def __init__(self, failure: Failure, first: int, count: int) -> None:
        self.failure = failure
        self.first = first
        self._count = count
        self.seen = 0
        self.met: Counter[str] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether no more will fail."""
        return self.seen >= self.first + self._count

    def strikes(self, what: str) -> bool:
        """Whether this operation, of that kind, is one that fails."""
        self.seen += 1
        is_hit = self.first < self.seen <= self.first + self._count
        if is_hit:
            self.met[what] += 1
        return is_hit


NO_TROUBLE = 2**60


class TapeVfs(apsw.VFS):
    """Use its `name` to open a database. `forgets_wal`: a disk that says yes to a sync of the WAL and does nothing."""

    def __init__(self, tape: Tape, *, forgets_wal: bool = False) -> None:
        self.name = f"tape-{next(_NUMBERS)}"
        self.tape = tape
        self.forgets_wal = forgets_wal
        self.trouble = Trouble(Failure.FULL, NO_TROUBLE, 0)
        super().__init__(self.name, "")

    def excepthook(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool:
        """What SQLite itself passes over; a failure that we made needs no words."""
        if evalue is not None and not isinstance(evalue, apsw.Error):
            raise evalue
        return True

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            # A scratch file, which need not outlive anything.
            return apsw.VFSFile("", None, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        if path.name not in self.tape.files and self.trouble.strikes("create"):
            raise _error(apsw.CantOpenError, apsw.SQLITE_CANTOPEN)
        return _File(self, path.name, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        if self.trouble.strikes("delete"):
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_DELETE)
        super().xDelete(filename, syncdir)
        self.tape.remove(Path(filename).name, syncs_folder=bool(syncdir))


class _File(apsw.VFSFile):
    def __init__(self, vfs: TapeVfs, name: str, path: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", path, flags)
        self._vfs = vfs
        self._name = name
        self._file = vfs.tape.file_of(name)
        # With the first sync of a WAL or rollback journal that may be new SQLite syncs the folder; with no other.
        self._syncs_folder = bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and name.endswith(("-wal", "-journal"))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._vfs.trouble.strikes("write"):
            if self._vfs.trouble.failure is Failure.SHORT:
                self._write(data[: len(data) // 2], offset)
            raise self._failure(apsw.SQLITE_IOERR_WRITE)
        self._write(data, offset)

    def _write(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._note(Kind.WRITE, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._vfs.trouble.strikes("truncate"):
            raise self._failure(apsw.SQLITE_IOERR_TRUNCATE)
        super().xTruncate(newsize)
        self._note(Kind.TRUNCATE, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._vfs.trouble.strikes("sync"):
            self._note(Kind.LOSE)
            # There is no other answer to a sync: what does not fit any more is found out here, too.
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC)
        if self._vfs.forgets_wal and self._name.endswith("-wal"):
            return
        super().xSync(flags)
        # Noted when it is done: whatever left before was sent by somebody who could not know that it would be.
        self._note(Kind.SYNC)
        self._syncs_folder = False

    def _note(self, kind: Kind, offset: int = 0, data: bytes = b"") -> None:
        syncs_folder = self._syncs_folder and kind is Kind.SYNC
        self._vfs.tape.ops.append(Op(kind, self._name, self._file, offset, data, syncs_folder))

    def _failure(self, code: int) -> apsw.Error:
        if self._vfs.trouble.failure is Failure.BROKEN:
            return _error(apsw.IOError, code)
        return _error(apsw.FullError, apsw.SQLITE_FULL)


def _error(kind: type[apsw.Error], code: int) -> apsw.Error:
    error = kind("the disk of the power-cut harness fails as it was told")
    vars(error).update(result=code & 0xFF, extendedresult=code)
    return error
