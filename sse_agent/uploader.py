"""uploads → tus → outbox: N at a time, the most urgent first, resumed from the server's offset."""

import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from sse_agent import bugs
from sse_agent.carrier import Carrier, Gauge, Ways
from sse_agent.clock import Clock
from sse_agent.config import origin_of
from sse_agent.digest import Digests, RunningDigest
from sse_agent.errors import ErrorCode, GiveUp, Stopped, TryAgain
from sse_agent.events import (
    CommandStumbled,
    Feed,
    UploadLocated,
    UploadPostponed,
    UploadProgressed,
    UploadStarted,
    UploadWaiting,
)
from sse_agent.journal import Bell, Journal, Transaction, attempts, outcomes, planning, uploads, wishes
from sse_agent.journal.outcomes import Settled
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UNFINISHED, UploadState
from sse_agent.parking import Parking
from sse_agent.progress import EVERY_S, ProgressTable, Rate, Reading
from sse_agent.retry import NOT_NOW
from sse_agent.tus import NotNow, Outages, Stranger, TokenRefused, TusSession

WATCH_EVERY_S = 0.25
IDLE_S = 60.0
SWEEP_EVERY_S = 30.0
SAME_TRY = timedelta(seconds=1)
"""Nobody is told of another instant that is no further away."""

RenewToken = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Servers:
    """How tus servers are reached."""

    trust: ssl.SSLContext
    proxies: Mapping[str, str]
    default_origin: str | None
    default_token: str | None = field(repr=False)

    def token_for(self, endpoint: str, own: str | None) -> str | None:
        """The upload's own token, else the settings' one, to the origin of the configured endpoint only."""
        if own is not None:
            return own
        return self.default_token if origin_of(endpoint) == self.default_origin else None


@dataclass(slots=True)
class _Run:
    """One upload under way."""

    upload: Upload
    session: TusSession
    gauge: Gauge
    digest: RunningDigest
    began: float
    began_at: datetime
    rate: Rate = field(default_factory=Rate)
    asks: int = 0
    reported_sent: int = 0
    report_at: float = 0.0
    renewing: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_stopping: bool = False
    parked_because: str | None = None

    def stop(self) -> None:
        self.is_stopping = True
        self.gauge.stop.set()
        self.session.abort()
        self.renewing.cancel()


class Uploader:
    """One loop that plans; one task and one worker thread for each upload under way."""

    def __init__(
        self,
        journal: Journal,
        feed: Feed,
        clock: Clock,
        parking: Parking,
        bell: Bell,
        progress: ProgressTable,
        ways: Ways,
        servers: Servers,
        *,
        limit: int,
        no_progress: timedelta,
        renew_token: RenewToken,
        on_change: Callable[[], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._feed = feed
        self._clock = clock
        self._parking = parking
        self._bell = bell
        self._progress = progress
        self._ways = ways
        self._servers = servers
        self._limit = limit
        self._no_progress = no_progress
        self._renew_token = renew_token
        self._on_change = on_change
        self._on_progress = on_progress
        self._runs: dict[str, _Run] = {}
        self._sessions: list[TusSession] = []
        self._digests = Digests()
        # The next try of each that waits, as it was told.
        self._waiting: dict[str, datetime] = {}
        # Until when nothing is begun at an endpoint, as those that wait there were told.
        self._hushed: dict[str, float] = {}
        self._swept_at = 0.0
        self._failures = 0
        self._is_ending = False
        self._launched = Bell()
        self._outages = Outages(patience=limit)
        self._threads = anyio.CapacityLimiter(limit)

    async def run(self) -> None:
        """For ever. A cancellation breaks off what is under way, notes where it is, and ends."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch)
                try:
                    while True:
                        await self._bell.wait(await self._step(group))
                finally:
                    self._is_ending = True
                    for run in self._runs.values():
                        run.stop()
        finally:
            for session in self._sessions:
                session.close()

    async def _step(self, group: TaskGroup) -> float:
        """Look at what there is to do and begin it. Returns the seconds after which there may be more."""
        if self._parking.is_parked:
            self._park()
            await self._parking.until_left()
        try:
            wait_s = await self._begin_what_is_due(group)
            await self._sweep()
        except TryAgain:
            # The journal can't be written; what is under way goes on, and the dispatcher says so.
            self._failures += 1
            return NOT_NOW.wait_s(self._failures)
        self._failures = 0
        return wait_s

    def _park(self) -> None:
        """Bring what is under way to a safe point."""
        for run in self._runs.values():
            run.parked_because = self._parking.reason
            run.stop()

    # --- planning ---

    async def _begin_what_is_due(self, group: TaskGroup) -> float:
        now = self._clock.monotonic()
        quiet, outages = self._outages.quiet(now), self._outages.lasting(now)
        going = {file_id: run.is_stopping for file_id, run in self._runs.items()}
        hushed = {endpoint: now + seconds for endpoint, seconds in quiet.items()}
        changed = _changed(self._hushed, hushed)
        decided = await self._journal.write(planning.decide, going, self._limit, quiet, outages, changed)
        for file_id in decided.stop:
            if file_id in self._runs:
                self._runs[file_id].stop()
        for upload in decided.begun:
            self._launch(upload, group)
        self._hushed |= {endpoint: until for endpoint, until in hushed.items() if endpoint in changed}
        self._hushed = {endpoint: until for endpoint, until in self._hushed.items() if endpoint in hushed}
        for upload in decided.held:
            self._postpone(upload)
        waits = [IDLE_S, *quiet.values()]
        if decided.next_try_at is not None:
            waits.append((decided.next_try_at - self._clock.now()).total_seconds())
        return max(0.01, min(waits))

    def _launch(self, upload: Upload, group: TaskGroup) -> None:
        session = self._sessions.pop() if self._sessions else self._new_session()
        session.rearm()
        gauge = Gauge(size=upload.known_size, offset=upload.offset, bytes_sent=upload.offset)
        digest = self._digests.take(upload.file_id)
        run = self._runs[upload.file_id] = _Run(
            upload, session, gauge, digest, self._clock.monotonic(), self._clock.now()
        )
        self._waiting.pop(upload.file_id, None)
        # Here, for whoever reports progress comes by before the upload's own task does.
        self._feed.emit(
            UploadStarted(upload.file_id, wishes.name_of(upload), upload.known_size, upload.offset, upload.tries + 1)
        )
        self._launched.ring()
        group.start_soon(self._carry, run)

    def _new_session(self) -> TusSession:
        return TusSession(trust=self._servers.trust, proxies=self._servers.proxies, clock=self._clock)

    async def _sweep(self) -> None:
        """What was paused or cancelled while it waited is no longer reported as waiting."""
        if not self._waiting or self._clock.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return
        still = await self._journal.read(uploads.waiting_ids)
        self._swept_at = self._clock.monotonic()
        for file_id in self._waiting.keys() - still - self._runs.keys():
            self._progress.drop(file_id)
        self._waiting = {file_id: at for file_id, at in self._waiting.items() if file_id in still}

    def _next_try_at(self, upload: Upload) -> datetime:
        """Its own next try, but not before its tus server is tried again at all."""
        now = self._clock.now()
        quiet_s = self._outages.quiet(self._clock.monotonic()).get(upload.endpoint, 0.0)
        return max(upload.next_try_at or now, now + timedelta(seconds=quiet_s))

    def _postpone(self, upload: Upload) -> None:
        """Tell when it is tried, if that is not what was told last."""
        at, told = self._next_try_at(upload), self._waiting.get(upload.file_id)
        if upload.file_id in self._runs or (told is not None and abs(at - told) < SAME_TRY):
            return
        self._note_waiting(upload, at)
        self._feed.emit(UploadPostponed(upload.file_id, wishes.name_of(upload), at))

    def _note_waiting(self, upload: Upload, next_try_at: datetime) -> None:
        self._waiting[upload.file_id] = next_try_at
        reading = Reading(
            upload.file_id,
            upload.state,
            upload.revision,
            upload.offset,
            upload.offset,
            upload.known_size,
            reason=upload.reason,
            next_try_at=next_try_at,
        )
        self._progress.note(reading, self._clock.monotonic())

    # --- one upload ---

    async def _carry(self, run: _Run) -> None:
        """From `uploading` to whatever comes of it."""
        # A cancellation of ours is the agent's stop.
        result: Result | TryAgain = Interrupted(is_stop=True)
        try:
            result = await self._attempt(run)
        finally:
            with anyio.CancelScope(shield=True):
                await self._settle(run, result)

    async def _attempt(self, run: _Run) -> Result | TryAgain:
        """What came of it, as a value. A cancelled attempt was interrupted."""
        try:
            return await self._with_tokens(run)
        except TokenRefused as refused:
            return GiveUp(ErrorCode.SERVER_REFUSED, refused.reason, retryable=True)
        except GiveUp as error:
            return error
        except Stopped:
            if run.parked_because is None:
                return Interrupted(is_stop=self._is_ending)
            return Trouble(f"parked: {run.parked_because}", self._clock.now())
        except Stranger as stranger:
            return await self._weighed(run, stranger)
        except TryAgain as later:
            return later
        except Exception as bug:  # noqa: BLE001 - one bad upload must not stop the others, nor be lost
            self._feed.emit(
                CommandStumbled(run.upload.command_id, "UPLOAD_START", run.upload.tries + 1, bugs.place(bug))
            )
            return TryAgain(f"a bug in the agent: {type(bug).__name__}")

    async def _weighed(self, run: _Run, stranger: Stranger) -> TryAgain | GiveUp:
        """An endpoint that has worked is away for a while; of another the URL is wrong, and that is told at once."""
        try:
            if await self._journal.read(uploads.has_worked, run.upload.endpoint):
                return stranger
        except TryAgain:
            return stranger
        message = f"there is no tus server at the endpoint ({stranger.status})"
        return GiveUp(ErrorCode.SERVER_REFUSED, message, retryable=True)

    async def _with_tokens(self, run: _Run) -> Outcome:
        """A large upload outlives many tokens. Raises TokenRefused when a fresh one got it no further than the last."""
        is_fresh, furthest = False, -1
        while True:
            try:
                return await self._in_thread(run)
            except TokenRefused as refused:
                if is_fresh and run.gauge.offset <= furthest:
                    raise
                furthest = max(furthest, run.gauge.offset)
                is_fresh = await self._renew(run, refused)

    async def _in_thread(self, run: _Run) -> Outcome:
        upload = run.upload
        token = self._servers.token_for(upload.endpoint, upload.token)
        carrier = Carrier(self._ways, upload, token, run.session, run.gauge, run.digest)
        return await anyio.to_thread.run_sync(carrier.run, limiter=self._threads)

    async def _renew(self, run: _Run, refused: TokenRefused) -> bool:
        """401 or 403 from the tus server: a token that came meanwhile, else a fresh one. Whether it is that one."""
        file_id, before = run.upload.file_id, run.upload.token
        run.upload = await self._journal.read(uploads.existing, file_id)
        if run.upload.token != before:
            return False
        token = None
        with run.renewing:
            token = await self._renew_token(file_id)
        if run.is_stopping:
            raise Stopped("told to stop")
        if token is None:
            message = f"{refused.reason}, and the control plane has no other"
            raise GiveUp(ErrorCode.SERVER_REFUSED, message, retryable=True)
        run.upload = await self._journal.write(_renewed, file_id, token)
        return True

    async def _watch(self) -> None:
        """While threads work: report how far they are, and break requests that do not move."""
        while True:
            if not self._runs:
                await self._launched.wait(IDLE_S)
            # First of all: a small file is over before there is anything to report.
            await self._clock.sleep(WATCH_EVERY_S)
            now = self._clock.monotonic()
            for run in self._runs.values():
                deadline = run.session.deadline
                if deadline is not None and now > deadline:
                    run.session.expire()
                self._note_ask(run, now)
                self._note_rate(run, now)
                if now >= run.report_at:
                    run.report_at = now + EVERY_S
                    self._report(run, now)

    def _note_rate(self, run: _Run, now: float) -> None:
        gauge = run.gauge
        # First of all where the request began: it is never behind what is read after it.
        request_at = gauge.request_at
        run.rate.note(gauge.attempt_sent, now, request_at=request_at, is_unanswered=gauge.is_unanswered)

    def _note_ask(self, run: _Run, now: float) -> None:
        """What the tus server had already is no progress."""
        if run.asks == run.gauge.asks:
            return
        is_first, run.asks = run.asks == 0, run.gauge.asks
        run.rate.restart(run.gauge.attempt_sent, now)
        if is_first:
            upload, gauge = run.upload, run.gauge
            self._feed.emit(UploadLocated(upload.file_id, wishes.name_of(upload), gauge.size, gauge.told_offset))

    def _report(self, run: _Run, now: float) -> None:
        upload, gauge, rate = run.upload, run.gauge, run.rate.per_second
        reading = Reading(
            upload.file_id,
            UploadState.UPLOADING,
            upload.revision,
            gauge.offset,
            gauge.bytes_sent,
            gauge.size,
            rate,
            run.rate.left_s(max(0, gauge.size - gauge.bytes_sent)),
        )
        self._progress.note(reading, now)
        self._on_progress()
        self._tell_progress(run, rate)

    def _tell_progress(self, run: _Run, rate: int) -> None:
        gauge, run.reported_sent = run.gauge, run.gauge.attempt_sent
        self._feed.emit(
            UploadProgressed(
                run.upload.file_id,
                gauge.offset,
                gauge.bytes_sent,
                gauge.size,
                rate,
                run.reported_sent,
                confirming=gauge.is_unanswered,
            )
        )

    async def _settle(self, run: _Run, result: Result | TryAgain) -> None:
        """Into the journal, whatever it takes: until then nobody else may carry this upload."""
        self._note_answer(run, result)
        file_id, failures = run.upload.file_id, 0
        seconds = self._clock.monotonic() - run.began
        asleep_s = (self._clock.now() - run.began_at).total_seconds() - seconds
        while True:
            try:
                settled = await self._journal.write(
                    outcomes.settle, file_id, result, seconds, self._no_progress, asleep_s
                )
                break
            except TryAgain as later:
                if self._is_ending:
                    # The next start finds it as it was when it began, and asks the tus server.
                    return
                await self._clock.sleep(NOT_NOW.wait_s(failures, at_least_s=later.retry_after_s))
                failures += 1
        del self._runs[file_id]
        self._sessions.append(run.session)
        if settled.upload.state in UNFINISHED:
            self._digests.keep(file_id, run.digest)
        self._tell(run, settled)
        self._on_change()

    def _note_answer(self, run: _Run, result: Result | TryAgain) -> None:
        endpoint = run.upload.endpoint
        if run.gauge.offset > run.upload.offset:
            # It took bytes, however the attempt ended.
            self._outages.note_answer(endpoint)
        if isinstance(result, NotNow):
            self._outages.note_trouble(endpoint, result, self._clock.monotonic())
        elif isinstance(result, Outcome):
            self._outages.note_answer(endpoint)

    def _tell(self, run: _Run, settled: Settled) -> None:
        """What was not told of it yet, then what became of it."""
        upload = settled.upload
        self._note_ask(run, self._clock.monotonic())
        if run.gauge.attempt_sent != run.reported_sent:
            self._tell_progress(run, run.rate.per_second)
        event = settled.event
        if isinstance(event, UploadWaiting):
            event = replace(event, next_try_at=self._next_try_at(upload))
            # Told now, and to be told anew at the next step: the outage may be over before that.
            self._hushed.setdefault(upload.endpoint, -math.inf)
            self._note_waiting(upload, event.next_try_at)
        else:
            self._progress.drop(upload.file_id)
        self._feed.emit(event)


def _renewed(tx: Transaction, file_id: str, token: str) -> Upload:
    attempts.note_token(tx, file_id, token)
    return uploads.existing(tx, file_id)


def _changed(told: Mapping[str, float], hushed: Mapping[str, float]) -> set[str]:
    """The endpoints where those that wait have to be told another instant."""
    moved = {
        endpoint
        for endpoint, until in hushed.items()
        if endpoint not in told or abs(until - told[endpoint]) >= SAME_TRY.total_seconds()
    }
    return moved | (told.keys() - hushed.keys())
