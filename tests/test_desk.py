"""What a person at this machine may do, to one upload and to ten thousand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from sse_agent import desk
from sse_agent.clock import timestamp
from sse_agent.desk import Desk
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import Event, Feed, UploadPaused, UploadQueued
from sse_agent.journal import Journal, outbox, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Trouble
from sse_agent.lifecycle import UploadState
from sse_agent.messages import UploadStart
from sse_agent.progress import Reading
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in, outgoing, receive

ENDPOINT = "https://tus.example.com/files/"


@dataclass
class Rig:
    journal: Journal
    desk: Desk
    readings: dict[str, Reading]
    events: list[Event] = field(default_factory=list)
    changes: int = 0

    async def add(self, *file_ids: str, name: bytes = b"a.bin") -> None:
        for file_id in file_ids:
            start = UploadStart(file_id=file_id, file_name=name.decode(errors="replace"))
            await self.journal.write(uploads.add, f"start-{file_id}", start, ENDPOINT, 7)
            await self.journal.write(lambda tx: tx.run("UPDATE uploads SET name = ?", name))

    async def states(self) -> dict[str, str]:
        rows = await self.journal.read(lambda tx: tx.all("SELECT file_id, state FROM uploads ORDER BY n"))
        return {row["file_id"]: row["state"] for row in rows}

    async def end(self, file_id: str, result: transitions.Result) -> None:
        await self.journal.write(transitions.begin, file_id)
        await self.journal.write(transitions.settle, file_id, result, 2.0)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    feed = Feed()
    async with journal_in(folder) as journal:

        def changed() -> None:
            there.changes += 1

        readings: dict[str, Reading] = {}
        there = Rig(journal, Desk(journal, feed, changed, readings.get), readings)
        with feed.listening(there.events.append):
            yield there


async def test_a_deed_is_done_to_each_and_told_and_what_is_refused_keeps_no_other_from_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.add("a", "b")
        done = await there.desk.do("pause", ["a", "nobody", "b"])
        assert (done.count, [(file_id, why.code) for file_id, why in done.refused]) == (
            2,
            [("nobody", ErrorCode.NOT_FOUND)],
        )
        assert there.events == [UploadPaused(one, 0, here=True, file_name="a.bin", size=7) for one in ("a", "b")]
        assert there.changes == 1
        assert [kind for kind, _ in await there.journal.read(outgoing)] == ["UPLOAD_PAUSED", "UPLOAD_PAUSED"]
        numbers = [one["number"] for one in (await there.desk.listing([], "", 0, 10))["uploads"]]
        resumed = (await there.desk.do("resume", ["b"])).events
        assert [one.number for one in resumed if isinstance(one, UploadQueued)] == numbers[1:] == [2]


async def test_all_are_paused_and_resumed_however_many_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "AT_ONCE", 3)
    names = [f"f{n}" for n in range(10)]
    async with rig(tmp_path) as there:
        await there.add(*names)
        await there.journal.write(transitions.begin, "f0")
        assert (await there.desk.do_to_all("pause")).count == 10
        await there.journal.write(transitions.settle, "f0", Interrupted(), 1.0)
        assert set((await there.states()).values()) == {"paused"}
        assert (await there.desk.do_to_all("resume")).count == 10
        assert set((await there.states()).values()) == {"queued"}
        resumed = [event for event in there.events if isinstance(event, UploadQueued)]
        assert [event.overruled_by for event in resumed] == [""] * 10, "nobody overruled whoever paused them"


async def test_a_waiting_upload_is_tried_at_once_and_a_failed_one_again_but_no_other(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(tmp_path) as there:
        await there.add("waits", "failed", "dead", "queued")
        await there.end("waits", Trouble("the tus server is away", clock.now().replace(year=2099)))
        await there.end("failed", GiveUp(ErrorCode.SERVER_REFUSED, "no", retryable=True))
        await there.end("dead", GiveUp(ErrorCode.SIZE_MISMATCH, "no"))
        done = await there.desk.do("retry", ["waits", "failed", "dead", "queued"])
        assert (done.count, [file_id for file_id, _ in done.refused]) == (2, ["dead", "queued"])
        upload = await there.journal.read(uploads.existing, "waits")
        assert upload.next_try_at is not None
        assert upload.next_try_at.year < 2099
        assert (await there.states())["failed"] == "queued"
        assert (await there.desk.do_to_all("retry")).refused == [], "all that can be"


async def test_why_an_upload_does_not_get_on_is_told_attempt_by_attempt(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.add("f")
        for n in range(25):
            await there.end("f", Trouble(f"trouble {n}", FakeClock().now()))
        told = await there.desk.details("f")
        assert [one["reason"] for one in told["tries"]] == [f"trouble {n}" for n in range(5, 25)]
        assert {(one["state"], one["seconds"]) for one in told["tries"]} == {("waiting", 2.0)}
        with pytest.raises(GiveUp):
            await there.desk.details("nobody")


async def test_a_listing_is_chosen_by_state_and_name_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.add("a", "b", "c", name=b"x\xff.bin")
        await there.desk.do("pause", ["b"])
        first = await there.desk.listing([], "", 0, 2)
        rest = await there.desk.listing([], "", first["next"], 2)
        assert [one["fileId"] for one in (*first["uploads"], *rest["uploads"])] == ["a", "b", "c"]
        assert rest["next"] is None
        assert (await there.desk.listing([], "", 0, 3))["next"] is None, "it is all there is"
        paused = await there.desk.listing([UploadState.PAUSED], "", 0, 10)
        assert [(one["fileId"], one["pausedHere"]) for one in paused["uploads"]] == [("b", True)]
        assert first["uploads"][0]["fileNameB64"] == "eP8uYmlu"
        assert (await there.desk.listing([], "y", 0, 10))["uploads"] == []
        assert len((await there.desk.listing([], "bin", 0, 10))["uploads"]) == 3
        assert len((await there.desk.listing([], "BiN", 0, 10))["uploads"]) == 3
        by_id = [(await there.desk.listing([], "C", 0, 10, or_id=or_id))["uploads"] for or_id in (True, False)]
        assert [[one["fileId"] for one in found] for found in by_id] == [["c"], []]


async def test_a_listing_of_nothing_is_one_of_something(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        assert (await there.desk.listing([], "", 0, 0)) == {"uploads": [], "next": None}
        await there.add("a", "b")
        assert [one["fileId"] for one in (await there.desk.listing([], "", 0, 0))["uploads"]] == ["a"]


async def test_sizes_that_nobody_can_have_are_no_trouble(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for name in ("a", "b"):
            start = UploadStart(file_id=name, file_name="a.bin", file_size=2**63 - 1)
            await there.journal.write(uploads.add, name, start, ENDPOINT, None)
        assert (await there.desk.counts())["queuedBytes"] >= 2**63


async def test_of_what_runs_or_waits_the_latest_reading_is_told_and_not_only_what_the_journal_has(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        await there.add("runs", "waits")
        running = await there.journal.write(transitions.begin, "runs")
        assert running is not None
        trouble = Trouble("the tus server is away", FakeClock().now())
        await there.end("waits", trouble)
        waiting = await there.journal.read(uploads.existing, "waits")
        later = trouble.next_try_at + timedelta(minutes=5)
        there.readings["runs"] = Reading("runs", UploadState.UPLOADING, running.revision, 3, 5, 7, rate=2, left_s=1)
        there.readings["waits"] = Reading("waits", waiting.state, waiting.revision, 0, 0, 7, next_try_at=later)
        listed = {one["fileId"]: one for one in (await there.desk.listing([], "", 0, 10))["uploads"]}
        names = ("offset", "bytesSent", "rate", "etaSeconds")
        assert [listed["runs"][name] for name in names] == [3, 5, 2, 1]
        assert (await there.desk.details("runs"))["bytesSent"] == 5
        assert listed["waits"]["nextTryAt"] == timestamp(later)
        # What was read before the state changed is no news of the state it is in now.
        await there.journal.write(transitions.settle, "runs", Interrupted(), 1.0)
        told = await there.desk.details("runs")
        assert [told[name] for name in names] == [0, 0, 0, None]
        assert told["nextTryAt"] is None


async def test_no_secret_is_in_what_is_told_of_an_upload(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.add("f")
        secrets = "UPDATE uploads SET url = 'https://tus.example.com/files/5ecre7', token = 't0k3n'"
        await there.journal.write(lambda tx: tx.run(secrets))
        told = repr((await there.desk.details("f"), await there.desk.listing([], "", 0, 10)))
        assert "5ecre7" not in told
        assert "t0k3n" not in told


async def test_dead_letters_are_listed_and_sent_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for n in (1, 2):
            await receive(there.journal, n, "HEARTBEAT", {})
        ids = [one.message_id for one in await there.journal.read(outbox.heads, 10)]
        for one in ids:
            await there.journal.write(outbox.bury, one, "422 invalid")
        found = (await there.desk.dead_letters(10))["deadLetters"]
        assert [(one["messageId"], one["refusal"]) for one in found] == [(one, "422 invalid") for one in ids]
        parts = [await there.desk.dead_letters(limit) for limit in (1, 2)]
        assert [(len(one["deadLetters"]), one["isComplete"]) for one in parts] == [(1, False), (2, True)]
        assert await there.desk.revive_dead_letters([ids[0], "nobody"]) == 1
        assert await there.desk.revive_dead_letters(None) == 1
        assert (await there.desk.counts())["outbox"] == {"pending": 2, "dead": 0}
