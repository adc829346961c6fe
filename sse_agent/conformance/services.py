"""What the UI calls: commands, outcomes, state as last reported, and the stream of everything."""

import json
import uuid

from sse_agent.conformance.check import Broken, Group, expect
from sse_agent.conformance.kit import Kit, events_of, refused
from sse_agent.conformance.peer import HELLO_WITHIN_S, Answer
from sse_agent.conformance.speakers import Message
from sse_agent.messages import CommandType, EventType

UI = Group("ui")
LONG_WAIT_S = 20
HEAD_START_S = 0.5
NEWS_WITHIN_S = 10.0
FEED_LIMIT = 10_000
"""Events of the viewers' stream that are looked at for one's own."""


@UI.check("queued", "`POST …/commands` → 202 `{id, eventId}`; queued when the agent is away.")
async def queued(kit: Kit) -> None:
    ticket = await kit.queue_one(CommandType.LIST_FILES, payload={"limit": 5})
    found = {event["id"]: event["message"] for event in events_of(await kit.agent.poll(ticket.before))}
    expect(ticket.event_id in found, "the agent did not get it when it came")
    message = found[ticket.event_id]
    expect(message.get("id") == ticket.command_id, "id is not the message's id")
    expect(message.get("type") == "LIST_FILES" and message.get("payload", {}).get("limit") == 5, "it came as another")


@UI.check(
    "idempotent", "Every POST takes an `Idempotency-Key`: the same again gets the same answer and queues nothing."
)
async def idempotent(kit: Kit) -> None:
    key = uuid.uuid4().hex
    first = await kit.service.order(key)
    again = await kit.service.order(key)
    one, two = kit.ticket(first), kit.ticket(again)
    expect(one == two, "the second answer names another command")
    events = events_of(await kit.agent.poll(one.before))
    expect(len(events) == 1, f"the agent got {len(events)} commands for it")
    refused(await kit.service.order(key, CommandType.GET_STATUS), 409, 422)


@UI.check("key", "Every POST takes an `Idempotency-Key`: without one a command is refused.")
async def key(kit: Kit) -> None:
    answer = await kit.service.post(f"{kit.service.path}/commands", {"type": "HEARTBEAT", "payload": {}})
    refused(answer, 400, 422)


@UI.check("unknown-agent", "404 for an agent that there is not; a command for it is not queued.")
async def unknown_agent(kit: Kit) -> None:
    order = {"type": "HEARTBEAT", "payload": {}}
    path = f"/api/v1/agents/conformance-nobody-{uuid.uuid4().hex}"
    refused(await kit.service.get(path), 404)
    refused(await kit.service.post(f"{path}/commands", order, uuid.uuid4().hex), 404)
    # What can't be the ID of any agent, a control character.
    refused(await kit.service.post("/api/v1/agents/%C2%84/commands", order, uuid.uuid4().hex), 400, 404, 422)


@UI.check("unknown-command", "404 for a command that there is not.")
async def unknown_command(kit: Kit) -> None:
    refused(await kit.service.get(f"/api/v1/commands/conformance-{uuid.uuid4().hex}"), 404)


@UI.check("malformed", "A command that is none is refused: no JSON, no type, a payload that does not fit.")
async def malformed(kit: Kit) -> None:
    path = f"{kit.service.path}/commands"
    wrong: list[object] = [b"{", b"[]", {"payload": {}}, {"type": 1, "payload": {}}]
    wrong += [{"type": "UPLOAD_PAUSE", "payload": "text"}, {"type": "HEARTBEAT", "payload": {}, "expiresAt": "soon"}]
    for body in wrong:
        refused(await kit.service.post(path, body, uuid.uuid4().hex), 400, 422)


@UI.check("outcome", "`GET /commands/{id}` says the outcome, its error and the replies so far.")
async def outcome(kit: Kit) -> None:
    agent, ticket = kit.agent, await kit.queue_one(CommandType.LIST_FILES, payload={})
    await agent.poll(ticket.before)
    before = await kit.service.command(ticket.command_id)
    expect(before.get("outcome") is None, f"before any ACK its outcome is {before.get('outcome')!a}")
    reply = agent.message(EventType.FILE_LIST, {"path": "/", "entries": []}, inReplyTo=ticket.command_id)
    error = {"code": "NOT_FOUND", "message": "for the conformance checks"}
    ack = agent.ack(ticket.command_id, "rejected")
    ack["payload"]["error"] = error
    await agent.batch([agent.ack(ticket.command_id, "accepted"), reply, ack])
    found = await kit.service.command(ticket.command_id)
    expect(found.get("outcome") == "rejected", f"after the ACK its outcome is {found.get('outcome')!a}, not rejected")
    told = found.get("error")
    expect(isinstance(told, dict) and error.items() <= told.items(), "the ACK's error is not there")
    replies = found.get("replies")
    ids = [message.get("id") for message in replies if isinstance(message, dict)] if isinstance(replies, list) else []
    expect(ids == [reply["id"]], f"its replies are {ids}, not the one that came")


@UI.check("final", "After the final `ACK` there is no other: the first outcome stands.")
async def final(kit: Kit) -> None:
    agent, ticket = kit.agent, await kit.queue_one()
    await agent.poll(ticket.before)
    for status in ("completed", "failed"):
        await agent.report(agent.ack(ticket.command_id, status))
    found = (await kit.service.command(ticket.command_id)).get("outcome")
    expect(found == "completed", f"the outcome is {found!a}, though the first ACK said completed")


@UI.check("wait", "`?wait=10` waits for the final `ACK`, and answers as soon as it is there.")
async def wait(kit: Kit) -> None:
    agent, service, ticket = kit.agent, kit.service, await kit.queue_one()
    await agent.poll(ticket.before)
    begun = kit.clock.monotonic()
    early = await service.command(ticket.command_id, 2)
    took_s = kit.clock.monotonic() - begun
    expect(early.get("outcome") is None, "there is an outcome, though nobody said one")
    expect(took_s > 1, f"with wait=2 it answered after {took_s:.1f} s, without an outcome")

    async def asking() -> Message:
        return await service.command(ticket.command_id, LONG_WAIT_S)

    async def answering() -> Message:
        # So that the other most likely waits by then.
        await kit.clock.sleep(HEAD_START_S)
        answer: Answer = await agent.report(agent.ack(ticket.command_id))
        return {"status": answer.status}

    begun = kit.clock.monotonic()
    found, _ = await kit.side_by_side([asking, answering])
    took_s = kit.clock.monotonic() - begun
    if isinstance(found, Broken):
        raise found
    expect(found.get("outcome") == "completed", f"the outcome is {found.get('outcome')!a}, not completed")
    expect(took_s < LONG_WAIT_S / 2 + kit.grace_s, f"it came after {took_s:.1f} s only")


@UI.check("agents", "`GET /agents` and `/{clientId}`: state as last reported.")
async def agents(kit: Kit) -> None:
    agent = kit.agent
    name = f"conformance-{uuid.uuid4().hex[:8]}"
    message = agent.connected(kit.cursor)
    message["payload"]["hostname"] = name
    await agent.report(message)
    one = await kit.service.one(kit.service.path)
    expect(one.get("clientId") == agent.client_id, "the agent is not there under its clientId")
    expect(name in json.dumps(one), "what its last CLIENT_CONNECTED said is not there")
    after, seen = None, set()
    for _ in range(100):
        rows = await kit.service.all_of("/api/v1/agents", "agents", after)
        names = [row.get("clientId") for row in rows]
        seen |= set(names)
        if not names or agent.client_id in seen or names[-1] == after:
            break
        after = names[-1]
    expect(agent.client_id in seen, "the agent is not in the list of agents")


@UI.check("presence", "Presence tells its age, and says connected while a stream is held.")
async def presence(kit: Kit) -> None:
    async with kit.agent.stream(kit.cursor) as stream:
        await stream.hello(HELLO_WITHIN_S + kit.grace_s)
        found = (await kit.service.one(kit.service.path)).get("presence")
    expect(isinstance(found, dict), "the agent has no presence")
    told: Message = found if isinstance(found, dict) else {}
    expect(told.get("connected") is True, f"connected is {told.get('connected')!a} while it holds a stream")
    age = told.get("ageSeconds")
    expect(isinstance(age, int | float) and 0 <= age < 3600, f"ageSeconds is {age!a}")


@UI.check("uploads", "`/{clientId}/uploads` shows each upload as last reported, finished ones with their result.")
async def uploads(kit: Kit) -> None:
    agent, file_id = kit.agent, f"conformance-{uuid.uuid4().hex}"
    result = {"fileSize": 5, "sha256": "a" * 64, "uploadId": "conformance", "seconds": 1.5, "confirmation": "response"}
    message = agent.message(EventType.UPLOAD_COMPLETE, {"fileId": file_id, "revision": 3, **result})
    answer = await agent.report(message)
    expect(answer.status == 202, f"UPLOAD_COMPLETE was answered {answer.status}")
    rows = await kit.service.all_of(f"{kit.service.path}/uploads", "uploads")
    found = next((row for row in rows if row.get("fileId") == file_id), None)
    expect(found is not None, "the upload is not there")
    expect(found is not None and found.get("state") == "complete", "the upload is not shown as complete")


@UI.check("messages", "`/{clientId}/messages?after=`: what was reported, each once, oldest first.")
async def messages(kit: Kit) -> None:
    agent = kit.agent
    await kit.recorded()
    sent = [agent.message() for _ in range(5)]
    for message in sent:
        await agent.report(message)
    found = await kit.recorded()
    ids = [message.get("id") for message in found]
    expect(ids == [message["id"] for message in sent], "they are not those five, in their order")
    expect(found == sent, "they are not what was sent")
    expect(not await kit.recorded(), "behind the newest there is still something")


@UI.check("stream", "`GET /stream`: everything the agents report, as Server-Sent Events.")
async def stream(kit: Kit) -> None:
    agent, text = kit.agent, uuid.uuid4().hex
    async with kit.peer.stream("/api/v1/stream", kit.service.token, {}) as feed:
        head = await feed.head()
        expect(head.status == 200, f"it was answered {head.status}, not 200")
        expect(head.media_type == "text/event-stream", f"its media type is {head.media_type!a}")
        await feed.frame(HELLO_WITHIN_S + kit.grace_s)
        message = agent.message(EventType.MESSAGE, {"text": text, "from": "conformance"})
        await agent.report(message)
        for _ in range(FEED_LIMIT):
            if text in ((await feed.event(NEWS_WITHIN_S + kit.grace_s)).data or ""):
                return
    raise Broken("what the agent reported is not in it")


@UI.check("queue-full", "429 when its queue is full: nothing queued is ever dropped.")
async def queue_full(kit: Kit) -> None:
    tickets = [await kit.queue_one()]
    for _ in range(kit.fill_queue):
        answer = await kit.service.order(uuid.uuid4().hex)
        if answer.status != 202:
            break
        tickets.append(kit.ticket(answer))
    else:
        raise Broken(f"after {len(tickets)} commands it was not full")
    refused(answer, 429)
    expect(answer.slug is not None, "the 429 is no problem document")
    expect("retry-after" in answer.headers, "the 429 has no Retry-After")
    cursor, found = tickets[0].before, []
    while events := events_of(await kit.agent.poll(cursor)):
        found += [event["id"] for event in events]
        cursor = events[-1]["id"]
        if len(found) > len(tickets):
            break
    expect(found == [ticket.event_id for ticket in tickets], f"of {len(tickets)} queued commands {len(found)} came")
    # Shown as a cursor they are no longer waiting, and the next check has room.
    await kit.agent.poll(cursor)
