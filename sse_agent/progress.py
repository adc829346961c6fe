"""uploader → sender: how far each upload is. The latest wins; never durable; at most two reports a second each."""

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from sse_agent.clock import timestamp
from sse_agent.lifecycle import UploadState
from sse_agent.messages import Name, UploadProgress

EVERY_S = 0.5
MOST_PER_S = 20
"""Reports of all uploads together: of ten each is told twice a second, of twenty once."""
WAITING_EVERY_S = 30.0
WINDOW_S = 10.0
LONGEST_WINDOW_S = 60.0
BURST_S = 1.0
STEADY_OVER_S = 15.0
ANSWERED_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What a rate is not measured by."""

    seconds: float = 0.0
    count: int = 0


class Rate:
    """Bytes per second over the last `WINDOW_S` seconds, 0 once none went out for so long; and the seconds left.

    Bytes go out in blocks: where one takes long, the window is as long as a few of them take. The first bytes of each
    request only fill the buffers on the way, and at its end there may be nothing left to do but to wait for the answer:
    both are left out, time and bytes. A request of which little else is left counts as a whole once it is answered.
    """

    def __init__(self) -> None:
        # Instants at which the count had grown, and what it was then; the first one is what the rate is measured from.
        self._steps: deque[tuple[float, int]] = deque()
        self._noted_at = -math.inf
        self._stepped_at = self._gap_s = 0.0
        self._burst_until: float | None = None
        self._is_settled = False
        self._is_still = True
        self._pace: float | None = None
        self._paced_s = 0.0
        self._at, self._count = -math.inf, 0
        self._left_out = self._before_request = _LeftOut()
        self._request_at, self._began_at = 0, -math.inf
        self._is_first = True
        self._unanswered_since: float | None = None

    def note(self, count: int, now: float, *, request_at: int = 0, is_unanswered: bool = False) -> None:
        """`count` bytes in all went out until this monotonic instant.

        `request_at`: how many before the request that is under way; `is_unanswered`: all of it is sent.
        """
        if now <= self._noted_at:
            return
        passed, self._noted_at = now - self._noted_at, now
        if not self._steps or count < self._count:
            self.restart(count, now)
        if request_at != self._request_at:
            self._next_request(request_at, now)
            self._unanswered_since = None
        grown, self._count = count - self._count, count
        if is_unanswered != (self._unanswered_since is not None):
            self._unanswered_since = now if is_unanswered else None
        if is_unanswered or (not self._is_first and now <= self._began_at + BURST_S):
            self._left_out = _LeftOut(self._left_out.seconds + passed, self._left_out.count + grown)
            return
        self._measure(count - self._left_out.count, now - self._left_out.seconds)
        self._steady(passed)

    def restart(self, count: int, now: float) -> None:
        """The tus server was asked where it is: what was measured before says nothing about what comes."""
        self._left_out = self._before_request = _LeftOut()
        self._count, self._began_at, self._is_first = count, now, True
        self._unanswered_since = None
        self._begin(count, now)

    def _begin(self, count: int, now: float) -> None:
        self._at = now
        self._steps = deque([(now, count)])
        self._burst_until = None
        self._is_settled, self._is_still = False, True

    def _next_request(self, request_at: int, now: float) -> None:
        """The one before it was answered: if little of it was measured, it counts as a whole."""
        before, length = self._before_request, request_at - self._request_at
        if 0 < length < 2 * (self._left_out.count - before.count) or (length > 0 and not self._is_settled):
            began_at = self._began_at - before.seconds
            while len(self._steps) > 1 and self._steps[-1][0] > began_at:
                self._steps.pop()
            self._left_out = before
            self._is_settled = True
            self._measure(request_at - before.count, now - before.seconds)
            self._steady(now - self._began_at)
        self._before_request, self._request_at, self._began_at = self._left_out, request_at, now
        self._is_first = False

    def _measure(self, count: int, now: float) -> None:
        """`count` and `now` are without what is left out."""
        self._at = now
        if count > self._steps[-1][1]:
            self._step(count, now)
        self._look_back(count, now)

    def _step(self, count: int, now: float) -> None:
        if self._burst_until is None:
            self._burst_until = now + BURST_S
        self._gap_s, self._stepped_at = now - self._stepped_at, now
        self._steps.append((now, count))
        self._is_still = False

    def _look_back(self, count: int, now: float) -> None:
        """Forget what is older than the window, and the burst at the beginning."""
        if not self._is_settled and self._burst_until is not None and now >= self._burst_until + BURST_S:
            self._is_settled = True
            self._forget(self._burst_until)
        since = now - min(LONGEST_WINDOW_S, max(WINDOW_S, 3 * self._gap_s))
        self._forget(since)
        if self._is_still or self._steps[-1][0] <= since:
            # Time in which nothing went out at all is no slowness of what comes after it.
            self._begin(count, now)

    def _forget(self, until: float) -> None:
        while len(self._steps) > 1 and self._steps[1][0] <= until:
            self._steps.popleft()

    def _steady(self, passed: float) -> None:
        if self._is_still or not self._is_settled or self._at - self._steps[0][0] < 2 * BURST_S:
            return
        if self._pace is None:
            self._pace, self._paced_s = self._now, 1.0
            return
        # At first a plain mean, so that the first second does not weigh more than the others.
        self._paced_s += passed
        weight = max(passed / self._paced_s, 1 - math.exp(-passed / STEADY_OVER_S))
        self._pace += weight * (self._now - self._pace)

    @property
    def _now(self) -> float:
        if self._is_still:
            return 0.0
        (since, before), (_, count) = self._steps[0], self._steps[-1]
        # Of less than a second nobody can tell a rate.
        return (count - before) / max(1.0, self._at - since)

    @property
    def per_second(self) -> int:
        """0 until there is something to say, and while nothing moves."""
        return 0 if self._is_only_waiting else round(self._now)

    @property
    def _is_only_waiting(self) -> bool:
        """Whether nothing is sent because an answer is waited for; most come at once."""
        return self._unanswered_since is not None and self._noted_at - self._unanswered_since >= ANSWERED_WITHIN_S

    def left_s(self, left: int) -> int | None:
        """Seconds until so many bytes are out, by a steadier mean than the rate; None while nobody can tell."""
        if self._is_still or self._is_only_waiting or self._pace is None or self._pace < 1:
            return None
        return round(left / self._pace)


@dataclass(frozen=True, slots=True)
class Reading:
    """Where an upload is now. Sizes in bytes, `rate` in bytes per second, `left_s` None while nobody can tell."""

    file_id: Name
    state: UploadState
    revision: int
    offset: int
    bytes_sent: int
    size: int
    rate: int = 0
    left_s: int | None = None
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
    """The latest reading of every upload under way. Bounded by the uploads that run or wait.

    They are taken together, not each at its own moment: twenty uploads would else cost twenty requests where two do.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._opens_at = -math.inf

    def note(self, reading: Reading, now: float) -> None:
        """Replace what is known of that upload. Another state or next try is told as soon as the pace allows."""
        row = self._rows.get(reading.file_id)
        if row is None:
            self._rows[reading.file_id] = _Row(reading, 0, now, is_fresh=True)
            return
        if row.reading.state is not reading.state or row.reading.next_try_at != reading.next_try_at:
            row.due_at = max(now, row.reported_at + EVERY_S)
        row.is_fresh = row.is_fresh or reading != row.reading
        row.reading = reading

    def find(self, file_id: str) -> Reading | None:
        """The latest reading of that upload, if it runs or waits."""
        row = self._rows.get(file_id)
        return None if row is None else row.reading

    def drop(self, file_id: str) -> None:
        """It is over, paused or queued again: what there is to say goes out as an event of its own."""
        self._rows.pop(file_id, None)

    def take(self, now: float, limit: int) -> list[UploadProgress]:
        """What is to be reported at this monotonic instant; nothing for a while after all of it was."""
        if now < self._opens_at:
            return []
        due = [row for row in self._rows.values() if row.due_at <= now and (row.is_fresh or _is_waiting(row))]
        if 0 < len(due) <= limit:
            self._opens_at = now + max(EVERY_S, len(due) / MOST_PER_S)
        return [_report(row, now) for row in due[:limit]]

    def next_due_at(self) -> float | None:
        """When there will be something to report again."""
        due = [row.due_at for row in self._rows.values() if row.is_fresh or _is_waiting(row)]
        return max(self._opens_at, min(due)) if due else None

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
    return UploadProgress(
        file_id=reading.file_id,
        state=reading.state,
        revision=reading.revision,
        n=row.n,
        offset=reading.offset,
        bytes_sent=reading.bytes_sent,
        file_size=reading.size,
        rate=reading.rate,
        eta_seconds=reading.left_s,
        reason=reading.reason,
        next_try_at=timestamp(reading.next_try_at) if reading.next_try_at else None,
    )
