"""Commands down, by long polling."""

from sse_agent.conformance.check import Broken, Group, expect
from sse_agent.conformance.kit import Kit, events_of, hello_of
from sse_agent.conformance.peer import Answer
from sse_agent.conformance.streaming import UNKNOWN_CURSOR

POLLING = Group("polling")
WAIT_S = 3
LONG_WAIT_S = 25
HEAD_START_S = 0.5


@POLLING.check("at-once", 'It answers `{"hello", "events": [{"id", "message"}]}` at once when there are any.')
async def at_once(kit: Kit) -> None:
    tickets = await kit.queue(3)
    begun = kit.clock.monotonic()
    answer = await kit.agent.poll(tickets[0].before, LONG_WAIT_S)
    events = events_of(answer)
    expect(answer.media_type == "application/json", f"its media type is {answer.media_type!a}")
    expect(kit.clock.monotonic() - begun < LONG_WAIT_S / 2 + kit.grace_s, "it waited, though there were commands")
    hello_of(answer)
    found = [(event["id"], event["message"].get("id")) for event in events]
    wanted = [(ticket.event_id, ticket.command_id) for ticket in tickets]
    expect(found == wanted, f"its events are {found}, not {wanted}")


@POLLING.check("cursor", "What is not above the cursor is not in the answer.")
async def cursor(kit: Kit) -> None:
    tickets = await kit.queue(3)
    found = [event["id"] for event in events_of(await kit.agent.poll(tickets[1].event_id))]
    expect(found == [tickets[2].event_id], f"behind {tickets[1].event_id} came {found}")


@POLLING.check("waits", "Without any it answers after `wait` seconds, with no events.")
async def waits(kit: Kit) -> None:
    cursor = (await kit.queue_one()).event_id
    begun = kit.clock.monotonic()
    events = events_of(await kit.agent.poll(cursor, WAIT_S))
    took_s = kit.clock.monotonic() - begun
    expect(not events, f"behind the newest cursor came {[event['id'] for event in events]}")
    expect(took_s > WAIT_S / 2, f"it answered after {took_s:.1f} s instead of waiting {WAIT_S}")
    expect(took_s < 2 * WAIT_S + kit.grace_s, f"it answered after {took_s:.1f} s instead of {WAIT_S}")


@POLLING.check("wakes", "A command that comes while it waits is answered at once.")
async def wakes(kit: Kit) -> None:
    cursor = (await kit.queue_one()).event_id
    polling, service = kit.agent, kit.service

    async def poll() -> Answer:
        return await polling.poll(cursor, LONG_WAIT_S)

    async def order() -> Answer:
        # So that the poll most likely waits by then.
        await kit.clock.sleep(HEAD_START_S)
        return await service.order(f"{polling.instance}-wakes")

    begun = kit.clock.monotonic()
    polled, ordered = await kit.side_by_side([poll, order])
    took_s = kit.clock.monotonic() - begun
    if isinstance(ordered, Broken) or isinstance(polled, Broken):
        raise Broken(str(ordered if isinstance(ordered, Broken) else polled))
    ticket = kit.ticket(ordered)
    found = [event["id"] for event in events_of(polled)]
    expect(found == [ticket.event_id], f"the command is not in the answer, but {found}")
    expect(took_s < LONG_WAIT_S / 2 + kit.grace_s, f"it came after {took_s:.1f} s only")


@POLLING.check("reset", "A cursor that is not known is told of by `hello` as on the stream.")
async def reset(kit: Kit) -> None:
    await kit.queue_one()
    answer = await kit.agent.poll(UNKNOWN_CURSOR)
    expect(answer.status == 200, f"the long poll was answered {answer.status}, not 200")
    hello = hello_of(answer)
    expect(not hello.resume and hello.reset is not None, "hello says resume: true for an unknown cursor")
