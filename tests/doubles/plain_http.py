"""A server that speaks plain http: whoever begins TLS with it gets the answer that web servers have for that."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WITHIN_S = 10.0


@contextmanager
def plain_http() -> Iterator[int]:
    """Its port, on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_speak, args=(listening,), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # Wakes the accept, too.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(WITHIN_S)


def _speak(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.settimeout(WITHIN_S)
                if connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
