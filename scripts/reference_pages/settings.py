"""Every setting, for a page and for a file to begin with."""

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from scripts.reference_pages import GENERATED
from sse_agent.config import PREFIX, SECRETS, Settings

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

HEAD = f"""# Settings

{GENERATED}
Read from flags, then the environment, then `.env` in the working directory, then a TOML file; the first that has a
value counts. In the TOML file the names are in lower case and without the prefix: `client_id = "warehouse-7"`. The file
is `sse-agent/settings.toml` in the user's configuration folder, or the one that `--settings-file` or
`SSE_AGENT_SETTINGS_FILE` names; `sse-agent init` writes it. A `.env` or a TOML file that others can write is not read.
Secrets have no flag: the arguments of a process are visible to everybody on the machine.

A name that is no setting is not heeded; the agent and `sse-agent check` say so, and which may be meant.

Lists are written as JSON. A wrong setting ends the agent with [exit code 78](exit-codes.md) and a message that names
it. So does a state directory, settings file or CA file that lies inside an allowed folder.
"""
TAIL = """
Proxies are taken from the environment's `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not;
certificates are checked against the system's trust store. `.netrc` is never read.
"""


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


def page() -> str:
    """docs/reference/settings.md."""
    lines = [HEAD, "| variable | flag | what | default |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        flag = "–" if name in SECRETS else f"`--{name.replace('_', '-')}`"
        lines.append(f"| `{variable(name)}` | {flag} | {field.description} | {default(field)} |")
    lines.append(TAIL.rstrip("\n"))
    return "\n".join(lines) + "\n"
