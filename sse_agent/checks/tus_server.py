"""The tus server: reached, and asked what it can. OPTIONS changes nothing and needs no token."""

from collections.abc import Iterator

from sse_agent import config
from sse_agent.checks import peer
from sse_agent.checks.deadline import WITHIN_S, within
from sse_agent.checks.line import way_to
from sse_agent.checks.report import Check, failed, ok, warning
from sse_agent.clock import Clock
from sse_agent.config import Settings
from sse_agent.errors import AgentError, CannotStart
from sse_agent.printable import byte_count
from sse_agent.transport import trust
from sse_agent.tus import TusSession
from sse_agent.tus.session import Answer

TITLE = "tus server"
ANSWER = f"{TITLE}: answer"
VERSION = "1.0.0"


def checks(settings: Settings, clock: Clock) -> Iterator[Check]:
    """Of the default endpoint; other upload origins are known by commands alone."""
    endpoint = settings.tus_endpoint
    if endpoint is None:
        if settings.upload_origins:
            yield ok(TITLE, "no default endpoint: each command names one of the upload origins")
        else:
            advice = "set SSE_AGENT_TUS_ENDPOINT, or SSE_AGENT_UPLOAD_ORIGINS for commands that name one"
            yield warning(TITLE, "no tus endpoint is set: nothing can be uploaded", advice)
        return
    try:
        way = way_to(endpoint, config.proxies())
    except ValueError:
        yield peer.PROXY_UNUSABLE
        return
    for found in peer.reach(TITLE, way, settings.ca_file, clock.now):
        yield found
        if found.has_failed:
            return
    yield _options(settings, endpoint, clock)


def _options(settings: Settings, endpoint: str, clock: Clock) -> Check:
    try:
        trusted = trust(settings.ca_file)
    except CannotStart as wrong:
        return peer.no_trust(TITLE, wrong)
    session = TusSession(trust=trusted, proxies=config.proxies(), clock=clock)
    try:
        answer = within(WITHIN_S, lambda: session.request("OPTIONS", endpoint, {}, answer_s=WITHIN_S))
    except TimeoutError:
        return failed(ANSWER, f"no answer within {WITHIN_S:.0f} s", "is the tus server up, and not overloaded?")
    except AgentError as trouble:
        return failed(ANSWER, str(trouble), "is it the tus server's address, and is the server up?")
    finally:
        session.close()
    return judged(answer)


def judged(answer: Answer) -> Check:
    """What the answer to OPTIONS says (tus 1.0.0, "OPTIONS")."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if answer.status not in (200, 204):
        return _unexpected(answer.status)
    versions = [version.strip() for version in headers.get("tus-version", "").split(",") if version.strip()]
    if VERSION not in versions:
        found = "something answered, but it does not speak tus 1.0.0"
        return failed(ANSWER, found, "correct SSE_AGENT_TUS_ENDPOINT, its path too (tusd: /files/)")
    extensions = [name.strip() for name in headers.get("tus-extension", "").split(",")]
    if "creation" not in extensions:
        return failed(ANSWER, "it lets nobody create uploads", "switch its extension `creation` on")
    most = headers.get("tus-max-size", "")
    size = (
        f"files up to {byte_count(int(most))}"
        if most.isascii() and most.isdigit() and len(most) < 20
        else "files of any size"
    )
    if "termination" not in extensions:
        advice = "switch its extension `termination` on, or remove cancelled uploads there from time to time"
        return warning(ANSWER, f"tus {VERSION}, {size}; cancelled uploads stay there", advice)
    return ok(ANSWER, f"tus {VERSION}, {size}")


def _unexpected(status: int) -> Check:
    if status in (401, 403):
        found = f"{status} to OPTIONS, which needs no token: whether it is a tus server is not known"
        return warning(ANSWER, found, "let OPTIONS through without a token, or try an upload")
    if status == 407:
        return failed(ANSWER, "407: the proxy wants a user name and a password", "put them into the proxy's URL")
    if 300 <= status < 400:
        return failed(
            ANSWER, f"it redirects ({status})", "name the address that it leads to: redirects are not followed"
        )
    found = f"it answered {status} to OPTIONS"
    return failed(ANSWER, found, "correct SSE_AGENT_TUS_ENDPOINT, its path too (tusd: /files/)")
