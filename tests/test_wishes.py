"""What people want of an upload, from afar and at this machine."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import PauseOverruled, UploadCancelled, UploadEnded, UploadPaused, UploadQueued
from sse_agent.journal import Journal, inbox, outcomes, transitions, tries, uploads, wishes
from sse_agent.journal.inbox import Arrival
from sse_agent.journal.transitions import Interrupted
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.messages import UploadStart
from tests.doubles.journals import journal_in, outgoing

ENDPOINT = "https://tus.example.com/files/"


async def add(journal: Journal, file_id: str = "f") -> None:
    start = UploadStart(file_id=file_id, file_name="a.bin")
    await journal.write(uploads.add, "start", start, ENDPOINT, 7)


async def state(journal: Journal) -> UploadState:
    return (await journal.read(uploads.existing, "f")).state


async def test_what_a_person_here_paused_is_told_apart_and_survives_a_restart(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        assert await journal.write(wishes.pause, "f", None) == [
            UploadPaused("f", 0, here=True, file_name="a.bin", size=7)
        ]
        assert await journal.write(wishes.pause, "f", None) == []
        [(kind, _)] = await journal.read(outgoing)
        assert kind == "UPLOAD_PAUSED", "whoever is far away is told"
    async with journal_in(tmp_path) as journal:
        await journal.write(transitions.recover)
        upload = await journal.read(uploads.existing, "f")
        assert (upload.state, upload.is_paused_here) == (UploadState.PAUSED, True)


async def test_whoever_resumes_from_afar_what_was_paused_here_is_named(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        await journal.write(wishes.pause, "f", None)
        [event] = await journal.write(wishes.resume, "f", "cmd-9", "Anna")
        assert isinstance(event, UploadQueued)
        assert (event.why, event.overruled_by) == ("resumed", "Anna")
        # Neither what was paused from afar nor a person's own change of mind overrules anybody.
        await journal.write(wishes.pause, "f", "cmd-10")
        assert [e.overruled_by for e in await journal.write(wishes.resume, "f", "cmd-11", "Anna")] == [""]
        await journal.write(wishes.pause, "f", None)
        assert [e.overruled_by for e in await journal.write(wishes.resume, "f", None)] == [""]


async def test_a_pause_here_that_is_overruled_before_it_took_hold_is_told_as_well(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        await journal.write(transitions.begin, "f")
        await journal.write(wishes.pause, "f", None)
        assert await journal.write(wishes.resume, "f", "cmd-9", "Anna") == [PauseOverruled("f", "a.bin", "Anna")]
        assert await journal.write(wishes.resume, "f", "cmd-10", "Anna") == [], "once"


async def test_whoever_cancelled_is_named_also_when_it_took_a_while_to_take_hold(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        body = json.dumps({"type": "UPLOAD_CANCEL", "id": "cmd-1", "timestamp": "2026-11-22T10:30:00Z"})
        more = json.dumps({"clientId": "agent-1", "actor": "Ann", "payload": {"fileId": "f"}})
        envelope = f"{body[:-1]}, {more[1:]}".encode()
        await journal.write(inbox.receive, Arrival("k1/1", "cmd-1", "UPLOAD_CANCEL", "upload f", envelope))
        await add(journal)
        await journal.write(transitions.begin, "f")
        assert await journal.write(wishes.cancel, "f", "cmd-1") == []
        done = await journal.write(outcomes.settle, "f", Interrupted(), 1.0, timedelta(hours=24))
        assert done.event == UploadCancelled("f", "a.bin", 7, 0, here=False, actor="Ann")
        tried = await journal.read(tries.of, "f")
        assert tried[-1].reason == "cancelled from afar"


@pytest.mark.parametrize(("command_id", "here"), [(None, True), ("gone", False)])
async def test_who_is_not_known_is_not_named(tmp_path: Path, command_id: str | None, here: bool) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        told = await journal.write(wishes.cancel, "f", command_id)
        assert told == [UploadCancelled("f", "a.bin", 7, 0, here=here, actor="")]


async def test_a_failed_upload_is_retried_and_not_resumed(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        await journal.write(transitions.begin, "f")
        failure = GiveUp(ErrorCode.NO_PROGRESS, "24 h", retryable=True)
        done = await journal.write(outcomes.settle, "f", failure, 1.0, timedelta(hours=24))
        assert isinstance(done.event, UploadEnded)
        assert (done.event.file_name, done.event.size) == ("a.bin", 7)
        [event] = await journal.write(wishes.resume, "f", None)
        assert isinstance(event, UploadQueued)
        assert event.why == "retried"


@pytest.mark.parametrize(
    ("is_stop", "why", "reason"),
    [(True, "stopped", "the agent stopped"), (False, "displaced", "displaced by a more urgent upload")],
)
async def test_why_an_attempt_was_broken_off_is_told(tmp_path: Path, is_stop: bool, why: str, reason: str) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        await journal.write(transitions.begin, "f")
        done = await journal.write(outcomes.settle, "f", Interrupted(is_stop), 1.0, timedelta(hours=24))
        assert isinstance(done.event, UploadQueued)
        assert done.event.why == why
        assert [one.reason for one in await journal.read(tries.of, "f")] == [reason]


async def test_one_under_way_is_paused_or_cancelled_once_its_carrier_has_let_go(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await add(journal)
        await journal.write(transitions.begin, "f")
        assert await journal.write(wishes.pause, "f", None) == []
        assert (await journal.read(uploads.existing, "f")).wish is Wish.PAUSE
        await journal.write(transitions.settle, "f", Interrupted(), 1.0)
        assert await state(journal) is UploadState.PAUSED
        await journal.write(wishes.resume, "f", None)
        await journal.write(transitions.begin, "f")
        assert await journal.write(wishes.cancel, "f", None) == []
        await journal.write(transitions.settle, "f", Interrupted(), 1.0)
        assert await state(journal) is UploadState.CANCELLED


@pytest.mark.parametrize("want", [wishes.pause, wishes.resume, wishes.cancel])
async def test_what_is_over_or_unknown_stays_so(tmp_path: Path, want: Callable[..., Any]) -> None:
    async with journal_in(tmp_path) as journal:
        with pytest.raises(GiveUp) as unknown:
            await journal.write(want, "f", None)
        assert unknown.value.code is ErrorCode.NOT_FOUND
        await add(journal)
        await journal.write(transitions.begin, "f")
        await journal.write(transitions.settle, "f", transitions.Outcome("00" * 32, "id", "response"), 1.0)
        with pytest.raises(GiveUp) as over:
            await journal.write(want, "f", None)
        assert over.value.code is ErrorCode.WRONG_STATE
        assert await state(journal) is UploadState.COMPLETE
