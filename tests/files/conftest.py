"""An allowed folder with one of everything, held in each form."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sse_agent.files import AllowedFolders
from tests.files.forms import FORMS, Hold, Open


@pytest.fixture(params=FORMS)
def hold(request: pytest.FixtureRequest) -> Hold:
    return FORMS[request.param]


@pytest.fixture
def allow(hold: Hold) -> Iterator[Open]:
    """Holds folders in this form until the test is over."""
    held: list[AllowedFolders] = []

    def opened(*folders: Path) -> AllowedFolders:
        held.append(AllowedFolders(folders, hold=hold))
        return held[-1]

    yield opened
    for folders in held:
        folders.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An allowed folder with one of everything, and what lies around it."""
    for folder in ("allowed/sub", "allowed-evil", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("allowed/report.txt", "allowed/sub/deep.txt", "allowed/caf\u00e9.txt"):
        (tmp_path / file).write_bytes(b"inside")
    for file in ("allowed-evil/secret.txt", "outside/secret.txt", "secret.txt"):
        (tmp_path / file).write_bytes(b"secret")
    allowed = tmp_path / "allowed"
    (allowed / "link-to-outside").symlink_to(tmp_path / "outside" / "secret.txt")
    (allowed / "link-to-parent").symlink_to("../secret.txt")
    (allowed / "link-to-inside").symlink_to("report.txt")
    (allowed / "linked").symlink_to(tmp_path / "outside")
    (allowed / "linked-inside").symlink_to("sub")
    (allowed / "loop").symlink_to("loop")
    (allowed / "magic").symlink_to("/proc/self/root")
    os.mkfifo(allowed / "fifo")
    os.mknod(allowed / "socket", stat.S_IFSOCK | 0o600)
    return tmp_path
