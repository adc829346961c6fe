"""What is left of a connection that is lost: nothing, and at once. Python's search for circles is off."""

import asyncio
import gc
import socket
import ssl
import struct
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from starlette.responses import Response
from uvicorn.server import ServerState

from sse_agent.control_plane import server
from sse_agent.control_plane.settings import Settings

WITHIN_S = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
# A record of 512 bytes is announced, and never comes.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01"


@dataclass
class Serving:
    """A server of this test. `watched` are the objects that its connections are; `gone` is released for each freed."""

    port: int
    client: ssl.SSLContext | None
    state: ServerState
    watched: "list[weakref.ref[asyncio.BaseProtocol]]" = field(default_factory=list)
    gone: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client."""
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client)

    def watch(self, connection: asyncio.BaseProtocol) -> None:
        """Notice when it is freed."""
        self.watched.append(weakref.ref(connection, lambda _: self.gone.release()))

    async def wait_until_gone(self, connections: int) -> None:
        """Until so many connections are freed, by themselves."""
        for _ in range(connections * (2 if self.client else 1)):
            await self.gone.acquire()
        assert not self.state.connections


@pytest.fixture(params=["http", "https"])
async def serving(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Serving]:
    async with serve(tmp_path, is_secure=request.param == "https") as there:
        yield there


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serve(tmp_path, is_secure=True) as there:
        yield there


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def serve(folder: Path, *, is_secure: bool) -> AsyncIterator[Serving]:
    """As the control plane does it, with another application."""
    certificate, key, client = folder / "certificate.pem", folder / "key.pem", None
    if is_secure:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        client = ssl.create_default_context()
        authority.configure_trust(client)
    files = {"tls_certificate": certificate, "tls_key": key} if is_secure else {}
    settings = Settings.model_validate({"service_token": "service-token-of-the-test", **files})
    config = server._uvicorn(settings, Response("done"))
    config.load()
    there = Serving(0, client, ServerState())

    def make() -> asyncio.Protocol:
        protocol = config.http_protocol_class(config=config, server_state=there.state, app_state={})  # type: ignore[call-arg]
        there.watch(protocol)
        if is_secure:
            there.watch(protocol._http)  # type: ignore[attr-defined]
        return protocol

    listening = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=config.ssl)
    there.port = listening.sockets[0].getsockname()[1]
    async with asyncio.timeout(WITHIN_S), listening:
        yield there


async def test_a_connection_that_breaks_after_an_answer_is_let_go_of_at_once(serving: Serving) -> None:
    reader, writer = await serving.connect()
    for _ in range(2):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
    assert len(serving.state.connections) == 1
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    del reader, writer
    await serving.wait_until_gone(1)


@pytest.mark.parametrize("said", [b"", HALF_A_HELLO, REQUEST])
@pytest.mark.parametrize("is_reset", [False, True])
async def test_of_a_handshake_that_fails_nothing_is_left(secure: Serving, said: bytes, is_reset: bool) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", secure.port)) as wire:
            wire.sendall(said)
            if is_reset:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await secure.wait_until_gone(5)


async def test_an_idle_connection_holds_little_memory(secure: Serving) -> None:
    """Both ends are in this process."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = [await secure.connect() for _ in range(20)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for _, writer in held:
        writer.transport.abort()
    assert after - before < 20 * 2 * 100 * 1024


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(secure: Serving) -> None:
    """Ten at the same time; each says all it has to say at once, and half of them are gone before the answer."""
    assert secure.client is not None
    for number in range(10):
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = secure.client.wrap_bio(theirs, ours, server_hostname="127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(ours.read())
                theirs.write(await reader.read(65536))
        tls.write(REQUEST)
        writer.write(ours.read())
        heard = b""
        while number % 2 and b"done" not in heard:
            theirs.write(await reader.read(65536))
            with pytest.raises(ssl.SSLWantReadError):
                while True:
                    heard += tls.read(65536)
        writer.close()
    del reader, writer
    await secure.wait_until_gone(10)
