"""Which file systems are the kernel's own: files without an end, other processes' environments, devices."""

import ctypes
import os
import platform
import sys
from pathlib import Path

# /proc/<pid>/environ of the agent itself holds its token, so no folder may lead there. Numbers: linux/magic.h.
_NUMBERS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x1CD1: "devpts",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0x62656570: "configfs",
    0xDE5E81E4: "efivarfs",
    0xCAFE4A11: "bpf",
    0x6165676C: "pstore",
    0x19800202: "mqueue",
    0x42494E4D: "binfmt_misc",
    0x65735543: "fusectl",
    0x6E736673: "nsfs",
}
_KERNELS_OWN = frozenset(_NUMBERS.values()) | {"devtmpfs"}
# tmpfs and ramfs: devtmpfs bears the number of whichever of them it is made of.
_AMBIGUOUS = frozenset({0x01021994, 0x858458F6})
_PLACES = frozenset({"/proc", "/sys", "/dev"})
_TABLE = Path("/proc/self/mountinfo")


def kernels_own(device: int, path: str = "", descriptor: int | None = None) -> str | None:
    """The type of the kernel's own file system that has this `st_dev` or is at `path`; None for all others.

    Of what is open at `descriptor` fstatfs(2) tells it: at once, so that a refusal takes no longer than others, and
    truly, even of a file system that was unmounted meanwhile. Else the table of proc_pid_mountinfo(5) does; where
    there is none only the paths count.
    """
    if path in _PLACES:
        return path.removeprefix("/")
    if sys.platform == "win32":
        return None
    number = None if descriptor is None else _number(descriptor)
    if number is not None and number not in _AMBIGUOUS:
        return _NUMBERS.get(number)
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return next((kind for number, kind in _mounts() if number == wanted and kind in _KERNELS_OWN), None)


if sys.platform == "linux":
    _fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
    _ROOM = 512  # struct statfs has 64 to 120 bytes; its first word is the number
    _WORD = 4 if platform.machine() == "s390x" else ctypes.sizeof(ctypes.c_long)

    def _number(descriptor: int) -> int | None:
        status = ctypes.create_string_buffer(_ROOM)
        if _fstatfs(ctypes.c_int(descriptor), status) != 0:
            return None
        return int.from_bytes(status.raw[:_WORD], sys.byteorder) & 0xFFFFFFFF
else:

    def _number(descriptor: int) -> int | None:
        return None


def _mounts() -> list[tuple[str, str]]:
    """(`major:minor`, type) of everything mounted."""
    try:
        lines = _TABLE.read_text(errors="replace").split("\n")
    except OSError:
        return []
    halves = [line.split(" - ", 1) for line in lines if " - " in line]
    return [(about.split(" ")[2], kind.split(" ")[0]) for about, kind in halves]
