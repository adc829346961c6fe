"""Nothing is lost and nothing is done twice, however often the agent is killed; and the harness would notice."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.crash_test_harness import judge, uploads
from scripts.crash_test_harness.book import Sent
from scripts.crash_test_harness.ledger import Frame, Ledger, Message, Order
from scripts.crash_test_harness.seat import Seat
from scripts.crash_test_harness.steps import named_steps
from tests.doubles.tusd import find_tusd

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 100
ENDS_WITHIN_S = 900.0


def crash_test(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/crash_test."""
    find_tusd()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.crash_test", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_under_a_hundred_kills_every_command_is_carried_out_once_and_every_byte_arrives() -> None:
    code, said = crash_test("--kills", str(KILLS), "--workers", "2")
    assert code == 0, said
    assert f"{KILLS}, " in next(line for line in said.splitlines() if line.startswith("kills"))


def test_the_kills_that_show_mistakes_do_no_harm_to_the_build_as_it_is() -> None:
    code, said = crash_test("--broken", "none")
    assert code == 0, said


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        ("cursor-first", "lost: HEARTBEAT cmd-3-"),
        ("effect-first", "carried out twice: MESSAGE cmd-3-"),
        ("new-id", "final ACKs (completed, completed)"),
        ("from-zero", "started from zero: file-1 was sent as 2 uploads"),
        ("refusal-unnoted", "refused, and yet complete: file-1"),
    ],
)
def test_a_broken_build_fails_with_the_complaint_that_names_its_mistake(build: str, complaint: str) -> None:
    code, said = crash_test("--broken", build)
    assert code == 1, said
    assert complaint in said


def test_the_journal_steps_are_found_in_the_code_wherever_they_are_handed_on() -> None:
    """By `write`, by a carrier's note, through a table of commands, as a method."""
    handed_on = {"inbox.receive", "attempts.note_refusal", "dispatcher.pause_upload", "presence.Presence._status"}
    assert handed_on <= named_steps()
    assert "inbox.finish" not in named_steps()


# --- the judge's own rules, where a run seldom leads to a complaint ---


def given(kind: str, payload: Mapping[str, Any], expects: frozenset[tuple[str, str]] | None) -> Ledger:
    """An oracle that gave one command, `c1`, and has been greeted."""
    ledger = Ledger()
    ledger.greeted_epochs.add(1)
    ledger.give(Frame(kind, b"{}", Order("c1", kind, payload, expects)))
    return ledger


def reported(ledger: Ledger, kind: str, payload: Mapping[str, Any], message_id: str) -> None:
    """A message of the agent."""
    envelope = {"type": kind, "id": message_id, "payload": payload, "inReplyTo": "c1"}
    ledger.record(json.dumps(envelope).encode(), envelope, 1)


@pytest.mark.parametrize(("kills", "complaints"), [(2, 1), (3, 0)])
def test_a_command_may_be_put_aside_after_three_kills_while_it_was_open_and_not_before(
    kills: int, complaints: int
) -> None:
    ledger = given("HEARTBEAT", {}, frozenset({judge.COMPLETED}))
    for _ in range(kills):
        ledger.note_kill()
    error = {"code": "POISON", "message": "carrying it out failed 3 times; it was put aside"}
    reported(ledger, "ACK", {"commandId": "c1", "status": "failed", "error": error}, "m1")
    ledger.note_kill()
    found = judge.judge(ledger, [], lambda _: [])
    assert len(found) == complaints, found
    assert len(judge.poisoned(ledger)) == 1 - complaints


def test_an_upload_whose_start_was_put_aside_is_not_missed_but_one_that_was_reported_all_the_same_is_noticed() -> None:
    ledger = given("UPLOAD_START", {"fileId": "f1"}, None)
    for _ in range(3):
        ledger.note_kill()
    error = {"code": "POISON", "message": "carrying it out failed 3 times; it was put aside"}
    reported(ledger, "ACK", {"commandId": "c1", "status": "failed", "error": error}, "m1")
    assert judge.judge(ledger, [], lambda _: []) == []
    done = {"fileId": "f1", "revision": 3, "uploadId": "u1", "confirmation": "response"}
    reported(ledger, "UPLOAD_COMPLETE", done, "m2")
    assert judge.judge(ledger, [], lambda _: []) == ["f1 was uploaded, but nobody asked for it"]


def refused(*, is_taken: bool) -> Sent:
    """An upload whose last PATCH was answered 422."""
    return Sent("u1", "f1", 10, bytes=10, refused_with=422, is_refusal_taken=is_taken)


def complete(confirmation: str) -> Message:
    """Of that upload."""
    return Message(b"", "UPLOAD_COMPLETE", {"uploadId": "u1", "confirmation": confirmation}, "c1", "m1")


def failed(code: str, *, is_retryable: bool = False) -> Message:
    """Of that upload."""
    return Message(b"", "UPLOAD_FAILED", {"code": code, "message": "no", "retryable": is_retryable}, "c1", "m1")


@pytest.mark.parametrize(
    ("moves", "sent", "is_right"),
    [
        ([failed("SERVER_REFUSED")], refused(is_taken=True), True),
        ([failed("SERVER_REFUSED")], refused(is_taken=False), True),
        ([complete("offset")], refused(is_taken=False), True),
        ([complete("offset")], refused(is_taken=True), False),
        ([complete("response")], refused(is_taken=False), False),
        ([failed("SERVER_REFUSED", is_retryable=True)], refused(is_taken=True), False),
        ([failed("SERVER_REFUSED")], Sent("u1", "f1", 10, bytes=10), False),
        ([failed("FILE_CHANGED")], refused(is_taken=True), False),
        ([], refused(is_taken=True), False),
    ],
)
def test_a_refused_file_has_failed_but_where_the_answer_may_be_lost_the_offset_may_make_it_complete(
    moves: list[Message], sent: Sent, *, is_right: bool
) -> None:
    assert (not list(uploads.refusals("f1", moves, [sent]))) is is_right


def test_only_a_refusal_whose_answer_may_be_lost_counts_as_one_in_the_window() -> None:
    assert uploads.in_the_window([complete("offset")], [refused(is_taken=False)])
    assert not uploads.in_the_window([complete("offset")], [refused(is_taken=True)])
    assert not uploads.in_the_window([complete("offset")], [Sent("u1", "f1", 10, bytes=10)])


def test_a_second_upload_from_the_first_byte_is_right_only_in_the_place_of_one_that_is_gone_or_refused() -> None:
    second = Sent("u2", "f1", 10, bytes=10)
    assert list(uploads.from_zero("f1", [Sent("u1", "f1", 10, bytes=4), second]))
    assert not list(uploads.from_zero("f1", [Sent("u1", "f1", 10, bytes=4, is_gone=True), second]))
    assert not list(uploads.from_zero("f1", [refused(is_taken=True), second]))
    assert not list(uploads.from_zero("f1", [Sent("u1", "f1", 10), second]))


def test_a_line_that_the_console_showed_as_said_is_missed_and_one_that_came_twice_is_noticed() -> None:
    seat = Seat()
    seat.typed, seat.shown = ["line-1-typed", "line-2-typed"], {"line-1-typed"}
    assert seat.judge(["line-1-typed"]) == []
    assert seat.judge([]) == ["lost: 'line-1-typed', which the console showed as said"]
    assert seat.judge(["line-1-typed", "line-1-typed"]) == ["carried out twice: 'line-1-typed' was sent 2 times"]
