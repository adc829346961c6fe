"""`enroll`: this machine becomes an agent: a key is made here, and the control plane is told its public half."""

import argparse

from sse_agent.cli.arguments import Subcommands, add_settings


def add(commands: Subcommands) -> None:
    """Tell the parser."""
    parser = commands.add_parser(
        "enroll",
        help="make this machine an agent of a control plane, with a pairing code or an enrolment token",
        example="sse-agent enroll --control-plane https://control.example.com",
        description=run.__doc__,
        epilog="The code is typed, or comes from a file; it is never an argument, which others could read. Exit code 0 "
        "when the agent may run, 75 if nobody has confirmed it yet or the control plane is not reached, 78 if that "
        "refuses it.",
    )
    parser.add_argument(
        "--control-plane", "--control-plane-url", dest="set_control_plane_url", metavar="URL", help="its address"
    )
    parser.add_argument("--name", metavar="NAME", help="what people call this machine; its host name by default")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--code-file", metavar="FILE", help="a file with the pairing code; - is standard input")
    secret.add_argument("--token-file", metavar="FILE", help="the same for an enrolment token, for unattended installs")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--again", action="store_true", help="enrol anew, with a new key, a machine that is enrolled")
    instead.add_argument("--rotate", action="store_true", help="a new key for the agent that runs; it stays who it is")
    add_settings(parser, ["state_dir", "ca_file"])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make a key on this machine, show the control plane its public half, and wait until a person has confirmed it."""
    # Here, so that the other subcommands need not load everything that signs and speaks to servers.
    from sse_agent.cli import enrolling

    return enrolling.run(options)
