"""Enrolling and asking for tokens, over a real connection: what is said, and what each answer comes to."""

import hashlib
import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import pytest

from sse_agent import enrolment
from sse_agent.clock import timestamp
from sse_agent.credentials import Grant, MachineKey, WrongTime, key
from sse_agent.enrolment import Enrolled, NotEnrolled, Pending, Refused, Registry
from sse_agent.errors import CannotStart, Parked, TryAgain
from tests.doubles.assertions import verified
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import ControlPlane, Request, control_plane

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ISSUER = "https://control.example.com"
CODE = enrolment.code("bcdf ghjk")
JSON = {"content_type": "application/json"}
ENROLLED = {"clientId": "warehouse-7-k3x9pd", "issuer": ISSUER, "status": "pending", "fingerprint": "…"}


@dataclass
class Rig:
    plane: ControlPlane
    clock: FakeClock
    registry: Registry
    own: MachineKey

    async def result(self, call: Callable[[], Awaitable[Any]], *answers: Callable[[Request], Awaitable[None]]) -> Any:
        """What the call returns or raises when its POSTs are answered so; the issuer is told whenever it asks."""
        found: list[Any] = []

        async def carry_out() -> None:
            try:
                found.append(await call())
            except (TryAgain, Refused) as trouble:
                found.append(trouble)

        async def tell_issuer() -> None:
            while True:
                await (await self.plane.stream_request()).answer(200, json.dumps({"issuer": ISSUER}).encode(), **JSON)

        async with anyio.create_task_group() as group:
            group.start_soon(tell_issuer)
            async with anyio.create_task_group() as calling:
                calling.start_soon(carry_out)
                for answer in answers:
                    await answer(await self.plane.post())
            group.cancel_scope.cancel()
        return found[0]

    async def enrol(self, *answers: Callable[[Request], Awaitable[None]]) -> Any:
        return await self.result(lambda: self.registry.enrol(CODE, self.own, "Dock 7"), *answers)

    async def grant(self, *answers: Callable[[Request], Awaitable[None]]) -> Any:
        return await self.result(lambda: self.registry.grant("the-assertion"), *answers)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock = FakeClock()
    with anyio.fail_after(60):
        async with control_plane() as plane, Registry(plane.url, NO_TLS, clock) as registry:
            yield Rig(plane, clock, registry, key.to_enrol_with(folder))


def with_json(status: int, body: object, **headers: str) -> Callable[[Request], Awaitable[None]]:
    return lambda request: request.answer(status, json.dumps(body).encode(), **{**JSON, **headers})


def with_problem(status: int, slug: str, **members: object) -> Callable[[Request], Awaitable[None]]:
    body = {"type": f"urn:sse-agent:problem:{slug}", "title": slug, "status": status, **members}
    return with_json(status, body, content_type="application/problem+json")


# --- what is typed ---


@pytest.mark.parametrize("text", ["BCDF-GHJK", "bcdfghjk", " bc df-gh jk ", "b-c-d-f-g-h-j-k\n"])
def test_a_code_may_be_typed_in_any_case_with_spaces_and_dashes(text: str) -> None:
    assert enrolment.code(text) == CODE


@pytest.mark.parametrize("text", ["", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJA", "1234-5678", "BCDF—GHJK"])
def test_what_can_be_no_code_costs_no_try(text: str) -> None:
    with pytest.raises(ValueError, match="eight letters, such as BCDF-GHJK"):
        enrolment.code(text)


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "käse", "x" * 8193])
def test_what_can_be_no_token_is_not_sent(text: str) -> None:
    with pytest.raises(ValueError, match="one line of visible ASCII"):
        enrolment.token(text)


def test_no_text_shows_a_code_or_a_token() -> None:
    assert "BCDF" not in f"{CODE!r} {CODE}"
    assert "secret" not in repr(enrolment.token("secret"))


# --- enrol ---


async def test_the_public_half_goes_out_with_a_proof_for_this_control_plane_and_this_code(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        seen: list[Request] = []

        async def answer(request: Request) -> None:
            seen.append(request)
            await with_json(201, ENROLLED)(request)

        assert await there.enrol(answer) == Enrolled(client_id="warehouse-7-k3x9pd", issuer=ISSUER, status="pending")
        body = json.loads(seen[0].body)
        assert seen[0].target == "/api/v1/enrollments"
        assert "authorization" not in seen[0].headers
        assert (body["code"], body["name"], body["publicKey"]) == ("BCDFGHJK", "Dock 7", there.own.public)
        assert {"host", "platform", "version"} < set(body)
        assert "token" not in body
        claims = verified(body["proof"], there.own.public).claims
        digest = urlsafe_b64encode(hashlib.sha256(b"BCDFGHJK").digest()).rstrip(b"=").decode()
        exp = int(there.clock.now().timestamp()) + 60
        assert claims == {"aud": ISSUER, "jti": claims["jti"], "exp": exp, "credential_sha256": digest}


async def test_where_the_issuer_is_not_told_the_proof_is_for_the_address_that_it_goes_to(tmp_path: Path) -> None:
    async with rig(tmp_path) as there, anyio.create_task_group() as group:
        group.start_soon(there.registry.enrol, enrolment.token("t0k3n"), there.own, "Dock 7")
        await (await there.plane.stream_request()).answer(404)
        request = await there.plane.post()
        claims = verified(json.loads(request.body)["proof"], there.own.public).claims
        assert claims["aud"] == f"{there.plane.url}/api/v1/enrollments"
        assert json.loads(request.body)["token"] == "t0k3n"
        await with_json(201, ENROLLED)(request)


REFUSALS = {
    (403, "code-not-valid"): "no such pairing code",
    (409, "code-used"): "another key was enrolled with this pairing code",
    (410, "code-over"): "expired, or tried wrongly too often",
    (422, "invalid-parameter"): "a part of the request",
    (404, "unknown-path"): "is it the control plane's address",
}


@pytest.mark.parametrize(("status", "slug"), REFUSALS)
async def test_a_refusal_says_what_is_wrong_and_only_a_mistyped_code_is_asked_for_again(
    tmp_path: Path, status: int, slug: str
) -> None:
    async with rig(tmp_path) as there:
        refused = await there.enrol(with_problem(status, slug))
        assert isinstance(refused, Refused)
        assert REFUSALS[status, slug] in str(refused)
        assert refused.is_mistyped == (slug == "code-not-valid")


async def test_a_wrong_clock_is_told_and_the_proof_is_made_anew_by_the_control_planes(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        right, proofs = there.clock.now() - timedelta(hours=3), []

        async def judge(request: Request) -> None:
            claims = verified(json.loads(request.body)["proof"], there.own.public).claims
            proofs.append(claims["exp"] - right.timestamp())
            is_wrong = len(proofs) == 1
            answer = with_problem(422, "invalid-proof", now=timestamp(right)) if is_wrong else with_json(201, ENROLLED)
            await answer(request)

        assert isinstance(await there.enrol(judge, judge), Enrolled)
        assert proofs == [3 * 3600 + 60, 60]
        assert there.registry.clock_words == "this machine's clock is 3 h ahead of the control plane's"


async def test_a_proof_that_is_refused_by_the_right_time_too_is_not_sent_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        refused = await there.enrol(with_problem(422, "invalid-proof", now=timestamp(there.clock.now())))
        assert isinstance(refused, Refused)
        assert "proof" in str(refused)
        assert [request.method for request in there.plane.seen] == ["GET", "POST"]


NOT_NOW: dict[str, Callable[[Request], Awaitable[None]]] = {
    "429": with_problem(429, "too-many-tries"),
    "503": with_problem(503, "unavailable"),
    "a portal": lambda request: request.answer(200, b"<html>", content_type="text/html"),
    "200": with_json(200, ENROLLED),
    "201 without an ID": with_json(201, {"issuer": ISSUER, "status": "active"}),
    "201 with an ID that no URL can hold": with_json(201, {**ENROLLED, "clientId": "a/b"}),
    "201 with an issuer that is none": with_json(201, {**ENROLLED, "issuer": "javascript:alert(1)"}),
    "201 with an issuer of two lines": with_json(201, {**ENROLLED, "issuer": "https://a\nb"}),
    "a redirect": lambda request: request.answer(307, location="https://elsewhere.example.com/"),
    "403 of a proxy": lambda request: request.answer(403, b"<html>", content_type="text/html"),
    "the connection cut": lambda request: request.cut(),
}


@pytest.mark.parametrize("what", NOT_NOW)
async def test_everything_else_is_not_now(tmp_path: Path, what: str) -> None:
    async with rig(tmp_path) as there:
        trouble = await there.enrol(NOT_NOW[what])
        assert isinstance(trouble, TryAgain)
        assert trouble.reason


# --- tokens ---


async def test_an_assertion_is_traded_as_oauth_says(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        seen: list[Request] = []

        async def answer(request: Request) -> None:
            seen.append(request)
            await with_json(200, {"access_token": "t0k3n", "token_type": "bearer", "expires_in": 600})(request)

        assert await there.grant(answer) == Grant("t0k3n", 600.0)
        assert seen[0].target == "/api/v1/token"
        assert seen[0].headers["content-type"] == "application/x-www-form-urlencoded"
        assert parse_qs(seen[0].body.decode()) == {
            "grant_type": ["client_credentials"],
            "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
            "client_assertion": ["the-assertion"],
        }


@pytest.mark.parametrize("expires_in", [None, "600", -1, True, 1e300])
async def test_a_life_that_is_not_told_is_the_contracts(tmp_path: Path, expires_in: object) -> None:
    async with rig(tmp_path) as there:
        body = {"access_token": "t0k3n", "token_type": "Bearer", "expires_in": expires_in}
        assert await there.grant(with_json(200, body)) == Grant("t0k3n", 600.0)


async def test_an_agent_that_waits_to_be_confirmed_is_told_so_in_words(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        pending = await there.grant(with_json(400, {"error": "unauthorized_client"}))
        assert isinstance(pending, Pending)
        assert "waits to be confirmed" in pending.reason


async def test_a_key_that_is_not_accepted_is_not_now_with_what_to_do_and_how_wrong_the_clock_is(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        right = there.clock.now() + timedelta(hours=2)
        refused = await there.grant(with_json(401, {"error": "invalid_client", "now": timestamp(right)}))
        assert isinstance(refused, NotEnrolled)
        assert isinstance(refused, WrongTime)
        assert refused.now == right
        assert "does not accept this machine's key" in refused.reason
        assert "this machine's clock is 2 h behind the control plane's" in refused.reason
        refused = await there.grant(with_json(401, {"error": "invalid_client", "now": "soon"}))
        assert type(refused) is NotEnrolled


OTHERS: dict[str, tuple[Callable[[Request], Awaitable[None]], type[TryAgain], str]] = {
    "another error": (with_json(400, {"error": "invalid_request\x1b[31m"}), TryAgain, r"invalid_request\x1b[31m"),
    "deleted": (with_problem(410, "agent-deleted"), Parked, "deleted"),
    "503": (with_problem(503, "unavailable"), TryAgain, "503"),
    "too often": (with_problem(429, "too-many-requests"), TryAgain, "429 too-many-requests"),
    "no token": (with_json(200, {"token_type": "Bearer"}), TryAgain, "login page"),
    "a token for something else": (with_json(200, {"access_token": "t", "token_type": "mac"}), TryAgain, "login page"),
    "a token that no header can hold": (
        with_json(200, {"access_token": "t\r\nx", "token_type": "Bearer"}),
        TryAgain,
        "login page",
    ),
    "an error in a 200": (with_json(200, {"error": "invalid_client"}), TryAgain, "login page"),
    "a page": (lambda request: request.answer(401, b"<html>", content_type="text/html"), TryAgain, "login page"),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_every_other_answer_gives_no_token(tmp_path: Path, what: str) -> None:
    answer, kind, words = OTHERS[what]
    async with rig(tmp_path) as there:
        trouble = await there.grant(answer)
        assert isinstance(trouble, kind)
        assert not isinstance(trouble, NotEnrolled | Pending)
        assert words in trouble.reason


async def test_a_control_plane_that_is_asked_too_often_says_when_to_come_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        trouble = await there.grant(lambda request: request.answer(429, retry_after="17"))
        assert isinstance(trouble, TryAgain)
        assert trouble.retry_after_s == 17


async def test_a_proxy_that_cant_be_used_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks9://user:hunter2@proxy.example.com")
    with pytest.raises(CannotStart, match="proxy settings can't be used") as wrong:
        Registry(ISSUER, NO_TLS, FakeClock())
    assert "hunter2" not in str(wrong.value)
