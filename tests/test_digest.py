"""The running SHA-256: right after any way back, and small."""

import hashlib
import random

import pytest

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


def read_again(running: RunningDigest, offset: int, content: bytes) -> bool:
    """As a carrier does after trouble: stop where the digest says, and ask."""
    for stop in running.stops(offset):
        running.update(content[running.position : stop])
        running.mark()
        if not running.agrees():
            return False
    running.go_on_from(offset)
    return True


@pytest.mark.parametrize("offset", [0, 4000, 7321, 9999])
@pytest.mark.parametrize("changed", [0, 4000, 7320, 9999])
def test_what_was_sent_has_to_be_what_is_read_again_also_beyond_the_offset(offset: int, changed: int) -> None:
    running = RunningDigest()
    feed(running, 10_000)
    running.rewind(offset)
    other = CONTENT[:changed] + bytes([CONTENT[changed] ^ 1]) + CONTENT[changed + 1 :]
    # What lies before the checkpoint is not read again, and needs not be: its hash is of what was sent.
    assert read_again(running, offset, other) is (changed < offset // 1000 * 1000)


@pytest.mark.parametrize("offset", [0, 3000, 5000, 8000])
def test_a_new_process_holds_the_file_to_the_hash_that_it_is_told(offset: int) -> None:
    for content, is_equal in ((CONTENT, True), (CONTENT[:4999] + b"?" + CONTENT[5000:], False)):
        running = RunningDigest()
        running.expect(5000, hashlib.sha256(CONTENT[:5000]).hexdigest())
        assert read_again(running, offset, content) is is_equal
        if is_equal:
            assert (running.position, running.hexdigest()) == (offset, hashlib.sha256(CONTENT[:offset]).hexdigest())
            assert running.stops(offset) == [], "asked once"


def test_another_attempt_expects_nothing() -> None:
    running = RunningDigest()
    feed(running, 10_000)
    running.rewind(0)
    running.restart()
    assert running.stops(0) == []


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
