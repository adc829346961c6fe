"""What waits for one viewer."""

import pytest

from sse_agent.control_plane import mailbox
from sse_agent.control_plane.mailbox import PACE_S, Mailbox


def test_of_each_thing_only_the_newest_is_told_in_the_order_of_the_last_change() -> None:
    box = Mailbox()
    box.put("presence a", b"1")
    box.put("presence b", b"2")
    box.put("presence a", b"3")
    assert box.bell.is_set()
    assert box.take(0.0) == [b"2", b"3"]
    assert box.take(0.0) == []


def test_progress_of_one_upload_is_told_twice_a_second_at_most_and_then_the_newest() -> None:
    box = Mailbox()
    box.put_progress("progress f", (1, 1), b"first")
    assert box.take(10.0) == [b"first"]
    for n in range(2, 40):
        box.put_progress("progress f", (1, n), b"%d" % n)
    box.put_progress("progress g", (1, 1), b"another")
    assert box.take(10.0 + PACE_S / 2) == [b"another"]
    assert box.due_at() == 10.0 + PACE_S
    assert box.take(10.0 + PACE_S) == [b"39"]
    assert box.due_at() == float("inf")


def test_progress_that_is_older_than_what_waits_is_dropped() -> None:
    box = Mailbox()
    box.put_progress("progress f", (2, 1), b"newer revision")
    box.put_progress("progress f", (1, 9), b"older")
    assert box.take(0.0) == [b"newer revision"]


def test_too_much_is_forgotten_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "LIMIT", 10)
    box = Mailbox()
    for number in range(10):
        box.put(f"command {number}", b"x")
    assert not box.is_overrun
    box.put("command 10", b"x")
    assert box.is_overrun
    assert box.take(0.0) == []
    box.empty()
    box.put("command 11", b"y")
    assert (box.is_overrun, box.take(0.0)) == (False, [b"y"])


def test_its_size_is_bounded_too_and_counts_what_waits_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "BYTES_LIMIT", 100)
    box = Mailbox()
    for number in range(1000):
        box.put("agent a", b"x" * 60)
        box.put_progress("progress f", (1, number), b"x" * 40)
        assert not box.is_overrun
        if number % 100 == 0:
            box.take(float(number))
    box.put("agent b", b"x")
    assert box.is_overrun


def test_what_was_told_long_ago_holds_no_memory() -> None:
    box = Mailbox()
    for number in range(1000):
        box.put_progress(f"progress {number}", (1, 1), b"x")
        box.take(float(number))
    assert len(box._told_at) <= 1
