"""Three audiences that can't act for each other, and what ends a token."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sse_agent.control_plane.problems import AgentDeleted, MalformedSpeaker, NotAllowed, Unauthenticated
from sse_agent.control_plane.tokens import Audience
from tests.control_plane.identity.machines import Machine, new_key, sign, speaker_headers
from tests.control_plane.identity.office import ISSUER, SERVICE, Office, office
from tests.doubles.clock import FakeClock
from tests.doubles.planes import slug


@pytest.fixture
async def open_office(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, FakeClock()) as found:
        yield found


def shown(token: str) -> Mapping[str, str]:
    return {name.lower(): value for name, value in speaker_headers(token).items()}


async def tokens(open_office: Office) -> dict[str, tuple[str, str]]:
    """A token of each kind, and whose it is."""
    machine = await open_office.enrolled()
    minted = open_office.parts.tokens
    return {
        "agent": (await open_office.access(machine), machine.client_id),
        "fixed": ("fixed-token", "fixed-agent"),
        "service": (SERVICE, ""),
        "named service": ("next-token", ""),
        "viewer": (minted.mint(Audience.VIEWER, machine.client_id, 60, agents="*", scopes=["watch", "command"])[0], ""),
        "upload": (minted.mint(Audience.UPLOAD, machine.client_id, 60, kv=1)[0], ""),
    }


async def test_each_token_opens_its_own_doors_and_is_403_at_every_other(open_office: Office) -> None:
    access = open_office.parts.access
    services = ("service", "named service")
    for kind, (token, client_id) in (await tokens(open_office)).items():
        headers = shown(token)
        for name in ("fixed-agent", client_id or "warehouse"):
            if name == client_id:
                assert (await access.require_agent(name, headers)).client_id == name
            else:
                with pytest.raises(NotAllowed):
                    await access.require_agent(name, headers)
        if kind in services:
            assert await access.require_service(headers) == {"service": "service", "named service": "laravel"}[kind]
            assert (await access.require_viewer(headers)).is_service
        else:
            with pytest.raises(NotAllowed):
                await access.require_service(headers)
        if kind == "viewer":
            assert not (await access.require_viewer(headers)).is_service
        elif kind not in services:
            with pytest.raises(NotAllowed):
                await access.require_viewer(headers)
        if kind not in services:
            with pytest.raises(NotAllowed):
                await access.require_manager(headers)


async def test_the_same_over_http(open_office: Office) -> None:
    for kind, (token, client_id) in (await tokens(open_office)).items():
        is_service = kind in ("service", "named service")
        for method, path, body in (
            ("POST", "/api/v1/pairing-codes", {}),
            ("POST", "/api/v1/enrollment-tokens", {}),
            ("POST", "/api/v1/viewer-tokens", {"subject": "a", "agents": "*", "scopes": ["watch"]}),
            ("GET", "/api/v1/pairing-codes/BBBB", None),
            ("GET", "/api/v1/enrollments", None),
            ("POST", "/api/v1/agents/fixed-agent/confirm", {"fingerprint": "x"}),
            ("DELETE", "/api/v1/agents/fixed-agent/enrollment", None),
        ):
            answer = await open_office.client.request(method, path, json=body, headers=shown(token))
            assert (answer.status_code != 403) == is_service, (kind, path)
        for name in ("fixed-agent", client_id or "warehouse"):
            for rest in ("key", "messages", "uploads/f/token"):
                answer = await open_office.client.post(
                    f"/api/v1/agents/{name}/{rest}", json={}, headers={**shown(token), "idempotency-key": "k"}
                )
                assert (answer.status_code == 403) == (name != client_id), (kind, name, rest)
    assert slug(await open_office.ask("DELETE", "/api/v1/agents/fixed-agent/enrollment")) == "unknown-agent"


async def test_what_is_no_token_of_ours_is_401(open_office: Office) -> None:
    machine = await open_office.enrolled()
    access, now = open_office.parts.access, open_office.clock.now()
    claims = {"iss": ISSUER, "aud": "agent", "sub": machine.client_id, "exp": int(now.timestamp()) + 600, "kv": 1}
    issued = open_office.parts.tokens
    for token in (
        "",
        "x",
        "a.b.c",
        "ü",
        sign(new_key(), claims),
        sign(machine.key, claims),
        machine.assertion(now),
        issued.mint(Audience.AGENT, machine.client_id, 600)[0],
        issued.mint(Audience.AGENT, machine.client_id, 600, kv="1")[0],
        issued.mint(Audience.AGENT, machine.client_id, 600, kv=2)[0],
        issued.mint(Audience.AGENT, machine.client_id, 600, kv=0)[0],
        issued.mint(Audience.AGENT, machine.client_id, -60, kv=1)[0],
    ):
        with pytest.raises(Unauthenticated):
            await access.require_agent(machine.client_id, shown(token))
    await access.require_agent(machine.client_id, shown(issued.mint(Audience.AGENT, machine.client_id, 600, kv=1)[0]))
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer"}):
        with pytest.raises(Unauthenticated):
            await access.require_service(headers)
        with pytest.raises(Unauthenticated):
            await access.require_viewer(headers)


@pytest.mark.parametrize(
    "claims",
    [
        {"agents": "*"},
        {"scopes": ["watch"]},
        {"agents": "fixed-agent", "scopes": ["watch"]},
        {"agents": [7], "scopes": ["watch"]},
        {"agents": "*", "scopes": "watch"},
    ],
)
async def test_a_viewer_token_without_its_bounds_is_none(open_office: Office, claims: dict[str, Any]) -> None:
    token, _ = open_office.parts.tokens.mint(Audience.VIEWER, "ada", 60, **claims)
    with pytest.raises(Unauthenticated):
        await open_office.parts.access.require_viewer(shown(token))


async def test_a_viewer_sees_its_agents_and_commands_none_without_that_scope(open_office: Office) -> None:
    async def viewer(**claims: Any) -> Any:
        token, _ = open_office.parts.tokens.mint(Audience.VIEWER, "ada", 60, **claims)
        return await open_office.parts.access.require_viewer(shown(token))

    watcher = await viewer(agents=["a"], scopes=["watch"])
    assert [watcher.may(scope, name) for scope in ("watch", "command") for name in ("a", "b")] == [
        True,
        False,
        False,
        False,
    ]
    watcher.require("watch", "a")
    for scope, name in (("watch", "b"), ("command", "a")):
        with pytest.raises(NotAllowed):
            watcher.require(scope, name)
    everything = await viewer(agents="*", scopes=["watch", "command"])
    assert all(everything.may(scope, "b") for scope in ("watch", "command"))
    assert (everything.ends_at - open_office.clock.now()).total_seconds() == 60


async def test_a_call_says_when_its_token_ends_and_a_fixed_one_does_not(open_office: Office) -> None:
    machine = await open_office.enrolled()
    call = await open_office.parts.access.require_agent(machine.client_id, shown(await open_office.access(machine)))
    assert call.ends_at is not None
    assert (call.ends_at - open_office.clock.now()).total_seconds() == 600
    fixed = await open_office.parts.access.require_agent("fixed-agent", shown("fixed-token"))
    assert fixed.ends_at is None
    assert not await open_office.parts.access.is_over(fixed)
    with pytest.raises(MalformedSpeaker):
        await open_office.parts.access.require_agent("fixed-agent", {"authorization": "Bearer fixed-token"})


async def test_what_another_instance_revoked_is_known_here_within_seconds(tmp_path: Path) -> None:
    clock = FakeClock()
    async with office(tmp_path, clock) as here:
        machine = await here.enrolled()
        call_headers = shown(await here.access(machine))
        call = await here.parts.access.require_agent(machine.client_id, call_headers)
        # Another instance has the same documents, and no way to tell this one.
        document = await here.engine.document("identities", machine.client_id)
        assert document is not None
        replaced = document.body.replace(b'"keyVersion":1', b'"keyVersion":2')
        assert replaced != document.body
        await here.engine.put("identities", machine.client_id, replaced, version=document.version)
        clock.advance(2)
        with pytest.raises(Unauthenticated):
            await here.parts.access.require_agent(machine.client_id, call_headers)
        assert await here.parts.access.is_over(call)


async def test_what_this_instance_revoked_is_void_at_once(open_office: Office) -> None:
    machine, other = await open_office.enrolled(), Machine(ISSUER)
    headers = shown(await open_office.access(machine))
    call = await open_office.parts.access.require_agent(machine.client_id, headers)
    await open_office.enrol(other, token=await open_office.token(clientId=machine.client_id))
    assert await open_office.parts.access.is_over(call)
    with pytest.raises(Unauthenticated):
        await open_office.parts.access.require_agent(machine.client_id, headers)
    await open_office.ask("DELETE", f"/api/v1/agents/{machine.client_id}")
    with pytest.raises(AgentDeleted):
        await open_office.parts.access.require_agent(machine.client_id, headers)
