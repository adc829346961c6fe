"""Messages in: what is a report, and what is wrong with the rest."""

import json
from typing import Any

import pytest

from sse_agent.control_plane import problems, receiving
from sse_agent.control_plane.engine import Report, Verdict
from sse_agent.control_plane.problems import Problem
from sse_agent.messages import BATCH_BYTES_LIMIT, BATCH_COUNT_LIMIT, EVENT_LIMIT


def event(message_id: str = "m-1", **more: Any) -> dict[str, Any]:
    message = {"type": "NOTE", "id": message_id, "timestamp": "2026-11-22T10:30:00Z", "clientId": "agent-1"}
    return {**message, "payload": {}, **more}


def read(body: Any, key: str = "m-1") -> receiving.Delivery:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return receiving.read(encoded, "agent-1", key)


def report(body: Any) -> Report:
    ((_, found),) = read(body).messages
    assert isinstance(found, Report)
    return found


PAUSED = {"fileId": "f", "revision": 3, "offset": 0}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", problems.MalformedRequest),
        (b"[]", problems.MalformedRequest),
        (b'{"x": NaN}', problems.MalformedRequest),
        (b'{"x": "\\ud800"}', problems.MalformedRequest),
        (b"[" * 100_000, problems.MalformedRequest),
        (b'{"x": ' + b"9" * 100_000 + b"}", problems.MalformedRequest),
        ({"messages": []}, problems.MalformedRequest),
        ({"messages": [1]}, problems.MalformedRequest),
        ({"messages": [{}]}, problems.MalformedRequest),
        ({"messages": [event(str(n)) for n in range(BATCH_COUNT_LIMIT + 1)]}, problems.TooLarge),
        ({"messages": [event(payload={"x": "x" * BATCH_BYTES_LIMIT})]}, problems.TooLarge),
        (event(payload={"x": "x" * EVENT_LIMIT}), problems.TooLarge),
        (event(id="m-2"), problems.IdempotencyKeyMismatch),
        (event(clientId="agent-2"), problems.WrongClient),
        (event(timestamp="yesterday"), problems.InvalidEnvelope),
        (event(payload=[]), problems.InvalidEnvelope),
        (event(type="UPLOAD_PAUSED", payload={**PAUSED, "revision": "3"}), problems.InvalidPayload),
    ],
)
def test_what_is_wrong_with_a_request_is_named(body: Any, problem: type[Problem]) -> None:
    with pytest.raises(problem):
        read(body)


def test_one_bad_message_says_nothing_of_the_others_and_the_answers_keep_their_order() -> None:
    large = event("large", payload={"x": "x" * EVENT_LIMIT})
    delivery = read({"messages": [event("a"), event("b", clientId="other"), large, event("c"), event("d")]})
    assert list(delivery.reports) == [0, 3, 4]
    verdicts = {0: Verdict.RECORDED, 3: Verdict.REPEATED, 4: Verdict.CONFLICT}
    status, answer = receiving.answer(delivery, verdicts)
    assert status == 200
    assert [(result["id"], result["status"]) for result in answer["results"]] == [
        ("a", 202),
        ("b", 422),
        ("large", 413),
        ("c", 200),
        ("d", 422),
    ]
    assert [result.get("type", "").rpartition(":")[2] for result in answer["results"]] == [
        "",
        "wrong-client",
        "too-large",
        "",
        "idempotency-key-reused",
    ]


def test_two_spellings_of_one_object_have_one_digest_and_two_objects_have_not() -> None:
    spelt = json.dumps(dict(reversed(event(payload={"b": "é", "a": 1}).items())), indent=2).encode()
    assert report(spelt).digest == report(event(payload={"a": 1, "b": "é"})).digest
    assert report(spelt).digest != report(event(payload={"a": 2, "b": "é"})).digest


def test_a_status_that_answers_a_command_is_durable_and_progress_never_is() -> None:
    status = {"type": "CLIENT_STATUS", "message_id": "m", "timestamp": "", "body": b"", "digest": b""}
    assert Report(**status, in_reply_to=None).is_volatile
    assert not Report(**status, in_reply_to="c").is_volatile
    assert Report(**{**status, "type": "UPLOAD_PROGRESS"}, in_reply_to="c").is_volatile
