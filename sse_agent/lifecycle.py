"""The transition tables of command, upload and delivery. All of them; the diagrams in the docs are drawn from here."""

from collections.abc import Mapping
from enum import StrEnum


class CommandState(StrEnum):
    """Where a command in the inbox is."""

    RECEIVED = "received"
    OPEN = "open"
    FINISHED = "finished"


class UploadState(StrEnum):
    """Where an upload is; these words go over the wire."""

    QUEUED = "queued"
    UPLOADING = "uploading"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class UploadSignal(StrEnum):
    """What can happen to an upload."""

    START = "start"
    TROUBLE = "trouble"
    DISPLACE = "displace"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    CONFIRM = "confirm"
    GIVE_UP = "give up"


class Wish(StrEnum):
    """What people want of an upload; durable, and stronger than what is going on."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class DeliveryState(StrEnum):
    """Where a message in the outbox is."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


COMMAND: Mapping[CommandState, frozenset[CommandState]] = {
    CommandState.RECEIVED: frozenset({CommandState.OPEN, CommandState.FINISHED}),
    # Back to `received` at a start: what was being done aside when the process ended is done again.
    CommandState.OPEN: frozenset({CommandState.FINISHED, CommandState.RECEIVED}),
    CommandState.FINISHED: frozenset(),
}

UPLOAD: Mapping[UploadState, Mapping[UploadSignal, UploadState]] = {
    UploadState.QUEUED: {
        UploadSignal.START: UploadState.UPLOADING,
        UploadSignal.PAUSE: UploadState.PAUSED,
        UploadSignal.CANCEL: UploadState.CANCELLED,
    },
    UploadState.UPLOADING: {
        UploadSignal.TROUBLE: UploadState.WAITING,
        UploadSignal.DISPLACE: UploadState.QUEUED,
        UploadSignal.PAUSE: UploadState.PAUSED,
        UploadSignal.CANCEL: UploadState.CANCELLED,
        UploadSignal.CONFIRM: UploadState.COMPLETE,
        UploadSignal.GIVE_UP: UploadState.FAILED,
    },
    UploadState.WAITING: {
        UploadSignal.START: UploadState.UPLOADING,
        UploadSignal.PAUSE: UploadState.PAUSED,
        UploadSignal.CANCEL: UploadState.CANCELLED,
    },
    UploadState.PAUSED: {
        UploadSignal.RESUME: UploadState.QUEUED,
        UploadSignal.CANCEL: UploadState.CANCELLED,
    },
    # Out of `failed` only while the failure is retryable; the dispatcher looks at that.
    UploadState.FAILED: {
        UploadSignal.RESUME: UploadState.QUEUED,
        UploadSignal.CANCEL: UploadState.CANCELLED,
    },
    UploadState.COMPLETE: {},
    UploadState.CANCELLED: {},
}

DELIVERY: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENT, DeliveryState.DEAD}),
    DeliveryState.SENT: frozenset({DeliveryState.PENDING}),
    DeliveryState.DEAD: frozenset({DeliveryState.PENDING}),
}

UNFINISHED = frozenset({UploadState.QUEUED, UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED})


def after(state: UploadState, signal: UploadSignal) -> UploadState:
    """The state that `signal` leads to. Raises ValueError where the table has no such arrow: that is a bug."""
    try:
        return UPLOAD[state][signal]
    except KeyError:
        raise ValueError(f"an upload that is {state} can't take the signal {signal}") from None
