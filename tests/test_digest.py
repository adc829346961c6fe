"""The running SHA-256: right after any way back, and small."""

import hashlib
import random

from sse_agent import digest
from sse_agent.digest import DIGESTS_KEPT, Digests, RunningDigest

CONTENT = random.Random(1).randbytes(200_000)


def feed(running: RunningDigest, until: int, step: int = 1000) -> None:
    """As a carrier does: from where it is, block by block, with a mark at each."""
    while running.position < until:
        running.mark()
        running.update(CONTENT[running.position : min(until, running.position + step)])


def test_it_is_right_wherever_it_was_rewound_to() -> None:
    chance = random.Random(2)
    running = RunningDigest()
    for _ in range(200):
        feed(running, chance.randint(running.position, len(CONTENT)))
        wanted = chance.randint(0, len(CONTENT))
        running.rewind(wanted)
        assert running.position <= wanted
        assert running.hexdigest() == hashlib.sha256(CONTENT[: running.position]).hexdigest()


def test_going_back_a_little_reads_little_again() -> None:
    running = RunningDigest()
    feed(running, len(CONTENT))
    running.rewind(len(CONTENT) - 1500)
    assert running.position >= len(CONTENT) - 3000


def test_a_place_that_was_not_reached_yet_is_no_place_to_go_back_to() -> None:
    running = RunningDigest()
    feed(running, 5000)
    running.rewind(9000)
    assert running.position == 5000


def test_it_does_not_grow_with_the_file_and_can_still_go_back_to_the_beginning() -> None:
    running = RunningDigest()
    feed(running, len(CONTENT), step=10)
    assert len(running._checkpoints) <= digest.CHECKPOINTS_KEPT
    running.rewind(3)
    assert running.position == 0
    feed(running, 100_000)
    assert running.hexdigest() == hashlib.sha256(CONTENT[:100_000]).hexdigest()


def test_a_long_patch_has_checkpoints_within() -> None:
    running = RunningDigest()
    block = bytes(1024 * 1024)
    for _ in range(130):
        running.update(block)
    running.rewind(129 * 1024 * 1024)
    assert running.position == 128 * 1024 * 1024


def test_of_too_many_digests_the_one_that_rests_longest_goes() -> None:
    digests, one = Digests(), RunningDigest()
    feed(one, 100)
    digests.keep("old", RunningDigest())
    digests.keep("one", one)
    for n in range(DIGESTS_KEPT - 1):
        digests.keep(f"{n}", RunningDigest())
    assert digests.take("one") is one
    assert digests.take("one").position == 0, "it is taken"
    assert len(digests._resting) == DIGESTS_KEPT - 1
