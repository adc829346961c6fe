"""Connections as uvicorn makes them, but small, and let go of as soon as they are lost."""

import asyncio
import ssl
import traceback
from asyncio.sslproto import SSLProtocol
from functools import partial
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

TLS_BUFFER = 32 * 1024
"""Bytes that a connection with TLS reads at once, and holds for that. TLS sends 16 KiB at once."""


def protocol(certificate: Path | None, key: Path | None) -> type[asyncio.Protocol]:
    """What uvicorn makes of each connection; with a certificate it speaks TLS. Raises OSError, ssl.SSLError."""
    if certificate is None:
        return Http
    # asyncio holds 256 KiB for each, also while nothing comes: of ten thousand agents, or of whoever knocks that often.
    SSLProtocol.max_size = TLS_BUFFER
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return cast("type[asyncio.Protocol]", partial(Handshake, context))


class Http(H11Protocol):
    """uvicorn would keep one that broke after an answer until its keep-alive time is over."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None


class Handshake(asyncio.Protocol):
    """Until TLS stands; then HTTP takes over.

    asyncio could do this by itself, but its error, when a handshake fails, and the frames that the error went through
    hold each other, and the connection with them, until Python looks for circles: on a quiet server that is never.
    """

    def __init__(self, context: ssl.SSLContext, **of_uvicorn: Any) -> None:
        self._context = context
        self._http = Http(**of_uvicorn)
        self._early: list[bytes] = []
        self._is_over = False
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._task = asyncio.ensure_future(self._greet(cast("asyncio.Transport", transport)))

    def data_received(self, data: bytes) -> None:
        """The request may come along with the end of the handshake."""
        if self._is_over:
            self._http.data_received(data)
        else:
            self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._is_over:
            # It was on its way here when HTTP took over.
            self._http.connection_lost(exc)

    async def _greet(self, plain: asyncio.Transport) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(plain, self, self._context, server_side=True)
        except OSError as error:
            traceback.clear_frames(error.__traceback__)
            return
        if secured is None or self._is_lost:
            return
        self._is_over = True
        secured.set_protocol(self._http)
        self._http.connection_made(secured)
        for data in self._early:
            self._http.data_received(data)
        self._early.clear()
