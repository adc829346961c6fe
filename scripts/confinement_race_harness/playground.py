"""An allowed folder, what lies around it, and the scenes: which two entries a thief swaps, and which name is opened."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

INSIDE = b"inside: may be read\n"
CANARY = b"canary: lies outside\n"
CANARY_NAME = "canary"
HELD_FILE, HELD_DIRECTORY = 200, 201
"""Descriptors that the opening process has of things outside, for links such as /dev/fd/200."""

How = Literal["exchange", "step by step"]


@dataclass(frozen=True, slots=True)
class Scene:
    """`one` and `other` (below the playground) are swapped while `asked` (below the allowed folder) is opened."""

    name: str
    asked: str
    one: str
    other: str
    how: How = "exchange"

    @property
    def directory(self) -> str | None:
        """What can be listed there, if the swapped thing is a directory on the way."""
        return self.asked.rpartition("/")[0] if not self.one.endswith("/file") else None


class Playground:
    """The same for both processes, as it follows from its place alone. No regular file is made or removed in it
    after `build`, so that device and inode say for certain what is inside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.allowed = root / "allowed"
        self.outside = root / "outside"

    def build(self) -> None:
        """Make it, with every scene in its honest state."""
        for folder in ("allowed", "away", "outside/c"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("outside", "outside/c"):
            (self.root / folder / "file").write_bytes(CANARY)
            (self.root / folder / CANARY_NAME).write_bytes(CANARY)
        for name, asked, one, target in self._links():
            self._honest(asked)
            other = self._other(name, one)
            (self.root / other).symlink_to(target)
        (self.allowed / "chain" / "step").symlink_to("../../outside")
        for name, kind in self._specials():
            self._honest(f"{name}/file")
            os.mknod(self.allowed / name / "evil", kind | 0o666, os.makedev(1, 5))

    def _honest(self, asked: str) -> None:
        file = self.allowed / asked
        file.parent.mkdir(parents=True)
        file.write_bytes(INSIDE)

    def _links(self) -> Iterator[tuple[str, str, str, str]]:
        """(scene, asked, swapped below the scene's folder, where the link leads)."""
        outside = str(self.outside)
        yield "file-relative", "file-relative/file", "file", "../../outside/file"
        yield "file-absolute", "file-absolute/file", "file", f"{outside}/file"
        yield "file-replaced", "file-replaced/file", "file", f"{outside}/file"
        yield "file-magic", "file-magic/file", "file", f"/dev/fd/{HELD_FILE}"
        yield "directory-relative", "directory-relative/sub/file", "sub", "../../outside"
        yield "directory-absolute", "directory-absolute/sub/file", "sub", outside
        yield "directory-deep", "directory-deep/a/b/c/file", "a/b", outside
        yield "directory-moved", "directory-moved/sub/c/file", "sub", "../../outside"
        yield "directory-magic", "directory-magic/sub/file", "sub", f"/proc/self/fd/{HELD_DIRECTORY}"
        yield "chain", "chain/sub/file", "sub", "step"
        yield "proc-root", "proc-root/sub/file", "sub", f"/proc/self/root{outside}"
        yield "proc-cwd", "proc-cwd/sub/file", "sub", "/proc/self/cwd"

    @staticmethod
    def _specials() -> Iterator[tuple[str, int]]:
        yield "pipe", stat.S_IFIFO
        yield "socket", stat.S_IFSOCK
        if os.geteuid() == 0:
            yield "device", stat.S_IFCHR  # /dev/zero: endless

    @staticmethod
    def _other(name: str, one: str) -> str:
        # The directory itself is carried out of the allowed folder while it is walked through.
        return "away/evil" if name == "directory-moved" else f"allowed/{name}/evil"

    def scenes(self) -> list[Scene]:
        """All of them; without a device for who may not make one."""
        links = [
            Scene(name, asked, f"allowed/{name}/{one}", self._other(name, one), self._how(name))
            for name, asked, one, _ in self._links()
        ]
        specials = [
            Scene(name, f"{name}/file", f"allowed/{name}/file", f"allowed/{name}/evil") for name, _ in self._specials()
        ]
        return links + specials

    @staticmethod
    def _how(name: str) -> How:
        return "step by step" if name == "file-replaced" else "exchange"

    def inside(self) -> frozenset[tuple[int, int]]:
        """(device, inode) of every regular file that may be opened."""
        found = (self.allowed / scene.asked for scene in self.scenes())
        return frozenset((status.st_dev, status.st_ino) for status in (file.lstat() for file in found))
