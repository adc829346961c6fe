"""What people want of an upload, from afar and at this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.events import PauseOverruled, UploadPaused, UploadQueued
from sse_agent.journal import Journal, transitions, uploads, wishes
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
        assert await journal.write(wishes.pause, "f", None) == [UploadPaused("f", 0, here=True)]
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
