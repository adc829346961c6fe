"""The verdict: was each command carried out once, did each upload end as its history says, do the bytes agree?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from scripts.crash_test_harness.ledger import Ending, Ledger, Message, Order
from scripts.crash_test_harness.relay import Sent

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
"""Which move of an upload may come before which; one that failed is a complaint anyhow."""


def judge(ledger: Ledger, names: list[str]) -> list[str]:
    """Every complaint about what was reported. `names`: the files that a listing has to show, in order."""
    with ledger.condition:
        complaints = list(ledger.complaints)
        complaints += _endings(ledger)
        complaints += _answers(ledger, names)
        for file_id, orders in _histories(ledger).items():
            complaints += _upload(ledger, file_id, orders)
    return complaints


def lost(ledger: Ledger) -> list[str]:
    """Commands that never came to an end."""
    return ledger.unanswered()


def doubled(ledger: Ledger) -> list[str]:
    """Commands with two different final acknowledgements."""
    return [command_id for command_id, finals in ledger.finals.items() if len(finals) > 1]


def _endings(ledger: Ledger) -> Iterator[str]:
    """Exactly one final ACK for each command, and none for anything else."""
    for command_id in lost(ledger):
        order = ledger.orders[command_id]
        how = "accepted, but never over" if command_id in ledger.accepted else "never acknowledged"
        yield f"lost: {order.type or 'a nameless command'} {command_id} was {how}"
    for command_id in doubled(ledger):
        endings = ", ".join("/".join(filter(None, _ending(ack))) for ack in ledger.finals[command_id])
        kind = ledger.orders[command_id].type if command_id in ledger.orders else "?"
        yield f"carried out twice: {kind} {command_id} has {len(ledger.finals[command_id])} final ACKs ({endings})"
    for command_id in ledger.finals.keys() - ledger.orders.keys():
        yield f"acknowledged, but never given: {command_id}"
    for order in ledger.orders.values():
        if order.expects is not None:
            yield from _compare(ledger, order, order.expects)


def _compare(ledger: Ledger, order: Order, expects: frozenset[Ending] | set[Ending]) -> Iterator[str]:
    for ack in ledger.finals.get(order.command_id, []):
        if _ending(ack) not in expects:
            wanted = " or ".join(sorted("/".join(filter(None, ending)) for ending in expects))
            error = ack.payload.get("error") or {}
            found = "/".join(filter(None, _ending(ack)))
            yield f"{order.type} {order.command_id} ended {found}, not {wanted}: {error.get('message', '')}"


def _ending(ack: Message) -> Ending:
    return str(ack.payload["status"]), str((ack.payload.get("error") or {}).get("code", ""))


def _answers(ledger: Ledger, names: list[str]) -> Iterator[str]:
    """One reply for each question that was answered, and the right one."""
    for command_id, order in ledger.orders.items():
        if order.type not in REPLIES:
            continue
        replies = ledger.replies.get(command_id, [])
        if len(replies) > 1:
            yield f"carried out twice: {order.type} {command_id} has {len(replies)} replies"
        is_answered = any(_ending(ack) == COMPLETED for ack in ledger.finals.get(command_id, []))
        if is_answered and not replies:
            yield f"lost: the reply to {order.type} {command_id}"
        for reply in replies:
            if reply.type != REPLIES[order.type]:
                yield f"{order.type} {command_id} was answered by {reply.type}"
            elif order.type == "LIST_FILES" and [entry["name"] for entry in reply.payload["entries"]] != names:
                yield f"the listing for {command_id} does not show the files"


def _histories(ledger: Ledger) -> Mapping[str, list[Order]]:
    """The commands about each upload whose ends follow from each other, in the order in which they were given."""
    histories: dict[str, list[Order]] = defaultdict(list)
    for order in ledger.orders.values():
        if order.expects is None:
            histories[str(order.payload["fileId"])].append(order)
    for file_id in ledger.moves:
        histories.setdefault(file_id, [])
    return histories


def _upload(ledger: Ledger, file_id: str, orders: list[Order]) -> Iterator[str]:
    moves = ledger.moves.get(file_id, [])
    yield from _moves(file_id, moves)
    ends = [move for move in moves if move.type in ("UPLOAD_COMPLETE", "UPLOAD_CANCELLED")]
    is_started = any(order.type == "UPLOAD_START" for order in orders)
    has_cancel = any(order.type == "UPLOAD_CANCEL" for order in orders)
    if ends and not is_started:
        yield f"{file_id} was uploaded, but nobody asked for it"
    if is_started and not ends:
        yield f"lost: the end of {file_id}, which is {moves[-1].type if moves else 'unheard of'}"
        return
    is_complete = bool(ends) and ends[-1].type == "UPLOAD_COMPLETE"
    if ends and not is_complete and not has_cancel:
        yield f"{file_id} was cancelled, but nobody asked for that"
    yield from _orders(ledger, orders, is_complete=is_complete)


def _orders(ledger: Ledger, orders: list[Order], *, is_complete: bool) -> Iterator[str]:
    """How each of them may end, given what came before it and how the upload ended."""
    is_known = has_cancel = False
    for order in orders:
        if order.type == "UPLOAD_START":
            is_known = True
            yield from _compare(ledger, order, {COMPLETED if is_complete else CANCELLED})
        elif order.type == "UPLOAD_CANCEL":
            has_cancel = True
            yield from _compare(ledger, order, {WRONG_STATE, TOO_LATE} if is_complete else {COMPLETED})
        elif not is_known:
            yield from _compare(ledger, order, {NOT_FOUND})
        else:
            yield from _compare(ledger, order, {COMPLETED, WRONG_STATE} if is_complete or has_cancel else {COMPLETED})


def _moves(file_id: str, moves: list[Message]) -> Iterator[str]:
    """The durable events of one upload follow the state table, and each of its commands moved it once."""
    before: str | None = None
    for move in moves:
        if move.type == "UPLOAD_FAILED":
            yield f"{file_id} failed: {move.payload['code']}, {move.payload['message']}"
        elif before not in BEFORE[move.type]:
            yield f"{file_id} had {move.type} after {before}"
        before = move.type
    for kind in ("UPLOAD_PAUSED", "UPLOAD_RESUMED"):
        causes = [move.in_reply_to for move in moves if move.type == kind]
        for cause in {cause for cause in causes if causes.count(cause) > 1}:
            yield f"carried out twice: {cause} led to {causes.count(cause)} times {kind} of {file_id}"
    upload_ids = {move.payload["uploadId"] for move in moves if move.type == "UPLOAD_COMPLETE"}
    if len(upload_ids) > 1:
        yield f"carried out twice: {file_id} is complete under {len(upload_ids)} upload IDs"


def from_zero(file_id: str, sent: list[Sent]) -> Iterator[str]:
    """A lost 201 leaves an upload without bytes; two with bytes mean that the second one began anew."""
    begun = [one for one in sent if one.bytes]
    if len(begun) > 1:
        counts = ", ".join(str(one.bytes) for one in begun)
        yield f"started from zero: {file_id} was sent as {len(begun)} uploads ({counts} bytes)"
