"""Messages: stored once, in order within a lane, kept when they may be asked for again."""

from datetime import UTC, datetime
from pathlib import Path

from sse_agent.journal import Transaction, outbox
from sse_agent.messages import Chat, EventType, event
from tests.doubles.journals import CLIENT, journal_in

AT = datetime(2026, 11, 22, tzinfo=UTC)


def put(tx: Transaction, message_id: str, lane: str, text: str = "x", is_kept: bool = False) -> None:
    chat = Chat(text=text, from_="test")
    message = event(EventType.MESSAGE, chat, client_id=CLIENT, at=AT, message_id=message_id)
    outbox.put(tx, message, lane=lane, is_kept=is_kept)


def head_ids(tx: Transaction) -> list[str]:
    return [message.message_id for message in outbox.heads(tx, 100)]


async def test_only_the_first_of_each_lane_may_go_and_the_next_follows_when_it_is_gone(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        for message_id, lane in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")]:
            await journal.write(put, message_id, lane)
        assert await journal.read(head_ids) == ["a1", "b1"]
        await journal.write(outbox.forget, ["a1"])
        assert await journal.read(head_ids) == ["a2", "b1"]


async def test_a_dead_letter_blocks_nothing_and_is_kept_with_its_reason(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(put, "a1", "a")
        await journal.write(put, "a2", "a")
        await journal.write(outbox.bury, "a1", "422 invalid")
        assert await journal.read(head_ids) == ["a2"]
        row = await journal.read(lambda tx: tx.one("SELECT state, refusal FROM outbox WHERE message_id = 'a1'"))
        assert row is not None
        assert tuple(row) == ("dead", "422 invalid")


async def test_the_first_body_of_an_id_stands(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(put, "a1", "a", text="first")
        await journal.write(put, "a1", "a", text="second")
        assert b"first" in (await journal.read(outbox.heads, 1))[0].body


async def test_what_is_kept_can_be_sent_again_unchanged_and_the_rest_is_gone(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(put, "kept", "a", is_kept=True)
        await journal.write(put, "passing", "b")
        body = (await journal.read(outbox.heads, 1))[0].body
        await journal.write(outbox.forget, ["kept", "passing"])
        assert await journal.read(head_ids) == []
        await journal.write(outbox.send_again, "kept")
        await journal.write(outbox.send_again, "passing")
        again = await journal.read(outbox.heads, 10)
        assert [(message.message_id, message.body) for message in again] == [("kept", body)]


async def test_pruning_never_drops_what_was_not_sent(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await journal.write(put, "waits", "a")
        await journal.write(put, "sent", "b", is_kept=True)
        await journal.write(outbox.forget, ["sent"])
        assert await journal.write(outbox.prune, "2027-01-01T00:00:00.000Z") == 1
        assert await journal.read(head_ids) == ["waits"]
