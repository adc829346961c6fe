"""What stays on the screen when the console is left."""

from rich.text import Text

from sse_agent.board import Board, Finished
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, duration, printable, shortened, shortened_name

LAST_SHOWN = 5


def stopping(board: Board) -> Text:
    """What Ctrl-C began, and what a second one would do."""
    count = board.under_way_at_stop
    uploads = "1 upload" if count == 1 else f"{count:,} uploads"
    what = f"bringing {uploads} to a safe point" if count else "nothing is under way, the last messages go out"
    return Text(f"Stopping ({board.stopping}): {what}, within 10 s.\nCtrl-C again stops at once.")


def farewell(board: Board, now: float, width: int) -> Text:
    """What happened since the start, what finished last, and what goes on at the next start."""
    ran = duration(now - board.started_at) if board.started_at is not None else "0 s"
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"sse-agent {board.version}", "bold")
    text.append(f" {printable(board.client_id)} ran {ran}, {byte_count(board.totals.bytes_sent)} sent")
    last = [_item(item, width - 12) for item in list(board.finished)[: -LAST_SHOWN - 1 : -1]]
    titled = [("finished", _ended(board)), ("to go on", _unfinished(board))]
    titled += [("" if number else "last", line) for number, line in enumerate(last)]
    for title, line in titled:
        text.append(f"\n  {title:<8}  ", "dim")
        text.append(shortened(line, width - 12))
    return text


def _ended(board: Board) -> str:
    ended = board.totals.ended
    complete = f"{ended[UploadState.COMPLETE]:,} complete ({byte_count(board.totals.complete_bytes)})"
    return ", ".join(
        [complete, *(f"{ended[state]:,} {state}" for state in ("failed", "cancelled", "rejected") if ended[state])]
    )


def _unfinished(board: Board) -> str:
    states = (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED, UploadState.QUEUED)
    counts = [(board.count(state), state) for state in states]
    return ", ".join(f"{count:,} {state}" for count, state in counts if count) or "nothing"


def _item(item: Finished, width: int) -> str:
    name = printable(item.name)
    if item.state == UploadState.COMPLETE:
        facts = f"  {byte_count(item.size)}  sha256 {item.sha256_head}"
        return shortened_name(name, max(8, width - len(facts))) + facts
    facts = f"  {item.state}" + (f"  {printable(item.reason)}" if item.reason else "")
    return shortened_name(name, max(8, width // 2)) + facts
