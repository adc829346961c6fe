"""What `init` is told: by flags, by variables, or by a person at the terminal, who is asked again until it is right."""

import argparse
import getpass
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import platformdirs

from sse_agent import config, identity
from sse_agent.cli import settings_file
from sse_agent.cli.arguments import given
from sse_agent.cli.tables import print_words, shown_text
from sse_agent.errors import CannotStart, ExitCode

ASKED = ("control_plane_url", "client_id", "allowed_folders", "tus_endpoint", "state_dir")
REST = ("upload_origins", "ca_file")
URLS = ("control_plane_url", "tus_endpoint")
SECRET_LIMIT = 64 * 1024
HOW_TO_TYPE_IT = (
    "nothing was typed: paste the token that the control plane has for this agent, then Enter; nothing is shown. "
    "Ctrl-C leaves"
)


def is_yes(question: str, *, is_default: bool) -> bool:
    """Asked until it is y or n. Enter is what stands in capitals."""
    while True:
        try:
            text = typed(input, f"{question} [{'Y/n' if is_default else 'y/N'}] ").lower()
        except ValueError:
            text = "?"
        if text in ("", "y", "yes", "n", "no"):
            return text in ("y", "yes") or (not text and is_default)
        print("  please answer y or n")


def typed(ask: Callable[[str], str], prompt: str) -> str:
    """One line of a person's, by `input` or `getpass`. Raises ValueError if it is no text, EOFError."""
    try:
        return ask(prompt).strip()
    except UnicodeDecodeError:
        raise ValueError("that was no text as this terminal writes it: please type it again") from None


@dataclass(frozen=True, slots=True)
class _Question:
    """`judge` returns the value of an answer, or raises ValueError or CannotStart with the reason against it."""

    name: str
    prompt: str
    default: str
    judge: Callable[[str], Any]
    is_optional: bool = False
    needed: str = "there is no default: please say"


class Answers:
    """From flags, then the environment, then a person, who is proposed what the old file says, then defaults."""

    def __init__(self, options: argparse.Namespace, path: Path, *, can_ask: bool) -> None:
        self._options = options
        self._path = path
        self._can_ask = can_ask
        self._given = given(options)
        self._old = settings_file.read(path) if can_ask else {}
        self._enrolled: dict[str, Any] = {}
        place = self._said("state_dir") or platformdirs.user_state_dir("sse-agent")
        self._enrolled = config.of_enrolment(identity.read(self._judged("state_dir", place, _expanded)))
        self._values: dict[str, Any] = {name: self._old[name] for name in self._old if name not in ASKED}
        self._missing: list[str] = []

    def all(self) -> dict[str, Any]:
        """Every setting's value, judged. Raises CannotStart, EOFError."""
        if self._can_ask:
            print(f"This writes {shown_text(str(self._path))}.\nEnter takes what stands in [brackets].\n")
        for name in REST:
            if (text := self._said(name)) is not None:
                self._values[name] = self._judged(name, text, lambda text, name=name: config.parse(name, text))  # type: ignore[misc]
        url = "there is no default: the address that you were given for it, such as https://control.example.com"
        self._answer(
            _Question("control_plane_url", "Control plane's URL", "", _parser("control_plane_url"), needed=url)
        )
        self._answer(_Question("client_id", "This agent's ID", _host_name(), _parser("client_id")))
        # Whoever is enrolled has a key in its place.
        prompt = "" if self._enrolled else "Its token (not shown)"
        self._answer_secret("token", prompt, self._options.token_file)
        self._answer_folders()
        self._answer(_Question("tus_endpoint", "tus server's endpoint", "", _parser("tus_endpoint"), is_optional=True))
        self._answer_secret("tus_token", "", self._options.tus_token_file)
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
            message = f"{config.called(name, self._given)}: {error}"
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
        default = str(self._old.get(question.name) or question.default)
        hint = default or ("none" if question.is_optional else "")
        while True:
            try:
                text = typed(input, f"{question.prompt}{f' [{hint}]' if hint else ''}: ") or default
                if question.is_optional and text.lower() in ("", "none"):
                    return None
                return question.judge(_meant(question.name, text) if text else _refuse(question.needed))
            except (ValueError, CannotStart) as wrong:
                print_words(str(wrong), "  ")

    def _answer_secret(self, name: str, prompt: str, file: str | None) -> None:
        """Only typed without an echo, and never a flag. Without a prompt it is not asked for."""
        text = read_secret(file) if file else config.environment(config.PREFIX + name.upper())
        if text:
            self._values[name] = self._judged(name, text, _parser(name))
        elif self._can_ask and prompt:
            self._values[name] = self._ask_secret(name, prompt)
        elif prompt:
            self._missing.append(f"{config.PREFIX}{name.upper()} or --{name}-file")

    def _ask_secret(self, name: str, prompt: str) -> Any:
        old = self._old.get(name)
        while True:
            try:
                text = typed(getpass.getpass, f"{prompt}{' [as before]' if old else ''}: ")
                if not text and old:
                    return old
                return _parser(name)(text) if text else _refuse(HOW_TO_TYPE_IT)
            except ValueError as wrong:
                print_words(str(wrong), "  ")

    def _answer_folders(self) -> None:
        text = self._said("allowed_folders")
        if text is not None:
            listed = text if text.lstrip().startswith("[") else json.dumps([text])
            names = self._judged("allowed_folders", listed, _parser("allowed_folders"))
            self._values["allowed_folders"] = [
                self._judged("allowed_folders", str(name), self._judge_folder) for name in names
            ]
        elif self._can_ask:
            self._values["allowed_folders"] = self._kept_folders() or self._ask_folders()
        else:
            self._missing.append("--allowed-folders")

    def _kept_folders(self) -> list[Path]:
        """Those of the old file, if the person says so."""
        old = [str(folder) for folder in self._old.get("allowed_folders", [])]
        if not old or not is_yes(f"Upload from {', '.join(map(shown_text, old))} as before?", is_default=True):
            return []
        try:
            return [self._judge_folder(folder) for folder in old]
        except (ValueError, CannotStart) as wrong:
            print_words(str(wrong), "  ")
            return []

    def _ask_folders(self) -> list[Path]:
        needed = "there is no default: name a folder, such as /srv/outgoing; nothing outside of it is ever read"
        words = "Folder that files may be uploaded from"
        folders = [self._ask(_Question("", words, "", self._judge_folder, needed=needed))]
        more = _Question("", "Another one", "", self._judge_folder, is_optional=True)
        while (folder := self._ask(more)) is not None:
            folders.append(folder)
        return folders

    def _judge_folder(self, text: str) -> Path:
        folder = _direct(config.parse("allowed_folders", json.dumps([str(_expanded(text))]))[0])
        try:
            if not folder.is_dir():
                _refuse(f"{folder} is no folder" if folder.exists() else f"{folder} is not there")
            may_be_read = os.access(folder, os.R_OK | os.X_OK)
        except PermissionError:
            may_be_read = False
        if not may_be_read:
            _refuse(f"{folder} may not be read by this user")
        config.refuse_exposed("settings file", self._path, [folder])
        return Path(folder)

    def _judge_state_dir(self, text: str) -> Path:
        place = _expanded(text)
        if not place.is_absolute():
            _refuse("expected an absolute path")
        place = _direct(place)
        config.refuse_exposed("state directory", place, self._values.get("allowed_folders", []))
        return place


def _expanded(text: str) -> Path:
    """With the home folder that a `~` stands for. Raises ValueError if nobody knows it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"nobody knows the home folder {Path(text).parts[0]}: name the place in full") from None


def _direct(path: Path) -> Path:
    """Without `..`: what that leads to, as the file system has it. Links that are named stay, else."""
    return path.resolve() if ".." in path.parts else path


def _parser(name: str) -> Callable[[str], Any]:
    return lambda text: config.parse(name, text)


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)


def _meant(name: str, text: str) -> str:
    return with_scheme(text) if name in URLS else text


def with_scheme(text: str) -> str:
    """What was typed, or, of an address without a scheme, the whole one if the person means that."""
    meant = config.with_scheme(text)
    return meant if meant and is_yes(f"  Do you mean {shown_text(meant)}?", is_default=True) else text


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
            with _expanded(name).open(encoding="utf-8") as file:
                text = file.read(SECRET_LIMIT)
    except OSError as error:
        why = (error.strerror or "its disk fails").lower()
    except UnicodeDecodeError:
        why = "it is no text"
    except ValueError as wrong:
        why = str(wrong)
    else:
        if text.strip():
            return text.strip()
        raise CannotStart(f"the token file {name} is empty", ExitCode.WRONG_CONFIGURATION)
    raise CannotStart(f"the token file {name} can't be read: {why}", ExitCode.WRONG_CONFIGURATION)
