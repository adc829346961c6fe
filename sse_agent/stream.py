"""Control plane → inbox: resume from the stored cursor, receive each command once."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta

import anyio

from sse_agent.clock import Clock, parse_timestamp, timestamp
from sse_agent.errors import ErrorCode, GiveUp, Parked, TryAgain
from sse_agent.events import (
    AgentParked,
    CommandReceived,
    CommandRepeated,
    Feed,
    JournalTrouble,
    StreamConnected,
    StreamLost,
    StreamRenewed,
    StreamReset,
)
from sse_agent.eventstream import StreamEvent
from sse_agent.handover import carried
from sse_agent.journal import Journal, inbox
from sse_agent.journal.database import set_about
from sse_agent.journal.inbox import Arrival
from sse_agent.messages import (
    COMMAND_LIMIT,
    Envelope,
    EventId,
    Hello,
    Reset,
    parse_envelope,
    parse_event_id,
    parse_hello,
)
from sse_agent.parking import Parking
from sse_agent.printable import printable
from sse_agent.retry import NOT_NOW, ROUTINE, parked_wait_s
from sse_agent.transport import CommandStream, Transport

HELLO_WITHIN_S = 10.0
ANSWER_WITHIN_S = 30.0
HEALTHY_AFTER_S = 60.0
SLEPT_S = 20.0

OnHello = Callable[[Hello], Awaitable[None]]


class Stream:
    """Holds one stream, for ever; two for a moment when the access token is renewed."""

    def __init__(
        self,
        transport: Transport,
        journal: Journal,
        feed: Feed,
        clock: Clock,
        parking: Parking,
        *,
        client_id: str,
        on_accepted: Callable[[], None],
        on_hello: OnHello,
        on_command: Callable[[], None],
    ) -> None:
        """`on_accepted` comes before anything of a new connection takes effect, `on_hello` when it has."""
        self._transport = transport
        self._journal = journal
        self._feed = feed
        self._clock = clock
        self._parking = parking
        self._client_id = client_id
        self._on_accepted = on_accepted
        self._on_hello = on_hello
        self._on_command = on_command
        # As a browser does, we keep to a `retry:` until another one comes.
        self._retry_s: float | None = None

    async def run(self) -> None:
        """Connect, read, come back. Only a cancellation ends it."""
        failures = parkings = 0
        while True:
            if self._parking.reason is not None:
                await self._keep_silent(self._parking.reason, parkings)
                parkings += 1
            connection = await carried(lambda before: _Connection(self, before), self._clock)
            cause = connection.cause
            if connection.healthy_s >= HEALTHY_AFTER_S:
                failures = parkings = 0
            if isinstance(cause, Parked):
                self._parking.park(cause.reason)
                continue
            if connection.was_greeted:
                parkings = 0
            if cause.code is ErrorCode.DISK_FULL:
                self._feed.emit(JournalTrouble(reason=cause.reason))
            least_s = self._least_wait_s(cause, connection)
            if connection.is_routine:
                wait_s = ROUTINE.wait_s(0, at_least_s=least_s)
            else:
                wait_s = NOT_NOW.wait_s(failures, at_least_s=least_s)
                failures += 1
            self._feed.emit(StreamLost(reason=cause.reason, wait_s=wait_s, attempt=failures))
            await self._clock.sleep(wait_s)

    def _least_wait_s(self, cause: TryAgain, connection: "_Connection") -> float | None:
        """What the control plane asked for, in this answer or in an earlier stream."""
        if connection.retry_s is not None:
            self._retry_s = connection.retry_s
        return max((asked for asked in (cause.retry_after_s, self._retry_s) if asked is not None), default=None)

    async def _keep_silent(self, reason: str, parkings: int) -> None:
        wait_s = parked_wait_s(parkings)
        self._feed.emit(AgentParked(reason=reason, wait_s=wait_s))
        await self._clock.sleep(wait_s)


class _Connection:
    """One stream from GET to its end; `cause` says why it ended. It renews `before`, if there is one."""

    def __init__(self, stream: Stream, before: "_Connection | None" = None) -> None:
        self.due, self.stands, self.ended = anyio.Event(), anyio.Event(), anyio.Event()
        self._before = before
        self._scope: anyio.CancelScope | None = None
        self._token: str | None = None
        self._renew_at: float | None = None
        self._transport = stream._transport
        self._journal = stream._journal
        self._feed = stream._feed
        self._clock = stream._clock
        self._parking = stream._parking
        self._client_id = stream._client_id
        self._on_accepted = stream._on_accepted
        self._on_hello = stream._on_hello
        self._on_command = stream._on_command
        self._hello: Hello | None = None
        self._asked_at = self._hello_at = self._last_life_at = self._healthy_from = self._clock.monotonic()
        self._answered_at: float | None = None
        self._cursor: EventId | None = None
        self.cause: TryAgain = TryAgain("the control plane ended the stream")
        self._lived_on = False
        self._is_at_odds = False
        self.retry_s: float | None = None

    @property
    def was_greeted(self) -> bool:
        """Whether HELLO came."""
        return self._hello is not None

    @property
    def is_routine(self) -> bool:
        """Whether it was a good stream that was cut: HELLO and one more sign of life came, and nothing was wrong."""
        return self._lived_on and not self._is_at_odds

    @property
    def healthy_s(self) -> float:
        """Seconds from HELLO, of the first of those that renewed each other, to the last sign of life."""
        before_s = self._before.healthy_s if self._before else 0.0
        return self._last_life_at - self._healthy_from if self._hello else before_s

    @property
    def must_stop(self) -> bool:
        """Whether the agent has to park."""
        return isinstance(self.cause, Parked)

    async def carry(self) -> None:
        """Read until it breaks; never raises TryAgain, it becomes `cause`."""
        try:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch)
                    try:
                        await self._read()
                    except TryAgain as cause:
                        self.cause = cause
                    group.cancel_scope.cancel()
        finally:
            self.ended.set()

    def close(self) -> None:
        """It ends as soon as what is being received is in the journal."""
        if self._scope is not None:
            self._scope.cancel()

    async def _watch(self) -> None:
        """Break the stream for silence, after the machine slept, or when another part of the agent was told to park."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        while True:
            await self._clock.sleep(1.0)
            passed = timedelta(seconds=self._clock.monotonic() - monotonic)
            slept = self._clock.now() - wall - passed > timedelta(seconds=SLEPT_S)
            wall, monotonic = self._clock.now(), self._clock.monotonic()
            cause = self._trouble(has_slept=slept)
            if cause is not None:
                self.cause = cause
                self.close()
            if self._renew_at is not None and self._hello and self._clock.monotonic() >= self._renew_at:
                self.due.set()

    def _trouble(self, *, has_slept: bool) -> TryAgain | None:
        now = self._clock.monotonic()
        if self._before is not None and self._parking.reason is not None:
            # Whoever comes back from silence is parked until HELLO; whoever renews a stream is not.
            return Parked(self._parking.reason)
        if self._hello is None:
            return self._slowness(now)
        silent_s = now - self._last_life_at
        if self._parking.reason is not None:
            return Parked(self._parking.reason)
        if has_slept:
            return TryAgain("the machine was asleep")
        if silent_s > 3 * self._hello.heartbeat_seconds:
            return TryAgain(f"no sign of life for {silent_s:.0f} s")
        return None

    def _slowness(self, now: float) -> TryAgain | None:
        if self._answered_at is None and now - self._asked_at > ANSWER_WITHIN_S:
            return TryAgain(f"no answer within {ANSWER_WITHIN_S:.0f} s")
        if self._answered_at is not None and now - self._answered_at > HELLO_WITHIN_S:
            return TryAgain(f"no HELLO within {HELLO_WITHIN_S:.0f} s; something on the way may hold the stream back")
        return None

    def _note_life(self) -> None:
        self._last_life_at = self._clock.monotonic()
        self._lived_on = self._hello is not None

    async def _read(self) -> None:
        stored = await self._journal.read(inbox.cursor)
        self._cursor = parse_event_id(stored) if stored else None
        renewed = self._before._token if self._before else None
        async with self._transport.stream(stored, self._note_life, instead_of=renewed) as stream:
            self._answered_at = self._clock.monotonic()
            self._token, self._renew_at = stream.token, stream.renew_at
            try:
                await self._take_all(stream)
            finally:
                self.retry_s = stream.retry_s if stream.retry_s is not None else self.retry_s

    async def _take_all(self, stream: CommandStream) -> None:
        async with aclosing(stream.events()) as events:
            async for event in events:
                try:
                    await self._take(event)
                except TryAgain:
                    # Nobody cut this stream. Coming back at once would bring the same again.
                    self._is_at_odds = True
                    raise

    async def _take(self, event: StreamEvent) -> None:
        if self._hello is None:
            await self._greet(event)
            return
        self._lived_on = True
        try:
            event_id = parse_event_id(event.id)
        except ValueError:
            raise TryAgain("the control plane sent a command without an event ID") from None
        if self._cursor is not None and event_id.numbering != self._cursor.numbering:
            raise TryAgain(f"the stream changed its numbering from {self._cursor} to {event_id}")
        if self._cursor is not None and event_id.n > self._cursor.n + 1:
            raise TryAgain(f"the stream has a hole between {self._cursor} and {event_id}")
        await self._receive(self._arrival(event), event_id)

    async def _receive(self, arrival: Arrival, event_id: EventId) -> None:
        if self._cursor is not None and event_id.n <= self._cursor.n:
            # Its acknowledgement got lost, else it would not come again.
            await self._journal.write(inbox.is_repeated, arrival.command_id)
            is_new = False
        else:
            is_new = await self._journal.write(inbox.receive, arrival)
            self._cursor = event_id
        if is_new:
            actor = "" if arrival.refusal else str(parse_envelope(arrival.body).actor or "")
            self._feed.emit(CommandReceived(command_id=arrival.command_id, type=arrival.type, actor=actor))
        else:
            self._feed.emit(CommandRepeated(command_id=arrival.command_id))
        self._on_command()

    async def _greet(self, event: StreamEvent) -> None:
        if event.type != "HELLO":
            raise TryAgain("the stream did not begin with HELLO")
        try:
            hello = parse_hello(event.data)
        except GiveUp as wrong:
            raise TryAgain(f"the control plane's HELLO is malformed: {wrong.message}") from None
        if hello.protocol != 1:
            raise TryAgain(f"the control plane speaks protocol {hello.protocol}; this agent speaks 1")
        if self._before is not None:
            await self._take_over(self._before)
        is_reset = hello.reset is not None and not hello.resume
        is_renewal = self._before is not None and not is_reset
        if not is_renewal:
            self._on_accepted()
        if hello.reset is not None and is_reset:
            await self._reset(hello.reset, hello.reason or "")
        elif self._cursor is None:
            await self._adopt(_before_first(hello))
        self._hello, self._hello_at = hello, self._clock.monotonic()
        self._healthy_from = self._before._healthy_from if self._before else self._hello_at
        if is_renewal:
            self._feed.emit(StreamRenewed(latest=hello.latest))
        else:
            self._parking.leave()
            await self._on_hello(hello)
            self._feed.emit(StreamConnected(transport="sse", resumed=hello.resume, latest=hello.latest))
        # Else each would keep all that came before it.
        self._before = None
        self.stands.set()

    async def _take_over(self, before: "_Connection") -> None:
        """Only one of the two may move the cursor. What the one before received meanwhile is a duplicate to us."""
        before.close()
        await before.ended.wait()
        self._lived_on, self.retry_s = before._lived_on, before.retry_s
        stored = await self._journal.read(inbox.cursor)
        self._cursor = parse_event_id(stored) if stored else None

    async def _reset(self, reset: Reset, reason: str) -> None:
        """The control plane does not know our cursor: its own counts, and outcomes since then are sent again."""
        # The journal compares instants as text: they must be written in one way.
        since = timestamp(parse_timestamp(reset.since))
        await self._journal.write(inbox.reset, reset.cursor, since)
        self._cursor = parse_event_id(reset.cursor)
        self._feed.emit(StreamReset(reason=printable(reason), cursor=reset.cursor))

    async def _adopt(self, cursor: EventId) -> None:
        """The first ever connection. From the next one on we show where we stand, a command or not."""
        await self._journal.write(set_about, "cursor", str(cursor))
        self._cursor = cursor

    def _arrival(self, event: StreamEvent) -> Arrival:
        """What one event of the stream is to the journal; judged here, once, by the control plane's clock."""
        body = event.data.encode()
        if event.is_truncated or len(body) > COMMAND_LIMIT:
            refusal = GiveUp(ErrorCode.TOO_LARGE, f"a command is at most {COMMAND_LIMIT} bytes")
            return Arrival(event.id, event.id, "", event.id, body[:COMMAND_LIMIT], refusal)
        try:
            envelope = parse_envelope(body)
        except GiveUp as refusal:
            return Arrival(event.id, event.id, "", event.id, body, refusal)
        return Arrival(event.id, envelope.id, envelope.type, _lane(envelope), body, self._refusal(envelope))

    def _refusal(self, envelope: Envelope) -> GiveUp | None:
        if envelope.client_id != self._client_id:
            return GiveUp(ErrorCode.WRONG_CLIENT, "the command is for another agent")
        if envelope.expires_at and self._has_passed(envelope.expires_at):
            return GiveUp(ErrorCode.EXPIRED, f"it expired at {envelope.expires_at}")
        return None

    def _has_passed(self, instant: str) -> bool:
        """On the control plane's clock, as its HELLO showed it; ours may be wrong by years."""
        assert self._hello is not None  # noqa: S101 - commands come after HELLO only
        left = parse_timestamp(instant) - parse_timestamp(self._hello.now)
        return left <= timedelta(seconds=self._clock.monotonic() - self._hello_at)


def _before_first(hello: Hello) -> EventId:
    """The cursor of an agent that has none: everything that is kept is new to it."""
    if hello.floor is None:
        return parse_event_id(hello.latest)
    oldest = parse_event_id(hello.floor)
    return EventId(oldest.numbering, max(0, oldest.n - 1))


def _lane(envelope: Envelope) -> str:
    """Acknowledgements go out in order with the events of the same upload."""
    file_id = envelope.payload.get("fileId")
    return f"upload {file_id}" if isinstance(file_id, str) and len(file_id) <= 128 else f"command {envelope.id}"
