"""Everybody who looks on: what changes goes into the mailbox of each who may see it. While nobody looks, none of it."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sse_agent.clock import Clock
from sse_agent.control_plane import news
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import rang
from sse_agent.control_plane.engine import Engine, Report
from sse_agent.control_plane.mailbox import Mailbox
from sse_agent.control_plane.news import Told
from sse_agent.control_plane.problems import Problem, Unavailable
from sse_agent.messages import EventType

LIMIT = 1000
"""Viewers of one process."""
TAIL, TAIL_BYTES = 2000, 16 * 1024 * 1024
"""Newest reports that are kept in memory, so that a hundred pages cost no more reading than one."""
PAGE, PAGE_BYTES = 50, 256 * 1024
"""What `page` gives at most; one report at least."""
SWEEP_S = 1.0
"""A wake-up may get lost, and an agent is gone when nobody says so."""
_CHANGED_LIMIT = 10_000


@dataclass(eq=False)
class View:
    """One open stream. `agents`: what it may see; None: all. `scopes`: what its token is good for."""

    agents: frozenset[str] | None
    is_service: bool
    scopes: frozenset[str] = frozenset()
    mailbox: Mailbox = field(default_factory=Mailbox)

    def sees(self, client_id: str) -> bool:
        """Whether this agent is for it."""
        return self.agents is None or client_id in self.agents


class Viewers:
    """Told by the engine what changed (it is part of the `engine.Listener`); `run` it beside the server."""

    def __init__(self, engine: Engine, attendance: Attendance, clock: Clock) -> None:
        self._engine = engine
        self._attendance = attendance
        self._clock = clock
        self._views: set[View] = set()
        self._bell = asyncio.Event()
        self._tail: deque[Told] = deque()
        self._tail_bytes = 0
        self._tail_from: int | None = None
        self._commands: dict[str, None] = {}
        self._agents: dict[str, None] = {}
        self._agents_at = float("-inf")
        self._there: frozenset[str] = frozenset()

    @contextmanager
    def joined(self, view: View) -> Iterator[None]:
        """Within the block its mailbox is filled. Raises Unavailable."""
        if len(self._views) >= LIMIT:
            raise Unavailable(f"{LIMIT} pages look on already", retry_after_s=10)
        if not self._views:
            self._there = self._attendance.there()
        self._views.add(view)
        self._bell.set()
        try:
            yield
        finally:
            self._views.discard(view)

    # --- what changed ---

    def reported(self, client_id: str, report: Report) -> None:
        """An agent reported something new."""
        if not self._views:
            return
        if not report.is_volatile:
            self._bell.set()
            return
        frame = news.frame(report.type, report.body)
        for view in self._seeing(client_id):
            if report.type == EventType.UPLOAD_PROGRESS and report.upload is not None:
                upload = report.upload
                about = f"progress {client_id} {upload.file_id}"
                view.mailbox.put_progress(about, (upload.revision, upload.n), frame)
            else:
                view.mailbox.put(f"status {client_id}", frame)

    def command_changed(self, command_id: str) -> None:
        """Its outcome is known, or a reply came."""
        self._note(self._commands, command_id)

    def agent_changed(self, client_id: str) -> None:
        """Its queue, its speaker or its being here at all."""
        self._note(self._agents, client_id)

    def _note(self, changed: dict[str, None], name: str) -> None:
        if self._views and len(changed) < _CHANGED_LIMIT:
            changed[name] = None
            self._bell.set()

    # --- what is told of it ---

    async def page(self, after_n: int) -> Sequence[Told]:
        """The next durable reports behind `after_n`: from memory if they are there."""
        if self._tail_from is not None and after_n >= self._tail_from:
            return _first([told for told in self._tail if told.n > after_n])
        return _first([news.told(record) for record in await self._engine.feed(after=after_n, limit=PAGE)])

    async def run(self) -> None:
        """For ever."""
        while True:
            if not self._views:
                self._forget()
                await self._bell.wait()
            self._bell.clear()
            try:
                await self._read_feed()
                await self._read_commands()
                await self._read_agents()
                self._compare_presence()
            except Problem:
                # The disk is full, say. Whoever looks on sees that nothing moves, and is told the rest later.
                await self._clock.sleep(SWEEP_S)
            await rang(self._bell, SWEEP_S)

    def _forget(self) -> None:
        self._tail.clear()
        self._tail_bytes = 0
        self._tail_from = None
        self._commands.clear()
        self._agents.clear()

    async def _read_feed(self) -> None:
        if self._tail_from is None:
            self._tail_from = await self._engine.feed_end()
        while True:
            last = self._tail[-1].n if self._tail else self._tail_from
            page = await self._engine.feed(after=last, limit=PAGE)
            if not page:
                return
            for record in page:
                told = news.told(record)
                self._tail.append(told)
                self._tail_bytes += len(told.for_services)
            while len(self._tail) > TAIL or (self._tail_bytes > TAIL_BYTES and len(self._tail) > 1):
                oldest = self._tail.popleft()
                self._tail_bytes -= len(oldest.for_services)
                self._tail_from = oldest.n
            for client_id in {record.client_id for record in page}:
                for view in self._seeing(client_id):
                    view.mailbox.bell.set()

    async def _read_commands(self) -> None:
        changed, self._commands = self._commands, {}
        for command_id in changed:
            try:
                record = await self._engine.command(command_id)
            except Unavailable:
                raise
            except Problem:
                continue
            self.tell(record.client_id, f"command {command_id}", news.command(record))
            # Its queue may be shorter now.
            self._agents[record.client_id] = None

    async def _read_agents(self) -> None:
        # A queue may change a thousand times a second; nobody wants to know that often.
        now = self._clock.monotonic()
        if now < self._agents_at:
            return
        self._agents_at = now + SWEEP_S
        changed, self._agents = self._agents, {}
        for client_id in changed:
            try:
                record = self._attendance.describe(await self._engine.agent(client_id))
            except Unavailable:
                raise
            except Problem:
                record = None
            self.tell(client_id, f"agent {client_id}", news.agent(client_id, record))

    def _compare_presence(self) -> None:
        before, self._there = self._there, self._attendance.there()
        for client_id in before ^ self._there:
            presence = self._attendance.presence(client_id)
            self.tell(client_id, f"presence {client_id}", news.presence(client_id, presence))

    def tell(self, client_id: str, about: str, frame: bytes) -> None:
        """Whoever may see this agent."""
        for view in self._seeing(client_id):
            view.mailbox.put(about, frame)

    def _seeing(self, client_id: str) -> Iterator[View]:
        return (view for view in self._views if view.sees(client_id))


def _first(found: Sequence[Told]) -> Sequence[Told]:
    """The first page of them."""
    size = 0
    for place, told in enumerate(found[:PAGE]):
        size += len(told.for_services)
        if place and size > PAGE_BYTES:
            return found[:place]
    return found[:PAGE]
