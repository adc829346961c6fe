"""The conformance suite of engines: the same tests on SQLite and on a real Redis, through the interface."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from sse_agent.control_plane.engine import (
    PAGE_BYTES,
    PAGE_COUNT,
    AckNews,
    Engine,
    Greeting,
    Order,
    Report,
    Speaker,
    Superseded,
    UploadNews,
    Verdict,
)
from sse_agent.control_plane.problems import (
    AgentDeleted,
    IdempotencyKeyReused,
    NewerEpoch,
    QueueFull,
    UnknownAgent,
    UnknownCommand,
)
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Make, Whole, on_sqlite

ME = "agent-1"
FIRST = Speaker("journal-1", 1, "instance-1")
LATER = Speaker("journal-1", 2, "instance-2")
NEW = Speaker("journal-2", 1, "instance-3")


made = on_sqlite
"""For tests of what is above an engine: they need one, not both."""


def order(name: str, body: bytes = b"{}") -> Order:
    return Order(name, hashlib.sha256(body).digest(), name, "HEARTBEAT", body, None, None)


def report(
    name: str,
    kind: str = "NOTE",
    body: bytes = b'{"payload": {}}',
    ack: AckNews | None = None,
    upload: UploadNews | None = None,
    answers: str | None = None,
) -> Report:
    return Report(name, kind, "2026-11-22T10:30:00Z", answers, body, hashlib.sha256(body).digest(), ack, upload)


def ack(name: str, status: str) -> Report:
    return report(f"ack-{name}-{status}", "ACK", ack=AckNews(name, status))


def news(revision: int, state: str, n: int = 0) -> UploadNews:
    return UploadNews("file-1", revision, n, state, {"offset": revision, "fileSize": 9})


async def queued(engine: Engine, *names: str) -> None:
    for name in names:
        await engine.queue(ME, order(name))


async def taken(engine: Engine, speaker: Speaker, greeting: Greeting) -> list[str]:
    page = await engine.take(ME, speaker, greeting.ticket, after_n=greeting.after_n)
    return [command.event_id.rpartition("/")[2] for command in page]


async def statuses(engine: Engine, *names: str) -> list[str]:
    return [(await engine.command(name)).status for name in names]


async def test_commands_come_in_order_without_holes_from_behind_the_cursor(engine: Whole) -> None:
    await queued(engine, "a", "b", "c")
    first = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(engine, FIRST, first) == ["1", "2", "3"]
    again = await engine.claim(ME, FIRST, f"{first.numbering}/2", opens_stream=True)
    assert (again.reason, await taken(engine, FIRST, again)) == (None, ["3"])


async def test_the_newest_stream_and_the_newest_epoch_are_the_only_ones_that_get_commands(engine: Whole) -> None:
    older = await engine.claim(ME, FIRST, None, opens_stream=True)
    newer = await engine.claim(ME, FIRST, None, opens_stream=True)
    await queued(engine, "a")
    with pytest.raises(Superseded):
        await taken(engine, FIRST, older)
    assert await taken(engine, FIRST, newer) == ["1"]
    await engine.verify(ME, LATER)
    with pytest.raises(Superseded):
        await taken(engine, FIRST, newer)
    for refused in (FIRST, replace(LATER, instance="clone")):
        with pytest.raises(NewerEpoch):
            await engine.claim(ME, refused, None, opens_stream=True)
        with pytest.raises(NewerEpoch):
            await engine.record(ME, refused, [report("m")])


async def test_of_a_lost_journal_what_was_sent_is_unknown_and_only_the_rest_is_sent(engine: Whole) -> None:
    await queued(engine, "a", "b")
    await taken(engine, FIRST, await engine.claim(ME, FIRST, None, opens_stream=True))
    await engine.record(ME, FIRST, [ack("a", "completed")])
    await queued(engine, "c")
    reset = await engine.claim(ME, NEW, None, opens_stream=True)
    assert (reset.reason, reset.after_n) == ("journal-lost", 2)
    assert await statuses(engine, "a", "b", "c") == ["completed", "unknown", "queued"]
    # HELLO was lost: it is said again, although something more was sent meanwhile.
    assert await taken(engine, NEW, reset) == ["3"]
    again = await engine.claim(ME, NEW, None, opens_stream=True)
    assert (again.reason, again.after_n, again.since) == ("journal-lost", 2, reset.since)
    after = await engine.claim(ME, NEW, f"{reset.numbering}/2", opens_stream=True)
    assert (after.reason, await taken(engine, NEW, after)) == (None, ["3"])
    with pytest.raises(NewerEpoch):
        await engine.claim(ME, replace(FIRST, epoch=99), None, opens_stream=True)


async def test_a_readmitted_machine_gets_one_reset_and_a_late_answer_still_counts(engine: Whole) -> None:
    await queued(engine, "a", "b")
    greeting = await engine.claim(ME, LATER, None, opens_stream=True)
    await taken(engine, LATER, greeting)
    with pytest.raises(NewerEpoch):
        await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.readmit(ME, "key", b"digest")
    reset = await engine.claim(ME, FIRST, f"{greeting.numbering}/1", opens_stream=True)
    assert (reset.reason, reset.after_n) == ("readmitted", 2)
    assert await statuses(engine, "a", "b") == ["sent", "unknown"]
    await engine.record(ME, FIRST, [ack("b", "failed")])
    assert await statuses(engine, "b") == ["failed"]


async def test_an_older_state_with_a_higher_epoch_is_not_sent_what_a_later_life_did(engine: Whole) -> None:
    await queued(engine, "a", "b", "c")
    first = await engine.claim(ME, FIRST, None, opens_stream=True)
    await taken(engine, FIRST, first)
    await engine.record(ME, FIRST, [ack("a", "completed"), ack("b", "accepted")])
    for cursor in (None, f"{first.numbering}/1"):
        later = await engine.claim(ME, LATER, cursor, opens_stream=True)
        assert (later.reason, later.after_n) == ("readmitted", 3)
        assert await taken(engine, LATER, later) == []
    assert await statuses(engine, "a", "b", "c") == ["completed", "unknown", "unknown"]
    await queued(engine, "d")
    settled = await engine.claim(ME, LATER, f"{first.numbering}/3", opens_stream=True)
    assert (settled.reason, await taken(engine, LATER, settled)) == (None, ["4"])


async def test_a_later_start_that_is_not_behind_just_goes_on(engine: Whole) -> None:
    await queued(engine, "a", "b")
    first = await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.record(ME, FIRST, [ack("a", "completed")])
    later = await engine.claim(ME, LATER, f"{first.numbering}/1", opens_stream=True)
    assert (later.reason, await taken(engine, LATER, later)) == (None, ["2"])


async def test_what_a_later_life_completed_stands_whatever_a_restored_one_says_of_it(engine: Whole) -> None:
    await engine.claim(ME, LATER, None, opens_stream=True)
    await engine.record(ME, LATER, [report("done", "UPLOAD_COMPLETE", b"{}", upload=news(5, "complete"))])
    await engine.readmit(ME, "key", b"digest")
    await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.record(ME, FIRST, [report("failed", "UPLOAD_FAILED", b"[]", upload=news(9, "failed"))])
    (upload,) = await engine.uploads(ME, after="", limit=10)
    assert (upload.state, upload.is_lost) == ("complete", False)


async def test_what_a_restored_machine_posts_first_does_not_move_the_instant_it_reports_from(
    engine: Whole, clock: FakeClock
) -> None:
    await engine.record(ME, LATER, [report("before")])
    await engine.readmit(ME, "key", b"digest")
    clock.advance(timedelta(days=40).total_seconds())
    await engine.record(ME, FIRST, [replace(report("after"), timestamp="2027-01-01T10:30:00Z")])
    reset = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert reset.since == "2026-11-21T10:30:00.000Z"


async def test_a_cursor_from_the_future_gives_the_queue_new_numbers(engine: Whole) -> None:
    await queued(engine, "a")
    before = await engine.claim(ME, FIRST, None, opens_stream=True)
    reset = await engine.claim(ME, FIRST, f"{before.numbering}/7", opens_stream=True)
    assert (reset.reason, reset.numbering == before.numbering) == ("unknown-cursor", False)
    assert await taken(engine, FIRST, reset) == ["1"]


async def test_keys_stand_across_a_restart(make: Make) -> None:
    body, other = b'{"payload": 1}', b'{"payload": 2}'
    expected = {1: (Verdict.RECORDED, False), 2: (Verdict.REPEATED, True)}
    for run, (verdict, is_repeated) in expected.items():
        engine = make()
        await engine.open()
        await engine.enlist([ME])
        assert await engine.record(ME, FIRST, [report("m", body=body)]) == [verdict], run
        assert await engine.record(ME, FIRST, [report("m", body=other)]) == [Verdict.CONFLICT]
        ticket = await engine.queue(ME, order("c", body))
        assert (ticket.is_repeated, ticket.event_id.endswith("/1")) == (is_repeated, True)
        with pytest.raises(IdempotencyKeyReused):
            await engine.queue(ME, order("c", other))
        assert len(await engine.messages(ME, after=0, limit=10, types=[])) == 1
        await engine.close()


async def test_a_full_queue_refuses_drops_nothing_and_takes_again_when_one_is_acknowledged(
    engine: Whole,
) -> None:
    await queued(engine, *"abcde")
    with pytest.raises(QueueFull):
        await queued(engine, "f")
    assert (await engine.queue(ME, order("a"))).is_repeated
    assert await taken(engine, FIRST, await engine.claim(ME, FIRST, None, opens_stream=True)) == list("12345")
    await engine.record(ME, FIRST, [ack("a", "accepted")])
    await queued(engine, "f")


async def test_of_two_events_about_an_upload_the_higher_revision_counts_and_of_two_progresses_the_higher_n(
    engine: Whole,
) -> None:
    async def state(*reports: Report) -> tuple[str, int]:
        await engine.record(ME, FIRST, list(reports))
        (upload,) = await engine.uploads(ME, after="", limit=10)
        return upload.state, upload.revision

    def progress(name: str, what: UploadNews) -> Report:
        return report(name, "UPLOAD_PROGRESS", upload=what)

    assert await state(progress("p1", news(2, "waiting", n=2)), progress("p2", news(2, "uploading", n=1))) == (
        "waiting",
        2,
    )
    assert await state(report("e1", "UPLOAD_PAUSED", upload=news(3, "paused"))) == ("paused", 3)
    assert await state(report("e2", "UPLOAD_RESUMED", upload=news(2, "queued"))) == ("paused", 3)
    assert await state(progress("p3", news(2, "uploading", n=9))) == ("paused", 3)
    assert await state(report("e3", "UPLOAD_COMPLETE", upload=news(6, "complete"))) == ("complete", 6)
    assert await state(progress("p4", news(6, "uploading", n=99))) == ("complete", 6)


async def test_the_size_of_an_upload_is_known_also_when_its_end_does_not_tell_it(engine: Whole) -> None:
    async def size(name: str, kind: str, what: UploadNews) -> tuple[str, int | None]:
        await engine.record(ME, FIRST, [report(name, kind, upload=what)])
        (upload,) = await engine.uploads(ME, after="", limit=10)
        return upload.state, upload.file_size

    assert await size("p", "UPLOAD_PROGRESS", news(2, "uploading", n=1)) == ("uploading", 9)
    paused, cancelled = (
        UploadNews("file-1", number, 0, state, {}) for number, state in ((3, "paused"), (4, "cancelled"))
    )
    assert await size("e1", "UPLOAD_PAUSED", paused) == ("paused", 9)
    assert await size("e2", "UPLOAD_CANCELLED", cancelled) == ("cancelled", 9)


async def test_an_old_status_that_is_repeated_does_not_replace_the_new_one(engine: Whole) -> None:
    old, new = (
        report(name, "CLIENT_STATUS", b'{"timestamp": "t", "payload": {"is": "%s"}}' % name.encode())
        for name in ("old", "new")
    )
    verdicts = await engine.record(ME, FIRST, [old, new])
    verdicts = [*verdicts, *await engine.record(ME, FIRST, [old])]
    assert verdicts == [Verdict.RECORDED, Verdict.RECORDED, Verdict.REPEATED]
    assert (await engine.agent(ME)).status == {"is": "new"}


async def test_a_deleted_agent_is_gone_for_ever_and_another_is_not(engine: Whole) -> None:
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await queued(engine, "a")
    await engine.delete(ME)
    await engine.delete(ME)
    await engine.enlist([ME])
    with pytest.raises(Superseded):
        await taken(engine, FIRST, greeting)
    for call in (engine.claim(ME, FIRST, None, opens_stream=True), engine.record(ME, FIRST, [report("m")])):
        with pytest.raises(AgentDeleted):
            await call
    assert await statuses(engine, "a") == ["unknown"]
    assert [agent.client_id for agent in await engine.agents(after="", limit=9)] == ["agent-2"]
    with pytest.raises(UnknownAgent):
        await engine.agent("nobody")


async def test_pruning_leaves_what_is_open_and_no_hole(engine: Whole, clock: FakeClock) -> None:
    await queued(engine, "a", "b", "c")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await taken(engine, FIRST, greeting)
    await engine.record(ME, FIRST, [ack("a", "completed"), ack("c", "completed")])
    clock.advance(timedelta(days=100).total_seconds())
    await engine.prune()
    again = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert (again.floor_n, await taken(engine, FIRST, again)) == (2, ["2", "3"])
    reset = await engine.claim(ME, FIRST, f"{again.numbering}/0", opens_stream=True)
    assert reset.reason == "unknown-cursor"


async def test_one_work_that_fails_takes_nothing_of_its_group_with_it(engine: Whole) -> None:
    outcomes: dict[str, str] = {}

    async def attempt(client_id: str, name: str) -> None:
        try:
            outcomes[name] = (await engine.queue(client_id, order(name))).command_id
        except UnknownAgent:
            outcomes[name] = "unknown"

    async with anyio.create_task_group() as group:
        for client_id, name in ((ME, "a"), ("nobody", "b"), (ME, "c")):
            group.start_soon(attempt, client_id, name)
    assert outcomes == {"a": "a", "b": "unknown", "c": "c"}
    assert (await engine.agent(ME)).queue.waiting == 2


async def test_a_page_of_commands_is_bounded_in_number_and_in_bytes(make: Make, clock: FakeClock) -> None:
    engine = make()
    await engine.open()
    await engine.enlist([ME])
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    for large in (False, True):
        after_n = greeting.after_n
        for number in range(PAGE_COUNT + 1 if not large else 5):
            body = b'{"x": "%s"}' % (b"x" * (60_000 if large else 1))
            ticket = await engine.queue(ME, order(f"{large}-{number}", body))
            if not large and number % 5 == 4:
                # The queue is short: what is queued must have been passed before more is.
                await engine.record(ME, FIRST, [ack(ticket.command_id, "accepted")])
        page = await engine.take(ME, FIRST, greeting.ticket, after_n=after_n)
        sizes = [len(command.body) for command in page]
        assert len(page) == (4 if large else PAGE_COUNT)
        assert sum(sizes) <= PAGE_BYTES
        rest = await engine.take(ME, FIRST, greeting.ticket, after_n=page[-1].n)
        assert [command.n for command in rest] == [page[-1].n + 1]
        await engine.record(ME, FIRST, [ack(f"{large}-{number}", "accepted")])
        greeting = replace(greeting, after_n=rest[-1].n)
    await engine.close()


async def test_answers_are_found_with_the_command_also_where_the_agent_only_knows_its_place(engine: Whole) -> None:
    await queued(engine, "a", "b")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await taken(engine, FIRST, greeting)
    body = b'{"timestamp": "t", "payload": {"entries": []}}'
    await engine.record(ME, FIRST, [report("r", "FILE_LIST", body, answers="a"), ack("a", "completed")])
    place = f"{greeting.numbering}/2"
    refusal = replace(
        report("x", "ACK", ack=AckNews(place, "rejected", {"code": "INVALID_ENVELOPE"})), in_reply_to=place
    )
    await engine.record(ME, FIRST, [refusal, report("y", "ACK", ack=AckNews("nobody's", "failed"), answers="nobody's")])
    first, second = await engine.command("a"), await engine.command("b")
    assert [reply["payload"] for reply in first.replies] == [{"entries": []}]
    assert (second.outcome, second.error, second.replies) == ("rejected", {"code": "INVALID_ENVELOPE"}, [])
    assert (await engine.agent(ME)).queue.waiting == 0
    # The first outcome stands.
    await engine.record(ME, FIRST, [ack("a", "failed")])
    assert (await engine.command("a")).outcome == "completed"
    with pytest.raises(UnknownCommand):
        await engine.command("nobody's")


async def test_what_was_reported_is_read_in_order_by_agent_by_type_and_by_all(engine: Whole) -> None:
    other = Speaker("journal-9", 1, "instance-9")
    for number in range(6):
        who, speaker = (ME, FIRST) if number % 2 else ("agent-2", other)
        await engine.record(
            who, speaker, [report(f"m{number}", "LATE" if number > 3 else "EARLY", b'{"k": %d}' % number)]
        )
    feed = await engine.feed(after=0, limit=4)
    assert [(record.client_id, record.message["k"]) for record in feed] == [
        ("agent-2", 0),
        (ME, 1),
        ("agent-2", 2),
        (ME, 3),
    ]
    assert [record.message["k"] for record in await engine.feed(after=feed[-1].n, limit=4)] == [4, 5]
    assert [record.n for record in feed] == sorted({record.n for record in feed})
    assert (await engine.feed(after=0, limit=9))[-1].n == await engine.feed_end()
    mine = await engine.messages(ME, after=0, limit=2, types=[])
    assert [record.message["k"] for record in mine] == [1, 3]
    assert [record.message["k"] for record in await engine.messages(ME, after=mine[-1].n, limit=2, types=[])] == [5]
    assert [record.message["k"] for record in await engine.messages(ME, after=0, limit=2, types=["LATE"])] == [5]


async def test_a_message_of_a_batch_that_conflicts_holds_up_none_of_the_others(engine: Whole) -> None:
    await engine.record(ME, FIRST, [report("a", body=b'{"k": 1}')])
    again = [report("a", body=b'{"k": 2}'), report("b"), report("a", body=b'{"k": 1}'), report("b")]
    verdicts = await engine.record(ME, FIRST, again)
    assert verdicts == [Verdict.CONFLICT, Verdict.RECORDED, Verdict.REPEATED, Verdict.REPEATED]
    assert len(await engine.messages(ME, after=0, limit=9, types=[])) == 2


async def test_keys_of_progress_are_remembered_for_a_while(engine: Whole) -> None:
    progress, other = (
        report("p", "UPLOAD_PROGRESS", body, upload=news(1, "uploading", n=1)) for body in (b'{"k": 1}', b'{"k": 2}')
    )
    verdicts = [*await engine.record(ME, FIRST, [progress]), *await engine.record(ME, FIRST, [progress, other])]
    assert verdicts == [Verdict.RECORDED, Verdict.REPEATED, Verdict.CONFLICT]
    assert await engine.feed_end() == 0


async def test_uploads_of_a_lost_journal_are_lost_until_the_new_one_speaks_of_them(engine: Whole) -> None:
    def named(file_id: str, revision: int, state: str) -> UploadNews:
        return UploadNews(file_id, revision, 0, state, {"offset": revision, "fileSize": 9})

    async def seen(*, after: str = "", limit: int = 9) -> list[tuple[str, str, bool]]:
        found = await engine.uploads(ME, after=after, limit=limit)
        return [(upload.file_id, upload.state, upload.is_lost) for upload in found]

    await engine.record(ME, FIRST, [report("1", "UPLOAD_PAUSED", upload=named("b", 7, "paused"))])
    await engine.record(ME, FIRST, [report("2", "UPLOAD_COMPLETE", upload=named("a", 9, "complete"))])
    await engine.record(ME, FIRST, [report("3", "UPLOAD_PROGRESS", upload=named("c", 3, "uploading"))])
    assert await seen(limit=2) == [("a", "complete", False), ("b", "paused", False)]
    assert await seen(after="b") == [("c", "uploading", False)]
    await engine.verify(ME, NEW)
    assert await seen() == [("a", "complete", False), ("b", "paused", True)]
    connected = replace(
        report("4", "CLIENT_CONNECTED", b'{"timestamp": "t", "payload": {}}'), uploads=(named("b", 1, "queued"),)
    )
    await engine.record(ME, NEW, [connected])
    assert await seen() == [("a", "complete", False), ("b", "queued", False)]


async def test_a_cursor_that_is_told_on_connecting_makes_room_unless_a_reset_stands(engine: Whole) -> None:
    await queued(engine, "a", "b")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await taken(engine, FIRST, greeting)

    def connected(name: str, n: int) -> Report:
        cursor = f"{greeting.numbering}/{n}"
        return replace(report(name, "CLIENT_CONNECTED", b'{"timestamp": "t", "payload": {}}'), cursor=cursor)

    await engine.record(ME, FIRST, [connected("1", 1)])
    assert (await engine.agent(ME)).queue.waiting == 1
    await queued(engine, "c")
    await engine.record(ME, NEW, [connected("2", 3)])
    assert (await engine.agent(ME)).queue.waiting == 2


async def test_agents_come_in_pages_and_their_keys_of_services_are_one_space(engine: Whole) -> None:
    await engine.enlist(["agent-3", "agent-2", "Agent"])
    assert [agent.client_id for agent in await engine.agents(after="", limit=3)] == ["Agent", "agent-1", "agent-2"]
    assert [agent.client_id for agent in await engine.agents(after="agent-2", limit=3)] == ["agent-3"]
    await engine.readmit(ME, "key", b"digest")
    await engine.readmit(ME, "key", b"digest")
    assert (await engine.agent(ME)).is_readmitted
    with pytest.raises(IdempotencyKeyReused):
        await engine.readmit(ME, "key", b"other")
    with pytest.raises(IdempotencyKeyReused):
        await engine.queue(ME, order("key"))
    with pytest.raises(UnknownAgent):
        await engine.queue("nobody", order("other"))


async def test_old_reports_are_forgotten_and_new_ones_keep_their_numbers(engine: Whole, clock: FakeClock) -> None:
    await engine.record(ME, FIRST, [report("a")])
    clock.advance(timedelta(days=89).total_seconds())
    await engine.record(ME, FIRST, [report("b")])
    clock.advance(timedelta(days=2).total_seconds())
    await engine.prune()
    (left,) = await engine.feed(after=0, limit=9)
    assert left.n == await engine.feed_end() > 1
    assert [record.n for record in await engine.messages(ME, after=0, limit=9, types=[])] == [left.n]
    assert await engine.record(ME, FIRST, [report("a")]) == [Verdict.REPEATED]


async def test_what_an_agent_has_not_passed_is_kept_however_old_it_is(engine: Whole, clock: FakeClock) -> None:
    await queued(engine, "a", "b")
    clock.advance(timedelta(days=100).total_seconds())
    await engine.prune()
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(engine, FIRST, greeting) == ["1", "2"]
    await engine.record(ME, FIRST, [ack("b", "accepted")])
    await engine.prune()
    again = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(engine, FIRST, again) == ["1", "2"]


async def test_many_at_once_get_numbers_without_holes_and_a_key_queues_once(engine: Whole) -> None:
    tickets: list[str] = []

    async def order_one(name: str) -> None:
        tickets.append((await engine.queue(ME, order(name))).event_id)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(order_one, f"c{number % 5}")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    assert await taken(engine, FIRST, greeting) == list("12345")
    assert {ticket.rpartition("/")[2] for ticket in tickets} == set("12345")
    assert len(tickets) == 20


async def test_two_clones_that_claim_at_once_are_not_both_let_in(engine: Whole) -> None:
    let_in: list[str] = []

    async def look() -> None:
        assert not (await engine.agent(ME)).is_readmitted

    async def claim(instance: str) -> None:
        try:
            await engine.verify(ME, Speaker("journal-1", 1, instance))
        except NewerEpoch:
            return
        let_in.append(instance)

    # First something that changes nothing: so that none of them waits for a connection, and all look before one acts.
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(look)
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(claim, f"clone-{number}")
    assert len(let_in) == 1


async def test_a_call_that_is_cancelled_leaves_its_answer_to_nobody_else(engine: Whole) -> None:
    await queued(engine, "a", "b")
    for turns in range(40):
        call = asyncio.create_task(engine.command("a"))
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await engine.command("b")).id == "b"
