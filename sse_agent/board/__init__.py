"""The model of what is shown: a pure fold of the feed's events, without a terminal, a clock or a lock.

Every event costs the same however long the queue is, and memory is bounded: what there is no room for is only counted.
Names and words are as they came; whoever shows them makes them printable.
"""

from sse_agent.board.fold import BURST_S, CHAT_KEPT, FINISHED_KEPT, GRACE_S, NAME_LIMIT, Board
from sse_agent.board.registry import FAILED_KEPT, KNOWN_LIMIT, LISTED, Queue
from sse_agent.board.shown import (
    CONFIRMING_AFTER_S,
    STALLED_AFTER_S,
    Connection,
    Finished,
    Line,
    Totals,
    Trouble,
    Unnamed,
    Upload,
)

__all__ = [
    "BURST_S",
    "CHAT_KEPT",
    "CONFIRMING_AFTER_S",
    "FAILED_KEPT",
    "FINISHED_KEPT",
    "GRACE_S",
    "KNOWN_LIMIT",
    "LISTED",
    "NAME_LIMIT",
    "STALLED_AFTER_S",
    "Board",
    "Connection",
    "Finished",
    "Line",
    "Queue",
    "Totals",
    "Trouble",
    "Unnamed",
    "Upload",
]
