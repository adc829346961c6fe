"""Where a stream goes on, as a table."""

from dataclasses import replace

import pytest

from sse_agent.control_plane.resumption import (
    JOURNAL_LOST,
    READMITTED,
    UNKNOWN_CURSOR,
    Plan,
    Queue,
    plan,
    report_again_since,
)

QUEUE = Queue(numbering="k7", last_n=9, sent_n=7, passed_n=5, floor_n=3)


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (None, Plan(2)),
        ("k7/9", Plan(9)),
        ("k7/5", Plan(5)),
        ("k7/2", Plan(2)),
        # One that would leave a hole, one of another numbering, one that is none.
        ("k7/1", Plan(5, UNKNOWN_CURSOR)),
        ("k6/5", Plan(5, UNKNOWN_CURSOR)),
        ("garbage", Plan(5, UNKNOWN_CURSOR)),
        ("", Plan(5, UNKNOWN_CURSOR)),
        # Newer than anything here: its event IDs must not be given a second time.
        ("k7/10", Plan(5, UNKNOWN_CURSOR, is_renumbered=True)),
    ],
)
def test_a_known_cursor_resumes_and_any_other_goes_back_to_what_is_known_to_be_in_the_journal(
    cursor: str | None, expected: Plan
) -> None:
    assert plan(QUEUE, cursor) == expected


@pytest.mark.parametrize("cursor", [None, "k7/5", "k6/5"])
def test_of_a_lost_journal_nothing_that_was_sent_is_sent_again(cursor: str | None) -> None:
    lost = replace(QUEUE, reset_reason=JOURNAL_LOST)
    assert plan(lost, cursor) == Plan(7, JOURNAL_LOST, is_standing=True, unknown_after_n=0)


@pytest.mark.parametrize(("cursor", "remembered_n"), [("k7/4", 4), ("k6/4", 0), (None, 0)])
def test_of_a_restored_machine_only_what_its_journal_does_not_have_becomes_unknown(
    cursor: str | None, remembered_n: int
) -> None:
    restored = replace(QUEUE, reset_reason=READMITTED)
    assert plan(restored, cursor) == Plan(7, READMITTED, is_standing=True, unknown_after_n=remembered_n)


@pytest.mark.parametrize("reason", [JOURNAL_LOST, READMITTED])
def test_a_reset_stands_until_its_cursor_comes_back(reason: str) -> None:
    told = replace(QUEUE, reset_reason=reason, reset_n=7)
    for cursor in (None, "k7/4", "k6/8", "k7/10"):
        assert plan(told, cursor) == Plan(7, reason, is_standing=True)
    assert plan(told, "k7/7") == Plan(7)
    assert plan(told, "k7/8") == Plan(8)


@pytest.mark.parametrize(
    ("reported_at", "recorded_at", "since"),
    [
        (None, None, "1970-01-01T00:00:00.000Z"),
        ("2026-11-22T10:00:00Z", "2026-11-20T10:00:00Z", "2026-11-19T10:00:00.000Z"),
        ("2026-11-18T10:00:00Z", "2026-11-20T10:00:00Z", "2026-11-17T10:00:00.000Z"),
        ("1970-01-01T00:00:01Z", "2026-11-20T10:00:00Z", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_reports_are_asked_for_from_a_day_before_the_last_one_on_either_clock(
    reported_at: str | None, recorded_at: str | None, since: str
) -> None:
    assert report_again_since(reported_at, recorded_at) == since
