"""How far each upload is: the latest wins, at a bounded pace."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sse_agent.lifecycle import UploadState
from sse_agent.progress import EVERY_S, WINDOW_S, ProgressTable, Rate, Reading

READING = Reading("f", UploadState.UPLOADING, revision=3, offset=0, bytes_sent=0, size=1000)


def reported(table: ProgressTable, now: float) -> list[int]:
    return [report.bytes_sent for report in table.take(now, 100)]


def test_reports_of_one_upload_are_half_a_second_apart_and_tell_the_latest() -> None:
    table = ProgressTable()
    found = []
    for tick in range(200):
        now = tick / 100
        table.note(replace(READING, bytes_sent=tick), now)
        found += [(now, bytes_sent) for bytes_sent in reported(table, now)]
    assert found == [(0.0, 0), (0.5, 50), (1.0, 100), (1.5, 150)]


def test_changes_of_state_do_not_break_the_pace_either() -> None:
    table = ProgressTable()
    times = []
    for tick in range(200):
        state = (UploadState.UPLOADING, UploadState.WAITING)[tick // 10 % 2]
        table.note(replace(READING, state=state, revision=tick // 10, bytes_sent=tick), tick / 100)
        times += [tick / 100] * len(reported(table, tick / 100))
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(times))
    assert len(times) >= 4


def test_a_change_of_state_is_told_as_soon_as_the_pace_allows() -> None:
    table = ProgressTable()
    waiting = replace(READING, state=UploadState.WAITING, revision=4)
    table.note(waiting, 0.0)
    assert len(table.take(0.0, 1)) == 1
    table.note(replace(READING, revision=5), 7.0)
    assert len(table.take(7.0, 1)) == 1


def test_nothing_new_is_not_told_again_but_a_waiting_upload_is_every_30_seconds() -> None:
    table = ProgressTable()
    table.note(READING, 0.0)
    table.note(replace(READING, file_id="w", state=UploadState.WAITING), 0.0)
    assert len(table.take(0.0, 100)) == 2
    table.note(READING, 10.0)
    assert table.take(29.9, 100) == []
    assert table.next_due_at() == 30.0
    assert [(report.file_id, report.n) for report in table.take(30.0, 100)] == [("w", 2)]


def test_n_rises_with_each_report_whatever_the_revision() -> None:
    table = ProgressTable()
    found = []
    for n in range(3):
        table.note(replace(READING, revision=n, bytes_sent=n), float(n))
        found += [(report.revision, report.n) for report in table.take(float(n), 1)]
    assert found == [(0, 1), (1, 2), (2, 3)]


def test_those_that_begin_at_different_moments_are_soon_told_together() -> None:
    table = ProgressTable()
    for at, name in ((0.0, "a"), (0.1, "b"), (0.2, "c")):
        table.note(replace(READING, file_id=name), at)
        table.take(at, 10)
    assert table.next_due_at() == 0.5
    for name in "abc":
        table.note(replace(READING, file_id=name, offset=READING.offset + 1), 0.5)
    assert [report.file_id for report in table.take(0.5, 10)] == ["a", "b", "c"]
    assert table.next_due_at() is None


def test_of_many_uploads_each_is_told_less_often() -> None:
    table = ProgressTable()
    names = [str(n) for n in range(20)]
    for at in (0.0, 0.6, 1.0):
        for name in names:
            table.note(replace(READING, file_id=name, offset=int(READING.offset + 10 * at)), at)
        assert len(table.take(at, 100)) == (0 if at == 0.6 else 20)


def test_what_does_not_fit_is_told_the_next_time() -> None:
    table = ProgressTable()
    for name in "abc":
        table.note(replace(READING, file_id=name), 0.0)
    assert [report.file_id for report in table.take(0.0, 2)] == ["a", "b"]
    assert [report.file_id for report in table.take(0.0, 2)] == ["c"]
    assert table.take(0.0, 0) == []


def test_an_upload_that_is_over_is_not_told_any_more() -> None:
    table = ProgressTable()
    table.note(READING, 0.0)
    table.drop("f")
    table.drop("never there")
    assert table.take(0.0, 1) == []
    assert table.next_due_at() is None


def test_a_report_says_what_is_left_and_why_it_waits() -> None:
    table = ProgressTable()
    at = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    table.note(replace(READING, offset=100, bytes_sent=400, rate=200, left_s=3), 0.0)
    table.note(
        replace(
            READING, file_id="w", state=UploadState.WAITING, reason="no connection", next_try_at=at, bytes_sent=1001
        ),
        0.0,
    )
    running, waiting = (report.to_wire() for report in table.take(0.0, 2))
    assert running == {
        "fileId": "f", "state": "uploading", "revision": 3, "n": 1, "offset": 100, "bytesSent": 400,
        "fileSize": 1000, "rate": 200, "etaSeconds": 3,
    }  # fmt: skip
    assert (waiting["reason"], waiting["nextTryAt"]) == ("no connection", "2026-11-22T10:30:00.000Z")
    assert "etaSeconds" not in waiting


def test_the_rate_of_all_is_that_of_those_that_run() -> None:
    table = ProgressTable()
    table.note(replace(READING, rate=5), 0.0)
    table.note(replace(READING, file_id="g", rate=7), 0.0)
    table.note(replace(READING, file_id="w", rate=9, state=UploadState.WAITING), 0.0)
    assert table.rate() == 12


def test_another_next_try_is_told_as_soon_as_the_pace_allows() -> None:
    table = ProgressTable()
    at = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    waiting = replace(READING, state=UploadState.WAITING, next_try_at=at)
    table.note(waiting, 0.0)
    assert len(table.take(0.0, 1)) == 1
    table.note(replace(waiting, next_try_at=at + timedelta(minutes=5)), 0.1)
    assert table.next_due_at() == EVERY_S
    [report] = table.take(EVERY_S, 1)
    assert report.next_try_at == "2026-11-22T10:35:00.000Z"


def test_the_latest_reading_is_there_for_whoever_asks() -> None:
    table = ProgressTable()
    table.note(READING, 0.0)
    table.note(replace(READING, bytes_sent=7), 0.1)
    assert table.find("f") == replace(READING, bytes_sent=7)
    table.drop("f")
    assert table.find("f") is None


# --- rate and time left ---

TICK_S = 0.25
MIB = 1024 * 1024


class Way:
    """Bytes go out at `speed` a second, in blocks, once `buffer` of them are taken at once."""

    def __init__(self, rate: Rate, speed: float, block: int = 256 * 1024, buffer: int = 0) -> None:
        self.rate, self.speed, self.block, self.buffer = rate, speed, block, buffer
        self.now, self.sent, self._moved = 0.0, 0, 0.0
        rate.note(0, 0.0)

    def go(self, seconds: float) -> list[int]:
        """What the rate is at each tick meanwhile."""
        told = []
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self._moved += self.speed * TICK_S
            if self.speed:
                self.sent = self.buffer + int(self._moved) // self.block * self.block
            self.rate.note(self.sent, self.now)
            told.append(self.rate.per_second)
        return told


def test_a_rate_follows_what_happens_and_time_that_stands_still_or_goes_back_says_nothing() -> None:
    rate = Rate()
    assert rate.per_second == 0
    way = Way(rate, 4 * MIB)
    assert way.go(60)[-1] == 4 * MIB
    way.speed = 8 * MIB
    assert way.go(WINDOW_S + 1)[-1] == 8 * MIB
    rate.note(way.sent + 5000, way.now)
    rate.note(0, way.now - 1)
    assert rate.per_second == 8 * MIB


def test_the_rate_of_what_does_not_move_any_more_is_0_after_the_window_and_nobody_can_tell_what_is_left() -> None:
    rate = Rate()
    way = Way(rate, 4 * MIB)
    way.go(60)
    assert rate.left_s(8 * MIB) == 2
    way.speed = 0
    told = way.go(WINDOW_S + TICK_S)
    assert all(earlier >= later for earlier, later in itertools.pairwise(told))
    assert told[-1] == 0
    assert rate.left_s(8 * MIB) is None


def test_what_moves_again_after_a_while_has_the_rate_of_now_and_not_of_the_while() -> None:
    rate = Rate()
    way = Way(rate, 4 * MIB)
    way.go(30)
    way.speed = 0
    way.go(120)
    way.speed = 4 * MIB
    assert way.go(3)[-1] == 4 * MIB
    # It grew while nothing came, and goes back by and by.
    assert rate.left_s(8 * MIB) in (2, 3)


class Requests:
    """Bytes go out in requests of `length`, of which the way takes `buffer` at once, to a server that reads `speed`."""

    def __init__(self, rate: Rate, speed: float, length: int, buffer: int) -> None:
        self.rate, self.speed, self.length, self.buffer = rate, speed, length, buffer
        self.now, self.sent, self.since, self.read = 0.0, 0, 0, 0.0
        rate.note(0, 0.0)

    def go(self, seconds: float) -> list[int]:
        """What the rate is at each tick meanwhile."""
        told = []
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.read = min(self.since + self.length, self.read + self.speed * TICK_S)
            if self.read >= self.since + self.length:
                self.since += self.length
            self.sent = min(self.since + self.length, int(self.read) + self.buffer)
            is_unanswered = self.sent == self.since + self.length
            self.rate.note(self.sent, self.now, request_at=self.since, is_unanswered=is_unanswered)
            told.append(self.rate.per_second)
        return told


@pytest.mark.parametrize(
    ("speed", "length", "buffer"),
    [
        (100 * 1024, 8 * MIB, 4 * MIB),
        (100 * 1024, 5 * MIB, 4 * MIB),
        (100 * 1024, 2 * MIB, 4 * MIB),
        (4 * MIB, MIB, 4 * MIB),
        (MIB, MIB // 4, 64 * 1024),
        (100 * MIB, 1024 * MIB, 6 * MIB),
    ],
)
def test_rate_and_time_left_agree_however_much_of_each_request_only_fills_the_buffers(
    speed: int, length: int, buffer: int
) -> None:
    rate = Rate()
    way = Requests(rate, speed, length, buffer)
    way.go(max(30, 1.5 * length / speed))
    shown = []
    for _ in range(4000):
        [per_second] = way.go(TICK_S)
        left_s = rate.left_s(100 * speed)
        if per_second:
            shown.append((per_second / speed, (left_s or 0) / 100))
    assert all(0.7 < told < 1.4 for pair in shown for told in pair), (min(shown), max(shown))
    assert len(shown) > 100


def test_while_only_the_answer_is_waited_for_nothing_moves_and_afterwards_all_is_as_it_was() -> None:
    rate = Rate()
    way = Requests(rate, 100 * 1024, 8 * MIB, 4 * MIB)
    way.go(38)
    before = rate.per_second
    assert 80 * 1024 < before < 130 * 1024
    assert set(way.go(30)[6 * 4 :]) == {0}
    assert rate.left_s(MIB) is None
    assert way.go(30)[-1] == pytest.approx(before, rel=0.3)


def test_time_before_the_first_byte_is_no_slowness() -> None:
    rate = Rate()
    way = Way(rate, 0)
    way.go(30)
    way.speed = 4 * MIB
    assert way.go(3)[-1] == 4 * MIB


def test_to_be_asked_where_it_is_is_no_progress_and_no_standstill() -> None:
    rate = Rate()
    way = Way(rate, 4 * MIB)
    way.go(30)
    way.speed = 0
    way.go(8)
    rate.restart(way.sent, way.now)
    assert rate.per_second == 0
    way.speed = 4 * MIB
    assert way.go(1)[-1] == 4 * MIB


def test_a_slow_way_on_which_a_block_takes_seconds_is_not_taken_for_none() -> None:
    rate = Rate()
    way = Way(rate, 20 * 1024)
    way.go(60)
    told = way.go(120)
    assert min(told) > 0.6 * 20 * 1024
    assert max(told) < 1.3 * 20 * 1024


def test_bytes_that_only_fill_the_buffers_on_the_way_promise_no_early_end() -> None:
    rate = Rate()
    way = Way(rate, 512 * 1024, buffer=8 * MIB)
    whole, shown = 100 * MIB, list[tuple[float, int]]()
    while way.sent < whole // 2:
        way.go(TICK_S)
        left_s = rate.left_s(whole - way.sent)
        if left_s is not None:
            shown.append((left_s, (whole - way.sent) // (512 * 1024)))
    assert shown[0][0] > 100
    assert all(abs(told - true) <= 0.2 * true + 2 for told, true in shown)


def test_the_time_left_does_not_jump_with_the_rate() -> None:
    rate = Rate()
    way = Way(rate, 8 * MIB)
    way.go(60)
    shown = []
    for second in range(120):
        way.speed = 8 * MIB if second % 6 < 4 else MIB
        way.go(1)
        shown.append(rate.left_s(max(0, 4000 * MIB - way.sent)))
    told = [left for left in shown if left is not None]
    assert len(told) == len(shown)
    assert all(abs(after - before) < 0.08 * before + 2 for before, after in itertools.pairwise(told))
