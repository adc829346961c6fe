"""uploads → tus → outbox: N at a time, the most urgent first, resumed from the server's offset."""

import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from sse_agent.carrier import Carrier, Gauge, Ways
from sse_agent.clock import Clock
from sse_agent.config import origin_of
from sse_agent.digest import RunningDigest
from sse_agent.errors import ErrorCode, GiveUp, Stopped, TryAgain
from sse_agent.events import (
    CommandStumbled,
    Event,
    Feed,
    UploadCompleted,
    UploadEnded,
    UploadPaused,
    UploadProgressed,
    UploadQueued,
    UploadStarted,
    UploadWaiting,
)
from sse_agent.journal import Bell, Journal, Transaction, attempts, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.parking import Parking
from sse_agent.progress import ProgressTable, Rate, Reading
from sse_agent.retry import NOT_NOW
from sse_agent.tus import TokenRefused, TusSession

WATCH_EVERY_S = 0.25
DIGESTS_KEPT = 256

RenewToken = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Servers:
    """How tus servers are reached."""

    trust: ssl.SSLContext
    proxies: Mapping[str, str]
    default_origin: str | None
    default_token: str | None = field(repr=False)

    def token_for(self, upload: Upload) -> str | None:
        """The command's own token, else the settings' one, to the origin of the configured endpoint only."""
        if upload.token is not None:
            return upload.token
        return self.default_token if origin_of(upload.endpoint) == self.default_origin else None


@dataclass(slots=True)
class _Run:
    """One upload under way."""

    upload: Upload
    session: TusSession
    gauge: Gauge
    began: float
    rate: Rate = field(default_factory=Rate)
    is_parked: bool = False

    def stop(self) -> None:
        self.gauge.stop.set()
        self.session.abort()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner wants: uploads to begin, and runs that must make room."""

    begin: list[str]
    displace: list[str]


def plan(running: Mapping[str, int], candidates: Collection[Upload], limit: int) -> Plan:
    """Decide without I/O. `running` maps a file ID to its priority; `candidates` come most urgent first."""
    free = max(0, limit - len(running))
    ordered = list(candidates)
    begin = [upload.file_id for upload in ordered[:free]]
    least_urgent = sorted(running.items(), key=lambda item: item[1])
    displace = []
    for upload, (file_id, priority) in zip(ordered[free:], least_urgent, strict=False):
        if upload.priority <= priority:
            break
        displace.append(file_id)
    return Plan(begin, displace)


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
        self._digests: dict[str, RunningDigest] = {}
        self._threads = anyio.CapacityLimiter(limit)

    async def run(self) -> None:
        """For ever. A cancellation breaks off what is under way, notes where it is, and ends."""
        try:
            async with anyio.create_task_group() as group:
                while True:
                    if self._parking.is_parked:
                        self._park()
                        await self._parking.until_left()
                    await self._begin_what_is_due(group)
                    await self._bell.wait(await self._idle_s())
        finally:
            for session in self._sessions:
                session.close()

    def _park(self) -> None:
        """Bring what is under way to a safe point."""
        for run in self._runs.values():
            run.is_parked = True
            run.stop()

    # --- planning ---

    async def _begin_what_is_due(self, group: TaskGroup) -> None:
        try:
            wishes = await self._journal.read(_wishes)
            candidates = await self._journal.read(uploads.candidates, self._limit)
        except TryAgain:
            return
        for file_id, wish in wishes.items():
            if wish is not Wish.RUN and file_id in self._runs:
                self._runs[file_id].stop()
        running = {file_id: run.upload.priority for file_id, run in self._runs.items()}
        waiting = [upload for upload in candidates if upload.file_id not in self._runs]
        decided = plan(running, waiting, self._limit)
        for file_id in decided.displace:
            self._runs[file_id].stop()
        for file_id in decided.begin:
            await self._begin(file_id, group)

    async def _begin(self, file_id: str, group: TaskGroup) -> None:
        upload = await self._journal.write(transitions.begin, file_id)
        if upload is None:
            return
        session = self._sessions.pop() if self._sessions else self._new_session()
        session.rearm()
        gauge = Gauge(size=upload.known_size, offset=upload.offset, bytes_sent=upload.offset)
        run = self._runs[file_id] = _Run(upload, session, gauge, self._clock.monotonic())
        group.start_soon(self._carry, run)

    def _new_session(self) -> TusSession:
        return TusSession(trust=self._servers.trust, proxies=self._servers.proxies, clock=self._clock)

    async def _idle_s(self) -> float:
        due = await self._journal.read(uploads.next_try_at)
        if due is None:
            return 60.0
        return min(60.0, max(0.05, (due - self._clock.now()).total_seconds()))

    # --- one upload ---

    async def _carry(self, run: _Run) -> None:
        """From `uploading` to whatever comes of it."""
        upload = run.upload
        self._feed.emit(
            UploadStarted(upload.file_id, _name(upload), upload.known_size, upload.offset, upload.tries + 1)
        )
        result: Result = Interrupted()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, run)
                result = await self._attempt(run)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._settle(run, result)

    async def _attempt(self, run: _Run) -> Result:
        """What came of it, as a value. A cancelled attempt was interrupted."""
        try:
            try:
                return await self._in_thread(run)
            except TokenRefused:
                await self._renew(run)
                return await self._in_thread(run)
        except TokenRefused as refused:
            return GiveUp(ErrorCode.SERVER_REFUSED, refused.reason, retryable=True)
        except GiveUp as error:
            return error
        except Stopped:
            return Trouble(f"parked: {self._parking.reason}", None) if run.is_parked else Interrupted()
        except TryAgain as later:
            return await self._trouble(run.upload.file_id, later)
        except Exception as bug:  # noqa: BLE001 - one bad upload must not stop the others, nor be lost
            self._feed.emit(CommandStumbled(run.upload.command_id, "UPLOAD_START", run.upload.tries, repr(bug)[:500]))
            return await self._trouble(run.upload.file_id, TryAgain(f"a bug in the agent: {type(bug).__name__}"))

    async def _in_thread(self, run: _Run) -> Outcome:
        upload = run.upload
        digest = self._digests.setdefault(upload.file_id, RunningDigest())
        carrier = Carrier(self._ways, upload, self._servers.token_for(upload), run.session, run.gauge, digest)
        return await anyio.to_thread.run_sync(carrier.run, limiter=self._threads)

    async def _renew(self, run: _Run) -> None:
        """401 or 403 from the tus server: one fresh upload token, if the control plane mints them."""
        token = await self._renew_token(run.upload.file_id)
        if token is None:
            message = "the tus server refused the upload token, and the control plane has no other"
            raise GiveUp(ErrorCode.SERVER_REFUSED, message, retryable=True)
        await self._journal.write(attempts.note_token, run.upload.file_id, token)
        run.upload = await self._journal.read(uploads.existing, run.upload.file_id)

    async def _trouble(self, file_id: str, later: TryAgain) -> Result:
        upload = await self._journal.read(uploads.existing, file_id)
        now = self._clock.now()
        if uploads.has_stalled(upload, now, self._no_progress):
            message = (
                f"no progress for {self._no_progress.total_seconds() / 3600:g} h; the last trouble: {later.reason}"
            )
            return GiveUp(later.code or ErrorCode.NO_PROGRESS, message, retryable=True)
        wait_s = NOT_NOW.wait_s(upload.tries, at_least_s=later.retry_after_s)
        return Trouble(later.reason, now + timedelta(seconds=wait_s))

    async def _watch(self, run: _Run) -> None:
        """While the thread works: report how far it is, and break a request that does not move."""
        try:
            while True:
                self._report(run)
                await self._clock.sleep(WATCH_EVERY_S)
                deadline = run.session.deadline
                if deadline is not None and self._clock.monotonic() > deadline:
                    run.session.expire()
                run.rate.note(run.gauge.bytes_sent, self._clock.monotonic())
        finally:
            # Cancelled: either the thread is done, or the agent stops and the thread must, too.
            run.stop()

    def _report(self, run: _Run) -> None:
        upload, gauge = run.upload, run.gauge
        reading = Reading(
            upload.file_id,
            UploadState.UPLOADING,
            upload.revision,
            gauge.offset,
            gauge.bytes_sent,
            gauge.size,
            run.rate.per_second,
        )
        self._progress.note(reading, self._clock.monotonic())
        self._on_progress()
        self._feed.emit(
            UploadProgressed(upload.file_id, gauge.offset, gauge.bytes_sent, gauge.size, run.rate.per_second)
        )

    async def _settle(self, run: _Run, result: Result) -> None:
        """Into the journal, whatever it takes: until then nobody else may carry this upload."""
        file_id, failures = run.upload.file_id, 0
        seconds = self._clock.monotonic() - run.began
        while True:
            try:
                upload = await self._journal.write(transitions.settle, file_id, result, seconds)
                break
            except TryAgain as later:
                await self._clock.sleep(NOT_NOW.wait_s(failures, at_least_s=later.retry_after_s))
                failures += 1
        del self._runs[file_id]
        self._sessions.append(run.session)
        self._tell(upload, result)
        self._on_change()

    def _tell(self, upload: Upload, result: Result) -> None:
        if upload.state is UploadState.WAITING:
            reading = Reading(
                upload.file_id,
                upload.state,
                upload.revision,
                upload.offset,
                upload.offset,
                upload.known_size,
                reason=upload.reason,
                next_try_at=upload.next_try_at,
            )
            self._progress.note(reading, self._clock.monotonic())
        else:
            self._progress.drop(upload.file_id)
        if upload.state not in (UploadState.WAITING, UploadState.QUEUED) or len(self._digests) > DIGESTS_KEPT:
            self._digests.pop(upload.file_id, None)
        self._feed.emit(_event_of(upload, result))


def _wishes(tx: Transaction) -> dict[str, Wish]:
    rows = tx.all("SELECT file_id, wish FROM uploads WHERE state = 'uploading'")
    return {row["file_id"]: Wish(row["wish"]) for row in rows}


def _name(upload: Upload) -> str:
    return upload.name.decode(errors="surrogateescape")


def _event_of(upload: Upload, result: Result) -> Event:
    """What became of an attempt, by the state it led to."""
    if upload.state is UploadState.COMPLETE and isinstance(result, Outcome):
        return UploadCompleted(
            upload.file_id, _name(upload), upload.known_size, result.sha256, upload.seconds, result.confirmation
        )
    if upload.state is UploadState.PAUSED:
        return UploadPaused(upload.file_id, upload.offset)
    if upload.state is UploadState.WAITING and upload.next_try_at is not None:
        return UploadWaiting(upload.file_id, upload.offset, upload.reason or "", upload.next_try_at, upload.tries)
    if upload.state in (UploadState.QUEUED, UploadState.WAITING):
        why = upload.reason or "displaced"
        return UploadQueued(upload.file_id, _name(upload), upload.known_size, upload.offset, upload.priority, why)
    error = result if isinstance(result, GiveUp) and upload.state is UploadState.FAILED else transitions.CANCELLED
    return UploadEnded(upload.file_id, upload.state, error.code, error.message, error.detail, error.retryable)
