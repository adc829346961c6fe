"""uploader → sender: how far each upload is. The latest wins; never durable; at most two reports a second each."""

import math
from dataclasses import dataclass
from datetime import datetime

from sse_agent.clock import timestamp
from sse_agent.lifecycle import UploadState
from sse_agent.messages import Name, UploadProgress

EVERY_S = 0.5
WAITING_EVERY_S = 30.0
RATE_OVER_S = 5.0


class Rate:
    """Bytes per second over about the last `RATE_OVER_S` seconds: an exponentially weighted mean."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._last: tuple[int, float] | None = None

    def note(self, count: int, now: float) -> None:
        """`count` bytes in all at this monotonic instant. Going back (a resume) is no negative rate."""
        last, self._last = self._last, (count, now)
        if last is None or now <= last[1]:
            return
        rate = max(0, count - last[0]) / (now - last[1])
        weight = 1 - math.exp(-(now - last[1]) / RATE_OVER_S)
        self._mean = rate if self._mean is None else self._mean + weight * (rate - self._mean)

    @property
    def per_second(self) -> int:
        """0 until there is something to say."""
        return round(self._mean or 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """Where an upload is now. Sizes in bytes, `rate` in bytes per second."""

    file_id: Name
    state: UploadState
    revision: int
    offset: int
    bytes_sent: int
    size: int
    rate: int = 0
    reason: str | None = None
    next_try_at: datetime | None = None


@dataclass(slots=True)
class _Row:
    reading: Reading
    n: int
    due_at: float
    is_fresh: bool
    reported_at: float = -math.inf


class ProgressTable:
    """The latest reading of every upload under way. Bounded by the uploads that run or wait."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def note(self, reading: Reading, now: float) -> None:
        """Replace what is known of that upload. A change of state is reported as soon as the pace allows."""
        row = self._rows.get(reading.file_id)
        if row is None:
            self._rows[reading.file_id] = _Row(reading, 0, now, is_fresh=True)
            return
        if row.reading.state is not reading.state:
            row.due_at = max(now, row.reported_at + EVERY_S)
        row.is_fresh = row.is_fresh or reading != row.reading
        row.reading = reading

    def drop(self, file_id: str) -> None:
        """It is over, paused or queued again: what there is to say goes out as an event of its own."""
        self._rows.pop(file_id, None)

    def take(self, now: float, limit: int) -> list[UploadProgress]:
        """What is to be reported at this monotonic instant."""
        due = [row for row in self._rows.values() if row.due_at <= now and (row.is_fresh or _is_waiting(row))]
        return [_report(row, now) for row in due[:limit]]

    def next_due_at(self) -> float | None:
        """When there will be something to report again."""
        return min((row.due_at for row in self._rows.values() if row.is_fresh or _is_waiting(row)), default=None)

    def rate(self) -> int:
        """Of all uploads together, in bytes per second."""
        return sum(row.reading.rate for row in self._rows.values() if row.reading.state is UploadState.UPLOADING)


def _is_waiting(row: _Row) -> bool:
    return row.reading.state is UploadState.WAITING


def _report(row: _Row, now: float) -> UploadProgress:
    reading = row.reading
    row.n += 1
    row.is_fresh = False
    row.reported_at = now
    row.due_at = now + (WAITING_EVERY_S if _is_waiting(row) else EVERY_S)
    left = max(0, reading.size - reading.bytes_sent)
    return UploadProgress(
        file_id=reading.file_id,
        state=reading.state,
        revision=reading.revision,
        n=row.n,
        offset=reading.offset,
        bytes_sent=reading.bytes_sent,
        file_size=reading.size,
        rate=reading.rate,
        eta_seconds=round(left / reading.rate) if reading.rate > 0 else None,
        reason=reading.reason,
        next_try_at=timestamp(reading.next_try_at) if reading.next_try_at else None,
    )
