"""How far each upload is: the latest wins, at a bounded pace."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

from sse_agent.lifecycle import UploadState
from sse_agent.progress import ProgressTable, Rate, Reading

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
    table.note(replace(READING, offset=100, bytes_sent=400, rate=200), 0.0)
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


def test_a_rate_follows_what_happens_and_a_resume_is_no_negative_rate() -> None:
    rate = Rate()
    assert rate.per_second == 0
    for second in range(60):
        rate.note(second * 1000, float(second))
    assert rate.per_second == 1000
    rate.note(0, 60.0)
    assert 0 < rate.per_second < 1000
    rate.note(5000, 60.0)
    rate.note(0, 59.0)
    assert rate.per_second > 0, "time that stands still or goes back says nothing"
    for second in range(61, 120):
        rate.note(0, float(second))
    assert rate.per_second < 10
