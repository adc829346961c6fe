"""The way to a peer as checks: proxy, DNS, TCP, TLS. The one that fails is the last: the rest would fail with it."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from sse_agent import config
from sse_agent.checks import certificates, clock, line
from sse_agent.checks.deadline import WITHIN_S, within
from sse_agent.checks.line import ProxyRefused, Way
from sse_agent.checks.report import Check, failed, ok, warning
from sse_agent.errors import CannotStart
from sse_agent.transport import trust

EXPIRES_SOON_DAYS = 14
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_ numbers."""

PROXY_UNUSABLE = failed(
    "proxy",
    "the environment's proxy settings can't be used",
    "http:// or https:// URLs in HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, host names or addresses in NO_PROXY",
)


def reach(title: str, way: Way, ca_file: Path | None, now: Callable[[], datetime]) -> Iterator[Check]:
    """One check a step."""
    host, port = way.hop
    yield _proxy(title, way)
    for step in (_dns, _tcp):
        found = step(title, host, port, way)
        yield found
        if found.has_failed:
            return
    if way.shows_certificate:
        yield _tls(title, way, ca_file, now)


def _proxy(title: str, way: Way) -> Check:
    name = f"{title}: proxy"
    if way.proxy is None:
        return ok(name, f"none, straight to {way.host}:{way.port}")
    host, port = way.hop
    names = (f"{scheme}_proxy" for scheme in (way.scheme, "all"))
    variables = [name for lower in names for name in (lower, lower.upper()) if config.environment(name)]
    return ok(name, f"{host}:{port}" + (f", as {variables[0]} says" if variables else ""))


def _dns(title: str, host: str, port: int, way: Way) -> Check:
    name, whose = f"{title}: DNS", "proxy's name" if way.proxy else "name"
    advice = (
        f"correct the {whose}, or look at this machine's DNS (getent hosts NAME)"
        if way.proxy
        else "correct the name, or look at this machine's DNS; where only a proxy knows it: HTTPS_PROXY"
    )
    try:
        addresses = within(WITHIN_S, lambda: line.resolve(host, port))
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or ("no answer" if isinstance(error, TimeoutError) else "no host name")
        return failed(name, f"name not found: {host} ({why})", advice)
    shown = ", ".join(addresses[:3]) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
    return ok(name, shown if [host] == addresses else f"{host} is {shown}")


def _tcp(title: str, host: str, port: int, way: Way) -> Check:
    name, began = f"{title}: TCP", time.perf_counter()
    whose = "the proxy" if way.proxy else f"{host}:{port}"
    try:
        within(WITHIN_S, lambda: socket.create_connection((host, port), WITHIN_S).close())
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):
            why, advice = "refused the connection", "nothing listens there: is the address right, and the server up?"
        elif isinstance(error, TimeoutError):
            why = f"does not answer within {WITHIN_S:.0f} s"
            advice = "a firewall may drop it: let this machine out, or name a proxy in HTTPS_PROXY"
        else:
            why, advice = f"can't be reached: {(error.strerror or 'no way').lower()}", "look at this machine's network"
        return failed(name, f"{whose} {why}", advice)
    return ok(name, f"connected to {host}:{port} in {max(1, round((time.perf_counter() - began) * 1000))} ms")


def no_trust(title: str, wrong: CannotStart) -> Check:
    """The certificates that are to be trusted can't be read."""
    return failed(f"{title}: TLS", str(wrong), "correct SSE_AGENT_CA_FILE")


def _tls(title: str, way: Way, ca_file: Path | None, now: Callable[[], datetime]) -> Check:
    name = f"{title}: TLS"
    try:
        context = trust(ca_file)
        found = certificates.read(within(WITHIN_S, lambda: line.certificate(way, context)))
    except CannotStart as wrong:
        return no_trust(title, wrong)
    except ssl.SSLCertVerificationError as error:
        return _not_trusted(name, way, error, now)
    except ProxyRefused as refused:
        return _refused_by_proxy(name, way, refused)
    except ValueError:
        return ok(name, "trusted")
    except OSError as error:
        why = (
            "no answer"
            if isinstance(error, TimeoutError)
            else "what answers there does not speak TLS, or breaks it off"
        )
        return failed(name, why, f"is {way.host}:{way.port} the right address, with https?")
    days = (found.not_after - now()).days
    shown = f"issued by {found.issuer}, valid until {found.not_after:%Y-%m-%d}"
    if days < EXPIRES_SOON_DAYS:
        return warning(name, shown, "whoever runs that server should renew its certificate now")
    return ok(name, shown)


def _refused_by_proxy(name: str, way: Way, refused: ProxyRefused) -> Check:
    host, port = way.hop
    if refused.status == 407:
        advice = "put them into the proxy's URL: HTTPS_PROXY=http://user:password@host:port"
        return failed(name, f"the proxy {host}:{port} wants a user name and a password (407)", advice)
    what = f"answered {refused.status}" if refused.status else "did not answer as one"
    advice = f"ask whoever runs the proxy to let {way.host}:{way.port} through, or except it in NO_PROXY"
    return failed(name, f"the proxy {host}:{port} {what}", advice)


def _not_trusted(name: str, way: Way, error: ssl.SSLCertVerificationError, now: Callable[[], datetime]) -> Check:
    try:
        der, head = within(WITHIN_S, lambda: line.shown_certificate(way))
        shown = certificates.read(der)
    except (OSError, ValueError, ProxyRefused):
        return failed(name, f"not trusted: {error.verify_message}", "see SSE_AGENT_CA_FILE")
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET_VALID):
        when = (
            f"ran out on {shown.not_after:%Y-%m-%d}" if code == _EXPIRED else f"begins on {shown.not_before:%Y-%m-%d}"
        )
        wrong_clock = clock.hint(head, now())
        if wrong_clock:
            return failed(name, f"the certificate {when}; but {wrong_clock}", clock.ADVICE)
        return failed(name, f"the certificate {when}", "whoever runs that server must renew it; is this clock right?")
    if code in (_WRONG_HOST, _WRONG_ADDRESS):
        found = f"the certificate is for {shown.subject}, not for {way.host}"
        return failed(
            name, found, f"name the server as its certificate does; or something answers in {way.host}'s place"
        )
    return failed(
        name,
        f"the certificate was issued by {shown.issuer}, whom this machine does not trust",
        "if that is your company's TLS inspection, put its certificate into a PEM file and name it in "
        "SSE_AGENT_CA_FILE; if nobody knows that name, go no further",
    )
