"""The verdict on what was recorded: was each command carried out once, did each upload end as its history says?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.chaos_test_harness.records import Order, Records

Ending = tuple[str, str]
"""Status and error code of a final ACK; the code is empty where there is no error."""

COMPLETED: Ending = ("completed", "")
NOT_FOUND: Ending = ("rejected", "NOT_FOUND")
WRONG_STATE: Ending = ("rejected", "WRONG_STATE")
TOO_LATE: Ending = ("failed", "WRONG_STATE")
CANCELLED: Ending = ("failed", "CANCELLED")
REPLIES = {"LIST_FILES": "FILE_LIST", "GET_STATUS": "CLIENT_STATUS", "MESSAGE": "MESSAGE"}
BEFORE: Mapping[str, set[str | None]] = {
    "UPLOAD_PAUSED": {None, "UPLOAD_RESUMED"},
    "UPLOAD_RESUMED": {"UPLOAD_PAUSED"},
    "UPLOAD_CANCELLED": {None, "UPLOAD_RESUMED", "UPLOAD_PAUSED"},
    "UPLOAD_COMPLETE": {None, "UPLOAD_RESUMED"},
}
"""Which move of an upload may come before which. A failure is a complaint: no misbehaviour is a reason for one."""


def judge(records: "Records", names: list[str]) -> list[str]:
    """Every complaint. `names`: the files that a listing has to show, in order."""
    complaints = [*records.complaints, *_endings(records), *_answers(records, names)]
    histories: dict[str, list[Order]] = defaultdict(list)
    for order in records.orders.values():
        if order.expects is None:
            histories[str(order.payload["fileId"])].append(order)
    for file_id in {**records.moves, **histories}:
        complaints += _upload(records, file_id, histories[file_id])
    return complaints


def ending(ack: Mapping[str, Any]) -> Ending:
    """Of a final ACK."""
    return str(ack["payload"]["status"]), str((ack["payload"].get("error") or {}).get("code", ""))


def _words(found: Ending) -> str:
    return "/".join(filter(None, found))


def _endings(records: "Records") -> Iterator[str]:
    """Exactly one final ACK for each command, and none for anything else."""
    for command_id in records.unanswered():
        how = "accepted, but never over" if command_id in records.accepted else "never acknowledged"
        yield f"lost: {records.orders[command_id].type} {command_id} was {how}"
    for command_id, finals in records.finals.items():
        order = records.orders.get(command_id)
        if order is None:
            yield f"acknowledged, but never given: {command_id}"
            continue
        if len(finals) > 1:
            found = ", ".join(_words(ending(ack)) for ack in finals)
            yield f"carried out twice: {order.type} {command_id} has {len(finals)} final ACKs ({found})"
        if order.expects is not None:
            yield from _compare(records, order, order.expects)


def _compare(records: "Records", order: "Order", expects: frozenset[Ending] | set[Ending]) -> Iterator[str]:
    for ack in records.finals.get(order.command_id, []):
        if ending(ack) not in expects:
            wanted = " or ".join(sorted(_words(one) for one in expects))
            said = (ack["payload"].get("error") or {}).get("message", "")
            yield f"{order.type} {order.command_id} ended {_words(ending(ack))}, not {wanted}: {said}"


def _answers(records: "Records", names: list[str]) -> Iterator[str]:
    """One reply for each question that was answered, and the right one."""
    for command_id, order in records.orders.items():
        if order.type not in REPLIES:
            continue
        replies = records.replies.get(command_id, [])
        if len(replies) > 1:
            yield f"carried out twice: {order.type} {command_id} has {len(replies)} replies"
        is_answered = any(ending(ack) == COMPLETED for ack in records.finals.get(command_id, []))
        if is_answered and not replies:
            yield f"lost: the reply to {order.type} {command_id}"
        for reply in replies:
            if reply["type"] != REPLIES[order.type]:
                yield f"{order.type} {command_id} was answered by {reply['type']}"
            elif order.type == "LIST_FILES" and [one["name"] for one in reply["payload"]["entries"]] != names:
                yield f"the listing for {command_id} does not show the files"


def _upload(records: "Records", file_id: str, orders: list["Order"]) -> Iterator[str]:
    moves = records.moves.get(file_id, [])
    yield from _moves(file_id, moves)
    ends = [move["type"] for move in moves if move["type"] in ("UPLOAD_COMPLETE", "UPLOAD_CANCELLED")]
    is_started = any(order.type == "UPLOAD_START" for order in orders)
    has_cancel = any(order.type == "UPLOAD_CANCEL" for order in orders)
    if ends and not is_started:
        yield f"{file_id} was uploaded, but nobody asked for it"
    if is_started and not ends:
        yield f"lost: the end of {file_id}, which is {moves[-1]['type'] if moves else 'unheard of'}"
        return
    if len(ends) > 1:
        yield f"carried out twice: {file_id} ended {len(ends)} times ({', '.join(ends)})"
    is_complete = ends[-1:] == ["UPLOAD_COMPLETE"]
    if ends and not is_complete and not has_cancel:
        yield f"{file_id} was cancelled, but nobody asked for that"
    yield from _orders(records, orders, is_complete=is_complete)


def _orders(records: "Records", orders: list["Order"], *, is_complete: bool) -> Iterator[str]:
    """How each of them may end, given what came before it and how the upload ended."""
    is_known = has_cancel = False
    for order in orders:
        if order.type == "UPLOAD_START":
            is_known = True
            yield from _compare(records, order, {COMPLETED if is_complete else CANCELLED})
        elif order.type == "UPLOAD_CANCEL":
            has_cancel = True
            yield from _compare(records, order, {WRONG_STATE, TOO_LATE} if is_complete else {COMPLETED})
        elif not is_known:
            yield from _compare(records, order, {NOT_FOUND})
        else:
            yield from _compare(records, order, {COMPLETED, WRONG_STATE} if is_complete or has_cancel else {COMPLETED})


def _moves(file_id: str, moves: list[dict[str, Any]]) -> Iterator[str]:
    """The durable events of one upload follow the state table, and each of its commands moved it once."""
    before: str | None = None
    revision = 0
    for move in moves:
        kind, payload = move["type"], move["payload"]
        if kind == "UPLOAD_FAILED":
            yield f"{file_id} failed: {payload['code']}, {payload['message']}"
        elif before not in BEFORE[kind]:
            yield f"{file_id} had {kind} after {before}"
        if payload["revision"] <= revision:
            yield f"the revision of {file_id} went down from {revision} to {payload['revision']} with {kind}"
        before, revision = kind, payload["revision"]
    for kind in ("UPLOAD_PAUSED", "UPLOAD_RESUMED"):
        causes = [move["inReplyTo"] for move in moves if move["type"] == kind]
        for cause in sorted({cause for cause in causes if causes.count(cause) > 1}):
            yield f"carried out twice: {cause} led to {causes.count(cause)} times {kind} of {file_id}"
