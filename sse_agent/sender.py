"""outbox → REST: every message at least once, in order within an upload; one that is refused blocks nothing."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

import anyio

from sse_agent.clock import Clock
from sse_agent.errors import NotAllowedNow, Parked, TryAgain
from sse_agent.events import Feed, JournalTrouble, MessageBuried, SenderHeldUp
from sse_agent.journal import Bell, Journal, outbox
from sse_agent.journal.outbox import Outgoing
from sse_agent.messages import (
    BATCH_BYTES_LIMIT,
    BATCH_COUNT_LIMIT,
    Envelope,
    EnvelopeBytes,
    EventType,
    event,
)
from sse_agent.parking import Parking
from sse_agent.progress import ProgressTable
from sse_agent.retry import NOT_ALLOWED_NOW, NOT_NOW, Backoff
from sse_agent.transport import BatchRefused, Verdict

IDLE_S = 60.0
BACKLOG_S = 2.5
HALVINGS = BATCH_COUNT_LIMIT.bit_length()
"""After so many failed POSTs in a row a batch is down to one message."""
_ENVELOPE_ROOM = 64
_VOLATILE_ROOM = 128 * 1024

Batch = list[tuple[str, EnvelopeBytes]]
Post = Callable[[Batch], Awaitable[list[Verdict]]]


@dataclass(slots=True)
class _Hold:
    """A lane that waits: its first message was answered with trouble `failures` times."""

    failures: int
    until: float


@dataclass(slots=True)
class _Lanes:
    """Which lanes wait. `n` of the retry rule belongs to the message, that is to the head of its lane.

    `retry_at`: while one POST after the other fails, what failed before is not tried again until then. What is new is
    held up by nobody: one message that breaks the other end must not stop the rest. But after more failures in a row
    than halving can ask for (`is_for_all`) it is no message's doing: thousands of lanes would go out one by one.
    """

    holds: dict[str, _Hold] = field(default_factory=dict)
    retry_at: float = 0.0
    is_for_all: bool = False

    def are_held(self, now: float) -> int:
        return sum(not self.is_free(lane, now) for lane in self.holds)

    def is_free(self, lane: str, now: float) -> bool:
        hold = self.holds.get(lane)
        if hold is None:
            return not self.is_for_all or self.retry_at <= now
        return max(hold.until, self.retry_at) <= now

    def hold(self, lane: str, now: float, backoff: Backoff = NOT_NOW) -> None:
        failures = self.holds[lane].failures if lane in self.holds else 0
        self.holds[lane] = _Hold(failures + 1, now + backoff.wait_s(failures))

    def free(self, now: float) -> None:
        """All may try again; how often each failed is remembered."""
        self.get_through()
        for hold in self.holds.values():
            hold.until = min(hold.until, now)

    def get_through(self) -> None:
        """A POST was answered as it should be."""
        self.retry_at, self.is_for_all = 0.0, False

    def release(self, lane: str) -> None:
        self.holds.pop(lane, None)

    def next_free_at(self, now: float) -> float | None:
        due = [max(hold.until, self.retry_at) for hold in self.holds.values()]
        if self.is_for_all:
            due.append(self.retry_at)
        return min((at for at in due if at > now), default=None)


class Sender:
    """One loop, one POST at a time, batched when there is more than one message to send."""

    def __init__(
        self,
        post: Post,
        journal: Journal,
        feed: Feed,
        clock: Clock,
        parking: Parking,
        bell: Bell,
        progress: ProgressTable,
        *,
        client_id: str,
    ) -> None:
        self._post = post
        self._journal = journal
        self._feed = feed
        self._clock = clock
        self._parking = parking
        self._bell = bell
        self._progress = progress
        self._client_id = client_id
        self._lanes = _Lanes()
        self._has_greeted = False
        self._greeting: Envelope | None = None
        self._greeting_failures = 0
        self._greet_at = 0.0
        self._status: Envelope | None = None
        self._failures = 0
        self._quiet_until = 0.0
        self._batch_limit = BATCH_COUNT_LIMIT

    def hush(self) -> None:
        """A new connection: nothing goes out before its greeting."""
        self._has_greeted = False
        self._greeting = None

    def announce(self, greeting: Envelope) -> None:
        """CLIENT_CONNECTED of a new connection: it goes first, and until it is received nothing else goes."""
        self.hush()
        self._greeting = greeting
        self._greeting_failures, self._greet_at = 0, 0.0
        self._bell.ring()

    def publish(self, status: Envelope) -> None:
        """The latest CLIENT_STATUS; one that was not sent yet is replaced."""
        self._status = status
        self._bell.ring()

    async def run(self) -> None:
        """For ever. A journal that can't be written is waited for."""
        failures = 0
        while True:
            await self._parking.until_left()
            try:
                wait_s = await self._step()
            except TryAgain as trouble:
                self._feed.emit(JournalTrouble(reason=trouble.reason))
                await self._clock.sleep(NOT_NOW.wait_s(failures))
                failures += 1
                continue
            failures = 0
            if wait_s > 0:
                await self._bell.wait(wait_s)

    async def drain(self, farewell: Envelope) -> None:
        """At the end: once more whatever waits, then the farewell, as far as it gets. The caller sets the deadline."""
        self._failures = 0
        # A long queue goes on after the next start; that we leave can only be said now.
        with anyio.move_on_after(BACKLOG_S), suppress(TryAgain):
            if self._greeting is not None and self._may_speak():
                await self._greet(self._greeting)
            while self._has_greeted and self._may_speak() and await self._send_some():
                pass
        if self._has_greeted and self._may_speak():
            with suppress(TryAgain):
                await self._post([(farewell.id, farewell.encode())])

    def _may_speak(self) -> bool:
        """Whether there is any use in sending, at the end."""
        is_quiet = self._quiet_until > self._clock.monotonic()
        return self._failures == 0 and not (self._parking.is_parked or is_quiet)

    async def _step(self) -> float:
        """Send what can be sent. Returns the seconds after which there may be more, 0 for at once."""
        now = self._clock.monotonic()
        if self._quiet_until > now:
            return self._quiet_until - now
        if self._has_greeted:
            return 0.0 if await self._send_some() else self._idle_s()
        if self._greeting is None:
            return IDLE_S
        if self._greet_at > now:
            return self._greet_at - now
        await self._greet(self._greeting)
        return 0.0

    def _idle_s(self) -> float:
        now = self._clock.monotonic()
        report_at = self._progress.next_due_at()
        due = [
            self._lanes.next_free_at(now),
            None if report_at is None else max(report_at, self._lanes.retry_at),
            self._lanes.retry_at if self._lanes.retry_at > now else None,
        ]
        return max(0.05, min([IDLE_S, *(at - now for at in due if at is not None)]))

    async def _greet(self, greeting: Envelope) -> None:
        answer = await self._try([(greeting.id, greeting.encode())], self._greeting_failures)
        if greeting is not self._greeting or isinstance(answer, Parked):
            return
        if isinstance(answer, TryAgain):
            await self._greet_later(answer)
        elif answer[0].is_recorded or answer[0].refusal is not None:
            if answer[0].refusal is not None:
                self._feed.emit(MessageBuried(greeting.id, greeting.type, answer[0].refusal))
            self._has_greeted, self._greeting = True, None
            # Whatever kept messages from it before: it listens now. What it asked for by Retry-After still holds.
            self._failures = 0
            self._lanes.free(self._clock.monotonic())
        else:
            await self._greet_later(TryAgain("the greeting is being recorded by an earlier request"))

    async def _greet_later(self, trouble: TryAgain) -> None:
        wait_s = _backoff(trouble).wait_s(self._greeting_failures)
        self._greeting_failures += 1
        self._greet_at = self._clock.monotonic() + wait_s
        await self._tell(trouble, wait_s)

    async def _send_some(self) -> bool:
        """One batch: what is durable first, the latest of the rest with it. False if there was nothing."""
        now = self._clock.monotonic()
        heads = await self._journal.read(outbox.heads, BATCH_COUNT_LIMIT + self._lanes.are_held(now))
        if not self._has_greeted:
            # A new connection came meanwhile.
            return True
        durable = _fitting([head for head in heads if self._lanes.is_free(head.lane, now)], self._batch_limit)
        status, reports = self._volatile(now, self._batch_limit - len(durable))
        batch = [(head.message_id, head.body) for head in durable]
        batch += [(envelope.id, envelope.encode()) for envelope in [*status, *reports]]
        # What falls off at the end is progress; there will be more of it.
        batch = batch[: _count_within(BATCH_BYTES_LIMIT, [body for _, body in batch])]
        if not batch:
            return False
        answer = await self._try(batch, self._failures)
        if isinstance(answer, Parked):
            return True
        if isinstance(answer, TryAgain):
            # It may be one of them that is too large, malformed or breaks the other end: halve until it stands alone.
            self._batch_limit = max(1, len(batch) // 2)
        if isinstance(answer, BatchRefused):
            self._forget(status)
        elif isinstance(answer, TryAgain):
            await self._put_off(durable, answer)
        else:
            self._failures = 0
            self._lanes.get_through()
            self._batch_limit = min(BATCH_COUNT_LIMIT, self._batch_limit * 2)
            self._forget(status)
            await self._settle(durable, answer[: len(durable)])
        return True

    def _volatile(self, now: float, room: int) -> tuple[list[Envelope], list[Envelope]]:
        """Status and progress: not durable, the latest wins. They are no reason to try again what fails."""
        if room <= 0 or self._lanes.retry_at > now:
            return [], []
        status = [self._status] if self._status is not None else []
        at = self._clock.now()
        reports = [
            event(EventType.UPLOAD_PROGRESS, reading, client_id=self._client_id, at=at)
            for reading in self._progress.take(now, room - len(status))
        ]
        return status, reports

    def _forget(self, status: list[Envelope]) -> None:
        """It was sent, unless a later one came meanwhile."""
        if self._status in status:
            self._status = None

    async def _try(self, batch: Batch, failures: int) -> list[Verdict] | TryAgain:
        """One POST. Trouble comes back as a value; an order to keep silent is followed at once."""
        try:
            return await self._post(batch)
        except TryAgain as trouble:
            if isinstance(trouble, Parked):
                self._parking.park(trouble.reason)
            elif trouble.retry_after_s is not None:
                wait_s = NOT_NOW.wait_s(failures, at_least_s=trouble.retry_after_s)
                self._quiet_until = self._clock.monotonic() + wait_s
            return trouble

    async def _put_off(self, durable: list[Outgoing], trouble: TryAgain) -> None:
        """Not now. The lanes of a batch come back at different times, and part from the one that is to blame."""
        now, backoff = self._clock.monotonic(), _backoff(trouble)
        for head in durable:
            self._lanes.hold(head.lane, now, backoff)
        wait_s = backoff.wait_s(self._failures)
        self._failures += 1
        self._lanes.retry_at = now + wait_s
        self._lanes.is_for_all = self._failures > HALVINGS
        await self._tell(trouble, wait_s)

    async def _tell(self, trouble: TryAgain, wait_s: float) -> None:
        pending = (await self._journal.read(outbox.counts)).get("pending", 0)
        wait_s = max(wait_s, self._quiet_until - self._clock.monotonic())
        self._feed.emit(SenderHeldUp(reason=trouble.reason, wait_s=wait_s, pending=pending))

    async def _settle(self, sent: list[Outgoing], verdicts: list[Verdict]) -> None:
        recorded = []
        for message, verdict in zip(sent, verdicts, strict=True):
            if verdict.is_recorded:
                recorded.append(message.message_id)
                self._lanes.release(message.lane)
            elif verdict.refusal is not None:
                await self._journal.write(outbox.bury, message.message_id, verdict.refusal)
                self._lanes.release(message.lane)
                self._feed.emit(MessageBuried(message.message_id, message.type, verdict.refusal))
            else:
                self._lanes.hold(message.lane, self._clock.monotonic())
        # A crash before the next line sends them twice; their IDs make that
        # harmless. The reverse order would lose them.
        if recorded:
            await self._journal.write(outbox.forget, recorded)


def _backoff(trouble: TryAgain) -> Backoff:
    return NOT_ALLOWED_NOW if isinstance(trouble, NotAllowedNow) else NOT_NOW


def _fitting(heads: list[Outgoing], limit: int) -> list[Outgoing]:
    """As many as a batch may hold, leaving room for status and progress: a long queue must not silence them."""
    room = limit - limit // 10
    return heads[: min(room, _count_within(BATCH_BYTES_LIMIT - _VOLATILE_ROOM, [head.body for head in heads]))]


def _count_within(limit: int, bodies: list[EnvelopeBytes]) -> int:
    """How many of the first fit into so many bytes."""
    sizes = accumulate(len(body) + _ENVELOPE_ROOM for body in bodies)
    return sum(size <= limit for size in sizes)
