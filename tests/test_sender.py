"""outbox → REST, over a real connection: what goes out, in which order, and what each answer does to the rest."""

import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from sse_agent.credentials import FixedToken
from sse_agent.events import Feed, JournalTrouble, MessageBuried, SenderHeldUp
from sse_agent.journal import Bell, Journal, Transaction, outbox
from sse_agent.lifecycle import UploadState
from sse_agent.messages import BATCH_BYTES_LIMIT, Chat, ClientDisconnected, Envelope, EventType, event
from sse_agent.parking import Parking
from sse_agent.progress import ProgressTable, Reading
from sse_agent.sender import HALVINGS, Sender
from sse_agent.transport import Speaker, Transport
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import ControlPlane, Request, control_plane, retry_after
from tests.doubles.disks import unwritable
from tests.doubles.journals import CLIENT, journal_in
from tests.doubles.witness import Witness

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CAP_S = 60.0
NOT_ALLOWED_CAP_S = 900.0


@dataclass
class Rig:
    """A sender that runs."""

    plane: ControlPlane
    journal: Journal
    clock: FakeClock
    parking: Parking
    witness: Witness
    progress: ProgressTable
    bell: Bell
    sender: Sender
    loop: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self) -> None:
        with self.loop:
            await self.sender.run()

    def envelope(self, message_id: str, kind: EventType = EventType.MESSAGE, text: str = "x") -> Envelope:
        chat = Chat(text=text, from_="test")
        return event(kind, chat, client_id=CLIENT, at=self.clock.now(), message_id=message_id)

    async def put(self, *ids: str, lane: str | None = None, text: str = "x") -> None:
        """Into the outbox, each in the lane of its first letter or in this one; then the sender is told."""

        def put_all(tx: Transaction) -> None:
            for message_id in ids:
                outbox.put(tx, self.envelope(message_id, text=text), lane=lane or message_id[0])

        await self.journal.write(put_all)
        self.bell.ring()

    def announce(self, message_id: str = "hello") -> None:
        self.sender.announce(self.envelope(message_id, EventType.CLIENT_CONNECTED))

    async def greet(self) -> None:
        """Be connected."""
        self.announce()
        await (await self.plane.post()).accept()
        await self.rest()

    async def rest(self) -> None:
        """Until the sender has nothing to do; what it waits for in the journal's thread is something to do."""
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            await self.journal.read(_nothing)
        await anyio.wait_all_tasks_blocked()

    async def pass_by(self, seconds: float) -> None:
        """Time passes, and the sender looks again."""
        await self.rest()
        self.clock.advance(seconds)
        self.bell.ring()

    async def counts(self) -> dict[str, int]:
        counts = await self.journal.read(outbox.counts)
        return {state: count for state, count in counts.items() if count}

    async def emptied(self) -> None:
        """Answer everything until nothing is pending."""
        while (await self.counts()).get("pending"):
            await (await self.plane.post()).accept()
            await self.rest()


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock, feed, witness, bell, progress = FakeClock(), Feed(), Witness(), Bell(), ProgressTable()
    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(60))
        plane = await stack.enter_async_context(control_plane())
        journal = await stack.enter_async_context(journal_in(folder, clock))
        speaker = Speaker(CLIENT, journal.journal_id, journal.epoch, "an-instance")
        transport = await stack.enter_async_context(Transport(plane.url, speaker, FixedToken("secret"), NO_TLS, clock))
        stack.enter_context(feed.listening(witness.listen))
        parking = Parking(on_park=lambda: None)
        sender = Sender(transport.post, journal, feed, clock, parking, bell, progress, client_id=CLIENT)
        async with anyio.create_task_group() as group:
            there = Rig(plane, journal, clock, parking, witness, progress, bell, sender)
            group.start_soon(there.run)
            yield there
            group.cancel_scope.cancel()


def _nothing(_: Transaction) -> None:
    return


def reading(file_id: str, bytes_sent: int, state: UploadState = UploadState.UPLOADING, reason: str = "") -> Reading:
    return Reading(file_id, state, 1, 0, bytes_sent, 1000, reason=reason or None)


# --- the greeting ---


async def test_the_greeting_goes_first_and_while_it_is_being_retried_nothing_else_is_sent(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.put("a1", "b1")
        there.progress.note(reading("f", 1), there.clock.monotonic())
        there.announce()
        for attempt in range(4):
            request = await there.plane.post()
            assert request.types == ["CLIENT_CONNECTED"]
            await request.answer(503)
            held = await there.witness.next(SenderHeldUp)
            assert 0 <= held.wait_s <= 2**attempt
            assert held.pending == 2 + attempt
            await there.put(f"c{attempt}")
            await there.pass_by(held.wait_s)
        request = await there.plane.post()
        await request.accept()
        request = await there.plane.post()
        assert request.ids[:3] == ["a1", "b1", "c0"]


async def test_a_new_connection_hushes_everything_until_its_own_greeting_is_received(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        there.sender.hush()
        await there.put("a1")
        there.announce("hello-2")
        first = await there.plane.post()
        assert first.ids == ["hello-2"]
        there.sender.hush()
        await first.accept()
        await there.rest()
        assert len(there.plane.seen) == 2, "the greeting of a connection that is gone opens nothing"
        there.announce("hello-3")
        third = await there.plane.post()
        assert third.ids == ["hello-3"]
        await third.accept()
        assert (await there.plane.post()).ids == ["a1"]


async def test_a_connection_that_comes_while_the_outbox_is_read_holds_back_what_was_read(tmp_path: Path) -> None:
    async with rig(tmp_path) as there, anyio.create_task_group() as group:
        await there.greet()
        await there.journal.write(outbox.put, there.envelope("a1"), lane="a")
        go_on = threading.Event()
        group.start_soon(there.journal.read, lambda _: go_on.wait(10))
        await anyio.wait_all_tasks_blocked()
        there.bell.ring()
        await anyio.wait_all_tasks_blocked()
        there.sender.hush()
        go_on.set()
        await there.rest()
        there.announce("hello-2")
        assert (await there.plane.post()).ids == ["hello-2"]
        there.loop.cancel()


async def test_a_greeting_that_is_refused_is_shown_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.put("a1")
        there.announce()
        await (await there.plane.post()).problem(422, "invalid-payload")
        assert "422 invalid-payload" in (await there.witness.next(MessageBuried)).reason
        assert (await there.plane.post()).ids == ["a1"]


async def test_a_greeting_that_is_being_recorded_is_not_yet_received(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.put("a1")
        there.announce()
        await (await there.plane.post()).problem(409, "in-progress")
        await there.pass_by((await there.witness.next(SenderHeldUp)).wait_s)
        assert (await there.plane.post()).ids == ["hello"]


# --- order, batches, refusals ---


async def test_messages_of_one_lane_go_out_in_order_and_lanes_together(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.put("a1", "a2", "b1")
        await there.greet()
        sent = []
        for _ in range(2):
            request = await there.plane.post()
            sent.append(request.ids)
            await request.accept()
        await there.rest()
        assert sent == [["a1", "b1"], ["a2"]]
        assert await there.counts() == {}


async def test_what_was_not_answered_goes_out_again_with_the_same_key_and_bytes(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        first = await there.plane.post()
        await first.cut()
        held = await there.witness.next(SenderHeldUp)
        await there.pass_by(held.wait_s)
        await there.pass_by(CAP_S)
        again = await there.plane.post()
        assert again.body == first.body
        assert again.headers["idempotency-key"] == first.headers["idempotency-key"] == "a1"


async def test_one_result_of_a_batch_decides_about_its_own_lane_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.put("a1", "b1", "c1", "a2", "b2", "c2")
        await there.greet()
        request = await there.plane.post()
        assert request.headers["idempotency-key"] == "a1"
        await request.accept(a1=409, b1=422)
        assert (await there.witness.next(MessageBuried)).message_id == "b1"
        request = await there.plane.post()
        assert request.ids == ["b2", "c2"], "a waits for a1, which is being recorded; b1 is a dead letter"
        await request.accept()
        await there.pass_by(1)
        request = await there.plane.post()
        assert request.ids == ["a1"]
        await request.accept()
        await there.emptied()
        assert await there.counts() == {"dead": 1}


async def test_a_batch_is_at_most_100_messages_and_512_kib_and_leaves_room_for_progress(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        lanes = [f"{n:03}" for n in range(250)]
        for lane in lanes:
            await there.journal.write(outbox.put, there.envelope(lane, text="x" * 3900), lane=lane)
        await there.greet()
        there.progress.note(reading("f", 1), there.clock.monotonic())
        sent: list[str] = []
        progressed = 0
        while len(sent) < len(lanes):
            request = await there.plane.post()
            assert len(request.ids) <= 100
            assert len(request.body) <= BATCH_BYTES_LIMIT
            sent += [name for name in request.ids if name in lanes]
            progressed += request.types.count("UPLOAD_PROGRESS")
            await request.accept()
        assert sent == lanes
        assert progressed == 1


async def test_a_queue_of_many_lanes_does_not_silence_status_and_progress(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.journal.write(lambda tx: [_put(tx, there, f"{n:03}") for n in range(250)])
        there.sender.publish(there.envelope("status", EventType.CLIENT_STATUS))
        there.progress.note(reading("f", 1), there.clock.monotonic())
        await there.greet()
        request = await there.plane.post()
        assert {"CLIENT_STATUS", "UPLOAD_PROGRESS"} < set(request.types)
        assert len(request.ids) > 90


def _put(tx: Transaction, there: Rig, message_id: str) -> None:
    outbox.put(tx, there.envelope(message_id), lane=message_id)


async def test_even_the_longest_reasons_do_not_make_a_batch_too_large(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for n in range(90):
            await there.journal.write(outbox.put, there.envelope(f"{n:02}", text="x" * 3900), lane=f"{n}")
        for n in range(100):
            there.progress.note(reading(f"f{n}", 1, reason="\x01" * 3000), there.clock.monotonic())
        await there.greet()
        request = await there.plane.post()
        assert len(request.body) <= BATCH_BYTES_LIMIT
        assert len(request.ids) > 90


async def test_a_batch_that_is_refused_as_a_whole_is_halved_until_the_one_to_blame_stands_alone(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        names = [f"{letter}1" for letter in "abcdefgh"]
        await there.put(*names)
        await there.greet()
        recorded: list[str] = []
        while not there.witness.all(MessageBuried) or len(recorded) < 7:
            request = await there.plane.post()
            if "f1" in request.ids:
                await request.problem(400, "malformed-request")
            else:
                recorded += request.ids
                await request.accept()
            await there.rest()
        assert sorted(recorded) == sorted(set(names) - {"f1"})
        assert (await there.witness.next(MessageBuried)).message_id == "f1"
        assert await there.counts() == {"dead": 1}


async def test_a_message_that_breaks_the_other_end_holds_up_only_its_own_lane(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1", "a2", "b1", "c1", "d1", "e1")
        recorded: set[str] = set()

        async def answer(request: Request) -> None:
            if "a1" in request.ids:
                await request.answer(500)
                await there.pass_by((await there.witness.next(SenderHeldUp)).wait_s)
            else:
                recorded.update(request.ids)
                await request.accept()

        while recorded < {"b1", "c1", "d1", "e1"}:
            with anyio.move_on_after(0.2):
                await answer(await there.plane.post())
                continue
            await there.pass_by(1)
        # However often it has failed by now: what is new is not held up by it.
        for n in range(20):
            await there.put(f"n{n}", lane=f"n{n}")
            request = await there.plane.post()
            while f"n{n}" not in request.ids:
                await answer(request)
                request = await there.plane.post()
            if "a1" not in request.ids:
                await answer(request)
        assert "a2" not in recorded


async def test_a_message_answered_in_progress_alone_is_no_reason_for_the_rest_to_wait(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        await (await there.plane.post()).problem(409, "in-progress")
        await there.put("b1", "a2")
        request = await there.plane.post()
        assert request.ids == ["b1"]
        await request.accept()
        await there.pass_by(1)
        assert (await there.plane.post()).ids == ["a1"]
        assert there.witness.all(SenderHeldUp) == []


# --- not now ---


async def test_retry_after_quiets_every_post_the_greeting_of_a_new_connection_included(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        await (await there.plane.post()).answer(429, **retry_after(120))
        held = await there.witness.next(SenderHeldUp)
        assert 120 <= held.wait_s <= 121
        await there.put("b1")
        await there.pass_by(60)
        there.announce("hello-2")
        await there.pass_by(59)
        await there.rest()
        assert len(there.plane.seen) == 2
        await there.pass_by(2)
        assert (await there.plane.post()).ids == ["hello-2"]


async def test_a_new_connection_waits_for_no_back_off_of_the_time_before_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1", "b1")
        for _ in range(6):
            await (await there.plane.post()).answer(503)
            await there.witness.next(SenderHeldUp)
            await there.pass_by(CAP_S)
        await (await there.plane.post()).answer(503)
        await there.witness.next(SenderHeldUp)
        await there.rest()
        there.sender.hush()
        there.announce("hello-2")
        greeting = await there.plane.post()
        assert greeting.ids == ["hello-2"]
        await greeting.accept()
        # One at a time, for one of them may have been to blame; and no time has passed.
        for message_id in ("a1", "b1"):
            request = await there.plane.post()
            assert request.ids == [message_id]
            await request.accept()


async def test_while_nothing_gets_through_retries_come_ever_more_rarely_and_together(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put(*[f"{letter}1" for letter in "abcdefghijklmnopqrst"])
        for n in range(8):
            await (await there.plane.post()).answer(503)
            held = await there.witness.next(SenderHeldUp)
            assert 0 <= held.wait_s <= min(CAP_S, 2**n)
            await there.pass_by(held.wait_s * 0.99)
            await there.rest()
            assert len(there.plane.seen) == n + 2, "lanes do not come back one by one"
            await there.pass_by(CAP_S)
        await there.emptied()


async def test_a_long_queue_does_not_go_out_one_by_one_while_nothing_gets_through(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        for n in range(300):
            await there.put(f"m{n}", lane=f"upload {n}")
        for n in range(HALVINGS + 5):
            await (await there.plane.post()).answer(503)
            held = await there.witness.next(SenderHeldUp)
            if n < HALVINGS:
                continue
            await there.pass_by(held.wait_s * 0.99)
            await there.rest()
            assert len(there.plane.seen) == n + 2, "what is new waits, too"
            await there.pass_by(CAP_S)
        await there.emptied()


async def test_not_allowed_is_shown_and_waits_for_people_up_to_a_quarter_of_an_hour(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        for n in range(13):
            await (await there.plane.post()).problem(403, "missing-scope")
            held = await there.witness.next(SenderHeldUp)
            assert "403 missing-scope" in held.reason
            assert 0 <= held.wait_s <= min(NOT_ALLOWED_CAP_S, 2**n)
            await there.pass_by(NOT_ALLOWED_CAP_S)


async def test_trouble_is_no_reason_to_send_progress_every_half_second(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        there.progress.note(reading("f", 1), there.clock.monotonic())
        there.bell.ring()
        for n in range(8):
            await (await there.plane.post()).answer(503)
            held = await there.witness.next(SenderHeldUp)
            there.progress.note(reading("f", n), there.clock.monotonic())
            await there.pass_by(held.wait_s / 2)
            await there.rest()
            assert len(there.plane.seen) == n + 2
            await there.pass_by(max(0.5, held.wait_s))


# --- parked ---


async def test_an_order_to_park_silences_the_sender_until_the_control_plane_takes_it_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        await (await there.plane.post()).problem(409, "newer-epoch")
        await there.rest()
        assert there.parking.reason is not None
        assert "another copy" in there.parking.reason
        await there.put("b1")
        await there.pass_by(CAP_S)
        await there.rest()
        assert len(there.plane.seen) == 2
        # What the stream does when it is accepted again.
        there.sender.hush()
        there.parking.leave()
        await there.put("c1")
        await there.rest()
        there.announce("hello-2")
        request = await there.plane.post()
        assert request.ids == ["hello-2"]
        await request.accept()
        assert (await there.plane.post()).ids == ["a1", "b1", "c1"]


# --- volatile ---


async def test_of_the_status_only_the_latest_goes_out_and_again_after_a_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for n in range(3):
            there.sender.publish(there.envelope(f"status-{n}", EventType.CLIENT_STATUS))
        there.announce()
        await (await there.plane.post()).accept()
        request = await there.plane.post()
        assert request.ids == ["status-2"]
        await request.answer(503)
        await there.pass_by((await there.witness.next(SenderHeldUp)).wait_s)
        request = await there.plane.post()
        assert request.ids == ["status-2"]
        await request.accept()
        await there.rest()
        assert len(there.plane.seen) == 3


async def test_a_volatile_message_that_is_refused_is_forgotten(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        there.sender.publish(there.envelope("status", EventType.CLIENT_STATUS))
        await there.greet()
        await (await there.plane.post()).problem(422, "invalid-payload")
        await there.put("a1")
        request = await there.plane.post()
        assert request.ids == ["a1"]


async def test_progress_is_the_latest_reading_when_it_is_due(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        for n in range(1, 4):
            for bytes_sent in (n * 10, n * 10 + 1):
                there.progress.note(reading("f", bytes_sent), there.clock.monotonic())
            there.bell.ring()
            request = await there.plane.post()
            payload = request.messages[0]["payload"]
            assert (payload["bytesSent"], payload["n"]) == (n * 10 + 1, n)
            await request.accept()
            await there.pass_by(0.5)


# --- a journal in trouble ---


async def test_a_journal_that_cant_be_written_stops_nobody_and_what_was_sent_goes_out_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await there.greet()
        await there.put("a1")
        request = await there.plane.post()
        async with unwritable(there.journal):
            await request.accept()
            await there.witness.next(JournalTrouble)
        await there.pass_by(1)
        again = await there.plane.post()
        assert again.body == request.body
        await again.accept()
        await there.rest()
        assert await there.counts() == {}


# --- the end ---


def farewell(there: Rig) -> Envelope:
    gone = ClientDisconnected(reason="SIGTERM")
    return event(EventType.CLIENT_DISCONNECTED, gone, client_id=CLIENT, at=there.clock.now(), message_id="bye")


@asynccontextmanager
async def draining(there: Rig) -> AsyncIterator[anyio.Event]:
    """Drain beside the block, which must end with it."""
    done = anyio.Event()

    async def drain() -> None:
        await there.sender.drain(farewell(there))
        done.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(drain)
            yield done
            await done.wait()


@asynccontextmanager
async def stopped_rig(folder: Path, *, greets: bool = True) -> AsyncIterator[Rig]:
    """As agent.py leaves it when a signal came: the loop is cancelled."""
    async with rig(folder) as there:
        if greets:
            await there.greet()
        there.loop.cancel()
        await there.rest()
        yield there


async def test_at_the_end_what_waits_goes_out_and_then_the_farewell(tmp_path: Path) -> None:
    async with stopped_rig(tmp_path) as there:
        await there.put("a1", "a2", "b1")
        async with draining(there):
            for ids in (["a1", "b1"], ["a2"], ["bye"]):
                request = await there.plane.post()
                assert request.ids == ids
                await request.accept()


async def test_a_greeting_that_was_under_way_at_the_end_is_sent_again_before_the_farewell(tmp_path: Path) -> None:
    async with stopped_rig(tmp_path, greets=False) as there:
        there.announce()
        async with draining(there):
            for ids in (["hello"], ["bye"]):
                request = await there.plane.post()
                assert request.ids == ids
                await request.accept()


async def test_when_nothing_gets_through_any_more_the_end_is_quick(tmp_path: Path) -> None:
    async with stopped_rig(tmp_path) as there:
        await there.put("a1", "b1")
        async with draining(there):
            await (await there.plane.post()).answer(503)
        assert len(there.plane.seen) == 2
        assert await there.counts() == {"pending": 2}


async def test_a_parked_agent_and_one_that_never_greeted_leave_in_silence(tmp_path: Path) -> None:
    for name, greets in (("parked", True), ("strange", False)):
        (tmp_path / name).mkdir()
        async with stopped_rig(tmp_path / name, greets=greets) as there:
            await there.put("a1")
            if greets:
                there.parking.park("deleted")
            async with draining(there):
                pass
            assert len(there.plane.seen) == int(greets)


async def test_an_order_to_park_at_the_end_is_followed(tmp_path: Path) -> None:
    async with stopped_rig(tmp_path) as there:
        await there.put("a1")
        async with draining(there):
            await (await there.plane.post()).problem(410, "agent-deleted")
        assert len(there.plane.seen) == 2


@pytest.mark.parametrize("count", [400])
async def test_a_long_queue_does_not_cost_the_farewell(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_agent.sender.BACKLOG_S", 0.2)
    async with stopped_rig(tmp_path) as there:
        await there.put(*[f"a{n}" for n in range(count)])
        async with draining(there):
            await there.plane.post()
            request = await there.plane.post()
            assert request.ids == ["bye"]
            await request.accept()
        assert (await there.counts())["pending"] == count
