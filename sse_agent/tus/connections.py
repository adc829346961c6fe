"""urllib3's connections, watched: every step has a deadline, and another thread can break any of them.

Troubles of a connection leave it as LineBroke, which is neither an OSError nor urllib3's: so neither urllib3 nor
requests wraps it into an exception that carries the URL.
"""

import http.client
import queue
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from io import BufferedIOBase
from typing import Any, cast

import requests.adapters
import urllib3.connection
import urllib3.connectionpool
from urllib3.util import wait_for_read, wait_for_write

from sse_agent.tus.watch import Line, Watch, no_answer

POOLS = 2
"""Origins whose connections are kept: the endpoint's, and one more while uploads alternate."""

INTERIM_ANSWERS = 16
"""1xx before the answer. More are a flood: each is a sign of life to a socket's time-out."""

EARLY_ANSWER_S = 1.0
"""For an answer from a server that takes no more bytes. It came long before, if it ever did."""

Address = tuple[Any, ...]
Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]]


class LineBroke(Exception):
    """The text says why, for people; host names at most, never a path."""


class _Lines:
    """What http.client reads an answer's head from. A line that ends with the connection is no line (RFC 9112, 8)."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def readline(self, limit: int = -1) -> bytes:
        """Raises RemoteDisconnected where http.client would go on with half a line, or as if the head were whole."""
        line = self._file.readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.RemoteDisconnected("the connection ended within the head of an answer")
        return line


class _Final(http.client.HTTPResponse):
    """http.client takes any 1xx but 100 for the answer itself, and reads 100s for ever (RFC 9110, section 15.2)."""

    def begin(self) -> None:
        """The head of the answer. urllib3 would take two lengths for a fault of the request."""
        whole: Any = self.fp
        self.fp = cast("Any", _Lines(whole))
        try:
            super().begin()
        finally:
            # None once http.client has closed it.
            if self.fp is not None:
                self.fp = whole
        lengths = {length.strip() for line in self.headers.get_all("Content-Length", []) for length in line.split(",")}
        if len(lengths) > 1:
            raise http.client.HTTPException("more than one length")

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(INTERIM_ANSWERS + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("interim answers without end")


class _Watched(urllib3.connection.HTTPConnection):
    """One connection of a session. Not shared between threads."""

    response_class = _Final
    watch: Watch
    _line: Line | None = None
    _idle_since: float = 0.0
    _is_spoiled: bool = False
    _is_stalled: bool = False

    # --- opening ---

    def _new_conn(self) -> socket.socket:
        """urllib3's own tries every address for the whole time-out, and nobody could break it meanwhile."""
        connect_s = self.watch.patience.connect_s
        self.watch.wait_to_connect()
        found = self._resolve(self._dns_host, self.port)
        why = "no address"
        for family, kind, protocol, _, address in found:
            try:
                sock = self._open(family, kind, protocol, address, connect_s / len(found))
            except OSError as error:
                why = "timed out" if isinstance(error, TimeoutError) else _words(error)
                continue
            sock.settimeout(connect_s)
            self.watch.wait_to_connect()
            return sock
        raise LineBroke(f"the {self._peer} can't be reached: {why}")

    def _open(self, family: int, kind: int, protocol: int, address: Address, timeout_s: float) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            self._line = self.watch.track(sock)
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout_s)
            self.watch.check()
            sock.connect(address)
        except BaseException:
            sock.close()
            self._retire()
            raise
        return sock

    def _resolve(self, host: str, port: int) -> Found:
        """In a thread of its own, for nothing can break a resolver; it is left behind when it takes too long."""
        answer: queue.SimpleQueue[Found | OSError | UnicodeError | None] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answer.put(error)

        with self.watch.woken_by(lambda: answer.put(None)):
            threading.Thread(target=ask, name="resolver", daemon=True).start()
            try:
                found = answer.get(timeout=self.watch.patience.connect_s)
            except queue.Empty:
                raise LineBroke(f"name not found: {host} (timed out)") from None
            self.watch.check()
        if isinstance(found, Exception) or found is None:
            why = f" ({found.strerror})" if isinstance(found, OSError) and found.strerror else ""
            raise LineBroke(f"name not found: {host}{why}")
        return found

    def connect(self) -> None:
        """TCP, then the proxy's tunnel, then TLS."""
        try:
            super().connect()
        except ssl.SSLCertVerificationError as error:
            raise LineBroke(f"the {self._peer}'s TLS certificate is not trusted: {error.verify_message}") from None
        except TimeoutError:
            raise LineBroke(f"the {self._peer} can't be reached: timed out") from None
        except ssl.SSLError as error:
            why = (error.reason or "the connection broke").replace("_", " ").lower()
            raise LineBroke(f"TLS with the {self._peer} failed: {why}") from None
        except (OSError, http.client.HTTPException) as error:
            raise LineBroke(f"the {self._peer} can't be reached: {_words(error)}") from None
        self.sock.settimeout(self.watch.patience.stall_s)
        self.watch.wait_for_block()

    @property
    def _peer(self) -> str:
        return "proxy" if self.proxy and not self._has_connected_to_proxy else "tus server"

    # --- one request ---

    def request(self, *args: Any, **kwargs: Any) -> None:
        """urllib3 would send with the time-out for connecting."""
        self.timeout = self.watch.patience.stall_s
        self.watch.wait_for_block()
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        """A server that refuses a body early answers, and reads no more or closes: the answer may be there to be read.

        A broken pipe is what urllib3 takes as a hint to do so; over TLS it comes as other errors.
        """
        try:
            super().send(data)
        except OSError as error:
            self._is_spoiled = True
            self._is_stalled = isinstance(error, TimeoutError)
            raise BrokenPipeError from None

    def getresponse(self) -> Any:
        """The head of the answer."""
        self.watch.wait_for_answer()
        if self._is_stalled:
            self.timeout = EARLY_ANSWER_S
        try:
            response = super().getresponse()
        except TimeoutError:
            if self._is_stalled:
                why = no_answer(self.watch.patience.stall_s).reason
                raise LineBroke(f"{why}: it takes no more bytes") from None
            raise
        self._idle_since = self.watch.clock.monotonic()
        return response

    # --- the end ---

    @property
    def is_connected(self) -> bool:
        """Whether it may carry another request. tusd and proxies drop idle ones about when a request would be sent."""
        idle_s = self.watch.clock.monotonic() - self._idle_since
        return not self._is_spoiled and idle_s < self.watch.patience.idle_s and super().is_connected

    def close(self) -> None:
        super().close()
        self._is_spoiled = self._is_stalled = False
        self._retire()

    def _retire(self) -> None:
        if self._line is not None:
            self.watch.retire(self._line)
            self._line = None


class _WatchedTls(_Watched, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class Handshakes:
    """An SSLContext whose handshakes hold no lock while they wait.

    truststore's context is locked for the whole of a blocking handshake: one server that says nothing would hold up
    every other connection made with it, the event loop's included.
    """

    def __init__(self, context: ssl.SSLContext, watch: Watch) -> None:
        self._context = context
        self._watch = watch
        # urllib3 sets this on each connection; the context itself may be shared with others.
        self.verify_mode = context.verify_mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def wrap_socket(self, sock: socket.socket, server_hostname: str | None = None) -> ssl.SSLSocket:
        """A TLS connection, every step of whose handshake took less than the socket's time-out."""
        self._watch.wait_to_connect()
        patience_s = sock.gettimeout()
        tls = self._context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        try:
            tls.settimeout(0.0)
            while not _shake(tls, patience_s):
                pass
            tls.settimeout(patience_s)
        except BaseException:
            tls.close()
            raise
        return tls


def _shake(tls: ssl.SSLSocket, patience_s: float | None) -> bool:
    """One step of a handshake; whether it was the last. Raises TimeoutError."""
    try:
        tls.do_handshake()
        return True
    except ssl.SSLWantReadError:
        can_go_on = wait_for_read(tls, patience_s)
    except ssl.SSLWantWriteError:
        can_go_on = wait_for_write(tls, patience_s)
    if not can_go_on:
        raise TimeoutError
    return False


class Adapter(requests.adapters.HTTPAdapter):
    """requests' way to urllib3, with the connections above, directly or through a proxy. It never retries."""

    def __init__(self, trust: ssl.SSLContext, watch: Watch) -> None:
        self._tls = {"ssl_context": cast("ssl.SSLContext", Handshakes(trust, watch))}
        plain = type("Connection", (_Watched,), {"watch": watch})
        tls = type("TlsConnection", (_WatchedTls,), {"watch": watch})
        self._pools = {
            "http": type("Pool", (urllib3.connectionpool.HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (urllib3.connectionpool.HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
        super().__init__(pool_connections=POOLS, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **self._tls, proxy_ssl_context=self._tls["ssl_context"], **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """requests would have certifi's certificates loaded into the context, whatever that one trusts."""


def _words(error: Exception) -> str:
    """A few words for an error of the system; its own text may be long, or the other end's."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (ConnectionError, http.client.HTTPException)):
        return "the connection broke"
    tunnel = re.match(r"Tunnel connection failed: (\d{3})", str(error))
    if tunnel is not None:
        return f"the proxy answered {tunnel[1]} to CONNECT"
    return (getattr(error, "strerror", None) or "the connection broke").lower()
