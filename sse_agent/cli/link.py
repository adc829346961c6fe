"""`control-plane link`: a way into the live page for one person, from the control plane that runs."""

import argparse
import uuid
from pathlib import Path

from sse_agent import config
from sse_agent.cli.arguments import Subcommands
from sse_agent.cli.tables import print_lines
from sse_agent.errors import CannotStart, ExitCode

WITHIN_S = 10.0
CA_FILE = f"{config.PREFIX}CA_FILE"


def add(deeds: Subcommands) -> None:
    """Tell the parser."""
    parser = deeds.add_parser(
        "link",
        help="print a one-use link to the live page",
        description=" ".join((run.__doc__ or "").split()),
        example="sse-agent control-plane link --subject ada",
    )
    parser.add_argument("--subject", metavar="NAME", default="operator", help="who signs in with it, for the audit log")
    parser.add_argument("--url", metavar="URL", help="where it listens, if that is not what its settings say")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help=f"PEM file of certificates to trust as well (or {CA_FILE})"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a link to the live page that signs one person in, once, within 15 minutes.

    Needs the settings of the control plane, its SERVICE_TOKEN above all, in the environment.
    """
    import httpx

    from sse_agent.control_plane import settings as configuration
    from sse_agent.transport import explain, trust

    settings = configuration.load()
    url = (options.url or settings.issuer or _url(settings.host, settings.port, settings.tls_key is not None)).rstrip(
        "/"
    )
    headers = {
        "Authorization": f"Bearer {settings.service_token.get_secret_value()}",
        "Idempotency-Key": uuid.uuid4().hex,
    }
    ca_file = options.ca_file or config.environment(CA_FILE)
    # No proxy: it is this machine, or one that is as near.
    client = httpx.Client(
        headers=headers, timeout=WITHIN_S, trust_env=False, verify=trust(Path(ca_file) if ca_file else None)
    )
    try:
        with client:
            answer = client.post(f"{url}/api/v1/signin-links", json={"subject": options.subject})
        link = answer.json()["link"] if answer.status_code == 201 else None
        said = f"answered {answer.status_code}"
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            message = (
                f"the control plane at {url} is there, but {explain(error)}; --ca-file names certificates to trust as "
                "well, --url another address of it"
            )
            raise CannotStart(message, ExitCode.TRY_AGAIN) from None
        link, said = None, f"does not answer ({explain(error)})"
    except (httpx.InvalidURL, ValueError, KeyError, TypeError):
        link, said = None, "does not answer as one does"
    if not isinstance(link, str):
        message = f"the control plane at {url} {said}; is it running, with these settings? --url says where it is"
        raise CannotStart(message, ExitCode.TRY_AGAIN)
    print_lines([link])
    return int(ExitCode.STOPPED)


def _url(host: str, port: int, has_tls: bool) -> str:
    where = f"[{host}]" if ":" in host else host
    return f"{'https' if has_tls else 'http'}://{where}:{port}"
