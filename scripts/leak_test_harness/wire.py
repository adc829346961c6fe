"""The way to tusd: it resets, cuts and holds connections. And two tus servers that are of no use."""

import random
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from typing import Self

BLOCK = 16 * 1024


class Listener:
    """A context manager: a thread for each connection, on a free port of this machine."""

    def __enter__(self) -> Self:
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            sockets = [self._listening, *self._sockets]
        for sock in sockets:
            close(sock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with self._lock:
                    self._sockets.add(connection)
                threading.Thread(target=self._run, args=(connection,), name=type(self).__name__, daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):
                self.serve(connection)
        finally:
            close(connection)
            with self._lock:
                self._sockets.discard(connection)

    def serve(self, connection: socket.socket) -> None:
        """One connection; it is closed afterwards."""
        raise NotImplementedError


class Wire(Listener):
    """In front of tusd. While `is_calm` everything passes; while held, nothing does towards tusd."""

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self.is_calm = True
        self.ways: Counter[str] = Counter()
        self._free = threading.Event()
        self._free.set()
        self._held = threading.Semaphore(0)

    def hold(self) -> None:
        """From now on each connection stops at the next bytes for tusd."""
        self._held = threading.Semaphore(0)
        self._free.clear()

    def wait_until_held(self, count: int, within_s: float) -> bool:
        """Whether so many connections stand still."""
        return all(self._held.acquire(timeout=within_s) for _ in range(count))

    def release(self) -> None:
        """Everything goes on."""
        self._free.set()

    def serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with socket.create_connection(("127.0.0.1", self._target), timeout=10) as onward:
            onward.settimeout(None)
            onward.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._back, args=(connection, onward), name="Wire", daemon=True).start()
            left = self._chance.choice((5_000, 60_000, 300_000, 1_000_000, 3_000_000))
            while data := connection.recv(BLOCK):
                if not self._free.is_set():
                    self._held.release()
                    self._free.wait()
                left -= len(data)
                if left < 0 and not self.is_calm:
                    self._break(connection, onward, data)
                    return
                onward.sendall(data)
            with suppress(OSError):
                onward.shutdown(socket.SHUT_RDWR)

    def _break(self, connection: socket.socket, onward: socket.socket, data: bytes) -> None:
        way = self._chance.choice(("reset", "cut", "cut after the bytes"))
        self.ways[f"tus: {way}"] += 1
        if way == "cut after the bytes":
            with suppress(OSError):
                onward.sendall(data)
        if way == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        close(onward)

    def _back(self, connection: socket.socket, onward: socket.socket) -> None:
        with suppress(OSError):
            while data := onward.recv(BLOCK):
                connection.sendall(data)
        close(connection)


class Mute(Listener):
    """Takes connections and says nothing."""

    def serve(self, connection: socket.socket) -> None:
        while connection.recv(BLOCK):
            pass


class Doorman(Listener):
    """Speaks HTTP, and lets nobody in: 401."""

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as incoming:
            while incoming.readline(65536):
                while incoming.readline(65536).strip():
                    pass
                connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno\r\n")
                return


def close(sock: socket.socket) -> None:
    """Both directions, whatever state it is in."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
