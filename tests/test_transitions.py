"""Every change of an upload's state: what it leads to, what is reported of it, what is kept and what is given back."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sse_agent import lifecycle
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Journal, Transaction, attempts, inbox, planning, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.journal.uploads import Upload
from sse_agent.lifecycle import UploadSignal, UploadState, Wish
from sse_agent.messages import EventType, UploadStart, derived_id
from tests.doubles.clock import FakeClock
from tests.doubles.journals import acknowledgements, arrival, journal_in, outgoing

URL = "https://tus.example.com/files/5ecre7"
ENDPOINT = "https://tus.example.com/files/"
SIZE = 100
DONE = Outcome("ab" * 32, "5ecre7", "response")
LATER = Trouble("no answer", FakeClock().now() + timedelta(seconds=30))
BROKEN_OFF = Interrupted()


def failure(code: ErrorCode = ErrorCode.NO_PROGRESS, *, retryable: bool = True) -> GiveUp:
    return GiveUp(code, "words", retryable=retryable)


def start(tx: Transaction) -> Upload:
    """UPLOAD_START of `f`, received, carried out and left open."""
    payload = {"fileId": "f", "fileName": "f.bin", "uploadToken": "t0k3n"}
    inbox.receive(tx, arrival(1, "UPLOAD_START", payload, command_id="start"))
    inbox.leave_open(tx, "start", "f")
    return uploads.add(tx, "start", UploadStart(file_id="f", file_name="f.bin", upload_token="t0k3n"), ENDPOINT, SIZE)


def under_way(tx: Transaction) -> Upload:
    """It is created on the server, and some of it is there."""
    start(tx)
    transitions.begin(tx, "f")
    attempts.note_created(tx, "f", URL, "1 2 100 4 5", SIZE, SIZE)
    attempts.note_progress(tx, "f", 40)
    return uploads.existing(tx, "f")


def wished(tx: Transaction, wanted: Wish) -> None:
    """As the dispatcher does it for an upload under way."""
    kind = {Wish.PAUSE: "UPLOAD_PAUSE", Wish.CANCEL: "UPLOAD_CANCEL", Wish.RUN: "UPLOAD_RESUME"}[wanted]
    inbox.receive(tx, arrival(2, kind, {"fileId": "f"}, command_id="wish"))
    uploads.wish(tx, "f", wanted, "wish")
    if wanted is Wish.CANCEL:
        inbox.leave_open(tx, "wish", "f")


async def told(journal: Journal, kind: EventType) -> list[dict[str, Any]]:
    return [payload for found, payload in await journal.read(outgoing) if found == kind]


@pytest.mark.parametrize(
    ("wish", "result", "state"),
    [
        (Wish.RUN, DONE, UploadState.COMPLETE),
        (Wish.RUN, failure(), UploadState.FAILED),
        (Wish.RUN, LATER, UploadState.WAITING),
        (Wish.RUN, BROKEN_OFF, UploadState.QUEUED),
        (Wish.PAUSE, DONE, UploadState.COMPLETE),
        (Wish.PAUSE, failure(), UploadState.FAILED),
        (Wish.PAUSE, LATER, UploadState.PAUSED),
        (Wish.PAUSE, BROKEN_OFF, UploadState.PAUSED),
        (Wish.CANCEL, DONE, UploadState.COMPLETE),
        (Wish.CANCEL, failure(), UploadState.CANCELLED),
        (Wish.CANCEL, LATER, UploadState.CANCELLED),
        (Wish.CANCEL, BROKEN_OFF, UploadState.CANCELLED),
    ],
)
async def test_a_wish_is_stronger_than_trouble_and_only_completion_beats_a_cancel(
    tmp_path: Path, wish: Wish, result: Result, state: UploadState
) -> None:
    async with journal_in(tmp_path) as journal:
        before = await journal.write(under_way)
        if wish is not Wish.RUN:
            await journal.write(wished, wish)
        after = await journal.write(transitions.settle, "f", result, 1.5)
        assert (after.state, after.revision) == (state, before.revision + 1)


@pytest.mark.parametrize("state", UploadState)
@pytest.mark.parametrize("signal", UploadSignal)
async def test_an_arrow_that_is_not_in_the_table_changes_nothing(
    tmp_path: Path, state: UploadState, signal: UploadSignal
) -> None:
    if signal in lifecycle.UPLOAD[state]:
        assert lifecycle.after(state, signal) is lifecycle.UPLOAD[state][signal]
        return
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        await journal.write(lambda tx: tx.run("UPDATE uploads SET state = ?", state))
        before = await journal.read(uploads.existing, "f")
        with pytest.raises(ValueError, match=f"an upload that is {state} can't take the signal {signal}"):
            await journal.write(lambda tx: transitions._move(tx, before, signal))
        assert await journal.read(uploads.existing, "f") == before


async def test_a_complete_upload_is_reported_its_start_acknowledged_and_its_secrets_forgotten(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        before = await journal.write(under_way)
        await journal.write(wished, Wish.CANCEL)
        after = await journal.write(transitions.settle, "f", DONE, 1.5)
        assert await told(journal, EventType.UPLOAD_COMPLETE) == [
            {
                "fileId": "f",
                "revision": before.revision + 1,
                "fileSize": SIZE,
                "sha256": "ab" * 32,
                "uploadId": "5ecre7",
                "seconds": 1.5,
                "confirmation": "response",
            }
        ]
        assert await journal.read(acknowledgements, "start") == ["accepted", "completed"]
        assert await journal.read(acknowledgements, "wish") == ["accepted", "failed"], "the cancel came too late"
        assert (after.offset, after.url, after.token) == (SIZE, None, None)
        assert after.complete_sha256 == "ab" * 32
        assert before.complete_sha256 is None
        assert await journal.read(attempts.terminations, 10) == []
        outcome = await journal.read(lambda tx: uploads.existing(tx, "f").outcome_id)
        assert outcome == derived_id("start", EventType.UPLOAD_COMPLETE, after.revision)


async def test_a_cancelled_upload_ends_all_its_commands_and_is_given_back(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        await journal.write(wished, Wish.CANCEL)
        after = await journal.write(transitions.settle, "f", BROKEN_OFF, 1.0)
        assert await told(journal, EventType.UPLOAD_CANCELLED) == [
            {"fileId": "f", "revision": after.revision, "offset": 40}
        ]
        assert await journal.read(acknowledgements, "start") == ["accepted", "failed"]
        assert await journal.read(acknowledgements, "wish") == ["accepted", "completed"]
        (given_back,) = await journal.read(attempts.terminations, 10)
        assert (given_back.url, given_back.endpoint, given_back.token) == (URL, ENDPOINT, "t0k3n")
        kept = await journal.read(uploads.existing, "f")
        assert (kept.url, kept.token) == (None, None)


@pytest.mark.parametrize(
    ("error", "keeps_its_place"),
    [
        (failure(ErrorCode.NO_PROGRESS), True),
        (failure(ErrorCode.NOT_FOUND), True),
        (failure(ErrorCode.SERVER_REFUSED), True),
        (failure(ErrorCode.FILE_CHANGED), False),
        (failure(ErrorCode.FILE_SHRUNK), False),
    ],
)
async def test_a_failed_upload_goes_on_where_it_was_unless_its_bytes_are_of_no_use(
    tmp_path: Path, error: GiveUp, keeps_its_place: bool
) -> None:
    async with journal_in(tmp_path) as journal:
        attempt = (await journal.write(under_way)).attempt_id
        failed = await journal.write(transitions.settle, "f", error, 1.0)
        (report,) = await told(journal, EventType.UPLOAD_FAILED)
        assert (report["code"], report["offset"], report["retryable"]) == (error.code, 40, True)
        assert len(await journal.read(attempts.terminations, 10)) == (0 if keeps_its_place else 1)
        await journal.write(wished, Wish.RUN)
        revived = await journal.write(transitions.revive, failed)
        assert (revived.state, revived.tries, revived.code, revived.outcome_id) == (UploadState.QUEUED, 0, None, None)
        begun = await journal.write(transitions.begin, "f")
        assert begun is not None
        if keeps_its_place:
            assert (begun.url, begun.attempt_id, begun.offset) == (URL, attempt, 40)
        else:
            assert (begun.url, begun.file_identity, begun.offset, begun.sent_limit) == (None, None, 0, 0)
            assert begun.attempt_id != attempt


async def test_what_was_refused_as_a_whole_starts_a_new_attempt(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        attempt = (await journal.write(under_way)).attempt_id
        await journal.write(attempts.note_refusal, "f", 500, "the hook says no")
        await journal.write(attempts.note_progress, "f", SIZE)
        failed = await journal.write(transitions.settle, "f", failure(ErrorCode.SERVER_REFUSED), 1.0)
        assert [item.url for item in await journal.read(attempts.terminations, 10)] == [URL]
        revived = await journal.write(transitions.revive, failed)
        assert (revived.url, revived.refusal, revived.offset) == (None, None, 0)
        assert revived.attempt_id != attempt


async def test_an_error_of_the_last_patch_that_was_no_refusal_of_the_file_costs_no_byte(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        await journal.write(attempts.note_refusal, "f", 401, "the token is not accepted")
        failed = await journal.write(transitions.settle, "f", failure(ErrorCode.SERVER_REFUSED), 1.0)
        revived = await journal.write(transitions.revive, failed)
        assert (revived.url, revived.offset) == (URL, 40)


async def test_what_failed_for_good_is_given_back_to_the_server(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        await journal.write(transitions.settle, "f", failure(ErrorCode.CHECKSUM_MISMATCH, retryable=False), 1.0)
        assert [item.url for item in await journal.read(attempts.terminations, 10)] == [URL]
        assert await journal.read(acknowledgements, "start") == ["accepted", "failed"]


async def test_only_a_creation_gets_a_new_attempt_id(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        added = await journal.write(start)
        first = await journal.write(transitions.begin, "f")
        await journal.write(transitions.settle, "f", BROKEN_OFF, 0.0)
        second = await journal.write(transitions.begin, "f")
        assert first is not None
        assert second is not None
        assert len({added.attempt_id, first.attempt_id, second.attempt_id}) == 3, "a 201 may have been lost"
        await journal.write(attempts.note_created, "f", URL, "1 2 100 4 5", SIZE, SIZE)
        await journal.write(transitions.settle, "f", BROKEN_OFF, 0.0)
        third = await journal.write(transitions.begin, "f")
        assert third is not None
        assert third.attempt_id == second.attempt_id


@pytest.mark.parametrize("wish", [Wish.PAUSE, Wish.CANCEL])
async def test_what_is_not_to_run_is_not_begun(tmp_path: Path, wish: Wish) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(start)
        await journal.write(uploads.wish, "f", wish, "wish")
        assert await journal.write(transitions.begin, "f") is None


@pytest.mark.parametrize(
    ("wish", "state", "event"),
    [
        (Wish.RUN, UploadState.QUEUED, None),
        (Wish.PAUSE, UploadState.PAUSED, EventType.UPLOAD_PAUSED),
        (Wish.CANCEL, UploadState.CANCELLED, EventType.UPLOAD_CANCELLED),
    ],
)
async def test_after_a_crash_every_upload_is_as_people_wish(
    tmp_path: Path, wish: Wish, state: UploadState, event: EventType | None
) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        if wish is not Wish.RUN:
            await journal.write(wished, wish)
    async with journal_in(tmp_path) as journal:
        await journal.write(transitions.recover)
        upload = await journal.read(uploads.existing, "f")
        assert (upload.state, upload.offset) == (state, 40)
        moved = [kind for kind, payload in await journal.read(outgoing) if "fileId" in payload]
        assert moved == ([event] if event else [])
        final = [[], ["completed"]][wish is Wish.CANCEL]
        assert (await journal.read(acknowledgements, "wish"))[1:] == final


async def test_what_waited_is_due_at_once_after_a_restart_and_has_patience_again(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        await journal.write(transitions.settle, "f", LATER, 1.0)
    async with journal_in(tmp_path) as journal:
        await journal.write(transitions.recover)
        seen = await journal.read(planning.outlook, 10)
        assert [candidate.file_id for candidate in seen.candidates] == ["f"]
        upload = await journal.read(uploads.existing, "f")
        assert (upload.state, upload.reason, upload.tries) == (UploadState.WAITING, "no answer", 0)


async def test_work_repeated_after_a_crash_repeats_its_message_id(tmp_path: Path) -> None:
    def settle_and_crash(tx: Transaction) -> None:
        transitions.settle(tx, "f", DONE, 1.0)
        raise RuntimeError("the machine dies here")

    async with journal_in(tmp_path) as journal:
        await journal.write(under_way)
        with pytest.raises(RuntimeError):
            await journal.write(settle_and_crash)
        await journal.write(transitions.settle, "f", DONE, 1.0)
        upload = await journal.read(uploads.existing, "f")
        assert upload.outcome_id == derived_id("start", EventType.UPLOAD_COMPLETE, upload.revision)
