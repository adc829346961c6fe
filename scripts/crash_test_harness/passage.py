"""One connection of the agent through the relay, and what is done to its requests and their answers."""

import base64
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader

from scripts.crash_test_harness.book import CRAWL, Book, Sent

BLOCK = 32 * 1024
_LONGEST_LINE = 64 * 1024
REFUSALS = (
    (422, "Unprocessable Entity", "ERR_UPLOAD_REJECTED: this file is not wanted"),
    (500, "Internal Server Error", "ERR_INTERNAL_SERVER_ERROR: this file could not be taken"),
)
"""Of a finished upload: for good, and for now."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request, as it came."""

    head: bytes
    method: str
    upload_id: str
    fields: dict[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return int(self.fields.get("content-length", "0"))

    @property
    def offset(self) -> int:
        """Where a PATCH begins."""
        return int(self.fields.get("upload-offset", "0"))

    @property
    def size(self) -> int:
        """Of the file that a POST announces."""
        return int(self.fields.get("upload-length", "-1"))

    @property
    def token(self) -> str | None:
        """What is shown as authorization."""
        return self.fields.get("authorization", "").removeprefix("Bearer ") or None


class Passage:
    """`carry_requests` and `carry_answers` run side by side; HTTP has one request at a time on a connection."""

    def __init__(self, book: Book, rate: float, client: socket.socket, server: socket.socket) -> None:
        self._book = book
        self._rate = rate
        self._client = client
        self._server = server
        self._creating: Request | None = None
        self._refusing: Sent | None = None
        self._refused: Sent | None = None

    # --- towards tusd ---

    def carry_requests(self) -> None:
        """Until either side ends it."""
        with suppress(OSError, ValueError), self._client.makefile("rb") as incoming:
            while head := _head(incoming):
                if self._refused is not None:
                    self._refused.is_refusal_taken, self._refused = True, None
                request = _request(head)
                early = self._early_answer(request)
                if early is None:
                    self._carry(request, incoming)
                else:
                    incoming.read(request.length)
                    self._client.sendall(early)

    def _early_answer(self, request: Request) -> bytes | None:
        """That of a proxy in front of tusd, which has the whole request before it answers."""
        if request.method == "DELETE":
            return None
        sent = self._book.find(request.upload_id)
        file_id = _file_id(request.fields) if request.method == "POST" else sent.file_id if sent else ""
        if not self._book.tokens.accepts(file_id, request.token, self._book.life):
            return _error(401, "Unauthorized", "the token has expired")
        limit = self._book.body_limit
        if request.method == "PATCH" and limit is not None and request.length > limit:
            self._book.faults.happened["413"] += 1
            return _error(413, "Content Too Large", "a request is smaller here")
        if sent is not None:
            self._book.make_vanish(sent)
        return None

    def _carry(self, request: Request, incoming: BufferedReader) -> None:
        self._creating = request if request.method == "POST" else None
        if request.method != "PATCH":
            self._server.sendall(request.head)
            self._carry_body(request.length, incoming, None, 0.0)
            return
        with self._book.patching(request.upload_id, request.offset) as sent:
            is_last = request.offset + request.length == sent.size
            self._refusing = sent if is_last and self._book.refuses(sent) else None
            self._server.sendall(request.head)
            half = request.length // 2 if self._book.faults.happens("cutting") else 0
            rate = self._rate / (CRAWL if self._book.faults.happens("crawling") else 1.0)
            self._carry_body(request.length - half, incoming, sent, rate)
            if half:
                raise ConnectionError("cut half-way")

    def _carry_body(self, left: int, incoming: BufferedReader, sent: Sent | None, rate: float) -> None:
        while left:
            block = incoming.read1(min(BLOCK, left))
            if not block:
                raise ConnectionError("the agent is gone")
            self._server.sendall(block)
            left -= len(block)
            if sent is not None:
                self._book.count(sent, len(block))
                time.sleep(len(block) / rate)

    # --- towards the agent ---

    def carry_answers(self) -> None:
        """As they come, but those that have to be looked at."""
        with suppress(OSError), self._server.makefile("rb") as incoming:
            while data := incoming.read1(BLOCK):
                if self._creating is not None or self._refusing is not None:
                    while b"\r\n\r\n" not in data and (more := incoming.read1(BLOCK)):
                        data += more
                    data = self._looked_at(data)
                self._client.sendall(data)
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def _looked_at(self, answer: bytes) -> bytes:
        """Of a POST's the upload's ID is noted before the agent gets to see it; a PATCH's success becomes an error."""
        creating, self._creating = self._creating, None
        location = _fields(answer).get("location")
        if creating is not None and location is not None:
            self._book.created(location.rpartition("/")[2], _file_id(creating.fields), creating.size)
        refusing, self._refusing = self._refusing, None
        if refusing is None or not answer.startswith(b"HTTP/1.1 204"):
            return answer
        status, reason, words = REFUSALS[len(self._book.refusals) % len(REFUSALS)]
        self._book.note_refused(refusing, status)
        self._refused = refusing
        return _error(status, reason, words)


def _error(status: int, reason: str, words: str) -> bytes:
    head = f"HTTP/1.1 {status} {reason}\r\nTus-Resumable: 1.0.0\r\nContent-Length: {len(words)}\r\n\r\n"
    return head.encode() + words.encode()


def _head(incoming: BufferedReader) -> bytes:
    """Request line and fields, with the blank line; empty when there is no other request."""
    lines = []
    while line := incoming.readline(_LONGEST_LINE):
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _request(head: bytes) -> Request:
    method, path = head.decode("latin-1").split(" ", 2)[:2]
    return Request(head, method, path.rpartition("/")[2], _fields(head))


def _fields(head: bytes) -> dict[str, str]:
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _file_id(fields: dict[str, str]) -> str:
    """From the metadata of a tus POST."""
    pairs = (pair.strip().partition(" ") for pair in fields.get("upload-metadata", "").split(","))
    values = {key: base64.b64decode(value).decode() for key, _, value in pairs}
    return values.get("fileId", "")
