"""Control plane → inbox, over a real connection: what the control plane does wrong, and what the agent makes of it."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent.clock import timestamp
from sse_agent.credentials import FixedToken
from sse_agent.events import (
    AgentParked,
    CommandReceived,
    CommandRepeated,
    Feed,
    JournalTrouble,
    StreamConnected,
    StreamLost,
    StreamReset,
)
from sse_agent.journal import Journal, inbox, outbox
from sse_agent.journal.outbox import Outgoing
from sse_agent.messages import AckStatus, Hello
from sse_agent.parking import Parking
from sse_agent.stream import Stream
from sse_agent.transport import Speaker, Transport
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import ControlPlane, Request, command, control_plane
from tests.doubles.disks import unwritable
from tests.doubles.journals import CLIENT, journal_in, outgoing, receive
from tests.doubles.witness import Witness

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AN_INSTANCE = "3f0c6bb0-6c1a-4a7e-9d0f-3e1d5a0a7c11"


@dataclass
class Rig:
    """A stream that runs. `steps` is what it told its neighbours, in order, with the journal's cursor then."""

    plane: ControlPlane
    journal: Journal
    clock: FakeClock
    parking: Parking
    witness: Witness
    steps: list[tuple[str, str | None]] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)

    async def connect(self, **hello: object) -> Request:
        """The next stream, greeted."""
        request = await self.plane.stream_request()
        await request.open_stream(**hello)
        await self.witness.next(StreamConnected)
        return request

    async def lost(self) -> StreamLost:
        """The stream is lost; the wait that follows is over at once."""
        lost = await self.witness.next(StreamLost)
        await self.pass_by(lost.wait_s)
        return lost

    async def pass_by(self, seconds: float) -> None:
        """Time passes, once everybody waits, and everybody looks again."""
        await anyio.wait_all_tasks_blocked()
        self.clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()

    async def cursor(self) -> str | None:
        return await self.journal.read(inbox.cursor)

    async def acks(self) -> dict[str, tuple[str, str | None]]:
        """Status and error code of the ACK that is to be sent, by command."""
        found = [payload for kind, payload in await self.journal.read(outgoing) if kind == "ACK"]
        return {ack["commandId"]: (ack["status"], ack.get("error", {}).get("code")) for ack in found}


@asynccontextmanager
async def rig(folder: Path, clock: FakeClock | None = None) -> AsyncIterator[Rig]:
    clock, feed, witness = clock or FakeClock(), Feed(), Witness()
    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(60))
        plane = await stack.enter_async_context(control_plane())
        journal = await stack.enter_async_context(journal_in(folder, clock))
        speaker = Speaker(CLIENT, journal.journal_id, journal.epoch, AN_INSTANCE)
        transport = await stack.enter_async_context(Transport(plane.url, speaker, FixedToken("secret"), NO_TLS, clock))
        stack.enter_context(feed.listening(witness.listen))
        there = Rig(plane, journal, clock, Parking(on_park=lambda: None), witness)

        async def greet(hello: Hello) -> None:
            there.hellos.append(hello)
            there.steps.append(("hello", await journal.read(inbox.cursor)))

        stream = Stream(
            transport,
            journal,
            feed,
            clock,
            there.parking,
            client_id=CLIENT,
            on_accepted=lambda: there.steps.append(("accepted", None)),
            on_hello=greet,
            on_command=lambda: None,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            yield there
            group.cancel_scope.cancel()


async def heads(journal: Journal) -> list[Outgoing]:
    return await journal.read(outbox.heads, 100)


# --- who speaks, and from where ---


async def test_the_request_says_who_speaks_and_on_the_first_ever_connection_no_cursor(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        assert (request.method, request.target) == ("GET", f"/api/v1/agents/{CLIENT}/stream")
        wanted = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "authorization": "Bearer secret",
            "agent-journal": there.journal.journal_id,
            "agent-epoch": "1",
            "agent-instance": AN_INSTANCE,
        }
        assert wanted.items() <= request.headers.items()
        assert "last-event-id" not in request.headers


async def test_from_the_second_connection_on_a_cursor_is_shown_even_if_no_command_ever_came(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(latest="k7/0", floor=None)
        await request.end()
        await there.lost()
        assert (await there.plane.stream_request()).headers["last-event-id"] == "k7/0"


async def test_an_agent_without_a_cursor_takes_everything_that_is_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(latest="k7/41", floor="k7/3")
        await request.say("k7/3", command("c-3"))
        assert (await there.witness.next(CommandReceived)).command_id == "c-3"
        assert await there.cursor() == "k7/3"


async def test_a_restarted_agent_goes_on_behind_the_last_command_in_its_journal(tmp_path: Path) -> None:
    async with journal_in(tmp_path) as journal:
        await receive(journal, 7, "HEARTBEAT", {})
    async with rig(tmp_path) as there:
        request = await there.connect()
        assert request.headers["last-event-id"] == "k1/7"
        assert request.headers["agent-epoch"] == "2"


# --- commands ---


async def test_a_command_its_cursor_and_its_ack_are_durable_and_the_actor_is_logged(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        await request.say("k1/1", command("c-1", actor="ada"))
        received = await there.witness.next(CommandReceived)
        assert (received.command_id, received.type, received.actor) == ("c-1", "HEARTBEAT", "ada")
        assert await there.cursor() == "k1/1"
        assert await there.acks() == {"c-1": ("accepted", None)}


async def test_a_duplicate_is_answered_with_the_bytes_of_its_last_ack_and_moves_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        await request.say("k1/1", command("c-1"))
        await request.say("k1/2", command("c-2"))
        await there.witness.next(CommandReceived)
        await there.witness.next(CommandReceived)
        await there.journal.write(inbox.finish, "c-1", AckStatus.COMPLETED)
        sent = {message.message_id: message.body for message in await heads(there.journal)}
        while pending := [message.message_id for message in await heads(there.journal)]:
            sent |= {message.message_id: message.body for message in await heads(there.journal)}
            await there.journal.write(outbox.forget, pending)
        await request.say("k1/1", command("c-1"))
        assert (await there.witness.next(CommandRepeated)).command_id == "c-1"
        again = await heads(there.journal)
        assert [json.loads(message.body)["payload"]["status"] for message in again] == ["completed"]
        assert again[0].body == sent[again[0].message_id]
        assert await there.cursor() == "k1/2"


async def test_a_command_that_comes_again_under_a_new_number_is_not_received_twice(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        await request.say("k1/1", command("c-1"))
        await request.say("k1/2", command("c-1", "UPLOAD_CANCEL", {"fileId": "another-body"}))
        await there.witness.next(CommandRepeated)
        assert await there.cursor() == "k1/2"
        assert await there.journal.read(inbox.waiting) == 1


@pytest.mark.parametrize(
    ("event_id", "reason"), [("k1/3", "hole"), ("k2/2", "numbering"), ("", "event ID"), ("17", "event ID")]
)
async def test_a_hole_another_numbering_or_no_number_drops_the_connection_and_comes_back_from_the_cursor(
    tmp_path: Path, event_id: str, reason: str
) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        await request.say("k1/1", command("c-1"))
        await request.write(b"id: %s\ndata: %s\n\n" % (event_id.encode(), command("c-2")))
        lost = await there.lost()
        assert reason in lost.reason
        assert lost.attempt == 1, "the same will come again: that is no cut by a proxy"
        await request.gone()
        assert (await there.plane.stream_request()).headers["last-event-id"] == "k1/1"
        assert await there.acks() == {"c-1": ("accepted", None)}


NO_ENVELOPES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "INVALID_ENVELOPE"),
    "half of it": (command("c")[:-5], "INVALID_ENVELOPE"),
    "a list": (b"[]", "INVALID_ENVELOPE"),
    "nothing": (b"", "INVALID_ENVELOPE"),
    "no id": (command("c", id=None), "INVALID_ENVELOPE"),
    "an id that no header can hold": (command("c\nx"), "INVALID_ENVELOPE"),
    "no payload": (command("c", payload=[]), "INVALID_ENVELOPE"),
    "members by other names": (command("c", clientId=None, client_id=CLIENT), "INVALID_ENVELOPE"),
    "no offset": (command("c", timestamp="2026-11-22T10:30:00"), "INVALID_ENVELOPE"),
    "an instant before all time": (command("c", expiresAt="0001-01-01T00:00:00+23:59"), "INVALID_ENVELOPE"),
    "an instant after all time": (command("c", expiresAt="9999-12-31T23:59:59-23:59"), "INVALID_ENVELOPE"),
    "half a character": (command("c", payload={"text": "\ud800"}), "INVALID_ENVELOPE"),
    "not a number": (command("c", payload={"n": float("nan")}), "INVALID_ENVELOPE"),
    "a number without end": (command("c", payload=1).replace(b": 1}", b": " + b"9" * 60000 + b"}"), "INVALID_ENVELOPE"),
    "depth without end": (b'{"a":' + b"[" * 30000 + b"]" * 30000 + b"}", "INVALID_ENVELOPE"),
    "64 KiB and a byte": (command("c", payload={"text": ""}).ljust(64 * 1024 + 1), "TOO_LARGE"),
    "more than a stream may hold": (command("c", payload={"text": "x" * 300_000}), "TOO_LARGE"),
    "many lines": (b"\n".join([b"x" * 1000] * 100), "TOO_LARGE"),
}


async def test_what_is_no_envelope_is_rejected_under_its_event_id_and_holds_up_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        for n, (data, _) in enumerate(NO_ENVELOPES.values(), start=1):
            await request.say(f"k1/{n}", data)
        last = len(NO_ENVELOPES) + 1
        await request.say(f"k1/{last}", command("good"))
        while (await there.witness.next(CommandReceived)).command_id != "good":
            pass
        codes = [code for _, code in NO_ENVELOPES.values()]
        wanted = {f"k1/{n}": ("rejected", code) for n, code in enumerate(codes, start=1)}
        assert await there.acks() == {**wanted, "good": ("accepted", None)}
        assert await there.cursor() == f"k1/{last}"


async def test_what_looks_odd_but_is_an_envelope_is_accepted(tmp_path: Path) -> None:
    odd = {
        "64 KiB": command("c-1", payload={"text": ""}).ljust(64 * 1024),
        "unknown members": command("c-2", colour="red"),
        "a NUL and all that": command("c-3", "MESSAGE", {"text": "\0\u2028\x1b[31m"}, actor="\0"),
        "a type of the future": command("c-4", "TELEPORT_2"),
        "letters of RFC 3339": command("c-5", timestamp="2026-11-22t10:30:00.123456789z"),
        "lines": json.dumps(json.loads(command("c-6")), indent=1).encode(),
    }
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        for n, data in enumerate(odd.values(), start=1):
            await request.say(f"k1/{n}", data)
        for n in range(1, len(odd) + 1):
            assert (await there.witness.next(CommandReceived)).command_id == f"c-{n}"
        assert set((await there.acks()).values()) == {("accepted", None)}


async def test_a_command_for_another_agent_is_rejected_under_its_own_id(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        await request.say("k1/1", command("c-1", clientId="agent-2"))
        await there.witness.next(CommandReceived)
        assert await there.acks() == {"c-1": ("rejected", "WRONG_CLIENT")}


async def test_expiry_is_judged_once_and_by_the_control_planes_clock(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        # This machine believes to be in 2026.
        request = await there.connect(floor="k1/1", now="1999-01-01T00:00:00Z")
        await request.say("k1/1", command("alive", expiresAt="1999-01-01T00:00:10Z"))
        await request.say("k1/2", command("dead", expiresAt="1999-01-01T00:00:00Z"))
        await there.witness.next(CommandReceived)
        await there.witness.next(CommandReceived)
        await there.pass_by(11)
        await request.say("k1/3", command("late", expiresAt="1999-01-01T00:00:10Z"))
        await request.say("k1/1", command("alive", expiresAt="1999-01-01T00:00:10Z"))
        await there.witness.next(CommandRepeated)
        wanted = {"alive": ("accepted", None), "dead": ("rejected", "EXPIRED"), "late": ("rejected", "EXPIRED")}
        assert await there.acks() == wanted


async def test_while_the_journal_cant_be_written_no_command_is_taken_and_then_it_comes_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1")
        async with unwritable(there.journal):
            await request.say("k1/1", command("c-1"))
            await there.witness.next(JournalTrouble)
            lost = await there.witness.next(StreamLost)
            assert lost.attempt == 1, "it must not go round in circles"
        assert await there.acks() == {}
        await there.pass_by(lost.wait_s)
        request = await there.connect(floor="k1/1")
        assert request.headers["last-event-id"] == "k1/0"
        await request.say("k1/1", command("c-1"))
        await there.witness.next(CommandReceived)
        assert await there.acks() == {"c-1": ("accepted", None)}


# --- reset ---


async def _with_outcomes(folder: Path, clock: FakeClock) -> None:
    """Two commands, done and reported, one an hour before the other."""
    async with journal_in(folder, clock) as journal:
        for n in (1, 2):
            await receive(journal, n, "HEARTBEAT", {})
            await journal.write(inbox.finish, f"cmd-{n}", AckStatus.COMPLETED)
            while pending := [message.message_id for message in await heads(journal)]:
                await journal.write(outbox.forget, pending)
            clock.advance(3600)


async def test_a_reset_takes_the_cursor_reports_the_state_first_and_outcomes_since_then_again(tmp_path: Path) -> None:
    clock = FakeClock()
    of_second = clock.now() + timedelta(hours=1)
    await _with_outcomes(tmp_path, clock)
    # The same instant as the second acknowledgement's, written in another way.
    since = (of_second + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
    async with rig(tmp_path, clock) as there:
        request = await there.plane.stream_request()
        assert request.headers["last-event-id"] == "k1/2"
        reset = {"cursor": "k9/41", "since": since}
        await request.open_stream(resume=False, reason="journal-lost", reset=reset, latest="k9/41", floor="k9/3")
        told = await there.witness.next(StreamReset)
        assert (told.reason, told.cursor) == ("journal-lost", "k9/41")
        await there.witness.next(StreamConnected)
        assert there.steps == [("accepted", None), ("hello", "k9/41")]
        assert await there.acks() == {"cmd-2": ("completed", None)}
        await request.say("k9/42", command("next"))
        assert (await there.witness.next(CommandReceived)).command_id == "next"
        assert await there.cursor() == "k9/42"


# --- HELLO and signs of life ---


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"event: PING\ndata: {}\n\n", "HELLO"),
        (b"event: HELLO\ndata: {}\n\n", "malformed"),
        (b"event: HELLO\ndata: [1\n\n", "malformed"),
    ],
)
async def test_a_stream_that_does_not_begin_with_hello_is_not_now(tmp_path: Path, first: bytes, reason: str) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        await request.begin_stream()
        await request.write(first)
        lost = await there.lost()
        assert reason in lost.reason
        assert lost.attempt == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"resume": False},
        {"now": "yesterday"},
        {"heartbeatSeconds": 0},
        {"latest": "41"},
        {"resume": False, "reset": {"cursor": "k9", "since": "2026-11-22T10:30:00Z"}},
        {"resume": False, "reset": {"cursor": "k9/1", "since": "long ago"}},
        {"protocol": 2},
    ],
)
async def test_a_hello_that_cant_be_right_changes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        await request.open_stream(**changes)
        assert (await there.lost()).attempt == 1
        assert there.steps == []
        assert await there.cursor() is None


async def test_without_an_answer_or_a_hello_in_time_the_connection_is_given_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        await there.pass_by(31)
        assert "no answer" in (await there.lost()).reason
        await request.gone()
        request = await there.plane.stream_request()
        await request.begin_stream()
        await request.say_alive()
        await there.pass_by(9)
        assert len(there.witness.all(StreamLost)) == 1
        await request.say_alive()
        await there.pass_by(2)
        assert "no HELLO" in (await there.lost()).reason


async def test_any_byte_is_a_sign_of_life_and_silence_of_three_heartbeats_is_death(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1", heartbeatSeconds=5)
        for n in range(1, 4):
            await there.pass_by(14)
            await request.write(b":\n")
            await request.say(f"k1/{n}", command(f"c-{n}"))
            await there.witness.next(CommandReceived)
        await there.pass_by(16)
        assert "sign of life" in (await there.witness.next(StreamLost)).reason
        await request.gone()


async def test_after_the_machine_slept_the_stream_is_opened_anew(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect()
        there.clock.jump(3600)
        await there.pass_by(1)
        assert "asleep" in (await there.lost()).reason
        await request.gone()
        await there.connect()


# --- not now ---

Answer = Callable[[Request], Any]

NOT_NOW: dict[str, tuple[Answer, str]] = {
    "204": (lambda r: r.answer(204), "204"),
    "a portal's 200": (lambda r: r.answer(200, b"<html>", content_type="text/html"), "text/html"),
    "a stream of another type": (lambda r: r.begin_stream("text/event-stream-bogus"), "bogus"),
    "a compressed stream": (lambda r: r.begin_stream(Content_Encoding="gzip"), "gzip"),
    "301": (lambda r: r.answer(301, location="/elsewhere"), "301"),
    "302": (lambda r: r.answer(302, location="https://portal.example.com/"), "302"),
    "307 elsewhere": (lambda r: r.answer(307, location="http://127.0.0.2:1/"), "307"),
    "307 nowhere": (lambda r: r.answer(307), "307"),
    "a portal's 401": (lambda r: r.answer(401, b"<html>", content_type="text/html"), "login page"),
    "403": (lambda r: r.problem(403, "not-allowed"), "403 not-allowed"),
    "404": (lambda r: r.problem(404, "unknown-agent"), "404 unknown-agent"),
    "404 with HTML": (lambda r: r.answer(404, b"<html>", content_type="text/html"), "login page"),
    "a 409 of another kind": (lambda r: r.problem(409, "in-progress"), "409"),
    "a 409 that is no problem document": (lambda r: r.answer(409, b"newer-epoch"), "409"),
    "a 410 that is no problem document": (lambda r: r.answer(410, b'{"type": "agent-deleted"}'), "410"),
    "a 410 of somebody else": (lambda r: r.problem(410, "../x"), "410"),
    "429": (lambda r: r.problem(429, "too-many"), "429"),
    "503": (lambda r: r.answer(503), "503"),
    "no HTTP": (lambda r: r.send(b"SSH-2.0-OpenSSH\r\n\r\n"), ""),
    "no answer": (lambda r: r.cut(), ""),
}


@pytest.mark.parametrize("what", NOT_NOW)
async def test_whatever_else_answers_it_comes_back_and_says_why(tmp_path: Path, what: str) -> None:
    answer, reason = NOT_NOW[what]
    async with rig(tmp_path) as there:
        if "401" in what:
            await answer(await there.plane.stream_request())
        request = await there.plane.stream_request()
        await answer(request)
        lost = await there.witness.next(StreamLost)
        assert lost.reason
        assert reason in lost.reason
        assert 0 <= lost.wait_s <= 1
        await there.pass_by(lost.wait_s)
        await there.connect()
        assert there.parking.reason is None


async def test_each_failure_doubles_the_wait_up_to_a_minute_and_a_healthy_minute_forgets_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for attempt in range(1, 10):
            await (await there.plane.stream_request()).answer(503)
            lost = await there.lost()
            assert lost.attempt == attempt
            assert 0 <= lost.wait_s <= min(60, 2 ** (attempt - 1))
        request = await there.connect()
        for _ in range(5):
            await there.pass_by(14)
            await request.say_alive()
        await request.end()
        await there.lost()
        await (await there.plane.stream_request()).answer(503)
        assert (await there.lost()).attempt == 1


async def test_a_stream_that_lived_on_after_hello_and_was_cut_costs_two_seconds_and_counts_for_nothing(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        await (await there.plane.stream_request()).answer(503)
        assert (await there.lost()).attempt == 1
        for life in (b": alive\n\n", b"id: k1/1\ndata: %s\n\n" % command("c-1")):
            request = await there.connect(floor="k1/1")
            await request.write(life)
            await (request.end() if life.startswith(b":") else request.cut())
            lost = await there.lost()
            assert lost.attempt == 1
            assert 0 <= lost.wait_s <= 2
        request = await there.connect()
        await request.end()
        assert (await there.lost()).attempt == 2, "HELLO alone is not yet a good stream"


async def test_a_command_in_one_piece_with_hello_is_a_sign_of_life(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        await request.begin_stream()
        hello = json.dumps({"protocol": 1, "now": "2026-11-22T10:30:00Z", "heartbeatSeconds": 15, "resume": True,
                            "latest": "k1/1", "floor": "k1/1"})  # fmt: skip
        await request.write(b"event: HELLO\ndata: %s\n\nid: k1/1\ndata: %s\n\n" % (hello.encode(), command("c-1")))
        await there.witness.next(CommandReceived)
        await request.cut()
        assert (await there.lost()).attempt == 0


@pytest.mark.parametrize(
    ("asked", "least", "most"), [("7", 7, 8), ("0", 0.1, 1.1), ("99999999999", 900, 901), ("soon", 0, 1)]
)
async def test_retry_after_is_the_least_wait_within_bounds(
    tmp_path: Path, asked: str, least: float, most: float
) -> None:
    async with rig(tmp_path) as there:
        await (await there.plane.stream_request()).answer(503, retry_after=asked)
        assert least <= (await there.lost()).wait_s <= most


async def test_retry_after_may_be_a_date_which_the_answers_own_date_is_taken_from(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.plane.stream_request()
        dates = {"retry_after": "Fri, 01 Jan 1999 00:01:00 GMT", "date": "Fri, 01 Jan 1999 00:00:00 GMT"}
        await request.answer(503, **dates)
        assert 60 <= (await there.lost()).wait_s <= 61
        overflow = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
        await (await there.plane.stream_request()).answer(503, retry_after=overflow, date=overflow)
        assert (await there.lost()).wait_s <= 2


async def test_retry_in_a_stream_holds_for_later_connections_too_even_if_the_stream_broke_right_after(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect()
        await request.write(b"retry: 5000\n")
        await request.cut()
        assert 5 <= (await there.lost()).wait_s <= 7
        await (await there.plane.stream_request()).answer(503)
        assert 5 <= (await there.lost()).wait_s <= 7


# --- parked ---


@pytest.mark.parametrize(
    ("status", "slug", "reason"), [(409, "newer-epoch", "another copy"), (410, "agent-deleted", "deleted")]
)
async def test_told_that_another_took_its_place_the_agent_parks_and_asks_again_ever_later(
    tmp_path: Path, status: int, slug: str, reason: str
) -> None:
    async with rig(tmp_path) as there:
        for least in (900, 1800, 3600, 7200, 14400, 21600, 21600):
            await (await there.plane.stream_request()).problem(status, slug)
            parked = await there.witness.next(AgentParked)
            assert reason in parked.reason
            assert least <= parked.wait_s <= least * 1.25
            assert there.parking.is_parked
            await there.pass_by(least - 1)
            assert len(there.plane.seen) == len(there.witness.all(AgentParked)), "silent until then"
            await there.pass_by(parked.wait_s)
        await there.connect()
        assert not there.parking.is_parked
        assert there.witness.all(StreamLost) == []


async def test_when_a_post_was_answered_so_the_open_stream_ends_too_and_later_it_comes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect()
        there.parking.park("another copy of this agent took over")
        await there.pass_by(1)
        parked = await there.witness.next(AgentParked)
        assert 900 <= parked.wait_s <= 1125
        await request.gone()
        await there.pass_by(parked.wait_s)
        await there.connect()
        assert not there.parking.is_parked


async def test_a_trouble_of_the_network_does_not_end_the_silence(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        await (await there.plane.stream_request()).problem(410, "agent-deleted")
        await there.pass_by((await there.witness.next(AgentParked)).wait_s)
        await (await there.plane.stream_request()).answer(503)
        await there.lost()
        assert (await there.witness.next(AgentParked)).wait_s >= 900
        assert there.parking.is_parked


async def test_a_control_plane_at_the_end_of_all_time_does_not_stop_the_agent(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        request = await there.connect(floor="k1/1", now="9999-12-31T23:59:59Z")
        await there.pass_by(5)
        await request.say("k1/1", command("c-1", expiresAt=timestamp(there.clock.now())))
        await there.witness.next(CommandReceived)
        assert await there.acks() == {"c-1": ("rejected", "EXPIRED")}
