"""Write the parts of the reference that the code knows best; with --check, only say what is out of date.

.env.example and, in docs/reference/: settings.md, states.md, log-events.md, commands.md. Error and exit codes get their
explanations by hand in error-codes.md and exit-codes.md; here it is only checked that each has one.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sse_agent import cli, events, lifecycle
from sse_agent.config import PREFIX, SECRETS, Settings
from sse_agent.errors import ErrorCode, ExitCode

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "<!-- Made by scripts/reference.py from the code; edit that. -->\n"

EXAMPLES = {
    "control_plane_url": "https://control.example.com",
    "client_id": "warehouse-7",
    "token": "put-the-token-here",
    "state_dir": "/var/lib/sse-agent",
    "allowed_folders": '["/srv/outgoing"]',
    "tus_endpoint": "https://uploads.example.com/files/",
    "tus_token": "put-the-token-here",
    "upload_origins": '["https://uploads.example.com"]',
    "commands": '["-LIST_FILES", "-MESSAGE"]',
    "max_concurrent_uploads": "4",
    "no_progress_hours": "24",
    "ca_file": "/etc/ssl/certs/company.pem",
    "log_format": "json",
    "log_level": "info",
}


def variable(name: str) -> str:
    """The environment's name of a setting."""
    return PREFIX + name.upper()


def default(field: FieldInfo) -> str:
    """What a setting is if it is not set."""
    if field.is_required():
        return "must be set"
    if field.default_factory is not None and field.default is PydanticUndefined:
        return "see left"
    return "none" if field.default is None else f"`{field.default}`"


def env_example() -> str:
    """A commented `.env`: what must be set first, the rest commented out."""
    lines = ["# Copy to .env (chmod 600) or set these in the environment; every setting is here."]
    for name, field in Settings.model_fields.items():
        comment = "" if field.is_required() else "#"
        lines += ["", f"# {field.description}", f"{comment}{variable(name)}={EXAMPLES[name]}"]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """docs/reference/settings.md."""
    lines = [
        "# Settings",
        "",
        GENERATED,
        "Read from flags, then the environment, then `.env` in the working directory, then a TOML file; the first that has",
        'a value counts. In the TOML file the names are in lower case and without the prefix: `client_id = "warehouse-7"`.',
        "The file is `sse-agent/settings.toml` in the user's configuration folder, or the one that `--settings-file` or",
        "`SSE_AGENT_SETTINGS_FILE` names. A `.env` or a TOML file that others can write is not read. Secrets have no flag:",
        "the arguments of a process are visible to everybody on the machine.",
        "",
        "Lists are written as JSON. A wrong setting ends the agent with [exit code 78](exit-codes.md) and a message that",
        "names it. So does a state directory, settings file or CA file that lies inside an allowed folder.",
        "",
        "| variable | flag | what | default |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        flag = "–" if name in SECRETS else f"`--{name.replace('_', '-')}`"
        lines.append(f"| `{variable(name)}` | {flag} | {field.description} | {default(field)} |")
    lines += [
        "",
        "Proxies are taken from the environment's `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or",
        "not; certificates are checked against the system's trust store. `.netrc` is never read.",
    ]
    return "\n".join(lines) + "\n"


def diagram(arrows: Iterable[tuple[str, str, str]], start: str) -> list[str]:
    """A Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start}"]
    for source, target, label in arrows:
        lines.append(f"    {source} --> {target}" + (f": {label}" if label else ""))
    return [*lines, "```", ""]


def states_page() -> str:
    """docs/reference/states.md."""
    upload = [(s, t, signal) for s, row in lifecycle.UPLOAD.items() for signal, t in row.items()]
    command = [(s, t, "") for s, row in lifecycle.COMMAND.items() for t in sorted(row)]
    delivery = [(s, t, "") for s, row in lifecycle.DELIVERY.items() for t in sorted(row)]
    lines = [
        "# States",
        "",
        GENERATED,
        "Drawn from the tables in `sse_agent/lifecycle.py`; there are no other changes of state.",
        "",
    ]
    lines += [
        "## An upload",
        "",
        "Every arrow raises the upload's `revision` by one. `failed` is left only while the failure is",
        "retryable.",
        "",
    ]
    lines += diagram(upload, "queued")
    lines += ["## A command in the inbox", "", *diagram(command, "received")]
    lines += ["## A message in the outbox", "", *diagram(delivery, "pending")]
    return "\n".join(lines).rstrip() + "\n"


def type_name(annotation: Any) -> str:
    """A field's type in a word or two."""
    if get_origin(annotation) in (UnionType, dict, list):
        return f"{getattr(get_origin(annotation), '__name__', 'one of')}({', '.join(type_name(a) for a in get_args(annotation))})"
    return getattr(annotation, "__name__", str(annotation))


def log_events_page() -> str:
    """docs/reference/log-events.md."""
    lines = [
        "# Log events",
        "",
        GENERATED,
        "A headless agent writes one JSON object a line to standard error: `at` (RFC 3339, UTC), `level`, `event` (a name",
        "below) and the event's fields. The names and fields are stable. `upload.progress` comes at most once in 10 s for",
        "each upload. Text from outside is escaped; no line holds a secret or an upload URL.",
        "",
        "With `--log-format text` each event is a sentence behind its time and level. Where standard error is systemd's",
        "journal (`JOURNAL_STREAM`), the sentence has a priority in front instead, `<3>` error to `<7>` debug, and no time of",
        "its own: `journalctl -p warning` works, and `journalctl -o short-iso` has the times. JSON is the same everywhere.",
        "",
        "| event | level | when | fields |",
        "|---|---|---|---|",
    ]
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    for kind in kinds:
        if kind is events.Event:
            continue
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
        what = " ".join((kind.__doc__ or "").split())
        lines.append(f"| `{kind.name}` | {kind.level} | {what} | {fields} |")
    return "\n".join(lines) + "\n"


_UPLOAD = {
    "fileId": "the upload's ID, as the command named it",
    "fileName": "the file's name as its command gave it; what is no UTF-8 is replaced",
    "fileNameB64": "the bytes of a name that is no UTF-8, only then",
    "state": "see [states](states.md)",
    "revision": "raised by every change of state",
    "priority": "0 to 9, higher first",
    "fileSize": "bytes, or null while nobody knows",
    "offset": "bytes that the tus server confirmed",
    "reason": "why it waits, or null",
    "nextTryAt": "when it is tried again, or null",
    "code": "the [error code](error-codes.md) of a failed one, or null",
    "message": "the error in a sentence, or null",
    "retryable": "whether a failed one can go on",
    "pausedHere": "whether a person at this machine paused it",
    "seconds": "spent on it in all attempts",
    "createdAt": "when its command came",
    "finishedAt": "when it ended, or null",
}
_DONE = {
    "count": "how many it was done to",
    "refused[].fileId": "an upload that it was not done to",
    "refused[].code": "why: an [error code](error-codes.md)",
    "refused[].message": "why, in a sentence",
}
SHAPES: dict[str, dict[str, str]] = {
    "status": {
        "running": "whether an agent runs there; if not, only the members marked * are there, from its journal",
        "clientId": "* the agent's ID",
        "version": "of the agent that runs, which need not be that of the command",
        "controlPlane": "its address",
        "seconds": "since its start",
        "connection.state": "connecting, connected, disconnected or parked",
        "connection.transport": "how it is connected, or null",
        "connection.seconds": "for how long it has been in that state",
        "connection.reason": "why it is not connected, or null",
        "connection.nextTrySeconds": "until the next try, or null",
        "rate": "bytes per second, all uploads together",
        "active[].fileId": "an upload under way; at most 64 are listed",
        "active[].fileName": "its name",
        "active[].fileSize": "bytes",
        "active[].offset": "bytes that the tus server confirmed",
        "active[].bytesSent": "bytes handed to the network",
        "active[].rate": "bytes per second",
        "active[].etaSeconds": "seconds left, or null while nobody can tell",
        "troubles[]": "what a person should know, in sentences",
        "uploads.*": "* how many uploads are in each state; states without any are left out",
        "queuedBytes": "* bytes still to be confirmed of all that is not over",
        "outbox.pending": "* messages that wait to be sent",
        "outbox.dead": "* dead letters",
    },
    "uploads list": {
        **{f"uploads[].{name}": words for name, words in _UPLOAD.items()},
        "isComplete": "false if `--limit` left some out",
    },
    "uploads show": {
        **_UPLOAD,
        "endpoint": "the tus server's address, as the command or the settings name it",
        "tries[].endedAt": "when an attempt ended; the last 20 are kept, oldest first",
        "tries[].seconds": "how long it took",
        "tries[].offset": "bytes that were confirmed then",
        "tries[].state": "what became of the upload",
        "tries[].reason": "why, in a sentence",
    },
    **dict.fromkeys(("uploads pause", "uploads resume", "uploads retry", "uploads cancel"), _DONE),
    "outbox list": {
        "deadLetters[].messageId": "its ID, for `outbox retry`",
        "deadLetters[].type": "such as UPLOAD_COMPLETE",
        "deadLetters[].timestamp": "when it was written",
        "deadLetters[].refusal": "what the control plane answered",
    },
    "outbox retry": {"count": "how many are sent again"},
    "check": {
        "ok": "false if a check failed",
        "checks[].name": "what was looked at",
        "checks[].state": "ok, warning or failed",
        "checks[].found": "what was found",
        "checks[].advice": "what to do, or empty",
    },
    "conformance": {
        "ok": "false if something is broken",
        "checks[].name": "the group and the check: `stream.hello`",
        "checks[].contract": "the sentence of the contract",
        "checks[].state": "passed, broken or not run",
        "checks[].found": "what is broken, or missing to run it; else empty",
        "checks[].exchanges[].sent": "of a broken one: a request, as text, cut short, without tokens",
        "checks[].exchanges[].came": "what was answered",
    },
}
"""What each subcommand prints with --json, by the path of each member; compared with what it prints by tests/cli/."""

EXITS = {
    "run": "0 when it was stopped; 75, 77 and 78 as in [exit codes](exit-codes.md).",
    "control-plane": "0 when it was stopped; 78 if a setting is wrong.",
    "status": "0 if an agent runs, 3 if none does.",
    "uploads show": "0; 78 if no upload has this ID.",
    **dict.fromkeys(
        ("uploads pause", "uploads resume", "uploads retry"),
        "0 if it was done to all that were named, 1 if some were refused; what was not refused is done.",
    ),
    "uploads cancel": "0 if all that were named were cancelled; 1 if some were refused, or the person said no; 78 without"
    " a person to ask and without `--yes`.",
    "check": "0 if nothing failed, 1 if something did; 78 if the settings themselves are wrong.",
    "conformance": "0 if nothing is broken, 1 if something is; 75 if nothing answers there.",
    "init": "0 if the settings were written and nothing failed in the check, 1 if something did.",
}


def commands_page() -> str:
    """docs/reference/commands.md."""
    lines = [
        "# Commands",
        "",
        GENERATED,
        "`status`, `uploads` and `outbox` ask the running agent over its [local socket](local-api.md), as the agent's own user.",
        "When no agent runs, they look into its journal, and what they want is kept there for the next start. Which agent is",
        "meant, its state directory says: that of the settings, or `--state-dir`.",
        "",
        "All of them end with 0 if it was done, and otherwise say why on standard error and end with 75 (not now: try again),",
        "77 (not permitted: another user's agent, say) or 78 (wrong arguments or settings, or no agent there); what else is said",
        "below. With `--json`, where there is such a flag, standard output is one JSON object in ASCII. Files and pipes get the",
        "same text as a terminal, without colours or cursor movements: `watch sse-agent status` works, and so does `| head`.",
        "",
    ]
    parser = cli._parser()
    lines += ["## `sse-agent`", "", *_flags(parser)]
    for path, inner, words in _subcommands(parser, ()):
        lines += _command(" ".join(path), inner, words)
    return "\n".join(lines).rstrip() + "\n"


def _subcommands(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser, str]]:
    """Every subcommand that does something, with the help that its parent has for it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                here = (*path, name)
                found = list(_subcommands(inner, here))
                yield from found or [(here, inner, words.get(name, ""))]


def _command(name: str, parser: argparse.ArgumentParser, words: str) -> list[str]:
    about = " ".join((parser.description or f"{words}.").split())
    lines = [f"## `sse-agent {name}`", "", f"{about[0].upper()}{about[1:]}", ""]
    arguments = [action for action in parser._actions if not action.option_strings]
    if arguments:
        shown = ", ".join(
            f"`{_metavar(action)}`{' (any number)' if action.nargs == '*' else ''}" for action in arguments
        )
        lines += [f"Takes {shown}.", ""]
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
    return "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest)


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


PAGES = {
    ".env.example": env_example,
    "docs/reference/settings.md": settings_page,
    "docs/reference/states.md": states_page,
    "docs/reference/log-events.md": log_events_page,
    "docs/reference/commands.md": commands_page,
}


def missing_explanations() -> list[str]:
    """Codes that the pages written by hand do not explain, or explain although there are none such."""
    problems = []
    for page, names in (
        ("docs/reference/error-codes.md", {str(code) for code in ErrorCode}),
        ("docs/reference/exit-codes.md", {str(int(code)) for code in ExitCode}),
    ):
        text = (ROOT / page).read_text()
        rows = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
        problems += [f"{page} does not explain {name}" for name in sorted(names - rows)]
        problems += [f"{page} explains {name}, which does not exist" for name in sorted(rows - names)]
    return problems


def main() -> int:
    """0 if everything is as the code says, or was made so."""
    is_check = "--check" in sys.argv[1:]
    problems = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if is_check and (not path.exists() or path.read_text() != text):
            problems.append(f"{name} is not what the code says; run scripts/reference.py")
        elif not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    problems += missing_explanations()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
