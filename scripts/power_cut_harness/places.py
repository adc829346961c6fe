"""Folders that are gone afterwards, in memory where there is a place for that: what a disk keeps is decided here."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder."""
    place = str(_MEMORY) if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sse-agent-power-cut-", dir=place) as name:
        yield Path(name)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put them there."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
