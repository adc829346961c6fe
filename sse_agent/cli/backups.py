"""`control-plane backup` and `restore`: its SQLite database, while it runs, and back."""

import argparse
from pathlib import Path

from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_lines, shown_text
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart, ExitCode


def add(deeds: Subcommands) -> None:
    """Tell the parser."""
    for run, words in (
        (backup, "write a copy of the database, also while the control plane runs"),
        (restore, "put a backup in the database's place"),
    ):
        parser = deeds.add_parser(
            run.__name__,
            help=words,
            description=" ".join((run.__doc__ or "").split()),
            example=f"sse-agent control-plane {run.__name__} /backups/control-plane.db",
        )
        parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
        parser.set_defaults(run=run)


def backup(options: argparse.Namespace) -> int:
    """Write a consistent copy of the control plane's SQLite database, also while it runs.

    Needs the settings of the control plane in the environment, and to be its user. The copy holds keys and secrets: it
    is readable by its owner alone. A file that is there is never overwritten.
    """
    from sse_agent.control_plane import backup as backups

    backups.backup(_database(), options.file, SystemClock())
    print_lines([f"The backup is {shown_text(str(options.file))}."])
    return int(ExitCode.STOPPED)


def restore(options: argparse.Namespace) -> int:
    """Put a backup in the place of the control plane's SQLite database, which must not run.

    What was there is kept beside it. Agents come back by themselves, with a reset, and report again what they did
    since.
    """
    from sse_agent.control_plane import backup as backups

    taken_at = backups.restore(_database(), options.file, SystemClock())
    print_lines(
        [
            f"The database is as it was at {taken_at or 'a time that is not known'}; what was there is beside it.",
            "Agents deleted, or given a new key, since then are let in again: delete them again.",
            "Next: start the control plane.",
        ]
    )
    return int(ExitCode.STOPPED)


def _database() -> Path:
    from sse_agent.control_plane import settings as configuration

    settings = configuration.load()
    if settings.redis_url is not None:
        message = "the database is Redis: back up its append-only file (docs/how-to/back-up-the-control-plane.md)"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return settings.database
