"""How long until the next try, with time and chance handed in."""

from datetime import UTC, datetime, timedelta

import pytest

from sse_agent.retry import (
    NOT_ALLOWED_NOW,
    NOT_NOW,
    ROUTINE,
    Backoff,
    Uniform,
    asked,
    parked_wait_s,
    parse_http_date,
    parse_retry_after,
)

NOW = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


def most(_: float, high: float) -> float:
    return high


def least(low: float, _: float) -> float:
    return low


def test_the_wait_is_full_jitter_over_a_span_that_doubles_up_to_a_minute() -> None:
    assert [Backoff(uniform=most).wait_s(n) for n in (0, 1, 2, 5, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60, 60]
    assert [Backoff(uniform=least).wait_s(n) for n in (0, 6, 1000)] == [0, 0, 0]


def test_the_contracts_waits() -> None:
    assert (NOT_NOW.base_s, NOT_NOW.cap_s) == (1, 60)
    assert (NOT_ALLOWED_NOW.base_s, NOT_ALLOWED_NOW.cap_s) == (1, 900)
    assert (ROUTINE.base_s, ROUTINE.cap_s) == (2, 2)
    assert all(0 <= ROUTINE.wait_s(0) <= 2 for _ in range(100))


@pytest.mark.parametrize(("seconds", "bounded"), [(None, 0), (0, 0.1), (-5, 0.1), (7, 7), (900, 900), (1e9, 900)])
def test_what_was_asked_for_is_the_least_wait_within_bounds_and_jitter_comes_on_top(
    seconds: float | None, bounded: float
) -> None:
    assert asked(seconds) == bounded
    assert Backoff(uniform=least).wait_s(9, at_least_s=seconds) == bounded
    assert Backoff(uniform=most).wait_s(9, at_least_s=seconds) == bounded + 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 64, 900),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1984 08:49:37 GMT", 0),
        (None, None),
        ("", None),
        ("1.5", None),
        ("-1", None),
        ("+1", None),
        ("\u0661", None),
        ("soon", None),
        ("9" * 65, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2020 99999999999999999999:00:00 GMT", None),
        ("Mon, 01 Jan 2020 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_says_nothing(
    text: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(text, NOW) == seconds


def test_no_date_is_longer_than_a_date() -> None:
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT" + " " * 35) == NOW
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT" + " " * 36) is None


def test_a_date_without_a_zone_is_utc() -> None:
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 -0000") == NOW
    assert parse_http_date("Sun, 06 Nov 1994 09:49:37 +0100") == NOW


@pytest.mark.parametrize(("uniform", "factor"), [(least, 1.0), (most, 1.25)])
def test_a_parked_agent_is_silent_for_a_quarter_of_an_hour_and_then_up_to_six_hours(
    uniform: Uniform, factor: float
) -> None:
    minutes = [15, 30, 60, 120, 240, 360, 360]
    waits = [parked_wait_s(n, uniform) for n in [*range(6), 1000]]
    assert waits == [timedelta(minutes=minute).total_seconds() * factor for minute in minutes]
