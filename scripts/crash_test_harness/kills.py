"""When the agent dies: at random moments, or at every step of its journal, one after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.crash_test_harness.faults import RATES
from scripts.crash_test_harness.oracle import Ambush
from scripts.crash_test_harness.tour import ASKED_FOR, CONSOLE_STEP, FIRST_STEP, PROVOKED_BY, RESTORING, Place, Tour
from scripts.crash_test_harness.world import KIB, World

TICK_S = 0.05
BACKLOG_AT_MOST = 40
TUSD_DIES = 1 / 12
AS_EVERYBODY_STARTS_IT = 0.1
AT_ANY_MOMENT = 0.2
IN_A_PATCH = 0.55
AIMS_WITHIN_S = 0.6
AFTER_A_POST = 0.3
ANSWER_TAKES_S = 0.006
STEP_WITHIN_S = 15.0
DISCOVERING_S = 6.0
BACKLOG_WITHIN_S = 8.0
TYPES = 0.2

Say = Callable[[], None]


@dataclass(slots=True)
class Count:
    """What was done to it."""

    kills: int = 0
    in_patch: int = 0
    in_post: int = 0
    before_stream: int = 0
    of_tusd: int = 0
    killed_at: list[Place] = field(default_factory=list)
    not_reached_again: list[Place] = field(default_factory=list)


# --- at random ---


def at_random(world: World, count: Count, kills: int, until: float, say: Say) -> None:
    """SIGKILL again and again; tusd dies now and then, too."""
    while count.kills < kills and time.monotonic() < until:
        streams = world.ledger.streams
        if world.chance.random() < AS_EVERYBODY_STARTS_IT:
            world.start()
        else:
            world.fork()
        if world.chance.random() < TUSD_DIES:
            world.restart_tusd()
            count.of_tusd += 1
        _live(world, streams, say)
        if world.has_ended():
            return
        has_stream = world.ledger.streams > streams
        count.before_stream += not has_stream
        count.in_patch += has_stream and world.book.open_patches > 0
        count.in_post += world.oracle.open_posts > 0
        world.kill()
        world.oracle.ambush.end()
        count.kills += 1


def _live(world: World, streams: int, say: Say) -> None:
    """0.1 to 1.2 s, whatever happens; or until soon after the stream is there, and often until something is on."""
    if world.chance.random() < AT_ANY_MOMENT:
        _pour_for(world, world.chance.uniform(0.1, 1.2), say)
        return
    _pour_until(world, lambda: world.ledger.streams > streams, 10.0, say)
    _pour_for(world, world.chance.uniform(0.0, 1.1), say)
    if world.chance.random() < IN_A_PATCH:
        world.book.wait_for_patch(AIMS_WITHIN_S)
        return
    world.oracle.ambush = ambush = Ambush(is_recorded=world.chance.random() < 0.5)
    if ambush.wait(AIMS_WITHIN_S) and world.chance.random() < AFTER_A_POST:
        # While the answer is on its way, or while the journal forgets what was sent.
        ambush.end()
        time.sleep(world.chance.uniform(0.0, ANSWER_TAKES_S))


# --- at every step ---


def at_every_step(world: World, count: Count, until: float, say: Say, *, part: int, parts: int) -> Tour:
    """Each step that the agent's code names, in each of its phases; one of `parts` parts of them.

    In between a life without a kill, so that no command is hit thrice: it would be put aside as POISON, as the
    contract wants it. The first step comes up only once, where a journal has no cursor yet.
    """
    tour = Tour(world.folder / "steps.txt", world.chance, part, parts)
    world.faults.rage({**RATES, "restoring": RESTORING})
    for place in tour.places_left():
        if place[0] == FIRST_STEP:
            _kill_at(world, tour, count, place, say)
    world.fork(*tour.noting)
    _pour_for(world, DISCOVERING_S, say)
    world.kill()
    while time.monotonic() < until and not world.has_failed and (places := tour.places_left()):
        _kill_at(world, tour, count, world.chance.choice(places), say)
        world.fork(*tour.noting)
        _wait_until(lambda: not _backlog(world), BACKLOG_WITHIN_S, say)
        world.kill()
    count.not_reached_again = tour.missed()
    return tour


def _kill_at(world: World, tour: Tour, count: Count, place: Place, say: Say) -> None:
    """One life that ends at that place, with what brings the agent there."""
    step, _ = place
    is_attended = step == CONSOLE_STEP
    refusals = len(world.book.refusals)
    if step in PROVOKED_BY:
        world.faults.force(PROVOKED_BY[step])
    if is_attended:
        world.start(*tour.noting, *tour.killing(place), is_attended=True)
    else:
        world.fork(*tour.noting, *tour.killing(place))
    _provoke(world, step)

    def has_ended() -> bool:
        if is_attended and world.chance.random() < TYPES:
            world.seat.type()
        if step in ASKED_FOR:
            world.ask(ASKED_FOR[step])
        return world.has_ended()

    has_killed = _pour_until(world, has_ended, STEP_WITHIN_S, say)
    world.kill()
    world.faults.rage({**RATES, "restoring": RESTORING})
    tour.note(place, has_killed=has_killed)
    count.kills += 1
    if has_killed:
        count.killed_at.append(place)
        _judge_refusal(world, place, refusals)


def _provoke(world: World, step: str) -> None:
    """Commands that lead there, whatever else is open."""
    if step in PROVOKED_BY:
        world.traffic.start(max(world.sizes, key=lambda name: world.sizes[name]), priority=9)
        world.traffic.start(next(name for name, size in world.sizes.items() if size > KIB), priority=9)
    world.traffic.list_files()


def _judge_refusal(world: World, place: Place, before: int) -> None:
    """Killed after that commit, the agent has the refusal for certain: nothing but a failure is right."""
    if place == ("attempts.note_refusal", "after commit") and len(world.book.refusals) == before + 1:
        world.book.refusals[-1].is_refusal_taken = True


# --- both ---


def _backlog(world: World) -> int:
    """How many commands are open that wait for no upload."""
    with world.ledger.condition:
        kinds = [world.ledger.orders[command_id].type for command_id in world.ledger.unanswered()]
    return sum(kind not in ("UPLOAD_START", "UPLOAD_CANCEL") for kind in kinds)


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
    """About ten commands a second, as long as the agent keeps up with them."""
    if world.chance.random() < seconds * 10 and _backlog(world) < BACKLOG_AT_MOST:
        world.traffic.pour()
    world.traffic.revive()
    world.check_complete()
    say()
    time.sleep(seconds)
