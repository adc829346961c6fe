"""What the proxy does to the command stream, each by its name."""

import asyncio
import gzip
import re

from tests.doubles.chaos_exchange import Exchange, Misbehaviour
from tests.doubles.chaos_wire import Answer, chunk

STREAM = frozenset({"stream"})
_COMMENTS = (b": a box was here\n", b":\n", b": " + b"x" * 3000 + b"\n", b":data: {}\n")


async def stream_compressed(exchange: Exchange) -> None:
    """Though nobody asked for it."""
    found = await exchange.deliver()
    if not found.head.is_event_stream:
        await exchange.say(found.render())
        return
    await exchange.say(Answer(found.head.having("Content-Encoding", "gzip")).render())
    await exchange.say_event(gzip.compress(b'event: HELLO\ndata: {"protocol": 1}\n\n'))
    await exchange.hole()


async def greeting_cut(exchange: Exchange) -> None:
    """The stream ends within a HELLO or a heartbeat, in order or by a cut."""
    if _commands([exchange.block]):
        await exchange.say_event(exchange.block)
        return
    await _end_within(exchange, 0)


async def event_cut(exchange: Exchange) -> None:
    """The stream ends within a command: far enough for its ID to be there."""
    # Greetings have a misbehaviour of their own: a stream that was cut begins with one, and they would take most cuts.
    if not _commands([exchange.block]):
        await exchange.say_event(exchange.block)
        return
    await _end_within(exchange, len(exchange.block) // 2)


async def _end_within(exchange: Exchange, least: int) -> None:
    data = exchange.block[: exchange.chance.randrange(least, len(exchange.block))]
    if data:
        await exchange.say_event(data)
    if exchange.chance.random() < 0.5:
        await exchange.say(b"0\r\n\r\n")
    exchange.cut()


async def event_commented(exchange: Exchange) -> None:
    """Comment lines before it and within it."""
    lines = exchange.block.splitlines(keepends=True)
    for place in sorted(exchange.chance.sample(range(len(lines)), min(2, len(lines))), reverse=True):
        lines.insert(place, exchange.chance.choice(_COMMENTS))
    await exchange.say_event(b"".join(lines))


async def event_repeated(exchange: Exchange) -> None:
    """This one twice, or one that was there before."""
    await exchange.say_event(exchange.block)
    if exchange.passed:
        await exchange.say_event(exchange.chance.choice([exchange.block, *_commands(exchange.passed)]))


async def event_dropped(exchange: Exchange) -> None:
    """A hole. If nothing follows nobody can see it, so the connection does not outlive the round."""
    if not _commands([exchange.block]):
        await exchange.say_event(exchange.block)
        return
    exchange.cut_when_over()


async def events_replayed(exchange: Exchange) -> None:
    """Some that were there before come again in front of it."""
    for block in _commands(exchange.passed)[-3:]:
        await exchange.say_event(block)
    await exchange.say_event(exchange.block)


async def event_stuck(exchange: Exchange) -> None:
    """Nothing more comes, not even a heartbeat."""
    await exchange.say_event(exchange.block[: exchange.chance.randrange(1, len(exchange.block))])
    await exchange.hole()


async def event_in_pieces(exchange: Exchange) -> None:
    """As many small chunks, each by itself."""
    step = exchange.chance.randint(1, 9)
    for start in range(0, len(exchange.block), step):
        await exchange.say_event(exchange.block[start : start + step])
        await asyncio.sleep(0)


async def event_line_ends(exchange: Exchange) -> None:
    """CR LF or CR, which the standard allows as well."""
    await exchange.say_event(exchange.block.replace(b"\n", exchange.chance.choice([b"\r\n", b"\r"])))


async def chunk_garbled(exchange: Exchange) -> None:
    """The length of a chunk is no number, or another one."""
    data = chunk(exchange.block)
    size, _, rest = data.partition(b"\r\n")
    wrong = exchange.chance.choice([b"zz", b"-1", b"", b"%x" % (int(size, 16) + 1), b"%x" % max(1, int(size, 16) - 1)])
    await exchange.say(wrong + b"\r\n" + rest)
    exchange.cut_when_over()


def _commands(blocks: list[bytes]) -> list[bytes]:
    """Those that are events with an ID."""
    return [block for block in blocks if re.search(rb"(?m)^id: ", block)]


STREAM_MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    Misbehaviour("stream-compressed", "request", stream_compressed, STREAM),
    *(
        Misbehaviour(do.__name__.replace("_", "-"), "event", do, STREAM)
        for do in (
            greeting_cut,
            event_cut,
            event_commented,
            event_repeated,
            event_dropped,
            events_replayed,
            event_stuck,
            event_in_pieces,
            event_line_ends,
            chunk_garbled,
        )
    ),
)
