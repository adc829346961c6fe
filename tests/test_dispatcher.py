"""What commands mean: the contract's table, in every state, in the order of their arrival, whatever the disk does."""

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent import dispatcher
from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.events import CommandFinished, CommandStumbled, JournalTrouble, MessageShown, UploadQueued
from sse_agent.files import AllowedFolders, OpenFile
from sse_agent.journal import Transaction, attempts, inbox, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome, Trouble
from sse_agent.lifecycle import UploadState, Wish
from sse_agent.messages import CommandType, FileList
from tests.doubles.clock import FakeClock
from tests.doubles.journals import acknowledgements, outgoing, receive
from tests.doubles.station import station

ENDPOINT = "https://tus.example.com/files/"
NOT_FOUND = {"code": "NOT_FOUND", "message": "no such file in the allowed folders"}


def alone(tmp_path: Path, **more: Any) -> Any:
    """A dispatcher whose uploads nobody carries."""
    return station(tmp_path, ENDPOINT, carries=False, **more)


def file(tmp_path: Path, name: str = "a.bin", content: bytes = b"content") -> None:
    folder = tmp_path / "files"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


# --- answers that pile up ---


async def test_listings_that_nobody_takes_are_refused_before_they_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LISTINGS_WAITING", 3)
    async with alone(tmp_path) as there:
        for _ in range(3):
            assert (await there.answer(await there.tell("LIST_FILES")))["status"] == "completed"
        refused = await there.answer(await there.tell("LIST_FILES"))
        assert (refused["status"], refused["error"]["code"]) == ("rejected", "TOO_MANY")
        assert (await there.answer(await there.tell("HEARTBEAT")))["status"] == "completed"
        await there.journal.write(lambda tx: tx.run("DELETE FROM outbox WHERE type = 'FILE_LIST'"))
        assert (await there.answer(await there.tell("LIST_FILES")))["status"] == "completed"


async def test_listings_that_a_slow_disk_has_under_way_count_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LISTINGS_WAITING", 3)
    released = threading.Event()

    class Slow(AllowedFolders):
        def list(self, *args: Any) -> FileList:
            released.wait(20.0)
            return super().list(*args)

    async with alone(tmp_path, hold=Slow) as there:
        try:
            asked = [await there.tell("LIST_FILES") for _ in range(10)]
            refused = [await there.answer(one) for one in asked[3:]]
        finally:
            released.set()
        assert {ack["error"]["code"] for ack in refused} == {"TOO_MANY"}
        assert [(await there.answer(one))["status"] for one in asked[:3]] == ["completed"] * 3


# --- what the settings switch off ---


@pytest.mark.parametrize("kind", list(CommandType))
async def test_a_switched_off_command_is_refused_whatever_it_holds_and_changes_nothing(
    tmp_path: Path, kind: CommandType
) -> None:
    file(tmp_path)
    async with alone(tmp_path, allowed_commands=frozenset(CommandType) - {kind}) as there:
        whole = {"fileId": "f", "fileName": "a.bin", "text": "hello", "from": "Ann", "commands": [kind]}
        for payload in ({}, whole):
            ack = await there.answer(await there.tell(kind, **payload))
            assert (ack["status"], ack["error"]["code"]) == ("rejected", "NOT_ALLOWED")
            assert "switched off" in ack["error"]["message"]
        assert await there.journal.read(uploads.counts) == {}
        assert not [event for event in there.events if isinstance(event, MessageShown)]


async def test_what_is_switched_off_says_nothing_of_the_rest(tmp_path: Path) -> None:
    async with alone(tmp_path, allowed_commands=frozenset({CommandType.HEARTBEAT})) as there:
        assert (await there.answer(await there.tell("HEARTBEAT")))["status"] == "completed"
        assert (await there.answer(await there.tell("SELF_DESTRUCT")))["error"]["code"] == "UNKNOWN_TYPE"


# --- commands that need no upload ---


async def test_a_heartbeat_is_acknowledged(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        assert (await there.answer(await there.tell("HEARTBEAT")))["status"] == "completed"


async def test_a_status_is_answered_with_the_status(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        command = await there.tell("GET_STATUS")
        assert (await there.answer(command))["status"] == "completed"
        kinds = [kind for kind, _ in await there.journal.read(outgoing)]
        assert kinds == ["ACK", "CLIENT_STATUS", "ACK"]


async def test_a_chat_line_is_shown_to_the_person_at_the_console(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        command = await there.tell("MESSAGE", text="hello", **{"from": "Ann"})
        assert (await there.until(MessageShown)).text == "hello"
        assert (await there.answer(command))["status"] == "completed"


async def test_a_headless_agent_says_that_nobody_is_there(tmp_path: Path) -> None:
    async with alone(tmp_path, is_attended=False) as there:
        command = await there.tell("MESSAGE", text="hello", **{"from": "Ann"})
        assert (await there.answer(command))["status"] == "completed"
        assert "Nobody is at the console" in (await there.until_told("MESSAGE"))["text"]


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("SELF_DESTRUCT", {}, "UNKNOWN_TYPE"),
        ("UPLOAD_START", {"fileId": "f"}, "INVALID_PAYLOAD"),
        ("UPLOAD_START", {"fileId": "f", "fileName": "a.bin", "priority": 10}, "INVALID_PAYLOAD"),
        ("UPLOAD_START", {"fileId": "f", "fileName": "a.bin", "metadata": {"a b": "c"}}, "INVALID_PAYLOAD"),
        ("UPLOAD_START", {"fileId": "../f", "fileName": "a.bin"}, "INVALID_PAYLOAD"),
        ("UPLOAD_PAUSE", {}, "INVALID_PAYLOAD"),
        ("UPLOAD_PAUSE", {"fileId": "f"}, "NOT_FOUND"),
        ("UPLOAD_RESUME", {"fileId": "f"}, "NOT_FOUND"),
        ("LIST_FILES", {"limit": 0}, "INVALID_PAYLOAD"),
        ("LIST_FILES", {"cursor": "?"}, "INVALID_PAYLOAD"),
        ("MESSAGE", {"text": "x" * 4001}, "INVALID_PAYLOAD"),
    ],
)
async def test_what_cannot_be_meant_is_rejected_and_the_next_command_is_carried_out(
    tmp_path: Path, kind: str, payload: dict[str, Any], code: str
) -> None:
    async with alone(tmp_path) as there:
        wrong = await there.tell(kind, **payload)
        right = await there.tell("HEARTBEAT")
        answer = await there.answer(wrong)
        assert (answer["status"], answer["error"]["code"]) == ("rejected", code)
        assert (await there.answer(right))["status"] == "completed"


# --- starting ---


async def test_a_start_stands_in_the_queue_until_its_upload_is_over(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        command = await there.start("f", "a.bin", fileSize=7, priority=8)
        queued = await there.until(UploadQueued)
        assert (queued.size, queued.priority, queued.why) == (7, 8, "new")
        assert await there.journal.read(acknowledgements, command) == ["accepted"]
        assert await there.journal.write(inbox.begin_next) is None


@pytest.mark.parametrize("name", ["missing", "folder", "../outside", "/etc/passwd", "link", "a.bin/b", "\0"])
async def test_no_probe_learns_why_a_file_is_not_to_be_had(tmp_path: Path, name: str) -> None:
    file(tmp_path)
    (tmp_path / "files" / "folder").mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "files" / "link").symlink_to(tmp_path / "outside")
    async with alone(tmp_path) as there:
        command = await there.start("f", name)
        answer = await there.answer(command)
        assert (answer["status"], answer["error"]) == ("rejected", NOT_FOUND)
        told = await there.until(CommandFinished)
        assert told.detail != NOT_FOUND["message"], "people here are told"
        assert told.file_name == name
        assert await there.journal.read(uploads.find, "f") is None


async def test_a_size_that_differs_is_rejected(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        answer = await there.answer(await there.start("f", "a.bin", fileSize=8))
        assert (answer["status"], answer["error"]["code"]) == ("rejected", "SIZE_MISMATCH")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example.com/files/",
        "http://tus.example.com/files/",
        "https://tus.example.com:444/files/",
        "https://user@tus.example.com/files/",
        "https://tus.example.com@evil.example.com/",
        "https://tus.example.com\\@evil.example.com/",
        "https://tus.example.com:x/",
        "file:///etc/passwd",
        "https://tüs.example.com/",
    ],
)
async def test_an_upload_goes_to_no_other_origin_than_the_settings_name(tmp_path: Path, endpoint: str) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        answer = await there.answer(await there.start("f", "a.bin", tusEndpoint=endpoint))
        assert (answer["status"], answer["error"]["code"]) == ("rejected", "NOT_ALLOWED")


async def test_another_path_at_an_allowed_origin_is_fine(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        await there.start("f", "a.bin", tusEndpoint="https://TUS.example.com:443/other/")
        await there.until(UploadQueued)
        assert (await there.upload("f")).endpoint == "https://TUS.example.com:443/other/"


# --- the same start again ---


async def test_the_same_start_again_is_the_same_upload_with_the_newer_token_and_priority(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        first = await there.start("f", "a.bin", uploadToken="old", priority=5)
        again = await there.start("f", "a.bin", uploadToken="new", priority=7)
        await there.answer(await there.tell("HEARTBEAT"))
        upload = await there.upload("f")
        assert (upload.token, upload.priority, upload.revision) == ("new", 7, 1)
        await there.tell("UPLOAD_CANCEL", fileId="f")
        for command in (first, again):
            answer = await there.answer(command)
            assert (answer["status"], answer["error"]["code"]) == ("failed", "CANCELLED")


@pytest.mark.parametrize("more", [{"fileName": "b.bin"}, {"fileSize": 7}, {"metadata": {"a": "b"}}])
async def test_another_start_with_the_same_id_is_rejected(tmp_path: Path, more: dict[str, Any]) -> None:
    file(tmp_path)
    file(tmp_path, "b.bin")
    async with alone(tmp_path) as there:
        await there.start("f", "a.bin")
        again = await there.tell("UPLOAD_START", **{"fileId": "f", "fileName": "a.bin", **more})
        answer = await there.answer(again)
        assert (answer["status"], answer["error"]["code"]) == ("rejected", "FILE_ID_IN_USE")


def over(tx: Transaction, how: str) -> None:
    """Bring `f` to its end and empty the outbox, as if all was sent."""
    transitions.begin(tx, "f")
    result = {
        "complete": Outcome("ab" * 32, "id", "response"),
        "failed": GiveUp(ErrorCode.NO_PROGRESS, "words", retryable=True),
        "dead": GiveUp(ErrorCode.CHECKSUM_MISMATCH, "words"),
        "cancelled": Interrupted(),
    }[how]
    if how == "cancelled":
        uploads.wish(tx, "f", Wish.CANCEL, "cmd-1")
    transitions.settle(tx, "f", result, 1.0)
    tx.run("UPDATE outbox SET state = 'sent'")


@pytest.mark.parametrize(
    ("how", "kind", "status", "code"),
    [
        ("complete", "UPLOAD_COMPLETE", "completed", None),
        ("failed", "UPLOAD_FAILED", "failed", "NO_PROGRESS"),
        ("dead", "UPLOAD_FAILED", "failed", "CHECKSUM_MISMATCH"),
        ("cancelled", "UPLOAD_CANCELLED", "failed", "CANCELLED"),
    ],
)
async def test_a_start_of_what_is_over_is_answered_at_once_with_the_stored_result(
    tmp_path: Path, how: str, kind: str, status: str, code: str | None
) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        await there.start("f", "a.bin")
        await there.until(UploadQueued)
        await there.journal.write(over, how)
        (tmp_path / "files" / "a.bin").unlink()
        answer = await there.answer(await there.start("f", "a.bin"))
        assert (answer["status"], answer.get("error", {}).get("code")) == (status, code)
        again = [found for found, payload in await there.journal.read(outgoing) if payload.get("fileId") == "f"]
        assert again == [kind]


# --- wishes, in every state ---


def bring_to(tx: Transaction, state: str) -> None:
    """`f` is queued; bring it to that state."""
    if state in ("queued", "paused"):
        if state == "paused":
            uploads.wish(tx, "f", Wish.PAUSE, "cmd-1")
            transitions.pause(tx, uploads.existing(tx, "f"))
        return
    if state in ("complete", "failed", "dead", "cancelled"):
        over(tx, state)
        return
    transitions.begin(tx, "f")
    if state == "waiting":
        transitions.settle(tx, "f", Trouble("no answer", tx.now + timedelta(minutes=1)), 0.0)
    if state == "pausing":
        uploads.wish(tx, "f", Wish.PAUSE, "cmd-1")
    if state == "cancelling":
        uploads.wish(tx, "f", Wish.CANCEL, "cmd-1")


DONE, OPEN = ("completed", None), ("accepted", None)
WRONG = ("rejected", "WRONG_STATE")
WISHES: Sequence[tuple[str, str, tuple[str, str | None], str, str, list[str]]] = [
    # state, command, answer, state after, wish after, events
    ("queued", "PAUSE", DONE, "paused", "pause", ["UPLOAD_PAUSED"]),
    ("uploading", "PAUSE", DONE, "uploading", "pause", []),
    ("pausing", "PAUSE", DONE, "uploading", "pause", []),
    ("cancelling", "PAUSE", WRONG, "uploading", "cancel", []),
    ("waiting", "PAUSE", DONE, "paused", "pause", ["UPLOAD_PAUSED"]),
    ("paused", "PAUSE", DONE, "paused", "pause", []),
    ("failed", "PAUSE", WRONG, "failed", "run", []),
    ("dead", "PAUSE", WRONG, "failed", "run", []),
    ("complete", "PAUSE", WRONG, "complete", "run", []),
    ("cancelled", "PAUSE", WRONG, "cancelled", "cancel", []),
    ("queued", "RESUME", DONE, "queued", "run", []),
    ("uploading", "RESUME", DONE, "uploading", "run", []),
    ("pausing", "RESUME", DONE, "uploading", "run", []),
    ("cancelling", "RESUME", WRONG, "uploading", "cancel", []),
    ("waiting", "RESUME", DONE, "waiting", "run", []),
    ("paused", "RESUME", DONE, "queued", "run", ["UPLOAD_RESUMED"]),
    ("failed", "RESUME", DONE, "queued", "run", ["UPLOAD_RESUMED"]),
    ("dead", "RESUME", WRONG, "failed", "run", []),
    ("complete", "RESUME", WRONG, "complete", "run", []),
    ("cancelled", "RESUME", WRONG, "cancelled", "cancel", []),
    ("queued", "CANCEL", DONE, "cancelled", "cancel", ["UPLOAD_CANCELLED"]),
    ("uploading", "CANCEL", OPEN, "uploading", "cancel", []),
    ("pausing", "CANCEL", OPEN, "uploading", "cancel", []),
    ("cancelling", "CANCEL", OPEN, "uploading", "cancel", []),
    ("waiting", "CANCEL", DONE, "cancelled", "cancel", ["UPLOAD_CANCELLED"]),
    ("paused", "CANCEL", DONE, "cancelled", "cancel", ["UPLOAD_CANCELLED"]),
    ("failed", "CANCEL", DONE, "cancelled", "cancel", ["UPLOAD_CANCELLED"]),
    ("dead", "CANCEL", WRONG, "failed", "run", []),
    ("complete", "CANCEL", WRONG, "complete", "run", []),
    ("cancelled", "CANCEL", DONE, "cancelled", "cancel", []),
]


@pytest.mark.parametrize(("state", "wanted", "answer", "after", "wish", "events"), WISHES)
async def test_a_wish_does_what_the_contract_says_in_every_state(
    tmp_path: Path,
    state: str,
    wanted: str,
    answer: tuple[str, str | None],
    after: str,
    wish: str,
    events: list[str],
) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        await there.start("f", "a.bin")
        await there.until(UploadQueued)
        await there.journal.write(bring_to, state)
        await there.journal.write(lambda tx: tx.run("UPDATE outbox SET state = 'sent'"))
        command = await there.tell(f"UPLOAD_{wanted}", fileId="f")
        await there.answer(await there.tell("HEARTBEAT"))
        told = await there.journal.read(outgoing)
        acks = [payload for kind, payload in told if kind == "ACK" and payload["commandId"] == command]
        assert (acks[-1]["status"], acks[-1].get("error", {}).get("code")) == answer
        upload = await there.upload("f")
        assert (upload.state, upload.wish) == (after, wish)
        assert [kind for kind, payload in told if payload.get("fileId") == "f"] == events


async def test_a_cancel_that_comes_first_forbids_the_start(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        assert (await there.answer(await there.tell("UPLOAD_CANCEL", fileId="f")))["status"] == "completed"
        # The file is not even there: that it was cancelled is the better answer, and the one of the contract.
        answer = await there.answer(await there.start("f", "a.bin"))
        assert (answer["status"], answer["error"]["code"]) == ("rejected", "CANCELLED")
        assert (await there.answer(await there.tell("UPLOAD_CANCEL", fileId="f")))["status"] == "completed"


async def test_a_cancelled_upload_is_deleted_on_the_server_and_a_paused_one_is_not(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        await there.start("f", "a.bin")
        await there.until(UploadQueued)
        url = f"{ENDPOINT}5ecre7"
        await there.journal.write(attempts.note_created, "f", url, "1 2 3 4 5", 7, 7)
        await there.answer(await there.tell("UPLOAD_PAUSE", fileId="f"))
        assert await there.journal.read(attempts.terminations, 10) == []
        await there.answer(await there.tell("UPLOAD_CANCEL", fileId="f"))
        assert [item.url for item in await there.journal.read(attempts.terminations, 10)] == [url]


# --- listings ---


async def test_a_folder_is_listed(tmp_path: Path) -> None:
    file(tmp_path)
    async with alone(tmp_path) as there:
        command = await there.tell("LIST_FILES", path=str(tmp_path / "files"))
        listing = await there.until_told("FILE_LIST")
        assert [(entry["name"], entry["size"]) for entry in listing["entries"]] == [("a.bin", 7)]
        assert (await there.answer(command))["status"] == "completed"


async def test_a_folder_that_is_not_there_is_refused_in_the_same_words_as_a_file(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        answer = await there.answer(await there.tell("LIST_FILES", path="nowhere"))
        assert (answer["status"], answer["error"]) == ("rejected", NOT_FOUND)


# --- a disk that is slow, or hangs ---


class SlowFolders(AllowedFolders):
    """Their disk says nothing about a name with `slow` in it until it is let go."""

    letting_go = threading.Event()

    def open_file(self, name: bytes) -> OpenFile:
        self._wait(name)
        return super().open_file(name)

    def list(self, path: bytes | None, cursor: str | None, limit: int) -> FileList:
        self._wait(path or b"")
        return super().list(path, cursor, limit)

    def _wait(self, name: bytes) -> None:
        if b"slow" in name:
            self.letting_go.wait(20.0)
        if b"failing" in name:
            raise TryAgain("the file could not be read: Input/output error")
        if b"bug" in name:
            raise RuntimeError("nobody expected this")


@pytest.fixture(autouse=True)
def _let_go() -> Any:
    SlowFolders.letting_go.clear()
    yield
    SlowFolders.letting_go.set()


async def test_a_listing_on_a_slow_disk_holds_up_no_other_command(tmp_path: Path) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        listing = await there.tell("LIST_FILES", path="slow")
        heartbeat = await there.tell("HEARTBEAT")
        assert (await there.answer(heartbeat))["status"] == "completed"
        assert await there.journal.read(acknowledgements, listing) == ["accepted"]
        SlowFolders.letting_go.set()
        assert (await there.answer(listing))["error"] == NOT_FOUND


async def test_starts_on_a_disk_that_hangs_are_queued_and_wait_for_it_once(tmp_path: Path) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        began = anyio.current_time()
        for n in range(30):
            await there.start(f"f{n}", f"slow-{n}", fileSize=1)
        assert (await there.answer(await there.tell("HEARTBEAT")))["status"] == "completed"
        assert anyio.current_time() - began < 10.0, "not a second for each of them"
        assert (await there.upload("f29")).size is None


async def test_an_agent_on_a_disk_that_hangs_can_be_stopped(tmp_path: Path) -> None:
    with anyio.fail_after(15.0):
        async with alone(tmp_path, hold=SlowFolders) as there:
            await there.tell("LIST_FILES", path="slow")
            await there.start("f", "slow")
            await there.until(UploadQueued)


async def test_passing_trouble_of_the_disk_is_no_refusal_of_a_start(tmp_path: Path) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        await there.start("f", "failing")
        assert (await there.until(UploadQueued)).file_id == "f"


async def test_a_listing_that_could_not_be_made_has_failed_in_the_same_words(tmp_path: Path) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        answer = await there.answer(await there.tell("LIST_FILES", path="failing"))
        assert (answer["status"], answer["error"]) == ("failed", NOT_FOUND)
        assert "Input/output error" in (await there.until(CommandFinished)).detail


# --- trouble of our own ---


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("UPLOAD_START", {"fileId": "f", "fileName": "bug"}), ("LIST_FILES", {"path": "bug"})],
)
async def test_a_command_that_fails_three_times_is_poison_and_stops_nobody(
    tmp_path: Path, kind: str, payload: dict[str, Any]
) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        bad = await there.tell(kind, **payload)
        good = await there.tell("HEARTBEAT")
        answer = await there.answer(bad)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "POISON")
        assert (await there.answer(good))["status"] == "completed"
        stumbles = [event for event in there.events if isinstance(event, CommandStumbled)]
        assert [event.attempts for event in stumbles] == [1, 2, 3]


async def test_a_start_is_not_poisoned_by_any_number_of_restarts_of_its_long_upload(tmp_path: Path) -> None:
    file(tmp_path)
    for n in range(6):
        async with alone(tmp_path) as there:
            if n == 0:
                await there.start("f", "a.bin")
                await there.until(UploadQueued)
            await there.answer(await there.tell("HEARTBEAT"))
            await there.journal.write(transitions.begin, "f")
    async with alone(tmp_path) as there:
        assert (await there.upload("f")).state is UploadState.QUEUED
        assert await there.journal.read(acknowledgements, "cmd-1") == ["accepted"]


async def test_a_listing_interrupted_by_the_end_of_the_process_is_made_by_the_next_one(tmp_path: Path) -> None:
    async with alone(tmp_path, hold=SlowFolders) as there:
        listing = await there.tell("LIST_FILES", path="slow")
        await there.answer(await there.tell("HEARTBEAT"))
    for _ in range(5):
        async with alone(tmp_path, hold=SlowFolders) as there:
            # Begun again by the time that this is answered; an orderly stop, however often, is no failure of it.
            await there.answer(await there.tell("HEARTBEAT"))
    (tmp_path / "files" / "slow").mkdir()
    SlowFolders.letting_go.set()
    async with alone(tmp_path, hold=SlowFolders) as there:
        assert (await there.answer(listing))["status"] == "completed"


def fill(tx: Transaction) -> None:
    """SQLite's own limit answers as a full disk does."""
    tx.one(f"PRAGMA max_page_count={tx.sql.execute('PRAGMA page_count').fetchone()[0]}")


def make_room(tx: Transaction) -> None:
    tx.one("PRAGMA max_page_count=1000000")


def put(tx: Transaction, size: int) -> None:
    """A message of that size that was sent and is kept."""
    tx.run(
        "INSERT INTO outbox (message_id, type, lane, body, at, state, is_kept) VALUES (?, '', '', ?, '9', 'sent', 1)",
        str(uuid.uuid4()),
        bytes(size),
    )


async def test_a_full_disk_is_waited_for_and_never_makes_a_command_poison(tmp_path: Path) -> None:
    clock = FakeClock()
    async with alone(tmp_path, clock=clock) as there:
        await there.answer(await there.tell("HEARTBEAT"))
        await receive(there.journal, 2, "HEARTBEAT", {})
        await there.journal.read(fill)
        for size in (3000, 300, 30, 0):
            with pytest.raises(TryAgain):
                for _ in range(1000):
                    await there.journal.write(put, size)
        there.to_dispatcher.ring()
        for n in range(1, 8):
            assert "make room on its disk" in (await there.until(JournalTrouble, count=n)).reason
            if n < 7:
                clock.advance(120.0)
        await there.journal.read(make_room)
        clock.advance(120.0)
        assert (await there.answer("cmd-2"))["status"] == "completed"
        row = await there.journal.read(lambda tx: tx.one("SELECT attempts FROM inbox WHERE command_id = 'cmd-2'"))
        assert row is not None
        assert row["attempts"] == 1
