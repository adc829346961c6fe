"""The stream when its access token is renewed: the next one opens before the last closes, and nothing is lost."""

import gc
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from sse_agent.errors import TryAgain
from sse_agent.events import (
    AgentParked,
    CommandReceived,
    CommandRepeated,
    Feed,
    StreamConnected,
    StreamLost,
    StreamRenewed,
    StreamReset,
)
from sse_agent.journal import Journal, inbox
from sse_agent.parking import Parking
from sse_agent.stream import Stream, _Connection
from sse_agent.transport import Speaker, Transport
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import ControlPlane, Request, command, control_plane
from tests.doubles.journals import CLIENT, journal_in, outgoing
from tests.doubles.witness import Witness

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AN_INSTANCE = "3f0c6bb0-6c1a-4a7e-9d0f-3e1d5a0a7c11"
LIFE_S = 100.0


@dataclass
class Tokens:
    """`token-1`, `token-2`, …, each to be renewed `LIFE_S` after it was given; `trouble` comes in a token's place."""

    clock: FakeClock
    count: int = 0
    renew_ats: dict[str, float] = field(default_factory=dict)
    trouble: TryAgain | None = None

    async def current(self) -> str:
        return f"token-{self.count}" if self.count else await self.refreshed("")

    async def refreshed(self, refused: str) -> str:
        if self.trouble is not None:
            raise self.trouble
        if refused in ("", f"token-{self.count}"):
            self.count += 1
            self.renew_ats[f"token-{self.count}"] = self.clock.monotonic() + LIFE_S
        return f"token-{self.count}"

    def renew_at(self, token: str) -> float | None:
        return self.renew_ats[token]


@dataclass
class Rig:
    plane: ControlPlane
    journal: Journal
    clock: FakeClock
    parking: Parking
    witness: Witness
    tokens: Tokens
    greeted: int = 0
    hushed: int = 0

    async def connect(self) -> Request:
        """The first stream, greeted, with command 1 received."""
        request = await self.plane.stream_request()
        await request.open_stream(floor="k1/1")
        await self.witness.next(StreamConnected)
        await self.receive(request, 1)
        return request

    async def receive(self, request: Request, n: int) -> None:
        await request.say(f"k1/{n}", command(f"c-{n}"))
        assert (await self.witness.next(CommandReceived)).command_id == f"c-{n}"

    async def due(self, present: Request) -> Request:
        """Time passes until the token is to be renewed; the request for the next stream."""
        for _ in range(int(LIFE_S / 10)):
            await self.pass_by(10)
            await self.live(present)
        await self.pass_by(2)
        return await self.plane.stream_request()

    async def live(self, request: Request) -> None:
        """A sign of life that certainly arrived: time must not pass before it has."""
        await request.say("k1/1", command("c-1"))
        await self.witness.next(CommandRepeated)

    async def pass_by(self, seconds: float) -> None:
        await anyio.wait_all_tasks_blocked()
        self.clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()

    async def cursor(self) -> str | None:
        return await self.journal.read(inbox.cursor)

    async def acknowledged(self) -> list[str]:
        """The commands in the order of their ACKs."""
        return [payload["commandId"] for kind, payload in await self.journal.read(outgoing) if kind == "ACK"]


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock, feed, witness = FakeClock(), Feed(), Witness()
    tokens = Tokens(clock)
    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(60))
        plane = await stack.enter_async_context(control_plane())
        journal = await stack.enter_async_context(journal_in(folder, clock))
        speaker = Speaker(CLIENT, journal.journal_id, journal.epoch, AN_INSTANCE)
        transport = await stack.enter_async_context(Transport(plane.url, speaker, tokens, NO_TLS, clock))
        stack.enter_context(feed.listening(witness.listen))
        there = Rig(plane, journal, clock, Parking(on_park=lambda: None), witness, tokens)

        async def greet(_: object) -> None:
            there.greeted += 1

        def hush() -> None:
            there.hushed += 1

        stream = Stream(
            transport,
            journal,
            feed,
            clock,
            there.parking,
            client_id=CLIENT,
            on_accepted=hush,
            on_hello=greet,
            on_command=lambda: None,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            yield there
            group.cancel_scope.cancel()


async def test_the_next_stream_is_open_before_the_last_is_closed_and_nobody_is_greeted_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        assert second.headers["authorization"] == "Bearer token-2"
        assert second.headers["last-event-id"] == "k1/1"
        assert second.headers["agent-instance"] == first.headers["agent-instance"]
        await there.receive(first, 2)
        await second.open_stream(latest="k1/2", floor="k1/1")
        await there.witness.next(StreamRenewed)
        await first.gone()
        await there.receive(second, 3)
        assert (there.greeted, there.hushed) == (1, 1)
        assert there.witness.all(StreamLost) == []
        assert len(there.witness.all(StreamConnected)) == 1


async def test_it_goes_on_so_for_ever(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        present = await there.connect()
        for n in range(2, 8):
            following = await there.due(present)
            assert following.headers["authorization"] == f"Bearer token-{n}"
            await following.open_stream(latest=f"k1/{n - 1}", floor="k1/1")
            await there.witness.next(StreamRenewed)
            await present.gone()
            await there.receive(following, n)
            present = following
        assert there.greeted == 1
        assert there.witness.all(StreamLost) == []
        gc.collect()
        kept = sum(isinstance(thing, _Connection) for thing in gc.get_objects())
        assert kept <= 2, "the last one, and perhaps the one before it"


async def test_what_both_streams_bring_is_received_once_and_the_cursor_never_goes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        for n in (2, 3, 4):
            await there.receive(first, n)
        await second.begin_stream()
        hello = json.dumps({"protocol": 1, "now": "2026-11-22T10:30:00Z", "heartbeatSeconds": 15, "resume": True,
                            "latest": "k1/4", "floor": "k1/1"})  # fmt: skip
        again = b"".join(b"id: k1/%d\ndata: %s\n\n" % (n, command(f"c-{n}")) for n in (2, 3, 4, 5))
        await second.write(f"event: HELLO\ndata: {hello}\n\n".encode() + again)
        for n in (2, 3, 4):
            assert (await there.witness.next(CommandRepeated)).command_id == f"c-{n}"
            assert await there.cursor() in ("k1/4", "k1/5")
        assert (await there.witness.next(CommandReceived)).command_id == "c-5"
        assert await there.cursor() == "k1/5"
        assert sorted(await there.acknowledged()) == [f"c-{n}" for n in range(1, 6)]
        assert await there.journal.read(inbox.waiting) == 5


async def test_a_control_plane_that_closes_the_last_stream_for_the_new_ones_sake_takes_nothing_away(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        await first.end()
        await anyio.wait_all_tasks_blocked()
        await second.open_stream(latest="k1/1", floor="k1/1")
        await there.witness.next(StreamRenewed)
        await there.receive(second, 2)
        assert there.witness.all(StreamLost) == []
        assert len(there.plane.seen) == 2, "and nobody knocks a third time"
        assert there.greeted == 1


async def test_a_stream_that_ends_and_whose_renewal_fails_is_lost_and_comes_back_as_any_other(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        await first.end()
        await second.answer(503)
        lost = await there.witness.next(StreamLost)
        assert "503" in lost.reason
        await there.pass_by(lost.wait_s)
        third = await there.plane.stream_request()
        await third.open_stream(floor="k1/1", latest="k1/1")
        await there.witness.next(StreamConnected)
        assert (there.greeted, there.hushed) == (2, 2)


async def test_troubles_from_before_the_stream_was_healthy_count_no_more_when_it_is_lost_while_it_is_renewed(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as there:
        for _ in range(3):
            await (await there.plane.stream_request()).answer(503)
            await there.pass_by((await there.witness.next(StreamLost)).wait_s)
        first = await there.connect()
        second = await there.due(first)
        await first.end()
        await second.answer(503)
        assert (await there.witness.next(StreamLost)).attempt == 1


async def test_while_the_next_one_cant_be_opened_the_last_goes_on_and_it_is_tried_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        for n in range(2, 6):
            second = await (there.due(first) if n == 2 else there.plane.stream_request())
            await second.answer(503)
            await anyio.wait_all_tasks_blocked()
            await there.receive(first, n)
            await there.pass_by(8)
        assert there.witness.all(StreamLost) == []
        second = await there.plane.stream_request()
        await second.open_stream(latest="k1/5", floor="k1/1")
        await there.witness.next(StreamRenewed)
        await first.gone()


async def test_while_no_fresh_token_is_to_be_had_the_last_stream_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        there.tokens.trouble = TryAgain("the token endpoint is away")
        for _ in range(15):
            await there.pass_by(10)
            await there.live(first)
        await there.receive(first, 2)
        assert len(there.plane.seen) == 1
        there.tokens.trouble = None
        while len(there.plane.seen) == 1:
            # In small steps: whoever is asked for a stream has 30 s.
            await there.pass_by(3)
            await there.live(first)
        await (await there.plane.stream_request()).open_stream(latest="k1/2", floor="k1/1")
        await there.witness.next(StreamRenewed)
        assert there.witness.all(StreamLost) == []


@pytest.mark.parametrize(("status", "slug"), [(409, "newer-epoch"), (410, "agent-deleted")])
async def test_an_order_to_park_ends_the_last_stream_too(tmp_path: Path, status: int, slug: str) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        await (await there.due(first)).problem(status, slug)
        await there.witness.next(AgentParked)
        await first.gone()
        assert there.parking.is_parked


async def test_a_message_that_was_told_to_park_ends_both(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        there.parking.park("another copy of this agent took over")
        await there.pass_by(1)
        await there.witness.next(AgentParked)
        await first.gone()
        await second.gone()


async def test_a_control_plane_that_was_restored_meanwhile_gets_the_whole_state(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        reset = {"cursor": "k9/41", "since": "2026-11-22T00:00:00Z"}
        await second.open_stream(resume=False, reason="restored", reset=reset, latest="k9/41", floor="k9/41")
        await there.witness.next(StreamReset)
        await there.witness.next(StreamConnected)
        assert (there.greeted, there.hushed) == (2, 2)
        assert await there.cursor() == "k9/41"
        await first.gone()


async def test_a_next_stream_without_hello_does_not_take_the_last_ones_place(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        first = await there.connect()
        second = await there.due(first)
        await second.begin_stream()
        await there.pass_by(5)
        await there.receive(first, 2)
        await there.pass_by(6)
        await second.gone()
        await there.receive(first, 3)
        assert there.witness.all(StreamLost) == []


async def test_a_renewed_stream_is_as_healthy_as_the_one_before_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as there:
        for _ in range(3):
            await (await there.plane.stream_request()).answer(503)
            await there.pass_by((await there.witness.next(StreamLost)).wait_s)
        first = await there.connect()
        second = await there.due(first)
        await second.open_stream(latest="k1/1", floor="k1/1")
        await there.witness.next(StreamRenewed)
        await second.end()
        lost = await there.witness.next(StreamLost)
        assert lost.attempt == 0, "it was healthy for long, and was cut"
        assert lost.wait_s <= 2
