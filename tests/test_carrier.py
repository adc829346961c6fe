"""One attempt at one upload: what is sent, what is believed, and what is in the journal before each step."""

import contextlib
import hashlib
import os
import random
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent import carrier
from sse_agent.carrier import MIB, Carrier, Gauge, Pace, Ways
from sse_agent.digest import RunningDigest
from sse_agent.errors import ErrorCode, GiveUp, Stopped, TryAgain
from sse_agent.files import AllowedFolders
from sse_agent.journal import Journal, attempts, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome
from sse_agent.journal.uploads import Upload
from sse_agent.messages import UploadStart
from sse_agent.tus import TokenRefused, TusSession
from tests.doubles.journals import journal_in
from tests.doubles.shelf import Kept, Meddle, Shelf
from tests.doubles.tus_server import Exchange, TusServer

CONTENT = random.Random(1).randbytes(3 * MIB + 5)
SIZE = len(CONTENT)
WITHIN_S = 20.0


@dataclass
class Hands:
    """A clock that the test moves, from any thread."""

    at: float = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 10, 30, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a carrier never sleeps")


@dataclass
class Bench:
    """One upload, `f`, of one file, and a way to carry it as often as a test likes."""

    journal: Journal
    folders: AllowedFolders
    file: Path
    shelf: Shelf
    endpoint: str
    session: TusSession
    pace: Pace
    clock: Hands
    gauge: Gauge

    async def add(self, **more: Any) -> None:
        """UPLOAD_START."""
        start = UploadStart(file_id="f", file_name=self.file.name, **more)
        await self.journal.write(uploads.add, "start", start, self.endpoint, None)

    async def carry(self, digest: RunningDigest | None = None, *, is_told_to_stop: bool = False) -> Outcome:
        """One attempt, as by a process that has just started unless a digest is given; then it stands in the queue."""
        upload = await self.journal.write(transitions.begin, "f")
        assert upload is not None
        self.session.rearm()
        self.gauge.stop.clear()
        if is_told_to_stop:
            self.gauge.stop.set()
        ways = Ways(self.folders, self.journal.write_from_thread, self.clock, self.pace, "agent-1")
        one = Carrier(ways, upload, None, self.session, self.gauge, digest or RunningDigest())
        try:
            with anyio.fail_after(WITHIN_S):
                return await anyio.to_thread.run_sync(one.run)
        finally:
            await self.journal.write(transitions.settle, "f", Interrupted(), 0.0)

    async def fails(self, kind: type[Exception] = GiveUp) -> Any:
        """One attempt that ends so; the error."""
        with pytest.raises(kind) as raised:
            await self.carry()
        return raised.value

    async def upload(self) -> Upload:
        return await self.journal.read(uploads.existing, "f")

    def asked(self) -> list[str]:
        """What the server was asked since the last time."""
        log, self.shelf.log = self.shelf.log, []
        return log

    def stored(self, number: int = 0) -> bytes:
        return bytes(self.shelf.uploads[number].data)


@asynccontextmanager
async def bench(tmp_path: Path, meddle: Meddle = lambda _, __: False, content: bytes = CONTENT) -> AsyncIterator[Bench]:
    files, state = tmp_path / "files", tmp_path / "state"
    files.mkdir()
    state.mkdir()
    file = files / "a.bin"
    file.write_bytes(content)
    clock, shelf = Hands(), Shelf(meddle)
    session = TusSession(trust=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), proxies={}, clock=clock)
    with TusServer(script=shelf) as server, AllowedFolders([files]) as folders, contextlib.closing(session):
        async with journal_in(state) as journal:
            yield Bench(journal, folders, file, shelf, server.endpoint, session, Pace(), clock, Gauge())


def once(method: str, act: Callable[[Exchange, Kept], None]) -> Meddle:
    """The first request of that method is answered by `act`, later ones as they should be."""
    done = threading.Event()

    def meddle(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method != method or done.is_set():
            return False
        done.set()
        act(exchange, kept or Kept(0, {}))
        return True

    return meddle


def both(*meddles: Meddle) -> Meddle:
    return lambda exchange, kept: any(meddle(exchange, kept) for meddle in meddles)


def answering(status: int, body: bytes = b"", count: int | None = None) -> Callable[[Exchange, Kept], None]:
    """Store `count` bytes, all by default, and answer with an error."""

    def act(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, count)
        exchange.drain()
        exchange.answer(status, body=body)

    return act


def answer_head(offset: int) -> Meddle:
    """Every HEAD is answered with that offset."""

    def meddle(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "HEAD" and kept is not None:
            exchange.answer(200, {"Upload-Offset": str(offset), "Upload-Length": str(kept.size)})
        return exchange.method == "HEAD"

    return meddle


def store_and_say_nothing(exchange: Exchange, kept: Kept) -> None:
    Shelf.take(exchange, kept)
    exchange.close()


def hang_up(exchange: Exchange, _: Kept) -> None:
    exchange.close()


# --- what is sent ---


async def test_a_file_arrives_whole_with_its_metadata_and_is_hashed_on_the_way(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        await there.add(metadata={"colour": "grün", "fileId": "forged", "filename": "../forged"})
        outcome = await there.carry()
        assert outcome == Outcome(hashlib.sha256(CONTENT).hexdigest(), "5ecre7-0", "response")
        assert there.stored() == CONTENT
        assert there.shelf.uploads[0].metadata == {
            "filename": b"a.bin",
            "filetype": b"application/octet-stream",
            "fileId": b"f",
            "clientId": b"agent-1",
            "attemptId": (await there.upload()).attempt_id.encode(),
            "colour": "grün".encode(),
        }


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a", "application/octet-stream"),
        ("\x1b[31m.png", "image/png"),
    ],
)
def test_the_media_type_is_that_of_the_bytes_as_they_are_sent(name: str, media_type: str) -> None:
    assert carrier._media_type(name) == media_type


async def test_an_empty_file_is_complete_when_it_is_created(tmp_path: Path) -> None:
    async with bench(tmp_path, content=b"") as there:
        await there.add()
        assert await there.carry() == Outcome(hashlib.sha256().hexdigest(), "5ecre7-0", "response")
        assert there.asked() == ["POST"]


async def test_what_a_file_held_before_says_nothing_of_the_empty_one_that_it_is_now(tmp_path: Path) -> None:
    digest = RunningDigest()
    digest.update(CONTENT)
    async with bench(tmp_path, content=b"") as there:
        await there.add(sha256=hashlib.sha256(CONTENT).hexdigest())
        with pytest.raises(GiveUp) as refused:
            await there.carry(digest)
        assert refused.value.code is ErrorCode.CHECKSUM_MISMATCH
        assert there.asked() == []


async def test_an_empty_file_that_is_not_the_one_asked_for_is_never_created(tmp_path: Path) -> None:
    async with bench(tmp_path, content=b"") as there:
        await there.add(sha256="00" * 32)
        assert (await there.fails()).code is ErrorCode.CHECKSUM_MISMATCH
        assert there.asked() == []


async def test_a_file_of_another_size_than_commanded_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        await there.add(file_size=SIZE + 1)
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.SIZE_MISMATCH, False)
        assert there.asked() == []


async def test_the_last_block_is_withheld_until_the_checksum_agrees(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        await there.add(sha256="00" * 32)
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.CHECKSUM_MISMATCH, False)
        assert len(there.stored()) < SIZE


async def test_requests_are_as_long_as_a_minute_takes_at_the_rate_that_was_seen(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        there.pace.body_limit = MIB
        await there.add()
        await there.carry()
        assert there.asked() == [
            "POST",
            f"PATCH 0+{MIB}",
            f"PATCH {MIB}+{MIB}",
            f"PATCH {2 * MIB}+{MIB}",
            f"PATCH {3 * MIB}+5",
        ]


@pytest.mark.parametrize(
    ("rate", "body_limit", "length"),
    [
        (None, 1024 * MIB, 8 * MIB),
        (1e6, 1024 * MIB, 50_000_000),
        (1e9, 1024 * MIB, 1024 * MIB),
        (10.0, 1024 * MIB, MIB // 4),
        (1e9, 5 * MIB, 5 * MIB),
    ],
)
def test_a_patch_ends_after_about_a_minute_or_a_gibibyte(rate: float | None, body_limit: int, length: int) -> None:
    assert Pace(rate, body_limit).patch_length() == length


def test_the_pace_follows_the_way() -> None:
    pace = Pace()
    for _ in range(10):
        pace.learn(10 * MIB, 1.0)
    assert pace.rate == pytest.approx(10 * MIB)
    for _ in range(10):
        pace.learn(MIB, 1.0)
    assert pace.rate == pytest.approx(MIB, rel=0.05)


async def test_a_request_that_has_become_too_long_is_ended_so_that_the_confirmed_offset_moves(tmp_path: Path) -> None:
    def dawdle(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, MIB)
        there.clock.at += 120
        Shelf.take(exchange, kept)
        exchange.close()

    content = CONTENT * 8
    async with bench(tmp_path, once("PATCH", dawdle), content) as there:
        there.pace.rate = 1e9
        await there.add()
        assert (await there.carry()).sha256 == hashlib.sha256(content).hexdigest()
        assert there.stored() == content
        post, first, head, second, *_ = there.asked()
        assert (post, first, head) == ("POST", f"PATCH 0+{len(content)}", "HEAD")
        assert second.startswith("PATCH ")
        assert second != first


# --- what is in the journal ---


async def test_the_url_is_durable_before_the_first_byte_and_no_second_upload_is_made(tmp_path: Path) -> None:
    async with bench(tmp_path, once("PATCH", hang_up)) as there:
        await there.add()
        await there.fails(TryAgain)
        upload = await there.upload()
        assert upload.url == f"{there.endpoint}5ecre7-0"
        assert 0 < upload.sent_limit < SIZE, "what was handed over, not what was going to be"
        assert (await there.carry()).sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert there.asked() == ["POST", f"PATCH 0+{SIZE}", "HEAD", f"PATCH 0+{SIZE}"]


async def test_a_lost_creation_leads_to_another_attempt_id(tmp_path: Path) -> None:
    def lose_the_201(exchange: Exchange, _: Kept) -> None:
        there.shelf.create(exchange)
        exchange.close()

    async with bench(tmp_path, once("POST", lose_the_201)) as there:
        await there.add()
        await there.fails(TryAgain)
        await there.carry()
        first, second = there.shelf.uploads
        assert first.metadata["fileId"] == second.metadata["fileId"]
        assert first.metadata["attemptId"] != second.metadata["attemptId"]
        assert there.stored(1) == CONTENT


async def test_a_resumed_upload_reads_the_beginning_again_for_its_hash(tmp_path: Path) -> None:
    async with bench(tmp_path, once("PATCH", answering(503, count=MIB + 7))) as there:
        await there.add()
        await there.fails(TryAgain)
        assert await there.carry() == Outcome(hashlib.sha256(CONTENT).hexdigest(), "5ecre7-0", "response")
        assert there.asked()[-2:] == ["HEAD", f"PATCH {MIB + 7}+{SIZE - MIB - 7}"]
        assert there.stored() == CONTENT


async def test_a_digest_that_ran_ahead_is_taken_back(tmp_path: Path) -> None:
    digest = RunningDigest()
    async with bench(tmp_path, once("PATCH", answering(503, count=MIB + 7))) as there:
        await there.add()
        with pytest.raises(TryAgain):
            await there.carry(digest)
        assert (await there.carry(digest)).sha256 == hashlib.sha256(CONTENT).hexdigest()


# --- done means done ---


async def test_a_lost_last_answer_is_made_up_for_by_the_offset(tmp_path: Path) -> None:
    async with bench(tmp_path, once("PATCH", store_and_say_nothing)) as there:
        await there.add()
        await there.fails(TryAgain)
        assert await there.carry() == Outcome(hashlib.sha256(CONTENT).hexdigest(), "5ecre7-0", "offset")
        assert there.asked() == ["POST", f"PATCH 0+{SIZE}", "HEAD"]


@pytest.mark.parametrize(
    ("status", "body", "retryable"),
    [
        (500, b"ERR_INTERNAL_SERVER_ERROR: the hook says no\n", True),
        (503, b"", True),
        (400, b"ERR_UPLOAD_REJECTED: upload rejected by server\n", False),
        (403, b"", False),
        (404, b"", False),
        (413, b"too large, says a hook", False),
        (422, b"not a picture", False),
    ],
)
async def test_an_error_that_answers_the_last_byte_refuses_the_whole_file(
    tmp_path: Path, status: int, body: bytes, retryable: bool
) -> None:
    async with bench(tmp_path, once("PATCH", answering(status, body))) as there:
        await there.add()
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.SERVER_REFUSED, retryable)
        upload = await there.upload()
        assert (upload.refusal_status, upload.offset) == (status, SIZE)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (409, b"ERR_MISMATCHED_OFFSET: mismatched offset\n"),
        (423, b"ERR_UPLOAD_LOCKED: file currently locked\n"),
        (429, b""),
        (400, b"ERR_UPLOAD_INTERRUPTED: upload has been interrupted\n"),
    ],
)
async def test_an_error_that_passes_refuses_nothing(tmp_path: Path, status: int, body: bytes) -> None:
    async with bench(tmp_path, once("PATCH", answering(status, body))) as there:
        await there.add()
        with contextlib.suppress(TryAgain):
            assert (await there.carry()).confirmation == "offset"
            return
        assert (await there.carry()).confirmation == "offset"


async def test_a_refusal_is_noted_before_anybody_asks_for_the_offset(tmp_path: Path) -> None:
    """A crash between the two must not turn the refusal into a success."""
    meddle = both(
        once("PATCH", answering(500, b"ERR_INTERNAL_SERVER_ERROR: the hook says no\n")), once("HEAD", hang_up)
    )
    async with bench(tmp_path, meddle) as there:
        await there.add()
        await there.fails(TryAgain)
        assert there.stored() == CONTENT
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.SERVER_REFUSED, True)
        assert "the hook says no" in refused.message


async def test_a_refusal_that_was_none_is_forgotten_before_the_next_last_byte(tmp_path: Path) -> None:
    """Else a lost answer later on would be taken for that refusal."""
    first = once("PATCH", answering(503, count=MIB))
    async with bench(tmp_path, first) as there:
        await there.add()
        await there.fails(TryAgain)
        assert (await there.upload()).refusal_status == 503
        there.shelf.meddle = once("PATCH", store_and_say_nothing)
        await there.fails(TryAgain)
        assert (await there.carry()).confirmation == "offset"


async def test_a_proxys_limit_on_the_last_request_is_forgotten_before_the_next_one(tmp_path: Path) -> None:
    """The same within one attempt: the shorter requests follow at once."""
    last = once("PATCH", lambda exchange, kept: answering(413, count=0)(exchange, kept))
    lost = {"last": False}

    def lose_the_last(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and kept and len(kept.data) + exchange.length == SIZE and not lost["last"]:
            lost["last"] = True
            store_and_say_nothing(exchange, kept)
            return True
        return False

    async with bench(tmp_path, both(last, lose_the_last)) as there:
        await there.add()
        await there.fails(TryAgain)
        assert (await there.carry()).confirmation == "offset"
        assert there.stored() == CONTENT


async def test_a_proxys_limit_is_learnt_and_shorter_requests_follow(tmp_path: Path) -> None:
    def limit(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method != "PATCH" or exchange.length <= MIB:
            return False
        exchange.drain()
        exchange.answer(413, body=b"<html>Request Entity Too Large</html>")
        return True

    async with bench(tmp_path, limit) as there:
        await there.add()
        assert (await there.carry()).confirmation == "response"
        assert there.stored() == CONTENT
        assert there.pace.body_limit <= MIB


async def test_a_proxy_that_lets_nothing_through_is_not_tried_for_ever(tmp_path: Path) -> None:
    def limit(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method != "PATCH":
            return False
        exchange.drain()
        exchange.answer(413)
        return True

    async with bench(tmp_path, limit) as there:
        await there.add()
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.TOO_LARGE, True)
        assert len(there.asked()) < 12


# --- the server's offset is the only truth ---


async def test_a_server_that_lost_bytes_gets_them_again(tmp_path: Path) -> None:
    def lose(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, 2 * MIB)
        exchange.close()

    async with bench(tmp_path, once("PATCH", lose)) as there:
        await there.add()
        await there.fails(TryAgain)
        del there.shelf.uploads[0].data[MIB:]
        assert (await there.carry()).sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert there.stored() == CONTENT


async def test_a_conflict_is_settled_by_asking_and_going_on_from_there(tmp_path: Path) -> None:
    def forget(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and exchange.headers["upload-offset"] == str(2 * MIB) and kept:
            del kept.data[MIB + 3 :]
            there.shelf.meddle = lambda _, __: False
        return False

    async with bench(tmp_path, forget) as there:
        there.pace.body_limit = MIB
        await there.add()
        assert (await there.carry()).sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert there.stored() == CONTENT
        assert there.asked().count("HEAD") == 1


@pytest.mark.parametrize("offsets", [[0], [0, 10]])
async def test_a_server_that_contradicts_itself_is_left_alone_for_a_while(tmp_path: Path, offsets: list[int]) -> None:
    heads = {"n": 0}

    def contradict(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method == "PATCH":
            exchange.drain()
            exchange.answer(409)
            return True
        if exchange.method == "HEAD":
            heads["n"] += 1
            exchange.answer(200, {"Upload-Offset": str(offsets[heads["n"] % len(offsets)]), "Upload-Length": str(SIZE)})
            return True
        return False

    async with bench(tmp_path, contradict) as there:
        await there.add()
        await there.fails(TryAgain)
        assert len(there.asked()) < 12


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Offset": str(SIZE), "Upload-Length": str(SIZE)},
        {"Upload-Offset": "0", "Upload-Length": str(SIZE + 1)},
    ],
)
async def test_an_upload_that_cannot_be_ours_is_given_up_and_a_later_try_starts_anew(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    def lie(exchange: Exchange, _: Kept) -> None:
        exchange.answer(200, headers)

    async with bench(tmp_path, both(once("PATCH", hang_up), once("HEAD", lie))) as there:
        there.pace.body_limit = MIB
        await there.add()
        await there.fails(TryAgain)
        refused = await there.fails()
        assert (refused.code, refused.retryable) == (ErrorCode.SERVER_REFUSED, True)
        assert (await there.carry()).upload_id == "5ecre7-1"
        assert there.stored(1) == CONTENT


async def test_bytes_that_were_announced_and_never_handed_over_are_not_believed_to_have_arrived(tmp_path: Path) -> None:
    """The server breaks the only PATCH off at its beginning, and then claims to have all of it."""
    claims = answer_head(len(CONTENT * 16))
    async with bench(tmp_path, both(once("PATCH", hang_up), claims), CONTENT * 16) as there:
        there.pace.rate = 1e9
        await there.add()
        await there.fails(TryAgain)
        disowned = await there.fails()
        assert (disowned.code, disowned.retryable) == (ErrorCode.SERVER_REFUSED, True)
        assert "never sent" in disowned.message
        assert (await there.upload()).url is None


async def test_a_pause_in_the_middle_leaves_no_room_for_a_claim(tmp_path: Path) -> None:
    def stop_in_the_middle(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, MIB)
        there.gauge.stop.set()
        there.session.abort()
        exchange.close()

    claims = answer_head(len(CONTENT * 16))
    async with bench(tmp_path, both(once("PATCH", stop_in_the_middle), claims), CONTENT * 16) as there:
        there.pace.rate = 1e9
        await there.add()
        await there.fails(Stopped)
        assert "never sent" in (await there.fails()).message


async def test_a_server_that_takes_and_forgets_by_turns_gets_no_endless_attempt(tmp_path: Path) -> None:
    def by_turns(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and kept is not None and kept.data:
            kept.data.clear()
            exchange.drain()
            exchange.answer(409, body=b"ERR_MISMATCHED_OFFSET: mismatched offset\n")
            return True
        return False

    async with bench(tmp_path, by_turns) as there:
        there.pace.body_limit = MIB
        await there.add()
        assert "refuses the offset" in (await there.fails(TryAgain)).reason
        assert len(there.asked()) < 4 * carrier.CONFLICTS + 4


async def test_a_server_that_dawdles_and_forgets_gets_no_endless_attempt_either(tmp_path: Path) -> None:
    def dawdle(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method != "PATCH" or kept is None:
            return False
        if not kept.data:
            there.clock.at += 0.05
            return False
        Shelf.take(exchange, kept, 256 * 1024)
        there.clock.at += carrier.LONGEST_PATCH_S + 30
        Shelf.take(exchange, kept)
        kept.data.clear()
        exchange.close()
        return True

    async with bench(tmp_path, dawdle, CONTENT * 8) as there:
        await there.add()
        assert "take too long" in (await there.fails(TryAgain)).reason
        assert len(there.asked()) < 4 * carrier.CONFLICTS + 4


async def test_a_server_that_keeps_a_part_of_each_request_gets_no_tight_loop(tmp_path: Path) -> None:
    def one_byte_more(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, 1)
        exchange.drain()
        exchange.answer(204, {"Upload-Offset": str(len(kept.data))})

    async with bench(tmp_path, once("PATCH", one_byte_more)) as there:
        await there.add()
        assert "only a part" in (await there.fails(TryAgain)).reason
        assert (await there.upload()).offset == 1
        await there.carry()
        assert there.stored() == CONTENT


@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
@pytest.mark.parametrize("status", [404, 405, 410])
async def test_what_something_in_front_of_the_tus_server_says_while_that_is_away_costs_no_byte(
    tmp_path: Path, method: str, status: int
) -> None:
    """A router without a route, a page of maintenance: no tus server's answer is without Tus-Resumable."""
    is_away, breaks = False, once("PATCH", answering(503, count=MIB + 7))

    def route(exchange: Exchange, kept: Kept | None) -> bool:
        if is_away and exchange.method == method:
            exchange.drain()
            exchange.send(f"HTTP/1.1 {status} No\r\nContent-Length: 19\r\n\r\n".encode())
            exchange.send(b"" if method == "HEAD" else b"404 page not found\n")
            exchange.close()
            return True
        return breaks(exchange, kept)

    async with bench(tmp_path, route) as there:
        await there.add()
        await there.fails(TryAgain)
        is_away = True
        later = await there.fails(TryAgain)
        assert f"something in front of the tus server answers in its place ({status})" in later.reason
        assert (await there.upload()).url is not None
        is_away = False
        await there.carry()
        assert there.asked().count("POST") == 1


async def test_an_upload_that_is_gone_starts_over_but_not_for_ever(tmp_path: Path) -> None:
    def vanish(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and kept is not None and kept.data:
            kept.is_gone = True
        return False

    async with bench(tmp_path, vanish) as there:
        there.pace.body_limit = MIB
        await there.add()
        ends = []
        for _ in range(20):
            try:
                await there.carry()
            except (TryAgain, GiveUp) as error:
                ends.append(error)
            if isinstance(ends[-1], GiveUp):
                break
        assert isinstance(ends[-1], GiveUp)
        assert (ends[-1].code, ends[-1].retryable) == (ErrorCode.SERVER_REFUSED, True)
        assert len({kept.metadata["attemptId"] for kept in there.shelf.uploads}) == carrier.RECREATIONS + 1
        there.shelf.meddle = lambda _, __: False
        await there.carry()
        assert there.stored(carrier.RECREATIONS + 1) == CONTENT, "a person had it tried again"


# --- a file that changes is never a mixed file ---


def rewrite(file: Path) -> None:
    with file.open("r+b") as same:
        same.write(b"changed")


def shrink(file: Path) -> None:
    os.truncate(file, 2 * MIB)


def grow(file: Path) -> None:
    with file.open("ab") as more:
        more.write(b"more")


@pytest.mark.parametrize(
    ("change", "code"),
    [(rewrite, ErrorCode.FILE_CHANGED), (shrink, ErrorCode.FILE_SHRUNK), (grow, ErrorCode.FILE_CHANGED)],
)
async def test_a_file_that_changes_while_it_is_sent_is_never_complete(
    tmp_path: Path, change: Callable[[Path], None], code: ErrorCode
) -> None:
    def change_in_the_middle(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, MIB)
        change(there.file)
        Shelf.take(exchange, kept)
        exchange.close()

    content = CONTENT * 8
    async with bench(tmp_path, once("PATCH", change_in_the_middle), content) as there:
        there.pace.rate = 1e9
        await there.add()
        changed = await there.fails()
        assert (changed.code, changed.retryable) == (code, True)
        assert len(there.stored()) < len(content)


@pytest.mark.parametrize(
    ("change", "code"),
    [(rewrite, ErrorCode.FILE_CHANGED), (shrink, ErrorCode.FILE_SHRUNK), (grow, ErrorCode.FILE_CHANGED)],
)
async def test_a_file_that_changed_between_two_attempts_is_not_resumed(
    tmp_path: Path, change: Callable[[Path], None], code: ErrorCode
) -> None:
    async with bench(tmp_path, once("PATCH", answering(503, count=MIB)), CONTENT * 8) as there:
        await there.add()
        await there.fails(TryAgain)
        change(there.file)
        there.asked()
        assert (await there.fails()).code is code
        assert there.asked() == []


async def forge(there: Bench, at: int) -> None:
    """Another byte at that place, and a journal that believes it has seen this file: no times tell of the change."""
    with there.file.open("r+b") as same:
        same.seek(at)
        same.write(bytes([CONTENT[at % SIZE] ^ 1]))
    with there.folders.open_file(there.file.name.encode()) as file:
        identity = file.identity.to_text()
    await there.journal.write(lambda tx: tx.run("UPDATE uploads SET file_identity = ?", identity))


@pytest.mark.parametrize("confirmed", [1, 2])
async def test_a_new_process_holds_what_was_sent_to_the_journalled_hash(tmp_path: Path, confirmed: int) -> None:
    """The tus server may have forgotten the last bytes: what it is given again is held to the hash as well."""

    def forgetful(exchange: Exchange, kept: Kept) -> None:
        del kept.data[confirmed * MIB :]
        exchange.answer(200, {"Upload-Offset": str(len(kept.data)), "Upload-Length": str(kept.size)})

    def ends_at(place: int) -> Meddle:
        def meddle(exchange: Exchange, kept: Kept | None) -> bool:
            is_there = exchange.method == "PATCH" and kept is not None and len(kept.data) == place
            if is_there:
                exchange.close()
            return is_there

        return meddle

    async with bench(tmp_path, both(ends_at(2 * MIB), once("HEAD", forgetful))) as there:
        there.pace.body_limit = MIB
        await there.add()
        await there.fails(TryAgain)
        upload = await there.upload()
        assert (upload.hashed, upload.hashed_sha256) == (2 * MIB, hashlib.sha256(CONTENT[: 2 * MIB]).hexdigest())
        await forge(there, 2 * MIB - 1)
        there.asked()
        changed = await there.fails()
        assert (changed.code, changed.retryable) == (ErrorCode.FILE_CHANGED, True)
        assert there.asked() == ["HEAD"], "nothing was sent"


async def test_a_long_request_journals_the_hash_of_what_it_has_sent(tmp_path: Path) -> None:
    """A process that dies in the middle of it leaves more than the last confirmed offset to hold the file to."""

    def slow_then_gone(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, MIB)
        there.clock.at += carrier.NOTE_EVERY_S + 1
        Shelf.take(exchange, kept, 2 * MIB)
        exchange.close()

    content = CONTENT * 8
    async with bench(tmp_path, once("PATCH", slow_then_gone), content) as there:
        there.pace.rate = 1e9
        await there.add()
        await there.fails(TryAgain)
        upload = await there.upload()
        assert upload.hashed >= MIB
        assert upload.hashed_sha256 == hashlib.sha256(content[: upload.hashed]).hexdigest()
        await forge(there, 5)
        assert (await there.fails()).code is ErrorCode.FILE_CHANGED


async def test_the_same_process_holds_what_it_reads_again_to_what_it_sent(tmp_path: Path) -> None:
    digest = RunningDigest()
    async with bench(tmp_path, once("PATCH", answering(503, count=MIB))) as there:
        await there.add()
        with pytest.raises(TryAgain):
            await there.carry(digest)
        await forge(there, 2 * MIB)
        with pytest.raises(GiveUp) as changed:
            await there.carry(digest)
        assert changed.value.code is ErrorCode.FILE_CHANGED
        await there.journal.write(attempts.start_over, "f", recreated=0)
        await there.carry(digest)
        assert there.stored(1) == there.file.read_bytes(), "a new attempt takes the file as it is"


# --- being told to stop ---


async def test_what_is_told_to_stop_before_it_begins_makes_no_request(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        await there.add()
        with pytest.raises(Stopped):
            await there.carry(is_told_to_stop=True)
        assert there.asked() == []


async def test_a_patch_under_way_is_broken_off_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    def stop_in_the_middle(exchange: Exchange, kept: Kept) -> None:
        Shelf.take(exchange, kept, MIB)
        there.gauge.stop.set()
        there.session.abort()
        Shelf.take(exchange, kept)
        exchange.close()

    content = CONTENT * 8
    async with bench(tmp_path, once("PATCH", stop_in_the_middle), content) as there:
        there.pace.rate = 1e9
        await there.add()
        await there.fails(Stopped)
        assert (await there.carry()).sha256 == hashlib.sha256(content).hexdigest()
        assert there.stored() == content


async def test_a_token_that_is_refused_is_told_apart(tmp_path: Path) -> None:
    async with bench(tmp_path, once("POST", answering(401))) as there:
        await there.add()
        await there.fails(TokenRefused)
        assert there.asked() == ["POST"]


# --- what the other end is told ---


async def test_a_missing_file_has_the_same_words_as_when_it_is_found_out_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as there:
        await there.add()
        there.file.unlink()
        missing = await there.fails()
        assert (missing.code, missing.message) == (ErrorCode.NOT_FOUND, "no such file in the allowed folders")
        assert "a.bin" in missing.detail
        assert there.asked() == []


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("TusServer", "journal"))]
    assert left == []
