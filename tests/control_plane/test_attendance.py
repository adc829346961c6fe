"""Presence: no flicker, no ghost."""

from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.records import AgentRecord, PresenceRecord, QueueRecord
from tests.doubles.clock import FakeClock

HEARTBEAT_S = 15


def described(attendance: Attendance, last_seen_at: str | None = None) -> PresenceRecord:
    queue = QueueRecord(waiting=0, latest="k/0", cursor="k/0")
    presence = PresenceRecord(last_seen_at=last_seen_at)
    return attendance.describe(AgentRecord(client_id="a", queue=queue, presence=presence)).presence


def test_between_two_streams_an_agent_stays_connected_since_the_first() -> None:
    clock = FakeClock()
    attendance = Attendance(clock, HEARTBEAT_S)
    with attendance.holding("a", "sse"):
        since = described(attendance).since
    clock.advance(2 * HEARTBEAT_S - 1)
    assert described(attendance).connected
    with attendance.holding("a", "polling"):
        assert (described(attendance).since, described(attendance).transport) == (since, "polling")
    clock.advance(2 * HEARTBEAT_S)
    assert not described(attendance).connected
    assert described(attendance).age_seconds == 2 * HEARTBEAT_S


def test_a_stream_that_ends_late_after_a_good_bye_does_not_take_the_next_one_with_it() -> None:
    clock = FakeClock()
    attendance = Attendance(clock, HEARTBEAT_S)
    old, new = attendance.holding("a", "sse"), attendance.holding("a", "sse")
    old.__enter__()
    attendance.left("a")
    assert not described(attendance).connected
    new.__enter__()
    old.__exit__(None, None, None)
    clock.advance(10 * HEARTBEAT_S)
    assert described(attendance).connected
    new.__exit__(None, None, None)


def test_after_a_restart_the_age_is_that_of_what_is_durable() -> None:
    presence = described(Attendance(FakeClock(), HEARTBEAT_S), "2026-11-22T10:29:00.000Z")
    assert (presence.connected, presence.age_seconds) == (False, 60.0)
