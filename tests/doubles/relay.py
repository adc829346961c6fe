"""A TCP relay on loopback: slow, counting, and able to cut at a chosen moment. TLS passes through unread."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

BLOCK = 16 * 1024
_BUFFER = 4 * 1024


class Relay:
    """A context manager. `rate` bounds the bytes a second of each connection towards the target; None: no bound.

    With `cuts_answers_after` set, a connection that carried so many bytes forward is cut at its next answer: the
    server got all of it, the client hears nothing. Once; then it is None again.
    """

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        self.forwarded = 0
        self.cuts_answers_after: int | None = None
        self.cut = threading.Event()
        self._target = ("127.0.0.1", 0)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._listening = socket.socket()
        # Inherited by its connections: else megabytes wait in the kernel's buffers.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            sockets = [self._listening, *self._sockets]
        for sock in sockets:
            _close(sock)

    def in_front_of(self, url: str) -> str:
        """The same URL, over this relay."""
        parts = urlsplit(url)
        assert parts.port is not None
        self._target = ("127.0.0.1", parts.port)
        return parts._replace(netloc=f"127.0.0.1:{self._listening.getsockname()[1]}").geturl()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), name="relay", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _close(client)
            return
        server.settimeout(None)
        with self._lock:
            self._sockets |= {client, server}
        count = [0]
        threading.Thread(target=self._back, args=(client, server, count), name="relay", daemon=True).start()
        try:
            with suppress(OSError):
                while data := client.recv(BLOCK):
                    server.sendall(data)
                    count[0] += len(data)
                    self.forwarded += len(data)
                    if self.rate is not None:
                        time.sleep(len(data) / self.rate)
        finally:
            for sock in (client, server):
                _close(sock)
            with self._lock:
                self._sockets -= {client, server}

    def _back(self, client: socket.socket, server: socket.socket, count: list[int]) -> None:
        with suppress(OSError):
            while data := server.recv(BLOCK):
                if self.cuts_answers_after is not None and count[0] >= self.cuts_answers_after:
                    self.cuts_answers_after = None
                    self.cut.set()
                    break
                client.sendall(data)
        for sock in (client, server):
            _close(sock)


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
