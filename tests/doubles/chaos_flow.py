"""Of the chaos proxy: the time that a misbehaviour lasts, how bytes flow meanwhile, and connections that break."""

import asyncio
import random
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.doubles.chaos_wire import BLOCK

if TYPE_CHECKING:
    from tests.doubles.chaos_exchange import Misbehaviour

_ESTABLISHED = 1


class Round:
    """A time with some misbehaviours, each of which befalls a request with a chance of `severity`, or `severities` by
    kind. `holes_last`: black holes are not ended with it.
    """

    def __init__(
        self,
        active: "Sequence[Misbehaviour]" = (),
        severity: float = 0.0,
        severities: Mapping[str, float] = MappingProxyType({}),
        *,
        holes_last: bool = False,
    ) -> None:
        self.active = active
        self.severity = severity
        self.severities = severities
        self.holes_last = holes_last
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the next one has begun."""
        return self._over.is_set()

    def end(self) -> None:
        """Black holes are cut, and flows run freely."""
        self._over.set()

    async def wait(self, seconds: float) -> None:
        """So long, or until it is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def pause(self, seconds: float) -> None:
        """So long, over or not."""
        await (asyncio.sleep(seconds) if self.is_over else self.wait(seconds))


@dataclass(slots=True)
class Flow:
    """How bytes go on while a round lasts: `latency_s` before the first, up to `jitter_s` before each block, at most
    `rate` bytes a second, in slices of `slice_bytes` for the first `slices`.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    rate: float = 0.0
    slice_bytes: int = 0
    slices: int = 0

    async def write(self, writer: asyncio.StreamWriter, data: bytes, chance: random.Random, round_: Round) -> None:
        """All of it, however long it takes. Raises ConnectionResetError if the connection was cut meanwhile."""
        while data and self.slice_bytes and self.slices > 0 and not round_.is_over:
            await _write(writer, data[: self.slice_bytes])
            data, self.slices = data[self.slice_bytes :], self.slices - 1
            # Else the kernel would join them.
            await asyncio.sleep(0)
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            wait_s = self.latency_s + chance.uniform(0, self.jitter_s) + (len(block) / self.rate if self.rate else 0)
            self.latency_s = 0.0
            if wait_s and not round_.is_over:
                await round_.wait(wait_s)
            await _write(writer, block)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.transport.is_closing():
        raise ConnectionResetError
    writer.write(data)
    await writer.drain()


class Line:
    """One TCP connection, as the side that may break it sees it. Not yet open: nothing can be read or written."""

    def __init__(self, sock: Any, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None) -> None:
        self._sock = sock
        self._streams = streams
        if streams is not None:
            # Of 0 the TLS transport of asyncio thinks that it is full when it is empty.
            streams[1].transport.set_write_buffer_limits(high=1, low=0)

    @property
    def reader(self) -> asyncio.StreamReader:
        """What comes from the other side."""
        assert self._streams is not None
        return self._streams[0]

    @property
    def writer(self) -> asyncio.StreamWriter:
        """What goes to the other side."""
        assert self._streams is not None
        return self._streams[1]

    def cut(self, *, with_reset: bool) -> None:
        """At once: with RST, or with FIN and, over TLS, without a word of goodbye."""
        with suppress(OSError):
            if with_reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self._sock.shutdown(socket.SHUT_RDWR)
        if self._streams is None:
            self._sock.close()
        else:
            self.writer.transport.abort()

    @property
    def is_gone(self) -> bool:
        """Whether the other side closed it; known even when nobody reads. Of Linux."""
        try:
            state: int = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return True
        return state != _ESTABLISHED
