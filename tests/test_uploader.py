"""Uploads under way: N at a time, the most urgent first, broken off at once, and gone on with where they were."""

import hashlib
import http.server
import json
import os
import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from sse_agent.board import Board
from sse_agent.carrier import Pace
from sse_agent.clock import SystemClock
from sse_agent.errors import TryAgain
from sse_agent.events import (
    CommandStumbled,
    UploadCancelled,
    UploadCompleted,
    UploadEnded,
    UploadLocated,
    UploadPaused,
    UploadPostponed,
    UploadProgressed,
    UploadQueued,
    UploadStarted,
    UploadWaiting,
)
from sse_agent.files import AllowedFolders, OpenFile
from sse_agent.journal import attempts
from sse_agent.lifecycle import UploadState
from sse_agent.progress import EVERY_S, WINDOW_S
from sse_agent.uploader import WATCH_EVERY_S, Servers, Uploader
from tests.doubles.clock import FakeClock
from tests.doubles.journals import acknowledgements
from tests.doubles.relay import Relay
from tests.doubles.shelf import Kept, Shelf
from tests.doubles.station import Station, station
from tests.doubles.tus_server import Exchange, TusServer
from tests.doubles.tusd import Tusd

MIB = 1024 * 1024
AT_ONCE_S = 1.0
WITHIN_S = 20.0
FAST_LOCKS = ("-filelock-holder-poll-interval=50ms", "-filelock-acquirer-poll-interval=50ms")
LARGE = random.Random(1).randbytes(MIB) * 48


def file(tmp_path: Path, name: str, content: bytes) -> str:
    """A file to upload; its SHA-256."""
    folder = tmp_path / "files"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


class Gates:
    """Opened from the test; a server's thread waits before it goes on with an upload."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[str] = set()
        self.at: list[str] = []

    def wait(self, name: str) -> bool:
        """True once it is opened; False if the test ended."""
        with self._changed:
            self.at.append(name)
            return self._changed.wait_for(lambda: bool(self._open & {name, "*"}), WITHIN_S)

    def open(self, name: str) -> None:
        """`*` opens all, for good."""
        with self._changed:
            self._open.add(name)
            self._changed.notify_all()


def gated(gates: Gates, after: int = 0) -> Callable[[Exchange, Kept | None], bool]:
    """A PATCH is read up to `after` bytes; the rest waits for the gate of its upload's `fileId`."""

    def meddle(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method != "PATCH" or kept is None:
            return False
        Shelf.take(exchange, kept, min(after, exchange.length))
        gates.wait(kept.metadata["fileId"].decode())
        Shelf.take(exchange, kept)
        if len(kept.data) < kept.size:
            exchange.close()
        else:
            exchange.answer(204, {"Upload-Offset": str(len(kept.data))})
        return True

    return meddle


@contextmanager
def shelf(meddle: Callable[[Exchange, Kept | None], bool] = lambda _, __: False) -> Iterator[tuple[Shelf, TusServer]]:
    one = Shelf(meddle)
    with TusServer(script=one) as server:
        yield one, server


def answer_once(method: str, status: int, body: bytes = b"") -> Callable[[Exchange, Kept | None], bool]:
    """The first request of that method is answered with an error."""
    left = [status]

    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method != method or not left:
            return False
        exchange.drain()
        exchange.answer(left.pop(), body=body)
        return True

    return meddle


def always(method: str, status: int) -> Callable[[Exchange, Kept | None], bool]:
    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method != method:
            return False
        exchange.drain()
        exchange.answer(status)
        return True

    return meddle


async def until(holds: Callable[[], bool]) -> None:
    """For what a server's thread sees, and no event tells of."""
    with anyio.fail_after(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - another thread, or another process, is looked at
            await anyio.sleep(0.01)


# --- who carries what, when ---


@pytest.mark.parametrize(
    ("endpoint", "own", "token"),
    [
        ("https://tus.example.com/files/", None, "the settings' own"),
        ("https://TUS.example.com:443/other/", None, "the settings' own"),
        ("https://tus.example.com:444/files/", None, None),
        ("http://tus.example.com/files/", None, None),
        ("https://other.example.com/files/", None, None),
        ("https://other.example.com/files/", "its own", "its own"),
        ("https://tus.example.com/files/", "its own", "its own"),
    ],
)
def test_the_settings_token_goes_to_no_other_origin(endpoint: str, own: str | None, token: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    servers = Servers(context, {}, "https://tus.example.com", "the settings' own")
    assert servers.token_for(endpoint, own) == token
    assert "the settings' own" not in repr(servers)


async def test_uploads_run_by_priority_and_no_more_at_a_time_than_the_limit(tmp_path: Path) -> None:
    gates = Gates()
    with shelf(gated(gates)) as (_, server):
        async with station(tmp_path, server.endpoint, limit=2) as there:
            for n, priority in enumerate([9, 9, 1, 5, 5]):
                file(tmp_path, f"{n}", b"content")
                await there.start(f"f{n}", f"{n}", priority=priority)
            await there.until(UploadQueued, file_id="f4")
            await until(lambda: {"f0", "f1"} <= set(gates.at))
            states = Counter([(await there.upload(f"f{n}")).state for n in range(5)])
            assert states == {UploadState.UPLOADING: 2, UploadState.QUEUED: 3}
            for name in ("f0", "f1", "f3", "f4", "f2"):
                gates.open(name)
                await there.until(UploadCompleted, file_id=name)
            started = [event.file_id for event in there.events if isinstance(event, UploadStarted)]
            assert started == ["f0", "f1", "f3", "f4", "f2"]


async def test_a_more_urgent_upload_takes_the_place_of_a_less_urgent_one_which_goes_on_afterwards(
    tmp_path: Path,
) -> None:
    sha256 = file(tmp_path, "large", LARGE)
    file(tmp_path, "small", b"content")
    gates = Gates()
    with shelf(gated(gates, after=MIB)) as (one, server):
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            await there.start("calm", "large", priority=4)
            await until(lambda: "calm" in gates.at)
            await there.start("urgent", "small", priority=6)
            displaced = await there.until(UploadQueued, why="displaced")
            gates.open("*")
            assert displaced.file_id == "calm"
            await there.until(UploadCompleted, file_id="urgent")
            assert (await there.until(UploadCompleted, file_id="calm")).sha256 == sha256
            kinds = [kind for kind, _ in await there.told("calm")]
            assert kinds == ["UPLOAD_COMPLETE"], "being displaced is no event of the contract's"
    assert one.log.count("POST") == 2
    assert bytes(one.uploads[0].data) == LARGE


async def test_a_start_that_comes_again_with_a_higher_priority_is_more_urgent_at_once(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    file(tmp_path, "b", b"content")
    gates = Gates()
    with shelf(gated(gates)) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("a", "a", priority=5)
            await until(lambda: "a" in gates.at)
            await there.start("b", "b", priority=5)
            await there.until(UploadQueued, file_id="b")
            await there.start("b", "b", priority=6)
            await there.until(UploadQueued, file_id="a", why="displaced")
            gates.open("*")
            await there.until(UploadCompleted, file_id="b")


# --- a real tusd ---


@pytest.fixture
def tusd(tmp_path: Path) -> Iterator[Tusd]:
    with Tusd(tmp_path / "store", flags=FAST_LOCKS) as server:
        yield server


@pytest.fixture
def slow() -> Iterator[Relay]:
    """A way that is slow enough for something to happen meanwhile."""
    with Relay(rate=16 * MIB) as relay:
        yield relay


async def stored(there: Station, tusd: Tusd, file_id: str) -> str:
    """The SHA-256 of what the server has of a complete upload."""
    told = await there.until_told("UPLOAD_COMPLETE", fileId=file_id)
    return tusd.sha256(told["uploadId"])


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "one byte", "48 MiB"])
async def test_a_file_goes_up_and_its_start_is_acknowledged(tmp_path: Path, tusd: Tusd, content: bytes) -> None:
    sha256 = file(tmp_path, "a", content)
    async with station(tmp_path, tusd.endpoint, clock=SystemClock()) as there:
        command = await there.start("f", "a", fileSize=len(content), sha256=sha256)
        assert (await there.answer(command))["status"] == "completed"
        told = await there.until_told("UPLOAD_COMPLETE")
        assert (told["sha256"], told["fileSize"], told["confirmation"]) == (sha256, len(content), "response")
        assert await stored(there, tusd, "f") == sha256


async def test_many_small_files_go_up_over_few_connections(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)
    one = Shelf()
    with TusServer(tls=tls, script=one) as server:
        async with station(tmp_path, server.endpoint, limit=3, trust=trust) as there:
            for n in range(40):
                file(tmp_path, f"{n}", f"content {n}".encode())
                await there.start(f"f{n}", f"{n}")
            for n in range(40):
                await there.until(UploadCompleted, file_id=f"f{n}")
        assert server.connections <= 3
    assert sorted(bytes(kept.data) for kept in one.uploads) == sorted(f"content {n}".encode() for n in range(40))


async def test_a_pause_ends_the_request_within_a_second_even_if_the_server_stands_still(
    tmp_path: Path, tusd: Tusd, slow: Relay
) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint), clock=SystemClock(), pace=Pace(rate=1e9)) as there:
        await there.start("f", "a")
        await until(lambda: any(tusd.size(each) > 0 for each in tusd.ids()))
        os.kill(tusd.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            pause = await there.tell("UPLOAD_PAUSE", fileId="f")
            assert (await there.answer(pause))["status"] == "completed"
            await there.until(UploadPaused)
            assert time.monotonic() - began < AT_ONCE_S
        finally:
            os.kill(tusd.pid, signal.SIGCONT)
        slow.rate = None
        await there.tell("UPLOAD_RESUME", fileId="f")
        await there.until(UploadCompleted)
        assert await stored(there, tusd, "f") == sha256
        kinds = [kind for kind, _ in await there.told("f")]
        assert kinds == ["UPLOAD_PAUSED", "UPLOAD_RESUMED", "UPLOAD_COMPLETE"]
        revisions = [payload["revision"] for _, payload in await there.told("f")]
        assert revisions == sorted(set(revisions))
    assert len(tusd.ids()) == 1, "it went on where it was"


async def test_a_cancel_breaks_it_off_and_deletes_it_on_the_server(tmp_path: Path, tusd: Tusd, slow: Relay) -> None:
    file(tmp_path, "a", LARGE)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint), clock=SystemClock(), pace=Pace(rate=1e9)) as there:
        start = await there.start("f", "a")
        await until(lambda: any(tusd.size(each) > 0 for each in tusd.ids()))
        os.kill(tusd.pid, signal.SIGSTOP)
        try:
            cancel = await there.tell("UPLOAD_CANCEL", fileId="f")
            await there.until(UploadCancelled)
        finally:
            slow.rate = None
            os.kill(tusd.pid, signal.SIGCONT)
        assert (await there.answer(cancel))["status"] == "completed"
        answer = await there.answer(start)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "CANCELLED")
        await until(lambda: tusd.ids() == [])


async def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path, tusd: Tusd, slow: Relay) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint), pace=Pace(rate=1e9)) as there:
        await there.start("f", "a")
        await until(lambda: any(tusd.size(each) > MIB for each in tusd.ids()))
        tusd.kill()
        waiting = await there.until(UploadWaiting)
        assert "connection broke" in waiting.reason
        there.advance(120.0)
        await there.until(UploadWaiting, count=2)
        tusd.start()
        slow.rate = None
        there.advance(120.0)
        assert (await there.until(UploadCompleted)).sha256 == sha256
        assert await stored(there, tusd, "f") == sha256
    assert len(tusd.ids()) == 1, "it went on from the offset and not from zero"


async def test_an_upload_goes_on_after_the_agent_was_restarted(tmp_path: Path, tusd: Tusd, slow: Relay) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint), pace=Pace(rate=1e9)) as there:
        await there.start("f", "a")
        await until(lambda: any(tusd.size(each) > MIB for each in tusd.ids()))
    slow.rate = None
    async with station(tmp_path, slow.in_front_of(tusd.endpoint)) as there:
        assert (await there.until(UploadCompleted)).sha256 == sha256
        assert await stored(there, tusd, "f") == sha256
    assert len(tusd.ids()) == 1


async def test_a_paused_upload_stays_so_over_a_restart(tmp_path: Path, tusd: Tusd, slow: Relay) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint), pace=Pace(rate=1e9)) as there:
        await there.start("f", "a")
        await until(lambda: any(tusd.size(each) > 0 for each in tusd.ids()))
        await there.tell("UPLOAD_PAUSE", fileId="f")
        await there.until(UploadPaused)
    async with station(tmp_path, slow.in_front_of(tusd.endpoint)) as there:
        slow.rate = None
        file(tmp_path, "b", b"content")
        await there.start("g", "b")
        await there.until(UploadCompleted, file_id="g")
        assert (await there.upload("f")).state is UploadState.PAUSED
        slow.rate = None
        await there.tell("UPLOAD_RESUME", fileId="f")
        assert (await there.until(UploadCompleted, file_id="f")).sha256 == sha256


class Hook(http.server.BaseHTTPRequestHandler):
    """tusd's pre-finish hook, as a control plane or a virus scanner would answer it."""

    answer = (200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = type(self).answer
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[Tusd]:
    hooks = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=hooks.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    flags = (*FAST_LOCKS, "-hooks-enabled-events=pre-finish", "-hooks-http-retry=0")
    try:
        with Tusd(tmp_path / "store", flags=flags, hooks_url=f"http://127.0.0.1:{hooks.server_port}/") as server:
            yield server
    finally:
        hooks.shutdown()
        thread.join()
        hooks.server_close()


@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        ((500, b"{}"), True),
        ((200, json.dumps({"HTTPResponse": {"StatusCode": 422, "Body": "not a picture"}}).encode()), False),
        ((200, json.dumps({"HTTPResponse": {"StatusCode": 413, "Body": "too large"}}).encode()), False),
    ],
    ids=["the hook fails", "the hook says 422", "the hook says 413"],
)
async def test_a_file_that_the_servers_hook_refuses_is_never_complete(
    tmp_path: Path, hooked: Tusd, answer: tuple[int, bytes], retryable: bool
) -> None:
    Hook.answer = answer
    sha256 = file(tmp_path, "a", b"content" * 1000)
    async with station(tmp_path, hooked.endpoint, clock=SystemClock()) as there:
        command = await there.start("f", "a")
        failed = await there.until(UploadEnded)
        assert (failed.code, failed.retryable) == ("SERVER_REFUSED", retryable)
        assert (await there.answer(command))["error"]["code"] == "SERVER_REFUSED"
        assert [kind for kind, _ in await there.told("f")] == ["UPLOAD_FAILED"]
        attempt = (await there.upload("f")).attempt_id
        await until(lambda: hooked.ids() == [])
        Hook.answer = (200, b"{}")
        resume = await there.tell("UPLOAD_RESUME", fileId="f")
        if not retryable:
            assert (await there.answer(resume))["error"]["code"] == "WRONG_STATE"
            return
        assert (await there.until(UploadCompleted)).sha256 == sha256
        assert (await there.upload("f")).attempt_id != attempt
        assert await stored(there, hooked, "f") == sha256


# --- trouble ---


async def test_a_waiting_upload_says_why_and_when_and_is_tried_again_then(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf(answer_once("POST", 503)) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            waiting = await there.until(UploadWaiting)
            assert "503" in waiting.reason
            assert there.clock.now() <= waiting.next_try_at <= there.clock.now() + timedelta(seconds=1)
            (report,) = there.progress.take(there.clock.monotonic(), 10)
            assert (report.state, report.reason) == (UploadState.WAITING, waiting.reason)
            assert report.next_try_at is not None
            there.advance(1.0)
            await there.until(UploadCompleted)


async def test_retry_after_is_the_least_wait(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")

    def busy(exchange: Exchange, _: Kept | None) -> bool:
        exchange.answer(503, {"Retry-After": "300"})
        return True

    with shelf(busy) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            waiting = await there.until(UploadWaiting)
            assert waiting.next_try_at >= there.clock.now() + timedelta(seconds=300)


def at_first(*answers: tuple[int, dict[str, str]]) -> Callable[[Exchange, Kept | None], bool]:
    """So the first POSTs are answered, in this order, once all of them are there."""
    left, lock, all_of_them = list(answers), threading.Lock(), threading.Barrier(len(answers))

    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.method != "POST":
            return False
        with lock:
            if not left:
                return False
            status, headers = left.pop(0)
        exchange.drain()
        all_of_them.wait(WITHIN_S)
        exchange.answer(status, headers)
        return True

    return meddle


async def test_while_a_server_is_left_alone_every_upload_that_waits_for_it_tells_when_it_is_tried(
    tmp_path: Path,
) -> None:
    file(tmp_path, "a", b"content")
    with shelf(at_first((503, {}), (503, {"Retry-After": "300"}))) as (one, server):
        async with station(tmp_path, server.endpoint, limit=2) as there:
            begin = there.clock.now()
            for name in ("f", "g"):
                await there.start(name, "a")
            for name in ("f", "g"):
                await there.until(UploadWaiting, file_id=name)
            later = begin + timedelta(seconds=299)

            def next_tries() -> list[bool]:
                found = [there.progress.find(name) for name in ("f", "g")]
                return [one is not None and one.next_try_at is not None and one.next_try_at > later for one in found]

            await until(lambda: all(next_tries()))
            told = {e.file_id: e for e in there.events if isinstance(e, UploadWaiting | UploadPostponed)}
            assert all(event.next_try_at > later for event in told.values())
            there.advance(290.0)
            await anyio.wait_all_tasks_blocked()
            assert one.log.count("POST") == 2, "nothing happens before that"
            there.advance(71.0)
            for name in ("f", "g"):
                await there.until(UploadCompleted, file_id=name)


async def test_a_server_that_is_tried_earlier_after_all_is_told_as_well(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    file(tmp_path, "b", b"content")
    gates, trouble = Gates(), at_first((503, {"Retry-After": "300"}), (503, {}))

    def meddle(exchange: Exchange, kept: Kept | None) -> bool:
        return ("long" in gates.at and trouble(exchange, kept)) or gated(gates, after=MIB)(exchange, kept)

    with shelf(meddle) as (_, server):
        async with station(tmp_path, server.endpoint, limit=3, pace=Pace(rate=1e9)) as there:
            await there.start("long", "a")
            await until(lambda: "long" in gates.at)
            for name in ("f", "g"):
                await there.start(name, "b")
            for name in ("f", "g"):
                await there.until(UploadWaiting, file_id=name)
            gates.open("*")
            await there.until(UploadCompleted, file_id="long")
            soon = there.clock.now() + timedelta(seconds=1)
            await until(lambda: any(isinstance(e, UploadPostponed) and e.next_try_at <= soon for e in there.events))
            there.advance(1.0)
            await until(lambda: _count(there, UploadCompleted) == 2)
            there.advance(301.0)
            await until(lambda: _count(there, UploadCompleted) == 3)


async def test_an_upload_without_progress_for_too_long_has_failed_and_can_be_resumed(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf(always("POST", 503)) as (one, server):
        async with station(tmp_path, server.endpoint, no_progress=timedelta(minutes=10)) as there:
            await there.start("f", "a")
            for n in range(1, 100):
                event = await there.until((UploadWaiting, UploadEnded), count=n)
                if isinstance(event, UploadEnded):
                    break
                there.advance(61.0)
            assert isinstance(event, UploadEnded)
            assert (event.code, event.retryable) == ("NO_PROGRESS", True)
            assert n > 10, "waits of a minute at most make more than ten tries in ten minutes"
            one.meddle = lambda _, __: False
            await there.tell("UPLOAD_RESUME", fileId="f")
            await there.until(UploadQueued, why="retried")
            there.advance(61.0)
            await there.until(UploadCompleted)


async def test_a_server_that_is_away_is_tried_by_a_few_for_all(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf(always("POST", 503)) as (one, server):
        async with station(tmp_path, server.endpoint, limit=2) as there:
            for n in range(40):
                await there.start(f"f{n}", "a")
            await there.until(UploadQueued, file_id="f39")
            for _ in range(20):
                there.advance(1.0)
                await anyio.wait_all_tasks_blocked()
            assert one.log.count("POST") <= 2 * 20
            one.meddle = lambda _, __: False
            there.advance(61.0)
            for n in range(40):
                await there.until((UploadCompleted, UploadWaiting), file_id=f"f{n}")
            waiting = {event.file_id for event in there.events if isinstance(event, UploadWaiting)}
            there.advance(61.0)
            for n in range(40):
                await there.until(UploadCompleted, file_id=f"f{n}")
            assert len(waiting) < 40, "most were spared"


async def test_a_server_that_is_away_holds_up_no_upload_to_another_one(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf(always("POST", 503)) as (bad, server):
        async with station(tmp_path, server.endpoint) as there:
            for n in range(3):
                await there.start(f"f{n}", "a", priority=9)
            await until(lambda: bad.log.count("POST") >= 2)
            bad.meddle = lambda exchange, kept: "other" not in exchange.target and always("POST", 503)(exchange, kept)
            await there.start("g", "a", tusEndpoint=server.endpoint.replace("/files/", "/other/"), priority=0)
            await there.until(UploadCompleted, file_id="g")


class Odd(AllowedFolders):
    """A bug in reading some files."""

    def open_file(self, name: bytes) -> OpenFile:
        if name == b"bug" and threading.current_thread().name != "look_0":
            raise RuntimeError("https://tus.example.com/files/5ecre7")
        return super().open_file(name)


async def test_a_bug_stops_neither_the_other_uploads_nor_the_agent(tmp_path: Path) -> None:
    file(tmp_path, "bug", b"content")
    file(tmp_path, "a", b"content")
    with shelf() as (_, server):
        async with station(tmp_path, server.endpoint, hold=Odd) as there:
            await there.start("bad", "bug")
            await there.start("good", "a")
            assert "RuntimeError" in (await there.until(UploadWaiting, file_id="bad")).reason
            await there.until(UploadCompleted, file_id="good")
            stumbled = await there.until(CommandStumbled)
            assert stumbled.error.startswith("RuntimeError at test_uploader.py:")
            assert "5ecre7" not in repr(there.events)


async def test_what_was_paused_while_it_waited_is_no_longer_reported_as_waiting(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf(always("POST", 503)) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            await there.until(UploadWaiting)
            await there.tell("UPLOAD_PAUSE", fileId="f")
            await there.until(UploadPaused)
            there.advance(120.0)
            await until(lambda: there.progress.next_due_at() is None)


# --- a journal that can't be written ---


def fill(tx: Any) -> None:
    tx.one(f"PRAGMA max_page_count={tx.sql.execute('PRAGMA page_count').fetchone()[0]}")


def make_room(tx: Any) -> None:
    tx.one("PRAGMA max_page_count=1000000")


async def test_an_outcome_that_cannot_be_written_is_kept_until_it_can(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    gates = Gates()
    with shelf(gated(gates)) as (one, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)
            await there.journal.read(fill)
            for size in (3000, 300, 30, 0):
                with pytest.raises(TryAgain):
                    for n in range(1000):
                        row = (f"{size}-{n}", bytes(size))
                        await there.journal.write(
                            lambda tx, row=row: tx.run(
                                "INSERT INTO outbox (message_id, type, lane, body, at, state, is_kept)"
                                " VALUES (?, '', '', ?, '9', 'sent', 1)",
                                *row,
                            )
                        )
            gates.open("*")
            assert isinstance(there.clock, FakeClock)
            clock = there.clock
            await until(lambda: len([each for each in clock.sleeps if each not in (0.25, 1.0)]) >= 1)
            for n in range(2, 6):
                there.advance(120.0)
                await until(lambda n=n: len([each for each in clock.sleeps if each not in (0.25, 1.0)]) >= n)
            assert (await there.upload("f")).state is UploadState.UPLOADING
            await there.journal.read(make_room)
            there.advance(120.0)
            assert (await there.until(UploadCompleted)).confirmation == "response"
    assert one.log == ["POST", "PATCH 0+7"], "nothing was done twice"


# --- tokens ---


class Mint:
    """The control plane's way to a fresh upload token."""

    def __init__(self, *tokens: str | None) -> None:
        self._tokens = list(tokens)
        self.asked: list[str] = []

    async def __call__(self, file_id: str) -> str | None:
        self.asked.append(file_id)
        return self._tokens.pop(0)


def only(*tokens: str) -> Callable[[Exchange, Kept | None], bool]:
    """A server that accepts these tokens."""

    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.headers.get("authorization", "").removeprefix("Bearer ") in tokens:
            return False
        exchange.drain()
        exchange.answer(401)
        return True

    return meddle


async def test_a_refused_token_is_renewed_once_and_the_fresh_one_is_durable(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    mint = Mint("fresh")
    with shelf(only("fresh")) as (_, server):
        async with station(tmp_path, server.endpoint, renew_token=mint) as there:
            await there.start("f", "a", uploadToken="stale")
            await there.until(UploadCompleted)
            assert mint.asked == ["f"]


async def test_an_upload_outlives_any_number_of_tokens_that_each_get_it_further(tmp_path: Path) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    served: Counter[str] = Counter()

    def expire(exchange: Exchange, kept: Kept | None) -> bool:
        token = exchange.headers.get("authorization", "")
        served[token] += exchange.method == "PATCH"
        return only(*([] if served[token] > 1 else [token.removeprefix("Bearer ")]))(exchange, kept)

    mint = Mint(*(f"token-{n}" for n in range(12)))
    with shelf(expire) as (one, server):
        async with station(tmp_path, server.endpoint, renew_token=mint, pace=Pace(body_limit=8 * MIB)) as there:
            await there.start("f", "a", uploadToken="first")
            assert (await there.until(UploadCompleted)).sha256 == sha256
    assert len(mint.asked) == 5
    assert one.log.count("POST") == 1


@pytest.mark.parametrize("minted", [None, "stale too"])
async def test_a_token_that_is_refused_again_fails_the_upload_which_keeps_its_place(
    tmp_path: Path, minted: str | None
) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    accepted = ["first"]

    def expire(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and kept is not None and kept.data:
            accepted[:] = []
        return only(*accepted)(exchange, kept)

    with shelf(expire) as (one, server):
        async with station(tmp_path, server.endpoint, renew_token=Mint(minted, "second")) as there:
            await there.start("f", "a", uploadToken="first")
            failed = await there.until(UploadEnded)
            assert (failed.code, failed.retryable) == ("SERVER_REFUSED", True)
            assert (await there.upload("f")).offset > 0
            one.meddle = only("second")
            await there.tell("UPLOAD_RESUME", fileId="f")
            assert (await there.until(UploadCompleted)).sha256 == sha256
    assert one.log.count("POST") == 1
    assert bytes(one.uploads[0].data) == LARGE


async def test_a_token_that_came_with_the_same_start_again_is_used_before_one_is_asked_for(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    gates = Gates()
    mint = Mint()

    def refuse_late(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.headers.get("authorization") == "Bearer old":
            gates.wait("f")
        return only("new")(exchange, kept)

    with shelf(refuse_late) as (_, server):
        async with station(tmp_path, server.endpoint, renew_token=mint) as there:
            await there.start("f", "a", uploadToken="old")
            await until(lambda: "f" in gates.at)
            await there.start("f", "a", uploadToken="new")
            await there.answer(await there.tell("HEARTBEAT"))
            gates.open("*")
            await there.until(UploadCompleted)
            assert mint.asked == []


async def test_a_pause_does_not_wait_for_a_token(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    asked = anyio.Event()

    async def never(_: str) -> str | None:
        asked.set()
        await anyio.sleep_forever()
        return None

    with shelf(only("none")) as (_, server):
        async with station(tmp_path, server.endpoint, renew_token=never) as there:
            await there.start("f", "a")
            with anyio.fail_after(WITHIN_S):
                await asked.wait()
            await there.tell("UPLOAD_PAUSE", fileId="f")
            await there.until(UploadPaused)


async def test_a_404_that_no_tus_server_gave_is_waited_for_where_there_was_one_and_told_at_once_where_not(
    tmp_path: Path,
) -> None:
    file(tmp_path, "a", b"content")
    is_away = True

    def route(exchange: Exchange, _: Kept | None) -> bool:
        if is_away:
            exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n")
        return is_away

    with shelf(route) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("wrong", "a")
            ended = await there.until(UploadEnded)
            assert (ended.code, ended.retryable) == ("SERVER_REFUSED", True)
            assert ended.message == "there is no tus server at the endpoint (404)"
            is_away = False
            await there.start("first", "a")
            await there.until(UploadCompleted)
            is_away = True
            await there.start("second", "a")
            assert "something in front of the tus server" in (await there.until(UploadWaiting)).reason
            is_away = False
            there.advance(1.0)
            await there.until(UploadCompleted, count=2)


async def test_trouble_in_renewing_a_token_is_waited_for(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    tokens: list[str] = []

    async def renew(_: str) -> str | None:
        if not tokens:
            tokens.append("fresh")
            raise TryAgain("the control plane is away")
        return tokens[0]

    with shelf(only("fresh")) as (_, server):
        async with station(tmp_path, server.endpoint, renew_token=renew) as there:
            await there.start("f", "a")
            assert (await there.until(UploadWaiting)).reason == "the control plane is away"
            there.advance(1.0)
            await there.until(UploadCompleted)


async def test_the_settings_token_goes_along_where_a_command_brings_none_and_to_a_delete_too(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    gates = Gates()
    with shelf(gated(gates, after=MIB)) as (one, server):
        async with station(tmp_path, server.endpoint, default_token="the settings' own".replace(" ", "-")) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)
            await there.tell("UPLOAD_CANCEL", fileId="f")
            await there.until(UploadCancelled)
            gates.open("*")
            there.advance(2.0)
            await until(lambda: one.log[-1] == "DELETE")
            await until(lambda: one.uploads[0].is_gone)
    assert set(one.tokens) == {"Bearer the-settings'-own"}


# --- parked, stopped, and everything at once ---


async def test_a_parked_agent_brings_its_uploads_to_a_safe_point_where_they_wait(tmp_path: Path) -> None:
    sha256 = file(tmp_path, "a", LARGE)
    gates = Gates()
    with shelf(gated(gates, after=MIB)) as (one, server):
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)
            there.parking.park("another copy took over")
            waiting = await there.until(UploadWaiting)
            assert waiting.reason == "parked: another copy took over"
            gates.open("*")
            file(tmp_path, "b", b"content")
            await there.start("g", "b")
            await there.until(UploadQueued, file_id="g")
            there.advance(3600.0)
            assert (await there.upload("f")).state is UploadState.WAITING
            before = list(one.log)
            there.parking.leave()
            there.ring()
            assert (await there.until(UploadCompleted, file_id="f")).sha256 == sha256
            await there.until(UploadCompleted, file_id="g")
            assert before == ["POST", f"PATCH 0+{len(LARGE)}"]


async def test_a_cancel_while_the_upload_is_being_created_ends_it(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    gates = Gates()

    def hang(exchange: Exchange, _: Kept | None) -> bool:
        gates.wait(exchange.method)
        exchange.close()
        return True

    with shelf(hang) as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            await until(lambda: "POST" in gates.at)
            cancel = await there.tell("UPLOAD_CANCEL", fileId="f")
            await there.until(UploadCancelled)
            assert (await there.answer(cancel))["status"] == "completed"
            gates.open("*")


async def test_progress_tells_what_was_sent_apart_from_what_was_confirmed(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    gates = Gates()
    with shelf(gated(gates, after=2 * MIB)) as (_, server):
        async with station(tmp_path, server.endpoint, limit=2, pace=Pace(rate=1e9)) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)
            there.advance(0.3)
            progress = await there.until(UploadProgressed)
            assert (progress.offset, progress.size) == (0, len(LARGE))
            assert progress.bytes_sent >= MIB
            assert not progress.confirming
            file(tmp_path, "b", b"content")
            await there.start("g", "b")
            await until(lambda: "g" in gates.at)
            with anyio.fail_after(WITHIN_S):
                while not (sent := [one for one in there.events if getattr(one, "confirming", False)]):
                    there.advance(0.3)
                    await anyio.wait_all_tasks_blocked()
            assert sent[0] == UploadProgressed("g", 0, 7, 7, 0, 7, confirming=True)
            gates.open("*")
            await there.until(UploadCompleted, count=2)
            assert there.progress.next_due_at() is None


async def test_progress_is_told_after_the_start_whoever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_yet(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(Uploader, "_carry", not_yet)
    file(tmp_path, "a", b"content")
    with shelf() as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            await until(lambda: _count(there, UploadStarted) == 1)
            there.advance(WATCH_EVERY_S)
            await there.until(UploadProgressed)
            kinds = [type(event) for event in there.events]
            assert kinds.index(UploadStarted) < kinds.index(UploadProgressed)


async def test_all_that_was_sent_is_told_before_the_end(tmp_path: Path) -> None:
    file(tmp_path, "a", b"content")
    with shelf() as (_, server):
        async with station(tmp_path, server.endpoint) as there:
            await there.start("f", "a")
            await there.until(UploadCompleted)
            of_it = [event for event in there.events if getattr(event, "file_id", "") == "f"]
    assert [type(event) for event in of_it] == [UploadQueued, UploadStarted, UploadProgressed, UploadCompleted]
    assert of_it[2] == UploadProgressed("f", 7, 7, 7, 0, 7)


async def test_of_an_upload_whose_server_stands_still_the_rate_falls_to_0(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    gates = Gates()
    with shelf(gated(gates, after=2 * MIB)) as (_, server):
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)

            async def tick() -> UploadProgressed:
                before = len(there.events)
                while len(there.events) == before:
                    there.advance(WATCH_EVERY_S)
                    await anyio.wait_all_tasks_blocked()
                return await there.until(UploadProgressed, count=_count(there, UploadProgressed))

            with anyio.fail_after(WITHIN_S):
                while not (now := await tick()).rate:
                    pass
                since, sent = there.clock.monotonic(), now.attempt_sent
                # What there is room for on the way is filled meanwhile.
                while (now := await tick()).rate:
                    if now.attempt_sent != sent:
                        since, sent = there.clock.monotonic(), now.attempt_sent
            assert there.clock.monotonic() - since <= WINDOW_S + 2 * EVERY_S
            assert there.progress.take(there.clock.monotonic(), 9)[-1].rate == 0
            gates.open("*")


def _count(there: Station, kind: type) -> int:
    return sum(isinstance(event, kind) for event in there.events)


async def test_what_the_server_has_from_before_is_told_and_counts_neither_as_sent_nor_as_progress(
    tmp_path: Path,
) -> None:
    file(tmp_path, "a", LARGE)
    gates = Gates()
    with shelf(gated(gates, after=16 * MIB)) as (one, server):
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            await there.start("f", "a")
            await until(lambda: "f" in gates.at)
        assert [event.why for event in there.events if isinstance(event, UploadQueued)] == ["new", "stopped"]
        gates.open("*")
        one.meddle = lambda _, __: False
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            board = Board()
            await there.until(UploadCompleted)
            for event in there.events:
                board.apply(event, there.clock.monotonic(), there.clock.now())
            started, located = await there.until(UploadStarted), await there.until(UploadLocated)
            assert started.offset == 0, "no PATCH was over"
            assert located.offset >= 16 * MIB
            assert there.events.index(started) < there.events.index(located)
            assert board.totals.bytes_sent == len(LARGE) - located.offset


async def test_whatever_people_wish_there_is_one_writer_and_no_question_while_it_writes(tmp_path: Path) -> None:
    """Pauses, resumes and displacements at random: the server sees one request at a time for each upload."""
    content = LARGE[: 12 * MIB]
    sha256 = file(tmp_path, "a", content)
    for n in range(30):
        file(tmp_path, f"u{n}", b"content")
    busy = threading.Lock()
    overlaps: list[str] = []

    def watch(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method not in ("PATCH", "HEAD") or kept is None or kept.size < MIB:
            return False
        # The end of a connection may be seen a little later than the next request; a live one does not end.
        if not busy.acquire(timeout=2.0):
            overlaps.append(exchange.method)
            return False
        try:
            if exchange.method == "PATCH":
                while exchange.taken < exchange.length:
                    before = exchange.taken
                    Shelf.take(exchange, kept, min(64 * 1024, exchange.length - exchange.taken))
                    time.sleep(0.0005)
                    if exchange.taken == before:
                        exchange.close()
                        return True
                exchange.answer(204, {"Upload-Offset": str(len(kept.data))})
                return True
        finally:
            busy.release()
        return False

    chance = random.Random(3)
    with shelf(watch) as (one, server):
        async with station(tmp_path, server.endpoint, pace=Pace(rate=1e9)) as there:
            await there.start("f", "a", priority=5)
            for n in range(30):
                if chance.random() < 0.3:
                    await there.start(f"u{n}", f"u{n}", priority=9)
                else:
                    await there.tell(chance.choice(["UPLOAD_PAUSE", "UPLOAD_RESUME"]), fileId="f")
                await anyio.sleep(chance.uniform(0.0, 0.02))
            await there.tell("UPLOAD_RESUME", fileId="f")
            assert (await there.until(UploadCompleted, file_id="f")).sha256 == sha256
            assert overlaps == []
            assert len(await there.journal.read(acknowledgements, "cmd-1")) == 2
            assert await there.journal.read(attempts.terminations, 10) == []
            told = await there.until_told("UPLOAD_COMPLETE", fileId="f")
    assert bytes(one.uploads[int(told["uploadId"].removeprefix("5ecre7-"))].data) == content


async def test_neither_an_uploads_url_nor_a_token_is_in_any_event_or_message(tmp_path: Path) -> None:
    file(tmp_path, "a", LARGE)
    file(tmp_path, "b", b"content")

    def stumble(exchange: Exchange, kept: Kept | None) -> bool:
        if exchange.method == "PATCH" and kept is not None and kept.size > MIB:
            exchange.drain()
            exchange.answer(400, body=f"ERR_X: no {exchange.target} for you, t0k3n\n".encode())
            return True
        return False

    with shelf(stumble) as (_, server):
        async with station(tmp_path, server.endpoint, renew_token=Mint()) as there:
            await there.start("f", "a", uploadToken="t0k3n")
            await there.start("g", "b", uploadToken="t0k3n")
            await there.until(UploadEnded, file_id="f")
            await there.until(UploadCompleted, file_id="g")
            said = repr(there.events) + json.dumps(await there.told("f"))
            assert "5ecre7" not in said
            assert "t0k3n" not in said
