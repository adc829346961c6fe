"""Which uploads begin, and which make room for them."""

from datetime import timedelta
from pathlib import Path

import pytest

from sse_agent.journal import Journal, Transaction, planning, transitions, uploads
from sse_agent.journal.planning import Candidate, Plan, plan
from sse_agent.journal.transitions import Interrupted, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.messages import UploadStart
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in

ENDPOINT = "https://tus.example.com/files/"


def add(tx: Transaction, file_id: str, priority: int = 5, size: int | None = 100) -> Upload:
    start = UploadStart(file_id=file_id, file_name=f"{file_id}.bin", priority=priority, upload_token="t0k3n")
    return uploads.add(tx, f"cmd-{file_id}", start, ENDPOINT, size)


def wait(tx: Transaction, file_id: str, seconds: float) -> Upload:
    transitions.begin(tx, file_id)
    return transitions.settle(tx, file_id, Trouble("no answer", tx.now + timedelta(seconds=seconds)), 0.0)


async def due(journal: Journal, limit: int = 10) -> list[str]:
    return [candidate.file_id for candidate in (await journal.read(planning.outlook, limit)).candidates]


@pytest.mark.parametrize(
    ("running", "stopping", "candidates", "limit", "expected"),
    [
        ({}, 0, [("a", 5), ("b", 5), ("c", 5)], 2, Plan(["a", "b"], [])),
        ({"x": 5}, 0, [("a", 5), ("b", 5)], 2, Plan(["a"], [])),
        ({"x": 5, "y": 5}, 0, [("a", 5)], 2, Plan([], [])),
        ({"x": 5, "y": 3}, 0, [("a", 5)], 2, Plan([], ["y"])),
        ({"x": 3, "y": 3}, 0, [("a", 5)], 2, Plan([], ["y"])),
        ({"x": 3, "y": 4}, 0, [("a", 9), ("b", 4)], 2, Plan([], ["x"])),
        ({"x": 3, "y": 4}, 0, [("a", 9), ("b", 9), ("c", 9)], 2, Plan([], ["x", "y"])),
        ({"x": 3}, 1, [("a", 9)], 2, Plan([], [])),
        ({"x": 3}, 1, [("a", 9), ("b", 9)], 2, Plan([], ["x"])),
        ({"x": 3}, 0, [], 2, Plan([], [])),
    ],
    ids=[
        "as many as there is room for",
        "the rest of the room",
        "equals wait",
        "the least urgent makes room",
        "of equals the one that began last",
        "each only for a more urgent one",
        "never more than run",
        "what stops already makes room",
        "what stops makes room for one only",
        "nobody waits",
    ],
)
def test_a_plan(
    running: dict[str, int], stopping: int, candidates: list[tuple[str, int]], limit: int, expected: Plan
) -> None:
    assert plan(running, stopping, [Candidate(*each) for each in candidates], limit) == expected


async def test_the_most_urgent_come_first_and_the_oldest_among_equals(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for file_id, priority in [("a", 5), ("b", 9), ("c", 5), ("d", 0), ("e", 9)]:
            await journal.write(add, file_id, priority)
        await journal.write(wait, "b", -1.0)
        assert await due(journal) == ["b", "e", "a", "c", "d"]
        assert await due(journal, 2) == ["b", "e"]


async def test_what_waits_is_due_at_its_time_and_not_before(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        waiting = await journal.write(wait, "a", 30.0)
        seen = await journal.read(planning.outlook, 10)
        assert (seen.candidates, seen.next_try_at) == ([], waiting.next_try_at)
        clock.advance(30.0)
        seen = await journal.read(planning.outlook, 10)
        assert [candidate.file_id for candidate in seen.candidates] == ["a"]
        assert seen.next_try_at is None, "what is due already must not keep the planner awake"


async def test_a_clock_that_was_set_back_holds_nothing_up(tmp_path: Path) -> None:
    clock = FakeClock()
    async with journal_in(tmp_path, clock) as journal:
        await journal.write(add, "a")
        await journal.write(wait, "a", 30.0)
        clock.jump(-86400)
        assert await due(journal) == ["a"]


async def test_planning_does_not_read_through_ten_thousand_uploads(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:

        def plans(tx: Transaction) -> list[str]:
            asked: list[str] = []
            tx.sql.set_trace_callback(asked.append)
            planning.outlook(tx, 10)
            tx.sql.set_trace_callback(None)
            return [row["detail"] for statement in asked for row in tx.all(f"EXPLAIN QUERY PLAN {statement}")]

        details = await journal.read(plans)
        assert details
        for detail in details:
            # Scanning the index of what is queued in its own order ends at the limit.
            assert "SCAN uploads" not in detail or "USING INDEX uploads_queued" in detail, detail


async def test_an_endpoint_in_trouble_is_passed_over(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for file_id in ("a", "b"):
            await journal.write(add, file_id)
        await journal.write(wait, "a", -1.0)
        seen = await journal.read(planning.outlook, 10, {ENDPOINT: 5.0})
        assert seen.candidates == []
        seen = await journal.read(planning.outlook, 10, {"https://other.example.com/": 5.0})
        assert [candidate.file_id for candidate in seen.candidates] == ["a", "b"]


async def test_what_is_decided_is_done_in_the_same_transaction(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for file_id, priority in [("a", 5), ("b", 6), ("c", 7)]:
            await journal.write(add, file_id, priority)
        first = await journal.write(planning.decide, {}, 2, {}, {})
        assert [upload.file_id for upload in first.begun] == ["c", "b"]
        assert {upload.state for upload in first.begun} == {UploadState.UPLOADING}
        await journal.write(uploads.wish, "b", Wish.PAUSE, "cmd-9")
        await journal.write(add, "d", 8)
        second = await journal.write(planning.decide, {"c": False, "b": False}, 2, {}, {})
        assert (second.begun, second.stop) == ([], ["b"]), "what is paused makes room for what is urgent"
        third = await journal.write(planning.decide, {"c": False, "b": True}, 2, {}, {})
        assert (third.begun, third.stop) == ([], [])
        await journal.write(transitions.settle, "b", Interrupted(), 0.0)
        fourth = await journal.write(planning.decide, {"c": False}, 2, {}, {})
        assert [upload.file_id for upload in fourth.begun] == ["d"]


async def test_a_priority_that_was_raised_since_it_began_protects_an_upload(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(add, "a", 5)
        await journal.write(planning.decide, {}, 1, {}, {})
        await journal.write(add, "b", 7)
        assert (await journal.write(planning.decide, {"a": False}, 1, {}, {})).stop == ["a"]
        await journal.write(lambda tx: tx.run("UPDATE uploads SET priority = 8 WHERE file_id = 'a'"))
        assert (await journal.write(planning.decide, {"a": False}, 1, {}, {})).stop == []


async def test_of_a_server_that_is_asked_about_it_is_told_which_uploads_wait_there(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for name in ("a", "b", "c"):
            await journal.write(add, name)
        for name, seconds in (("a", 60.0), ("b", 30.0)):
            await journal.write(wait, name, seconds)
        decided = await journal.write(planning.decide, {}, 0, [ENDPOINT], {}, [ENDPOINT])
        assert [upload.file_id for upload in decided.held] == ["b", "a"]
        for others in ([], ["https://other.example.com/"]):
            assert (await journal.write(planning.decide, {}, 0, [ENDPOINT], {}, others)).held == []
