"""Uploads against a real tusd, and against servers that misbehave."""

import contextlib
import email.utils
import hashlib
import io
import json
import logging
import resource
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
import truststore

from sse_agent.clock import Clock, SystemClock
from sse_agent.errors import AgentError, ErrorCode, GiveUp, Stopped, TryAgain, Unauthorized
from sse_agent.retry import Backoff
from sse_agent.tus import (
    BodyLimit,
    NotNow,
    OffsetConflict,
    Outages,
    Patience,
    Refused,
    Stranger,
    TokenRefused,
    TusSession,
    TusUploader,
    UploadGone,
    check_upload_url,
    classify,
    is_refusal,
)
from sse_agent.tus.answers import asked_wait_s, clean
from sse_agent.tus.locations import resolve_location, upload_id
from sse_agent.tus.proxies import proxy_for
from tests.doubles.clock import FakeClock
from tests.doubles.tus_server import Exchange, Proxy, Script, TusServer
from tests.doubles.tusd import Tusd

MIB = 1024 * 1024
SECRET = "5ecre7-uplo4d-1d"
TOKEN = "t0k3n.of-an-upload"
AT_ONCE_S = 1.0
SOON_S = 10.0
FAST_LOCKS = ("-filelock-holder-poll-interval=50ms", "-filelock-acquirer-poll-interval=50ms")
BLOCK = memoryview(bytes(range(256)) * 1024)

MakeSession = Callable[..., TusSession]


# --- what the tests share ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    authority.issue_cert("127.0.0.1", "tus.example.test").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=["http", "https"])
def maybe_tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    return server_tls if request.param == "https" else None


@pytest.fixture
def make_session(trust: ssl.SSLContext) -> Iterator[MakeSession]:
    with contextlib.ExitStack() as stack:

        def make(
            *, proxies: Mapping[str, str] | None = None, clock: Clock | None = None, **patience: float
        ) -> TusSession:
            session = TusSession(
                trust=trust, proxies=proxies or {}, clock=clock or SystemClock(), patience=Patience(**patience)
            )
            stack.callback(session.close)
            return session

        yield make


@pytest.fixture
def session(make_session: MakeSession) -> TusSession:
    return make_session()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def uploader(session: TusSession, server: TusServer | Tusd | str, size: int, **more: Any) -> TusUploader:
    """An upload without a URL, or with the secret one if `url` is True."""
    endpoint = server if isinstance(server, str) else server.endpoint
    if more.get("url") is True:
        more["url"] = endpoint + SECRET
    given = {"token": TOKEN, "file": io.BytesIO(), "metadata": {"filename": "a.bin"}, **more}
    return TusUploader(session, endpoint=endpoint, size=size, **given)


def blocks(length: int) -> Iterator[memoryview]:
    while length:
        block = BLOCK[: min(length, len(BLOCK))]
        length -= len(block)
        yield block


def sha256(*lengths: int) -> str:
    digest = hashlib.sha256()
    for length in lengths:
        for block in blocks(length):
            digest.update(block)
    return digest.hexdigest()


def endless(exchange: Exchange, block: bytes) -> int:
    """Send it until the client closes. Returns how many bytes went out; some of them only into buffers."""
    count = 0
    with contextlib.suppress(OSError):
        while count < 64 * MIB:
            exchange.send(block)
            count += len(block)
    exchange.close()
    return count


def ended(future: Future[Any], within_s: float = AT_ONCE_S) -> BaseException:
    """The exception that the call aside ended in."""
    error = future.exception(timeout=within_s)
    assert error is not None
    return error


def until(holds: Callable[[], bool]) -> None:
    """For what no event tells of: how far another thread is inside of a system call."""
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to hold")


# --- a real tusd ---


@pytest.fixture(params=["http", "https"])
def tusd(request: pytest.FixtureRequest, tmp_path: Path, certificate: Path) -> Iterator[Tusd]:
    tls = {"certificate": certificate, "key": certificate} if request.param == "https" else {}
    with Tusd(tmp_path / "store", flags=FAST_LOCKS, **tls) as server:
        yield server


@pytest.fixture
def plain_tusd(tmp_path: Path) -> Iterator[Tusd]:
    with Tusd(tmp_path / "store", flags=FAST_LOCKS) as server:
        yield server


def test_a_file_arrives_whole(session: TusSession, tusd: Tusd) -> None:
    tus = uploader(session, tusd, 5 * MIB + 1)
    assert tus.create() == tusd.endpoint + tus.upload_id
    assert tus.send(3 * MIB, blocks(3 * MIB)) == tus.fetch_offset() == 3 * MIB
    assert tus.send(2 * MIB + 1, blocks(2 * MIB + 1)) == tus.offset == tus.size
    assert tusd.sha256(tus.upload_id) == sha256(3 * MIB, 2 * MIB + 1)


def test_an_empty_file_needs_no_patch(session: TusSession, plain_tusd: Tusd) -> None:
    tus = uploader(session, plain_tusd, 0)
    tus.create()
    assert tus.fetch_offset() == 0
    assert plain_tusd.read(tus.upload_id) == b""


def test_tuspys_own_upload_goes_the_same_way(session: TusSession, plain_tusd: Tusd) -> None:
    content = bytes(blocks(MIB).__next__()) * 5 + b"end"
    tus = uploader(session, plain_tusd, len(content), file=io.BytesIO(content))
    tus.chunk_size = MIB
    tus.upload()
    assert plain_tusd.read(tus.upload_id) == content


def test_an_upload_resumes_where_it_was_cut(session: TusSession, tusd: Tusd) -> None:
    def cut() -> Iterator[memoryview]:
        yield from blocks(3 * MIB)
        raise Stopped("told to stop")

    tus = uploader(session, tusd, 8 * MIB)
    url = tus.create()
    with pytest.raises(Stopped, match="told to stop"):
        tus.send(8 * MIB, cut())
    again = uploader(session, tusd, 8 * MIB, url=url)
    offset = again.fetch_offset()
    assert 0 <= offset <= 3 * MIB
    content = bytes(BLOCK) * 32
    assert again.send(8 * MIB - offset, [content[offset:]]) == 8 * MIB
    assert tusd.sha256(again.upload_id) == sha256(8 * MIB)


def test_an_upload_survives_a_killed_server(session: TusSession, plain_tusd: Tusd) -> None:
    tus = uploader(session, plain_tusd, 2 * MIB)
    tus.create()
    tus.send(MIB, blocks(MIB))
    endpoint = plain_tusd.endpoint
    plain_tusd.kill()
    with pytest.raises(TryAgain, match="connection refused"):
        tus.fetch_offset()
    plain_tusd.start()
    assert plain_tusd.endpoint == endpoint
    assert tus.fetch_offset() == MIB
    tus.send(MIB, blocks(MIB))
    assert plain_tusd.sha256(tus.upload_id) == sha256(MIB, MIB)


def test_a_terminated_upload_is_gone(session: TusSession, plain_tusd: Tusd) -> None:
    tus = uploader(session, plain_tusd, MIB)
    tus.create()
    tus.terminate()
    tus.terminate()
    assert plain_tusd.ids() == []
    with pytest.raises(UploadGone) as gone:
        tus.fetch_offset()
    assert gone.value.status == 404


def test_a_server_that_cannot_terminate_is_let_be(session: TusSession, tmp_path: Path) -> None:
    with Tusd(tmp_path / "store", flags=["-disable-termination"]) as server:
        tus = uploader(session, server, MIB)
        tus.create()
        tus.terminate()
        assert server.ids() == [tus.upload_id]


def test_tusds_own_refusals_are_told_apart(session: TusSession, tmp_path: Path) -> None:
    with Tusd(tmp_path / "store", flags=["-max-size=1000"]) as server:
        with pytest.raises(GiveUp) as large:
            uploader(session, server, 1001).create()
        assert (large.value.code, large.value.retryable) == (ErrorCode.TOO_LARGE, False)
        with pytest.raises(Stranger, match=r"answers in its place \(404\)"):
            uploader(session, server.endpoint.replace("/files/", "/elsewhere/"), 1).create()
        with pytest.raises(UploadGone):
            uploader(session, server, 1, url=True).send(1, [b"x"])


def test_a_failing_hook_has_words_of_its_own(session: TusSession, tmp_path: Path) -> None:
    with TusServer(script=lambda exchange: exchange.answer(401, {}, b"{}")) as hook:
        flags = ["-hooks-enabled-events=pre-create", "-hooks-http-retry=0"]
        with Tusd(tmp_path / "store", hooks_url=hook.endpoint, flags=flags) as server, pytest.raises(TryAgain) as down:
            uploader(session, server, 1).create()
    assert "hook endpoint fails" in down.value.reason
    assert down.value.reason.endswith("it answered 401")


@pytest.mark.parametrize("size", [MIB, 64 * MIB])
def test_an_early_answer_is_read_while_a_body_is_being_sent(session: TusSession, tusd: Tusd, size: int) -> None:
    """Over TLS, too, where the broken connection would hide it."""
    tus = uploader(session, tusd, size + 1)
    tus.create()
    tus.offset = 1
    with pytest.raises(OffsetConflict) as conflict:
        tus.send(size, blocks(size))
    assert conflict.value.status == 409
    assert tus.fetch_offset() == 0


# --- bodies ---


def drain_all(exchange: Exchange) -> None:
    """Takes everything; says that nothing was there before."""
    if exchange.method == "POST":
        exchange.answer(201, {"Location": exchange.target + SECRET})
    elif exchange.method == "PATCH":
        exchange.answer(204, {"Upload-Offset": str(int(exchange.headers["upload-offset"]) + exchange.drain())})
    elif exchange.method == "HEAD":
        exchange.answer(200, {"Upload-Offset": "0"})
    else:
        exchange.answer(204)


def test_one_connection_carries_many_requests(session: TusSession, maybe_tls: ssl.SSLContext | None) -> None:
    with TusServer(tls=maybe_tls, script=drain_all) as server:
        for _ in range(5):
            tus = uploader(session, server, 3 * MIB)
            tus.create()
            tus.fetch_offset()
            tus.send(3 * MIB, blocks(3 * MIB))
            tus.terminate()
        assert (len(server.seen), server.connections) == (20, 1)


def test_a_connection_that_was_idle_for_long_is_not_used_again(make_session: MakeSession) -> None:
    clock = FakeClock()
    session = make_session(clock=clock)
    with TusServer(script=drain_all) as server:
        tus = uploader(session, server, 1, url=True)
        tus.fetch_offset()
        clock.advance(49)
        tus.fetch_offset()
        assert server.connections == 1
        clock.advance(50)
        tus.fetch_offset()
        assert server.connections == 2


def test_memory_does_not_grow_with_the_body(session: TusSession, server_tls: ssl.SSLContext) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    with TusServer(tls=server_tls, script=drain_all) as server:
        tus = uploader(session, server, 300 * MIB, url=True)
        tus.send(8 * MIB, blocks(8 * MIB))
        before = peak()
        tus.send(292 * MIB, blocks(292 * MIB))
        assert peak() - before < 8 * MIB


def test_a_body_goes_out_with_its_length_and_unchanged(session: TusSession) -> None:
    bodies = []

    def keep(exchange: Exchange) -> None:
        bodies.append(exchange.read())
        exchange.answer(204, {"Upload-Offset": "10"})

    with TusServer(script=keep) as server:
        uploader(session, server, 10, url=True, offset=2).send(8, [b"abc", b"", memoryview(b"defg"), bytearray(b"h")])
        headers = server.seen[0].headers
    assert bodies == [b"abcdefgh"]
    assert (headers["content-length"], headers["upload-offset"]) == ("8", "2")
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (GiveUp(ErrorCode.FILE_SHRUNK, "the file shrank"), GiveUp),
        (Stopped("paused"), Stopped),
        (TryAgain("the disk is slow"), TryAgain),
        (OSError(5, "Input/output error"), NotNow),
        (BrokenPipeError(32, "Broken pipe"), NotNow),
    ],
    ids=repr,
)
def test_what_the_maker_of_a_body_raises_comes_out(session: TusSession, raised: Exception, expected: type) -> None:
    """And the server never takes what came before for the whole."""
    got = []

    def broken() -> Iterator[memoryview]:
        yield from blocks(MIB)
        raise raised

    def count(exchange: Exchange) -> None:
        got.append(exchange.drain())
        drain_all(exchange)

    with TusServer(script=count) as server:
        tus = uploader(session, server, 2 * MIB, url=True)
        with pytest.raises(expected) as caught:
            tus.send(2 * MIB, broken())
        assert caught.value is raised or isinstance(raised, OSError)
        assert tus.offset == 0
        tus.fetch_offset()
        assert server.connections == 2
        until(lambda: len(got) == 2)
    assert sorted(got) == [0, MIB]


@pytest.mark.parametrize(("length", "given"), [(MIB, MIB + 1), (MIB + 1, MIB)])
def test_blocks_of_the_wrong_length_are_a_bug_that_harms_nobody(session: TusSession, length: int, given: int) -> None:
    with TusServer(script=drain_all) as server:
        with pytest.raises(ValueError, match="the blocks are"):
            uploader(session, server, 2 * MIB, url=True).send(length, blocks(given))
        until(lambda: server.seen != [])
    assert [exchange.method for exchange in server.seen] == ["PATCH"]


def test_an_empty_patch_is_never_sent(session: TusSession) -> None:
    with TusServer() as server, pytest.raises(ValueError, match="moves nothing"):
        uploader(session, server, 1, url=True).send(0, [])
    assert server.seen == []


# --- broken off ---


def test_a_body_that_nobody_reads_is_broken_off_at_once(
    session: TusSession, maybe_tls: ssl.SSLContext | None, aside: ThreadPoolExecutor
) -> None:
    asked = threading.Event()

    def stop_reading(exchange: Exchange) -> None:
        exchange.drain(MIB)
        asked.set()
        exchange.hang()

    with TusServer(tls=maybe_tls, script=stop_reading) as server:
        tus = uploader(session, server, 64 * MIB, url=True)
        sending = aside.submit(tus.send, 64 * MIB, blocks(64 * MIB))
        assert asked.wait(SOON_S)
        session.abort()
        assert isinstance(ended(sending), Stopped)


def test_waiting_for_an_answer_is_broken_off_at_once(
    session: TusSession, maybe_tls: ssl.SSLContext | None, aside: ThreadPoolExecutor
) -> None:
    asked = threading.Event()

    def say_nothing(exchange: Exchange) -> None:
        exchange.drain()
        asked.set()
        exchange.hang()

    with TusServer(tls=maybe_tls, script=say_nothing) as server:
        tus = uploader(session, server, MIB, url=True)
        sending = aside.submit(tus.send, MIB, blocks(MIB))
        assert asked.wait(SOON_S)
        session.abort()
        assert isinstance(ended(sending), Stopped)
        with pytest.raises(Stopped):
            tus.fetch_offset()
        server.script = drain_all
        session.rearm()
        assert tus.fetch_offset() == 0


def test_an_answer_that_never_ends_is_broken_off_at_once_and_its_status_counts(
    session: TusSession, aside: ThreadPoolExecutor
) -> None:
    """Its connection is closed as far as http.client is concerned, and still breaks."""
    asked = threading.Event()

    def begin(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 100\r\n\r\nhalf")
        asked.set()
        exchange.hang()

    with TusServer(script=begin) as server:
        sending = aside.submit(uploader(session, server, 1, url=True).send, 1, [b"x"])
        assert asked.wait(SOON_S)
        session.abort()
        error = ended(sending)
        assert isinstance(error, Stopped) or is_refusal(error)


def test_a_handshake_that_hangs_is_broken_off_and_holds_up_nobody(
    authority: trustme.CA, server_tls: ssl.SSLContext, aside: ThreadPoolExecutor
) -> None:
    """With the context that the agent uses, whose own handshakes hold a lock."""
    trust = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    stuck, other = (TusSession(trust=trust, proxies={}, clock=SystemClock()) for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as mute, TusServer(tls=server_tls, script=drain_all) as server:
        endpoint = f"https://127.0.0.1:{mute.getsockname()[1]}/files/"
        hanging = aside.submit(uploader(stuck, endpoint, 1).create)
        connection, _ = mute.accept()
        with connection:
            assert connection.recv(1) == b"\x16"
            uploader(other, server, 1).create()
            stuck.abort()
            assert isinstance(ended(hanging), Stopped)
    stuck.close()
    other.close()


def test_a_slow_resolver_is_left_behind(
    session: TusSession, aside: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> object:
        asked.set()
        release.wait(SOON_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    asking = aside.submit(uploader(session, "https://tus.example.test/files/", 1).create)
    assert asked.wait(SOON_S)
    session.abort()
    assert isinstance(ended(asking), Stopped)
    release.set()


def test_a_session_makes_one_request_at_a_time(session: TusSession, aside: ThreadPoolExecutor) -> None:
    asked = threading.Event()

    def say_nothing(exchange: Exchange) -> None:
        asked.set()
        exchange.hang()

    with TusServer(script=say_nothing) as server:
        tus = uploader(session, server, 1, url=True)
        asking = aside.submit(tus.fetch_offset)
        assert asked.wait(SOON_S)
        with pytest.raises(TryAgain, match="still being broken off"):
            tus.fetch_offset()
        session.close()
        assert isinstance(ended(asking), Stopped)


# --- deadlines ---


def test_a_watchdog_can_end_a_request_whose_deadline_passed(
    make_session: MakeSession, aside: ThreadPoolExecutor
) -> None:
    clock = FakeClock()
    session = make_session(clock=clock)
    asked, asked_again = threading.Event(), threading.Event()

    def drip(exchange: Exchange) -> None:
        """A byte now and then keeps every time-out of a socket from passing."""
        exchange.send(b"H")
        asked.set()
        assert asked_again.wait(SOON_S)
        exchange.send(b"T")
        exchange.hang()

    with TusServer(script=drip) as server:
        tus = uploader(session, server, 1, url=True)
        assert session.deadline is None
        asking = aside.submit(tus.fetch_offset)
        assert asked.wait(SOON_S)
        until(lambda: session.deadline == clock.monotonic() + 45)
        session.expire()
        clock.advance(44)
        session.expire()
        asked_again.set()
        assert not asking.done()
        clock.advance(1)
        session.expire()
        error = ended(asking)
        assert isinstance(error, TryAgain)
        assert not isinstance(error, Stopped)
        assert error.reason == "no answer for 45 s from the tus server"
        assert session.deadline is None
        server.script = drain_all
        assert tus.fetch_offset() == 0


def test_every_step_has_its_deadline_and_reading_the_file_has_none(make_session: MakeSession) -> None:
    clock = FakeClock()
    session = make_session(clock=clock)
    at_blocks = []

    def observed() -> Iterator[bytes]:
        for _ in range(3):
            clock.advance(1)
            at_blocks.append(session.deadline)
            yield b"x"

    def look(exchange: Exchange) -> None:
        exchange.drain()
        patience_s = {"POST": 150, "HEAD": 45, "PATCH": 150, "DELETE": 60}[exchange.method]
        until(lambda: session.deadline == clock.monotonic() + patience_s)
        drain_all(exchange)

    with TusServer(script=look) as server:
        tus = uploader(session, server, 3)
        tus.create()
        tus.fetch_offset()
        tus.send(3, observed())
        tus.terminate()
    assert at_blocks == [None, None, None]


def test_a_body_that_stands_still_has_a_deadline(make_session: MakeSession, aside: ThreadPoolExecutor) -> None:
    clock = FakeClock()
    session = make_session(clock=clock)
    with TusServer() as server:
        sending = aside.submit(uploader(session, server, 64 * MIB, url=True).send, 64 * MIB, blocks(64 * MIB))
        until(lambda: bool(server.seen) and session.deadline == clock.monotonic() + 60)
        clock.advance(60)
        until(lambda: session.expire() or sending.done())
        error = ended(sending)
        assert isinstance(error, TryAgain)
        assert error.reason == "no answer for 60 s from the tus server"


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        ({"head_s": 0.2}, "no answer for 0.2 s from the tus server"),
        ({"stall_s": 0.2}, "no answer for 0.2 s from the tus server: it takes no more bytes"),
    ],
    ids=["answer", "body"],
)
def test_without_a_watchdog_sockets_time_out(
    make_session: MakeSession, maybe_tls: ssl.SSLContext | None, patience: dict[str, float], expected: str
) -> None:
    session = make_session(**patience)
    with TusServer(tls=maybe_tls) as server:
        tus = uploader(session, server, 64 * MIB, url=True)
        with pytest.raises(TryAgain) as late:
            tus.fetch_offset() if "head_s" in patience else tus.send(64 * MIB, blocks(64 * MIB))
        assert (late.value.reason, getattr(late.value, "status", 0)) == (expected, None)


def test_a_handshake_times_out(make_session: MakeSession) -> None:
    session = make_session(connect_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        tus = uploader(session, f"https://127.0.0.1:{mute.getsockname()[1]}/files/", 1)
        with pytest.raises(TryAgain, match="can't be reached: timed out"):
            tus.create()


@pytest.mark.parametrize("status", [401, 409, 413])
def test_an_early_answer_counts_even_if_the_server_neither_reads_nor_closes(
    make_session: MakeSession, maybe_tls: ssl.SSLContext | None, status: int
) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.answer(status)
        exchange.hang()

    session = make_session(stall_s=0.3)
    with TusServer(tls=maybe_tls, script=refuse) as server:
        with pytest.raises(AgentError) as early:
            uploader(session, server, 64 * MIB, url=True).send(64 * MIB, blocks(64 * MIB))
        assert early.value.status == status  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [401, 409, 413])
def test_an_early_answer_and_a_closed_connection_are_never_a_bare_error(
    session: TusSession, maybe_tls: ssl.SSLContext | None, status: int
) -> None:
    """A reset may overtake the answer; then it is "try again"."""

    def refuse(exchange: Exchange) -> None:
        exchange.drain(MIB)
        exchange.answer(status, {"Connection": "close"})
        exchange.close()

    with TusServer(tls=maybe_tls, script=refuse) as server:
        with pytest.raises(TryAgain) as early:
            uploader(session, server, 64 * MIB, url=True).send(64 * MIB, blocks(64 * MIB))
        assert early.value.status in (status, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nha",
        b"Transfer-Encoding: chunked\r\n\r\nzz",
    ],
)
def test_a_refusal_counts_even_if_its_words_are_lost(session: TusSession, rest: bytes) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.drain()
        exchange.send(b"HTTP/1.1 500 No\r\n" + rest)
        exchange.close()

    with TusServer(script=refuse) as server, pytest.raises(TryAgain) as refused:
        uploader(session, server, 1, url=True).send(1, [b"x"])
    assert is_refusal(refused.value)


def test_a_lost_creation_is_not_repeated(session: TusSession) -> None:
    with TusServer(script=Exchange.close) as server:
        with pytest.raises(TryAgain, match="connection broke") as lost:
            uploader(session, server, 1).create()
        assert lost.value.status is None  # type: ignore[attr-defined]
        assert len(server.seen) == 1


# --- the table of errors ---

LOCKED, FULL = ErrorCode.LOCKED_ON_SERVER, ErrorCode.SERVER_DISK_FULL
NO, LARGE = ErrorCode.SERVER_REFUSED, ErrorCode.TOO_LARGE
STORE = "ERR_INTERNAL_SERVER_ERROR: write /srv/tusd/5ecre7-uplo4d-1d: "
HOOK = "ERR_INTERNAL_SERVER_ERROR: unexpected response code from hook endpoint (401): "


@pytest.mark.parametrize(
    ("method", "status", "text", "kind", "code"),
    [
        ("PATCH", 400, "ERR_UPLOAD_INTERRUPTED: upload has been interrupted\n", NotNow, None),
        ("PATCH", 400, "ERR_UNEXPECTED_EOF: server expected to receive more bytes\n", NotNow, None),
        ("PATCH", 400, "ERR_READ_TIMEOUT: x", NotNow, None),
        ("PATCH", 500, "ERR_READ_TIMEOUT: timeout while reading request body\n", NotNow, None),
        ("PATCH", 500, "ERR_CONNECTION_RESET: TCP connection reset by peer\n", NotNow, None),
        ("PATCH", 503, "ERR_SERVER_SHUTDOWN: request has been interrupted\n", NotNow, None),
        ("PATCH", 423, "ERR_UPLOAD_LOCKED: file currently locked\n", NotNow, LOCKED),
        ("HEAD", 423, "", NotNow, LOCKED),
        ("PATCH", 500, "ERR_LOCK_TIMEOUT: failed to acquire lock before timeout\n", NotNow, LOCKED),
        ("PATCH", 507, "", NotNow, FULL),
        ("PATCH", 500, STORE + "no space left on device\n", NotNow, FULL),
        ("PATCH", 500, STORE + "disk quota exceeded\n", NotNow, FULL),
        ("PATCH", 500, "Disk full", NotNow, FULL),
        ("PATCH", 500, HOOK + "<html>", NotNow, None),
        ("PATCH", 500, STORE + "input/output error\n", NotNow, None),
        ("HEAD", 500, "", NotNow, None),
        ("PATCH", 502, "<html>Bad Gateway</html>", NotNow, None),
        ("POST", 501, "ERR_NOT_IMPLEMENTED: feature not implemented\n", NotNow, None),
        ("PATCH", 429, "", NotNow, None),
        ("PATCH", 408, "", NotNow, None),
        ("PATCH", 425, "", NotNow, None),
        ("POST", 407, "", NotNow, None),
        ("PATCH", 409, "ERR_MISMATCHED_OFFSET: mismatched offset\n", OffsetConflict, None),
        ("PATCH", 409, "", OffsetConflict, None),
        ("POST", 409, "", NotNow, None),
        ("HEAD", 404, "", UploadGone, None),
        ("HEAD", 410, "", UploadGone, None),
        ("PATCH", 404, "ERR_UPLOAD_NOT_FOUND: upload not found\n", UploadGone, None),
        ("PATCH", 410, "", UploadGone, None),
        ("POST", 404, "404 page not found\n", Refused, NO),
        ("POST", 401, "", TokenRefused, None),
        ("PATCH", 401, "", TokenRefused, None),
        ("HEAD", 403, "", TokenRefused, None),
        ("POST", 403, "ERR_UPLOAD_REJECTED: upload creation has been rejected\n", TokenRefused, None),
        ("PATCH", 403, "ERR_MODIFY_FINAL: modifying a final upload is not allowed\n", Refused, NO),
        ("POST", 403, "ERR_ORIGIN_NOT_ALLOWED: request origin is not allowed\n", Refused, NO),
        ("POST", 403, "ERR_OF_SOMEBODY_ELSE: no\n", Refused, NO),
        ("POST", 413, "ERR_MAX_SIZE_EXCEEDED: maximum size exceeded\n", Refused, LARGE),
        ("POST", 413, "your plan ends at 1 GB", Refused, LARGE),
        ("PATCH", 413, "ERR_UPLOAD_SIZE_EXCEEDED: upload's size exceeded\n", Refused, LARGE),
        ("PATCH", 413, "<html>Request Entity Too Large</html>", BodyLimit, None),
        ("POST", 412, "ERR_UNSUPPORTED_VERSION: missing, invalid or unsupported header\n", Refused, NO),
        ("PATCH", 412, "", Refused, NO),
        ("POST", 400, "ERR_UPLOAD_REJECTED: upload creation has been rejected by server\n", Refused, NO),
        ("PATCH", 400, "ERR_UPLOAD_STOPPED: upload has been stopped by server\n", Refused, NO),
        ("PATCH", 400, "ERR_INVALID_OFFSET: missing or invalid Upload-Offset header\n", Refused, NO),
        ("HEAD", 400, "", NotNow, None),
        ("PATCH", 422, "no", Refused, NO),
        ("DELETE", 400, "ERR_UPLOAD_TERMINATION_REJECTED: upload termination has been rejected\n", Refused, NO),
        ("PATCH", 301, "", NotNow, None),
        ("POST", 200, "<html>Please log in to the hotel's network</html>", NotNow, None),
    ],
)
def test_an_error_answer_is_sorted_by_its_name_and_then_its_status(
    method: str, status: int, text: str, kind: type[AgentError], code: ErrorCode | None
) -> None:
    error = classify(method, status, text, 7.0, secrets=[SECRET])
    assert type(error) is kind
    assert getattr(error, "code", None) is code
    assert error.status == status  # type: ignore[attr-defined]
    assert SECRET not in str(error)
    assert "/" not in str(error)
    if isinstance(error, TryAgain):
        assert error.retry_after_s == 7.0
    if isinstance(error, GiveUp):
        assert error.retryable == (method == "POST" and status == 404)


def test_sentences_help_people() -> None:
    assert "a proxy in between strips it" in str(classify("POST", 412, ""))
    assert str(classify("PATCH", 500, STORE + "no space left on device")) == (
        "the tus server's disk is full (500 ERR_INTERNAL_SERVER_ERROR)"
    )
    assert str(classify("POST", 422, "your plan\nends")).endswith(
        "the tus server refuses the request (422): your plan ends"
    )
    assert isinstance(classify("PATCH", 401, ""), Unauthorized)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (classify("PATCH", 400, "ERR_UPLOAD_INTERRUPTED: x"), False),
        (classify("PATCH", 400, "ERR_UNEXPECTED_EOF: x"), False),
        (classify("PATCH", 400, "ERR_READ_TIMEOUT: x"), False),
        (classify("PATCH", 400, "ERR_UPLOAD_STOPPED: x"), True),
        (classify("PATCH", 400, ""), True),
        (classify("PATCH", 401, ""), True),
        (classify("PATCH", 404, ""), True),
        (classify("PATCH", 409, ""), False),
        (classify("PATCH", 422, ""), True),
        (classify("PATCH", 423, ""), False),
        (classify("PATCH", 429, ""), False),
        (classify("PATCH", 500, "ERR_INTERNAL_SERVER_ERROR: no"), True),
        (classify("PATCH", 500, "ERR_READ_TIMEOUT: x"), True),
        (classify("PATCH", 503, ""), True),
        (classify("PATCH", 302, ""), False),
        (NotNow("no usable Upload-Offset", status=204), False),
        (NotNow("the connection broke"), False),
        (TryAgain("of somebody else"), False),
        (Stopped("paused"), False),
    ],
)
def test_only_an_error_answer_refuses_a_finished_upload(error: AgentError, expected: bool) -> None:
    assert is_refusal(error) is expected


NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def http_date(seconds: float) -> str:
    return email.utils.format_datetime(datetime.fromtimestamp(NOW.timestamp() + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "0"}, 0.1),
        ({"Retry-After": "86400"}, 900.0),
        ({"Retry-After": http_date(30)}, 30.0),
        ({"Retry-After": http_date(-30)}, 0.1),
        ({"Retry-After": http_date(3630), "Date": http_date(3600)}, 30.0),
        ({"Retry-After": http_date(30), "Date": "yesterday"}, 30.0),
        ({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"Retry-After": http_date(30), "Date": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
    ],
)
def test_retry_after_is_understood_and_bounded(headers: dict[str, str], expected: float | None) -> None:
    assert asked_wait_s(headers, NOW) == expected


def test_a_servers_words_are_made_harmless(session: TusSession) -> None:
    said = f"no \x1b[31m\x07\u202edraobpilc\x9b {SECRET}/x\r\nof https://tus.example.test/{SECRET} " + "long " * 1000
    with TusServer(script=lambda exchange: exchange.answer(422, {}, said.encode())) as server:
        with pytest.raises(GiveUp) as refused:
            uploader(session, server, 1, url=True).fetch_offset()
        assert "422" in refused.value.message
        with pytest.raises(GiveUp) as refused:
            uploader(session, server, 1, url=True).send(1, [b"x"])
    assert refused.value.message.startswith("the tus server refuses the request (422): no [31m draobpilc … of … long")
    assert len(clean(said)) == 200
    assert clean("<!doctype html><title>no</title>") == ""


def test_no_more_of_an_answer_is_read_than_a_line_needs(session: TusSession) -> None:
    sent = []

    def talk(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent.append(endless(exchange, b"10000\r\n" + b"x" * 65536 + b"\r\n"))

    with TusServer(script=talk) as server:
        with pytest.raises(TryAgain, match="500"):
            uploader(session, server, 1).create()
        uploader(session, server, 1, url=True)
    assert sent[0] < 16 * MIB


# --- answers that lie ---


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Upload-Offset": "0", "Upload-Length": "100"}, 0),
        ({"Upload-Offset": "100"}, 100),
        ({"Upload-Offset": "007"}, 7),
        ({}, "no usable Upload-Offset"),
        ({"Upload-Offset": "-1"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "101"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "9" * 5000}, "no usable Upload-Offset"),
        ({"Upload-Offset": "1e1"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "+5"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "0x10"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "1_0"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "\xb2"}, "no usable Upload-Offset"),
        ({"Upload-Offset": "5, 5"}, "no usable Upload-Offset"),
        ({"Upload-Offset": ""}, "no usable Upload-Offset"),
        ({"Upload-Offset": "5", "Upload-Length": "99"}, ErrorCode.SERVER_REFUSED),
        ({"Upload-Offset": "150", "Upload-Length": "200"}, ErrorCode.SERVER_REFUSED),
    ],
)
def test_an_offset_is_believed_only_if_it_can_be(
    session: TusSession, headers: dict[str, str], expected: int | str | ErrorCode
) -> None:
    with TusServer(script=lambda exchange: exchange.answer(200, headers)) as server:
        tus = uploader(session, server, 100, url=True, offset=3)
        if isinstance(expected, int):
            assert tus.fetch_offset() == tus.offset == expected
        elif isinstance(expected, ErrorCode):
            with pytest.raises(GiveUp) as refused:
                tus.fetch_offset()
            assert (refused.value.code, refused.value.retryable) == (expected, True)
        else:
            with pytest.raises(TryAgain, match=expected):
                tus.fetch_offset()
            assert tus.offset == 3


@pytest.mark.parametrize(
    ("status", "offset", "is_believed"),
    [
        (204, "5", True),
        (200, "10", True),
        (204, "4", True),
        (204, "3", False),
        (204, "2", False),
        (204, "11", False),
        (204, "999999999999999999999", False),
        (204, None, False),
        (202, "10", False),
    ],
)
def test_a_patch_counts_only_if_the_offset_moved_within_it(
    session: TusSession, status: int, offset: str | None, is_believed: bool
) -> None:
    def claim(exchange: Exchange) -> None:
        exchange.drain()
        exchange.answer(status, {} if offset is None else {"Upload-Offset": offset})

    with TusServer(script=claim) as server:
        tus = uploader(session, server, 100, url=True, offset=3)
        if is_believed:
            assert tus.send(7, [b"1234567"]) == tus.offset == int(offset or "")
        else:
            with pytest.raises(TryAgain) as doubt:
                tus.send(7, [b"1234567"])
            assert tus.offset == 3
            assert not is_refusal(doubt.value)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_captive_portals_welcome_is_no_upload(session: TusSession, status: int) -> None:
    def welcome(exchange: Exchange) -> None:
        exchange.answer(status, {}, b"<html>" if status != 204 else b"")

    with TusServer(script=welcome) as server, pytest.raises(TryAgain, match="not a tus server's"):
        uploader(session, server, 1).create()


HTTPS = "https://tus.example.test/files/"
ELSEWHERE, UNUSABLE, CLEAR = "another origin", "not usable|no URL", "-behind-proxy"


@pytest.mark.parametrize(
    ("endpoint", "location", "expected"),
    [
        (HTTPS, "abc", HTTPS + "abc"),
        (HTTPS, "/files/abc", HTTPS + "abc"),
        (HTTPS, "https://tus.example.test/other/abc?x=1#frag", "https://tus.example.test/other/abc?x=1"),
        (HTTPS, "https://TUS.example.test:443/files/abc", HTTPS + "abc"),
        ("https://tus.example.test:8443/f", "//tus.example.test:8443/f/a", "https://tus.example.test:8443/f/a"),
        ("http://127.0.0.1:1080/files/", "http://127.0.0.1:1080/files/a", "http://127.0.0.1:1080/files/a"),
        ("http://[::1]:1080/files/", "/files/a", "http://[::1]:1080/files/a"),
        (HTTPS, "http://tus.example.test/files/abc", CLEAR),
        (HTTPS, "http://internal:8080/files/abc", CLEAR),
        ("http://127.0.0.1/files/", "https://127.0.0.1/files/a", ELSEWHERE),
        (HTTPS, "https://evil.example.test/files/abc", ELSEWHERE),
        (HTTPS, "//evil.example.test/abc", ELSEWHERE),
        (HTTPS, "https://tus.example.test:444/files/abc", ELSEWHERE),
        (HTTPS, "https://tus.example.test.evil.example/abc", ELSEWHERE),
        (HTTPS, "https://tus.example.test./files/abc", ELSEWHERE),
        (HTTPS, "https://user:pw@tus.example.test/files/abc", UNUSABLE),
        (HTTPS, "https://tus.example.test@evil.example/abc", UNUSABLE),
        (HTTPS, "https://evil.example\\@tus.example.test/abc", UNUSABLE),
        (HTTPS, "ftp://tus.example.test/files/abc", UNUSABLE),
        (HTTPS, "https:///files/abc", HTTPS + "abc"),
        (HTTPS, "https://tus.example.test:99999/abc", UNUSABLE),
        (HTTPS, "https://[::1/abc", UNUSABLE),
        (HTTPS, "abc def", UNUSABLE),
        (HTTPS, "abc\tdef", UNUSABLE),
        (HTTPS, "abc\x00", UNUSABLE),
        (HTTPS, "abc\xe9", UNUSABLE),
        (HTTPS, "a" * 2100, UNUSABLE),
        (HTTPS, HTTPS + "a" * 2048, UNUSABLE),
        (HTTPS, "/files/", UNUSABLE),
        (HTTPS, "/files", UNUSABLE),
        (HTTPS, "?", UNUSABLE),
    ],
)
def test_an_upload_stays_at_the_endpoints_origin(endpoint: str, location: str, expected: str) -> None:
    if expected.startswith("http"):
        assert resolve_location(endpoint, location) == expected
        return
    with pytest.raises(GiveUp, match=expected) as refused:
        resolve_location(endpoint, location)
    assert (refused.value.code, refused.value.retryable) == (ErrorCode.SERVER_REFUSED, True)
    assert "abc" not in str(refused.value)


def test_the_token_goes_to_no_other_origin(session: TusSession) -> None:
    with TusServer(script=drain_all) as evil:

        def misdirect(exchange: Exchange) -> None:
            exchange.answer(201, {"Location": evil.endpoint + SECRET})

        with TusServer(script=misdirect) as server:
            with pytest.raises(GiveUp, match="another origin"):
                uploader(session, server, 1).create()
            with pytest.raises(GiveUp, match="another origin"):
                uploader(session, server, 1, url=evil.endpoint + SECRET)
            assert check_upload_url(server.endpoint, server.endpoint + "x") == server.endpoint + "x"
        assert evil.seen == []


@pytest.mark.parametrize(
    "endpoint", ["ftp://h/files/", "https://u:p@h/files/", "https:///x", "https://h/a b", "https://h\\@evil/", "x"]
)
def test_an_endpoint_that_is_not_plainly_a_url_is_refused(session: TusSession, endpoint: str) -> None:
    with pytest.raises(GiveUp) as refused:
        uploader(session, endpoint, 1)
    assert refused.value.code is ErrorCode.NOT_ALLOWED


def test_an_uploads_id_is_its_path_below_the_endpoint() -> None:
    assert upload_id(HTTPS, HTTPS + "24e533e+s3~part") == "24e533e+s3~part"
    assert upload_id(HTTPS.rstrip("/"), HTTPS + "a%2Fb/c") == "a/b/c"
    assert upload_id(HTTPS, "https://tus.example.test/other/abc/") == "abc"


# --- headers ---


def test_requests_carry_what_tus_wants_and_nothing_of_the_environment(
    session: TusSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TusServer(script=drain_all) as server:
        tus = uploader(session, server, 3, metadata={"filename": b"\xff\xfe.bin", "title": "é", "empty": ""})
        tus.create()
        tus.send(3, [b"abc"])
        tus.fetch_offset()
        tus.terminate()
        post, patch, head, delete = server.seen
    assert post.headers["upload-metadata"] == "filename //4uYmlu,title w6k=,empty"
    assert (post.headers["upload-length"], post.headers["content-length"]) == ("3", "0")
    assert patch.headers["content-type"] == "application/offset+octet-stream"
    for exchange in (post, patch, head, delete):
        assert exchange.headers["authorization"] == f"Bearer {TOKEN}"
        assert exchange.headers["tus-resumable"] == "1.0.0"
        assert len(exchange.headers["x-request-id"]) == 36
        assert exchange.headers["accept-encoding"] == "identity"
    assert len({exchange.headers["x-request-id"] for exchange in server.seen}) == 4


def test_without_a_token_there_is_no_authorization(session: TusSession) -> None:
    with TusServer(script=drain_all) as server:
        uploader(session, server, 1, token=None).create()
        assert "authorization" not in server.seen[0].headers


def test_nothing_can_be_smuggled_into_a_header(session: TusSession) -> None:
    for key in ("a b", "a,b", "", "a\r\nX-Evil: 1", "é", "a" * 65):
        with pytest.raises(GiveUp) as refused:
            uploader(session, HTTPS, 1, metadata={key: "x"})
        assert refused.value.code is ErrorCode.INVALID_PAYLOAD
    for token in ("a\r\nX-Evil: 1", "a b", "é", ""):
        with pytest.raises(TokenRefused) as unusable:
            uploader(session, HTTPS, 1, token=token)
        assert unusable.value.status is None


def test_cookies_are_not_kept(session: TusSession) -> None:
    def bake(exchange: Exchange) -> None:
        exchange.answer(200, {"Upload-Offset": "0", "Set-Cookie": "a=b; Path=/"})

    with TusServer(script=bake) as server:
        tus = uploader(session, server, 1, url=True)
        tus.fetch_offset()
        tus.fetch_offset()
        assert "cookie" not in server.seen[1].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed_nor_read(session: TusSession, status: int) -> None:
    sent = []
    with TusServer(script=drain_all) as elsewhere:

        def redirect(exchange: Exchange) -> None:
            exchange.drain()
            exchange.send(
                f"HTTP/1.1 {status} Go\r\nConnection: close\r\nLocation: {elsewhere.endpoint}\r\n\r\n".encode()
            )
            if exchange.method == "PATCH":
                sent.append(endless(exchange, b"x" * 65536))
            exchange.close()

        with TusServer(script=redirect) as server:
            tus = uploader(session, server, 3, url=True)
            for request in (tus.create_url, tus.fetch_offset, lambda: tus.send(3, [b"abc"]), tus.terminate):
                with pytest.raises(TryAgain, match="redirects are not followed"):
                    request()
        assert elsewhere.seen == []
    assert sent[0] < 16 * MIB


# --- trust ---


def test_a_certificate_of_a_stranger_is_not_trusted(session: TusSession, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with TusServer(tls=tls, script=drain_all) as server:
        with pytest.raises(TryAgain, match="TLS certificate is not trusted: unable to get local issuer"):
            uploader(session, server, 1).create()
        assert server.seen == []


def test_a_certificate_for_another_name_is_not_trusted(
    make_session: MakeSession, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TusServer(tls=server_tls, script=drain_all) as server:
        endpoint = server.endpoint.replace("127.0.0.1", "localhost")
        with pytest.raises(TryAgain, match="not trusted: Hostname mismatch"):
            uploader(make_session(), endpoint, 1).create()


def test_the_trust_given_is_left_as_it_is(
    make_session: MakeSession, trust: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    """requests would load certifi's certificates into it."""
    before = trust.cert_store_stats()
    with TusServer(tls=server_tls, script=drain_all) as server:
        uploader(make_session(), server, 1).create()
    assert trust.cert_store_stats() == before


def test_plain_http_where_tls_is_expected_has_words(session: TusSession) -> None:
    with TusServer(script=lambda exchange: exchange.answer(400)) as server, pytest.raises(TryAgain) as failed:
        uploader(session, server.endpoint.replace("http:", "https:"), 1).create()
    assert "tus server" in failed.value.reason
    print(failed.value.reason)


# --- proxies ---


def test_https_goes_through_a_proxys_tunnel(make_session: MakeSession, server_tls: ssl.SSLContext) -> None:
    with (
        TusServer(tls=server_tls, script=drain_all) as server,
        Proxy(target_port=server.port) as proxy,
    ):
        session = make_session(proxies={"https": proxy.url.replace("//", "//user:pw@")})
        tus = uploader(session, "https://tus.example.test/files/", MIB)
        tus.create()
        assert tus.send(MIB, blocks(MIB)) == MIB
        assert [(method, target) for method, target, _ in proxy.seen] == [("CONNECT", "tus.example.test:443")]
        assert proxy.seen[0][2]["proxy-authorization"] == "Basic dXNlcjpwdw=="
        assert "authorization" not in proxy.seen[0][2]
        assert "proxy-authorization" not in server.seen[0].headers


def test_https_goes_through_a_proxy_that_speaks_tls(make_session: MakeSession, server_tls: ssl.SSLContext) -> None:
    with (
        TusServer(tls=server_tls, script=drain_all) as server,
        Proxy(tls=server_tls, target_port=server.port) as proxy,
    ):
        session = make_session(proxies={"https": proxy.url})
        tus = uploader(session, "https://tus.example.test/files/", MIB)
        tus.create()
        assert tus.send(MIB, blocks(MIB)) == MIB
        assert len(proxy.seen) == 1


def test_plain_http_goes_through_a_proxy_with_its_whole_url(make_session: MakeSession) -> None:
    with TusServer(script=drain_all) as server, Proxy(target_port=server.port) as proxy:
        session = make_session(proxies={"http": proxy.url})
        tus = uploader(session, "http://tus.example.test/files/", MIB)
        tus.create()
        assert tus.send(MIB, blocks(MIB)) == MIB
        assert proxy.seen[0][:2] == ("POST", "http://tus.example.test/files/")


@pytest.mark.parametrize("key", ["no_proxy", "no"])
def test_exceptions_go_past_the_proxy(make_session: MakeSession, key: str) -> None:
    with TusServer(script=drain_all) as server, Proxy(target_port=server.port) as proxy:
        uploader(make_session(proxies={"http": proxy.url, key: "example.com, 127.0.0.0/8"}), server, 1).create()
        assert (len(server.seen), proxy.seen) == (1, [])


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (b"HTTP/1.1 407 Log in\r\nContent-Length: 0\r\n\r\n", "can't be reached: the proxy answered 407 to CONNECT"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "can't be reached: the proxy answered 502 to CONNECT"),
        (b"SSH-2.0-OpenSSH\r\n", "can't be reached"),
        (b"", "can't be reached"),
    ],
)
def test_a_proxy_that_refuses_is_named_as_the_trouble(make_session: MakeSession, refusal: bytes, expected: str) -> None:
    with Proxy(refusal=refusal) as proxy, pytest.raises(TryAgain, match=expected):
        uploader(make_session(proxies={"https": proxy.url}), HTTPS, 1).create()


def test_a_proxy_that_is_not_there_is_named_as_the_trouble(make_session: MakeSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(TryAgain, match="the proxy can't be reached: connection refused"):
        uploader(make_session(proxies={"https": f"http://127.0.0.1:{port}"}), HTTPS, 1).create()
    with pytest.raises(TryAgain, match="the proxy's URL in the environment can't be used"):
        uploader(make_session(proxies={"all": "socks5://127.0.0.1:9"}), HTTPS, 1).create()


@pytest.mark.parametrize(
    ("url", "exceptions", "is_direct"),
    [
        (HTTPS, "", False),
        (HTTPS, "*", True),
        (HTTPS, "tus.example.test", True),
        (HTTPS, "TUS.EXAMPLE.TEST", True),
        (HTTPS, "example.test", True),
        (HTTPS, ".example.test other", True),
        (HTTPS, "*.example.test", True),
        (HTTPS, "ample.test", False),
        (HTTPS, "a.tus.example.test", False),
        (HTTPS, "tus.example.test:8443", False),
        ("https://tus.example.test:8443/", "tus.example.test:8443", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://110.1.2.3/", "10.1.2.3", False),
        ("http://10.1.2.3/", "2.3", False),
        ("http://[::1]:80/", "::1", True),
        ("http://[::1]:80/", "[::1]:80", True),
        ("http://[::1]:80/", "[::1]:81", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        (HTTPS, "/,:,[,10.0.0.0/99", False),
    ],
)
def test_exceptions_from_the_proxy_are_understood(url: str, exceptions: str, is_direct: bool) -> None:
    chosen = proxy_for(url, {"https": "http://p:1", "http": "http://p:1", "no_proxy": exceptions})
    assert chosen == (None if is_direct else "http://p:1")


def test_the_environment_does_not_decide_on_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert proxy_for(HTTPS, {"https": "http://p:1"}) == "http://p:1"
    assert proxy_for(HTTPS, {"all": "http://q:1"}) == "http://q:1"
    assert proxy_for(HTTPS, {"http": "http://p:1"}) is None


# --- secrets ---


def raw(text: str) -> Script:
    def send(exchange: Exchange) -> None:
        exchange.drain()
        exchange.send(text.encode("latin-1"))
        exchange.close()

    return send


LEAKS: dict[str, Script] = {
    "closes": Exchange.close,
    "talks nonsense": raw("SSH-2.0-OpenSSH\r\n\r\n"),
    "header without end": raw("HTTP/1.1 200 OK\r\nX: " + "x" * 70000),
    "too many headers": raw("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 200 + "\r\n"),
    "odd headers": raw("HTTP/1.1 500 No\r\nno colon here\r\nContent-Length: 0\r\n\r\n"),
    "breaks off its body": raw("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf"),
    "broken chunks": raw("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "echoes": lambda exchange: exchange.answer(422, {}, f"no {exchange.target} {SECRET} {TOKEN}/".encode()),
    "redirects": lambda exchange: exchange.answer(307, {"Location": f"/files/{SECRET}/2"}),
    "lies": lambda exchange: exchange.answer(200, {"Upload-Offset": "-1"}),
    "other size": lambda exchange: exchange.answer(200, {"Upload-Offset": "0", "Upload-Length": "9"}),
    "is silent": Exchange.hang,
    **{
        str(status): (lambda exchange, status=status: exchange.answer(status))
        for status in (100, 304, 400, 401, 403, 404, 409, 410, 412, 413, 423, 429, 500, 503, 507, 599)
    },
}


@pytest.mark.parametrize("script", LEAKS.values(), ids=LEAKS.keys())
def test_neither_url_nor_token_is_in_an_error_or_a_log(
    make_session: MakeSession, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session = make_session(head_s=0.2, patch_s=0.2, post_s=0.2, delete_s=0.2)
    with TusServer(script=script) as server:
        tus = uploader(session, server, 3, url=True)
        with pytest.raises(AgentError) as head:
            tus.fetch_offset()
        with pytest.raises(AgentError) as patch:
            tus.send(3, [b"abc"])
    for caught in (head, patch):
        texts = list(traceback.format_exception(caught.value))
        error: BaseException | None = caught.value
        while error is not None:
            texts += [repr(error), str(error), json.dumps(vars(error), default=repr)]
            error = error.__context__
        for text in [*texts, caplog.text]:
            assert SECRET not in text
            assert TOKEN not in text


def test_unreachable_servers_do_not_give_the_url_away(session: TusSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for endpoint, expected in [
        (f"http://127.0.0.1:{port}/{SECRET}/", "the tus server can't be reached: connection refused"),
        (f"https://no-such-host.invalid/{SECRET}/", "name not found: no-such-host.invalid"),
        (f"https://{'a' * 70}.invalid/{SECRET}/", "name not found"),
    ]:
        with pytest.raises(TryAgain, match=expected) as caught:
            uploader(session, endpoint, 1).create()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None


def test_an_uploader_does_not_show_its_secrets(session: TusSession) -> None:
    tus = uploader(session, HTTPS, 1, url=True)
    assert SECRET not in repr(tus)
    assert TOKEN not in repr(tus)
    assert tus.url == HTTPS + SECRET


# --- a server in trouble as a whole ---


AWAY = NotNow("no answer")
BUSY = NotNow("busy", status=429, retry_after_s=30.0)
LOCKED = NotNow("locked", status=500, code=ErrorCode.LOCKED_ON_SERVER)
ITS_OWN = NotNow("an offset", status=409)


def outages(*troubles: NotNow, patience: int = 2) -> Outages:
    """What came of them, one a second from 100 s on; the jitter always takes the longest."""
    one = Outages(patience, Backoff(uniform=lambda _, most: most))
    for n, trouble in enumerate(troubles):
        one.note_trouble("a", trouble, 100.0 + n)
    return one


def test_an_endpoint_is_left_alone_after_a_few_failures_in_a_row_and_then_for_longer_and_longer() -> None:
    assert outages(AWAY, AWAY).quiet(101.0) == {}
    assert outages(AWAY, AWAY, AWAY).quiet(102.0) == {"a": 2.0}
    assert outages(AWAY, AWAY, AWAY, AWAY).quiet(103.0) == {"a": 4.0}
    assert outages(*[AWAY] * 50).quiet(149.0) == {"a": 60.0}
    assert outages(AWAY, AWAY, AWAY).quiet(104.0) == {}


def test_what_a_server_asks_for_counts_for_all_uploads_at_once() -> None:
    assert outages(BUSY).quiet(100.0) == {"a": 31.0}
    assert outages(BUSY, AWAY).quiet(101.0) == {"a": 30.0}, "a shorter wait takes nothing back"


def test_trouble_of_one_upload_is_none_of_the_others() -> None:
    assert outages(*[LOCKED] * 5).quiet(105.0) == {}
    assert outages(*[ITS_OWN] * 5).quiet(105.0) == {}
    assert outages(AWAY, AWAY, AWAY, ITS_OWN).quiet(102.0) == {}


def test_an_endpoint_that_works_again_is_forgiven_and_others_were_never_meant() -> None:
    one = outages(AWAY, AWAY, AWAY)
    assert one.lasting(105.0) == {"a": 5.0}
    one.note_answer("b")
    assert one.quiet(102.0) == {"a": 2.0}
    one.note_answer("a")
    assert (one.quiet(102.0), one.lasting(102.0)) == ({}, {})


HEAD_WHOLE = b"HTTP/1.1 200 OK\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1234\r\nUpload-Offset: 1000\r\n\r\n"
POST_WHOLE = b"HTTP/1.1 201 Created\r\nTus-Resumable: 1.0.0\r\nLocation: /files/0123456789abcdef\r\n\r\n"


def breaking_off(raw: bytes) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.send(raw)
        exchange.close()

    return answer


@pytest.mark.parametrize("cut", range(len(HEAD_WHOLE) - 1))
def test_a_head_that_is_cut_off_anywhere_is_no_answer(session: TusSession, cut: int) -> None:
    """http.client would take the half of a number for the number (RFC 9112, section 8)."""
    with TusServer(script=breaking_off(HEAD_WHOLE[:cut])) as server:
        with pytest.raises(NotNow) as broke:
            uploader(session, server, 1234, url=f"{server.endpoint}abc").fetch_offset()
        assert broke.value.status is None


@pytest.mark.parametrize("cut", [POST_WHOLE.index(b"abcdef"), len(POST_WHOLE) - 4, len(POST_WHOLE) - 2])
def test_half_an_upload_url_is_none(session: TusSession, cut: int) -> None:
    with TusServer(script=breaking_off(POST_WHOLE[:cut])) as server, pytest.raises(NotNow):
        uploader(session, server, 1234).create()
