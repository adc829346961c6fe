"""Fixtures of the subcommands' tests."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sse_agent import config
from tests.cli.resting import Shell


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], Shell]:
    """Subcommands at a state directory, without any settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "no-config"))
    return lambda place: Shell(place, capsys)


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine stands where clocks are nine hours ahead of UTC."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()
