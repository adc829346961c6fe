"""httpx at the edge: what each answer means, where a token may go, and how the network is reached."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import respx
import trustme

from sse_agent.errors import CannotStart, ExitCode, NotAllowedNow, Parked, TryAgain, Unauthorized
from sse_agent.messages import EnvelopeBytes
from sse_agent.transport import BatchRefused, CommandStream, Speaker, Transport, Verdict, trust
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import PROBLEM, Request, control_plane
from tests.doubles.plain_http import plain_http
from tests.doubles.tus_server import Proxy

ORIGIN = "https://control.example.com"
SPEAKER = Speaker("agent-1", "0b9d3f5e-0000-4000-8000-000000000001", 7, "0b9d3f5e-0000-4000-8000-000000000002")
MESSAGES = f"{ORIGIN}/api/v1/agents/agent-1/messages"


class Tokens:
    """A new one each time that one is asked for."""

    def __init__(self) -> None:
        self.count = 1

    async def current(self) -> str:
        return f"token-{self.count}"

    async def refreshed(self, refused: str) -> str:
        assert refused == f"token-{self.count}"
        self.count += 1
        return f"token-{self.count}"

    def renew_at(self, token: str) -> float | None:
        return 100.0 + self.count if token == f"token-{self.count}" else 0.0


@asynccontextmanager
async def transport_to(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Transport]:
    context = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with Transport(url, SPEAKER, Tokens(), context, FakeClock()) as transport:
        yield transport


def message(message_id: str) -> tuple[str, EnvelopeBytes]:
    return message_id, EnvelopeBytes(b'{"id":"%s"}' % message_id.encode())


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    kind = {"content-type": "application/problem+json; charset=utf-8"}
    return httpx.Response(status, json={"type": PROBLEM + slug}, headers={**kind, **headers})


async def posted(answer: httpx.Response, *ids: str) -> list[Verdict]:
    """What `post` makes of that answer."""
    async with transport_to(ORIGIN) as transport:
        with respx.mock:
            respx.post(MESSAGES).mock(return_value=answer)
            return await transport.post([message(message_id) for message_id in ids or ("a",)])


# --- one message ---


@pytest.mark.parametrize("status", [200, 202])
async def test_only_the_contracts_own_answer_means_recorded(status: int) -> None:
    assert await posted(httpx.Response(status, json={"id": "a", "status": status})) == [Verdict("a", True)]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_in_a_problem_document_is_for_good(status: int) -> None:
    assert await posted(problem(status, "no-good")) == [Verdict("a", False, f"{status} no-good")]


async def test_a_message_that_is_being_recorded_is_neither_recorded_nor_refused() -> None:
    assert await posted(problem(409, "in-progress")) == [Verdict("a", False)]


HTML = {"content-type": "text/html"}
NOT_NOW: dict[str, tuple[httpx.Response, type[TryAgain]]] = {
    "a portal's 200": (httpx.Response(200, text="<html>", headers=HTML), TryAgain),
    "200 with nothing": (httpx.Response(200), TryAgain),
    "204": (httpx.Response(204), TryAgain),
    "202 about another": (httpx.Response(202, json={"id": "b", "status": 202}), TryAgain),
    "202 without a status": (httpx.Response(202, json={"id": "a"}), TryAgain),
    "an echo of what was sent": (httpx.Response(200, content=message("a")[1]), TryAgain),
    "depth without end": (httpx.Response(200, text="[" * 100_000), TryAgain),
    "201": (httpx.Response(201, json={"id": "a", "status": 201}), TryAgain),
    "307": (httpx.Response(307, headers={"location": f"{ORIGIN}/elsewhere"}), TryAgain),
    "400 without a problem document": (httpx.Response(400, json={"type": PROBLEM + "no-good"}), TryAgain),
    "413 of a proxy": (httpx.Response(413, text="<html>", headers=HTML), TryAgain),
    "422 of another kind": (
        httpx.Response(422, json={"type": "about:blank"}, headers={"content-type": "application/problem+json"}),
        TryAgain,
    ),
    "401": (problem(401, "token-expired"), Unauthorized),
    "403": (problem(403, "missing-scope"), NotAllowedNow),
    "404": (problem(404, "unknown-agent"), NotAllowedNow),
    "404 of a proxy": (httpx.Response(404, text="<html>", headers=HTML), TryAgain),
    "409 without a problem document": (httpx.Response(409, text="newer-epoch"), TryAgain),
    "409 newer-epoch": (problem(409, "newer-epoch"), Parked),
    "410 agent-deleted": (problem(410, "agent-deleted"), Parked),
    "410 without a problem document": (httpx.Response(410), TryAgain),
    "410 of another kind": (problem(410, "gone-fishing"), TryAgain),
    "409 agent-deleted": (problem(409, "agent-deleted"), TryAgain),
    "in progress, and quiet": (problem(409, "in-progress", **{"retry-after": "3"}), TryAgain),
    "429": (problem(429, "too-many"), TryAgain),
    "500": (httpx.Response(500, text="<html>", headers=HTML), TryAgain),
}


@pytest.mark.parametrize("what", NOT_NOW)
async def test_everything_else_is_not_now_of_the_kind_that_decides_what_comes_next(what: str) -> None:
    answer, kind = NOT_NOW[what]
    with pytest.raises(TryAgain) as raised:
        await posted(answer)
    assert type(raised.value) is kind
    assert raised.value.reason


async def test_a_token_of_another_agent_is_told_as_that() -> None:
    with pytest.raises(NotAllowedNow, match="answered 403 not-allowed: the token is not for this agent"):
        await posted(problem(403, "not-allowed"))


async def test_a_portal_is_named_as_something_on_the_way_and_not_as_the_control_plane() -> None:
    for status in (200, 401, 403, 404, 500):
        with pytest.raises(TryAgain, match="login page"):
            await posted(httpx.Response(status, text="<html>", headers=HTML))


@pytest.mark.parametrize(
    ("asked", "seconds"), [("120", 120.0), ("0", 0.0), ("120.5", None), ("-1", None), ("9" * 64, 900.0), ("x", None)]
)
async def test_what_retry_after_asks_for_comes_with_the_trouble(asked: str, seconds: float | None) -> None:
    with pytest.raises(TryAgain) as raised:
        await posted(httpx.Response(503, headers={"retry-after": asked}))
    assert raised.value.retry_after_s == seconds


# --- a batch ---


def results(*rows: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"results": list(rows)})


async def test_a_batch_is_answered_one_by_one_and_in_order() -> None:
    answer = results(
        {"id": "a", "status": 202},
        {"id": "b", "status": 200},
        {"id": "c", "status": 409, "type": PROBLEM + "in-progress"},
        {"id": "d", "status": 422, "type": PROBLEM + "key-reused"},
        {"id": "e", "status": 413},
        {"id": "another", "status": 202},
        {"id": "g", "status": [202]},
    )
    verdicts = await posted(answer, "a", "b", "c", "d", "e", "f", "g")
    assert verdicts == [
        Verdict("a", True),
        Verdict("b", True),
        Verdict("c", False),
        Verdict("d", False, "422 key-reused"),
        Verdict("e", False, "413 "),
        Verdict("f", False),
        Verdict("g", False),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        results({"id": "a", "status": 202}),
        httpx.Response(200, json={"id": "a", "status": 200}),
        httpx.Response(202, json={"results": [{"id": "a", "status": 202}, {"id": "b", "status": 202}]}),
        httpx.Response(200, json={"results": {"a": 202, "b": 202}}),
        httpx.Response(413, text="<html>", headers=HTML),
    ],
)
async def test_a_batch_that_is_answered_otherwise_is_not_now(answer: httpx.Response) -> None:
    with pytest.raises(TryAgain) as raised:
        await posted(answer, "a", "b")
    assert type(raised.value) is TryAgain


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_batch_that_is_refused_as_a_whole_is_to_be_made_smaller(status: int) -> None:
    with pytest.raises(BatchRefused):
        await posted(problem(status, "too-large"), "a", "b")


# --- what goes over the wire ---


async def test_a_post_carries_the_stored_bytes_their_key_and_who_speaks() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:
        body = EnvelopeBytes('{"id":"a","text":"\u00fc"}'.encode())
        group.start_soon(transport.post, [("a", body)])
        request = await plane.post()
        assert request.target == "/api/v1/agents/agent-1/messages"
        assert request.body == body
        wanted = {
            "content-type": "application/json",
            "idempotency-key": "a",
            "authorization": "Bearer token-1",
            "accept-encoding": "identity",
            "agent-journal": SPEAKER.journal_id,
            "agent-epoch": "7",
            "agent-instance": SPEAKER.instance_id,
        }
        assert wanted.items() <= request.headers.items()
        await request.accept()
        group.start_soon(transport.post, [("b", body), ("c", body)])
        request = await plane.post()
        assert request.body == b'{"messages":[' + body + b"," + body + b"]}"
        assert request.headers["idempotency-key"] == "b"
        await request.answer(500)
        group.cancel_scope.cancel()


async def test_a_401_is_answered_with_a_fresh_token_once() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport:
        caught: list[TryAgain] = []

        async def send() -> None:
            try:
                await transport.post([message("a")])
            except TryAgain as trouble:
                caught.append(trouble)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            for token in ("token-1", "token-2"):
                request = await plane.post()
                assert request.headers["authorization"] == f"Bearer {token}"
                await request.problem(401, "token-expired")
        assert [type(trouble) for trouble in caught] == [Unauthorized]
        assert len(plane.seen) == 2


async def test_an_endless_answer_is_cut_and_not_now() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:

        async def send() -> None:
            with pytest.raises(TryAgain):
                await transport.post([message("a")])

        group.start_soon(send)
        request = await plane.post()
        await request.begin_stream("application/json")
        with anyio.move_on_after(10):
            for _ in range(100):
                await request.write(b" " * 65536)
        await request.gone()


# --- the stream ---


async def opened(transport: Transport, caught: list[TryAgain]) -> None:
    """Open a stream and read it to its end."""
    try:
        with anyio.fail_after(10):
            async with transport.stream("k1/7", lambda: None) as stream:
                await _drain(stream)
    except TryAgain as trouble:
        caught.append(trouble)


async def _drain(stream: CommandStream) -> None:
    async for _ in stream.events():
        pass


async def test_the_stream_follows_five_redirects_within_its_origin_and_no_more() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport:
        caught: list[TryAgain] = []
        for count in (5, 6):
            async with anyio.create_task_group() as group:
                group.start_soon(opened, transport, caught)
                for n in range(count):
                    location = f"/moved-{n}" if n % 2 else f"{plane.url}/moved-{n}"
                    request = await plane.stream_request()
                    assert request.headers["last-event-id"] == "k1/7"
                    await request.answer(308 if n % 2 else 307, location=location)
                if count == 5:
                    request = await plane.stream_request()
                    assert request.target == "/moved-4"
                    assert request.headers["authorization"] == "Bearer token-1"
                    await request.begin_stream()
                    await request.end()
        assert [type(trouble) for trouble in caught] == [TryAgain]
        assert len(plane.seen) == 6 + 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_the_token_elsewhere(status: int) -> None:
    async with control_plane() as there, control_plane() as elsewhere, transport_to(there.url) as transport:
        caught: list[TryAgain] = []
        async with anyio.create_task_group() as group:
            group.start_soon(opened, transport, caught)
            await (await there.stream_request()).answer(status, location=f"{elsewhere.url}/api")
        assert str(status) in caught[0].reason
        assert (len(there.seen), len(elsewhere.seen)) == (1, 0)


async def test_a_stream_gets_a_fresh_token_once_also_behind_a_redirect() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport:
        caught: list[TryAgain] = []
        async with anyio.create_task_group() as group:
            group.start_soon(opened, transport, caught)
            await (await plane.stream_request()).answer(307, location="/moved")
            await (await plane.stream_request()).problem(401, "token-expired")
            request = await plane.stream_request()
            assert (request.target, request.headers["authorization"]) == ("/moved", "Bearer token-2")
            await request.problem(401, "token-expired")
        assert [type(trouble) for trouble in caught] == [Unauthorized]


async def test_a_stream_that_renews_another_is_opened_with_another_token_and_knows_when_its_own_is_to_be_renewed() -> (
    None
):
    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:

        async def serve() -> None:
            for token in ("token-1", "token-2"):
                request = await plane.stream_request()
                assert request.headers["authorization"] == f"Bearer {token}"
                await request.begin_stream()

        group.start_soon(serve)
        async with transport.stream("k1/7", lambda: None) as first:
            assert (first.token, first.renew_at) == ("token-1", 101.0)
            async with transport.stream("k1/7", lambda: None, instead_of=first.token) as second:
                assert (second.token, second.renew_at) == ("token-2", 102.0)


async def test_a_held_stream_holds_up_no_post_and_a_slow_post_no_stream() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:
        group.start_soon(opened, transport, [])
        await (await plane.stream_request()).begin_stream()
        for n in range(4):
            group.start_soon(transport.post, [message(f"m-{n}")])
            await plane.post()
        group.start_soon(opened, transport, [])
        await plane.stream_request()
        group.cancel_scope.cancel()


async def test_the_network_is_asked_to_watch_the_streams_connection() -> None:
    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:

        async def serve() -> None:
            await (await plane.stream_request()).begin_stream()

        group.start_soon(serve)
        async with transport.stream(None, lambda: None) as stream:
            found = stream._response.extensions["network_stream"].get_extra_info("socket")
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


# --- upload tokens ---


async def renewed(answer: httpx.Response, file_id: str = "f-1") -> str | None:
    async with transport_to(ORIGIN) as transport:
        with respx.mock(assert_all_called=False) as mocked:
            mocked.post(f"{ORIGIN}/api/v1/agents/agent-1/uploads/{file_id}/token").mock(return_value=answer)
            return await transport.renew_upload_token(file_id)


async def test_an_upload_token_is_taken_from_201_only_and_404_means_there_are_none() -> None:
    assert await renewed(httpx.Response(201, json={"token": "fresh", "expiresAt": "…"})) == "fresh"
    assert await renewed(problem(404, "no-upload-tokens")) is None
    assert await renewed(httpx.Response(201, json={"token": "x"}), "..") is None, "no path segment"
    for answer in [
        httpx.Response(404, text="<html>"),
        httpx.Response(200, json={"token": "fresh"}),
        httpx.Response(201, json={"token": "line\nend"}),
        httpx.Response(201, json={"token": 7}),
        httpx.Response(201),
    ]:
        with pytest.raises(TryAgain):
            await renewed(answer)
    with pytest.raises(Parked):
        await renewed(problem(409, "newer-epoch"))


# --- trust and proxies ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_ca_file_is_trusted_beside_the_systems_store_and_without_it_the_reason_names_the_setting(
    tmp_path: Path, authority: trustme.CA
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with control_plane(server) as plane:
        async with transport_to(plane.url, trust(None)) as transport:
            with pytest.raises(TryAgain, match="SSE_AGENT_CA_FILE"):
                await transport.post([message("a")])
        async with transport_to(plane.url, trust(ca_file)) as transport, anyio.create_task_group() as group:
            group.start_soon(transport.post, [message("a")])
            await (await plane.post()).accept()


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_a_ca_file_that_is_none_is_a_wrong_setting(tmp_path: Path, content: bytes | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(CannotStart, match="SSE_AGENT_CA_FILE") as refused:
        trust(ca_file)
    assert refused.value.exit_code == ExitCode.WRONG_CONFIGURATION


async def test_stream_and_posts_take_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with control_plane() as plane:
        with Proxy(target_port=plane.port) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            async with transport_to("http://control.invalid") as transport, anyio.create_task_group() as group:
                group.start_soon(opened, transport, [])
                group.start_soon(_posts_something, transport)
                await (await plane.stream_request()).cut()
                await (await plane.post()).cut()
            assert {target.rpartition("/")[2] for _, target, _ in proxy.seen} == {"stream", "messages"}
            async with transport_to(plane.url) as transport, anyio.create_task_group() as group:
                group.start_soon(opened, transport, [])
                request: Request = await plane.stream_request()
                assert request.target.startswith("/api/"), "NO_PROXY: straight to it"
                group.cancel_scope.cancel()


async def _posts_something(transport: Transport) -> None:
    try:
        await transport.post([message("a")])
    except TryAgain:
        return


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks9://user:hunter2@proxy:1"), ("HTTPS_PROXY", "http://user:hunter2@proxy:port")],
)
def test_a_proxy_that_cant_be_used_is_a_wrong_setting_and_its_password_is_not_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotStart, match="HTTPS_PROXY") as refused:
        Transport(ORIGIN, SPEAKER, Tokens(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), FakeClock())
    assert refused.value.exit_code == ExitCode.WRONG_CONFIGURATION
    assert "hunter2" not in str(refused.value)


async def test_a_network_that_is_not_there_is_explained_in_words() -> None:
    async with transport_to("http://127.0.0.1:1") as transport:
        with pytest.raises(TryAgain, match="no connection"):
            await transport.post([message("a")])


async def test_plain_http_where_tls_is_expected_is_told_as_that_and_not_as_a_matter_of_permission() -> None:
    with plain_http() as port:
        async with transport_to(f"https://127.0.0.1:{port}") as transport:
            with pytest.raises(TryAgain) as raised:
                await transport.post([message("a")])
    assert raised.value.reason == "no connection: what answers there does not speak TLS, or breaks it off"


@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://[::1", "http://a:b/"])
async def test_a_redirect_to_what_is_no_url_is_not_now_and_ends_nothing(location: str) -> None:
    async def answer(plane: Any) -> None:
        await (await plane.stream_request()).answer(302, location=location)
        await (await plane.post()).answer(302, location=location)

    async with control_plane() as plane, transport_to(plane.url) as transport, anyio.create_task_group() as group:
        group.start_soon(answer, plane)
        with pytest.raises(TryAgain):
            async with transport.stream(None, lambda: None):
                pass
        with pytest.raises(TryAgain):
            await transport.post([message("a")])
