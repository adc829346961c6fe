"""The way to tusd: slow enough that kills land inside PATCHes, and counting what goes over it. Loopback only."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Self
from urllib.parse import urlsplit

BLOCK = 32 * 1024
_LONGEST_LINE = 64 * 1024


@dataclass(slots=True)
class Sent:
    """What went over for one upload on the tus server."""

    file_id: str
    bytes: int = 0
    patches: int = 0
    resumed: int = 0


class Relay:
    """A context manager. Each connection carries at most `rate` bytes a second towards tusd."""

    def __init__(self, target: Callable[[], str], rate: float) -> None:
        self._target = target
        self._rate = rate
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self.uploads: dict[str, Sent] = {}
        self.open_patches = 0

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
        with self._changed:
            sockets = [self._listening, *self._sockets]
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def endpoint(self) -> str:
        """Where the agent creates uploads."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}{urlsplit(self._target()).path}"

    def sent_for(self, file_id: str) -> list[Sent]:
        """Every upload that was created for that file ID, oldest first."""
        with self._changed:
            return [sent for sent in self.uploads.values() if sent.file_id == file_id]

    def wait_for_bytes(self, file_id: str, count: int, within_s: float) -> bool:
        """Wait until so many bytes of it went over."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(sent.bytes for sent in self.sent_for(file_id)) >= count, within_s)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, name="relay", daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", urlsplit(self._target()).port or 0), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        connection = _Connection(self, client, server)
        with self._changed:
            self._sockets |= {client, server}
        self._start(connection.carry_answers)
        try:
            connection.carry_requests()
        finally:
            # Both at once: tusd keeps what it has of a PATCH only when it sees that the rest won't come.
            for sock in (client, server):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            with self._changed:
                self._sockets -= {client, server}

    @contextmanager
    def _patching(self, upload_id: str, offset: int) -> Iterator[Sent]:
        with self._changed:
            sent = self.uploads.setdefault(upload_id, Sent(""))
            sent.patches += 1
            sent.resumed += offset > 0
            self.open_patches += 1
        try:
            yield sent
        finally:
            with self._changed:
                self.open_patches -= 1

    def _count(self, sent: Sent, count: int) -> None:
        with self._changed:
            sent.bytes += count
            self._changed.notify_all()

    def _created(self, upload_id: str, file_id: str) -> None:
        with self._changed:
            self.uploads[upload_id] = Sent(file_id)


class _Connection:
    """One connection of the agent, and its own one to tusd."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._creating: str | None = None

    def carry_requests(self) -> None:
        """Until either side ends it."""
        with suppress(OSError, ValueError), self._client.makefile("rb") as incoming:
            while head := _head(incoming):
                self._carry_request(head, incoming)

    def _carry_request(self, head: bytes, incoming: BufferedReader) -> None:
        method, path = head.split(b" ", 2)[:2]
        fields = _fields(head)
        self._creating = _file_id(fields) if method == b"POST" else None
        self._server.sendall(head)
        length = int(fields.get("content-length", "0"))
        if method != b"PATCH":
            self._carry_body(length, incoming, None)
            return
        upload_id = path.decode().rpartition("/")[2]
        with self._relay._patching(upload_id, int(fields.get("upload-offset", "0"))) as sent:
            self._carry_body(length, incoming, sent)

    def _carry_body(self, left: int, incoming: BufferedReader, sent: Sent | None) -> None:
        while left:
            block = incoming.read1(min(BLOCK, left))
            if not block:
                raise ConnectionError("the agent is gone")
            self._server.sendall(block)
            left -= len(block)
            if sent is not None:
                self._relay._count(sent, len(block))
                time.sleep(len(block) / self._relay._rate)

    def carry_answers(self) -> None:
        """As they come; of the answer to a POST the upload's ID is noted before the agent gets to see it."""
        with suppress(OSError), self._server.makefile("rb") as incoming:
            while data := incoming.read1(BLOCK):
                if self._creating is not None:
                    while b"\r\n\r\n" not in data and (more := incoming.read1(BLOCK)):
                        data += more
                    self._note_created(data)
                self._client.sendall(data)
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def _note_created(self, answer: bytes) -> None:
        location = _fields(answer).get("location")
        if location is not None and self._creating is not None:
            self._relay._created(location.rpartition("/")[2], self._creating)
        self._creating = None


def _head(incoming: BufferedReader) -> bytes:
    """Request line and fields, with the blank line; empty when there is no other request."""
    lines = []
    while line := incoming.readline(_LONGEST_LINE):
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _fields(head: bytes) -> dict[str, str]:
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _file_id(fields: dict[str, str]) -> str:
    """From the metadata of a tus POST."""
    pairs = (pair.strip().partition(" ") for pair in fields.get("upload-metadata", "").split(","))
    values = {key: base64.b64decode(value).decode() for key, _, value in pairs}
    return values.get("fileId", "")
