"""What is refused is refused after the same work, whatever the reason: time tells nothing of what is there."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sse_agent.errors import GiveUp
from sse_agent.files import AllowedFolders, mounts
from sse_agent.files.beneath import HeldFolder, Opener, find_opener, walk
from sse_agent.files.names import Parts
from tests.files.forms import Open, as_nobody, assert_not_found, descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")

ONE_PART = {
    "missing": "@/gone.txt",
    "unreadable": "@/report.txt",
    "a directory": "@/sub",
    "a pipe": "@/fifo",
    "a socket": "@/socket",
    "a link to outside": "@/link-to-outside",
    "a link to inside": "@/link-to-inside",
    "outside, there": "^/outside/secret.txt",
    "outside, missing": "^/outside/gone.txt",
    "outside, by the system's name": "/etc/shadow",
    "up and out": "@/../secret.txt",
    "with a NUL": "@/report.txt\0",
    "the folder itself": "@",
}
TWO_PARTS = {
    "missing": "@/sub/gone.txt",
    "in a missing directory": "@/gone/gone.txt",
    "in an unreadable directory": "@/shut/there.txt",
    "missing in an unreadable directory": "@/shut/gone.txt",
    "below a file": "@/report.txt/gone.txt",
    "by way of a link to outside": "@/linked/secret.txt",
    "by way of a magic link": "@/magic/etc",
    "with an empty part": "@//report.txt",
    "outside": "^/outside/sub/secret.txt",
}
LISTED = {
    "missing": "@/gone",
    "unreadable": "@/shut",
    "a file": "@/report.txt",
    "a link to outside": "@/linked",
    "outside, there": "^/outside",
    "outside, missing": "^/gone",
}


class Counted:
    """The opener of the best form or the walk, and how often it was asked; with the walk, also every open of a part."""

    def __init__(self, opener: Opener | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opener = opener
        self.lookups = 0
        self.opens = 0
        plain_open = os.open

        def counted_open(*arguments: object, **options: object) -> int:
            self.opens += 1
            return plain_open(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", counted_open)

    def __call__(self, folder: int, parts: Parts, flags: int) -> int:
        self.lookups += 1
        return (self._opener or find_opener(folder))(folder, parts, flags)

    def cost(self, ask: Callable[[], object]) -> tuple[int, int]:
        """(lookups, opens) until the refusal."""
        self.lookups = self.opens = 0
        with pytest.raises(GiveUp) as refused:
            ask()
        assert_not_found(refused.value)
        return self.lookups, self.opens


@pytest.fixture
def shut(tree: Path) -> Path:
    """As the tree, with things that nobody may read, and its folder configured by a link."""
    (tree / "allowed").chmod(0o755)
    (tree / "allowed" / "shut").mkdir()
    (tree / "allowed" / "shut" / "there.txt").write_bytes(b"inside")
    for name in ("report.txt", "shut"):
        (tree / "allowed" / name).chmod(0)
    (tree / "alias").symlink_to("allowed")
    return tree


def spelt(name: str, tree: Path, folder: str = "allowed") -> bytes:
    return os.fsencode(name.replace("@", str(tree / folder)).replace("^", str(tree)))


@pytest.mark.parametrize("opener", [None, walk], ids=["the best form", "the walk"])
@pytest.mark.parametrize("configured", ["allowed", "alias"])
@pytest.mark.parametrize("asked", ["allowed", "alias"])
def test_every_refusal_takes_as_many_lookups_as_any_other(
    shut: Path, monkeypatch: pytest.MonkeyPatch, opener: Opener | None, configured: str, asked: str
) -> None:
    counted = Counted(opener, monkeypatch)
    folders = AllowedFolders([shut / configured, shut / "allowed-evil"], hold=partial(HeldFolder, opener=counted))

    def costs(names: dict[str, str], ask: Callable[[bytes], object]) -> dict[str, tuple[int, int]]:
        return {kind: counted.cost(partial(ask, spelt(name, shut, asked))) for kind, name in names.items()}

    with folders, as_nobody():
        one, two = costs(ONE_PART, folders.open_file), costs(TWO_PARTS, folders.open_file)
        listed = costs(LISTED, lambda name: folders.list(name, None, 10))
    assert len(set(one.values())) == 1, one
    assert len(set(two.values())) == 1, two
    assert len(set(listed.values())) == 1, listed


def test_what_is_looked_for_in_vain_may_be_there_and_is_not_given_out(tree: Path, allow: Open) -> None:
    (tree / "allowed" / "no such file").write_bytes(b"inside")
    folders = allow(tree / "allowed")
    before = descriptors()
    for name in (b"/etc/passwd", b"../secret.txt", b"a\0", os.fsencode(tree / "allowed")):
        with pytest.raises(GiveUp) as refused:
            folders.open_file(name)
        assert_not_found(refused.value)
    assert descriptors() == before
    folders.open_file(b"no such file").close()
    (tree / "allowed" / "no such file").unlink()
    (tree / "allowed" / "no such file").mkdir()
    with pytest.raises(GiveUp) as refused:
        folders.list(b"/etc", None, 10)
    assert_not_found(refused.value)


@pytest.mark.parametrize("form", [None, walk], ids=["the best form", "the walk"])
def test_a_kernel_file_system_is_known_by_the_opened_file_and_not_by_the_table_of_mounts(
    monkeypatch: pytest.MonkeyPatch, form: Opener | None, tmp_path: Path
) -> None:
    with AllowedFolders([Path("/")], hold=partial(HeldFolder, opener=form)) as folders:
        monkeypatch.setattr(mounts, "_TABLE", tmp_path / "nothing")
        for ask in (lambda: folders.open_file(b"proc/version"), lambda: folders.list(b"proc", None, 10)):
            with pytest.raises(GiveUp) as refused:
                ask()
            assert_not_found(refused.value)
            assert "proc" in refused.value.detail.rpartition(":")[2]
