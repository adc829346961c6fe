"""Two instances on one Redis, each request to the other one in turn: together they keep the contract like one."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sse_agent.clock import SystemClock
from sse_agent.conformance import run
from sse_agent.conformance.check import State, Verdict
from sse_agent.conformance.kit import Options
from sse_agent.conformance.peer import Token
from tests.conformance.balancing import balancing
from tests.conformance.credentials import SERVICE, agent_token
from tests.conformance.serving import INTACT, QUEUE, serving
from tests.doubles.nginx import nginx
from tests.doubles.redis_server import redis_server

AGENT, SECOND = "agent-1", "agent-2"
ISSUER = "https://control.example"
OPTIONS = Options(
    client_id=AGENT,
    agent_token=Token("the agent", agent_token(AGENT)),
    service_token=Token("the service", SERVICE),
    second_client_id=SECOND,
    grace_s=5.0,
    fill_queue=2 * QUEUE,
)


async def broken(url: str, names: list[str]) -> dict[str, str]:
    found: list[Verdict] = []
    await run.run(url, True, OPTIONS, run.chosen(names), SystemClock(), found.append)
    return {verdict.check.name: verdict.why for verdict in found if verdict.state is not State.PASSED}


async def test_whichever_instance_is_asked_the_contract_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "KEPT_ALIVE", 0)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with redis_server(tmp_path / "redis") as redis:
        shared = {"REDIS_URL": redis.url, "ISSUER": ISSUER}
        with (
            serving(first, INTACT, [AGENT, SECOND], **shared) as one,
            serving(second, INTACT, [AGENT, SECOND], **shared) as other,
        ):
            async with balancing([one, other]) as balancer:
                assert await broken(balancer.url, []) == {}
    assert min(balancer.counts) > len(run.CHECKS)


async def test_two_that_share_nothing_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEPT_ALIVE", 0)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with serving(first, INTACT, [AGENT]) as one, serving(second, INTACT, [AGENT]) as other:
        async with balancing([one, other]) as balancer:
            found = await broken(balancer.url, ["messages", "fencing"])
    assert {"messages.repeated", "fencing.lower-epoch"} <= found.keys()


async def test_through_nginx_as_the_page_shows_it_streams_keep_the_contract(tmp_path: Path) -> None:
    with serving(tmp_path, INTACT, [AGENT, SECOND]) as one:
        port = urlsplit(one).port or 0
        with nginx(tmp_path / "nginx", [port, port]) as url:
            assert await broken(url, ["stream"]) == {}
