"""Uploads in the journal: which are due, and what is kept of them."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Transaction, attempts, outcomes, transitions, uploads
from sse_agent.journal.transitions import Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.messages import UploadStart
from sse_agent.tus import NotNow
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in

URL = "https://tus.example.com/files/5ecre7"
ENDPOINT = "https://tus.example.com/files/"


def add(tx: Transaction, file_id: str, priority: int = 5, size: int | None = 100) -> Upload:
    start = UploadStart(file_id=file_id, file_name=f"{file_id}.bin", priority=priority, upload_token="t0k3n")
    return uploads.add(tx, f"cmd-{file_id}", start, ENDPOINT, size)


def wait(tx: Transaction, file_id: str, seconds: float) -> Upload:
    transitions.begin(tx, file_id)
    return transitions.settle(tx, file_id, Trouble("no answer", tx.now + timedelta(seconds=seconds)), 0.0)


async def test_time_in_the_queue_or_asleep_is_not_counted_as_lack_of_progress(tmp_path: Path) -> None:
    clock = FakeClock()
    day = timedelta(days=1)
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        clock.advance(3 * 86400)
        for _ in range(10):
            upload = await journal.write(wait, "a", 60.0)
            assert not uploads.has_stalled(upload, clock.now(), day)
            clock.advance(3 * 86400)


async def test_a_weekend_asleep_or_switched_off_in_the_middle_of_an_attempt_is_not_counted(tmp_path: Path) -> None:
    clock, day, weekend = FakeClock(), timedelta(days=1), 60 * 3600.0
    async with journal_in(tmp_path, clock) as journal:
        for file_id, is_killed in (("asleep", False), ("off", True)):
            await journal.write(add, file_id)
            await journal.write(transitions.begin, file_id)
            clock.advance(weekend)
            if is_killed:
                await journal.write(transitions.recover)
            else:
                broke = NotNow("the connection broke")
                await journal.write(outcomes.settle, file_id, broke, 10.0, day, asleep_s=weekend - 10.0)
            for _ in range(10):
                clock.advance(60.0)
                assert await journal.write(transitions.begin, file_id) is not None
                settled = await journal.write(outcomes.settle, file_id, NotNow("no answer"), 0.0, day)
                assert settled.upload.state is UploadState.WAITING


async def test_a_day_of_tries_without_progress_is_enough_however_long_the_waits(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        waits = 0
        upload = await journal.write(wait, "a", 900.0)
        while not uploads.has_stalled(upload, clock.now(), timedelta(days=1)):
            clock.advance(900.0)
            upload = await journal.write(wait, "a", 900.0)
            waits += 1
            assert waits <= 100
        assert waits == 97


async def test_only_going_further_than_ever_is_progress(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        await journal.write(wait, "a", 1.0)
        await journal.write(attempts.note_progress, "a", 50)
        moved = await journal.read(uploads.existing, "a")
        assert (moved.offset, moved.tries, moved.progressed_at) == (50, 0, clock.now())
        clock.advance(1.0)
        await journal.write(wait, "a", 1.0)
        clock.advance(1.0)
        for offset in (10, 50):
            await journal.write(attempts.note_progress, "a", offset)
            again = await journal.read(uploads.existing, "a")
            assert (again.offset, again.tries, again.progressed_at) == (offset, 1, moved.progressed_at)


async def test_what_the_server_holds_of_a_pruned_upload_is_given_back(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        await journal.write(transitions.begin, "a")
        await journal.write(attempts.note_created, "a", URL, "1 2 3 4 5", 100, 100)
        refusal = GiveUp(ErrorCode.SERVER_REFUSED, "no", retryable=True)
        await journal.write(transitions.settle, "a", refusal, 0.0)
        assert await journal.read(attempts.terminations, 10) == []
        clock.advance(60.0)
        assert await journal.write(uploads.prune, timestamp(clock.now())) == 1
        assert [item.url for item in await journal.read(attempts.terminations, 10)] == [URL]


async def test_pruning_spares_what_is_not_over(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        await journal.write(uploads.remember_cancelled, "b")
        clock.advance(60.0)
        assert await journal.write(uploads.prune, timestamp(clock.now())) == 0
        assert await journal.read(uploads.find, "a") is not None
        assert not await journal.read(uploads.was_cancelled_before_start, "b")


async def test_neither_url_nor_token_can_be_read_off_an_upload(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(add, "a")
        await journal.write(attempts.note_created, "a", URL, "1 2 3 4 5", 100, 100)
        upload = await journal.read(uploads.existing, "a")
        assert (upload.url, upload.token) == (URL, "t0k3n")
        for text in (repr(upload), json.dumps(uploads.summary(upload).to_wire())):
            assert "5ecre7" not in text
            assert "t0k3n" not in text


@pytest.mark.parametrize(("size", "offset", "expected"), [(100, 30, 70), (None, 0, 0)])
async def test_queued_bytes_are_those_not_confirmed_yet(
    tmp_path: Path, size: int | None, offset: int, expected: int
) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(add, "a", 5, size)
        await journal.write(attempts.note_progress, "a", offset)
        assert await journal.read(uploads.queued_bytes) == expected
        assert await journal.read(uploads.counts) == {UploadState.QUEUED: 1}


async def test_a_wish_is_kept_with_the_command_that_it_came_with(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(add, "a")
        await journal.write(uploads.wish, "a", Wish.PAUSE, "cmd-9")
    async with journal_in(tmp_path) as journal:
        upload = await journal.read(uploads.existing, "a")
        assert (upload.wish, upload.wish_command_id) == (Wish.PAUSE, "cmd-9")


async def test_the_uploads_that_failed_last_are_found_without_looking_at_all(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        for number in range(5):
            start = UploadStart(file_id=f"f{number}", file_name="a.bin")
            await journal.write(uploads.add, f"cmd-{number}", start, "https://tus.example.com/files/", 7)
            await journal.write(transitions.begin, f"f{number}")
            if number != 2:
                failure = GiveUp(ErrorCode.NO_PROGRESS, "24 h", retryable=True)
                await journal.write(transitions.settle, f"f{number}", failure, 1.0)
            clock.advance(1)
        found = await journal.read(uploads.newest_failed, 3)
        assert [one.file_id for one in found] == ["f4", "f3", "f1"]
