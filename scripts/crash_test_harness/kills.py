"""When the agent dies: at random moments, or at every step of its journal, one after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.crash_test_harness.launcher import PHASES
from scripts.crash_test_harness.world import World

TICK_S = 0.05
TUSD_DIES = 1 / 12
STEP_WITHIN_S = 12.0
DISCOVERING_S = 6.0
FIRST_STEP = "database.set_about"
RESET_STEP = "inbox.reset"
BACKLOG_WITHIN_S = 8.0
RESTORING = 0.2

Say = Callable[[], None]


@dataclass(slots=True)
class Count:
    """What was done to it."""

    kills: int = 0
    in_patch: int = 0
    in_post: int = 0
    before_stream: int = 0
    of_tusd: int = 0
    steps: int = 0
    steps_missed: int = 0


def at_random(world: World, count: Count, kills: int, until: float, say: Say) -> None:
    """SIGKILL 0.2 to 2 s after the start, or soon after the stream is there; tusd dies now and then, too."""
    while count.kills < kills and time.monotonic() < until:
        streams = world.ledger.streams
        world.start()
        if world.chance.random() < TUSD_DIES:
            world.tusd.kill()
            world.tusd.start()
            count.of_tusd += 1
        if world.chance.random() < 0.3:
            _pour_for(world, world.chance.uniform(0.2, 2.0), say)
        else:
            _pour_until(world, lambda before=streams: world.ledger.streams > before, 10.0, say)  # type: ignore[misc]
            _pour_for(world, world.chance.uniform(0.0, 1.5), say)
        if world.has_ended():
            return
        has_stream = world.ledger.streams > streams
        count.before_stream += not has_stream
        count.in_patch += has_stream and world.relay.open_patches > 0
        count.in_post += world.oracle.open_posts > 0
        world.kill()
        count.kills += 1


def at_every_step(world: World, count: Count, until: float, say: Say) -> None:
    """Each step that is seen, in each of its phases; in between a life without a kill, so that none is hit thrice.

    A command that dies with its process three times is put aside as POISON, as the contract wants it. The first step
    comes up only once, where a journal has no cursor yet.
    """
    tour = _Tour(world, world.folder / "steps.txt")
    world.faults.restoring = RESTORING
    for phase in PHASES:
        _kill_at(world, tour, count, FIRST_STEP, phase, say)
    world.start(*tour.noting)
    _pour_for(world, DISCOVERING_S, say)
    world.kill()
    while time.monotonic() < until and (places := tour.places_left()):
        step, phase = world.chance.choice(places)
        world.faults.restoring = 1.0 if step == RESET_STEP else RESTORING
        _kill_at(world, tour, count, step, phase, say)
        world.start(*tour.noting)
        _wait_until(lambda: not _backlog(world), BACKLOG_WITHIN_S, say)
        world.kill()
    for step, phase in tour.missed():
        print(f"not reached again: {step}, {phase}")


def _kill_at(world: World, tour: "_Tour", count: Count, step: str, phase: str, say: Say) -> None:
    world.start(*tour.noting, "--kill-at", step, phase, str(tour.which_time(step, phase)))
    tour.note(step, phase, has_killed=_pour_until(world, world.has_ended, STEP_WITHIN_S, say))
    world.kill()
    count.kills += 1
    count.steps, count.steps_missed = len(tour.tries), len(tour.missed())


class _Tour:
    """Where it has been killed. `tries` counts in vain ones down from 0; 1 is a kill."""

    def __init__(self, world: World, notes: Path) -> None:
        self.noting = ("--note-steps", str(notes))
        self.tries: dict[tuple[str, str], int] = {}
        self._notes = notes
        self._chance = world.chance

    def places_left(self) -> list[tuple[str, str]]:
        """Steps and phases not yet killed at. What was missed twice does not come up any more."""
        places = [(step, phase) for step in sorted(self._times()) for phase in PHASES]
        return [place for place in places if self.tries.get(place, 0) in (0, -1)]

    def which_time(self, step: str, phase: str) -> int:
        """The first, second or third time in its life that the agent gets there, as far as that was seen to happen."""
        return 1 if (step, phase) in self.tries else self._chance.randint(1, self._times().get(step, 1))

    def note(self, step: str, phase: str, *, has_killed: bool) -> None:
        """How it went."""
        self.tries[step, phase] = 1 if has_killed else self.tries.get((step, phase), 0) - 1

    def missed(self) -> list[tuple[str, str]]:
        """Places that were not reached again."""
        return [place for place, result in self.tries.items() if result < 1]

    def _times(self) -> dict[str, int]:
        times: dict[str, int] = {}
        for line in self._notes.read_text().splitlines() if self._notes.exists() else []:
            step, _, n = line.rpartition(" ")
            times[step] = max(times.get(step, 0), int(n))
        return times


def _backlog(world: World) -> bool:
    """Whether commands are open that wait for no upload."""
    orders = world.ledger.orders
    return any(orders[command_id].type not in ("UPLOAD_START", "UPLOAD_CANCEL") for command_id in _unanswered(world))


def _unanswered(world: World) -> list[str]:
    with world.ledger.condition:
        return [command_id for command_id in world.ledger.unanswered() if command_id in world.ledger.orders]


def _pour_for(world: World, seconds: float, say: Say) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _tick(world, min(left, TICK_S), say)


def _pour_until(world: World, condition: Callable[[], bool], within_s: float, say: Say) -> bool:
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return False
        _tick(world, TICK_S, say)
    return True


def _wait_until(condition: Callable[[], bool], within_s: float, say: Say) -> None:
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        say()
        time.sleep(TICK_S)


def _tick(world: World, seconds: float, say: Say) -> None:
    """About ten commands a second."""
    if world.chance.random() < seconds * 10:
        world.traffic.pour()
    world.check_complete()
    say()
    time.sleep(seconds)
