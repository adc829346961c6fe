"""How far the memory of this process rises within a block. Linux: the kernel's own mark is set back and read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KIB = 1024
_FORGET_THE_PEAK = "5"


class Peak:
    """`growth` in bytes, once the block is over."""

    growth: int = 0


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    raise LookupError(name)


@contextmanager
def peak() -> Iterator[Peak]:
    """proc_pid_clear_refs(5): writing 5 sets the high-water mark to what is resident now."""
    found = Peak()
    Path("/proc/self/clear_refs").write_text(_FORGET_THE_PEAK)
    before = _status("VmRSS")
    yield found
    found.growth = max(0, _status("VmHWM") - before)
