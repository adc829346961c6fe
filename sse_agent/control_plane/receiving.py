"""Messages in: bytes → reports, and verdicts → answers. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core
from pydantic import ValidationError

from sse_agent.control_plane.engine import AckNews, Report, UploadNews, Verdict
from sse_agent.control_plane.problems import (
    IdempotencyKeyMismatch,
    IdempotencyKeyReused,
    InvalidEnvelope,
    InvalidPayload,
    MalformedRequest,
    Problem,
    TooLarge,
    WrongClient,
)
from sse_agent.control_plane.requests import canonical
from sse_agent.errors import GiveUp
from sse_agent.lifecycle import UploadState
from sse_agent.messages import (
    BATCH_BYTES_LIMIT,
    BATCH_COUNT_LIMIT,
    EVENT_LIMIT,
    EVENT_PAYLOADS,
    Envelope,
    EventType,
    parse_envelope,
)

_STATES = {
    EventType.UPLOAD_PAUSED: UploadState.PAUSED,
    EventType.UPLOAD_RESUMED: UploadState.QUEUED,
    EventType.UPLOAD_CANCELLED: UploadState.CANCELLED,
    EventType.UPLOAD_COMPLETE: UploadState.COMPLETE,
    EventType.UPLOAD_FAILED: UploadState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST: for each message its ID and what it is, a report or the problem with it."""

    is_batch: bool
    messages: Sequence[tuple[str, Report | Problem]]

    @property
    def reports(self) -> Mapping[int, Report]:
        """What can be recorded, by place."""
        return {place: what for place, (_, what) in enumerate(self.messages) if isinstance(what, Report)}


def read(body: bytes, client_id: str, key: str) -> Delivery:
    """What one POST brings. Raises MalformedRequest, TooLarge, and for a single message whatever is wrong with it."""
    parsed = _parse(body)
    if "messages" not in parsed:
        report = _report(parsed, len(body), client_id)
        if report.message_id != key:
            raise IdempotencyKeyMismatch
        return Delivery(False, [(report.message_id, report)])
    batch = parsed["messages"]
    if not isinstance(batch, list) or not all(isinstance(message, dict) for message in batch) or not batch:
        raise MalformedRequest("messages is a list of at least one envelope")
    if len(batch) > BATCH_COUNT_LIMIT or len(body) > BATCH_BYTES_LIMIT:
        raise TooLarge(f"a batch is at most {BATCH_COUNT_LIMIT} messages and {BATCH_BYTES_LIMIT} bytes")
    return Delivery(True, [_part(message, client_id) for message in batch])


def answer(delivery: Delivery, verdicts: Mapping[int, Verdict]) -> tuple[int, dict[str, Any]]:
    """Status and body. Raises IdempotencyKeyReused for a single message."""
    results = [
        _result(message_id, what, verdicts.get(place)) for place, (message_id, what) in enumerate(delivery.messages)
    ]
    if delivery.is_batch:
        return 200, {"results": results}
    if results[0]["status"] == IdempotencyKeyReused.status:
        raise IdempotencyKeyReused
    return results[0]["status"], results[0]


def _result(message_id: str, what: Report | Problem, verdict: Verdict | None) -> dict[str, Any]:
    problem = what if isinstance(what, Problem) else None
    if verdict is Verdict.CONFLICT:
        problem = IdempotencyKeyReused()
    if problem is not None:
        return {"id": message_id, "status": problem.status, "type": problem.type, "detail": problem.detail}
    return {"id": message_id, "status": 202 if verdict is Verdict.RECORDED else 200}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parsed = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise MalformedRequest(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise MalformedRequest("the body is a JSON object")
    return parsed


def _part(message: dict[str, Any], client_id: str) -> tuple[str, Report | Problem]:
    """One message of a batch. What is wrong with it is said of it alone, if it can be named at all."""
    message_id = message.get("id")
    if not isinstance(message_id, str):
        raise MalformedRequest("a message of the batch has no id")
    try:
        return message_id, _report(message, len(pydantic_core.to_json(message)), client_id)
    except Problem as problem:
        return message_id, problem


def _report(message: dict[str, Any], size: int, client_id: str) -> Report:
    if size > EVENT_LIMIT:
        raise TooLarge(f"an event is at most {EVENT_LIMIT} bytes")
    body = canonical(message)
    try:
        envelope = parse_envelope(body)
    except GiveUp as wrong:
        raise InvalidEnvelope(wrong.message) from None
    if envelope.client_id != client_id:
        raise WrongClient
    payload = _checked(envelope)
    return Report(
        message_id=envelope.id,
        type=envelope.type,
        timestamp=envelope.timestamp,
        in_reply_to=envelope.in_reply_to,
        body=body,
        digest=hashlib.sha256(body).digest(),
        ack=_ack(envelope, payload),
        upload=_upload(envelope, payload),
        cursor=payload.get("cursor") if envelope.type == EventType.CLIENT_CONNECTED else None,
        uploads=_unfinished(payload) if envelope.type == EventType.CLIENT_CONNECTED else (),
    )


def _checked(envelope: Envelope) -> dict[str, Any]:
    """The payload; of a type that is not known here anything goes, and is recorded."""
    try:
        model = EVENT_PAYLOADS[EventType(envelope.type)]
    except ValueError:
        return {}
    try:
        # In JSON mode: the enums of the models are words on the wire.
        return model.model_validate_json(pydantic_core.to_json(envelope.payload)).to_wire()
    except ValidationError as error:
        raise InvalidPayload(first_wrong(error, "payload")) from None


def first_wrong(error: ValidationError, whole: str) -> str:
    """The first wrong member and what was expected, without repeating what was sent; `whole` names the rest."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Only the outermost: further in are names that the other side chose.
    place = str(wrong["loc"][0]) if wrong["loc"] else whole
    return f"{place}: {wrong['msg']}"[:300]


def _ack(envelope: Envelope, payload: Mapping[str, Any]) -> AckNews | None:
    if envelope.type != EventType.ACK:
        return None
    return AckNews(payload["commandId"], payload["status"], payload.get("error"))


def _upload(envelope: Envelope, payload: Mapping[str, Any]) -> UploadNews | None:
    if envelope.type == EventType.UPLOAD_PROGRESS:
        return _news(payload, payload["state"])
    state = _STATES.get(EventType(envelope.type)) if payload else None
    return _news(payload, state) if state is not None else None


def _news(payload: Mapping[str, Any], state: str) -> UploadNews:
    return UploadNews(payload["fileId"], payload["revision"], payload.get("n", 0), state, dict(payload))


def _unfinished(payload: Mapping[str, Any]) -> tuple[UploadNews, ...]:
    return tuple(_news(upload, upload["state"]) for upload in payload["unfinished"])
