"""The journal's functions, on a real SQLite, against a plain model of the contract, whatever happens in which order."""

import json
import tempfile
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sse_agent import dispatcher, lifecycle
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Transaction, attempts, inbox, outbox, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.lifecycle import UploadState
from sse_agent.messages import AckStatus, UploadStart, parse_envelope, parse_payload
from tests.doubles.clock import FakeClock
from tests.doubles.journals import arrival
from tests.doubles.memory_journal import MemoryJournal
from tests.properties import model
from tests.properties.profile import REPEATABLE

FILES = st.sampled_from(["f", "f", "f", "g"])
KINDS = st.sampled_from(
    ["UPLOAD_START"] * 3 + ["UPLOAD_PAUSE", "UPLOAD_RESUME"] * 2 + ["UPLOAD_CANCEL", "HEARTBEAT", "LIST_FILES"]
)
WISHES = st.sampled_from(["UPLOAD_PAUSE", "UPLOAD_RESUME", "UPLOAD_CANCEL"])
CODES = st.sampled_from(["NO_PROGRESS", "FILE_CHANGED", "SERVER_REFUSED"])
RESULTS = st.sampled_from(["outcome", "refusal", "refusal", "trouble", "trouble", "interrupted"])
ENDPOINT = "https://tus.example.com/files/"
MISSING = GiveUp(ErrorCode.NOT_FOUND, "words")
SIZE = 100
CHANGES: dict[str, Callable[..., Any]] = {
    "UPLOAD_PAUSE": dispatcher.pause_upload,
    "UPLOAD_RESUME": dispatcher.resume_upload,
    "UPLOAD_CANCEL": dispatcher.cancel_upload,
}


class Journalled(RuleBasedStateMachine):
    """Two files, any commands, any ends of attempts, any crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="properties-")
        self.clock = FakeClock()
        self.open()
        self.model = model.Model()
        self.aside: list[str] = []
        self.attempts: dict[str, int] = {}
        self.said: dict[str, bytes] = {}
        self.wire: list[str] = []
        self.before: dict[str, tuple[str, int]] = {}
        self.n = 0

    def open(self) -> None:
        self.journal = MemoryJournal(self.clock, Path(self.folder.name) / "journal.db")

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """In one transaction; but first it is tried and undone: what is done again says the same under the same IDs."""
        self.clock.advance(1.0)

        def tried(tx: Transaction) -> tuple[Any, list[tuple[str, bytes]]]:
            result = work(tx, *args)
            return result, [(row[0], row[1]) for row in tx.all("SELECT message_id, body FROM outbox ORDER BY seq")]

        _, undone = self.journal.undo(tried)
        result, done = self.journal.transact(tried)
        assert done == undone, "work that is repeated repeats its messages"
        return result

    # --- what the control plane does ---

    @rule(kind=KINDS, file_id=FILES, variant=st.sampled_from([0, 0, 0, 1]))
    def receive_and_carry_out(self, kind: str, file_id: str, variant: int) -> None:
        self.receive(kind, file_id, variant)
        while self.journal.transact(inbox.waiting):
            self.carry_out_the_next_command(is_there=True, is_killed=False)

    @rule(kind=KINDS, file_id=FILES, variant=st.sampled_from([0, 0, 0, 1]))
    def receive(self, kind: str, file_id: str, variant: int) -> None:
        self.n += 1
        command_id = f"cmd-{self.n}"
        self.model.commands[command_id] = model.Command(kind, file_id, variant)
        assert self.do(inbox.receive, self.arrival(command_id))

    @precondition(lambda self: len(self.model.commands) > 2)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        self.receive_again_that(data.draw(st.sampled_from(sorted(self.model.commands))))

    def receive_again_that(self, command_id: str) -> None:
        assert not self.do(inbox.receive, self.arrival(command_id))
        row = self.row(command_id)
        pending = self.journal.transact(lambda tx: [head["message_id"] for head in tx.all(PENDING)])
        assert row["ack_id"] in pending, "the last acknowledgement goes out again"

    def arrival(self, command_id: str) -> inbox.Arrival:
        command = self.model.commands[command_id]
        payload: dict[str, Any] = {"fileId": command.file_id}
        if command.kind == "UPLOAD_START":
            payload["fileName"] = f"name-{command.variant}"
        if command.kind in ("HEARTBEAT", "LIST_FILES"):
            payload = {}
        self.n += 1
        return arrival(self.n, command.kind, payload, command_id=command_id)

    def row(self, command_id: str) -> Any:
        return self.journal.transact(lambda tx: tx.one("SELECT * FROM inbox WHERE command_id = ?", command_id))

    @precondition(lambda self: self.said)
    @rule(is_lost=st.booleans())
    def deliver(self, is_lost: bool) -> None:
        heads = self.journal.transact(outbox.heads, 100)
        self.wire += [head.message_id for head in heads]
        if not is_lost:
            self.do(outbox.forget, [head.message_id for head in heads])

    @precondition(lambda self: len(self.wire) > 3)
    @rule()
    def ask_for_all_again(self) -> None:
        self.do(inbox.reset, "k9/1", "2026-01-01T00:00:00.000Z")

    # --- what the agent does ---

    @rule(is_there=st.sampled_from([True, True, True, False]), is_killed=st.sampled_from([False, False, False, True]))
    def carry_out_the_next_command(self, is_there: bool, is_killed: bool) -> None:
        command = self.journal.transact(inbox.begin_next)
        if command is None:
            return
        of = self.model.commands[command.command_id]
        assert command.attempts == self.attempts.get(command.command_id, 0) + 1, "every attempt is counted"
        self.attempts[command.command_id] = command.attempts
        if is_killed:
            self.journal.undo(self.effect, command, is_there)
            self.restart()
            return
        self.do(self.effect, command, is_there)
        if command.attempts > dispatcher.POISONED_AFTER:
            of.final = ("failed", "POISON")
        elif of.kind == "LIST_FILES":
            self.aside.append(command.command_id)
        else:
            self.model.carry_out(command.command_id, is_there=is_there)

    def effect(self, tx: Transaction, command: inbox.Command, is_there: bool) -> None:
        """As the dispatcher does it."""
        if command.attempts > dispatcher.POISONED_AFTER:
            inbox.finish(tx, command.command_id, AckStatus.FAILED, inbox.poison(command))
            return
        payload = parse_payload(command.type, parse_envelope(command.body).payload)
        if isinstance(payload, UploadStart):
            dispatcher.start_upload(tx, command, payload, ENDPOINT, SIZE if is_there else MISSING)
        elif command.type in CHANGES:
            CHANGES[command.type](tx, command, payload.file_id)  # type: ignore[attr-defined]
        elif command.type == "LIST_FILES":
            inbox.leave_open(tx, command.command_id, None)
        else:
            inbox.finish(tx, command.command_id, AckStatus.COMPLETED)

    @precondition(lambda self: self.aside)
    @rule(has_stumbled=st.booleans())
    def come_to_the_end_of_a_listing(self, has_stumbled: bool) -> None:
        command_id = self.aside.pop(0)
        if has_stumbled:
            self.do(inbox.take_back, command_id)
            return
        self.do(inbox.finish, command_id, AckStatus.COMPLETED)
        self.model.commands[command_id].final = ("completed", "")

    @precondition(lambda self: self.model.uploads)
    @rule(data=st.data(), progress=st.integers(0, SIZE))
    def begin(self, data: st.DataObject, progress: int) -> None:
        self.begin_that(data.draw(st.sampled_from(sorted(self.model.uploads))), progress)

    def begin_that(self, file_id: str, progress: int) -> None:
        # No `do`: a new attempt has a random ID, and is meant to.
        begun = self.journal.transact(transitions.begin, file_id)
        assert (begun is not None) == self.model.begin(file_id), "what people wish holds, and only what can run begins"
        if begun is not None and begun.url is None:
            self.do(attempts.note_created, file_id, f"{ENDPOINT}{begun.attempt_id}", "1 2 3", SIZE, SIZE)
        if begun is not None:
            self.do(attempts.note_progress, file_id, progress)

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), result=RESULTS, code=CODES, is_retryable=st.booleans())
    def settle(self, data: st.DataObject, result: str, code: str, is_retryable: bool) -> None:
        self.settle_that(data.draw(st.sampled_from(self.under_way())), result, code, is_retryable)

    @precondition(lambda self: any(upload.state in ("queued", "waiting") for upload in self.model.uploads.values()))
    @rule(kind=WISHES, result=RESULTS, code=CODES, is_retryable=st.booleans(), is_killed=st.booleans())
    def wish_something_while_it_goes_up(
        self, kind: str, result: str, code: str, is_retryable: bool, is_killed: bool
    ) -> None:
        ready = [name for name, upload in self.model.uploads.items() if upload.state in ("queued", "waiting")]
        self.begin_that(ready[0], 40)
        self.receive_and_carry_out(kind, ready[0], 0)
        if is_killed:
            self.restart()
        elif self.model.uploads[ready[0]].state == "uploading":
            self.settle_that(ready[0], result, code, is_retryable)

    def settle_that(self, file_id: str, result: str, code: str, is_retryable: bool) -> None:
        results: dict[str, Result] = {
            "outcome": Outcome("ab" * 32, f"id-{self.n}", "response"),
            "refusal": GiveUp(ErrorCode(code), "words", retryable=is_retryable),
            "trouble": Trouble("words", self.clock.now() + timedelta(seconds=9)),
            "interrupted": Interrupted(),
        }
        self.do(transitions.settle, file_id, results[result], 1.0)
        self.model.settle(file_id, result, code, is_retryable=is_retryable)

    def under_way(self) -> list[str]:
        return sorted(name for name, upload in self.model.uploads.items() if upload.state == "uploading")

    @precondition(lambda self: self.n > 3)
    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.open()
        self.do(inbox.reopen)
        self.do(transitions.recover)
        self.model.restart()
        self.aside = []

    # --- what must hold ---

    @invariant()
    def every_upload_is_where_the_model_says(self) -> None:
        found = {name: self.journal.transact(uploads.find, name) for name in ("f", "g")}
        for name, upload in found.items():
            expected = self.model.uploads.get(name)
            assert (upload is None) == (expected is None)
            if upload is None or expected is None:
                continue
            is_at = (str(upload.state), upload.revision, str(upload.wish))
            assert is_at == (expected.state, expected.revision, expected.wish), "an upload is elsewhere"
            self.agrees_with_the_table(name, upload.state, upload.revision)

    def agrees_with_the_table(self, name: str, state: UploadState, revision: int) -> None:
        before, at = self.before.get(name, (UploadState.QUEUED, 1))
        self.before[name] = (state, revision)
        reached = {UploadState(before)}
        for _ in range(revision - at):
            reached = {after for source in reached for after in lifecycle.UPLOAD[source].values()}
        assert state in reached, f"{revision - at} steps of the table do not lead from {before} to {state}"

    @invariant()
    def every_command_is_acknowledged_as_the_model_says_and_finally_once(self) -> None:
        acks: dict[str, list[tuple[str, str]]] = {name: [] for name in self.model.commands}
        for body in self.bodies():
            if body["type"] == "ACK":
                payload = body["payload"]
                acks[payload["commandId"]].append((payload["status"], payload.get("error", {}).get("code", "")))
        for name, command in self.model.commands.items():
            finals = [ack for ack in acks[name] if ack[0] != "accepted"]
            assert finals == ([command.final] if command.final else []), f"{name}: {command}"
            is_finished = self.row(name)["state"] == "finished"
            assert is_finished == (command.final is not None), "what has its final acknowledgement is finished"

    @invariant()
    def every_uploads_reports_rise_in_revision_and_end_with_its_end(self) -> None:
        for name in ("f", "g"):
            told = [
                (body["type"], body["payload"]["revision"])
                for body in self.bodies()
                if body["type"].startswith("UPLOAD_") and body["payload"]["fileId"] == name
            ]
            revisions = [revision for _, revision in told]
            assert revisions == sorted(set(revisions)), "strictly rising"
            kinds = [kind for kind, _ in told]
            assert kinds.count("UPLOAD_COMPLETE") <= 1
            for last in ("UPLOAD_COMPLETE", "UPLOAD_CANCELLED"):
                assert last not in kinds[:-1], "nothing leaves a final state"
            upload = self.model.uploads.get(name)
            if upload is not None and upload.state in ("complete", "failed", "cancelled"):
                assert told[-1] == (f"UPLOAD_{upload.state.upper()}", upload.revision)

    def bodies(self) -> list[dict[str, Any]]:
        """Everything that was ever put into the outbox, oldest first; and under each ID only ever these bytes."""
        for row in self.journal.transact(lambda tx: tx.all("SELECT message_id, body FROM outbox ORDER BY seq")):
            assert self.said.setdefault(row["message_id"], row["body"]) == row["body"], "the same ID, other bytes"
        return [json.loads(body) for body in self.said.values()]

    @invariant()
    def nothing_is_sent_that_was_not_stored(self) -> None:
        assert set(self.wire) <= self.said.keys()


PENDING = "SELECT message_id FROM outbox WHERE state = 'pending'"
WALK = settings(REPEATABLE, max_examples=30, stateful_step_count=40)


def test_whatever_happens_in_whatever_order_the_journal_does_as_the_contract_says() -> None:
    run_state_machine_as_test(Journalled, settings=WALK)


# --- the walk would notice ---

REAL_SETTLE, REAL_MOVE, REAL_FINISH = transitions.settle, transitions._move, inbox.finish
NUMBERS = count()


def _finish_and_begin_again(tx: Transaction, command_id: str, *args: Any) -> None:
    REAL_FINISH(tx, command_id, *args)
    tx.run("UPDATE inbox SET state = 'received' WHERE command_id = ? AND attempts < 2", command_id)


def _settle_without_wishes(tx: Transaction, file_id: str, result: Result, seconds: float) -> uploads.Upload:
    if isinstance(result, GiveUp):
        return transitions.fail(tx, uploads.existing(tx, file_id), result, seconds)
    return REAL_SETTLE(tx, file_id, result, seconds)


def _recover_without_wishes(tx: Transaction) -> None:
    for row in tx.all("SELECT * FROM uploads WHERE state = 'uploading'"):
        transitions.displace(tx, uploads.upload_of(row), 0.0)


def _random_id(*_: object) -> str:
    return f"message-{next(NUMBERS)}"


def _move_and_keep_the_revision(tx: Transaction, upload: uploads.Upload, *args: Any, **changes: Any) -> uploads.Upload:
    REAL_MOVE(tx, upload, *args, **changes)
    tx.run("UPDATE uploads SET revision = ? WHERE file_id = ?", upload.revision, upload.file_id)
    return uploads.existing(tx, upload.file_id)


def _send_nothing_again(*_: object) -> None:
    return


BROKEN: dict[str, tuple[Any, str, Callable[..., Any], str]] = {
    "a finished command is begun again": (inbox, "finish", _finish_and_begin_again, "is finished"),
    "a restart forgets what people wish": (
        transitions,
        "recover",
        _recover_without_wishes,
        "elsewhere\nassert .'queued',|CANCELLED",
    ),
    "a new message ID at a repetition": (inbox, "derived_id", _random_id, "repeats its messages"),
    "a revision that stays": (transitions, "_move", _move_and_keep_the_revision, "an upload is elsewhere"),
}


@pytest.mark.parametrize(("where", "name", "mistake", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_journal_with_a_mistake_does_not_get_through(
    where: Any, name: str, mistake: Callable[..., Any], words: str
) -> None:
    quick = settings(WALK, max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    with patch.object(where, name, mistake), pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(Journalled, settings=quick)


def test_neither_does_one_whose_mistake_takes_a_certain_order_to_show() -> None:
    walked = Journalled()
    try:
        walked.receive_and_carry_out("UPLOAD_START", "f", 0)
        walked.deliver(False)
        with patch.object(outbox, "send_again", _send_nothing_again), pytest.raises(AssertionError, match="out again"):
            walked.receive_again_that("cmd-1")
        walked.begin_that("f", 40)
        walked.receive_and_carry_out("UPLOAD_CANCEL", "f", 0)
        walked.every_upload_is_where_the_model_says()
        with patch.object(transitions, "settle", _settle_without_wishes):
            walked.settle_that("f", "refusal", "NO_PROGRESS", True)
        with pytest.raises(AssertionError, match="elsewhere"):
            walked.every_upload_is_where_the_model_says()
    finally:
        walked.teardown()
