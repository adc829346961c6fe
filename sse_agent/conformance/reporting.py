"""Messages up: one, and batches of them."""

import json
from collections import Counter

from sse_agent.conformance.check import Broken, Group, expect
from sse_agent.conformance.kit import Kit, refused
from sse_agent.conformance.peer import Answer, encoded
from sse_agent.conformance.speakers import Agent, Message
from sse_agent.messages import BATCH_COUNT_LIMIT, EVENT_LIMIT, EventType

MESSAGES = Group("messages")
BATCH = Group("batch")
AT_ONCE = 8
MALFORMED = (400, 422)


def _accepted(answer: Answer, status: int, message: Message) -> None:
    """Status and body as the contract has them."""
    expect(answer.status == status, f"it was answered {answer.status}, not {status}")
    found, wanted = answer.json(), {"id": message["id"], "status": status}
    expect(wanted.items() <= found.items(), f"the body of the {status} is not {json.dumps(wanted)}")


async def _count(kit: Kit, *ids: str) -> list[int]:
    """How often each is among what the control plane shows as reported."""
    seen = Counter(message.get("id") for message in await kit.recorded())
    return [seen[name] for name in ids]


@MESSAGES.check("recorded", '202 `{"id", "status": 202}`: recorded now.')
async def recorded(kit: Kit) -> None:
    message = kit.agent.message()
    await kit.recorded()
    _accepted(await kit.agent.report(message), 202, message)
    expect(await _count(kit, message["id"]) == [1], "it is not among the messages that the UI is shown")


@MESSAGES.check("repeated", '200 `{"id", "status": 200}`: this key was recorded before, same body. It counts once.')
async def repeated(kit: Kit) -> None:
    message = kit.agent.message()
    await kit.recorded()
    _accepted(await kit.agent.report(message), 202, message)
    _accepted(await kit.agent.report(message), 200, message)
    (count,) = await _count(kit, message["id"])
    expect(count == 1, f"it is shown {count} times")


@MESSAGES.check("changed", "422: the key was seen with another body. The first message with an `id` stands.")
async def changed(kit: Kit) -> None:
    message = kit.agent.message()
    _accepted(await kit.agent.report(message), 202, message)
    refused(await kit.agent.report({**message, "payload": {"text": "another", "from": "conformance"}}), 422)
    _accepted(await kit.agent.report(message), 200, message)


@MESSAGES.check(
    "at-the-same-time", "The same message many times at once is recorded once: 202 once, else 200 or 409 `in-progress`."
)
async def at_the_same_time(kit: Kit) -> None:
    agent, message = kit.agent, kit.agent.message()
    await kit.recorded()

    async def report() -> Answer:
        return await agent.report(message)

    answers = await kit.side_by_side([report] * AT_ONCE)
    statuses = Counter(0 if isinstance(answer, Broken) else answer.status for answer in answers)
    expect(statuses[202] == 1, f"202 came {statuses[202]} times of {AT_ONCE}")
    others = set(statuses) - {202, 200, 409}
    expect(not others, f"some were answered {sorted(others)}")
    (count,) = await _count(kit, message["id"])
    expect(count == 1, f"it is shown {count} times")


@MESSAGES.check("key", "`Idempotency-Key` is the message's `id`: without it, or with another, a message is refused.")
async def key(kit: Kit) -> None:
    refused(await kit.agent.post(kit.agent.message(), None), *MALFORMED)
    message = kit.agent.message()
    refused(await kit.agent.post(message, f"{message['id']}-other"), *MALFORMED)


@MESSAGES.check("wrong-client", "`clientId` is the agent the message is from: one of another agent is refused.")
async def wrong_client(kit: Kit) -> None:
    message = {**kit.agent.message(), "clientId": kit.options.second_client_id or f"{kit.agent.client_id}-other"[-128:]}
    await kit.recorded()
    refused(await kit.agent.report(message), 400, 403, 422)
    expect(await _count(kit, message["id"]) == [0], "it was recorded all the same")


@MESSAGES.check("malformed", "400 / 422: malformed. No JSON, no object, no envelope.")
async def malformed(kit: Kit) -> None:
    agent = kit.agent
    whole = agent.message()
    without = [{name: value for name, value in whole.items() if name != missing} for missing in ("type", "timestamp")]
    wrong: list[object] = [b"", b"{", b"[]", b'"text"', b"\xff\xfe", *without]
    wrong += [{**whole, "payload": "text"}, {**whole, "timestamp": "yesterday"}, {**whole, "type": "lower case"}]
    for body in wrong:
        refused(await agent.post(body, whole["id"]), *MALFORMED)


@MESSAGES.check("largest", "An event is at most 256 KiB: one of that size is recorded, a larger one answered 413.")
async def largest(kit: Kit) -> None:
    message = _sized(kit.agent, EVENT_LIMIT)
    _accepted(await kit.agent.report(message), 202, message)
    refused(await kit.agent.report(_sized(kit.agent, EVENT_LIMIT + 1)), 413, 422)


def _sized(agent: Agent, size: int) -> Message:
    message = agent.message("CONFORMANCE_NOTE", {"text": ""})
    return {**message, "payload": {"text": "x" * (size - len(encoded(message)))}}


@MESSAGES.check("unknown", "An unknown event is recorded, and unknown members are ignored.")
async def unknown(kit: Kit) -> None:
    message = kit.agent.message("CONFORMANCE_NOTE", {"anything": [1, None, {"deep": True}]}, aNewMember=1)
    _accepted(await kit.agent.report(message), 202, message)
    chat = kit.agent.message(EventType.MESSAGE, {"text": "hello", "from": "conformance", "aNewMember": 1})
    _accepted(await kit.agent.report(chat), 202, chat)


@MESSAGES.check("revision", "Of two events about one upload the higher `revision` counts, whichever comes first.")
async def revision(kit: Kit) -> None:
    agent, file_id = kit.agent, f"conformance-{kit.agent.instance}"
    newer = agent.message(EventType.UPLOAD_PAUSED, {"fileId": file_id, "revision": 9, "offset": 90})
    older = agent.message(EventType.UPLOAD_RESUMED, {"fileId": file_id, "revision": 8, "offset": 80})
    for message in (newer, older):
        _accepted(await agent.report(message), 202, message)
    rows = await kit.service.all_of(f"{kit.service.path}/uploads", "uploads")
    found = [row for row in rows if row.get("fileId") == file_id]
    expect(found, "the upload is not among those that the UI is shown")
    state, number = found[0].get("state"), found[0].get("revision")
    expect((state, number) == ("paused", 9), f"it is shown as {state!a}, revision {number!a}; not as paused, 9")


@MESSAGES.check("upload-token", "`POST …/uploads/{fileId}/token` → 201 `{token, expiresAt}`; 404 means there are none.")
async def upload_token(kit: Kit) -> None:
    agent = kit.agent
    headers = {**agent.headers, "Idempotency-Key": agent.instance}
    path = f"{agent.path}/uploads/conformance-{agent.instance}/token"
    answer = await agent.peer.ask("POST", path, agent.token, headers=headers)
    expect(answer.status in (201, 404), f"it was answered {answer.status}, not 201 or 404")
    if answer.status == 201:
        expect({"token", "expiresAt"} <= answer.json().keys(), "the 201 has no token and expiresAt")


# --- batches ----------------------------------------------------------------------------------------


def _results(answer: Answer) -> list[tuple[object, object]]:
    expect(answer.status == 200, f"the batch was answered {answer.status}, not 200")
    found = answer.json().get("results")
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Broken("the answer has no list of results")
    return [(row.get("id"), row.get("status")) for row in found]


@BATCH.check("order", 'A batch answers 200 with `{"results": [{"id", "status"}]}`, in order; 202, 200, 413, 422 each.')
async def order(kit: Kit) -> None:
    first, repeated, wrong, last = (kit.agent.message() for _ in range(4))
    await kit.agent.report(repeated)
    wrong["clientId"] = f"{kit.agent.client_id}-other"[-128:]
    found = _results(await kit.agent.batch([first, repeated, wrong, last]))
    wanted = [(first["id"], 202), (repeated["id"], 200), (wrong["id"], 422), (last["id"], 202)]
    expect(found == wanted, f"the results are {found}, not {wanted}")


@BATCH.check("keys", "Each message in it is keyed by its own `id`; the header is not recorded as a key.")
async def keys(kit: Kit) -> None:
    agent = kit.agent
    first, second, outside = (agent.message() for _ in range(3))
    answer = await agent.post({"messages": [first, second]}, outside["id"])
    if answer.status == 200:
        # The header was not the first one's: a control plane may mind, but may not record it.
        _accepted(await agent.report(outside), 202, outside)
    else:
        refused(answer, *MALFORMED)
    await agent.batch([first, second])
    for message in (first, second):
        _accepted(await agent.report(message), 200, message)


@BATCH.check("limits", "A batch is at most 100 messages: 100 are taken, 101 refused.")
async def limits(kit: Kit) -> None:
    messages = [kit.agent.message() for _ in range(BATCH_COUNT_LIMIT)]
    statuses = {status for _, status in _results(await kit.agent.batch(messages))}
    expect(statuses == {202}, f"of a batch of 100 some were answered {sorted(map(str, statuses))}")
    refused(await kit.agent.batch([kit.agent.message() for _ in range(BATCH_COUNT_LIMIT + 1)]), 400, 413, 422)


@BATCH.check("malformed", "A batch that is none is refused as a whole.")
async def malformed_batch(kit: Kit) -> None:
    wrong: tuple[Message, ...] = ({"messages": []}, {"messages": "text"}, {"messages": [1]})
    for body in wrong:
        refused(await kit.agent.post(body, kit.agent.message()["id"]), *MALFORMED)
