"""Arguments and settings in, exit code out. One file a subcommand."""

import sys
from collections.abc import Sequence

import sse_agent
from sse_agent import bugs
from sse_agent.cli import (
    check,
    completion,
    conformance,
    control_plane,
    enroll,
    init,
    outbox,
    running,
    status,
    uploads,
    version,
)
from sse_agent.cli.arguments import Parser
from sse_agent.errors import CannotStart, ExitCode

INTERRUPTED = 130
"""What shells say of whoever ended by Ctrl-C (SIGINT)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`sse-agent …`. Returns the exit code."""
    is_stopped_so = False
    try:
        options = _parser().parse_args(arguments)
        is_stopped_so = options.run in (running.run, control_plane.run)
        result: int = options.run(options)
    except CannotStart as wrong:
        print(f"sse-agent: {wrong}", file=sys.stderr)
        return int(wrong.exit_code)
    except KeyboardInterrupt:
        # Of whatever else it is no success: `sse-agent check && …` must not go on.
        return int(ExitCode.STOPPED) if is_stopped_so else INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough. What is still buffered must not raise it again.
        sys.stdout = None
        return int(ExitCode.STOPPED)
    except Exception as bug:  # noqa: BLE001 - the last who can say so
        print(bugs.report(bug), file=sys.stderr)
        print("sse-agent: this is a bug; what is stored is whole, start it again", file=sys.stderr)
        return int(ExitCode.TRY_AGAIN)
    return result


def _parser() -> Parser:
    parser = Parser(
        prog="sse-agent",
        description="Carries files from this machine to a tus server, as its control plane asks.",
        epilog="`sse-agent COMMAND --help` says more. Begin with `sse-agent init`.",
        example="sse-agent init",
    )
    parser.add_argument("--version", action="version", version=sse_agent.__version__, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for subcommand in (
        init,
        enroll,
        running,
        check,
        status,
        uploads,
        outbox,
        control_plane,
        conformance,
        completion,
        version,
    ):
        subcommand.add(commands)
    return parser
