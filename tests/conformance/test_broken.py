"""Control planes that break the contract: each mistake is found out by the checks that are about it, by name."""

from collections.abc import Iterator

import httpx
import pytest

from sse_agent.clock import SystemClock
from sse_agent.conformance import run
from sse_agent.conformance.check import State, Verdict
from sse_agent.conformance.kit import Options
from sse_agent.conformance.peer import Token
from tests.conformance.credentials import SERVICE, agent_token
from tests.conformance.mistakes import FAILS, MISTAKES
from tests.conformance.serving import BROKEN, QUEUE, serving

CLIENTS = {name: f"agent-{number}" for number, name in enumerate(["", *MISTAKES])}
SECOND = "agent-second"
GRACE_S = 3.0
UNTOUCHED = ("messages.recorded", "batch.order", "ui.uploads", "stream.live")
"""Two of these that a mistake has nothing to do with must pass beside it: what always fails finds nothing out."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("broken"), BROKEN, [*CLIENTS.values(), SECOND]) as found:
        yield found


async def make(url: str, mistake: str) -> None:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        (await client.put(f"{url}/mistake", content=mistake.encode())).raise_for_status()


async def verdicts(url: str, mistake: str, names: list[str]) -> dict[str, Verdict]:
    """What the checks of these names say of the control plane while it makes that mistake."""
    await make(url, mistake)
    client_id = CLIENTS[mistake]
    options = Options(
        client_id=client_id,
        agent_token=Token("the agent", agent_token(client_id)),
        service_token=Token("the service", SERVICE),
        second_client_id=SECOND,
        grace_s=GRACE_S,
        fill_queue=2 * QUEUE,
    )
    found: list[Verdict] = []
    try:
        await run.run(url, True, options, run.chosen(names), SystemClock(), found.append)
    finally:
        await make(url, "")
    return {verdict.check.name: verdict for verdict in found}


def untouched(mistake: str) -> list[str]:
    also = {
        "the stream sleeps": {"stream.live"},
        "orders are not idempotent": {"stream.live"},
    }
    known = set(FAILS[mistake]) | also.get(mistake, set())
    return [name for name in UNTOUCHED if name not in known][:2]


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_found_out_by_the_checks_that_are_about_it(url: str, mistake: str) -> None:
    passing = untouched(mistake)
    found = await verdicts(url, mistake, [*FAILS[mistake], *passing])
    states = {name: (verdict.state, verdict.why) for name, verdict in found.items()}
    assert [name for name in FAILS[mistake] if states[name][0] is not State.BROKEN] == [], states
    assert [name for name in passing if states[name][0] is not State.PASSED] == [], states


@pytest.mark.parametrize("mistake", ["nobody waits", "problems have no type"])
async def test_whoever_must_mend_it_reads_what_was_sent_and_what_came_and_no_token(url: str, mistake: str) -> None:
    name = FAILS[mistake][-1]
    found = (await verdicts(url, mistake, [name]))[name]
    assert found.why
    assert found.exchanges
    for exchange in found.exchanges:
        assert "/api/v1/" in exchange.sent
        assert "authorization: Bearer (token)" in exchange.sent
        assert SERVICE not in exchange.sent + exchange.came
        assert agent_token(CLIENTS[mistake]) not in exchange.sent + exchange.came


async def test_what_was_made_for_a_check_is_not_shown_either(url: str) -> None:
    name = "identity.replayed"
    found = (await verdicts(url, "whoever asks gets a token", [name]))[name]
    assert found.state is State.BROKEN
    shown = "".join(exchange.sent + exchange.came for exchange in found.exchanges)
    assert '"access_token":"(token)"' in shown
    assert "client_assertion=(token)" in shown
    # As every JWT begins.
    assert "eyJ" not in shown


async def test_beside_the_mistakes_the_control_plane_is_intact(url: str) -> None:
    found = await verdicts(url, "", [check.name for check in run.CHECKS])
    broken = {name: verdict.why for name, verdict in found.items() if verdict.state is not State.PASSED}
    assert broken == {}


def test_each_check_has_a_mistake_that_it_finds_out() -> None:
    assert FAILS.keys() == MISTAKES.keys()
    assert {name for names in FAILS.values() for name in names} == {check.name for check in run.CHECKS}
    assert len({check.name for check in run.CHECKS}) == len(run.CHECKS)
