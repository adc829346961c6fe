"""The conformance suite must fail on engines that break a promise, by the test that is named after it."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from sse_agent.control_plane.redis import store
from tests.control_plane import test_documents, test_engine
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Whole, on_redis
from tests.doubles.redis_server import RedisServer

Check = Callable[..., Awaitable[None]]
_BROKEN: dict[str, tuple[str, str, str, Check]] = {
    "appends without looking at the key": (
        "queue",
        "if is == 'repeated' then",
        "if false then",
        test_engine.test_many_at_once_get_numbers_without_holes_and_a_key_queues_once,
    ),
    "takes every report as new": (
        "record",
        "if not known then return 'recorded' end",
        "if true then return 'recorded' end",
        test_engine.test_a_message_of_a_batch_that_conflicts_holds_up_none_of_the_others,
    ),
    "trims what the agent has not passed": (
        "trim",
        "math.min(tonumber(ARGV[6]), agent.passed_n + 1)",
        "1000",
        test_engine.test_pruning_leaves_what_is_open_and_no_hole,
    ),
    "has no bound for a queue": (
        "queue",
        ">= tonumber(limit)",
        ">= 2 * tonumber(limit)",
        test_engine.test_a_full_queue_refuses_drops_nothing_and_takes_again_when_one_is_acknowledged,
    ),
    "lets the older stream go on": (
        "take",
        "if ticket ~= '' and agent.stream ~= ticket then",
        "if false then",
        test_engine.test_the_newest_stream_and_the_newest_epoch_are_the_only_ones_that_get_commands,
    ),
    "does not mark what it sends": (
        "take",
        "redis.call('HSET', of(client_id), 'sent_n', n)",
        "n = n",
        test_engine.test_of_a_lost_journal_what_was_sent_is_unknown_and_only_the_rest_is_sent,
    ),
    "takes the lower revision": (
        "record",
        "if not is_above(news.revision, of_generation == generation and revision or '0') then return end",
        "",
        test_engine.test_of_two_events_about_an_upload_the_higher_revision_counts_and_of_two_progresses_the_higher_n,
    ),
    "decides from what is out of date": (
        "settle",
        "if redis.call('HGET', key, name) ~= value then return {'changed'} end",
        "",
        test_engine.test_two_clones_that_claim_at_once_are_not_both_let_in,
    ),
    "writes documents over each other": (
        "put",
        "if now ~= version then return {'conflict'} end",
        "",
        test_documents.test_of_two_that_write_the_same_version_one_is_told_of_the_other,
    ),
    "appends to a log twice": (
        "append",
        "if known then return tonumber(known) end",
        "",
        test_documents.test_a_log_grows_in_order_and_takes_a_key_once,
    ),
}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    whole = store.text

    def break_it(script: str, before: str, after: str) -> None:
        assert before in whole(script), "the script was changed: break it elsewhere"
        monkeypatch.setattr(store, "text", lambda name: whole(name).replace(before, after))

    return break_it


@pytest.mark.parametrize("how", _BROKEN)
async def test_an_engine_that_is_broken_fails_the_test_of_that_promise(
    how: str, broken: Callable[[str, str, str], None], redis: RedisServer, clock: FakeClock
) -> None:
    script, before, after, check = _BROKEN[how]
    # Whole, it passes; so it is the breakage that is found.
    await run(check, redis, clock)
    redis.ask("FLUSHALL")
    broken(script, before, after)
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, ExceptionGroup)):
        await run(check, redis, clock)


async def run(check: Check, redis: RedisServer, clock: FakeClock) -> None:
    """One test of the suite, with what its fixtures would give."""
    engine: Whole = on_redis(redis, clock)
    await engine.open()
    try:
        await engine.enlist([test_engine.ME, "agent-2"])
        code = check.__code__  # type: ignore[attr-defined]
        names = code.co_varnames[: code.co_argcount]
        given = {"engine": engine, "clock": clock, "make": partial(on_redis, redis, clock)}
        await check(**{name: given[name] for name in names})
    finally:
        await engine.close()
