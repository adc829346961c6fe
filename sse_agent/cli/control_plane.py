"""`control-plane`: the other end, which is an extra of the package. Its help is there without the extra."""

import argparse
import sys
import textwrap

from pydantic.fields import FieldInfo

from sse_agent.cli import backups, link
from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import shown_text
from sse_agent.errors import CannotStart, ExitCode

ABOUT = """\
Run the reference control plane: it holds the agents' streams, queues commands for them and records what they report, in
one SQLite file. The first line on standard output says where it listens. SIGINT and SIGTERM end it.
"""
EXAMPLE = """\
export SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN=token-of-whoever-commands
  export SSE_AGENT_CONTROL_PLANE_AGENT_TOKENS='{"warehouse-7": "token-of-the-agent"}'
  sse-agent control-plane"""


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "control-plane",
        help="run the reference control plane",
        description=ABOUT.replace("\n", " ").strip(),
        later=_settings,
        example=EXAMPLE,
    )
    parser.set_defaults(run=run)
    deeds = parser.add_subparsers(metavar="DEED", title="on a control plane")
    link.add(deeds)
    backups.add(deeds)


def run(_: argparse.Namespace) -> int:
    """Serve until a signal comes. Raises CannotStart."""
    try:
        from sse_agent.control_plane import server, settings
    except ImportError as error:
        message = (
            f"the control plane needs the package's extra `control-plane` ({error.name} is missing); in the checkout:\n"
            f"  {sys.executable} -m pip install '.[control-plane]'"
        )
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    for line in settings.misspelt():
        print(f"sse-agent control-plane: {shown_text(line)}", file=sys.stderr)
    return server.main()


def _settings() -> str:
    """They are read from variables alone."""
    from sse_agent.control_plane.settings import PREFIX, Settings

    lines = ["It has no flags; its settings are variables:", ""]
    for name, field in Settings.model_fields.items():
        lines.append(f"  {PREFIX}{name.upper()}")
        indent = " " * 6
        lines += textwrap.wrap(
            _told(field),
            74,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join([*lines, "", "More: docs/reference/control-plane.md"])


def _told(field: FieldInfo) -> str:
    if field.is_required():
        return f"{field.description} (must be set)"
    default = field.get_default(call_default_factory=True)
    return f"{field.description} (default: {'none' if default in (None, {}) else default})"
