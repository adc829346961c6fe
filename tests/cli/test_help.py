"""What `--help` says of every subcommand, and what is said when somebody typed something wrong."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args, get_origin

import pytest

from sse_agent import cli
from sse_agent.cli.arguments import Parser
from sse_agent.config import SECRETS, Settings
from sse_agent.control_plane.settings import PREFIX
from sse_agent.control_plane.settings import Settings as ControlPlaneSettings

WITHOUT_EXTRA = """
import sys
sys.modules["fastapi"] = sys.modules["uvicorn"] = None
from sse_agent import cli
sys.exit(cli.main())
"""


def parsers(parser: Parser | None = None) -> Iterator[Parser]:
    parser = parser or cli._parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("parser", list(parsers()), ids=lambda parser: parser.prog)
def test_every_help_has_one_example_that_the_parser_takes_and_fits_a_terminal(parser: Parser) -> None:
    text = parser.format_help()
    assert text.count("Example:\n") == 1
    *_, example = text.rstrip().splitlines()
    # A path of this machine may be longer than any line.
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 100
    assert (
        parser.prog.removeprefix("sse-agent").split()
        == example.replace("source <(", "").split()[1:][: len(parser.prog.split()) - 1]
    )
    typed = re.sub(r"source <\((.*)\)", r"\1", example.strip())
    assert callable(cli._parser().parse_args(shlex.split(typed)[1:]).run)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in SECRETS])
def test_a_settings_flag_says_what_it_takes_and_what_it_is_by_default(name: str) -> None:
    (run,) = [parser for parser in parsers() if parser.prog == "sse-agent run"]
    field, flag = Settings.model_fields[name], f"--{name.replace('_', '-')}"
    (action,) = [action for action in run._actions if flag in action.option_strings]
    assert action.metavar not in (None, "…")
    if get_origin(field.annotation) is not None and field.annotation is not None and "Literal" in str(field.annotation):
        assert action.metavar == "{" + ",".join(get_args(field.annotation)) + "}"
        assert all(value in str(action.help) for value in get_args(field.annotation))
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default not in (None, []):
        assert f"(default: {default})" in str(action.help)


def test_names_to_copy_are_not_broken_at_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("60", "72", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        for parser in parsers():
            assert not re.search(r"\w-$", parser.format_help(), re.MULTILINE), parser.prog


def test_numbers_of_rows_say_their_default() -> None:
    limits = [action for parser in parsers() for action in parser._actions if "--limit" in action.option_strings]
    assert len(limits) == 2
    assert all("(default: 100)" in str(action.help) for action in limits)


def without_extra(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_EXTRA, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_control_planes_help_has_its_settings_and_needs_no_extra() -> None:
    child = without_extra("control-plane", "--help")
    assert (child.returncode, child.stderr) == (0, "")
    for name, field in ControlPlaneSettings.model_fields.items():
        assert f"  {PREFIX}{name.upper()}\n" in child.stdout
        told = child.stdout.partition(f"  {PREFIX}{name.upper()}\n")[2].partition(f"  {PREFIX}")[0]
        default = field.get_default(call_default_factory=True)
        words = "must be set" if field.is_required() else f"default: {'none' if default in (None, {}) else default}"
        assert f"({words})" in " ".join(told.split())


def test_without_the_extra_the_control_plane_says_how_it_is_installed() -> None:
    child = without_extra("control-plane")
    assert child.returncode == 78
    assert child.stderr.startswith("sse-agent: the control plane needs the package's extra `control-plane` (")
    assert child.stderr.splitlines()[1] == f"  {sys.executable} -m pip install '.[control-plane]'"


@pytest.mark.parametrize(
    ("arguments", "said", "prog"),
    [
        ("", "say which: init, enroll, run, check, status, ", "sse-agent"),
        ("uploads", "say which: list, show, pause, resume, retry, cancel", "sse-agent uploads"),
        ("uploads --state paused", "argument WHAT: invalid choice (choose from list, show, ", "sse-agent uploads"),
        ("outbox", "say which: list, retry", "sse-agent outbox"),
        ("uploads show", "the following arguments are required: FILE_ID", "sse-agent uploads show"),
        ("run --clien x", "unrecognized arguments: --clien; did you mean --client-id?", "sse-agent run"),
        (
            "uploads list --states x",
            "unrecognized arguments: --states; did you mean --state?",
            "sse-agent uploads list",
        ),
        ("uploads list --limit ten", "argument --limit: expected a whole number from 1 on", "sse-agent uploads list"),
        ("completion ksh", "argument SHELL: invalid choice (choose from bash, zsh, fish)", "sse-agent completion"),
        ("runn", "there is no runn; did you mean run?", "sse-agent"),
        ("start", "argument COMMAND: invalid choice (choose from init, ", "sse-agent"),
        ("uploads lst", "there is no lst; did you mean list?", "sse-agent uploads"),
        ("hunter2", "argument COMMAND: invalid choice (choose from init, ", "sse-agent"),
        ("version hunter2", "unrecognized arguments: words that are no flags", "sse-agent version"),
        ("run --token hunter2", "--token is no flag: others could read it; set SSE_AGENT_TOKEN", "sse-agent run"),
    ],
)
def test_what_is_typed_wrongly_is_answered_with_what_there_is_and_never_with_the_value(
    arguments: str, said: str, prog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments.split()) == 78
    told = capsys.readouterr()
    assert told.out == ""
    first, last = told.err.splitlines()
    assert first.startswith(f"sse-agent: {said}")
    assert last == f"`{prog} --help` says more"
    assert "hunter2" not in told.err
    assert "<UploadState" not in told.err
