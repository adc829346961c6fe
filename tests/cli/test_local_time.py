"""Instants as people read them, in a place where clocks are nine hours ahead of UTC."""

from datetime import UTC, datetime

import pytest

from sse_agent.cli.local_time import local_time, next_try

pytestmark = pytest.mark.usefixtures("far_east")
NOW = datetime(2026, 11, 22, 14, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T10:30:00.000Z", "19:30:00"),
        ("2026-11-22T10:30:00+01:00", "18:30:00"),
        ("2026-11-21T15:00:00Z", "00:00:00"),
        ("2026-11-21T14:59:59Z", "2026-11-21 23:59:59"),
        ("2026-11-22T15:00:00Z", "2026-11-23 00:00:00"),
        ("soon", "soon"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_instant_is_shown_in_this_machines_time_with_the_date_when_it_is_not_todays(
    text: str | None, shown: str
) -> None:
    assert local_time(text, NOW) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T14:59:12Z", "next try in 12 s"),
        ("2026-11-22T15:15:00Z", "next try in 16 min"),
        ("2026-11-22T14:59:00.900Z", ""),
        ("2026-11-21T10:30:00Z", ""),
        ("soon", ""),
        (None, ""),
    ],
)
def test_a_try_to_come_is_counted_down_to_and_one_that_is_due_is_not(text: str | None, shown: str) -> None:
    assert next_try(text, NOW) == shown
