"""What the subcommands share: the parser, flags for settings, and the words for what was typed wrongly."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from sse_agent import config
from sse_agent.errors import CannotStart, ExitCode

Subcommands = Any
"""What argparse's `add_subparsers` returns; it has no public name."""


class Parser(argparse.ArgumentParser):
    """A wrong argument is a wrong setting, and no shorter form of a flag is one."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **more)

    def error(self, message: str) -> NoReturn:
        usage = self.format_usage().rstrip()
        raise CannotStart(f"{_without_values(message)}\n{usage}", ExitCode.WRONG_CONFIGURATION)


def _without_values(message: str) -> str:
    """What was typed in the wrong place may be a secret, and this goes into a service's log: only flags are named."""
    unknown = re.match(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if unknown is None:
        return re.sub(r":? '.*'(?= \(choose from|$)", "", message, flags=re.DOTALL)
    flags = [word for word in re.split(r"[\s=]+", unknown[1]) if re.fullmatch(r"--[a-z]+(-[a-z]+)*", word)]
    for flag in flags:
        name = flag.removeprefix("--").replace("-", "_")
        if name in config.SECRETS:
            return f"{flag} is no flag: others could read it; set {config.PREFIX}{name.upper()}"
    return f"unrecognized arguments: {' '.join(flags) or 'words that are no flags'}"


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str] = config.Settings.model_fields) -> None:
    """Flags for these settings, all but the secrets by default, and for the settings file."""
    parser.add_argument("--settings-file", type=Path, metavar="FILE", help="a TOML file of settings")
    group = parser.add_argument_group("settings", "Each is also a variable: --client-id is SSE_AGENT_CLIENT_ID.")
    for name in names:
        if name not in config.SECRETS:
            field = config.Settings.model_fields[name]
            group.add_argument(f"--{name.replace('_', '-')}", dest=f"set_{name}", metavar="…", help=field.description)


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
