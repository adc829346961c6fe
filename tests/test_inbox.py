"""Commands: received once, acknowledged at once, finished once."""

from pathlib import Path

import pytest

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Transaction, inbox, outbox
from sse_agent.messages import AckStatus
from tests.doubles.journals import acknowledgements, journal_in, outgoing, receive


async def test_command_cursor_and_first_acknowledgement_are_durable_together(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        assert await receive(journal, 7, "HEARTBEAT", {})
    async with journal_in(tmp_path) as journal:
        assert await journal.read(inbox.cursor) == "k1/7"
        assert await journal.read(acknowledgements, "cmd-7") == ["accepted"]
        command = await journal.write(inbox.begin_next)
        assert command is not None
        assert command.command_id == "cmd-7"


async def test_a_receipt_that_fails_moves_no_cursor(tmp_path: Path) -> None:
    def receive_and_fail(tx: Transaction) -> None:
        from tests.doubles.journals import arrival

        inbox.receive(tx, arrival(2, "HEARTBEAT", {}))
        raise RuntimeError("the machine dies here")

    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        with pytest.raises(RuntimeError):
            await journal.write(receive_and_fail)
        assert await journal.read(inbox.cursor) == "k1/1"
        assert await journal.read(acknowledgements, "cmd-2") == []


async def test_a_repeated_command_is_not_received_again_and_its_last_ack_goes_out_again_byte_for_byte(
    tmp_path: Path,
) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        await journal.write(inbox.begin_next)
        await journal.write(inbox.finish, "cmd-1", AckStatus.COMPLETED)
        before = await journal.read(outbox.heads, 10)
        await journal.write(outbox.forget, [message.message_id for message in before])
        final = (await journal.read(outbox.heads, 10))[0]
        await journal.write(outbox.forget, [final.message_id])
        assert await journal.read(outgoing) == []

        assert not await receive(journal, 2, "UPLOAD_CANCEL", {"fileId": "other body"}, command_id="cmd-1")

        again = (await journal.read(outbox.heads, 10))[0]
        assert (again.message_id, again.body) == (final.message_id, final.body)
        assert await journal.write(inbox.begin_next) is None
        assert await journal.read(inbox.cursor) == "k1/2"


async def test_a_command_has_one_final_acknowledgement_whatever_is_tried_later(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        await journal.write(inbox.finish, "cmd-1", AckStatus.COMPLETED)
        await journal.write(inbox.finish, "cmd-1", AckStatus.FAILED, GiveUp(ErrorCode.POISON, "too late"))
        assert await journal.read(acknowledgements, "cmd-1") == ["accepted", "completed"]


async def test_what_is_refused_on_receipt_is_acknowledged_and_never_carried_out(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {}, refusal=GiveUp(ErrorCode.EXPIRED, "too late"))
        assert await journal.read(acknowledgements, "cmd-1") == ["rejected"]
        assert await journal.write(inbox.begin_next) is None


async def test_attempts_are_counted_before_a_command_is_tried(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
    for expected in (1, 2, 3, 4):
        async with journal_in(tmp_path) as journal:
            command = await journal.write(inbox.begin_next)
            assert command is not None
            assert command.attempts == expected


async def test_a_reset_takes_the_new_cursor_and_sends_again_what_is_not_older(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 1, "HEARTBEAT", {})
        await journal.write(inbox.finish, "cmd-1", AckStatus.COMPLETED)
        while heads := await journal.read(outbox.heads, 10):
            await journal.write(outbox.forget, [message.message_id for message in heads])

        assert await journal.write(inbox.reset, "k9/41", "2026-11-22T10:30:01.000Z") == 0
        assert await journal.write(inbox.reset, "k9/41", "2026-11-22T10:30:00.000Z") == 1

        assert await journal.read(inbox.cursor) == "k9/41"
        assert await journal.read(acknowledgements, "cmd-1") == ["completed"]
