"""outbox → REST: every message at least once, in order within an upload; one that is refused blocks nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sse_agent.clock import Clock
from sse_agent.errors import NotAllowedNow, Parked, TryAgain
from sse_agent.events import Feed, MessageBuried, SenderHeldUp
from sse_agent.journal import Bell, Journal, outbox
from sse_agent.journal.outbox import Outgoing
from sse_agent.messages import (
    BATCH_BYTES_LIMIT,
    BATCH_COUNT_LIMIT,
    EVENT_LIMIT,
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
_ENVELOPE_ROOM = 64

Post = Callable[[list[tuple[str, EnvelopeBytes]]], Awaitable[list[Verdict]]]


@dataclass(slots=True)
class _Hold:
    """A lane that waits: its first message was answered with trouble `failures` times."""

    failures: int
    until: float


@dataclass(slots=True)
class _Lanes:
    """Which lanes wait. `n` of the retry rule belongs to the message, that is to the head of its lane."""

    holds: dict[str, _Hold] = field(default_factory=dict)

    def are_held(self, now: float) -> int:
        return sum(hold.until > now for hold in self.holds.values())

    def is_free(self, lane: str, now: float) -> bool:
        hold = self.holds.get(lane)
        return hold is None or hold.until <= now

    def hold(self, lane: str, now: float, backoff: Backoff = NOT_NOW) -> None:
        failures = self.holds[lane].failures if lane in self.holds else 0
        self.holds[lane] = _Hold(failures + 1, now + backoff.wait_s(failures))

    def release(self, lane: str) -> None:
        self.holds.pop(lane, None)

    def next_free_at(self, now: float) -> float | None:
        return min((hold.until for hold in self.holds.values() if hold.until > now), default=None)


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
        self._greeting: Envelope | None = None
        self._has_greeted = False
        self._status: Envelope | None = None
        self._failures = 0
        self._batch_limit = BATCH_COUNT_LIMIT

    def announce(self, greeting: Envelope) -> None:
        """CLIENT_CONNECTED of a new connection: it goes first, and until it is received nothing else goes."""
        self._greeting = greeting
        self._bell.ring()

    def publish(self, status: Envelope) -> None:
        """The latest CLIENT_STATUS; one that was not sent yet is replaced."""
        self._status = status
        self._bell.ring()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._parking.until_left()
            wait_s = await self._step()
            if wait_s > 0:
                await self._bell.wait(wait_s)

    async def drain(self, farewell: Envelope) -> None:
        """At the end: once more whatever waits, then the farewell, as far as it gets. The caller sets the deadline."""
        if self._parking.is_parked or not self._has_greeted:
            return
        try:
            while await self._send_some() and not self._lanes.holds:
                pass
            await self._post([(farewell.id, farewell.encode())])
        except TryAgain:
            return

    async def _step(self) -> float:
        """Send what can be sent. Returns the seconds after which there may be more, 0 for at once."""
        try:
            if self._greeting is not None:
                await self._greet(self._greeting)
            elif not self._has_greeted:
                return IDLE_S
            has_sent = await self._send_some()
        except Parked as order:
            self._parking.park(order.reason)
            return 0.0
        except TryAgain as later:
            await self._quiet(later)
            return 0.0
        self._failures = 0
        return 0.0 if has_sent else self._idle_s()

    async def _quiet(self, later: TryAgain) -> None:
        """Nothing gets through at present: every POST waits."""
        backoff = NOT_ALLOWED_NOW if isinstance(later, NotAllowedNow) else NOT_NOW
        wait_s = backoff.wait_s(self._failures, at_least_s=later.retry_after_s)
        self._failures += 1
        pending = (await self._journal.read(outbox.counts)).get("pending", 0)
        self._feed.emit(SenderHeldUp(reason=later.reason, wait_s=wait_s, pending=pending))
        await self._clock.sleep(wait_s)

    def _idle_s(self) -> float:
        now = self._clock.monotonic()
        due = [at for at in (self._progress.next_due_at(), self._lanes.next_free_at(now)) if at is not None]
        return max(0.05, min([IDLE_S, *(at - now for at in due)]))

    async def _greet(self, greeting: Envelope) -> None:
        verdict = (await self._post([(greeting.id, greeting.encode())]))[0]
        if verdict.refusal is not None:
            self._feed.emit(MessageBuried(greeting.id, greeting.type, verdict.refusal))
        self._has_greeted = True
        if self._greeting is greeting:
            self._greeting = None

    async def _send_some(self) -> bool:
        """One batch: what is durable first, the latest of the rest with it. False if there was nothing."""
        now = self._clock.monotonic()
        heads = await self._journal.read(outbox.heads, BATCH_COUNT_LIMIT + self._lanes.are_held(now))
        durable = _fitting([head for head in heads if self._lanes.is_free(head.lane, now)], self._batch_limit)
        passing = self._passing(now, self._batch_limit - len(durable))
        batch = [(head.message_id, head.body) for head in durable]
        batch += [(envelope.id, envelope.encode()) for envelope in passing]
        if not batch:
            return False
        try:
            verdicts = await self._post(batch)
        except BatchRefused:
            # One of them is too large or malformed: halve until it stands alone.
            self._batch_limit = max(1, len(batch) // 2)
            return True
        except TryAgain:
            if len(batch) > 1:
                # If one message breaks the other end, the lanes come back at different times and part from it.
                for head in durable:
                    self._lanes.hold(head.lane, now)
            raise
        await self._settle(durable, verdicts[: len(durable)])
        self._batch_limit = min(BATCH_COUNT_LIMIT, self._batch_limit * 2)
        return True

    def _passing(self, now: float, room: int) -> list[Envelope]:
        """Status and progress: not durable, the latest wins."""
        status, self._status = (self._status, None) if room > 0 else (None, self._status)
        readings = self._progress.take(now, max(0, room - 1))
        at = self._clock.now()
        reports = [event(EventType.UPLOAD_PROGRESS, reading, client_id=self._client_id, at=at) for reading in readings]
        return ([status] if status else []) + reports

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
        await self._journal.write(outbox.forget, recorded)


def _fitting(heads: list[Outgoing], count: int) -> list[Outgoing]:
    """As many as a batch may hold, leaving room for status and progress."""
    chosen: list[Outgoing] = []
    size = 0
    for head in heads[:count]:
        size += len(head.body) + _ENVELOPE_ROOM
        if chosen and size > BATCH_BYTES_LIMIT - EVENT_LIMIT // 2:
            break
        chosen.append(head)
    return chosen
