"""Commands down, as a stream."""

import json

from sse_agent.conformance.check import Broken, Group, expect
from sse_agent.conformance.frames import Frame
from sse_agent.conformance.kit import Kit, Ticket, place
from sse_agent.conformance.peer import HELLO_WITHIN_S, Stream
from sse_agent.errors import GiveUp
from sse_agent.messages import COMMAND_LIMIT, CommandType, parse_envelope, parse_event_id

STREAM = Group("stream")
LIVE_WITHIN_S = 5.0
NEWEST_WITHIN_S = 5.0
UNKNOWN_CURSOR = "conformance0unknown/7"


async def _opened(kit: Kit, stream: Stream) -> None:
    head = await stream.head()
    expect(head.status == 200, f"the stream was answered {head.status}, not 200")
    await stream.hello(HELLO_WITHIN_S + kit.grace_s)


async def _commands(kit: Kit, stream: Stream, count: int) -> list[Frame]:
    """The next so many commands."""
    return [await stream.event(LIVE_WITHIN_S + kit.grace_s) for _ in range(count)]


@STREAM.check("media-type", "The stream is answered 200, `text/event-stream`, not compressed.")
async def media_type(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        head = await stream.head()
        expect(head.status == 200, f"the stream was answered {head.status}, not 200")
        expect(head.media_type == "text/event-stream", f"its media type is {head.media_type!a}")
        encoding = head.headers.get("content-encoding", "identity")
        expect(encoding.lower() == "identity", f"it is compressed ({encoding!a})")


@STREAM.check("headers", "Responses carry `Cache-Control: no-cache, no-transform` and `X-Accel-Buffering: no`.")
async def headers(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        found = (await stream.head()).headers
    caching = {part.strip().lower() for part in found.get("cache-control", "").split(",")}
    expect({"no-cache", "no-transform"} <= caching, f"Cache-Control is {found.get('cache-control')!a}")
    expect(found.get("x-accel-buffering", "").lower() == "no", "X-Accel-Buffering: no is missing")


@STREAM.check("hello", "The first frame, within 2 s, is `event: HELLO` without an `id:`.")
async def hello(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        within_s = HELLO_WITHIN_S + kit.grace_s
        first = await stream.event(within_s)
        expect(first.get("event") == "HELLO", f"the first event is called {first.get('event')!a}, not HELLO")
        expect("id" not in first.names, "HELLO has an id: it would become the cursor")


@STREAM.check(
    "hello-fields",
    "HELLO has `protocol` 1, `now`, `heartbeatSeconds` 1–60, `resume`, and `latest` and `floor` as event IDs of one"
    " numbering.",
)
async def hello_fields(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        found = await stream.hello(HELLO_WITHIN_S + kit.grace_s)
    expect(found.protocol == 1, f"protocol is {found.protocol}, not 1")
    latest = parse_event_id(found.latest)
    if found.floor is not None:
        floor = parse_event_id(found.floor)
        expect(floor.numbering == latest.numbering, "floor and latest are of two numberings")
        expect(floor.n <= latest.n, "floor is above latest")
    else:
        expect(latest.n == 0, "floor is missing, though latest says that there are commands")


@STREAM.check(
    "order-of-fields", "A command is one event: `id:` first, then `event:` its type, then `data:` the envelope."
)
async def order_of_fields(kit: Kit) -> None:
    ticket = await kit.queue_one()
    async with kit.agent.stream(ticket.before) as stream:
        await _opened(kit, stream)
        (found,) = await _commands(kit, stream, 1)
    expect(found.names == ("id", "event", "data"), f"its fields are {', '.join(found.names)}")
    try:
        envelope = parse_envelope(found.data or "")
    except GiveUp as wrong:
        raise Broken(f"data is no envelope: {wrong.message}") from None
    expect(found.get("event") == envelope.type, "event is not the type of the envelope")
    expect(envelope.id == ticket.command_id, "the envelope has another id than the command that was queued")
    expect(envelope.client_id == kit.agent.client_id, "the envelope has another agent's clientId")


@STREAM.check("numbers", "The event ID is `<numbering>/<n>`, the one that the 202 named; `n` has no holes.")
async def numbers(kit: Kit) -> None:
    tickets = await kit.queue(4)
    async with kit.agent.stream(tickets[0].before) as stream:
        await _opened(kit, stream)
        _same(await _commands(kit, stream, 4), tickets)


def _same(found: list[Frame], tickets: list[Ticket]) -> None:
    ids, wanted = [frame.get("id") for frame in found], [ticket.event_id for ticket in tickets]
    expect(ids == wanted, f"the event IDs are {ids}, not {wanted}")
    numbers = [ticket.n for ticket in tickets]
    expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"the numbers have a hole: {numbers}")
    names = [_id_of(frame) for frame in found]
    expect(names == [ticket.command_id for ticket in tickets], "the commands came in another order")


def _id_of(frame: Frame) -> object:
    try:
        return json.loads(frame.data or "").get("id")
    except (ValueError, AttributeError):
        return None


@STREAM.check("live", "A command that is queued while the stream is open comes down at once.")
async def live(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        await _opened(kit, stream)
        ticket = await kit.queue_one()
        _same(await _commands(kit, stream, 1), [ticket])


@STREAM.check("heartbeat", "A comment line goes out every `heartbeatSeconds` when nothing else does.")
async def heartbeat(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        hello = await stream.hello(HELLO_WITHIN_S + kit.grace_s)
        # The first may belong to HELLO: some put a comment behind it, for boxes that hold one message back.
        for _ in range(2):
            found = await stream.frame(1.5 * hello.heartbeat_seconds + kit.grace_s)
            expect(found is not None, "the stream ended")
            expect(found is not None and found.is_comment, "something else than a comment came")


@STREAM.check("replay", "Whoever comes back with a cursor gets everything behind it, again and unchanged.")
async def replay(kit: Kit) -> None:
    tickets = await kit.queue(4)
    async with kit.agent.stream(tickets[0].before) as stream:
        await _opened(kit, stream)
        before = await _commands(kit, stream, 4)
    async with kit.agent.stream(tickets[1].event_id) as stream:
        await _opened(kit, stream)
        again = await _commands(kit, stream, 2)
    _same(again, tickets[2:])
    expect([frame.data for frame in again] == [frame.data for frame in before[2:]], "the second time they are others")


@STREAM.check("cursor", "What is not above the cursor is not sent: each command once.")
async def cursor(kit: Kit) -> None:
    old = await kit.queue(3)
    async with kit.agent.stream(old[-1].event_id) as stream:
        await _opened(kit, stream)
        new = await kit.queue(2)
        ids = [frame.get("id") for frame in await _commands(kit, stream, 2)]
    above = [ticket.event_id for ticket in new]
    expect(ids == above, f"behind {old[-1].event_id} came {ids}, not {above}")


@STREAM.check(
    "reset",
    "`resume: false` with a `reason` means that the cursor is not known here; the object then carries"
    ' `reset: {"cursor", "since"}`, and that cursor is known.',
)
async def reset(kit: Kit) -> None:
    await kit.queue_one()
    async with kit.agent.stream(UNKNOWN_CURSOR) as stream:
        told = await stream.hello(HELLO_WITHIN_S + kit.grace_s)
    expect(not told.resume, "HELLO says resume: true for a cursor that was never given to anybody")
    expect(told.reason, "HELLO has no reason")
    after = place(told)
    async with kit.agent.stream(after) as stream:
        expect((await stream.hello(HELLO_WITHIN_S + kit.grace_s)).resume, "the reset's own cursor is not known, either")


@STREAM.check("newest-wins", "From the same instance the newest stream wins: the one before it ends.")
async def newest_wins(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as first:
        await _opened(kit, first)
        async with kit.agent.stream(kit.cursor) as second:
            await _opened(kit, second)
            expect(await first.ended(NEWEST_WITHIN_S + kit.grace_s), "the older stream stays open")
            ticket = await kit.queue_one()
            _same(await _commands(kit, second, 1), [ticket])


@STREAM.check("largest-command", "A command is at most 64 KiB; one of nearly that comes down whole, more is refused.")
async def largest_command(kit: Kit) -> None:
    text = "x" * 3900
    fields = {f"member{number}": text for number in range((COMMAND_LIMIT - 4096) // 3920)}
    ticket = await kit.queue_one(payload=fields)
    async with kit.agent.stream(ticket.before) as stream:
        await _opened(kit, stream)
        (found,) = await _commands(kit, stream, 1)
    try:
        envelope = parse_envelope(found.data or "")
    except GiveUp as wrong:
        raise Broken(f"the large command can't be read: {wrong.message}") from None
    expect(envelope.payload == fields, "the large command did not come down as it was queued")
    answer = await kit.service.order(f"{ticket.command_id}-large", payload={"member": "x" * COMMAND_LIMIT})
    expect(answer.status in (400, 413, 422), f"a command over 64 KiB was answered {answer.status}, not 413")


@STREAM.check("expired", "Expired commands still reach the agent, to be refused by it.")
async def expired(kit: Kit) -> None:
    ticket = await kit.queue_one(CommandType.HEARTBEAT, expiresAt="2020-01-01T00:00:00Z", actor="conformance")
    async with kit.agent.stream(ticket.before) as stream:
        await _opened(kit, stream)
        later = await kit.queue_one()
        found = await _commands(kit, stream, 2)
    _same(found, [ticket, later])
    members = json.loads(found[0].data or "{}")
    expect(members.get("expiresAt") == "2020-01-01T00:00:00Z", "expiresAt is missing, or changed")
    expect(members.get("actor") == "conformance", "actor is missing, or changed")
