"""One upload: do its reports follow from each other, and from what the relay did to it on its way?"""

from collections import Counter
from collections.abc import Iterator, Mapping

from scripts.crash_test_harness.book import Sent
from scripts.crash_test_harness.ledger import Message

BEFORE: Mapping[str, set[str | None]] = {
    "UPLOAD_PAUSED": {None, "UPLOAD_RESUMED"},
    "UPLOAD_RESUMED": {"UPLOAD_PAUSED", "UPLOAD_FAILED"},
    "UPLOAD_CANCELLED": {None, "UPLOAD_RESUMED", "UPLOAD_PAUSED", "UPLOAD_FAILED"},
    "UPLOAD_COMPLETE": {None, "UPLOAD_RESUMED"},
    "UPLOAD_FAILED": {None, "UPLOAD_RESUMED"},
}
"""Which move of an upload may come before which. Nothing comes after one that failed for good."""


def moves(file_id: str, moves: list[Message]) -> Iterator[str]:
    """The durable events of one upload follow the state table, and each of its commands moved it once."""
    before: Message | None = None
    for move in moves:
        kind = before.type if before else None
        if kind not in BEFORE[move.type] or (before and before.is_end):
            yield f"{file_id} had {move.type} after {kind}"
        before = move
    for kind in ("UPLOAD_PAUSED", "UPLOAD_RESUMED"):
        causes = [move.in_reply_to for move in moves if move.type == kind]
        for cause in {cause for cause in causes if causes.count(cause) > 1}:
            yield f"carried out twice: {cause} led to {causes.count(cause)} times {kind} of {file_id}"
    upload_ids = {move.payload["uploadId"] for move in moves if move.type == "UPLOAD_COMPLETE"}
    if len(upload_ids) > 1:
        yield f"carried out twice: {file_id} is complete under {len(upload_ids)} upload IDs"


def refusals(file_id: str, moves: list[Message], sent: list[Sent]) -> Iterator[str]:
    """A file that the tus server refused when it had all of it has failed, and nothing else has.

    Only an answer that may be lost can be taken for success, and only by the offset.
    """
    refused = {one.upload_id: one for one in sent if one.refused_with}
    failures = [move for move in moves if move.type == "UPLOAD_FAILED"]
    for move in failures:
        if move.payload["code"] != "SERVER_REFUSED":
            yield f"{file_id} failed: {move.payload['code']}, {move.payload['message']}"
    reported = Counter(bool(move.payload["retryable"]) for move in failures)
    if not reported <= Counter(one.refused_with >= 500 for one in refused.values()):
        words = "; ".join(str(move.payload["message"]) for move in failures)
        yield f"{file_id} failed {len(failures)} times, but was refused {len(refused)} times: {words}"
    for move in moves:
        one = refused.get(str(move.payload.get("uploadId")))
        if one is not None and one.is_refusal_taken:
            yield f"refused, and yet complete: {file_id}, whose last PATCH was answered {one.refused_with}"
        elif one is not None and move.payload["confirmation"] != "offset":
            yield f"refused, and yet complete by the response: {file_id}"
    taken = sum(one.is_refusal_taken for one in refused.values())
    # One that came while the upload was being cancelled is no more reported.
    if taken - any(move.type == "UPLOAD_CANCELLED" for move in moves) > len(failures):
        yield f"{file_id} was refused {taken} times, but failed {len(failures)} times"


def from_zero(file_id: str, sent: list[Sent]) -> Iterator[str]:
    """A lost 201 leaves an upload without bytes; two with bytes mean that the second one began anew.

    That is right only where the tus server has lost or refused the first one.
    """
    begun = [one for one in sent if one.bytes]
    in_vain = begun[:-1]
    if any(not one.is_void for one in in_vain):
        counts = ", ".join(str(one.bytes) for one in begun)
        yield f"started from zero: {file_id} was sent as {len(begun)} uploads ({counts} bytes)"


def in_the_window(moves: list[Message], sent: list[Sent]) -> bool:
    """Whether a refusal, whose answer may be lost, looks like success: the one place that the contract knows."""
    refused = {one.upload_id for one in sent if one.refused_with and not one.is_refusal_taken}
    return any(move.type == "UPLOAD_COMPLETE" and move.payload["uploadId"] in refused for move in moves)
