"""When a delivery is tried again."""

from sse_agent.control_plane.webhooks.schedule import LONGEST_ASKED_S, WAITS_S, wait_s


def low(a: float, _: float) -> float:
    return a


def high(_: float, b: float) -> float:
    return b


def test_waits_grow_and_end_after_the_last() -> None:
    waits = [wait_s(n, uniform=low) for n in range(1, len(WAITS_S) + 1)]
    assert waits == sorted(WAITS_S)
    assert wait_s(len(WAITS_S) + 1) is None


def test_jitter_only_adds_and_what_was_asked_is_the_least() -> None:
    assert wait_s(1, uniform=high) == 6.0
    assert wait_s(1, asked_s=60.0, uniform=low) == 60.0
    assert wait_s(2, asked_s=60.0, uniform=low) == 300.0
    assert wait_s(1, asked_s=10**9, uniform=low) == LONGEST_ASKED_S
