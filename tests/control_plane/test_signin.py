"""Signing in at the live page, over real HTTP against the real process."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError

from sse_agent import cli
from sse_agent.control_plane.identity import parts
from sse_agent.control_plane.problems import LinkNotValid
from sse_agent.control_plane.settings import PREFIX, Settings
from sse_agent.control_plane.signin import Grant, SignIn
from tests.doubles.clock import FakeClock
from tests.doubles.engines import on_sqlite
from tests.doubles.planes import SERVICE, Plane, plane, slug

LINKS, SESSIONS = "/api/v1/signin-links", "/api/v1/sessions"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


def secret_of(on: Plane, **grant: Any) -> str:
    answer = on.ask("POST", LINKS, key="k", json=grant)
    assert answer.status_code == 201, answer.text
    place, _, secret = answer.json()["link"].partition("#signin=")
    assert place == f"{on.client.base_url}/" or place == f"{str(on.client.base_url).rstrip('/')}/"
    return str(secret)


def browser(on: Plane) -> httpx.Client:
    """A page of the control plane's own: it has a cookie jar, and says where it is from."""
    origin = str(on.client.base_url).rstrip("/")
    return httpx.Client(base_url=origin, headers={"Origin": origin}, timeout=10, trust_env=False)


def test_a_link_signs_one_person_in_once(running: Plane) -> None:
    secret = secret_of(running, subject="ada")
    with browser(running) as page:
        answer = page.post(SESSIONS, json={"secret": secret})
        assert answer.status_code == 201
        told = answer.json()
        assert (told["subject"], told["agents"], told["scopes"]) == ("ada", "*", ["watch", "command", "manage"])
        mine = {"Authorization": f"Bearer {told['token']}"}
        assert page.get("/api/v1/agents", headers=mine).status_code == 200
        assert slug(page.post(SESSIONS, json={"secret": secret})) == "link-not-valid"
    with browser(running) as other:
        assert slug(other.post(SESSIONS, json={"secret": secret})) == "link-not-valid"


@pytest.mark.anyio
async def test_of_many_who_use_a_link_at_once_one_gets_in(tmp_path: Path) -> None:
    """In this process: each has read that the link is good before the first has used it up."""
    clock = FakeClock()
    engine = on_sqlite(tmp_path, clock)
    await engine.open()
    try:
        wired = await parts.opened(
            engine, engine, clock, "http://here", agents={}, services={}, on_change=lambda client_id: None
        )
        app = FastAPI()
        signin = SignIn(engine, wired.tokens, wired.access, clock, "http://here")
        signin.add_to(app)
        secret = (await signin.link(Grant())).link.partition("#signin=")[2]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            posts = [client.post(SESSIONS, json={"secret": secret}) for _ in range(8)]
            answers = await asyncio.gather(*posts, return_exceptions=True)
    finally:
        await engine.close()
    assert [answer.status_code for answer in answers if isinstance(answer, httpx.Response)] == [201]
    assert sum(isinstance(answer, LinkNotValid) for answer in answers) == 7


@pytest.mark.parametrize("end", ["/", "/agents/", "//agents", "/a/../b", "/a?b", "/a#b", "/a%2fb", "/a b"])
def test_a_public_url_that_browsers_and_proxies_may_write_in_another_way_is_refused(end: str) -> None:
    token = SecretStr("the-token-of-a-service")
    assert Settings(service_token=token, issuer="https://app.example/agents/v1").issuer
    with pytest.raises(ValidationError, match="ISSUER"):
        Settings(service_token=token, issuer=f"https://app.example{end}")


def test_the_cookie_is_for_no_script_and_no_other_site_and_gives_the_next_token(running: Plane) -> None:
    with browser(running) as page:
        answer = page.post(SESSIONS, json={"secret": secret_of(running)})
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        # Neither a host nor a path: they are those of the request, as the browser sent it.
        assert attributes == {"httponly", "samesite=strict", "max-age=43200"}
        renewed = page.post(f"{SESSIONS}/renew", json={})
        assert renewed.status_code == 200
        assert renewed.json()["token"] != answer.json()["token"]
        assert "set-cookie" not in renewed.headers
        assert (
            page.get("/api/v1/agents", headers={"Authorization": f"Bearer {renewed.json()['token']}"}).status_code
            == 200
        )


def test_the_cookie_is_of_no_use_to_another_page_and_alone_opens_nothing(running: Plane) -> None:
    with browser(running) as page:
        assert page.post(SESSIONS, json={"secret": secret_of(running)}).status_code == 201
        for origin in ("https://evil.example", "null", ""):
            assert slug(page.post(f"{SESSIONS}/renew", json={}, headers={"Origin": origin})) == "not-allowed"
            assert slug(page.delete(SESSIONS, headers={"Origin": origin})) == "not-allowed"
        assert slug(page.get("/api/v1/agents")) == "unauthenticated"
        assert page.post(f"{SESSIONS}/renew", json={}).status_code == 200
    secret = secret_of(running)
    with browser(running) as page:
        assert (
            slug(page.post(SESSIONS, json={"secret": secret}, headers={"Origin": "https://evil.example"}))
            == "not-allowed"
        )
        assert page.post(SESSIONS, json={"secret": secret}).status_code == 201


def test_who_signs_out_is_out(running: Plane) -> None:
    with browser(running) as page:
        page.post(SESSIONS, json={"secret": secret_of(running)})
        kept = dict(page.cookies)
        assert page.delete(SESSIONS).status_code == 204
        assert not page.cookies
        page.cookies.update(kept)
        assert slug(page.post(f"{SESSIONS}/renew", json={})) == "signed-out"


def test_a_session_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with plane(tmp_path) as found, browser(found) as page:
        assert page.post(SESSIONS, json={"secret": secret_of(found)}).status_code == 201
        kept = dict(page.cookies)
        found.kill()
        found.start()
        with browser(found) as again:
            again.cookies.update(kept)
            assert again.post(f"{SESSIONS}/renew", json={}).status_code == 200


def test_a_grant_is_no_more_than_it_says(running: Plane) -> None:
    agent, other = running.fresh(), running.fresh()
    with browser(running) as page:
        secret = secret_of(running, subject="eve", agents=[agent.client_id], scopes=["watch"])
        token = page.post(SESSIONS, json={"secret": secret}).json()["token"]
        mine = {"headers": {"Authorization": f"Bearer {token}"}}
        assert page.get(agent.path, **mine).status_code == 200
        assert slug(page.get(other.path, **mine)) == "not-allowed"
        order = {"type": "HEARTBEAT", "payload": {}}
        headers = {**mine["headers"], "Idempotency-Key": "x"}
        assert slug(page.post(f"{agent.path}/commands", json=order, headers=headers)) == "not-allowed"
        assert slug(page.post(f"{agent.path}/readmit", headers=headers)) == "not-allowed"
        assert slug(page.delete(agent.path, **mine)) == "not-allowed"
        assert slug(page.post("/api/v1/pairing-codes", json={}, **mine)) == "not-allowed"
        assert slug(page.post(LINKS, json={}, **mine)) == "not-allowed"


@pytest.mark.parametrize("scopes", [["watch", "command", "manage"]])
def test_whoever_may_manage_all_agents_may_pair_readmit_and_delete(running: Plane, scopes: list[str]) -> None:
    agent = running.fresh()
    with browser(running) as page:
        token = page.post(SESSIONS, json={"secret": secret_of(running, scopes=scopes)}).json()["token"]
        mine = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{agent.client_id}-readmitted"}
        assert page.post("/api/v1/pairing-codes", json={}, headers=mine).status_code == 201
        assert page.post(f"{agent.path}/readmit", headers=mine).status_code == 204
        assert page.delete(agent.path, headers=mine).status_code == 204


@pytest.mark.parametrize("body", ["{}", '{"secret": 7}', '{"secret": "short"}', "[]", "no JSON"])
def test_what_is_no_secret_is_refused_without_being_repeated(running: Plane, body: str) -> None:
    with browser(running) as page:
        answer = page.post(SESSIONS, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert "short" not in answer.text


def test_a_grant_that_no_header_could_carry_is_refused_when_the_link_is_asked_for(running: Plane) -> None:
    def made(path: str, count: int, size: int) -> httpx.Response:
        names = [f"{number:04}{'x' * (size - 4)}" for number in range(count)]
        return running.ask("POST", path, json={"subject": "ada", "agents": names, "scopes": ["watch"]})

    for path, count, size in ((LINKS, 1000, 10), ("/api/v1/viewer-tokens", 100, 128)):
        refused = made(path, count, size)
        assert (refused.status_code, slug(refused)) == (422, "invalid-parameter")
        assert "name fewer agents" in refused.json()["detail"]
        assert len(refused.text) < 500
    token = made("/api/v1/viewer-tokens", 100, 46).json()["token"]
    assert 6500 < len(token) <= 7168
    assert running.client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_agents_make_no_links(running: Plane) -> None:
    agent = running.fresh()
    headers = {"Authorization": agent.headers["Authorization"]}
    assert slug(running.client.post(LINKS, json={}, headers=headers)) == "not-allowed"
    assert slug(running.client.post(LINKS, json={})) == "unauthenticated"


def _environment(database: Path) -> dict[str, str]:
    settings = {"SERVICE_TOKEN": SERVICE, "DATABASE": str(database), "PORT": "0"}
    return {**os.environ, **{PREFIX + name: value for name, value in settings.items()}}


def test_a_person_at_a_terminal_is_shown_a_link_and_a_log_is_not(tmp_path: Path, running: Plane) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sse_agent", "control-plane"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=_environment(tmp_path / "db"), text=True
    ) as child:
        os.close(theirs)
        try:
            assert child.stdout is not None
            assert child.stdout.readline().startswith('{"listening": ')
            shown = b""
            while b"#signin=" not in shown or not shown.endswith(b"\n"):
                shown += os.read(ours, 1000)
        finally:
            child.terminate()
            child.wait(10)
            os.close(ours)
    assert b"http://127.0.0.1:" in shown
    assert "signin" not in running.log


def test_the_subcommand_prints_a_link_that_works(running: Plane) -> None:
    url = str(running.client.base_url).rstrip("/")
    command = [sys.executable, "-m", "sse_agent", "control-plane", "link", "--subject", "grace"]
    environment = {**os.environ, f"{PREFIX}SERVICE_TOKEN": SERVICE}
    ran = subprocess.run(
        [*command, "--url", url], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    with browser(running) as page:
        answer = page.post(SESSIONS, json={"secret": ran.stdout.strip().partition("#signin=")[2]})
        assert answer.json()["subject"] == "grace"
    environment[f"{PREFIX}SERVICE_TOKEN"] = "another-token-than-that"
    ran = subprocess.run(
        [*command, "--url", url], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout) == (75, "")
    assert "answered 401" in ran.stderr
    assert "another" not in ran.stderr


def test_where_its_certificate_is_a_private_one_the_subcommand_says_so_and_can_be_told_what_to_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority, files = trustme.CA(), {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(files["ca"]))
    issued.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    monkeypatch.setenv(f"{PREFIX}SERVICE_TOKEN", SERVICE)
    monkeypatch.delenv("SSE_AGENT_CA_FILE", raising=False)
    with plane(tmp_path, tls_certificate=files["certificate"], tls_key=files["key"]) as there:
        command = ["control-plane", "link", "--url", str(there.client.base_url)]
        assert cli.main(command) == 75
        told = capsys.readouterr().err
        assert "certificate was not accepted" in told
        assert "--ca-file" in told
        assert "is it running" not in told
        assert cli.main([*command, "--ca-file", str(files["ca"])]) == 0
        monkeypatch.setenv("SSE_AGENT_CA_FILE", str(files["ca"]))
        assert cli.main(command) == 0
        assert capsys.readouterr().out.count("#signin=") == 2
    assert cli.main(command) == 75
    assert "does not answer (no connection: connection refused); is it running" in capsys.readouterr().err
