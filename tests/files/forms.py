"""The ways in which a platform can open beneath a folder, and what tests of them share."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.files import NOT_FOUND_MESSAGE, AllowedFolders
from sse_agent.files.beneath import HeldFolder, walk
from sse_agent.files.bypath import PathFolder
from sse_agent.files.folder import Folder

Hold = Callable[[Path], Folder]
Open = Callable[..., AllowedFolders]


def final_path(descriptor: int) -> str:
    """What GetFinalPathNameByHandleW says on Windows."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


FORMS = {
    "the best form": HeldFolder,
    "the walk": partial(HeldFolder, opener=walk),
    "by path": partial(PathFolder, final_path=final_path),
}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so this thread looks at files as another user; nobody but root needs that."""
    libc = ctypes.CDLL(None)
    before = os.geteuid()
    if before == 0:
        libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(before)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - opens as many as it closes


def assert_not_found(refusal: GiveUp) -> None:
    assert (refusal.code, refusal.message, refusal.retryable) == (ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE, True)
    assert refusal.detail
