"""The way to tusd: slow enough that kills land inside PATCHes. Loopback only; what goes over it is in book.py."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from scripts.crash_test_harness.book import Book
from scripts.crash_test_harness.passage import Passage


class Relay:
    """A context manager. Each connection carries at most `rate` bytes a second towards tusd."""

    def __init__(self, book: Book, rate: float) -> None:
        self._book = book
        self._rate = rate
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._listening = socket.socket()
        # Inherited by its connections. Else whole files would wait in the kernel's buffers, which outlive the agent:
        # on loopback, with its segments of 64 KiB, the sender's grow to 2 MiB.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024)
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            sockets = [self._listening, *self._sockets]
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def endpoint(self) -> str:
        """Where the agent creates uploads."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}{urlsplit(self._book.target()).path}"

    def _start(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, name="relay", daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", urlsplit(self._book.target()).port or 0), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        passage = Passage(self._book, self._rate, client, server)
        with self._lock:
            self._sockets |= {client, server}
        self._start(passage.carry_answers)
        try:
            passage.carry_requests()
        finally:
            # Both at once: tusd keeps what it has of a PATCH only when it sees that the rest won't come.
            for sock in (client, server):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets -= {client, server}
