"""Access tokens: one request for however many want one, renewed in time, by the control plane's clock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent.credentials import AccessTokens, Grant, MachineKey, WrongTime, key
from sse_agent.errors import Parked, TryAgain
from tests.doubles.assertions import verified
from tests.doubles.clock import FakeClock

ISSUER = "https://control.example.com"
LIFE_S = 600.0


@dataclass
class Endpoint:
    """Grants `token-1`, `token-2`, …; what it was asked is kept. `before` is awaited first, and may raise."""

    own: MachineKey
    asked: list[dict[str, Any]] = field(default_factory=list)
    granted: int = 0
    life_s: float = LIFE_S
    before: Callable[[], Awaitable[None]] | None = None

    async def ask(self, assertion: str) -> Grant:
        self.asked.append(verified(assertion, self.own.public).claims)
        if self.before is not None:
            await self.before()
        self.granted += 1
        return Grant(f"token-{self.granted}", self.life_s)


@dataclass
class Rig:
    clock: FakeClock
    endpoint: Endpoint
    tokens: AccessTokens


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    clock, endpoint = FakeClock(), Endpoint(key.to_enrol_with(tmp_path))
    tokens = AccessTokens(endpoint.own, endpoint.ask, clock, client_id="agent-1", issuer=ISSUER)
    return Rig(clock, endpoint, tokens)


def raising(trouble: TryAgain) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise trouble

    return refuse


async def test_an_assertion_is_for_the_issuer_good_for_a_minute_and_never_the_same(rig: Rig) -> None:
    await rig.tokens.current()
    await rig.tokens.refreshed("token-1")
    first, second = rig.endpoint.asked
    now = int(rig.clock.now().timestamp())
    wanted = {"iss": "agent-1", "sub": "agent-1", "aud": ISSUER, "iat": now, "exp": now + 60}
    assert {name: value for name, value in first.items() if name != "jti"} == wanted
    assert len(first["jti"]) == 32
    assert first["jti"] != second["jti"]


async def test_a_token_is_asked_for_once_and_shown_until_four_fifths_of_its_life(rig: Rig) -> None:
    assert await rig.tokens.current() == "token-1"
    rig.clock.advance(0.74 * LIFE_S)
    assert await rig.tokens.current() == "token-1"
    rig.clock.advance(0.06 * LIFE_S)
    assert await rig.tokens.current() == "token-2"
    assert rig.endpoint.granted == 2


async def test_when_to_renew_is_between_three_and_four_fifths_and_differs_from_machine_to_machine(
    tmp_path: Path,
) -> None:
    endpoint, instants = Endpoint(key.to_enrol_with(tmp_path)), []
    for _ in range(30):
        clock = FakeClock()
        tokens = AccessTokens(endpoint.own, endpoint.ask, clock, client_id="agent-1", issuer=ISSUER)
        at = tokens.renew_at(await tokens.current())
        assert at is not None
        instants.append(at - clock.monotonic())
    assert all(0.75 * LIFE_S <= instant <= 0.8 * LIFE_S for instant in instants)
    assert len(set(instants)) > 10


async def test_a_token_that_was_replaced_meanwhile_is_to_be_renewed_at_once(rig: Rig) -> None:
    before = await rig.tokens.current()
    await rig.tokens.refreshed(before)
    assert rig.tokens.renew_at(before) == rig.clock.monotonic()


async def test_many_who_want_a_token_at_once_share_one_request(rig: Rig) -> None:
    release, found = anyio.Event(), []
    rig.endpoint.before = release.wait

    async def want() -> None:
        found.append(await rig.tokens.current())

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(want)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert found == ["token-1"] * 20
    assert rig.endpoint.granted == 1


async def test_two_401s_about_one_token_make_one_request_also_one_after_the_other(rig: Rig) -> None:
    refused, found = await rig.tokens.current(), []

    async def answer_401() -> None:
        found.append(await rig.tokens.refreshed(refused))

    async with anyio.create_task_group() as group:
        group.start_soon(answer_401)
        group.start_soon(answer_401)
    await answer_401()
    assert found == ["token-2"] * 3
    assert rig.endpoint.granted == 2


async def test_who_waited_for_a_request_that_failed_does_not_repeat_it_and_who_comes_later_does(rig: Rig) -> None:
    release, caught = anyio.Event(), []

    async def fail() -> None:
        await release.wait()
        raise TryAgain("not now")

    rig.endpoint.before = fail

    async def want() -> None:
        try:
            await rig.tokens.current()
        except TryAgain as trouble:
            caught.append(trouble.reason)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(want)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert caught == ["not now"] * 10
    assert len(rig.endpoint.asked) == 1
    rig.endpoint.before = None
    assert await rig.tokens.current() == "token-1"


async def test_who_gives_up_waiting_leaves_the_way_free_for_the_next(rig: Rig) -> None:
    rig.endpoint.before = anyio.Event().wait
    async with anyio.create_task_group() as group:
        group.start_soon(rig.tokens.current)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    rig.endpoint.before = None
    assert await rig.tokens.current() == "token-1"


async def test_while_it_cant_be_renewed_a_token_that_still_lives_is_shown_and_not_every_message_knocks(
    rig: Rig,
) -> None:
    await rig.tokens.current()
    rig.endpoint.before = raising(TryAgain("not now", retry_after_s=5))
    rig.clock.advance(0.8 * LIFE_S)
    for _ in range(10):
        assert await rig.tokens.current() == "token-1"
    assert len(rig.endpoint.asked) == 2
    rig.clock.advance(10)
    assert await rig.tokens.current() == "token-1"
    assert len(rig.endpoint.asked) == 3
    rig.clock.advance(0.2 * LIFE_S)
    with pytest.raises(TryAgain, match="not now"):
        await rig.tokens.current()
    rig.endpoint.before = None
    assert await rig.tokens.current() == "token-2"


async def test_an_order_to_park_is_passed_on_even_while_the_token_lives(rig: Rig) -> None:
    await rig.tokens.current()
    rig.clock.advance(0.8 * LIFE_S)
    rig.endpoint.before = raising(Parked("this agent was deleted"))
    with pytest.raises(Parked):
        await rig.tokens.current()


@pytest.mark.parametrize("wrong_s", [-3 * 3600, 90, 5 * 365 * 86400])
async def test_a_machine_whose_clock_is_wrong_signs_again_by_the_control_planes(rig: Rig, wrong_s: int) -> None:
    right = rig.clock.now() + timedelta(seconds=wrong_s)

    async def judge() -> None:
        if abs(rig.endpoint.asked[-1]["exp"] - 60 - right.timestamp()) > 5:
            raise WrongTime("too old", now=right)

    rig.endpoint.before = judge
    assert await rig.tokens.current() == "token-1"
    assert len(rig.endpoint.asked) == 2
    assert await rig.tokens.refreshed("token-1") == "token-2"
    assert len(rig.endpoint.asked) == 3, "it is remembered"


async def test_a_refusal_by_a_control_plane_with_the_same_time_is_not_repeated(rig: Rig) -> None:
    rig.endpoint.before = raising(WrongTime("who are you?", now=rig.clock.now()))
    with pytest.raises(TryAgain, match="who are you"):
        await rig.tokens.current()
    assert len(rig.endpoint.asked) == 1


async def test_a_control_plane_whose_time_jumps_about_is_asked_twice_and_no_more(rig: Rig) -> None:
    async def jump() -> None:
        raise WrongTime("no", now=rig.clock.now() + timedelta(hours=len(rig.endpoint.asked)))

    rig.endpoint.before = jump
    with pytest.raises(TryAgain):
        await rig.tokens.current()
    assert len(rig.endpoint.asked) == 2


@pytest.mark.parametrize(("told", "kept"), [(0.0, 5.0), (-1.0, 5.0), (1e9, 86400.0)])
async def test_no_life_makes_it_ask_without_end_or_never_again(rig: Rig, told: float, kept: float) -> None:
    rig.endpoint.life_s = told
    await rig.tokens.current()
    rig.clock.advance(0.7 * kept)
    assert await rig.tokens.current() == "token-1"
    rig.clock.advance(0.3 * kept)
    assert await rig.tokens.current() == "token-2"


async def test_no_text_shows_a_token(rig: Rig) -> None:
    token = await rig.tokens.current()
    shown = f"{rig.tokens!r} {rig.tokens} {Grant(token, 1.0)!r} {rig.tokens._held!r}"
    assert token not in shown
