"""`init`: from a clean machine to settings that work: asks, writes the settings file, checks, says what comes next."""

import argparse
import getpass
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from sse_agent import config, identity
from sse_agent.cli import check, settings_file
from sse_agent.cli.arguments import Subcommands, add_settings, given
from sse_agent.cli.tables import shown_text
from sse_agent.errors import CannotStart, ExitCode

ASKED = ("control_plane_url", "client_id", "allowed_folders", "tus_endpoint", "state_dir")
REST = ("upload_origins", "ca_file")
SECRET_LIMIT = 64 * 1024


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "init",
        help="ask for the settings, write them into a file, and check them",
        description=run.__doc__,
        epilog="What flags and variables say is not asked for. The token is typed, or comes from SSE_AGENT_TOKEN or "
        "--token-file. Exit code as that of `check`.",
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing: take what has a default, fail on the rest")
    parser.add_argument("--force", action="store_true", help="replace a settings file; the old one is kept as .bak")
    parser.add_argument("--token-file", metavar="FILE", help="a file with the token alone; - is standard input")
    parser.add_argument("--tus-token-file", metavar="FILE", help="the same for the tus server's token")
    add_settings(parser, [*ASKED, *REST])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the few questions, write a commented settings file that only you can read, and check what it says."""
    path = config.settings_file_place(options.settings_file).absolute()
    if path.exists() and not options.force:
        message = f"{path} is there already; --force replaces it, and keeps it as {path.name}.bak"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    can_ask = not options.yes and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    try:
        values = _Answers(options, path, can_ask=can_ask).all()
    except (EOFError, KeyboardInterrupt):
        print()
        raise CannotStart("nothing was written", ExitCode.WRONG_CONFIGURATION) from None
    try:
        content = settings_file.text(values)
    except ValueError as error:
        raise CannotStart(f"nothing was written: {error}", ExitCode.WRONG_CONFIGURATION) from None
    config.make_state_dir(values["state_dir"])
    kept = settings_file.write(path, content)
    if kept is not None:
        print(f"The old settings are kept in {shown_text(str(kept))}.")
    print(f"The settings are in {shown_text(str(path))}, which only you can read. Checking them:\n")
    has_failed = check.tell(check.carry_out(config.load({}, path), config.settings_files(path)))
    _say_what_comes_next(path, has_failed=has_failed)
    return check.FAILED if has_failed else int(ExitCode.STOPPED)


def _say_what_comes_next(path: Path, *, has_failed: bool) -> None:
    where = "" if path == config.settings_file_place().absolute() else f" --settings-file {shown_text(str(path))}"
    if has_failed:
        print(f"\nMend what failed, then check again:\n  {_program()} check{where}")
    print(f"\nNext, in a terminal:\n  {_program()} run{where}")
    print(f"As a service (docs/how-to/run-as-a-service.md):\n  {_program()} run --headless{where}")


def _program() -> str:
    """As this one was called, if the short name would not find it."""
    called = Path(sys.argv[0])
    if called.name != "sse-agent":
        return "python -m sse_agent"
    found = shutil.which("sse-agent")
    is_found = found is not None and called.exists() and Path(found).samefile(called)
    return "sse-agent" if is_found else shown_text(str(called))


@dataclass(frozen=True, slots=True)
class _Question:
    """`judge` returns the value of an answer, or raises ValueError or CannotStart with the reason against it."""

    name: str
    prompt: str
    default: str
    judge: Callable[[str], Any]
    is_optional: bool = False


class _Answers:
    """From flags, then the environment, then a person, then defaults."""

    def __init__(self, options: argparse.Namespace, path: Path, *, can_ask: bool) -> None:
        self._options = options
        self._path = path
        self._can_ask = can_ask
        self._given = given(options)
        self._enrolled: dict[str, Any] = {}
        place = self._said("state_dir") or platformdirs.user_state_dir("sse-agent")
        self._enrolled = config.of_enrolment(identity.read(Path(place).expanduser()))
        self._values: dict[str, Any] = {}
        self._missing: list[str] = []

    def all(self) -> dict[str, Any]:
        """Every setting's value, judged. Raises CannotStart, EOFError."""
        if self._can_ask:
            print(f"This writes {shown_text(str(self._path))}.\nEnter takes what stands in [brackets].\n")
        for name in REST:
            if (text := self._said(name)) is not None:
                self._values[name] = self._judged(name, text, lambda text, name=name: config.parse(name, text))  # type: ignore[misc]
        self._answer(_Question("control_plane_url", "Control plane's URL", "", _parser("control_plane_url")))
        self._answer(_Question("client_id", "This agent's ID", _host_name(), _parser("client_id")))
        # Whoever is enrolled has a key in its place.
        prompt = "" if self._enrolled else "Its token (not shown)"
        self._values["token"] = self._secret("token", prompt, self._options.token_file)
        self._answer_folders()
        self._answer(_Question("tus_endpoint", "tus server's endpoint", "", _parser("tus_endpoint"), is_optional=True))
        self._values["tus_token"] = self._secret("tus_token", "", self._options.tus_token_file)
        place = platformdirs.user_state_dir("sse-agent")
        self._answer(_Question("state_dir", "Where the agent keeps its journal", place, self._judge_state_dir))
        if self._missing:
            message = (
                f"there is no terminal to ask on, and nothing says: {', '.join(self._missing)}"
                if not self._options.yes
                else f"nothing says, and --yes can't guess: {', '.join(self._missing)}"
            )
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
        return self._values

    def _said(self, name: str) -> str | None:
        """By a flag, a variable or the enrolment."""
        said = self._given.get(name) or config.environment(config.PREFIX + name.upper())
        return said or self._enrolled.get(name)

    def _judged(self, name: str, text: str, judge: Callable[[str], Any]) -> Any:
        try:
            return judge(text)
        except ValueError as error:
            message = f"{config.PREFIX}{name.upper()}: {error}"
        except CannotStart as wrong:
            message = str(wrong)
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)

    def _answer(self, question: _Question) -> None:
        text = self._said(question.name)
        if text is not None:
            self._values[question.name] = self._judged(question.name, text, question.judge)
        elif self._can_ask:
            self._values[question.name] = self._ask(question)
        elif question.default and (self._options.yes or question.name == "state_dir"):
            self._values[question.name] = self._judged(question.name, question.default, question.judge)
        elif not question.is_optional:
            self._missing.append(f"--{question.name.replace('_', '-')}")

    def _ask(self, question: _Question) -> Any:
        hint = question.default or ("none" if question.is_optional else "")
        while True:
            text = input(f"{question.prompt}{f' [{hint}]' if hint else ''}: ").strip() or question.default
            if not text and question.is_optional:
                return None
            try:
                return question.judge(text) if text else _refuse("there is no default: please say")
            except (ValueError, CannotStart) as wrong:
                print(f"  {shown_text(str(wrong))}")

    def _secret(self, name: str, prompt: str, file: str | None) -> Any:
        """Only typed without an echo, and never a flag. Without a prompt it is not asked for."""
        text = read_secret(file) if file else config.environment(config.PREFIX + name.upper())
        judge = _parser(name)
        if text:
            return self._judged(name, text, judge)
        if self._can_ask and prompt:
            while True:
                try:
                    return judge(getpass.getpass(f"{prompt}: ").strip())
                except ValueError as wrong:
                    print(f"  {wrong}")
        if prompt:
            self._missing.append(f"{config.PREFIX}{name.upper()} or --{name}-file")
        return None

    def _answer_folders(self) -> None:
        text = self._said("allowed_folders")
        if text is not None:
            names = config.parse("allowed_folders", text if text.lstrip().startswith("[") else json.dumps([text]))
            self._values["allowed_folders"] = [
                self._judged("allowed_folders", str(name), self._judge_folder) for name in names
            ]
            return
        if not self._can_ask:
            self._missing.append("--allowed-folders")
            return
        first = _Question("allowed_folders", "Folder that files may be uploaded from", "", self._judge_folder)
        more = _Question("allowed_folders", "Another one", "", self._judge_folder, is_optional=True)
        folders, question = [self._ask(first)], more
        while (folder := self._ask(question)) is not None:
            folders.append(folder)
        self._values["allowed_folders"] = folders

    def _judge_folder(self, text: str) -> Path:
        folder = config.parse("allowed_folders", json.dumps([str(Path(text).expanduser())]))[0]
        if not folder.is_dir():
            _refuse(f"{folder} is no folder" if folder.exists() else f"{folder} is not there")
        if not os.access(folder, os.R_OK | os.X_OK):
            _refuse(f"{folder} may not be read by this user")
        config.refuse_exposed("settings file", self._path, [folder])
        return Path(folder)

    def _judge_state_dir(self, text: str) -> Path:
        place = Path(text).expanduser()
        if not place.is_absolute():
            _refuse("expected an absolute path")
        config.refuse_exposed("state directory", place, self._values.get("allowed_folders", []))
        return place


def _parser(name: str) -> Callable[[str], Any]:
    return lambda text: config.parse(name, text)


def _refuse(reason: str) -> None:
    raise ValueError(reason)


def _host_name() -> str:
    """This machine's name, as an ID takes it."""
    short = platform.node().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9._~-]+", "-", short).strip("-")[:128]


def read_secret(name: str) -> str:
    """The one line of a file, or of standard input."""
    try:
        if name == "-":
            text = sys.stdin.read(SECRET_LIMIT)
        else:
            with Path(name).expanduser().open(encoding="utf-8") as file:
                text = file.read(SECRET_LIMIT)
    except (OSError, UnicodeDecodeError) as error:
        why = (getattr(error, "strerror", None) or "it is no text").lower()
        raise CannotStart(f"the token file {name} can't be read: {why}", ExitCode.WRONG_CONFIGURATION) from None
    if not text.strip():
        raise CannotStart(f"the token file {name} is empty", ExitCode.WRONG_CONFIGURATION)
    return text.strip()
