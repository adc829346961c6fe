"""inbox → uploads, outbox: the one place that knows what commands mean."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from sse_agent import bugs
from sse_agent.clock import Clock
from sse_agent.config import origin_of
from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.events import (
    CommandFinished,
    CommandStumbled,
    Feed,
    JournalTrouble,
    MessageShown,
)
from sse_agent.files import NOT_FOUND_MESSAGE, AllowedFolders
from sse_agent.journal import Bell, Journal, Transaction, inbox, outbox, transitions, uploads, wishes
from sse_agent.journal.inbox import Command
from sse_agent.journal.wishes import Effects
from sse_agent.lifecycle import UploadState
from sse_agent.messages import (
    AckStatus,
    Chat,
    ClientStatus,
    CommandType,
    Empty,
    EventType,
    FileList,
    ListFiles,
    UploadReference,
    UploadStart,
    Wire,
    derived_id,
    parse_envelope,
    parse_payload,
)
from sse_agent.retry import NOT_NOW

POISONED_AFTER = 3
LOOK_WITHIN_S = 1.0
LIST_WITHIN_S = 30.0
EXCUSED_WITHIN_S = 5.0
LISTINGS_AT_ONCE = 4
LISTINGS_WAITING = 256

T = TypeVar("T")


class Dispatcher:
    """Carries commands out one by one, in the order of their arrival; listings go aside."""

    def __init__(
        self,
        journal: Journal,
        folders: AllowedFolders,
        feed: Feed,
        clock: Clock,
        bell: Bell,
        *,
        default_endpoint: str | None,
        upload_origins: frozenset[str],
        allowed_commands: frozenset[CommandType],
        is_attended: Callable[[], bool],
        status: Callable[[], Awaitable[ClientStatus]],
        on_change: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._folders = folders
        self._feed = feed
        self._clock = clock
        self._bell = bell
        self._default_endpoint = default_endpoint
        self._upload_origins = upload_origins
        self._switched_off = frozenset(CommandType) - allowed_commands
        self._is_attended = is_attended
        self._status = status
        self._on_change = on_change
        # A disk that hangs holds its threads for ever: these are all that it gets.
        self._lookers = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._listers = ThreadPoolExecutor(LISTINGS_AT_ONCE, thread_name_prefix="list")
        self._overdue: Future[int] | None = None
        self._listings = 0
        self._in_hand: set[str] = set()

    async def run(self) -> None:
        """For ever."""
        try:
            async with anyio.create_task_group() as group:
                while True:
                    command = await self._insist(lambda: self._journal.write(inbox.begin_next))
                    if command is None:
                        await self._bell.wait(60.0)
                    else:
                        self._in_hand.add(command.command_id)
                        if not await self._carry_out(command, group):
                            self._in_hand.discard(command.command_id)
        finally:
            await self._excuse()
            for pool in (self._lookers, self._listers):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _excuse(self) -> None:
        """Three stops in the middle of a command must not make it poison, as three crashes do."""
        if self._in_hand:
            with anyio.move_on_after(EXCUSED_WITHIN_S, shield=True), suppress(TryAgain):
                await self._journal.write(inbox.excuse, frozenset(self._in_hand))

    async def _insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """A journal that can't be written is waited for. That is no failure of the command."""
        failures = 0
        while True:
            try:
                return await step()
            except TryAgain as later:
                self._feed.emit(JournalTrouble(later.reason))
                await self._clock.sleep(NOT_NOW.wait_s(failures, at_least_s=later.retry_after_s))
                failures += 1

    async def _carry_out(self, command: Command, group: TaskGroup) -> bool:
        """Whether it goes on, aside."""
        if command.attempts > POISONED_AFTER:
            await self._insist(lambda: self._finish(command, AckStatus.FAILED, inbox.poison(command)))
            return False
        try:
            self._check_allowed(command.type)
            payload = parse_payload(command.type, parse_envelope(command.body).payload)
            return await self._insist(lambda: self._do(command, payload, group))
        except GiveUp as error:
            refusal = error
            await self._insist(lambda: self._finish(command, AckStatus.REJECTED, refusal))
        except Exception as bug:  # noqa: BLE001 - one bad command must not stop the others; the third time it is poison
            self._stumble(command, bug)
        return False

    def _check_allowed(self, command_type: str) -> None:
        if command_type in self._switched_off:
            raise GiveUp(ErrorCode.NOT_ALLOWED, f"{command_type} is switched off in the agent's settings")

    def _stumble(self, command: Command, bug: Exception) -> None:
        self._feed.emit(CommandStumbled(command.command_id, command.type, command.attempts, bugs.place(bug)))

    async def _do(self, command: Command, payload: Wire, group: TaskGroup) -> bool:
        """Whether it goes on, aside."""
        match payload:
            case UploadStart():
                await self._start(command, payload)
            case UploadReference():
                await self._apply(command, _wish_of(command.type), payload.file_id)
            case ListFiles():
                await self._check_outbox()
                await self._journal.write(inbox.leave_open, command.command_id, None)
                self._listings += 1
                group.start_soon(self._list, command, payload)
                return True
            case Chat():
                await self._show(command, payload)
            case Empty() if command.type == CommandType.GET_STATUS:
                await self._reply(command, EventType.CLIENT_STATUS, await self._status())
            case _:
                await self._finish(command, AckStatus.COMPLETED)
        return False

    # --- uploads ---

    async def _start(self, command: Command, start: UploadStart) -> None:
        found: int | GiveUp | None
        try:
            self._check_origin(start)
            found = await self._look(start)
        except GiveUp as refusal:
            # Of an upload that is known already the stored result counts, whatever became of its file.
            found = refusal
        await self._apply(command, start_upload, start, start.tus_endpoint or self._default_endpoint or "", found)

    def _check_origin(self, start: UploadStart) -> None:
        endpoint = start.tus_endpoint or self._default_endpoint
        if endpoint is None:
            raise GiveUp(ErrorCode.NOT_ALLOWED, "the command names no tusEndpoint, and the agent's settings have none")
        try:
            is_allowed = origin_of(endpoint) in self._upload_origins
        except ValueError:
            is_allowed = False
        if not is_allowed or "@" in endpoint or not endpoint.isascii() or not endpoint.isprintable():
            raise GiveUp(ErrorCode.NOT_ALLOWED, "the tusEndpoint is not among the agent's upload origins")

    async def _look(self, start: UploadStart) -> int | None:
        """The file's size if it is there; None if a slow disk did not say in time: the uploader will find out."""
        size = await self._measured(start.raw_name())
        if size is not None and start.file_size is not None and start.file_size != size:
            raise GiveUp(ErrorCode.SIZE_MISMATCH, f"the file has {size} bytes, the command says {start.file_size}")
        return size

    async def _measured(self, name: bytes) -> int | None:
        if self._overdue is not None and not self._overdue.done():
            # The disk still owes the last answer; a pause behind a hundred starts must not wait for each of them.
            return None
        self._overdue = self._lookers.submit(_measure, self._folders, name)
        with anyio.move_on_after(LOOK_WITHIN_S):
            try:
                return await asyncio.wrap_future(self._overdue)
            except TryAgain:
                return None
        return None

    async def _apply(self, command: Command, change: Callable[..., Effects], *args: object) -> None:
        """One transaction: the change, and the acknowledgement if the command is over with it."""
        effects = await self._journal.write(change, command, *args)
        for effect in effects:
            self._feed.emit(effect)
        self._on_change()

    # --- answers ---

    async def _list(self, command: Command, request: ListFiles) -> None:
        """Aside from the loop: a slow disk must not hold up a pause."""
        try:
            await self._list_and_answer(command, request)
            self._in_hand.discard(command.command_id)
        finally:
            self._listings -= 1

    async def _list_and_answer(self, command: Command, request: ListFiles) -> None:
        status, error = AckStatus.REJECTED, None
        try:
            listing = await self._listed(request)
        except GiveUp as refusal:
            error = refusal
        except (TryAgain, TimeoutError) as trouble:
            # Tried, and no refusal of ours: whoever asked may ask again. The true reason is for this machine only.
            status, error = AckStatus.FAILED, GiveUp(ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE, detail=_why(trouble))
        except Exception as bug:  # noqa: BLE001 - one bad command must not stop the others; the third time it is poison
            self._stumble(command, bug)
            await self._insist(lambda: self._journal.write(inbox.take_back, command.command_id))
            self._bell.ring()
            return
        if error is None:
            await self._insist(lambda: self._reply(command, EventType.FILE_LIST, listing))
        else:
            refused = error
            await self._insist(lambda: self._finish(command, status, refused))

    async def _check_outbox(self) -> None:
        """While nothing gets through, listings would fill the disk: a small command, up to 256 KiB of answer."""
        waiting = self._listings
        waiting += await self._journal.read(outbox.pending_of, EventType.FILE_LIST, LISTINGS_WAITING)
        if waiting >= LISTINGS_WAITING:
            raise GiveUp(ErrorCode.TOO_MANY, f"{waiting} listings wait to be sent already")

    async def _listed(self, request: ListFiles) -> FileList:
        with anyio.fail_after(LIST_WITHIN_S):
            return await asyncio.wrap_future(
                self._listers.submit(self._folders.list, request.raw_path(), request.cursor, request.limit)
            )

    async def _show(self, command: Command, chat: Chat) -> None:
        self._feed.emit(MessageShown(sender=chat.from_, text=chat.text, mine=False))
        # Insisted on here, so that a journal that can't be written does not show it again and again.
        if self._is_attended():
            await self._insist(lambda: self._finish(command, AckStatus.COMPLETED))
            return
        text = f"Nobody is at the console of {platform.node()[:200]}: the agent runs headless there."
        answer = Chat(text=text, from_="sse-agent")
        await self._insist(lambda: self._reply(command, EventType.MESSAGE, answer))

    async def _reply(self, command: Command, kind: EventType, payload: Wire) -> None:
        await self._apply(command, _reply_and_finish, kind, payload)

    async def _finish(self, command: Command, status: AckStatus, error: GiveUp | None = None) -> None:
        await self._apply(command, _finished, status, error)


def _why(trouble: TryAgain | TimeoutError) -> str:
    return trouble.reason if isinstance(trouble, TryAgain) else f"no answer from the disk within {LIST_WITHIN_S:g} s"


def _measure(folders: AllowedFolders, name: bytes) -> int:
    with folders.open_file(name) as file:
        return file.identity.size


def _wish_of(command_type: str) -> Callable[..., Effects]:
    changes = {
        CommandType.UPLOAD_PAUSE: pause_upload,
        CommandType.UPLOAD_RESUME: resume_upload,
        CommandType.UPLOAD_CANCEL: cancel_upload,
    }
    return changes[CommandType(command_type)]


# --- functions of a transaction: each decides, changes and acknowledges at once -----------------------------


def _finished(tx: Transaction, command: Command, status: AckStatus, error: GiveUp | None = None) -> Effects:
    inbox.finish(tx, command.command_id, status, error)
    if error is None:
        return [CommandFinished(command.command_id, command.type, status, "", "")]
    detail = error.detail or error.message
    return [CommandFinished(command.command_id, command.type, status, error.code, detail, *_about(tx, command))]


def _about(tx: Transaction, command: Command) -> tuple[str, str]:
    """The file that a command is about, and who it came from; empty where that can't be read. For people here."""
    if command.attempts > POISONED_AFTER:
        # To read it may be what kills.
        return "", ""
    name, actor = b"", ""
    with suppress(GiveUp):
        envelope = parse_envelope(command.body)
        actor = envelope.actor or ""
        match parse_payload(command.type, envelope.payload):
            case UploadStart() as start:
                name = start.raw_name()
            case UploadReference(file_id=file_id):
                upload = uploads.find(tx, file_id)
                name = file_id.encode() if upload is None else upload.name
            case ListFiles() as request:
                name = request.raw_path() or b""
    return name.decode(errors="surrogateescape"), actor


def _reply_and_finish(tx: Transaction, command: Command, kind: EventType, payload: Wire) -> Effects:
    outbox.report(
        tx,
        kind,
        payload,
        message_id=derived_id(command.command_id, kind, 0),
        in_reply_to=command.command_id,
        lane=f"command {command.command_id}",
    )
    return _finished(tx, command, AckStatus.COMPLETED)


def start_upload(
    tx: Transaction, command: Command, start: UploadStart, endpoint: str, found: int | GiveUp | None
) -> Effects:
    """UPLOAD_START: a new upload, or the same again, which is answered with what is known of it.

    `found`: the file's size in bytes, why it can't be uploaded, or None if that will be found out later.
    """
    known = uploads.find(tx, start.file_id)
    if known is None:
        if uploads.was_cancelled_before_start(tx, start.file_id):
            return _finished(tx, command, AckStatus.REJECTED, transitions.CANCELLED)
        if isinstance(found, GiveUp):
            return _finished(tx, command, AckStatus.REJECTED, found)
        upload = uploads.add(tx, command.command_id, start, endpoint, found)
        inbox.leave_open(tx, command.command_id, start.file_id)
        return [wishes.queued(upload, "new")]
    if known.identity != start.identity():
        error = GiveUp(ErrorCode.FILE_ID_IN_USE, "another upload has this fileId already")
        return _finished(tx, command, AckStatus.REJECTED, error)
    return _start_again(tx, command, start, known)


def _start_again(tx: Transaction, command: Command, start: UploadStart, known: uploads.Upload) -> Effects:
    if not wishes.is_over(known):
        uploads.take_over(tx, known, start)
    if known.outcome_id is None:
        inbox.leave_open(tx, command.command_id, start.file_id)
        return []
    outbox.send_again(tx, known.outcome_id)
    if known.state is UploadState.COMPLETE:
        return _finished(tx, command, AckStatus.COMPLETED)
    if known.state is UploadState.CANCELLED:
        return _finished(tx, command, AckStatus.FAILED, transitions.CANCELLED)
    failure = GiveUp(known.code or ErrorCode.SERVER_REFUSED, known.message or "it failed", retryable=known.is_retryable)
    return _finished(tx, command, AckStatus.FAILED, failure)


def pause_upload(tx: Transaction, command: Command, file_id: str) -> Effects:
    """UPLOAD_PAUSE."""
    return _granted(tx, command, lambda: wishes.pause(tx, file_id, command.command_id))


def resume_upload(tx: Transaction, command: Command, file_id: str) -> Effects:
    """UPLOAD_RESUME."""
    by = parse_envelope(command.body).actor or ""
    return _granted(tx, command, lambda: wishes.resume(tx, file_id, command.command_id, by))


def cancel_upload(tx: Transaction, command: Command, file_id: str) -> Effects:
    """UPLOAD_CANCEL. For one under way the command stays open until its carrier has let go."""
    if uploads.find(tx, file_id) is None:
        uploads.remember_cancelled(tx, file_id)
        return _finished(tx, command, AckStatus.COMPLETED)
    try:
        effects = wishes.cancel(tx, file_id, command.command_id)
    except GiveUp as refusal:
        return _finished(tx, command, AckStatus.REJECTED, refusal)
    if uploads.existing(tx, file_id).state is UploadState.UPLOADING:
        inbox.leave_open(tx, command.command_id, file_id)
        return effects
    return [*effects, *_finished(tx, command, AckStatus.COMPLETED)]


def _granted(tx: Transaction, command: Command, grant: Callable[[], Effects]) -> Effects:
    try:
        effects = grant()
    except GiveUp as refusal:
        return _finished(tx, command, AckStatus.REJECTED, refusal)
    return [*effects, *_finished(tx, command, AckStatus.COMPLETED)]
