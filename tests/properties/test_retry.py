"""How long until the next try, whatever is asked for and whatever chance says."""

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from sse_agent.retry import (
    LEAST_ASKED_S,
    MOST_ASKED_S,
    NOT_ALLOWED_NOW,
    NOT_NOW,
    ROUTINE,
    Backoff,
    asked,
    parked_wait_s,
    parse_http_date,
    parse_retry_after,
)
from tests.properties.profile import REPEATABLE

FAILURES = st.integers(0, 10**6)
SHARES = st.floats(0, 1)
SECONDS = st.none() | st.floats(allow_nan=False) | st.integers(-(10**30), 10**30).map(float)
BACKOFFS = st.sampled_from([NOT_NOW, NOT_ALLOWED_NOW, ROUTINE]) | st.builds(
    Backoff, base_s=st.floats(0.01, 10), cap_s=st.floats(0.01, 1000)
)
INSTANTS = st.datetimes(timezones=st.just(UTC))
WORDS = st.text(st.sampled_from("0123456789:,+- GMTMonJanSatxX\t\0é٣"), max_size=70)


def of(backoff: Backoff, share: float) -> Backoff:
    """The same, with chance at that share of its span."""
    return Backoff(backoff.base_s, backoff.cap_s, lambda low, high: low + (high - low) * share)


@given(backoff=BACKOFFS, n=FAILURES, share=SHARES, seconds=SECONDS)
@settings(REPEATABLE, max_examples=500)
def test_a_wait_is_what_was_asked_for_within_its_bounds_and_jitter_of_at_most_the_cap(
    backoff: Backoff, n: int, share: float, seconds: float | None
) -> None:
    wait_s = of(backoff, share).wait_s(n, at_least_s=seconds)
    jitter_s = of(backoff, share).wait_s(n)
    assert 0 <= jitter_s <= backoff.cap_s
    assert wait_s == asked(seconds) + jitter_s
    if seconds is not None:
        assert wait_s >= min(max(seconds, LEAST_ASKED_S), MOST_ASKED_S), "what was asked for is the least"
        assert wait_s <= MOST_ASKED_S + backoff.cap_s


@given(backoff=BACKOFFS, n=FAILURES)
@settings(REPEATABLE)
def test_the_span_of_the_jitter_never_shrinks_and_doubles_until_the_cap(backoff: Backoff, n: int) -> None:
    most = [of(backoff, 1.0).wait_s(tries) for tries in (n, n + 1)]
    assert most[0] <= most[1] <= 2 * most[0] or most[0] == backoff.cap_s
    assert most[0] == min(backoff.cap_s, backoff.base_s * 2.0 ** min(n, 32))


@given(backoff=BACKOFFS, n=FAILURES)
@settings(REPEATABLE)
def test_real_chance_stays_within_the_span(backoff: Backoff, n: int) -> None:
    assert 0 <= backoff.wait_s(n) <= min(backoff.cap_s, backoff.base_s * 2.0 ** min(n, 32))


@given(n=FAILURES, share=SHARES)
@settings(REPEATABLE)
def test_a_parked_agent_is_silent_for_a_quarter_of_an_hour_at_least_and_for_seven_and_a_half_at_most(
    n: int, share: float
) -> None:
    assert 900 <= parked_wait_s(n, lambda low, high: low + (high - low) * share) <= 6 * 3600 * 1.25


@given(text=st.none() | WORDS | st.text(max_size=80), now=INSTANTS)
@settings(REPEATABLE, max_examples=600)
def test_any_header_is_a_number_of_seconds_or_nothing(text: str | None, now: datetime) -> None:
    seconds = parse_retry_after(text, now)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
    assert 0 <= NOT_NOW.wait_s(0, at_least_s=seconds) <= MOST_ASKED_S + 1


@given(
    at=st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30)),
    east=st.integers(-1439, 1439),
    now=INSTANTS,
)
@settings(REPEATABLE)
def test_a_date_is_read_to_the_second_in_every_zone(at: datetime, east: int, now: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=east)))
    assert parse_http_date(format_datetime(at)) == at
    assert parse_retry_after(format_datetime(at), now) == max(0.0, (at - now).total_seconds())


@given(seconds=st.integers(0, 10**12))
@settings(REPEATABLE)
def test_a_number_of_seconds_is_respected_up_to_a_quarter_of_an_hour(seconds: int) -> None:
    assert parse_retry_after(str(seconds), datetime(2026, 1, 1, tzinfo=UTC)) == min(seconds, MOST_ASKED_S)
