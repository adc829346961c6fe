"""A tus server that does exactly what a test's script says, however wrong; and a small HTTP proxy."""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self, cast

ENDS_WITHIN_S = 10.0
BUFFER = 256 * 1024


@dataclass
class Exchange:
    """One request, its body unread. Header names are lower case. What a script does not send is not sent."""

    method: str
    target: str
    headers: dict[str, str]
    connection: socket.socket
    _incoming: BinaryIO
    _ending: threading.Event
    is_over: bool = False
    taken: int = 0

    @property
    def length(self) -> int:
        """Bytes of body that were announced."""
        return int(self.headers.get("content-length", "0"))

    def read(self, count: int | None = None) -> bytes:
        """That many bytes of the body, what is left of it by default; fewer if the client stops."""
        data = self._incoming.read(self.length - self.taken if count is None else count)
        self.taken += len(data)
        return data

    def drain(self, count: int | None = None) -> int:
        """Read that many bytes of the body, what is left of it by default, and forget them. Returns `taken`."""
        buffer = memoryview(bytearray(BUFFER))
        left = self.length - self.taken if count is None else count
        while left:
            more = cast("int", self._incoming.readinto(buffer[: min(BUFFER, left)]))  # type: ignore[attr-defined]
            if not more:
                break
            left -= more
            self.taken += more
        return self.taken

    def send(self, raw: bytes) -> None:
        """Bytes as they are."""
        self.connection.sendall(raw)

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """A well-formed answer; the connection stays open."""
        lines = [f"HTTP/1.1 {status} Words", "Tus-Resumable: 1.0.0"]
        fields = {**({} if status == 204 else {"Content-Length": str(len(body))}), **(headers or {})}
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def hang(self) -> None:
        """Say nothing and read nothing until the server ends."""
        self._ending.wait()
        self.is_over = True

    def close(self) -> None:
        """Close the connection after this."""
        self.is_over = True


Script = Callable[[Exchange], None]


@dataclass
class _Listener:
    """Accepts on a free port of this machine; one thread a connection, all of them gone at the end."""

    tls: ssl.SSLContext | None = None
    connections: int = 0
    ending: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        for sock in [self._listening, *self._sockets]:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(ENDS_WITHIN_S)
        for sock in [self._listening, *self._sockets]:
            sock.close()

    @property
    def port(self) -> int:
        return cast("int", self._listening.getsockname()[1])

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=type(self).__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                self._start(self._serve_safely, connection)

    def _serve_safely(self, connection: socket.socket) -> None:
        """Clients of tests break connections off; that is no failure of theirs."""
        try:
            with suppress(OSError):
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
                self._serve(connection)
        finally:
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


@dataclass
class TusServer(_Listener):
    """`script` is called for each request; `seen` keeps them all."""

    script: Script = Exchange.hang
    seen: list[Exchange] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """Where uploads are created."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/files/"

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as incoming:
            while (exchange := self._next(connection, incoming)) is not None:
                self.seen.append(exchange)
                self.script(exchange)
                if exchange.is_over:
                    return

    def _next(self, connection: socket.socket, incoming: BinaryIO) -> Exchange | None:
        method, target, headers = _read_head(incoming)
        return Exchange(method, target, headers, connection, incoming, self.ending) if method else None


@dataclass
class Proxy(_Listener):
    """An HTTP proxy: CONNECT, and plain requests with a whole URL. Every host name leads to `target_port` here."""

    target_port: int = 0
    refusal: bytes | None = None
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As a setting names it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as incoming:
            method, target, headers = _read_head(cast("BinaryIO", incoming))
        self.seen.append((method, target, headers))
        if self.refusal is not None:
            connection.sendall(self.refusal)
            return
        with socket.create_connection(("127.0.0.1", self.target_port)) as onward:
            self._sockets.append(onward)
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                onward.sendall(f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode("latin-1"))
            self._start(_pump, onward, connection)
            _pump(connection, onward)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BUFFER):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _read_head(incoming: BinaryIO) -> tuple[str, str, dict[str, str]]:
    line = incoming.readline(65536).decode("latin-1").split()
    if len(line) != 3:
        return "", "", {}
    headers = {}
    while (text := incoming.readline(65536).decode("latin-1").strip()) != "":
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    return line[0], line[1], headers
