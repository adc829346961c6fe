"""How often an address may be wrong."""

import pytest

from sse_agent.control_plane.identity import limits
from sse_agent.control_plane.identity.limits import TokenRequests, WrongTries
from sse_agent.control_plane.problems import TooManyRequests, TooManyTries
from tests.doubles.clock import FakeClock


def test_the_eleventh_wrong_try_within_a_minute_waits_for_the_first_to_be_a_minute_old() -> None:
    clock = FakeClock()
    tries = WrongTries(clock)
    for _ in range(10):
        tries.check("198.51.100.7")
        tries.count("198.51.100.7")
        clock.advance(2)
    with pytest.raises(TooManyTries) as refused:
        tries.check("198.51.100.7")
    assert refused.value.headers["Retry-After"] == "40"
    tries.check("198.51.100.8")
    clock.advance(40)
    tries.check("198.51.100.7")
    tries.count("198.51.100.7")
    with pytest.raises(TooManyTries):
        tries.check("198.51.100.7")


def test_all_addresses_of_one_network_of_ipv6_count_together() -> None:
    tries = WrongTries(FakeClock(), limit=2)
    tries.count("2001:db8::1")
    tries.count("2001:db8::ffff:2")
    with pytest.raises(TooManyTries):
        tries.check("2001:db8::3")
    tries.check("2001:db8:0:1::1")
    tries.check("")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SOURCES", 3)
    tries = WrongTries(FakeClock(), limit=1)
    for number in range(5):
        tries.count(f"198.51.100.{number}")
    tries.check("198.51.100.0")
    with pytest.raises(TooManyTries):
        tries.check("198.51.100.4")
    assert len(tries._tries) == 3


def test_thousands_of_agents_behind_one_address_get_their_tokens_at_once_and_a_flood_waits() -> None:
    clock = FakeClock()
    requests = TokenRequests(clock)
    for _ in range(10_000):
        requests.from_address("2001:db8::1")
    with pytest.raises(TooManyRequests) as refused:
        requests.from_address("2001:db8::2")
    assert refused.value.headers["Retry-After"] == "1"
    requests.from_address("198.51.100.7")
    clock.advance(1)
    for _ in range(100):
        requests.from_address("2001:db8::1")
    with pytest.raises(TooManyRequests):
        requests.from_address("2001:db8::1")
