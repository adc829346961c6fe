"""What the subcommands share: the parser, flags for settings, and the words for what was typed wrongly."""

import argparse
import difflib
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from sse_agent import config
from sse_agent.errors import CannotStart, ExitCode

Subcommands = Any
"""What argparse's `add_subparsers` returns; it has no public name."""
MANY = 3
METAVARS = {
    "control_plane_url": "URL",
    "client_id": "ID",
    "state_dir": "FOLDER",
    "allowed_folders": "JSON",
    "tus_endpoint": "URL",
    "upload_origins": "JSON",
    "commands": "JSON",
    "max_concurrent_uploads": "N",
    "no_progress_hours": "HOURS",
    "ca_file": "FILE",
}


class _Help(argparse.HelpFormatter):
    """Paragraphs are wrapped; a line that begins with a space stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = [
            line if line[:1] in ("", " ") else textwrap.fill(line, width, break_on_hyphens=False)
            for line in text.splitlines()
        ]
        return textwrap.indent("\n".join(lines), indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Names with a hyphen stay whole: people copy them."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A wrong argument is a wrong setting, and no shorter form of a flag is one.

    `example` is a whole command line. `later` says what only `--help` needs, and what would take time to find out.
    """

    def __init__(self, *, example: str = "", later: Callable[[], str] | None = None, **more: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **more)
        self.example = example
        self._later = later
        self._words = self.epilog or ""
        self._typed: list[str] = []

    def format_help(self) -> str:
        """With the example at the end."""
        parts = [
            self._words,
            self._later() if self._later else "",
            f"Example:\n  {self.example}" if self.example else "",
        ]
        self.epilog = "\n\n".join(filter(None, parts))
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What nobody knows is an error of this subcommand, not of all of them."""
        self._typed = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        words = f"{self._explained(message)}\n`{self.prog} --help` says more"
        raise CannotStart(words, ExitCode.WRONG_CONFIGURATION)

    def _explained(self, message: str) -> str:
        """What was typed in the wrong place may be a secret, and a service's log has this: flags alone are named."""
        if re.fullmatch("the following arguments are required: (COMMAND|WHAT)", message):
            return f"say which: {', '.join(self._subcommands())}"
        if meant := self._misspelt(message):
            return meant
        unknown = re.match(r"unrecognized arguments: (.*)", message, re.DOTALL)
        if unknown is None:
            return _without_values(message)
        flags = [word for word in re.split(r"[\s=]+", unknown[1]) if re.fullmatch(r"--[a-z]+(-[a-z]+)*", word)]
        for flag in flags:
            name = flag.removeprefix("--").replace("-", "_")
            if name in config.SECRETS:
                return f"{flag} is no flag: others could read it; set {config.PREFIX}{name.upper()}"
        return f"unrecognized arguments: {' '.join(flags) or 'words that are no flags'}{self._meant(flags)}"

    def _misspelt(self, message: str) -> str:
        """Of a subcommand that is nearly one: no secret looks like that."""
        typed = re.match(r"argument (?:COMMAND|WHAT): invalid choice: '([a-z-]+)'", message)
        # Behind a flag it is rather that flag's value, one that is none here.
        is_first = typed is not None and self._typed[:1] == [typed[1]]
        near = difflib.get_close_matches(typed[1], self._subcommands(), 1, 0.75) if typed and is_first else []
        return f"there is no {typed[1]}; did you mean {near[0]}?" if typed and near else ""

    def _subcommands(self) -> list[str]:
        actions = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [name for action in actions for name in action.choices]

    def _meant(self, flags: list[str]) -> str:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        meant = [found for flag in flags for found in difflib.get_close_matches(flag, known, 1)]
        return f"; did you mean {' '.join(meant)}?" if meant else ""


def _without_values(message: str) -> str:
    message = re.sub(r":? '.*'(?= \(choose from|$)", "", message, flags=re.DOTALL)
    return re.sub(r"\(choose from .*\)$", lambda choices: choices[0].replace("'", ""), message, flags=re.DOTALL)


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str] = config.Settings.model_fields) -> None:
    """Flags for these settings, all but the secrets by default, and for the settings file."""
    words = "a TOML file of settings (default: sse-agent/settings.toml in your configuration folder)"
    parser.add_argument("--settings-file", type=Path, metavar="FILE", help=words)
    flags = [name for name in names if name not in config.SECRETS]
    variables = f"{config.PREFIX}{flags[0].upper()}"
    said = f"Each is also a variable: --{flags[0].replace('_', '-')} is {variables}."
    if len(flags) > MANY:
        secrets = " and ".join(config.PREFIX + name.upper() for name in config.SECRETS)
        said += f" Secrets have no flag: {secrets}, or the settings file."
    group = parser.add_argument_group("settings", said)
    for name in flags:
        field = config.Settings.model_fields[name]
        help_ = _told(field).replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=f"set_{name}", metavar=_metavar(name, field), help=help_)
    if len(flags) > MANY:
        parser.usage = "%(prog)s [options] [settings]"


def _metavar(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "{" + ",".join(get_args(field.annotation)) + "}"
    return METAVARS[name]


def _told(field: FieldInfo) -> str:
    """What a setting is, and what it is if nobody sets it."""
    words = field.description or ""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, Path):
        return words.partition(" Default:")[0] + f" (default: {default})"
    is_told = "Default:" in words or default in (None, [])
    return words if is_told else f"{words} (default: {default})"


def given(options: argparse.Namespace) -> dict[str, str]:
    """The settings that came as flags."""
    all_of_them = {name.removeprefix("set_"): value for name, value in vars(options).items() if name.startswith("set_")}
    return {name: value for name, value in all_of_them.items() if value is not None}


def add_place(parser: argparse.ArgumentParser) -> None:
    """Flags of a subcommand that looks at an agent: which one, and how it is told."""
    add_settings(parser, ["state_dir"])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for programs")


def state_dir(options: argparse.Namespace) -> Path:
    """The state directory of the agent that is meant. Raises CannotStart."""
    return config.load_state_dir(given(options), options.settings_file)
