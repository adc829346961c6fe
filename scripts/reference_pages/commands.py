"""Every subcommand, as its parser has it."""

import argparse
from collections.abc import Iterator

from scripts.reference_pages import GENERATED
from scripts.reference_pages.shapes import EXITS, SHAPES
from sse_agent import cli
from sse_agent.cli.arguments import Parser

HEAD = f"""# Commands

{GENERATED}
`status`, `uploads` and `outbox` ask the running agent over its [local socket](local-api.md), as the agent's own user.
When no agent runs, they look into its journal, and what they want is kept there for the next start. Which agent is
meant, its state directory says: that of the settings, or `--state-dir`.

All of them end with 0 if it was done, and otherwise say why on standard error and end with 75 (not now: try again),
77 (not permitted: another user's agent, say) or 78 (wrong arguments or settings, or no agent there); what else is said
below. With `--json`, where there is such a flag, standard output is one JSON object in ASCII. Files and pipes get the
same text as a terminal, without colours or cursor movements: `watch sse-agent status` works, and so does `| head`.

What people read is in this machine's time, with the date when it is not today's; in `--json` instants are RFC 3339 in
UTC. The words for states and reasons are those of the [vocabulary](vocabulary.md).
"""


def page() -> str:
    """docs/reference/commands.md."""
    lines = [HEAD]
    parser = cli._parser()
    lines += ["## `sse-agent`", "", *_flags(parser)]
    for path, inner, words in _subcommands(parser, ()):
        lines += _command(" ".join(path), inner, words)
    return "\n".join(lines).rstrip() + "\n"


def _subcommands(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Parser, str]]:
    """Every subcommand that does something, with the help that its parent has for it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                here = (*path, name)
                found = list(_subcommands(inner, here))
                yield from found or [(here, inner, words.get(name, ""))]


def _command(name: str, parser: Parser, words: str) -> list[str]:
    about = " ".join((parser.description or f"{words}.").split())
    lines = [f"## `sse-agent {name}`", "", f"{about[0].upper()}{about[1:]}", ""]
    arguments = [action for action in parser._actions if not action.option_strings]
    if arguments:
        shown = ", ".join(
            f"`{_metavar(action)}`{' (any number)' if action.nargs == '*' else ''}" for action in arguments
        )
        lines += [f"Takes {shown}.", ""]
    lines += ["```sh", *(line.strip() for line in parser.example.splitlines()), "```", ""]
    exits = EXITS.get(name)
    if exits:
        lines += [f"Exit code {exits}", ""]
    lines += _flags(parser)
    if name in SHAPES:
        lines += ["With `--json`:", "", "| member | what |", "|---|---|"]
        lines += [f"| `{member}` | {what} |" for member, what in SHAPES[name].items()]
        lines.append("")
    return lines


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar) if action.metavar else "|".join(map(str, action.choices or (action.dest,)))


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """The flags, but for those of the settings, which have a page of their own."""
    flags = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    settings = [action for action in flags if action.dest.startswith("set_")]
    own = [action for action in flags if action not in settings]
    lines = ["| flag | what |", "|---|---|"] if own else []
    for action in own:
        value = "" if action.nargs == 0 else f" {_metavar(action)}".replace("|", "\\|")
        lines.append(
            f"| `{action.option_strings[-1]}{value}` | {' '.join((action.help or '').replace('%%', '%').split())} |"
        )
    lines += [""] if own else []
    if settings:
        names = ", ".join(f"`{action.option_strings[-1]}`" for action in settings)
        lines += [f"And of the [settings](settings.md): {names}.", ""]
    return lines
