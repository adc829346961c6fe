"""The control plane: reached, its token accepted, this machine's clock; or how the running agent's own stream is.

Opening a stream would claim an epoch: it counts as a start of the agent, and takes the place of one that runs. So the
stream is asked for without the three headers that say who speaks. A control plane looks at the token first (401, 403),
and refuses then what it can bind to nobody (400). HELLO therefore is seen only where an agent runs: it is asked.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from sse_agent import config
from sse_agent.checks import clock, enrolment, peer
from sse_agent.checks.deadline import WITHIN_S, within
from sse_agent.checks.line import Way, way_to
from sse_agent.checks.report import Check, failed, ok
from sse_agent.clock import Clock
from sse_agent.config import Settings, origin_of
from sse_agent.errors import CannotStart
from sse_agent.printable import duration, printable
from sse_agent.transport import explain, problem_slug, trust

TITLE = "control plane"
ANSWER = f"{TITLE}: answer"
BODY_LIMIT = 64 * 1024
REDIRECTS = 5


class _Hop(Exception):
    """Where httpx was about to connect to."""


def checks(settings: Settings, status: dict[str, Any] | None, now: Clock) -> Iterator[Check]:
    """`status` is the running agent's, None if none runs."""
    if status is not None:
        yield _stream(status)
    try:
        # Whoever is handed an SSLContext may change it; this one is only for what follows.
        client = httpx.Client(verify=trust(settings.ca_file), timeout=WITHIN_S, follow_redirects=False)
    except (ImportError, ValueError, httpx.InvalidURL):
        yield peer.PROXY_UNUSABLE
        return
    except CannotStart as unreadable:
        yield peer.no_trust(TITLE, unreadable)
        return
    with client:
        for found in peer.reach(TITLE, _way(client, settings.control_plane_url), settings.ca_file, now.now):
            yield found
            if found.has_failed:
                return
        # The token is the running agent's to show.
        token = settings.token.get_secret_value() if status is None and settings.token else None
        if status is None and token is None:
            token, wrong = enrolment.granted(settings, now, ANSWER)
            if wrong is not None:
                yield wrong
                return
        yield from _ask(client, settings, token, now)


def _stream(status: dict[str, Any]) -> Check:
    name, connection = f"{TITLE}: stream", status["connection"]
    since = duration(connection["seconds"])
    if connection["state"] == "connected":
        return ok(name, f"the running agent has been connected for {since} ({connection['transport']})")
    reason = printable(connection["reason"] or "no reason given")
    advice = "what to do is in docs/how-to/find-out-what-is-wrong.md, by these words"
    return failed(name, f"the running agent has been {connection['state']} for {since}: {reason}", advice)


def _way(client: httpx.Client, url: str) -> Way:
    """By the hop that httpx takes itself: it reads NO_PROXY a little differently from `proxy_for`."""
    hop = _first_hop(client, url)
    direct = way_to(url, {})
    for name, proxy in config.proxies().items():
        if name != "no" and direct.hop != hop:
            try:
                way = way_to(url, {"all": proxy})
            except ValueError:
                continue
            if way.hop == hop:
                return way
    return direct


def _first_hop(client: httpx.Client, url: str) -> tuple[str, int]:
    def before_connecting(event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            raise _Hop(info["host"], info["port"])

    try:
        client.get(url, extensions={"trace": before_connecting})
    except _Hop as hop:
        host, port = hop.args
        return str(host), int(port)
    except httpx.HTTPError:
        pass
    return "", 0


def _ask(client: httpx.Client, settings: Settings, token: str | None, now: Clock) -> Iterator[Check]:
    headers = {"Accept": "application/problem+json", "Accept-Encoding": "identity", "User-Agent": "sse-agent"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    url = f"{settings.control_plane_url.rstrip('/')}/api/v1/agents/{settings.client_id}/stream"
    try:
        response, body = within(WITHIN_S, lambda: _get(client, url, headers))
    except TimeoutError:
        advice = "something on the way holds the answer back, or the control plane is overloaded: try again"
        yield failed(ANSWER, f"no answer within {WITHIN_S:.0f} s", advice)
    except httpx.HTTPError as error:
        why = explain(error)
        is_407 = isinstance(error, httpx.ProxyError) and "407" in why
        advice = "put name and password into the proxy's URL" if is_407 else "is it the control plane's address?"
        yield failed(ANSWER, why, advice)
    except (httpx.InvalidURL, ValueError):
        yield failed(ANSWER, "it redirects to what is no URL", "is it the control plane's address?")
    else:
        yield _judged(response, body, settings, token)
        yield clock.check(response.headers.get("date"), now.now(), "the control plane")


def _get(client: httpx.Client, url: str, headers: dict[str, str]) -> tuple[httpx.Response, bytes]:
    for _ in range(REDIRECTS + 1):
        with client.stream("GET", url, headers=headers) as response:
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            body = b"" if is_stream else _read(response)
        target = _target(response)
        # A user name in it would take the place of the token.
        is_followed = origin_of(target) == origin_of(url) and "@" not in urlsplit(target).netloc
        if response.status_code not in (307, 308) or not is_followed:
            break
        url = target
    return response, body


def _target(response: httpx.Response) -> str:
    """Where a redirect leads, absolute; the URL itself if it is none."""
    return str(response.url.join(response.headers.get("location", "")))


def _read(response: httpx.Response) -> bytes:
    body = b""
    for part in response.iter_raw():
        body += part
        if len(body) >= BODY_LIMIT:
            break
    return body


def _judged(response: httpx.Response, body: bytes, settings: Settings, token: str | None) -> Check:
    status, slug = response.status_code, problem_slug(response, body)
    kind = response.headers.get("content-type", "")
    if slug and status == 401 and token is None:
        return ok(ANSWER, "it answers; the token is the running agent's to show")
    if (slug and status in (400, 406)) or (status == 200 and kind.startswith("text/event-stream")):
        return ok(ANSWER, f"the token of {settings.client_id} is accepted; the stream is left to the agent")
    if 300 <= status < 400:
        # Neither a query nor a user name: either may be somebody's secret.
        to = urlsplit(_target(response))
        shown = printable(f"{origin_of(to.geturl())}{to.path}"[:200]) if response.headers.get("location") else "nowhere"
        advice = "name the address that it leads to, if it is the control plane's; or log in to this network"
        return failed(ANSWER, f"it redirects ({status}) to {shown}", advice)
    if not slug and (status < 300 or "html" in kind):
        found, advice = _instead(status)
        return failed(ANSWER, found, advice)
    found, advice = _REFUSALS.get(status, (f"it answered {status}" + (f" {slug}" if slug else ""), "try again later"))
    return failed(ANSWER, found.format(client=settings.client_id), advice)


_REFUSALS = {
    401: ("401: the token is not accepted", "correct SSE_AGENT_TOKEN: is it whole, and not revoked?"),
    403: ("403: the token is not that of {client}", "correct SSE_AGENT_CLIENT_ID or SSE_AGENT_TOKEN"),
    404: ("404: no agent {client} there, or no control plane", "correct SSE_AGENT_CONTROL_PLANE_URL or _CLIENT_ID"),
    407: ("407: the proxy wants a user name and a password", "put them into the proxy's URL: http://user:password@host:port"),
    409: ("409: another copy of this agent has taken its place", "stop one of the two, or have this one readmitted"),
    410: ("410: this agent was deleted on the control plane", "give it another client ID and an empty state directory"),
}  # fmt: skip


def _instead(status: int) -> tuple[str, str]:
    if status == 404:
        found = "404 with a web page: a server is there, but no control plane"
        return found, "correct SSE_AGENT_CONTROL_PLANE_URL; has it a path, such as /sse?"
    found = f"something on the way answered {status} in the control plane's place (a login page or a proxy?)"
    return found, "log in to this network with a browser, or ask for an exception for the control plane's address"
