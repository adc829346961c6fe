"""Which file systems are the kernel's own: files without an end, other processes' environments, devices."""

import os
import sys
from pathlib import Path

# /proc/<pid>/environ of the agent itself holds its token, so no folder may lead there.
_KERNELS_OWN = frozenset(
    {"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs"}
    | {"efivarfs", "bpf", "pstore", "mqueue", "binfmt_misc", "fusectl", "nsfs"}
)
_PLACES = frozenset({"/proc", "/sys", "/dev"})
_TABLE = Path("/proc/self/mountinfo")


def kernels_own(device: int, path: str = "") -> str | None:
    """The type of the kernel's own file system that has this `st_dev` or is at `path`; None for all others.

    The table is that of proc_pid_mountinfo(5); where there is none only the paths count.
    """
    if path in _PLACES:
        return path.removeprefix("/")
    if sys.platform == "win32":
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return next((kind for number, kind in _mounts() if number == wanted and kind in _KERNELS_OWN), None)


def _mounts() -> list[tuple[str, str]]:
    """(`major:minor`, type) of everything mounted."""
    try:
        lines = _TABLE.read_text(errors="replace").split("\n")
    except OSError:
        return []
    halves = [line.split(" - ", 1) for line in lines if " - " in line]
    return [(about.split(" ")[2], kind.split(" ")[0]) for about, kind in halves]
