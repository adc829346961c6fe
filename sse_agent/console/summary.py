"""What stays on the screen when the console is left."""

from datetime import datetime, timedelta

from rich.cells import cell_len
from rich.text import Text

from sse_agent.board import Board, Finished
from sse_agent.console import rows
from sse_agent.console.glyphs import Glyphs
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, duration

LAST_SHOWN = 5
LABEL = 10


def stopping(board: Board) -> Text:
    """What Ctrl-C began, and what a second one would do."""
    count = board.under_way_at_stop
    uploads = "1 upload" if count == 1 else f"{count:,} uploads"
    what = f"bringing {uploads} to a safe point" if count else "nothing is under way, the last messages go out"
    return Text(f"Stopping ({board.stopping}): {what}, within 10 s.\nCtrl-C again stops at once.")


def farewell(board: Board, at: datetime, now: float, width: int, glyphs: Glyphs) -> Text:
    """What happened since the start, what ended last, and what goes on at the next start."""
    room = max(8, width - LABEL - 4)
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"sse-agent {board.version}", "bold")
    text.append(rows.words(f" {board.client_id} {_ran(board, at, now)}", width - 10 - len(board.version), glyphs))
    last = [_item(item, room, glyphs) for item in list(board.finished)[: -LAST_SHOWN - 1 : -1]]
    titled = [("ended", _ended(board)), ("unfinished", _unfinished(board))]
    titled += [("" if number else "the last", line) for number, line in enumerate(last)]
    for title, line in titled:
        text.append(f"\n  {title:<{LABEL}}  ", "dim")
        text.append(rows.words(line, room, glyphs))
    return text


def _ran(board: Board, at: datetime, now: float) -> str:
    if board.started_at is None:
        return "did not start"
    ran_s = now - board.started_at
    began = rows.clock(at - timedelta(seconds=ran_s), at)
    return f"ran {duration(ran_s)} from {began}, {byte_count(board.totals.bytes_sent)} sent"


def _ended(board: Board) -> str:
    ended = board.totals.ended
    count = ended[UploadState.COMPLETE]
    complete = [f"{count:,} complete ({byte_count(board.totals.complete_bytes)})"] if count else []
    others = (f"{ended[state]:,} {state}" for state in ("failed", "cancelled", "rejected") if ended[state])
    return ", ".join([*complete, *others]) or "nothing"


def _unfinished(board: Board) -> str:
    """What is paused does not go on by itself."""
    states = (UploadState.UPLOADING, UploadState.WAITING, UploadState.QUEUED)
    counts = [(board.count(state), state) for state in states]
    going_on = ", ".join(f"{count:,} {state}" for count, state in counts if count)
    paused = board.count(UploadState.PAUSED)
    verb = "goes" if sum(count for count, _ in counts) == 1 else "go"
    parts = [f"{going_on}: {verb} on at the next start"] if going_on else []
    return "; ".join([*parts, *([f"{paused:,} paused"] if paused else [])]) or "nothing"


def _item(item: Finished, width: int, glyphs: Glyphs) -> str:
    if item.state == UploadState.COMPLETE:
        facts = f"  {byte_count(item.size)}  sha256 {item.sha256_head}"
        return rows.short_name(item.name, max(8, width - len(facts)), glyphs) + facts
    name = rows.short_name(item.name, max(8, width // 2), glyphs)
    head = f"{name}  " if item.reason.startswith(item.state) else f"{name}  {item.state}  ".rstrip()
    left = width - cell_len(head) - 2
    if not item.reason or left < 6:
        return head.rstrip()
    return head.rstrip() + "  " + rows.cause(item.reason, left, glyphs, more=item.why.removeprefix(item.reason))
