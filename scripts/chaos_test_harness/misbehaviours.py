"""What the proxy does to connections, requests and answers, each by its name. Those of event streams: streams.py.

Left out is what no agent could notice, and what TLS therefore has to exclude: changed bytes of a request, of an event's
data or of a file, an Upload-Offset that is too high, another Location. Left out, too, are error answers to the PATCH
that brought the last byte: the contract takes them for the tus server's refusal.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.doubles.chaos_exchange import Exchange, Misbehaviour
from tests.doubles.chaos_flow import Flow
from tests.doubles.chaos_wire import Answer, Head, answer

KIB = 1024
TUS = frozenset({"create", "offset", "patch", "delete"})
PLANE = frozenset({"messages", "token"})
ALL = TUS | PLANE | {"stream"}
REPEATABLE = 4 * KIB * KIB
LATE_S = (0.2, 2.0)
_LOGIN = b"<!DOCTYPE html><html><head><title>Wi-Fi</title></head><body>Please accept our terms.</body></html>"
_TOLD = re.compile(rb"(?im)^(?:upload-offset|upload-length|location): [^\r]*\r\n")

Do = Callable[[Exchange], Awaitable[None]]


# --- how bytes flow ---


async def latency(exchange: Exchange) -> None:
    exchange.flow = Flow(latency_s=exchange.chance.uniform(0.02, 0.3))


async def jitter(exchange: Exchange) -> None:
    exchange.flow = Flow(jitter_s=exchange.chance.uniform(0.01, 0.1))


async def trickle(exchange: Exchange) -> None:
    exchange.flow = Flow(rate=exchange.chance.uniform(64 * KIB, 1024 * KIB))


async def one_byte_writes(exchange: Exchange) -> None:
    exchange.flow = Flow(slice_bytes=1, slices=2000)


# --- connections ---


async def refused(exchange: Exchange) -> None:
    exchange.cut(with_reset=True)


async def deaf(exchange: Exchange) -> None:
    await exchange.hole()


# --- requests ---


async def cut_request(exchange: Exchange) -> None:
    server = await exchange.open()
    try:
        await exchange.forward(server, exchange.chance.randrange(exchange.size))
    finally:
        server.cut(with_reset=exchange.chance.random() < 0.5)
        exchange.cut()


async def half_request(exchange: Exchange) -> None:
    """The server sees the end of the request too early, and may still say what it thinks of it."""
    server = await exchange.open()
    try:
        head = len(exchange.request.render())
        await exchange.forward(server, exchange.chance.randrange(head, max(head + 1, exchange.size)))
        server.writer.write_eof()
        with suppress(TimeoutError):
            exchange.line.writer.write(await asyncio.wait_for(server.reader.read(64 * KIB), 3.0))
            await exchange.line.writer.drain()
    finally:
        server.cut(with_reset=False)
        exchange.cut(with_reset=False)


async def never_answered(exchange: Exchange) -> None:
    await exchange.hole()


async def stuck_request(exchange: Exchange) -> None:
    server = await exchange.open()
    try:
        await exchange.forward(server, exchange.chance.randrange(exchange.size))
        await exchange.hole()
    finally:
        server.cut(with_reset=False)


async def repeated(exchange: Exchange) -> None:
    """Twice, one after the other or both at once; either answer is passed on."""
    if exchange.request.length > REPEATABLE:
        await exchange.pass_on()
        return
    await exchange.body()
    if exchange.chance.random() < 0.5:
        answers = list(await asyncio.gather(exchange.deliver(), exchange.deliver()))
    else:
        answers = [await exchange.deliver(), await exchange.deliver()]
    if answers[0].head.is_event_stream:
        await exchange.pass_on()
        return
    # Of two that fall over each other one may end as tusd's error, which would be taken for a refusal.
    sound = [found for found in answers if found.head.status < 500]
    if sound:
        await exchange.say(exchange.chance.choice(sound).render())
    else:
        exchange.cut()


async def late_request(exchange: Exchange) -> None:
    """The client is cut off; what it sent is delivered when it may have sent it again."""
    if exchange.request.length > REPEATABLE:
        await exchange.pass_on()
        return
    await exchange.body()
    exchange.cut()

    async def deliver() -> None:
        await asyncio.sleep(exchange.chance.uniform(*LATE_S))
        await exchange.deliver()

    exchange.front.delivered.add(exchange.request.target)
    exchange.chaos.spawn(deliver())


# --- answers ---


async def cut_answer(exchange: Exchange) -> None:
    """Anywhere, but of a tus server's every other one within what it says: half a number, half a URL."""
    data = (await exchange.deliver()).render()
    places = [place for match in _TOLD.finditer(data) for place in range(*match.span())]
    if not places or exchange.chance.random() < 0.5:
        places = list(range(1, len(data)))
    await exchange.say(data[: exchange.chance.choice(places)])
    exchange.cut()


async def lost_answer(exchange: Exchange) -> None:
    await exchange.deliver()
    exchange.cut()


async def stuck_answer(exchange: Exchange) -> None:
    data = (await exchange.deliver()).render()
    await exchange.say(data[: exchange.chance.randrange(len(data))])
    await exchange.hole()


async def late_answer(exchange: Exchange) -> None:
    """Others are answered before."""
    found = await exchange.deliver()
    others = exchange.chaos.answered + exchange.chance.randint(1, 3)
    while exchange.chaos.answered < others and not exchange.round.is_over:
        await exchange.round.wait(0.02)
    await exchange.say(found.render())


async def bit_flipped(exchange: Exchange) -> None:
    found = await exchange.deliver()
    if 200 <= found.head.status < 300:
        await exchange.say(_flipped(found.render(), exchange.chance, is_tus=exchange.kind in TUS))
    else:
        await exchange.say(found.render())
    # Half of the time it goes on: what was read as another length leaves bytes behind, or makes the client wait.
    exchange.is_over = exchange.chance.random() < 0.5
    exchange.cut_when_over()


def _flipped(data: bytes, chance: random.Random, *, is_tus: bool) -> bytes:
    """One bit is another one, but neither in what only tus servers can know, nor so that success becomes an error."""
    # With the line's ends: another byte there becomes a part of the value, or the value of the header before.
    kept = [(match.start() - 2, match.end()) for match in _TOLD.finditer(data)] if is_tus else []
    while True:
        place = chance.randrange(len(data))
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        status = re.match(rb"HTTP/1\.\d (\d{3})", changed)
        is_error = status is not None and int(status[1]) >= 400
        if not is_error and not any(start <= place < end for start, end in kept):
            return bytes(changed)


async def login_page(exchange: Exchange) -> None:
    """A captive portal's, in place of the server or of its answer."""
    await _answered(exchange, is_delivered=exchange.chance.random() < 0.5)
    page = answer(200, "OK", _LOGIN)
    redirect = answer(302, "Found", _LOGIN, Location="http://portal.invalid/login")
    await exchange.say(_plain(exchange, exchange.chance.choice([page, redirect])))


async def bad_gateway(exchange: Exchange) -> None:
    """An answer of the proxy's own. No PATCH may get one where all bytes can be there already: see above."""
    is_patch = exchange.kind == "patch"
    if is_patch and exchange.request.target in exchange.front.delivered:
        await exchange.pass_on()
        return
    if exchange.chance.random() < 0.8:
        await _answered(exchange, is_delivered=not is_patch and exchange.chance.random() < 0.5)
    else:
        exchange.is_over = True
    status, reason = exchange.chance.choice(
        [(502, "Bad Gateway"), (503, "Service Unavailable"), (504, "Gateway Time-out")]
    )
    body = b"<html><body><h1>%d %s</h1></body></html>" % (status, reason.encode())
    more = {"Retry_After": exchange.chance.choice(["0", "1", "soon"])} if exchange.chance.random() < 0.5 else {}
    await exchange.say(_plain(exchange, answer(status, reason, body, **more)))


async def box_refuses(exchange: Exchange) -> None:
    """Some box on the way says no. To the control plane's messages anything; to tus what can't be a refusal."""
    await _answered(exchange, is_delivered=exchange.chance.random() < 0.5)
    status = exchange.chance.choice([409, 423, 429] if exchange.kind in TUS else [400, 401, 403, 404, 407, 410, 429])
    await exchange.say(_plain(exchange, answer(status, "No", b"<html>No.</html>")))


async def empty_success(exchange: Exchange) -> None:
    await _answered(exchange, is_delivered=exchange.chance.random() < 0.5)
    status, reason = exchange.chance.choice([(200, "OK"), (204, "No Content")])
    await exchange.say(answer(status, reason).render())


async def json_truncated(exchange: Exchange) -> None:
    found = await exchange.deliver()
    body = found.body[: exchange.chance.randrange(max(1, len(found.body)))]
    await exchange.say(Answer(found.head.having("Content-Length", str(len(body))), body).render())


async def wrong_length(exchange: Exchange) -> None:
    """Too short leaves bytes on the connection, too long makes the client wait."""
    found = await exchange.deliver()
    off = exchange.chance.choice([-20, -1, 1, 20])
    wrong = found.head.having("Content-Length", str(max(0, found.head.length + off)))
    await exchange.say(Answer(wrong, found.body + b"x" * (20 if not found.body else 0)).render())
    if off > 0:
        await exchange.hole()


async def offset_lowered(exchange: Exchange) -> None:
    found = await exchange.deliver()
    offset = int(found.head.get("upload-offset") or 0)
    lower = exchange.chance.randint(0, offset)
    head = found.head.having("Upload-Offset", str(lower)) if found.head.get("upload-offset") else found.head
    await exchange.say(Answer(head, found.body).render())


async def _answered(exchange: Exchange, *, is_delivered: bool) -> None:
    """The request is read, and delivered or not."""
    if is_delivered:
        await exchange.deliver()
    elif exchange.request.length <= REPEATABLE:
        await exchange.body()
    else:
        exchange.is_over = True


def _plain(exchange: Exchange, found: Answer) -> bytes:
    """Without the body if it answers a HEAD."""
    return Answer(Head(found.head.first, found.head.fields)).render() if exchange.kind == "offset" else found.render()


_FLOWS: tuple[Do, ...] = (latency, jitter, trickle, one_byte_writes)
_CONNECTIONS: tuple[Do, ...] = (refused, deaf)
_REQUESTS: dict[Do, frozenset[str]] = {
    cut_request: ALL,
    half_request: TUS | PLANE,
    never_answered: ALL,
    stuck_request: TUS | PLANE,
    repeated: ALL,
    late_request: TUS | PLANE,
    cut_answer: ALL,
    lost_answer: ALL,
    stuck_answer: ALL,
    late_answer: TUS | PLANE,
    bit_flipped: ALL,
    login_page: ALL,
    bad_gateway: ALL,
    box_refuses: ALL,
    empty_success: ALL,
    json_truncated: PLANE,
    wrong_length: TUS | PLANE,
    offset_lowered: frozenset({"offset", "patch"}),
}


def _named(do: Do) -> str:
    return do.__name__.replace("_", "-")


MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    *(Misbehaviour(_named(do), "flow", do) for do in _FLOWS),
    *(Misbehaviour(_named(do), "accept", do) for do in _CONNECTIONS),
    *(Misbehaviour(_named(do), "request", do, kinds) for do, kinds in _REQUESTS.items()),
)
