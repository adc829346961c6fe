"""For pytest: every journal of the tests is on the adaptor, and so on apsw."""

from collections.abc import Iterator

import pytest

from scripts.power_cut_harness.adaptor import Adaptor, journal_on
from scripts.power_cut_harness.tape import Tape
from scripts.power_cut_harness.vfs import TapeVfs

_operations = 0


@pytest.fixture(autouse=True)
def _on_the_adaptor() -> Iterator[None]:
    global _operations
    vfs = TapeVfs(Tape({}))
    with journal_on(Adaptor(vfs.name)):
        yield
    _operations += vfs.tape.position


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """That it was really so."""
    terminalreporter.write_line(f"{_operations} operations on the power-cut disk")
