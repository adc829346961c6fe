"""The whole upload side of an agent, from the inbox to the tus server, without a control plane."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio

from sse_agent.carrier import Pace, Ways
from sse_agent.clock import Clock
from sse_agent.config import origin_of
from sse_agent.dispatcher import Dispatcher
from sse_agent.events import Event, Feed
from sse_agent.files import AllowedFolders
from sse_agent.journal import Bell, Journal, Transaction, transitions, uploads
from sse_agent.journal import inbox as inbox_table
from sse_agent.journal.uploads import Upload
from sse_agent.messages import ClientStatus, CommandType
from sse_agent.parking import Parking
from sse_agent.progress import ProgressTable
from sse_agent.terminator import Terminator
from sse_agent.tus import TusSession
from sse_agent.uploader import Servers, Uploader
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in, outgoing, receive

WITHIN_S = 20.0

E = TypeVar("E", bound=Event)


async def _mints_none(_: str) -> str | None:
    return None


@dataclass
class Station:
    """Give commands with `tell`, see what happened with `until`. All waits are bounded."""

    folder: Path
    journal: Journal
    clock: Clock
    feed: Feed
    parking: Parking
    progress: ProgressTable
    to_dispatcher: Bell
    to_uploader: Bell
    to_terminator: Bell
    events: list[Event] = field(default_factory=list)
    _happened: anyio.Event = field(default_factory=anyio.Event)
    _commands: int = 0

    def listen(self, event: Event) -> None:
        self.events.append(event)
        self._happened.set()
        self._happened = anyio.Event()

    def ring(self) -> None:
        """What agent.py does when uploads changed."""
        self.to_uploader.ring()
        self.to_terminator.ring()

    async def tell(self, kind: str, command_id: str | None = None, **payload: Any) -> str:
        """Receive a command; its ID."""
        self._commands += 1
        n = await self.journal.read(_received) + 1
        command_id = command_id or f"cmd-{n}"
        await receive(self.journal, n, kind, payload, command_id=command_id)
        self.to_dispatcher.ring()
        return command_id

    async def start(self, file_id: str, name: str, **more: Any) -> str:
        """UPLOAD_START."""
        return await self.tell("UPLOAD_START", fileId=file_id, fileName=name, **more)

    async def until(self, kind: type[E] | tuple[type[E], ...], count: int = 1, **fields: object) -> E:
        """The `count`th event of that kind (of one of them) with these values, as soon as it is there."""
        with anyio.fail_after(WITHIN_S):
            while True:
                found = [e for e in self.events if isinstance(e, kind) and _has(e, fields)]
                if len(found) >= count:
                    return found[count - 1]
                await self._happened.wait()

    async def until_told(self, kind: str, **members: object) -> dict[str, Any]:
        """The payload of the first message in the outbox of that type with these members."""
        with anyio.fail_after(WITHIN_S):
            while True:
                happened = self._happened
                for found, payload in await self.journal.read(outgoing):
                    if found == kind and members.items() <= payload.items():
                        return payload
                await happened.wait()

    async def answer(self, command_id: str) -> dict[str, Any]:
        """The final ACK of a command."""
        with anyio.fail_after(WITHIN_S):
            while True:
                happened = self._happened
                for kind, payload in await self.journal.read(outgoing):
                    if kind == "ACK" and payload["commandId"] == command_id and payload["status"] != "accepted":
                        return payload
                await happened.wait()

    async def told(self, file_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Every message about an upload that is to be sent, oldest first."""
        messages = await self.journal.read(outgoing)
        return [(kind, payload) for kind, payload in messages if payload.get("fileId") == file_id]

    async def upload(self, file_id: str) -> Upload:
        """As the journal has it."""
        return await self.journal.read(uploads.existing, file_id)

    def advance(self, seconds: float) -> None:
        """Time passes and everybody looks again."""
        assert isinstance(self.clock, FakeClock)
        self.clock.advance(seconds)
        self.ring()


@asynccontextmanager
async def station(
    folder: Path,
    endpoint: str,
    *,
    clock: Clock | None = None,
    trust: ssl.SSLContext | None = None,
    proxies: Mapping[str, str] | None = None,
    limit: int = 1,
    default_token: str | None = None,
    renew_token: Callable[[str], Awaitable[str | None]] = _mints_none,
    pace: Pace | None = None,
    no_progress: timedelta = timedelta(hours=24),
    is_attended: bool = True,
    allowed_commands: frozenset[CommandType] = frozenset(CommandType),
    carries: bool = True,
    hold: type[AllowedFolders] = AllowedFolders,
) -> AsyncIterator[Station]:
    """It runs within the block. `folder` gets `files`, the allowed folder, and `state`, which outlives the block.

    Without `carries` the dispatcher runs alone: uploads stay as they are.
    """
    clock = clock or FakeClock()
    files, state = folder / "files", folder / "state"
    files.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    trust = trust or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    servers = Servers(trust, proxies or {}, origin_of(endpoint), default_token)
    feed, progress = Feed(), ProgressTable()
    async with journal_in(state, clock) as journal:
        with hold([files]) as folders:
            bells = Bell(), Bell(), Bell()
            parking = Parking(on_park=lambda: there.ring())
            there = Station(files, journal, clock, feed, parking, progress, *bells)
            ways = Ways(folders, journal.write_from_thread, clock, pace or Pace(), "agent-1")
            uploader = Uploader(
                journal,
                feed,
                clock,
                parking,
                there.to_uploader,
                progress,
                ways,
                servers,
                limit=limit,
                no_progress=no_progress,
                renew_token=renew_token,
                on_change=there.ring,
                on_progress=lambda: None,
            )
            dispatcher = Dispatcher(
                journal,
                folders,
                feed,
                clock,
                there.to_dispatcher,
                default_endpoint=endpoint,
                upload_origins=frozenset({origin_of(endpoint)}),
                allowed_commands=allowed_commands,
                is_attended=lambda: is_attended,
                status=_status,
                on_change=there.ring,
            )
            session = TusSession(trust=trust, proxies=proxies or {}, clock=clock)
            terminator = Terminator(journal, clock, parking, there.to_terminator, session, servers.token_for)
            await journal.write(_recover)
            with feed.listening(there.listen):
                async with anyio.create_task_group() as group:
                    for loop in [dispatcher.run, *([uploader.run, terminator.run] if carries else [])]:
                        group.start_soon(loop)
                    yield there
                    group.cancel_scope.cancel()


async def _status() -> ClientStatus:
    return ClientStatus(
        version="1", transport="sse", disk_free=1, upload_rate=0, queued=0, outbox=0, uploads={}, active=[]
    )


def _recover(tx: Transaction) -> None:
    inbox_table.reopen(tx)
    transitions.recover(tx)


def _received(tx: Transaction) -> int:
    row = tx.one("SELECT count(*) FROM inbox")
    return int(row[0]) if row else 0


def _has(event: Event, fields: Mapping[str, object]) -> bool:
    return all(getattr(event, name, None) == value for name, value in fields.items())
