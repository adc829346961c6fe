"""Write the parts of the reference that the code knows best; with --check, only say what is out of date.

.env.example and, in docs/reference/: settings.md, states.md, log-events.md. Error and exit codes get their explanations
by hand in error-codes.md and exit-codes.md; here it is only checked that each has one.
"""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sse_agent import events, lifecycle
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


PAGES = {
    ".env.example": env_example,
    "docs/reference/settings.md": settings_page,
    "docs/reference/states.md": states_page,
    "docs/reference/log-events.md": log_events_page,
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
