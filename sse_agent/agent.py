"""The composition root: opens resources, one task group, start order, drain."""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import anyio

import sse_agent
from sse_agent import config, identity, signals
from sse_agent.board import FAILED_KEPT, Board, Upload
from sse_agent.carrier import Pace, Ways
from sse_agent.clock import Clock, timestamp
from sse_agent.config import Settings, Unknown, origin_of
from sse_agent.credentials import AccessTokens, FixedToken, Succession, key
from sse_agent.desk import Desk
from sse_agent.dispatcher import Dispatcher
from sse_agent.enrolment import Registry
from sse_agent.errors import Parked, TryAgain
from sse_agent.events import (
    AgentStarted,
    AgentStopped,
    AgentStopping,
    Feed,
    JournalTrouble,
    KeyRotated,
    KeyUnused,
    MessageShown,
    SettingUnknown,
)
from sse_agent.files import AllowedFolders
from sse_agent.journal import Bell, Journal, Transaction, inbox, opened, outbox, transitions, tries, uploads, wishes
from sse_agent.localapi import LocalApi, status_of
from sse_agent.messages import MESSAGE_LIMIT, Chat, EventType, event
from sse_agent.notify import Notifier, Pulse, PulsingBell, PulsingClock, supervisor
from sse_agent.parking import Parking
from sse_agent.presence import Presence
from sse_agent.progress import ProgressTable
from sse_agent.rotation import Rotation
from sse_agent.sender import Sender
from sse_agent.stream import Stream
from sse_agent.terminator import Terminator
from sse_agent.transport import Credential, Speaker, Transport, trust
from sse_agent.tus import TusSession
from sse_agent.uploader import Servers, Uploader

DRAIN_S = 10.0
FAREWELL_S = 4.0
KEPT = timedelta(days=30)
PRUNE_EVERY_S = 3600.0

Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Inside:
    """What a view is shown of a running agent, and through what a person acts on it.

    `board` is the feed, folded; `desk` what can be done to uploads; `say` takes a line for the chat; `stop` is what
    Ctrl-C does.
    """

    feed: Feed
    board: Board
    desk: Desk
    say: Callable[[str], Awaitable[None]]
    stop: Callable[[], None]


class View(Protocol):
    """What people see. It renders the feed, and could be removed without changing anything else."""

    @property
    def is_attended(self) -> bool:
        """Whether a person can read and answer."""
        ...

    async def run(self, inside: Inside) -> None:
        """Until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is wired together."""

    loops: list[Loop]
    sender: Sender
    presence: Presence
    desk: Desk


async def run(settings: Settings, clock: Clock, view: View, unknown: Sequence[Unknown] = ()) -> None:
    """Run until a signal asks to stop, then drain within `DRAIN_S` seconds. Raises CannotStart.

    `unknown`: what is no setting, which is said.
    """
    feed, board = Feed(), Board()
    for one in unknown:
        feed.emit(SettingUnknown(one.name, one.place, one.meant))
    config.make_state_dir(settings.state_dir)
    tls = trust(settings.ca_file)
    async with AsyncExitStack() as stack:
        # First, so that a signal during the start, too, is a request to stop.
        stop = stack.enter_context(signals.stopping())
        credential = await _credential(settings, clock, feed, stack)
        folders = stack.enter_context(AllowedFolders(settings.allowed_folders))
        journal = await stack.enter_async_context(
            opened(settings.state_dir, origin=settings.origin, client_id=settings.client_id, clock=clock)
        )
        speaker = Speaker(settings.client_id, journal.journal_id, journal.epoch, str(uuid.uuid4()))
        transport = await stack.enter_async_context(
            Transport(settings.control_plane_url, speaker, credential, tls, clock)
        )
        await journal.write(_recover)
        stack.enter_context(feed.listening(lambda event: board.apply(event, clock.monotonic(), clock.now())))
        await tell_of_before(journal, feed, board, settings.control_plane_url)
        sender_bell = Bell()
        parts = _wire(settings, clock, feed, board, view, journal, folders, transport, sender_bell, credential)
        say = _saying(settings.client_id, clock, feed, journal, sender_bell)
        async with anyio.create_task_group() as viewing:
            viewing.start_soon(view.run, Inside(feed, board, parts.desk, say, stop.ask))
            reason = await _work(parts, stop, feed)
            await _take_leave(parts, stop, reason)
            feed.emit(AgentStopped(reason=reason))
            viewing.cancel_scope.cancel()


async def _work(parts: _Parts, stop: signals.Stop, feed: Feed) -> str:
    """All loops until a signal comes. Cancelled, each loop brings what it has in hand to a safe point."""
    async with anyio.create_task_group() as group:
        for loop in parts.loops:
            group.start_soon(loop)
        reason = await stop.requested()
        feed.emit(AgentStopping(reason=reason))
        stop.end_process_after(DRAIN_S)
        group.cancel_scope.cancel()
    return reason


async def _take_leave(parts: _Parts, stop: signals.Stop, reason: str) -> None:
    """What there is still to say, as far as it gets in time; a second signal cuts it short."""
    with anyio.move_on_after(FAREWELL_S) as limit:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when, stop.hurried, limit)
            await parts.sender.drain(parts.presence.farewell(reason))
            group.cancel_scope.cancel()


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _credential(settings: Settings, clock: Clock, feed: Feed, stack: AsyncExitStack) -> Credential:
    """The fixed token, if one is set, else this machine's key. Raises CannotStart."""
    enrolled = identity.read(settings.state_dir)
    if settings.token is not None or enrolled is None:
        if enrolled is not None:
            feed.emit(KeyUnused(enrolled_as=enrolled.client_id))
        return FixedToken(settings.token.get_secret_value() if settings.token else "")
    own = key.load(settings.state_dir, enrolled.key_id)
    # Not the stream's own context: whoever is handed one may change it.
    registry = Registry(settings.control_plane_url, trust(settings.ca_file), clock)
    await stack.enter_async_context(registry)
    succession = Succession(
        settings.state_dir, enrolled.client_id, lambda fingerprint: feed.emit(KeyRotated(fingerprint=fingerprint))
    )
    return AccessTokens(
        own, registry.grant, clock, client_id=enrolled.client_id, issuer=enrolled.issuer, succession=succession
    )


def _wire(
    settings: Settings,
    clock: Clock,
    feed: Feed,
    board: Board,
    view: View,
    journal: Journal,
    folders: AllowedFolders,
    transport: Transport,
    to_sender: Bell,
    credential: Credential,
) -> _Parts:
    """Who rings whom is visible here and nowhere else."""
    stream_pulse, uploader_pulse = Pulse(clock), Pulse(clock)
    to_dispatcher, to_uploader, to_presence, to_terminator = Bell(), PulsingBell(uploader_pulse), Bell(), Bell()

    def command_came() -> None:
        for bell in (to_dispatcher, to_sender):
            bell.ring()

    def uploads_changed() -> None:
        for bell in (to_uploader, to_sender, to_presence, to_terminator):
            bell.ring()

    progress = ProgressTable()
    parking = Parking(on_park=uploads_changed)
    sender = Sender(transport.post, journal, feed, clock, parking, to_sender, progress, client_id=settings.client_id)
    presence = Presence(
        journal,
        clock,
        progress,
        client_id=settings.client_id,
        state_dir=settings.state_dir,
        folders=folders.paths(),
        allowed_commands=settings.allowed_commands,
        announce=sender.announce,
        publish=sender.publish,
        on_change=to_presence,
    )
    dispatcher = Dispatcher(
        journal,
        folders,
        feed,
        clock,
        to_dispatcher,
        default_endpoint=settings.tus_endpoint,
        upload_origins=settings.origins,
        allowed_commands=settings.allowed_commands,
        is_attended=lambda: view.is_attended,
        status=presence.status,
        on_change=uploads_changed,
    )
    servers = Servers(
        # Not the stream's own context: whoever is handed one may change it.
        trust=trust(settings.ca_file),
        proxies=config.proxies(),
        default_origin=origin_of(settings.tus_endpoint) if settings.tus_endpoint else None,
        default_token=settings.tus_token.get_secret_value() if settings.tus_token else None,
    )
    uploader = Uploader(
        journal,
        feed,
        clock,
        parking,
        to_uploader,
        progress,
        Ways(folders, journal.write_from_thread, clock, Pace(), settings.client_id),
        servers,
        limit=settings.max_concurrent_uploads,
        no_progress=timedelta(hours=settings.no_progress_hours),
        renew_token=_renewing(transport, parking),
        on_change=uploads_changed,
        on_progress=to_sender.ring,
    )
    stream = Stream(
        transport,
        journal,
        feed,
        PulsingClock(clock, stream_pulse),
        parking,
        client_id=settings.client_id,
        on_accepted=sender.hush,
        on_hello=presence.greet,
        on_command=command_came,
    )
    session = TusSession(trust=servers.trust, proxies=servers.proxies, clock=clock)
    terminator = Terminator(journal, clock, parking, to_terminator, session, servers.token_for)
    pruner = _pruning(journal, clock)
    desk = Desk(journal, feed, on_change=uploads_changed, live=progress.find)
    rotate = None
    if isinstance(credential, AccessTokens):
        rotate = Rotation(settings.state_dir, credential, transport.rotate_key, feed).rotate
    local = LocalApi(settings.state_dir, desk, lambda: status_of(board, clock.monotonic()), rotate)
    # A parked uploader waits for the stream, which is looked at.
    alive = {"stream": stream_pulse.look, "uploader": lambda: uploader_pulse.look() or parking.is_parked}
    notifier = Notifier(supervisor(config.environment), board, journal, clock, alive)
    # The stream comes after those it wakes: when the first command arrives, everybody is there. Then we are ready.
    loops = [sender.run, uploader.run, dispatcher.run, presence.run, terminator.run, pruner, local.run, stream.run]
    loops.append(notifier.run)
    return _Parts(loops, sender, presence, desk)


def _renewing(transport: Transport, parking: Parking) -> Callable[[str], Awaitable[str | None]]:
    """An order to park is one, whatever it answers."""

    async def renew(file_id: str) -> str | None:
        try:
            return await transport.renew_upload_token(file_id)
        except Parked as order:
            parking.park(order.reason)
            raise

    return renew


def _pruning(journal: Journal, clock: Clock) -> Loop:
    async def prune() -> None:
        while True:
            # A full disk is no reason to stop; the next hour may be better.
            with suppress(TryAgain):
                await journal.write(_prune)
            await clock.sleep(PRUNE_EVERY_S)

    return prune


def _prune(tx: Transaction) -> None:
    before = timestamp(tx.now - KEPT)
    tries.forget_ended(tx, before)
    for table in (inbox, uploads, outbox):
        table.prune(tx, before)


def _recover(tx: Transaction) -> None:
    inbox.reopen(tx)
    transitions.recover(tx)


async def tell_of_before(journal: Journal, feed: Feed, board: Board, control_plane: str) -> None:
    """What there is from before this start: how much of everything, and what failed by name. Raises TryAgain."""
    feed.emit(await journal.read(_started, control_plane, journal.epoch))
    board.name_failed(await journal.read(_failed))


def _started(tx: Transaction, control_plane: str, epoch: int) -> AgentStarted:
    counts, left = uploads.counts(tx), uploads.queued_bytes(tx)
    return AgentStarted(sse_agent.__version__, tx.client_id, control_plane, epoch, counts, left)


def _failed(tx: Transaction) -> list[Upload]:
    """What failed before this start, as the board shows it."""
    return [
        Upload(
            one.file_id,
            wishes.name_of(one),
            one.known_size,
            one.offset,
            one.state,
            one.priority,
            one.offset,
            reason=f"{one.code}: {one.message}",
            is_retryable=one.is_retryable,
        )
        for one in uploads.newest_failed(tx, FAILED_KEPT)
    ]


def _saying(
    client_id: str, clock: Clock, feed: Feed, journal: Journal, to_sender: Bell
) -> Callable[[str], Awaitable[None]]:
    """What a person types at this console goes into the outbox."""

    async def say(text: str) -> None:
        # What a terminal sends need not be text.
        text = text.encode(errors="replace").decode()[:MESSAGE_LIMIT]
        chat = Chat(text=text, from_="console")
        message = event(EventType.MESSAGE, chat, client_id=client_id, at=clock.now())
        try:
            await journal.write(outbox.put, message, lane="chat")
        except TryAgain as trouble:
            feed.emit(JournalTrouble(reason=trouble.reason))
            # Whoever typed it keeps the line.
            raise
        feed.emit(MessageShown(sender="you", text=chat.text, mine=True))
        to_sender.ring()

    return say
