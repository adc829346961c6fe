"""How far the memory of this process rises within a block. Linux: the kernel's own mark is set back and read."""

import ctypes
import gc
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


def give_back() -> None:
    """What this process only might use again goes back to the kernel: else how much it seems to take is chance."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def peak() -> Iterator[Peak]:
    """proc_pid_clear_refs(5): writing 5 sets the high-water mark to what is resident now."""
    found = Peak()
    give_back()
    Path("/proc/self/clear_refs").write_text(_FORGET_THE_PEAK)
    before = _status("VmRSS")
    yield found
    found.growth = max(0, _status("VmHWM") - before)
