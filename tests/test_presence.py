"""Who we are and how we are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

import sse_agent
from sse_agent.journal import Bell, Journal, Transaction, uploads
from sse_agent.lifecycle import UploadState
from sse_agent.messages import EVENT_LIMIT, CommandType, Envelope, Hello, UploadStart, parse_envelope, parse_hello
from sse_agent.presence import STATUS_EVERY_S, Presence
from sse_agent.progress import ProgressTable, Reading
from tests.doubles.clock import FakeClock
from tests.doubles.disks import unwritable
from tests.doubles.journals import CLIENT, journal_in, receive


@dataclass
class Rig:
    """`announced` and `published` are what the sender was handed."""

    journal: Journal
    clock: FakeClock
    presence: Presence
    progress: ProgressTable
    on_change: Bell
    announced: list[Envelope] = field(default_factory=list)
    published: list[Envelope] = field(default_factory=list)
    happened: anyio.Event = field(default_factory=anyio.Event)

    def publish(self, status: Envelope) -> None:
        self.published.append(status)
        self.happened.set()
        self.happened = anyio.Event()

    async def until_published(self, count: int) -> Envelope:
        with anyio.fail_after(10):
            while len(self.published) < count:
                await self.happened.wait()
        return self.published[count - 1]


@asynccontextmanager
async def rig(folder: Path, state_dir: Path | None = None) -> AsyncIterator[Rig]:
    clock, progress, bell = FakeClock(), ProgressTable(), Bell()
    async with journal_in(folder, clock) as journal:
        presence = Presence(
            journal,
            clock,
            progress,
            client_id=CLIENT,
            state_dir=state_dir or folder,
            folders=["/srv/outgoing"],
            allowed_commands=frozenset(CommandType) - {CommandType.LIST_FILES},
            announce=lambda greeting: there.announced.append(greeting),
            publish=lambda status: there.publish(status),
            on_change=bell,
        )
        there = Rig(journal, clock, presence, progress, bell)
        yield there


HELLO: Hello = parse_hello(
    '{"protocol": 1, "now": "2026-11-22T10:30:00Z", "heartbeatSeconds": 15, "resume": true, "latest": "k1/1"}'
)


def add(tx: Transaction, file_id: str, state: UploadState, reason: str | None = None) -> None:
    start = UploadStart(file_name=f"/srv/outgoing/{file_id}", file_id=file_id, file_size=1000)
    uploads.add(tx, f"cmd-{file_id}", start, "https://uploads.example.com/files/", 1000)
    tx.run("UPDATE uploads SET state = ?, reason = ? WHERE file_id = ?", state, reason, file_id)


async def test_the_greeting_tells_the_whole_state_in_short(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await receive(there.journal, 7, "HEARTBEAT", {})
        for file_id, state in [
            ("q", "queued"),
            ("u", "uploading"),
            ("w", "waiting"),
            ("p", "paused"),
            ("c", "complete"),
        ]:
            await there.journal.write(add, file_id, UploadState(state))
        await there.presence.greet(HELLO)
        [greeting] = there.announced
        assert (greeting.type, greeting.client_id) == ("CLIENT_CONNECTED", CLIENT)
        payload = greeting.payload
        assert payload["version"] == sse_agent.__version__
        assert payload["allowedFolders"] == ["/srv/outgoing"]
        assert payload["cursor"] == "k1/7"
        assert payload["uploads"] == {"queued": 1, "uploading": 1, "waiting": 1, "paused": 1, "complete": 1}
        assert {upload["fileId"] for upload in payload["unfinished"]} == {"q", "u", "w", "p"}
        assert payload["unfinished"][0]["fileId"] == "u", "what runs comes first"
        assert all(payload[name] for name in ("platform", "hostname"))
        assert payload["capabilities"] == ["upload", "chat"], "what is switched off is not offered"


async def test_each_greeting_is_a_message_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.presence.greet(HELLO)
        await there.presence.greet(HELLO)
        first, second = there.announced
        assert first.id != second.id


async def test_a_greeting_names_at_most_200_uploads_and_fits_into_an_event_whatever_the_reasons(
    tmp_path: Path,
) -> None:
    def add_many(tx: Transaction, reason: str | None) -> None:
        for n in range(300):
            add(tx, f"{reason is None}-{n}".ljust(128, "x"), UploadState.WAITING, reason)

    async with rig(tmp_path) as there:
        await there.journal.write(add_many, None)
        await there.presence.greet(HELLO)
        assert len(there.announced[0].payload["unfinished"]) == 200
        await there.journal.write(lambda tx: tx.run("UPDATE uploads SET reason = ?", "\x01" * 300))
        await there.presence.greet(HELLO)
        encoded = there.announced[1].encode()
        assert len(encoded) <= EVENT_LIMIT
        assert len(there.announced[1].payload["unfinished"]) > 50
        assert parse_envelope(encoded).payload["uploads"] == {"waiting": 300}


async def test_the_status_follows_changes_but_not_each_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as there, anyio.create_task_group() as group:
        group.start_soon(there.presence.run)
        await there.until_published(1)
        await anyio.wait_all_tasks_blocked()
        there.on_change.ring()
        there.on_change.ring()
        await anyio.wait_all_tasks_blocked()
        assert len(there.published) == 1
        assert there.clock.sleeps == [5.0]
        there.clock.advance(5)
        await there.until_published(2)
        group.cancel_scope.cancel()


async def test_the_status_goes_out_now_and_then_without_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STATUS_EVERY_S == 60
    monkeypatch.setattr("sse_agent.presence.STATUS_EVERY_S", 5.01)
    async with rig(tmp_path) as there, anyio.create_task_group() as group:
        group.start_soon(there.presence.run)
        for count in range(1, 4):
            await there.until_published(count)
            await anyio.wait_all_tasks_blocked()
            there.clock.advance(5)
        group.cancel_scope.cancel()


async def test_the_status_says_how_things_are(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.journal.write(add, "u", UploadState.UPLOADING)
        await there.journal.write(add, "q", UploadState.QUEUED)
        await receive(there.journal, 1, "HEARTBEAT", {})
        there.progress.note(Reading("u", UploadState.UPLOADING, 1, 0, 10, 1000, rate=77), 0.0)
        status = (await there.presence.status()).to_wire()
        assert status["diskFree"] > 0
        assert (status["transport"], status["uploadRate"], status["queued"], status["outbox"]) == ("sse", 77, 1, 1)
        assert [upload["fileId"] for upload in status["active"]] == ["u"]


async def test_a_disk_that_does_not_answer_and_a_journal_that_cant_be_written_stop_no_status(tmp_path: Path) -> None:
    async with rig(tmp_path, state_dir=tmp_path / "gone") as there, anyio.create_task_group() as group:
        assert "diskFree" not in (await there.presence.status()).to_wire()
        async with unwritable(there.journal):
            group.start_soon(there.presence.run)
            await anyio.wait_all_tasks_blocked()
            assert there.published == []
        there.clock.advance(5)
        there.on_change.ring()
        assert (await there.until_published(1)).type == "CLIENT_STATUS"
        group.cancel_scope.cancel()


@pytest.mark.parametrize("reason", ["SIGTERM", "SIGINT"])
async def test_the_farewell_says_why(tmp_path: Path, reason: str) -> None:
    async with rig(tmp_path) as there:
        farewell = there.presence.farewell(reason)
        assert (farewell.type, farewell.payload) == ("CLIENT_DISCONNECTED", {"reason": reason})
