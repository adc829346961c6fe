"""Arguments and settings in, exit code out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sse_agent
from sse_agent import agent, cli, config
from sse_agent.cli import check, control_plane, status
from sse_agent.config import Settings
from sse_agent.errors import CannotStart, ExitCode
from tests.cli.resting import documented


@pytest.fixture(autouse=True)
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that must be set is, and nothing else."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    needed = {
        "CONTROL_PLANE_URL": "https://control.example.com",
        "CLIENT_ID": "warehouse-7",
        "TOKEN": "hunter2",
        "ALLOWED_FOLDERS": f'["{tmp_path}"]',
        "STATE_DIR": "/var/lib/nowhere",
    }
    for name, value in needed.items():
        monkeypatch.setenv(config.PREFIX + name, value)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, Any]]:
    """What the agent would have been started with."""
    calls = []

    async def run(settings: Settings, _: object, view: Any, __: object) -> None:
        calls.append((settings, view))

    monkeypatch.setattr(agent, "run", run)
    return calls


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    async def run(*_: object) -> None:
        raise error

    monkeypatch.setattr(agent, "run", run)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.strip() == sse_agent.__version__
    assert cli.main(["version", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == sse_agent.__version__
    assert set(told) == documented("version")


def test_standard_output_that_takes_nothing_is_no_bug_and_worth_another_try() -> None:
    command = [sys.executable, "-m", "sse_agent", "version"]
    # Nobody can write into what was opened for reading.
    with Path(os.devnull).open("rb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.stderr == "sse-agent: standard output takes no more: bad file descriptor\n"
    assert ended.returncode == ExitCode.TRY_AGAIN


def test_the_help_names_every_setting_but_the_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for name in Settings.model_fields:
        assert (f"--{name.replace('_', '-')} " in told) is (name not in config.SECRETS)


def test_flags_become_settings(started: list[tuple[Settings, Any]]) -> None:
    assert cli.main(["run", "--headless", "--client-id", "other", "--allowed-folders", '["/srv/x"]']) == 0
    [(settings, view)] = started
    assert settings.client_id == "other"
    assert settings.allowed_folders == [Path("/srv/x")]
    assert settings.token.get_secret_value() == "hunter2"
    assert not view.is_attended


def test_without_a_terminal_or_any_streams_at_all_there_are_lines(
    started: list[tuple[Settings, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert cli.main(["run"]) == 0
    assert not started[0][1].is_attended


@pytest.mark.parametrize(
    "arguments",
    [
        ["s3cr3t"],
        ["run", "s3cr3t"],
        ["run", "--token", "s3cr3t"],
        ["run", "--token=s3cr3t"],
        ["run", "--headless=s3cr3t"],
        ["run", "--tus-tokens", "s3cr3t"],
        ["run", "--client-id", "s3cr3t with spaces"],
    ],
)
def test_what_was_typed_in_the_wrong_place_is_not_repeated(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == ExitCode.WRONG_CONFIGURATION
    assert "s3cr3t" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say which: init, enroll, run"),
        (["fly"], "choose from init, enroll, run"),
        (["run", "--colour", "red"], "--colour"),
        (["run", "--client-i", "x"], "--client-i"),
        (["run", "--token", "x"], "--token is no flag: others could read it; set SSE_AGENT_TOKEN"),
        (["run", "--client-id"], "--client-id"),
        (["run", "--client-id", "two words"], "--client-id: expected 1 to 128 letters"),
        (["run", "--settings-file", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_arguments_and_settings_end_with_78_and_say_what_is_wrong(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == ExitCode.WRONG_CONFIGURATION
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: ExceptionGroup("", [ExceptionGroup("", [error])])])
def test_an_agent_that_cant_start_says_why_and_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrap: Callable[[BaseException], BaseException],
) -> None:
    failing(monkeypatch, wrap(CannotStart("another agent holds it", ExitCode.TRY_AGAIN)))
    assert cli.main(["run", "--headless"]) == ExitCode.TRY_AGAIN
    assert capsys.readouterr().err == "sse-agent: another agent holds it\n"


def test_a_bug_is_shown_whole_and_worth_another_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ExceptionGroup("loops", [RuntimeError("nobody expected this")]))
    assert cli.main(["run", "--headless"]) == ExitCode.TRY_AGAIN
    told = capsys.readouterr().err
    assert "RuntimeError" in told
    assert "test_cli.py" in told
    assert "nobody expected this" not in told, "its words may hold a secret"
    assert "bug" in told.splitlines()[-1]


def test_an_interrupt_before_the_agent_listens_is_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["run", "--headless"]) == ExitCode.STOPPED


@pytest.mark.parametrize(("module", "code"), [(check, 130), (status, 130), (control_plane, 0)])
def test_ctrl_c_is_no_success_but_for_what_runs_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, code: int
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupted)
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    assert cli.main([name]) == code
