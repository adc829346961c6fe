"""The verdict: was each command carried out once, did each upload end as its history says, do the bytes agree?"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from scripts.crash_test_harness import uploads
from scripts.crash_test_harness.book import Sent
from scripts.crash_test_harness.ledger import Ending, Ledger, Message, Order

COMPLETED: Ending = ("completed", "")
NOT_FOUND: Ending = ("rejected", "NOT_FOUND")
WRONG_STATE: Ending = ("rejected", "WRONG_STATE")
TOO_LATE: Ending = ("failed", "WRONG_STATE")
CANCELLED: Ending = ("failed", "CANCELLED")
REPLIES = {"LIST_FILES": "FILE_LIST", "GET_STATUS": "CLIENT_STATUS", "MESSAGE": "MESSAGE"}

SentFor = Callable[[str], list[Sent]]


def judge(ledger: Ledger, names: list[str], sent_for: SentFor) -> list[str]:
    """Every complaint about what was reported. `names`: the files that a listing has to show, in order."""
    with ledger.condition:
        complaints = list(ledger.complaints)
        complaints += _endings(ledger)
        complaints += _answers(ledger, names)
        for file_id, orders in _histories(ledger).items():
            complaints += _upload(ledger, file_id, orders, sent_for(file_id))
    return complaints


def lost(ledger: Ledger) -> list[str]:
    """Commands that never came to an end."""
    return ledger.unanswered()


def doubled(ledger: Ledger) -> list[str]:
    """Commands with two different final acknowledgements."""
    return [command_id for command_id, finals in ledger.finals.items() if len(finals) > 1]


def poisoned(ledger: Ledger) -> list[str]:
    """Commands put aside because the agent died with each of them three times."""
    return [command_id for command_id in ledger.finals if ledger.is_poisoned(command_id)]


def _endings(ledger: Ledger) -> Iterator[str]:
    """Exactly one final ACK for each command, and none for anything else."""
    for command_id in lost(ledger):
        order = ledger.orders[command_id]
        how = "accepted, but never over" if command_id in ledger.accepted else "never acknowledged"
        yield f"lost: {order.type or 'a nameless command'} {command_id} was {how}"
    for command_id in doubled(ledger):
        endings = ", ".join(_words(ack.ending) for ack in ledger.finals[command_id])
        kind = ledger.orders[command_id].type if command_id in ledger.orders else "?"
        yield f"carried out twice: {kind} {command_id} has {len(ledger.finals[command_id])} final ACKs ({endings})"
    for command_id in ledger.finals.keys() - ledger.orders.keys():
        yield f"acknowledged, but never given: {command_id}"
    for order in ledger.orders.values():
        if order.expects is not None:
            yield from _compare(ledger, order, order.expects)


def _compare(ledger: Ledger, order: Order, expects: frozenset[Ending] | set[Ending]) -> Iterator[str]:
    """How it ended. To be put aside as POISON is right where the agent was killed with it often enough."""
    if ledger.is_poisoned(order.command_id):
        return
    for ack in ledger.finals.get(order.command_id, []):
        if ack.ending not in expects:
            wanted = " or ".join(sorted(_words(ending) for ending in expects))
            error = ack.payload.get("error") or {}
            kills = f" ({ledger.kills_of[order.command_id]} kills meanwhile)" if error.get("code") == "POISON" else ""
            found = _words(ack.ending) + kills
            yield f"{order.type} {order.command_id} ended {found}, not {wanted}: {error.get('message', '')}"


def _words(ending: Ending) -> str:
    return "/".join(filter(None, ending))


def _answers(ledger: Ledger, names: list[str]) -> Iterator[str]:
    """One reply for each question that was answered, and the right one."""
    for command_id, order in ledger.orders.items():
        if order.type not in REPLIES:
            continue
        replies = ledger.replies.get(command_id, [])
        if len(replies) > 1:
            yield f"carried out twice: {order.type} {command_id} has {len(replies)} replies"
        is_answered = any(ack.ending == COMPLETED for ack in ledger.finals.get(command_id, []))
        may_be_shown = order.type == "MESSAGE" and command_id in ledger.may_be_shown
        if is_answered and not replies and not may_be_shown:
            yield f"lost: the reply to {order.type} {command_id}"
        for reply in replies:
            if reply.type != REPLIES[order.type]:
                yield f"{order.type} {command_id} was answered by {reply.type}"
            elif order.type == "LIST_FILES" and [entry["name"] for entry in reply.payload["entries"]] != names:
                yield f"the listing for {command_id} does not show the files"


def _histories(ledger: Ledger) -> Mapping[str, list[Order]]:
    """The commands about each upload whose ends follow from each other, in the order in which they were given.

    What was put aside as POISON did nothing.
    """
    histories: dict[str, list[Order]] = defaultdict(list)
    for order in ledger.orders.values():
        if order.expects is None and not ledger.is_poisoned(order.command_id):
            histories[str(order.payload["fileId"])].append(order)
    for file_id in ledger.moves:
        histories.setdefault(file_id, [])
    return histories


def _upload(ledger: Ledger, file_id: str, orders: list[Order], sent: list[Sent]) -> Iterator[str]:
    moves = ledger.moves.get(file_id, [])
    yield from uploads.moves(file_id, moves)
    yield from uploads.refusals(file_id, moves, sent)
    yield from uploads.from_zero(file_id, sent)
    is_started = any(order.type == "UPLOAD_START" for order in orders)
    has_cancel = any(order.type == "UPLOAD_CANCEL" for order in orders)
    ends = [move for move in moves if move.is_end]
    if ends and not is_started:
        yield f"{file_id} was uploaded, but nobody asked for it"
    if is_started and not ends:
        yield f"lost: the end of {file_id}, which is {moves[-1].type if moves else 'unheard of'}"
        return
    if ends and ends[-1].type == "UPLOAD_CANCELLED" and not has_cancel:
        yield f"{file_id} was cancelled, but nobody asked for that"
    yield from _orders(
        ledger, orders, [_outcome(move) for move in moves if move.is_end or move.type == "UPLOAD_FAILED"]
    )


def _outcome(move: Message) -> Ending:
    """How a command that starts an upload is over when the upload is."""
    match move.type:
        case "UPLOAD_COMPLETE":
            return COMPLETED
        case "UPLOAD_CANCELLED":
            return CANCELLED
        case _:
            return "failed", str(move.payload["code"])


def _orders(ledger: Ledger, orders: list[Order], outcomes: list[Ending]) -> Iterator[str]:
    """How each of them may end, given what came before it and what became of the upload, time after time."""
    is_known = is_cancelled = False
    for order in orders:
        if order.type == "UPLOAD_START":
            # It is over when its upload first is; what came later may have found it revived.
            yield from _compare(ledger, order, set(outcomes) if is_known else set(outcomes[:1]))
            is_known = True
        elif order.type == "UPLOAD_CANCEL":
            is_cancelled = True
            won = outcomes[-1:] == [CANCELLED]
            yield from _compare(ledger, order, {COMPLETED} if won else {WRONG_STATE, TOO_LATE})
        elif not is_known:
            yield from _compare(ledger, order, {NOT_FOUND})
        else:
            may_be_over = is_cancelled or any(outcome != CANCELLED for outcome in outcomes)
            yield from _compare(ledger, order, {COMPLETED, WRONG_STATE} if may_be_over else {COMPLETED})
