"""What a person wishes is done here, and nowhere else in the console; and what the journal has is looked up."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import anyio

from sse_agent.board import KNOWN_LIMIT, Board, Upload
from sse_agent.clock import Clock, timestamp
from sse_agent.console.keys import Step, pressed, settled, stopping, unsaid
from sse_agent.console.listing import Found, Listed, is_match, upload_of, uploads_of
from sse_agent.console.logbook import Logbook
from sse_agent.console.state import Do, DoToAll, Mode, Note, Say, Sight, State, Stop, Wish
from sse_agent.errors import GiveUp, TryAgain
from sse_agent.lifecycle import UploadState

UNDER_WAY = (UploadState.QUEUED, UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED, UploadState.FAILED)
OVER = (UploadState.COMPLETE, UploadState.CANCELLED)
FOUND_UNDER_WAY, FOUND_OVER = 1000, 200
NAMED_AT_ONCE = 1000
LOOK_EVERY_S = 2.0
NOTE_S = 10.0
WISHES = 64

Json = dict[str, Any]
_DONE = {"pause": "paused", "resume": "resumed", "retry": "retried", "cancel": "cancelled"}


class Done(Protocol):
    """What became of a deed."""

    @property
    def count(self) -> int:
        """How many uploads it was done to."""
        ...

    @property
    def refused(self) -> Sequence[tuple[str, GiveUp]]:
        """Which not, and why not."""
        ...


class Desk(Protocol):
    """What can be looked at and done."""

    async def do(self, name: str, file_ids: Sequence[str]) -> Done:
        """To these. Raises TryAgain."""
        ...

    async def do_to_all(self, name: str) -> Done:
        """To all that it is meant for. Raises TryAgain."""
        ...

    async def details(self, file_id: str) -> Json:
        """Of one upload. Raises GiveUp, TryAgain."""
        ...

    async def listing(
        self, states: Sequence[str], contains: str, after: int, limit: int, *, or_id: bool = False
    ) -> Json:
        """Uploads by name, with `or_id` by file ID as well. Raises TryAgain."""
        ...

    async def counts(self) -> Json:
        """How much of everything there is. Raises TryAgain."""
        ...


class Drawn(Protocol):
    """What keys need to know of the last picture."""

    page: int
    most_scroll: int


class _NothingDrawn:
    page = 10
    most_scroll = 0


class Session:
    """One person at the console: where they are, what they wish, and what was looked up for them."""

    def __init__(
        self,
        board: Board,
        desk: Desk,
        clock: Clock,
        logbook: Logbook,
        say: Callable[[str], Awaitable[None]],
        stop: Callable[[], None],
    ) -> None:
        self.board = board
        self.logbook = logbook
        self.state = State()
        self.details: Json | None = None
        self.looked_up: Upload | None = None
        self.found: Found | None = None
        self.unsent = 0
        self.looks = 0
        self.frame: Drawn = _NothingDrawn()
        self._desk = desk
        self._clock = clock
        self._say = say
        self._stop = stop
        self._wishes: deque[Wish] = deque()
        self._wished = anyio.Event()
        self._look = anyio.Event()
        self._rest = anyio.CancelScope()
        self._has_news = False
        self._looked: tuple[str, str] | None = None
        self._looked_at, self._looked_revision = 0.0, -1
        self._noted_at = 0.0

    @property
    def listed(self) -> Listed:
        """What the person selects in."""
        return Listed(self.board, self.found if self.state.pattern else None)

    def press(self, key: str) -> None:
        """A key; what it wishes is done a moment later."""
        frame, book = self.frame, self.logbook
        found = (self.looked_up, self.unsent)
        sight = Sight(self.listed, frame.page, frame.most_scroll, book.first, book.total, *found)
        step: Step = pressed(self.state, key, sight)
        self._change(step[0])
        if step[1] is not None:
            self._wish(step[1])
        if self._wanted() != self._looked:
            self._look.set()

    def _wish(self, wish: Wish) -> None:
        if len(self._wishes) >= WISHES:
            self._change(self._noted("too much at once: this was not done", is_bad=True))
            return
        self._wishes.append(wish)
        self._wished.set()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within the block nothing happens; it is left at once when there is something new for the person to see."""
        with anyio.CancelScope() as self._rest:
            if self._has_news:
                # It came while the last picture was painted.
                self._rest.cancel()
            self._has_news = False
            yield

    def _wake(self) -> None:
        self._has_news = True
        self._rest.cancel()

    def refresh(self) -> None:
        """Before a picture: the selection stands where its upload is, old notes go, old looks are renewed."""
        now = self._clock.monotonic()
        state = settled(self.state, self.listed)
        if state is not self.state:
            self._change(state)
        elif state.note is not None and now - self._noted_at > NOTE_S:
            self._change(replace(state, note=None))
        is_old = self.board.revision != self._looked_revision and now - self._looked_at >= LOOK_EVERY_S
        is_worth_it = self._looked not in (None, ("", "")) or self._is_held_up
        if self._wanted() != self._looked or (is_old and is_worth_it):
            self._look.set()

    @property
    def _is_held_up(self) -> bool:
        """Whether messages may stay unsent for more than a moment."""
        return self.board.connection.state != "connected" or bool(self.board.troubles(self._clock.monotonic()))

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._name_old)
            group.start_soon(self._look_up)
            while True:
                await self._wished.wait()
                self._wished = anyio.Event()
                # One after the other: what is said stays in order.
                while self._wishes:
                    await self._carry_out(self._wishes.popleft())

    # --- deeds ---

    async def _carry_out(self, wish: Wish) -> None:
        try:
            note = await self._done(wish)
        except TryAgain as later:
            note = self._noted(f"not now: {later.reason}", is_bad=True)
            if isinstance(wish, Say):
                note = unsaid(note, wish.text)
        self._change(note)
        self._looked_at = 0.0

    async def _done(self, wish: Wish) -> State:
        match wish:
            case Do(name, file_id, file_name):
                done = await self._desk.do(name, [file_id])
                for _, why in done.refused:
                    return self._noted(f"not {_DONE[name]}: {why.message}: {file_name}", is_bad=True)
                return self._noted(f"{_DONE[name]}: {file_name}")
            case DoToAll(name):
                count = (await self._desk.do_to_all(name)).count
                return self._noted(f"{_DONE[name]}: {count:,} upload{'' if count == 1 else 's'}")
            case Say(text):
                await self._say(text)
            case Stop(is_sure):
                return await self._stopped(is_sure)
        return self.state

    async def _stopped(self, is_sure: bool) -> State:
        """Who pressed only a key is asked first when there are messages that nobody had counted yet."""
        if not is_sure and self._is_held_up:
            self.unsent = await self._unsent()
            if (ask := stopping(self.board, self.unsent)) is not None:
                return replace(self.state, ask=ask)
        self._stop()
        return self.state

    async def _unsent(self) -> int:
        return int((await self._desk.counts())["outbox"]["pending"])

    def _noted(self, text: str, *, is_bad: bool = False) -> State:
        self._noted_at = self._clock.monotonic()
        return replace(self.state, note=Note(text, is_bad))

    def _change(self, state: State) -> None:
        if state.note is not None and state.note is not self.state.note:
            self._noted_at = self._clock.monotonic()
        self.state = state
        self._wake()

    # --- looks ---

    def _wanted(self) -> tuple[str, str]:
        """What is to be looked up: details of one, and a filter."""
        return (self.state.selected if self.state.mode is Mode.DETAILS else "", self.state.pattern)

    async def _look_up(self) -> None:
        """The latest wish wins: what is typed meanwhile is looked up next."""
        while True:
            await self._look.wait()
            self._look = anyio.Event()
            wanted = self._wanted()
            self._looked_at, self._looked_revision = self._clock.monotonic(), self.board.revision
            try:
                await self._look_at(*wanted)
            except TryAgain as later:
                self._change(self._noted(f"can't look it up now: {later.reason}", is_bad=True))
            except GiveUp as gone:
                self._change(replace(self._noted(gone.message, is_bad=True), mode=Mode.LIST))
            self._looked = wanted
            self.looks += 1
            self._wake()

    async def _look_at(self, file_id: str, pattern: str) -> None:
        details = await self._desk.details(file_id) if file_id else None
        found = await self._find(pattern) if pattern else None
        self.details, self.found = details, found
        self.looked_up = None if details is None else upload_of(details)
        self.unsent = await self._unsent() if self._is_held_up else 0

    async def _find(self, pattern: str) -> Found:
        """What the board has by name, and of the journal what is over or failed, or has no name on the board."""
        under_way = await self._desk.listing(UNDER_WAY, pattern, 0, FOUND_UNDER_WAY, or_id=True)
        over = await self._desk.listing(OVER, pattern, 0, FOUND_OVER, or_id=True)
        recorded = uploads_of([*under_way["uploads"], *over["uploads"]])
        listed = Listed(self.board)
        known = list(islice((upload for upload in listed if is_match(upload, pattern)), FOUND_UNDER_WAY + 1))
        is_more = bool(under_way["next"] or over["next"]) or len(known) > FOUND_UNDER_WAY
        uploads = {upload.file_id: upload for upload in (*known[:FOUND_UNDER_WAY], *recorded)}
        return Found(pattern, tuple(uploads.values()), is_more)

    async def _name_old(self) -> None:
        """Uploads from before the start are only counted until the journal tells their names."""
        if not self.board.count(UploadState.QUEUED) and not self.board.count(UploadState.PAUSED):
            return
        began, after = timestamp(self._clock.now()), 0
        self.board.expect_names()
        summaries: list[Json] = []
        try:
            while after is not None and len(summaries) < KNOWN_LIMIT:
                page = await self._desk.listing(UNDER_WAY[:-1], "", after, NAMED_AT_ONCE)
                summaries += page["uploads"]
                after = page["next"]
        except TryAgain:
            # They are counted all the same; a filter finds them.
            pass
        self.board.name(uploads_of([one for one in summaries if one["createdAt"] < began]))
