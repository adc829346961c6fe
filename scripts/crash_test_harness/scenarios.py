"""One kill each, at the very place where one kind of mistake shows; by journal step or by event, never by chance."""

from collections.abc import Callable

from scripts.crash_test_harness.ledger import FINAL, Trap
from scripts.crash_test_harness.world import KIB, World

WITHIN_S = 90.0
THIRD_COMMAND = ("--kill-at", "inbox.receive", "before", "3")


class Missed(RuntimeError):
    """The kill did not happen: the scenario shows nothing."""


def between_cursor_and_command(world: World, *launcher: str) -> None:
    """The third command is about to be stored."""
    for _ in range(5):
        world.traffic.give("HEARTBEAT", {})
    _until_it_kills_itself(world, *launcher, *THIRD_COMMAND)


def between_effect_and_command(world: World, *launcher: str) -> None:
    """The third command, a chat line, is about to be stored."""
    for n in range(5):
        world.traffic.give("MESSAGE", {"text": f"line {n}", "from": "oracle"})
    _until_it_kills_itself(world, *launcher, *THIRD_COMMAND)


def between_record_and_answer(world: World, *launcher: str) -> None:
    """A final ACK is recorded, and its POST not answered."""
    world.ledger.trap = trap = Trap(lambda message: message["payload"].get("status") in FINAL)
    for _ in range(5):
        world.traffic.give("HEARTBEAT", {})
    world.start(*launcher)
    if not trap.sprung.wait(WITHIN_S):
        raise Missed("no final ACK came")
    world.kill()


def in_the_middle_of_a_patch(world: World, *launcher: str) -> None:
    """Half a MiB of a file is on its way."""
    file_id = world.traffic.start(max(world.sizes, key=lambda name: world.sizes[name]))
    world.start(*launcher)
    if not world.book.wait_for_bytes(file_id, 512 * KIB, WITHIN_S):
        raise Missed("the upload did not get under way")
    world.kill()


def between_refusal_and_report(world: World, *launcher: str) -> None:
    """The tus server refused a file when it had all of it; that is about to become UPLOAD_FAILED."""
    world.faults.force("refusing")
    world.traffic.start(next(name for name, size in world.sizes.items() if size > KIB))
    _until_it_kills_itself(world, *launcher, "--kill-at", "outcomes.settle", "before", "1")
    world.faults.stop()


SCENARIOS: dict[str, Callable[..., None]] = {
    "cursor-first": between_cursor_and_command,
    "effect-first": between_effect_and_command,
    "new-id": between_record_and_answer,
    "from-zero": in_the_middle_of_a_patch,
    "refusal-unnoted": between_refusal_and_report,
}


def _until_it_kills_itself(world: World, *launcher: str) -> None:
    world.start(*launcher)
    if not world.wait_for_end(WITHIN_S):
        raise Missed("the agent did not get to the step where it kills itself")
    world.kill()
