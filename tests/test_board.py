"""The board: what is shown is what the events say, however many there are."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sse_agent import events
from sse_agent.board import (
    BURST_S,
    CONFIRMING_AFTER_S,
    FAILED_KEPT,
    FINISHED_KEPT,
    GRACE_S,
    KNOWN_LIMIT,
    STALLED_AFTER_S,
    Board,
    Upload,
)
from sse_agent.events import Event
from sse_agent.lifecycle import UploadState

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
MIB = 1024 * 1024
SHA256 = "8f14e45fceea167a5a36dedd4bea25438f14e45fceea167a5a36dedd4bea2543"
QUEUED, UPLOADING, WAITING, PAUSED = (
    UploadState.QUEUED,
    UploadState.UPLOADING,
    UploadState.WAITING,
    UploadState.PAUSED,
)
UNDER_WAY = (QUEUED, UPLOADING, WAITING, PAUSED)


def board_of(*happened: Event, now: float = 100.0) -> Board:
    board = Board()
    for event in happened:
        board.apply(event, now, AT)
    return board


def queued(file_id: str, size: int = 10, priority: int = 5, why: str = "new", offset: int = 0) -> Event:
    return events.UploadQueued(file_id, f"{file_id}.bin", size, offset, priority, why)


def started(file_id: str, size: int = 10, offset: int = 0) -> Event:
    return events.UploadStarted(file_id, f"{file_id}.bin", size, offset, 1)


def waiting(file_id: str, offset: int = 0) -> Event:
    return events.UploadWaiting(file_id, offset, "423", AT + timedelta(seconds=9), 2)


def completed(file_id: str, size: int = 10) -> Event:
    return events.UploadCompleted(file_id, f"{file_id}.bin", size, SHA256, 1.5, "response")


def located(file_id: str, offset: int, size: int = 100) -> Event:
    return events.UploadLocated(file_id, f"{file_id}.bin", size, offset)


def progress(file_id: str, offset: int, bytes_sent: int, attempt_sent: int, rate: int = 9) -> Event:
    return events.UploadProgressed(file_id, offset, bytes_sent, 100, rate, attempt_sent)


def failed(file_id: str, *, retryable: bool = True) -> Event:
    return events.UploadEnded(file_id, UploadState.FAILED, "NO_PROGRESS", "24 h", "", retryable, f"{file_id}.bin", 10)


def cancelled(file_id: str, *, here: bool = False, actor: str = "") -> Event:
    return events.UploadCancelled(file_id, f"{file_id}.bin", 10, 0, here, actor)


def counts(board: Board) -> dict[UploadState, int]:
    return {state: board.count(state) for state in UNDER_WAY if board.count(state)}


def test_an_upload_is_shown_in_the_state_that_the_last_event_gave_it() -> None:
    board = board_of(queued("a", size=100))
    assert (counts(board), board.queued_bytes) == ({QUEUED: 1}, 100)
    board.apply(started("a", 100), 101, AT)
    assert (counts(board), board.queued_bytes) == ({UPLOADING: 1}, 0)
    board.apply(events.UploadProgressed("a", 30, 50, 100, 7), 102, AT)
    upload = board.first(UPLOADING, 9)[0]
    assert (upload.name, upload.offset, upload.bytes_sent, upload.rate, board.rate) == ("a.bin", 30, 50, 7, 7)
    board.apply(waiting("a", 30), 103, AT)
    upload = board.first(WAITING, 9)[0]
    assert (upload.name, upload.reason, upload.next_try_at, upload.tries) == (
        "a.bin",
        "423",
        AT + timedelta(seconds=9),
        2,
    )
    assert board.rate == 0
    board.apply(events.UploadPaused("a", 30), 104, AT)
    assert counts(board) == {PAUSED: 1}
    board.apply(queued("a", 100, why="resumed", offset=30), 105, AT)
    assert (counts(board), board.queued_bytes) == ({QUEUED: 1}, 70)
    board.apply(started("a", 100, 30), 106, AT)
    board.apply(completed("a", 100), 107, AT)
    assert counts(board) == {}
    assert (board.totals.ended[UploadState.COMPLETE], board.totals.complete_bytes) == (1, 100)
    assert (board.finished[-1].name, board.finished[-1].sha256_head) == ("a.bin", SHA256[:16])


def test_bytes_that_were_sent_again_count_as_sent_and_those_that_the_server_had_already_do_not() -> None:
    board = board_of(started("a", 100), located("a", 30))
    upload = board.find("a")
    assert upload is not None
    assert (upload.offset, upload.bytes_sent, board.totals.bytes_sent) == (30, 30, 0)
    for offset, position, sent in [(30, 60, 30), (40, 40, 30), (40, 100, 90)]:
        board.apply(progress("a", offset, position, sent), 101, AT)
    board.apply(completed("a", 100), 102, AT)
    assert board.totals.bytes_sent == 90
    for event in (queued("b", 100), started("b", 100), progress("b", 0, 20, 20), waiting("b"), started("b", 100)):
        board.apply(event, 103, AT)
    board.apply(progress("b", 20, 50, 30), 104, AT)
    assert board.totals.bytes_sent == 90 + 20 + 30, "each attempt counts from 0"


def test_only_time_in_which_something_was_sent_counts_as_spent_sending_and_for_all_uploads_once() -> None:
    board = board_of(started("a", 100), started("b", 100), now=100)
    board.apply(progress("a", 0, 10, 10), 101, AT)
    board.apply(progress("b", 0, 10, 10), 101.5, AT)
    assert board.totals.sending_s == 1.5
    board.apply(progress("a", 0, 10, 10, rate=5), 130, AT)
    board.apply(progress("b", 0, 10, 10, rate=5), 130, AT)
    assert board.totals.sending_s == 1.5, "nothing moved"
    board.apply(progress("a", 0, 20, 20), 131, AT)
    assert board.totals.sending_s == 2.5


def test_one_that_is_sent_and_not_yet_confirmed_is_not_stalled_and_the_time_counts_as_spent_sending() -> None:
    board = board_of(started("a", 100), now=100)
    upload = board.find("a")
    assert upload is not None
    sent = events.UploadProgressed("a", 0, 100, 100, 0, 100, confirming=True)
    board.apply(sent, 101, AT)
    assert upload.confirming_s(101 + CONFIRMING_AFTER_S - 0.1) is None, "most are answered at once"
    before = board.revision
    board.apply(sent, 102, AT)
    assert (board.revision, board.totals.sending_s) == (before, 2)
    assert (upload.confirming_s(130), upload.stalled_s(130)) == (29, None)
    board.apply(completed("a", 100), 130, AT)
    assert board.totals.sending_s == 30
    board = board_of(started("a", 100), sent, now=100)
    board.apply(progress("a", 40, 60, 160), 104, AT)
    assert [(one.confirming_s(999), one.stalled_s(999)) for one in board] == [(None, 895)], "there is more of it"
    board.apply(waiting("a"), 105, AT)
    assert [one.confirming_s(999) for one in board] == [None]


def test_since_when_no_byte_of_an_upload_moved_is_known_once_it_is_noticeable() -> None:
    board = board_of(started("a", 100), progress("a", 0, 5, 5), now=90)
    upload = board.find("a")
    assert upload is not None
    board.apply(progress("a", 0, 10, 10), 100, AT)
    assert upload.left_s == 10
    board.apply(progress("a", 0, 10, 10, rate=0), 105, AT)
    assert upload.stalled_s(100 + STALLED_AFTER_S - 0.1) is None
    assert upload.stalled_s(100 + STALLED_AFTER_S + 30) == STALLED_AFTER_S + 30
    assert (upload.rate, upload.left_s) == (0, None)
    board.apply(progress("a", 10, 10, 10, rate=0), 150, AT)
    assert upload.stalled_s(151) is None, "a confirmation is a sign of life"
    board.apply(waiting("a"), 151, AT)
    assert [one.stalled_s(999) for one in board] == [None], "one that waits says so"


def test_the_queue_is_in_the_order_in_which_it_runs() -> None:
    board = board_of(queued("late", priority=2), queued("a"), queued("urgent", priority=9), queued("b"))
    assert [upload.file_id for upload in board.first(QUEUED, 3)] == ["urgent", "a", "b"]
    board.apply(started("urgent"), 101, AT)
    board.apply(cancelled("a"), 101, AT)
    assert [upload.file_id for upload in board.first(QUEUED, 3)] == ["b", "late"]


def test_one_that_was_paused_or_waited_comes_back_to_where_it_stood_in_the_queue() -> None:
    def numbered(number: int, priority: int = 5) -> Event:
        return events.UploadQueued(f"q{number}", f"q{number}.bin", 10, 0, priority, "new", number=number)

    board = board_of(*map(numbered, range(2, 7)), numbered(9, priority=9), started("q2"))
    for file_id in ("q2", "q4"):
        board.apply(events.UploadPaused(file_id, 5), 101, AT)
    board.apply(numbered(4), 102, AT)
    board.apply(numbered(2), 102, AT)
    assert [one.file_id for one in board.queue] == ["q9", "q2", "q3", "q4", "q5", "q6"]
    board.apply(started("q4"), 103, AT)
    board.apply(cancelled("q5"), 103, AT)
    board.expect_names()
    old = [Upload(f"q{number}", "x", 10, 0, QUEUED, number=number) for number in (1, 8)]
    board.name(old)
    assert [one.file_id for one in board.queue] == ["q9", "q1", "q2", "q3", "q6", "q8"]


def test_uploads_from_before_the_start_are_counted_until_they_get_a_name() -> None:
    board = board_of(
        events.AgentStarted(
            "1", "c", "https://c", 2, {"queued": 2, "waiting": 1, "paused": 2, "complete": 9, "failed": 1}, 300
        )
    )
    assert (counts(board), board.queued_bytes) == ({QUEUED: 3, PAUSED: 2}, 300)
    board.apply(started("old", size=100), 101, AT)
    assert (counts(board), board.queued_bytes) == ({QUEUED: 2, UPLOADING: 1, PAUSED: 2}, 200)
    board.apply(queued("paused before", 50, why="resumed"), 102, AT)
    assert (counts(board), board.queued_bytes) == ({QUEUED: 3, UPLOADING: 1, PAUSED: 1}, 250)
    assert board.totals.ended == {}


def test_whatever_happens_in_whatever_order_the_counts_are_those_of_a_plain_table() -> None:
    chance, board = random.Random(7), Board()
    table: dict[str, tuple[UploadState, int]] = {}
    ended: Counter[str] = Counter()
    for step in range(5000):
        file_id, size = f"f{chance.randrange(40)}", 100
        what = chance.randrange(6)
        if what == 0:
            offset = chance.randrange(100)
            board.apply(queued(file_id, size, chance.randrange(10), offset=offset), step, AT)
            table[file_id] = (QUEUED, size - offset)
        elif what == 1:
            board.apply(started(file_id, size), step, AT)
            table[file_id] = (UPLOADING, 0)
        elif what == 2:
            board.apply(waiting(file_id), step, AT)
            table[file_id] = (WAITING, 0)
        elif what == 3:
            board.apply(events.UploadPaused(file_id, 0), step, AT)
            table[file_id] = (PAUSED, 0)
        elif what == 4:
            board.apply(events.UploadProgressed(file_id, 10, 20, size, 5), step, AT)
        else:
            over = completed(file_id) if chance.random() < 0.5 else cancelled(file_id)
            board.apply(over, step, AT)
            table.pop(file_id, None)
            ended[UploadState.CANCELLED if isinstance(over, events.UploadCancelled) else UploadState.COMPLETE] += 1
        assert counts(board) == Counter(state for state, _ in table.values())
        assert board.queued_bytes == sum(left for _, left in table.values())
        for state in UNDER_WAY:
            assert {upload.file_id for upload in board.first(state, 99)} == {
                file_id for file_id, row in table.items() if row[0] is state
            }
    assert board.totals.ended == ended


def test_more_uploads_than_there_is_room_for_are_still_counted_and_weighed() -> None:
    board = Board()
    for number in range(KNOWN_LIMIT + 5000):
        board.apply(queued(f"q{number}", size=3), 100, AT)
    assert board.count(QUEUED) == KNOWN_LIMIT + 5000
    assert board.queued_bytes == 3 * (KNOWN_LIMIT + 5000)
    assert len(board.queue) == KNOWN_LIMIT
    for number in range(KNOWN_LIMIT + 5000):
        board.apply(started(f"q{number}", size=3), 100, AT)
        board.apply(completed(f"q{number}"), 100, AT)
    assert (counts(board), board.queued_bytes) == ({}, 0)
    assert len(board.finished) == FINISHED_KEPT


def test_the_time_left_does_not_jump_with_the_rate() -> None:
    board = board_of(started("a", 1000 * MIB), now=0)
    sent, shown = 0, []
    for step in range(1, 400):
        rate = 10 * MIB if step % 8 < 6 else 1 * MIB
        sent += rate // 4
        board.apply(events.UploadProgressed("a", 0, sent, 1000 * MIB, rate), step / 4, AT)
        shown.append(board.first(UPLOADING, 1)[0].left_s)
    later = [left for left in shown[100:] if left is not None]
    assert len(later) == len(shown[100:])
    assert all(abs(after - before) < 0.06 * before + 1 for before, after in pairwise(later))


def test_after_a_long_wait_for_a_confirmation_the_time_left_is_that_of_the_rate_of_now() -> None:
    board = board_of(started("a", 100 * MIB), now=0)
    for second in range(1, 10):
        board.apply(events.UploadProgressed("a", 0, second * MIB, 100 * MIB, MIB, second * MIB), second, AT)
    board.apply(events.UploadProgressed("a", 0, 10 * MIB, 100 * MIB, 0, 10 * MIB, confirming=True), 10, AT)
    assert [one.left_s for one in board] == [None]
    rate = MIB // 10
    board.apply(events.UploadProgressed("a", 10 * MIB, 10 * MIB + 1, 100 * MIB, rate, 10 * MIB + 1), 40, AT)
    assert 800 < (board.first(UPLOADING, 1)[0].left_s or 0) < 1000


def test_nobody_can_tell_how_long_an_upload_takes_that_does_not_move() -> None:
    board = board_of(started("a", 100), events.UploadProgressed("a", 0, 0, 100, 0))
    assert board.first(UPLOADING, 1)[0].left_s is None


def test_the_connection_tells_its_age_its_reason_and_the_next_try() -> None:
    board = board_of(events.StreamConnected("sse", resumed=True, latest="k/1"), now=10)
    assert (board.connection.state, board.connection.since, board.connection.transport) == ("connected", 10, "sse")
    board.apply(events.StreamLost("reset by peer", 4.0, 1), 20, AT)
    board.apply(events.StreamLost("refused", 8.0, 2), 25, AT)
    link = board.connection
    assert (link.state, link.since, link.reason, link.next_try_at) == ("waiting", 20, "refused", 33)
    board.apply(events.AgentParked("newer-epoch", 600.0), 30, AT)
    assert (board.connection.state, board.connection.next_try_at) == ("parked", 630)
    board.apply(events.StreamConnected("sse", resumed=True, latest="k/1"), 700, AT)
    assert (board.connection.state, board.connection.reason) == ("connected", "")


def test_trouble_with_messages_is_shown_until_no_other_try_failed_and_errors_stay() -> None:
    board = board_of(events.SenderHeldUp("503", 8.0, 12), now=100)
    assert [trouble.next_try_at for trouble in board.troubles(107)] == [108]
    board.apply(events.SenderHeldUp("503", 20.0, 13), 108, AT)
    assert len(board.troubles(128)) == 1
    assert board.troubles(128 + GRACE_S) == []
    board.apply(events.StreamLost("no connection: refused", 9.0, 1), 129, AT)
    board.apply(events.SenderHeldUp("no connection: refused", 9.0, 0), 129, AT)
    assert board.troubles(130) == [], "that there is no connection is told already, and nothing waits"
    board.apply(events.SenderHeldUp("no connection: refused", 9.0, 1), 129, AT)
    assert [t.text for t in board.troubles(130)] == ["no message reaches the control plane, 1 waits"]
    board.apply(events.SenderHeldUp("503", 9.0, 7), 129, AT)
    assert [t.text for t in board.troubles(130)] == ["no message reaches the control plane, 7 wait: 503"]
    board.apply(events.StreamConnected("sse", resumed=True, latest="k/1"), 130, AT)
    board.apply(events.SenderHeldUp("503", 0.0, 0), 130, AT)
    assert [t.text for t in board.troubles(130)] == ["no message reaches the control plane: 503"]
    board = board_of()
    board.apply(events.MessageBuried("m", "UPLOAD_FAILED", "422"), 130, AT)
    board.apply(events.MessageBuried("n", "ACK", "413"), 131, AT)
    assert ["messages refused for good: 2; the last, ACK: 413" in t.text for t in board.troubles(9999)] == [True]


def test_a_refused_command_is_shown_with_its_true_reason_and_a_carried_out_one_is_not() -> None:
    board = board_of(
        events.CommandFinished("c1", "LIST_FILES", "completed", "", ""),
        events.CommandFinished("c2", "UPLOAD_START", "rejected", "NOT_FOUND", "/etc/shadow is outside"),
    )
    assert [(item.name, item.state, item.reason) for item in board.finished] == [
        ("UPLOAD_START", "rejected", "NOT_FOUND: /etc/shadow is outside")
    ]


def test_a_refused_command_names_the_file_and_who_asked() -> None:
    refused = ("rejected", "WRONG_STATE", "the upload is complete")
    board = board_of(
        events.CommandFinished("c1", "UPLOAD_RESUME", *refused, file_name="a.bin", actor="Ann"),
        events.CommandFinished("c2", "UPLOAD_PAUSE", *refused, file_name="b.bin"),
        events.CommandFinished("c3", "LIST_FILES", "rejected", "TOO_MANY", "256 wait", actor="Ben"),
        events.CommandFinished("c4", "UPLOAD_START", "rejected", "NOT_FOUND", "'../x': it is a link", file_name="../x"),
    )
    assert [(item.name, item.why) for item in board.finished] == [
        ("a.bin", "WRONG_STATE: the upload is complete (UPLOAD_RESUME by Ann)"),
        ("b.bin", "WRONG_STATE: the upload is complete (UPLOAD_PAUSE)"),
        ("LIST_FILES", "TOO_MANY: 256 wait (by Ben)"),
        ("../x", "NOT_FOUND: it is a link (UPLOAD_START)"),
    ]


def test_an_event_that_shows_nothing_changes_no_revision() -> None:
    board = board_of(queued("a"))
    before = board.revision
    board.apply(events.CommandRepeated("c1"), 101, AT)
    assert board.revision == before
    board.apply(events.MessageShown("demo", "hi", mine=False), 101, AT)
    assert board.revision == before + 1


def test_what_a_person_here_paused_and_somebody_far_away_resumed_is_told_with_the_name_of_who_did_it() -> None:
    board = board_of(started("a", 100), started("b", 100), now=100)
    for file_id in ("a", "b"):
        board.apply(events.UploadPaused(file_id, 5, here=True), 101, AT)
    assert all(upload.is_paused_here for upload in board.first(PAUSED, 9))
    board.apply(events.UploadQueued("a", "a.bin", 100, 5, 5, "resumed", overruled_by="Ann"), 102, AT)
    assert [(t.text, t.is_overruling) for t in board.troubles(102 + 60)] == [
        ("Ann resumed what was paused here: a.bin", True)
    ]
    board.apply(events.UploadQueued("b", "b.bin", 100, 5, 5, "resumed", overruled_by="Ben"), 103, AT)
    assert [t.text for t in board.troubles(103 + 60)] == ["Ben resumed what was paused here: b.bin and 1 more"]
    assert board.troubles(103 + 600) == []


def test_what_was_paused_here_and_resumed_here_is_no_news() -> None:
    board = board_of(started("a"), events.UploadPaused("a", 5, here=True), queued("a", why="resumed"))
    assert board.troubles(100) == []


def test_the_list_is_in_the_order_in_which_it_is_shown_and_knows_where_each_stands() -> None:
    board = board_of(queued("q", priority=2), queued("urgent", priority=8), started("w"), waiting("w"), started("u"))
    board.apply(events.UploadPaused("p", 0), 101, AT)
    listed = [upload.file_id for upload in board]
    assert listed == ["u", "w", "p", "urgent", "q"]
    assert [board.position(file_id) for file_id in listed] == [0, 1, 2, 3, 4]
    assert (board.position("nobody"), len(board)) == (None, 5)


def test_the_time_left_for_all_counts_the_queue_too() -> None:
    board = board_of(started("a", 100), queued("b", 300))
    assert board.left_s is None
    board.apply(events.UploadProgressed("a", 0, 50, 100, 10), 101, AT)
    assert board.left_s == 35
    board.apply(events.UploadProgressed("a", 0, 50, 100, 0), 102, AT)
    assert board.left_s is None, "nothing moves"


def test_bytes_that_only_fill_the_buffers_on_the_way_promise_no_early_end() -> None:
    board = board_of(started("a", 100), progress("a", 0, 50, 50, rate=1000), now=100)
    assert [one.left_s for one in board] == [None]
    board.apply(progress("a", 0, 51, 51, rate=1), 100 + BURST_S, AT)
    assert [one.left_s for one in board] == [None], "at a byte a second nobody can tell"
    board.apply(progress("a", 0, 60, 60, rate=2), 101 + BURST_S, AT)
    assert [one.left_s for one in board] != [None]


def test_progress_that_says_nothing_new_shows_nothing_new() -> None:
    board = board_of(started("a", 100), progress("a", 0, 10, 10))
    before = board.revision
    board.apply(progress("a", 0, 10, 10), 101, AT)
    board.apply(progress("nobody", 0, 10, 10), 101, AT)
    assert board.revision == before
    board.apply(progress("a", 0, 11, 11), 101, AT)
    assert board.revision == before + 1


def test_what_is_confirmed_stands_until_the_tus_server_says_otherwise() -> None:
    board = board_of(queued("a", 100, why="resumed", offset=40))
    assert [(one.offset, one.bytes_sent) for one in board] == [(40, 40)]
    board.apply(started("a", 100, offset=40), 101, AT)
    assert [(one.offset, one.bytes_sent) for one in board] == [(40, 40)]
    board.apply(located("a", 20), 102, AT)
    assert [(one.offset, one.bytes_sent) for one in board] == [(20, 20)]


def test_the_next_try_is_the_one_that_was_told_last() -> None:
    board = board_of(started("a"), waiting("a"))
    later = AT + timedelta(minutes=5)
    board.apply(events.UploadPostponed("a", "a.bin", later), 101, AT)
    assert [one.next_try_at for one in board.first(WAITING, 9)] == [later]
    board.apply(events.UploadPostponed("nobody", "x", later), 101, AT)
    assert len(board) == 1


def test_an_upload_from_before_the_start_is_never_shown_by_its_id_alone() -> None:
    old = events.AgentStarted("1", "c", "https://c", 2, {"queued": 1, "waiting": 1}, 300)
    board = board_of(old)
    board.apply(events.UploadPaused("p", 5, file_name="p.bin", size=10), 101, AT)
    board.apply(events.UploadWaiting("w", 5, "423", AT, 1, "w.bin", 20), 101, AT)
    assert [(one.name, one.size, one.bytes_left) for one in board] == [("w.bin", 20, 15), ("p.bin", 10, 5)]
    board.apply(failed("f"), 102, AT)
    board.apply(cancelled("c"), 102, AT)
    assert [(one.name, one.size) for one in board.finished] == [("f.bin", 10), ("c.bin", 10)]


def test_failed_uploads_have_their_names_and_reasons_from_before_the_start_as_well() -> None:
    board = board_of(events.AgentStarted("1", "c", "https://c", 2, {"failed": 3, "paused": 1}, 0))
    assert board.count(UploadState.FAILED) == 3
    old = [Upload(one, f"{one}.bin", 10, 0, UploadState.FAILED, reason="NO_PROGRESS: 24 h") for one in ("new", "older")]
    board.name_failed(old)
    assert (list(board.failed), board.count(UploadState.FAILED)) == (["older", "new"], 3)
    board.apply(started("a"), 101, AT)
    board.apply(failed("a", retryable=False), 102, AT)
    assert (board.failed["a"].reason, board.failed["a"].is_retryable) == ("NO_PROGRESS: 24 h", False)
    board.apply(queued("new", why="retried"), 103, AT)
    board.apply(cancelled("older"), 103, AT)
    assert (list(board.failed), board.count(UploadState.FAILED), board.count(PAUSED)) == (["a"], 2, 1)
    board.apply(queued("unnamed", why="retried"), 104, AT)
    assert (board.count(UploadState.FAILED), board.count(QUEUED)) == (1, 2)


def test_of_failed_uploads_the_last_ones_are_kept_and_the_others_counted() -> None:
    board = Board()
    for number in range(FAILED_KEPT + 5):
        board.apply(failed(f"f{number}"), 100, AT)
    assert (len(board.failed), board.count(UploadState.FAILED)) == (FAILED_KEPT, FAILED_KEPT + 5)
    assert "f4" not in board.failed


def test_who_cancelled_is_told() -> None:
    board = board_of(cancelled("a", here=True), cancelled("b", actor="Ann"), cancelled("c"))
    told = ["cancelled here", "cancelled from afar by Ann", "cancelled from afar"]
    assert [one.reason for one in board.finished] == told
