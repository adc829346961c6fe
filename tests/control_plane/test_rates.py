"""Who may ask how often."""

import pytest

from sse_agent.control_plane import rates
from sse_agent.control_plane.rates import Rates


def test_a_burst_goes_through_then_the_rate_counts() -> None:
    found = Rates(2.0, 3.0)
    assert [found.wait_s("a", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert found.wait_s("b", 10.0) == 0.0
    assert found.wait_s("a", 10.5) == 0.0
    assert found.wait_s("a", 10.5) > 0
    assert [found.wait_s("a", 1000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_who_was_quiet_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "LIMIT", 2)
    found = Rates(1.0, 1.0)
    for asker in ("a", "b", "c"):
        assert found.wait_s(asker, 0.0) == 0.0
    assert found.wait_s("c", 0.0) == 1.0
    assert found.wait_s("a", 0.0) == 0.0
