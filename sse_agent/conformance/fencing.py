"""Who may speak for an agent: epochs, instances, journals."""

import uuid
from dataclasses import replace

from sse_agent.conformance.check import Group, expect
from sse_agent.conformance.kit import Kit, place, refused
from sse_agent.conformance.peer import HELLO_WITHIN_S
from sse_agent.conformance.speakers import Agent
from sse_agent.messages import AckStatus

FENCING = Group("fencing")
CLOSED_WITHIN_S = 5.0
SLUG = "newer-epoch"


async def _shut_out(kit: Kit, agent: Agent) -> None:
    """Neither way in."""
    refused(await agent.poll(kit.cursor), 409, slug=SLUG)
    async with agent.stream(kit.cursor) as stream:
        refused(await stream.head(), 409, slug=SLUG)
    refused(await agent.report(agent.message()), 409, slug=SLUG)


@FENCING.check("speaker", "Every request of an agent carries `Agent-Journal`, `Agent-Epoch` and `Agent-Instance`.")
async def speaker(kit: Kit) -> None:
    agent = kit.agent
    for missing in agent.headers:
        headers = {name: value for name, value in agent.headers.items() if name != missing}
        message = agent.message()
        headers["Idempotency-Key"] = message["id"]
        answer = await agent.peer.ask("POST", f"{agent.path}/messages", agent.token, headers=headers, body=message)
        refused(answer, 400, 422)


@FENCING.check("higher-epoch", "A higher epoch takes over; the stream of the one before it is closed.")
async def higher_epoch(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        await stream.hello(HELLO_WITHIN_S + kit.grace_s)
        later = kit.start_again()
        message = later.message()
        answer = await later.report(message)
        expect(answer.status == 202, f"the later start's message was answered {answer.status}, not 202")
        expect(await stream.ended(CLOSED_WITHIN_S + kit.grace_s), "the stream of the start before it stays open")


@FENCING.check("lower-epoch", "A lower epoch gets 409 `newer-epoch`.")
async def lower_epoch(kit: Kit) -> None:
    before, later = kit.agent, kit.start_again()
    await later.report(later.message())
    await _shut_out(kit, before)


@FENCING.check("another-instance", "The same epoch from another instance gets 409 `newer-epoch` (a cloned machine).")
async def another_instance(kit: Kit) -> None:
    agent = kit.agent
    await agent.report(agent.message())
    await _shut_out(kit, replace(agent, instance=str(uuid.uuid4())))
    answer = await agent.report(agent.message())
    expect(answer.status == 202, f"the clone shut the first instance out: {answer.status}")


@FENCING.check("nothing-recorded", "Of whoever is refused nothing is recorded.")
async def nothing_recorded(kit: Kit) -> None:
    before, later = kit.agent, kit.start_again()
    await later.report(later.message())
    await kit.recorded()
    message = before.message()
    await before.report(message)
    found = [shown.get("id") for shown in await kit.recorded()]
    expect(message["id"] not in found, "a message that was sent under a lower epoch is shown as reported")


@FENCING.check(
    "journal-lost",
    'A journal not seen before, of a `clientId` that has claimed another: `resume: false`, `"journal-lost"`.',
)
async def journal_lost(kit: Kit) -> None:
    before = kit.agent
    await before.report(before.message())
    kit.agent = Agent(kit.peer, kit.clock, before.client_id, before.token)
    told = await kit.hello(cursor=None)
    kit.cursor = place(told)
    expect(not told.resume, "HELLO says resume: true")
    expect(told.reason == "journal-lost", f"the reason is {told.reason!a}")
    expect((await kit.hello(cursor=kit.cursor)).resume, "the reset's own cursor is not known")
    await _shut_out(kit, before)


@FENCING.check("outcome-unknown", "Open commands of a journal that is lost are shown as *outcome unknown*.")
async def outcome_unknown(kit: Kit) -> None:
    before = kit.agent
    ticket = await kit.queue_one()
    await before.poll(ticket.before)
    await before.report(before.ack(ticket.command_id, AckStatus.ACCEPTED))
    kit.agent = Agent(kit.peer, kit.clock, before.client_id, before.token)
    kit.cursor = place(await kit.hello(cursor=None))
    await kit.hello(cursor=kit.cursor)
    outcome = (await kit.service.command(ticket.command_id)).get("outcome")
    expect(outcome == "unknown", f"the outcome is {outcome!a}, not unknown")


@FENCING.check("readmit", "A person can readmit a restored machine: its next claim is accepted, with a reset.")
async def readmit(kit: Kit) -> None:
    before, later = kit.agent, kit.start_again()
    await later.report(later.message())
    refused(await before.poll(kit.cursor), 409, slug=SLUG)
    answer = await kit.service.post(f"{kit.service.path}/readmit", key=uuid.uuid4().hex)
    expect(200 <= answer.status < 300, f"readmit was answered {answer.status}")
    told = await kit.hello(before, kit.cursor)
    kit.cursor = place(told)
    expect(not told.resume and told.reset is not None, "the readmitted machine was not told of a reset")
