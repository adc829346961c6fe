"""The table of an upload's states, walked: each arrow by the function of the journal that stands for it."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Transaction, transitions, uploads
from sse_agent.journal.transitions import Outcome, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UPLOAD, UploadSignal, UploadState, after
from sse_agent.messages import UploadStart
from tests.doubles.clock import FakeClock
from tests.doubles.memory_journal import MemoryJournal
from tests.properties.profile import REPEATABLE

ARROWS = [(state, signal) for state, row in UPLOAD.items() for signal in row]
FINAL = {UploadState.COMPLETE, UploadState.CANCELLED}
LATER = Trouble("words", FakeClock().now() + timedelta(seconds=9))

CARRY_OUT: dict[UploadSignal, Callable[[Transaction, Upload], Upload | None]] = {
    UploadSignal.START: lambda tx, upload: transitions.begin(tx, upload.file_id),
    UploadSignal.TROUBLE: lambda tx, upload: transitions.wait(tx, upload, LATER, 1.0),
    UploadSignal.DISPLACE: lambda tx, upload: transitions.displace(tx, upload, 1.0),
    UploadSignal.PAUSE: transitions.pause,
    UploadSignal.RESUME: transitions.revive,
    UploadSignal.CANCEL: transitions.cancel,
    UploadSignal.CONFIRM: lambda tx, upload: transitions.complete(tx, upload, Outcome("ab" * 32, "id", "offset"), 1.0),
    UploadSignal.GIVE_UP: lambda tx, upload: transitions.fail(
        tx, upload, GiveUp(ErrorCode.NO_PROGRESS, "words", retryable=True), 1.0
    ),
}


def way_to(state: UploadState) -> list[UploadSignal]:
    """The fewest signals that lead from `queued` to that state."""
    ways: deque[tuple[UploadState, list[UploadSignal]]] = deque([(UploadState.QUEUED, [])])
    seen = {UploadState.QUEUED}
    while ways:
        here, way = ways.popleft()
        if here is state:
            return way
        for signal, target in UPLOAD[here].items():
            if target not in seen:
                seen.add(target)
                ways.append((target, [*way, signal]))
    raise AssertionError(f"no way leads to {state}")


def fresh() -> MemoryJournal:
    """A journal with one upload in it, queued."""
    journal = MemoryJournal(FakeClock())
    start = UploadStart(file_id="f", file_name="f.bin")
    journal.transact(uploads.add, "start", start, "https://tus.example.com/files/", 100)
    return journal


def one_step(tx: Transaction, signal: UploadSignal) -> Upload:
    before = uploads.existing(tx, "f")
    CARRY_OUT[signal](tx, before)
    moved = uploads.existing(tx, "f")
    assert moved.state is after(before.state, signal)
    assert moved.revision == before.revision + 1
    return moved


@pytest.mark.parametrize(("state", "signal"), ARROWS)
def test_every_arrow_can_be_reached_and_a_function_of_the_journal_carries_it_out(
    state: UploadState, signal: UploadSignal
) -> None:
    journal = fresh()
    try:
        for step in [*way_to(state), signal]:
            moved = journal.transact(one_step, step)
        assert moved.state is UPLOAD[state][signal]
    finally:
        journal.close()


def walks(chance: random.Random, steps: int) -> Iterator[UploadSignal]:
    """Signals that the table allows, until there is none."""
    state = UploadState.QUEUED
    for _ in range(steps):
        if not UPLOAD[state]:
            return
        signal = chance.choice(sorted(UPLOAD[state]))
        yield signal
        state = UPLOAD[state][signal]


@given(chance=st.randoms(use_true_random=False), steps=st.integers(1, 40))
@settings(REPEATABLE, max_examples=60)
def test_on_any_walk_the_revision_rises_by_one_and_a_final_state_is_not_left(chance: random.Random, steps: int) -> None:
    journal = fresh()
    try:
        for signal in walks(chance, steps):
            last = journal.transact(one_step, signal)
        if last.state in FINAL:
            for signal in UploadSignal:
                assert not _moves(journal, signal), f"{signal} left {last.state}"
    finally:
        journal.close()


def _moves(journal: MemoryJournal, signal: UploadSignal) -> bool:
    """Whether that function changed anything."""

    def attempted(tx: Transaction) -> Any:
        return CARRY_OUT[signal](tx, uploads.existing(tx, "f"))

    before = journal.transact(uploads.existing, "f")
    with suppress(ValueError):
        journal.transact(attempted)
    return journal.transact(uploads.existing, "f") != before
