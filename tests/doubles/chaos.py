"""A proxy on loopback that misbehaves, request by request, in front of an HTTP/1.1 server.

It reads whole requests and answers, so that it can send a request twice, lose an answer that was meant, or cut an event
in half. This module knows no misbehaviour; `Misbehaviour` says what one is, and `Exchange` what it can do.

It never changes a byte of a request: neither tus nor the control plane could notice, for it is TLS that excludes this
in reality. Answers it may garble, but for what nobody could notice either (see the misbehaviours).
"""

import asyncio
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

from tests.doubles.chaos_exchange import At, Exchange, Front, Misbehaviour
from tests.doubles.chaos_flow import Line, Round
from tests.doubles.chaos_wire import Answer, Head, read_head

RECEIVE_BUFFER = 128 * 1024
_TROUBLE = (OSError, EOFError, asyncio.LimitOverrunError, ValueError)


class Chaos:
    """A context manager: one thread for all doors. `seed` decides what chance decides here, request by request."""

    def __init__(self, seed: int) -> None:
        self.round = Round()
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.connections = 0
        self.answered = 0
        self.held: list[tuple[str, bool, float]] = []
        """Black holes that lasted: the label, whether the client ended it, and after how many seconds."""
        self.bugs: list[BaseException] = []
        self.on_answer: Callable[[Exchange, Answer], None] = lambda exchange, answer: None
        self._seed = seed
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fronts: list[Front] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for front in self._fronts:
            front.listening.close()

    def in_front_of(
        self, url: str, kind_of: Callable[[Head], str], *, tls: ssl.SSLContext | None = None, **fields: str
    ) -> str:
        """The same URL through this proxy, over TLS with the certificate in `tls`. `fields` go into each request."""
        parts = urlsplit(url)
        assert parts.port is not None
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        # Inherited by its connections: else megabytes of a body that nobody reads would wait in the kernel's buffers.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listening.setblocking(False)
        front = Front(parts.port, kind_of, tls, {k.replace("_", "-"): v for k, v in fields.items()}, listening)
        self._fronts.append(front)
        self._loop.call_soon_threadsafe(self.spawn, self._accept(front))
        scheme = "https" if tls else "http"
        return parts._replace(scheme=scheme, netloc=f"127.0.0.1:{listening.getsockname()[1]}").geturl()

    def begin(self, round_: Round) -> None:
        """A round, from another thread; the one before it is over."""

        def change() -> None:
            before, self.round = self.round, round_
            before.end()

        self._loop.call_soon_threadsafe(change)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A task of the proxy; on its own thread only."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, _TROUBLE):
            self.bugs.append(error)

    def draw(self, exchange: Exchange, at: At) -> Misbehaviour | None:
        """What befalls it, if anything. What never happened comes first, and as often as the round is severe."""
        fit = [m for m in exchange.round.active if m.at == at and (not m.kinds or exchange.kind in m.kinds)]
        unseen = [m for m in fit if not self.counts[m.name]]
        severity = exchange.round.severity
        if at in ("accept", "request") and not unseen:
            severity = exchange.round.severities.get(exchange.kind, severity)
        if not fit or exchange.chance.random() >= severity:
            return None
        found = exchange.chance.choice(unseen or fit)
        self.counts[found.name] += 1
        return found

    def note_answer(self, exchange: Exchange, found: Answer) -> None:
        """A server answered."""
        self.answered += 1
        self.on_answer(exchange, found)

    async def _accept(self, front: Front) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(front.listening)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.spawn(self._serve(front, sock, random.Random(f"{self._seed} {self.connections}")))

    async def _serve(self, front: Front, sock: socket.socket, chance: random.Random) -> None:
        line = Line(sock)
        try:
            accepted = Exchange(self, front, line, Head(""), chance)
            deed = self.draw(accepted, "accept")
            if deed is not None:
                await deed.do(accepted)
                return
            line = await self._opened(sock, front.tls)
            while request := await read_head(line.reader):
                for name, value in front.fields.items():
                    request = request.having(name, value)
                exchange = Exchange(self, front, line, request, chance)
                self.kinds[exchange.kind] += 1
                await self._carry(exchange)
                if exchange.is_over:
                    return
        finally:
            line.cut(with_reset=False)

    async def _opened(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Line:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
        return Line(sock, (reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)))

    async def _carry(self, exchange: Exchange) -> None:
        flow, deed = self.draw(exchange, "flow"), self.draw(exchange, "request")
        if flow is not None:
            await flow.do(exchange)
        await (deed.do(exchange) if deed else exchange.pass_on())
        if exchange.is_over:
            await exchange.linger()
