"""A tus server that keeps its uploads in memory and does as it should, but where a test meddles."""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.doubles.tus_server import Exchange


@dataclass
class Kept:
    """One upload."""

    size: int
    metadata: dict[str, bytes]
    data: bytearray = field(default_factory=bytearray)
    is_gone: bool = False


Meddle = Callable[[Exchange, Kept | None], bool]
"""Called before an exchange is answered; True: it is answered already."""


@dataclass
class Shelf:
    """The script of a TusServer. `log` is what was asked, in order: `POST`, `HEAD`, `PATCH 0+100`, `DELETE`."""

    meddle: Meddle = lambda _, __: False
    uploads: list[Kept] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            kept = self._find(exchange)
            self.log.append(_line(exchange))
            self.tokens.append(exchange.headers.get("authorization"))
        if not self.meddle(exchange, kept):
            self.serve(exchange, kept)

    def serve(self, exchange: Exchange, kept: Kept | None) -> None:
        """As a tus server should."""
        if exchange.method == "POST":
            exchange.answer(201, {"Location": self.create(exchange)})
        elif kept is None or kept.is_gone:
            exchange.answer(404, body=b"" if exchange.method == "HEAD" else b"ERR_UPLOAD_NOT_FOUND: upload not found\n")
        elif exchange.method == "HEAD":
            exchange.answer(200, {"Upload-Offset": str(len(kept.data)), "Upload-Length": str(kept.size)})
        elif exchange.method == "DELETE":
            kept.is_gone = True
            exchange.answer(204)
        elif int(exchange.headers["upload-offset"]) != len(kept.data):
            exchange.drain()
            exchange.answer(409, body=b"ERR_MISMATCHED_OFFSET: mismatched offset\n")
        else:
            self.take(exchange, kept)
            exchange.answer(204, {"Upload-Offset": str(len(kept.data))})

    def create(self, exchange: Exchange) -> str:
        """The new upload's Location; nothing is answered."""
        kept = Kept(int(exchange.headers["upload-length"]), _metadata(exchange.headers.get("upload-metadata", "")))
        with self._lock:
            self.uploads.append(kept)
            return f"/files/5ecre7-{len(self.uploads) - 1}"

    @staticmethod
    def take(exchange: Exchange, kept: Kept, count: int | None = None) -> None:
        """Store that much of a PATCH, all of it by default."""
        kept.data += exchange.read(count)

    def _find(self, exchange: Exchange) -> Kept | None:
        number = exchange.target.rpartition("-")[2]
        return self.uploads[int(number)] if number.isdigit() and int(number) < len(self.uploads) else None


def _line(exchange: Exchange) -> str:
    if exchange.method == "PATCH":
        return f"PATCH {exchange.headers['upload-offset']}+{exchange.length}"
    return exchange.method


def _metadata(header: str) -> dict[str, bytes]:
    pairs = [pair.partition(" ") for pair in header.split(",") if pair]
    return {key: base64.b64decode(value) for key, _, value in pairs}
