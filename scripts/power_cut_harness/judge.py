"""When everything is done: was each command carried out once, and did each upload arrive whole?"""

from collections.abc import Callable, Iterator, Mapping

from scripts.power_cut_harness.errors import read_tables
from scripts.power_cut_harness.world import Facts, Given

REPLIES = {"LIST_FILES": "FILE_LIST", "GET_STATUS": "CLIENT_STATUS", "MESSAGE": "MESSAGE"}
OPEN_STATES = {"queued", "uploading", "waiting", "paused", "failed"}

Content = Callable[[str], bytes]


def verdict(facts: Facts, content: Content, files: Mapping[str, bytes]) -> Iterator[str]:
    """Every complaint. `content`: the bytes of an upload's file; `files`: the journal that the agent left."""
    yield from facts.complaints
    for command_id, given in facts.commands.items():
        ack = facts.finals.get(command_id)
        if ack is None:
            yield f"lost: {given.type} {command_id} has no final ACK"
        elif ack.ending not in _expected(facts, given):
            yield f"{given.type} {command_id} ended {ack.ending}"
        if given.type in REPLIES:
            replies = [reply.type for reply in facts.replies.get(command_id, [])]
            if replies != [REPLIES[given.type]]:
                yield f"{given.type} {command_id} has the replies {replies}"
    for file_id in facts.started():
        yield from _upload(facts, file_id, content(file_id))
    yield from _rest(files)


def _expected(facts: Facts, given: Given) -> set[str]:
    file_id = str(given.payload.get("fileId", ""))
    if file_id.startswith("missing"):
        return {"rejected NOT_FOUND"}
    if file_id.startswith("early"):
        return {"completed"} if given.type == "UPLOAD_CANCEL" else {"rejected CANCELLED"}
    if given.type == "UPLOAD_START":
        return {
            "completed"
            if facts.moves[file_id][-1:] and _end(facts, file_id) == "UPLOAD_COMPLETE"
            else "failed CANCELLED"
        }
    if given.type == "UPLOAD_CANCEL":
        is_complete = _end(facts, file_id) == "UPLOAD_COMPLETE"
        return {"rejected WRONG_STATE", "failed WRONG_STATE"} if is_complete else {"completed"}
    return {"completed", "rejected WRONG_STATE"} if file_id else {"completed"}


def _end(facts: Facts, file_id: str) -> str:
    moves = facts.moves.get(file_id, [])
    return moves[-1].type if moves else ""


def _upload(facts: Facts, file_id: str, content: bytes) -> Iterator[str]:
    moves = facts.moves.get(file_id, [])
    ends = [move.type for move in moves if move.type in ("UPLOAD_COMPLETE", "UPLOAD_CANCELLED", "UPLOAD_FAILED")]
    if len(ends) != 1 or ends == ["UPLOAD_FAILED"]:
        yield f"{file_id} has the outcomes {ends}"
    begun = [one for one in facts.uploads.values() if one.file_id == file_id and one.sent]
    if len(begun) > 1:
        yield f"started from zero: {file_id} was sent as {len(begun)} uploads"
    if ends == ["UPLOAD_COMPLETE"]:
        named = facts.uploads.get(moves[-1].payload["uploadId"])
        if named is None or bytes(named.data) != content:
            yield f"the bytes of {file_id} are not those of its file"


def _rest(files: Mapping[str, bytes]) -> Iterator[str]:
    """Nothing is left to be done in the journal either."""
    tables = read_tables(files)
    for table, states in (("inbox", {"received", "open"}), ("uploads", OPEN_STATES), ("outbox", {"pending", "dead"})):
        left = [row for row in tables[table] if states.intersection(value for value in row if isinstance(value, str))]
        if left:
            yield f"left in {table}: {str(left[0])[:200]}"
    if tables["terminations"]:
        yield f"left to be deleted on the tus server: {len(tables['terminations'])} uploads"
