"""The way to a peer, one step at a time: name, TCP, the proxy's tunnel, TLS. Blocking; sockets have a time-out."""

import base64
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from sse_agent.checks.deadline import WITHIN_S
from sse_agent.tus.proxies import proxy_for

HEAD_LIMIT = 16 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}


class ProxyRefused(Exception):
    """The proxy's answer to CONNECT was not 200; `status` is 0 if it was no answer at all."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Way:
    """Where a peer is, and the proxy before it, if any. The proxy's URL may hold a password: it is never shown."""

    scheme: str
    host: str
    port: int
    proxy: SplitResult | None

    @property
    def hop(self) -> tuple[str, int]:
        """Host and port that this machine itself connects to."""
        if self.proxy is None:
            return self.host, self.port
        return self.proxy.hostname or "", self.proxy.port or DEFAULT_PORTS.get(self.proxy.scheme, 1080)

    @property
    def shows_certificate(self) -> bool:
        """Whether `open_tls` can look at it: TLS within TLS is more than the ssl module's sockets can do."""
        return self.scheme == "https" and (self.proxy is None or self.proxy.scheme == "http")


def way_to(url: str, proxies: Mapping[str, str]) -> Way:
    """As `proxy_for` decides. Raises ValueError if the proxy's URL can't be used."""
    parts, proxy = urlsplit(url), proxy_for(url, proxies)
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
    if found is not None and (found.scheme not in DEFAULT_PORTS or not found.hostname or found.port == 0):
        raise ValueError("no http or https URL")
    return Way(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme], found)


def resolve(host: str, port: int) -> list[str]:
    """Addresses, as text. Raises OSError or UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@contextmanager
def connected(way: Way) -> Iterator[socket.socket]:
    """TCP to the peer, by the proxy's tunnel where there is one and TLS follows. Raises OSError, ProxyRefused."""
    with socket.create_connection(way.hop, timeout=WITHIN_S) as sock:
        if way.proxy is not None and way.shows_certificate:
            _tunnel(sock, way)
        yield sock


def _tunnel(sock: socket.socket, way: Way) -> None:
    target = f"[{way.host}]:{way.port}" if ":" in way.host else f"{way.host}:{way.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if way.proxy is not None and way.proxy.username is not None:
        pair = f"{unquote(way.proxy.username)}:{unquote(way.proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    status = re.match(rb"HTTP/1\.[01] (\d{3})", read_head(sock))
    if status is None or status[1] != b"200":
        raise ProxyRefused(int(status[1]) if status else 0)


def read_head(sock: socket.socket) -> bytes:
    """The head of an answer, byte by byte: what follows it is TLS."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < HEAD_LIMIT:
        more = sock.recv(1)
        if not more:
            break
        head += more
    return head


def certificate(way: Way, trust: ssl.SSLContext) -> bytes:
    """The peer's certificate in DER, if it is trusted. Raises OSError (ssl.SSLCertVerificationError), ProxyRefused."""
    with connected(way) as sock, trust.wrap_socket(sock, server_hostname=way.host) as tls:
        return tls.getpeercert(binary_form=True) or b""


def shown_certificate(way: Way) -> tuple[bytes, bytes]:
    """Whatever certificate is shown, trusted or not, and the head of an answer of whoever shows it.

    What is asked is `HEAD /`, which tells them nothing. Raises OSError, ProxyRefused.
    """
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with connected(way) as sock, anybody.wrap_socket(sock, server_hostname=way.host) as tls:
        der = tls.getpeercert(binary_form=True) or b""
        try:
            tls.sendall(f"HEAD / HTTP/1.1\r\nHost: {way.host}\r\nConnection: close\r\n\r\n".encode())
            return der, read_head(tls)
        except OSError:
            return der, b""
