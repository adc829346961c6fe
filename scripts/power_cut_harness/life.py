"""The whole agent, in this process, on a disk that is recorded, until everything that it was told is done."""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Self
from unittest.mock import patch

import anyio

from scripts.power_cut_harness.adaptor import Adaptor, journal_on
from scripts.power_cut_harness.places import scratch, write_files
from scripts.power_cut_harness.servers import TOKEN, ControlPlaneHandler, Door, Server, TusHandler
from scripts.power_cut_harness.tape import Tape
from scripts.power_cut_harness.traffic import Traffic
from scripts.power_cut_harness.vfs import Failure, Trouble
from scripts.power_cut_harness.world import CLIENT, World
from sse_agent import agent
from sse_agent.config import Settings, origin_of
from sse_agent.errors import CannotStart, ExitCode, TryAgain
from sse_agent.events import Event, JournalTrouble
from sse_agent.journal import Journal, Transaction, opened

ENDS_WITHIN_S = 90.0
LOOK_EVERY_S = 0.02
HURRY = 5.0
WAITING_COMMANDS = 10
STORMS = 1 / 600


class HurriedClock:
    """Time passes five times as fast: the waits between tries are not what is looked at here."""

    def __init__(self) -> None:
        self._began, self._wall = monotonic(), datetime.now(UTC)

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self.monotonic() - self._began)

    def monotonic(self) -> float:
        return self._began + (monotonic() - self._began) * HURRY

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / HURRY)


class Onlooker:
    """A view of the agent that counts how often the journal could not be written."""

    is_attended = False

    def __init__(self) -> None:
        self.troubles = 0
        self.journal: Journal | None = None

    async def run(self, inside: agent.Inside) -> None:
        """Until cancelled."""
        with inside.feed.listening(self._listen):
            await anyio.sleep_forever()

    def _listen(self, event: Event) -> None:
        self.troubles += isinstance(event, JournalTrouble)


class Weather(Trouble):
    """Now and then a few operations in a row fail; none of the first, for the agent has to start."""

    FAIR_AT_FIRST = 200

    def __init__(self, chance: random.Random) -> None:
        super().__init__(Failure.FULL, 0, 0)
        self._chance = chance
        self._left = 0

    def strikes(self, what: str) -> bool:
        """Whether this operation fails."""
        self.seen += 1
        if not self._left and self.seen > self.FAIR_AT_FIRST and self._chance.random() < STORMS:
            self.failure = self._chance.choice(list(Failure))
            self._left = self._chance.choice([1, 1, 2, 3])
        if not self._left:
            return False
        self._left -= 1
        self.met[what] += 1
        return True


class Place:
    """A context manager: the servers and the files of all lives. The journal belongs to this place."""

    def __init__(self, seed: int, patience_s: float = ENDS_WITHIN_S) -> None:
        self.chance = random.Random(seed)
        self._patience_s = patience_s
        # One for all lives: a clock that is set back at a start is another story.
        self._clock = HurriedClock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(scratch())
        self.files = folder / "files"
        self.files.mkdir()
        self._servers = Server(ControlPlaneHandler), Server(TusHandler)
        self._show(World(Tape({})), is_rough=False)
        for server in self._servers:
            self._stack.enter_context(server)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def origin(self) -> str:
        """The control plane's, which a journal is bound to."""
        return origin_of(self._servers[0].url)

    def _show(self, world: World, *, is_rough: bool) -> list[Door]:
        doors = [Door(world, random.Random(self.chance.random()), is_rough) for _ in self._servers]
        for server, door in zip(self._servers, doors, strict=True):
            if hasattr(server, "door"):
                server.door.is_shut = True
            server.open_door(door)
        return doors

    def live(
        self,
        files: Mapping[str, bytes],
        world: World,
        *,
        adaptor: Adaptor | None = None,
        traffic: Traffic | None = None,
        commands: int = 0,
        view: Onlooker | None = None,
    ) -> tuple[dict[str, bytes], list[str]]:
        """Start the agent on those files and let it finish all that it is told. Returns its files and complaints.

        Without an adaptor on Python's own SQLite. With `traffic` that many commands come meanwhile, and things go
        wrong on the way.
        """
        doors = self._show(world, is_rough=traffic is not None)
        with scratch() as folder:
            state = folder / "state"
            state.mkdir(0o700)
            write_files(state, files)
            with journal_on(adaptor) if adaptor else nullcontext():
                complaints = anyio.run(self._until_all_is_done, state, world, traffic, commands, view or Onlooker())
            left = {path.name: path.read_bytes() for path in state.glob("journal.*")}
        for door in doors:
            door.is_shut = True
            complaints += door.errors
        with world.condition:
            world.condition.notify_all()
        return left, complaints

    def _settings(self, state: Path) -> Settings:
        return Settings(
            control_plane_url=self._servers[0].url,
            client_id=CLIENT,
            token=TOKEN,
            state_dir=state,
            allowed_folders=[self.files],
            tus_endpoint=f"{self._servers[1].url}/files/",
            max_concurrent_uploads=3,
        )

    async def _until_all_is_done(
        self, state: Path, world: World, traffic: Traffic | None, commands: int, view: Onlooker
    ) -> list[str]:
        complaints: list[str] = []
        async with anyio.create_task_group() as group:
            group.start_soon(_run_agent, self._settings(state), self._clock, view, complaints)
            with anyio.move_on_after(self._patience_s) as limit:
                if traffic is not None:
                    await _give(world, traffic, commands)
                # The world's facts come in from other threads, and the journal has none to tell.
                while not complaints and not await _is_at_rest(world, view):  # noqa: ASYNC110
                    await anyio.sleep(LOOK_EVERY_S)
            group.cancel_scope.cancel()
        if limit.cancelled_caught:
            complaints.append(f"lost: not everything was done within {self._patience_s:g} s; {_left(world)}")
        return complaints


async def _run_agent(settings: Settings, clock: HurriedClock, view: Onlooker, complaints: list[str]) -> None:
    """As a supervisor would: started again if it says that this may help."""
    while True:
        try:
            with patch.object(agent, "opened", _shown_to(view)):
                await agent.run(settings, clock, view)
        except CannotStart as refusal:
            if refusal.exit_code is not ExitCode.TRY_AGAIN:
                complaints.append(f"the agent does not start: {refusal}")
                return
        except ExceptionGroup as errors:
            complaints.append(f"the agent ended: {errors.exceptions!r}")
            return


def _shown_to(view: Onlooker) -> Callable[..., AbstractAsyncContextManager[Journal]]:
    @asynccontextmanager
    async def shown(*args: Any, **kwargs: Any) -> AsyncIterator[Journal]:
        async with opened(*args, **kwargs) as journal:
            view.journal = journal
            try:
                yield journal
            finally:
                view.journal = None

    return shown


async def _is_at_rest(world: World, view: Onlooker) -> bool:
    """Whether nothing is left to be done: for the world, and for the journal, which may have to say things again."""
    with world.condition:
        is_at_rest = world.facts.is_at_rest()
    if not is_at_rest or view.journal is None:
        return False
    with suppress(TryAgain):
        return await view.journal.read(_has_nothing_left)
    return False


def _has_nothing_left(tx: Transaction) -> bool:
    return not tx.all(
        "SELECT 1 FROM outbox WHERE state = 'pending' UNION ALL SELECT 1 FROM terminations"
        " UNION ALL SELECT 1 FROM inbox WHERE state != 'finished'"
    )


async def _give(world: World, traffic: Traffic, commands: int) -> None:
    """As fast as they are carried out, more or less."""
    for number in range(commands):
        with world.condition:
            traffic.pour(world)
            unanswered = len(world.facts.unanswered())
        if unanswered > WAITING_COMMANDS or number % 4 == 0:
            await anyio.sleep(LOOK_EVERY_S)
    with world.condition:
        traffic.resume_all(world)


def _left(world: World) -> str:
    facts = world.facts
    unfinished = sorted(file_id for file_id in facts.started() if not facts.is_over(file_id))
    unsent = [f"{one.type} {one.message_id}" for one in facts.messages.values() if one.message_id not in facts.received]
    return f"open commands {facts.unanswered()[:5]}, uploads {unfinished[:5]}, messages {unsent[:5]}"
