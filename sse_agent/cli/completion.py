"""`completion`: what a shell may offer behind `sse-agent`, made from the parser itself, and so never out of date."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args, get_origin

from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_lines
from sse_agent.config import Settings
from sse_agent.errors import ExitCode

HOW = """\
Once for each shell:

  bash, at the end of ~/.bashrc:            source <(sse-agent completion bash)
  zsh, in ~/.zshrc, behind compinit:        source <(sse-agent completion zsh)
  fish:
    sse-agent completion fish > ~/.config/fish/completions/sse-agent.fish"""


@dataclass(frozen=True, slots=True)
class Flag:
    """`values`: what may follow it; None: nothing follows; empty: anybody's guess, or a file."""

    name: str
    help: str
    values: tuple[str, ...] | None
    is_path: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """What can be typed behind these subcommands. `path` is each of them with a space before it."""

    path: str
    words: list[tuple[str, str]] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "completion",
        help="print a shell's completions",
        description=run.__doc__,
        epilog=HOW,
        example="source <(sse-agent completion bash)",
    )
    parser.add_argument("shell", metavar="SHELL", choices=list(SHELLS), help="bash, zsh or fish")
    parser.set_defaults(run=lambda options: run(options, list(spots(commands))))


def run(options: argparse.Namespace, places: list[Spot]) -> int:
    """Print a script that teaches the shell all subcommands and flags."""
    print_lines(SHELLS[options.shell](places))
    return int(ExitCode.STOPPED)


def spots(commands: Subcommands) -> Iterator[Spot]:
    """Every place where there is something to type, the outermost first."""
    yield from _spots("", commands.container._actions)


def _spots(path: str, actions: list[argparse.Action]) -> Iterator[Spot]:
    spot = Spot(path)
    inner: list[tuple[str, argparse.ArgumentParser]] = []
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: _words(choice.help) for choice in action._choices_actions}
            inner += action.choices.items()
            spot.words.extend((name, told.get(name, "")) for name in action.choices)
        elif action.option_strings:
            values = None if action.nargs == 0 else _values(action)
            is_path = action.type is Path or action.dest.endswith(("_dir", "_file"))
            spot.flags.append(Flag(action.option_strings[-1], _words(action.help), values, is_path))
        else:
            spot.words.extend((str(choice), "") for choice in action.choices or ())
    yield spot
    for name, parser in inner:
        yield from _spots(f"{path} {name}", parser._actions)


def _values(action: argparse.Action) -> tuple[str, ...]:
    """The parser leaves it to the settings to judge their values."""
    setting = Settings.model_fields.get(action.dest.removeprefix("set_"))
    if setting is not None and get_origin(setting.annotation) is Literal:
        return get_args(setting.annotation)
    return tuple(map(str, action.choices or ()))


def _words(help_text: str | None) -> str:
    return " ".join((help_text or "").replace("%%", "%").split())


# --- the shells -------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    """As bash and zsh read it."""
    return "'" + text.replace("'", "'\\''") + "'"


def _deeper(places: list[Spot]) -> str:
    """The patterns of all paths but the empty one."""
    return " | ".join(_quoted(spot.path) for spot in places if spot.path)


def _with_values(places: list[Spot]) -> Iterator[tuple[str, Flag]]:
    for spot in places:
        for flag in spot.flags:
            if flag.values is not None:
                yield _quoted(f"{spot.path} {flag.name}"), flag


def bash(places: list[Spot]) -> Iterator[str]:
    """Words only; bash has no place for what they mean."""
    yield "# Made by `sse-agent completion bash`."
    yield "_sse_agent() {"
    yield "    local spot='' words='' i"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}"'
    yield "    COMPREPLY=()"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '        case "$spot ${COMP_WORDS[i]}" in'
    yield f'            {_deeper(places)}) spot="$spot ${{COMP_WORDS[i]}}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$spot ${COMP_WORDS[COMP_CWORD-1]}" in'
    for pattern, flag in _with_values(places):
        if flag.values:
            yield f"        {pattern}) words={_quoted(' '.join(flag.values))} ;;"
        else:
            then = "compopt -o default 2>/dev/null; return" if flag.is_path else "return"
            yield f"        {pattern}) {then} ;;"
    yield "    esac"
    yield '    if [ -z "$words" ]; then'
    yield '        case "$spot" in'
    for spot in places:
        words = " ".join([name for name, _ in spot.words] + [flag.name for flag in spot.flags])
        yield f"            {_quoted(spot.path)}) words={_quoted(words)} ;;"
    yield "        esac"
    yield "    fi"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -F _sse_agent sse-agent"


def zsh(places: list[Spot]) -> Iterator[str]:
    """Words with what they mean."""
    yield "#compdef sse-agent"
    yield "# Made by `sse-agent completion zsh`."
    yield "_sse_agent() {"
    yield "    local spot='' i"
    yield "    local -a found"
    yield "    for ((i = 2; i < CURRENT; i++)); do"
    yield '        case "$spot ${words[i]}" in'
    yield f'            ({_deeper(places)}) spot="$spot ${{words[i]}}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$spot ${words[CURRENT-1]}" in'
    for pattern, flag in _with_values(places):
        if flag.values:
            yield f"        ({pattern}) compadd -- {' '.join(map(_quoted, flag.values))}; return ;;"
        else:
            yield f"        ({pattern}) {'_files; ' if flag.is_path else ''}return ;;"
    yield "    esac"
    yield '    case "$spot" in'
    for spot in places:
        told = [*spot.words, *((flag.name, flag.help) for flag in spot.flags)]
        found = " ".join(_quoted(f"{name}:{words}" if words else name) for name, words in told)
        yield f"        ({_quoted(spot.path)}) found=({found}) ;;"
    yield "    esac"
    yield "    _describe sse-agent found"
    yield "}"
    yield "compdef _sse_agent sse-agent"


def fish(places: list[Spot]) -> Iterator[str]:
    """Words with what they mean."""
    yield "# Made by `sse-agent completion fish`."
    yield "function __sse_agent_is_at"
    yield "    set -l spot ''"
    yield "    for word in (commandline -opc)[2..-1]"
    yield '        switch "$spot $word"'
    yield f"            case {' '.join(_fish_quoted(spot.path) for spot in places if spot.path)}"
    yield '                set spot "$spot $word"'
    yield "        end"
    yield "    end"
    yield '    test "$spot" = "$argv[1]"'
    yield "end"
    yield "complete -c sse-agent -f"
    for spot in places:
        here = f'complete -c sse-agent -n "__sse_agent_is_at {_fish_quoted(spot.path)}"'
        for name, words in spot.words:
            yield f"{here} -a {name}{_meaning(words)}"
        for flag in spot.flags:
            yield f"{here} -l {flag.name.removeprefix('--')}{_what_follows(flag)}{_meaning(flag.help)}"


def _what_follows(flag: Flag) -> str:
    if flag.values is None:
        return ""
    if flag.values:
        return f" -x -a {_fish_quoted(' '.join(flag.values))}"
    return " -r -F" if flag.is_path else " -x"


def _meaning(words: str) -> str:
    return f" -d {_fish_quoted(words)}" if words else ""


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[list[Spot]], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
