"""Which upload URLs are accepted. Pure.

A tus server names the URL that the token and the file's bytes go to next: it may only be at the endpoint's own origin.
"""

import re
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.tus.answers import Refused

URL_LIMIT = 2048
"""Characters; servers and proxies in between refuse much longer ones anyway."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
# The backslash is left out: parsers disagree on where the host ends when there is one (WHATWG URL, section 4.4).
_PLAIN = re.compile(r"[\x21-\x5b\x5d-\x7e]+")


def check_endpoint(endpoint: str) -> str:
    """The endpoint, if requests can be sent there as they are meant. Raises GiveUp, `NOT_ALLOWED`."""
    if _origin(endpoint) is None:
        message = "the tus endpoint is no http(s) URL in plain ASCII without user name and password"
        raise GiveUp(ErrorCode.NOT_ALLOWED, message)
    return endpoint


def resolve_location(endpoint: str, location: str) -> str:
    """The absolute upload URL that a `Location` header means. Raises GiveUp as `check_upload_url` does."""
    # Looked at before it is joined: urljoin drops what a URL must not have, and would then say something else.
    if len(location) > URL_LIMIT or not _PLAIN.fullmatch(location):
        raise _refused("the tus server gave the upload a URL that is not usable")
    try:
        url = check_upload_url(endpoint, urljoin(endpoint, location))
    except ValueError:
        raise _refused("the tus server's Location is no URL") from None
    if url.rstrip("/") == endpoint.rstrip("/"):
        raise _refused("the tus server gave the upload a URL that is not usable: the endpoint's own")
    return url


def check_upload_url(endpoint: str, url: str) -> str:
    """The URL, its authority spelled as the endpoint's, if it lies at the endpoint's origin.

    Raises GiveUp, `SERVER_REFUSED` and retryable, which never repeats the URL: who knows it may read and delete.
    """
    wanted, found = _origin(check_endpoint(endpoint)), _origin(url)
    if found is None:
        raise _refused("the tus server gave the upload a URL that is not usable")
    if found != wanted:
        if (urlsplit(endpoint).scheme.lower(), found[0]) == ("https", "http"):
            raise _refused(
                "the tus server gave the upload an http URL although its endpoint is https;"
                " behind a proxy tusd needs the flag -behind-proxy, and X-Forwarded headers from the proxy"
            )
        raise _refused("the tus server gave the upload a URL at another origin than its endpoint's")
    base, parts = urlsplit(endpoint), urlsplit(url)
    return urlunsplit(SplitResult(base.scheme, base.netloc, parts.path or "/", parts.query, ""))


def upload_id(endpoint: str, url: str) -> str:
    """The tus server's ID of the upload: its URL's path below the endpoint's, else the last part of it."""
    base, path = urlsplit(endpoint).path.rstrip("/") + "/", urlsplit(url).path
    below = path.removeprefix(base) if path.startswith(base) else path.rstrip("/").rpartition("/")[2]
    below = below.strip("/")
    plain = unquote(below)
    # The ID goes on to people and databases: what would do something there stays escaped.
    return plain if plain.isprintable() else below


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is not plainly an http(s) URL.

    What is checked must be what is connected to: urllib3, which connects, has to read the URL in the same way.
    """
    if len(url) > URL_LIMIT or not _PLAIN.fullmatch(url):
        return None
    try:
        parts, read_by_urllib3 = urlsplit(url), parse_url(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except (ValueError, LocationParseError):
        return None
    if scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    if ((read_by_urllib3.host or "").strip("[]"), read_by_urllib3.port) != (host, port):
        return None
    return scheme, host, port or _DEFAULT_PORTS[scheme]


def _refused(message: str) -> Refused:
    return Refused(ErrorCode.SERVER_REFUSED, message, retryable=True)
