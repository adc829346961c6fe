"""An opened file is that file, whatever becomes of its name, and shows when it changes."""

import os
import sys
from pathlib import Path

import pytest

from sse_agent.errors import TryAgain
from sse_agent.files import FileIdentity
from tests.files.forms import Open

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


def test_the_identity_changes_when_the_file_is_rewritten_with_the_same_size(tree: Path, allow: Open) -> None:
    path = tree / "allowed" / "report.txt"
    with allow(tree / "allowed").open_file(b"report.txt") as file:
        assert file.current_identity() == file.identity
        before = path.stat()
        path.write_bytes(b"INSIDE")
        # Not even the time of the last change set back hides it.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.current_identity() != file.identity
        assert file.current_identity().size == file.identity.size


def test_the_identity_is_that_of_the_opened_file_not_of_what_has_its_name_now(tree: Path, allow: Open) -> None:
    folders, path = allow(tree / "allowed"), tree / "allowed" / "report.txt"
    with folders.open_file(b"report.txt") as file:
        (tree / "other").write_bytes(b"INSIDE")
        (tree / "other").rename(path)
        assert file.file.read() == b"inside"
        assert file.current_identity().inode == file.identity.inode
        with folders.open_file(b"report.txt") as other:
            assert other.identity != file.identity


def test_an_identity_survives_the_journal_and_a_new_number_of_its_device() -> None:
    identity = FileIdentity(device=66306, inode=2**63, size=2**40, mtime_ns=-1, ctime_ns=10**18)
    assert FileIdentity.from_text(identity.to_text()) == identity
    assert FileIdentity.from_text(identity.to_text()).device == 66306
    assert FileIdentity(1, 2, 3, 4, 5) == FileIdentity(9, 2, 3, 4, 5)
    for text in ("", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 x"):
        with pytest.raises(ValueError, match=r"unpack|invalid literal"):
            FileIdentity.from_text(text)


def test_trouble_in_reading_is_a_reason_to_try_again(tree: Path, allow: Open) -> None:
    with allow(tree / "allowed").open_file(b"report.txt") as file:
        directory = os.open(tree, os.O_RDONLY)
        os.dup2(directory, file.file.fileno())
        os.close(directory)
        for read in (lambda: file.file.read(1), lambda: file.file.readinto(bytearray(1))):
            with pytest.raises(TryAgain):
                read()
