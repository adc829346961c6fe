"""Fixtures of the subcommands' tests."""

import os
from collections.abc import Callable
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
