"""Nothing outside is reached while somebody swaps entries, in whichever form; and which form is taken."""

import ctypes
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sse_agent.errors import GiveUp
from sse_agent.files.beneath import find_opener, walk
from tests.files.forms import Open

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Exchanges two directory entries as fast as it goes, each time in one step, while the block runs."""
    libc, is_over, at_cwd, exchange = ctypes.CDLL(None), threading.Event(), -100, 2
    paths = os.fsencode(one), os.fsencode(other)

    def swap() -> None:
        while not is_over.is_set() and libc.renameat2(at_cwd, paths[0], at_cwd, paths[1], exchange) == 0:
            pass

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
        assert swapper.is_alive(), "the file system can't exchange two entries"
    finally:
        is_over.set()
        swapper.join(10)


@pytest.mark.parametrize("name", ["sub", "sub/file"])
def test_what_is_swapped_for_a_link_to_outside_never_leads_there(tree: Path, allow: Open, name: str) -> None:
    allowed, outside = tree / "allowed", tree / "outside"
    (allowed / "sub" / "file").write_bytes(b"inside")
    (outside / "file").write_bytes(b"secret")
    (allowed / "evil").symlink_to(tree / name.replace("sub", "outside"))
    folders, seen = allow(allowed), {b"inside": 0, b"secret": 0, b"refused": 0}
    with swapping(allowed / name, allowed / "evil"):
        for _ in range(5000):
            try:
                with folders.open_file(b"sub/file") as file:
                    seen[file.file.read()] += 1
            except GiveUp:
                seen[b"refused"] += 1
    assert seen[b"secret"] == 0
    assert min(seen[b"inside"], seen[b"refused"]) > 50, "there was no race"


SECCOMP = """
import ctypes, os, struct, sys
from pathlib import Path
from sse_agent.errors import GiveUp
from sse_agent.files import AllowedFolders
from sse_agent.files.beneath import find_opener, walk

# load the call's number; is it openat2? then fail with this errno, else allow
program = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x00050000 | int(sys.argv[2])), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)), 0, 0) == 0
assert find_opener(os.open("/", os.O_RDONLY)) is walk
with AllowedFolders([Path(sys.argv[1])]) as folders:
    print(folders.open_file(b"sub/deep.txt").file.read().decode())
    try:
        folders.open_file(b"linked/secret.txt")
    except GiveUp as refusal:
        print(refusal.code)
"""


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.EPERM])
def test_where_openat2_is_missing_or_forbidden_the_walk_takes_its_place(tree: Path, reason: int) -> None:
    command = [sys.executable, "-c", SECCOMP, str(tree / "allowed"), str(reason)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.stdout, ended.stderr) == ("inside\nNOT_FOUND\n", "")


def test_openat2_is_used_where_the_kernel_has_it(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert (find_opener(descriptor) is not walk) == (release >= (5, 6))
    os.close(descriptor)
