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


def made() -> tuple[Attendance, FakeClock]:
    clock = FakeClock()
    return Attendance(clock, HEARTBEAT_S), clock


def test_what_another_process_holds_is_there_since_it_said_and_was_seen_when_that_said_that_it_lives() -> None:
    attendance, clock = made()
    attendance.held_there("other", "agent-1", "polling", "2026-11-22T09:00:00.000Z")
    clock.advance(20)
    attendance.is_alive("other")
    clock.advance(5)
    found = attendance.presence("agent-1")
    assert (found.connected, found.transport, found.since) == (True, "polling", "2026-11-22T09:00:00.000Z")
    assert found.age_seconds == 5
    assert attendance.held_here("agent-1") is None
    assert list(attendance.all_here()) == []


def test_an_agent_that_comes_over_was_there_all_the_time() -> None:
    attendance, clock = made()
    attendance.held_there("other", "agent-1", "sse", "2026-11-22T09:00:00.000Z")
    attendance.let_go_there("other", "agent-1")
    clock.advance(2 * HEARTBEAT_S - 1)
    assert attendance.presence("agent-1").connected
    with attendance.holding("agent-1", "sse"):
        assert attendance.held_here("agent-1") == ("sse", "2026-11-22T09:00:00.000Z")
    clock.advance(2 * HEARTBEAT_S)
    assert not attendance.presence("agent-1").connected


def test_a_process_that_is_silent_for_two_heartbeats_holds_nobody_and_one_that_speaks_does() -> None:
    attendance, clock = made()
    attendance.held_there("silent", "agent-1", "sse", "2026-11-22T09:00:00.000Z")
    attendance.held_there("other", "agent-2", "sse", "2026-11-22T09:00:00.000Z")
    for _ in range(3):
        clock.advance(HEARTBEAT_S - 1)
        attendance.is_alive("other")
        attendance.let_silent_go()
    assert attendance.there() == {"agent-2"}
    attendance.only("other", [])
    clock.advance(2 * HEARTBEAT_S)
    assert attendance.there() == frozenset()


def test_this_process_says_when_it_begins_and_when_it_ends_to_hold_one() -> None:
    attendance, _ = made()
    told: list[tuple[str, bool]] = []
    attendance.on_held = lambda client_id: told.append((client_id, attendance.held_here(client_id) is not None))
    with attendance.holding("agent-1", "sse"):
        assert told == [("agent-1", True)]
    assert told[-1] == ("agent-1", False)
