"""Outbox → REST: whatever is answered, the messages of one lane arrive in their order, and none is lost."""

import asyncio
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sse_agent.errors import NotAllowedNow, TryAgain
from sse_agent.events import Feed
from sse_agent.journal import Bell, Transaction, outbox
from sse_agent.journal.outbox import Outgoing
from sse_agent.messages import BATCH_BYTES_LIMIT, BATCH_COUNT_LIMIT, Chat, EventType, event
from sse_agent.parking import Parking
from sse_agent.progress import ProgressTable
from sse_agent.sender import Batch, Sender
from sse_agent.transport import BatchRefused, Verdict
from tests.doubles.clock import FakeClock
from tests.doubles.journals import CLIENT
from tests.doubles.memory_journal import MemoryJournal
from tests.properties.profile import REPEATABLE

LANES = "abcde"
STEPS_AT_MOST = 3000

WHOLE = st.sampled_from(["each", "each", "each", "trouble", "lost answer", "not allowed", "refused", "quiet", "cut"])
ONE = st.sampled_from(["recorded", "recorded", "recorded", "repeated", "busy", "busy", "refused"])
PUTS = st.lists(st.tuples(st.sampled_from(LANES), st.sampled_from([1, 1, 1, 50_000, 200_000])), max_size=12)


class Recorder:
    """A control plane that answers as chance has it, and remembers what it recorded and refused, in order."""

    def __init__(self, answers: list[tuple[str, list[str]]]) -> None:
        self.answers = answers
        self.seen: list[str] = []
        self.bodies: dict[str, bytes] = {}
        self.refused: set[str] = set()

    async def post(self, batch: Batch) -> list[Verdict]:
        assert 0 < len(batch) <= BATCH_COUNT_LIMIT
        assert sum(len(body) for _, body in batch) <= BATCH_BYTES_LIMIT
        whole, each = self.answers.pop(0) if self.answers else ("each", ["recorded"])
        for message_id, body in batch:
            assert self.bodies.setdefault(message_id, body) == body, "the same bytes every time"
        if whole == "trouble":
            raise TryAgain("503")
        if whole == "not allowed":
            raise NotAllowedNow("403")
        if whole == "quiet":
            raise TryAgain("429", retry_after_s=7.0)
        if whole == "refused" and len(batch) > 1:
            raise BatchRefused("413")
        # Of a batch that is cut, half is recorded, and nobody says which.
        judged = batch[: len(batch) // 2] if whole == "cut" else batch
        verdicts = [self.judge(message_id, each[at % len(each)]) for at, (message_id, _) in enumerate(judged)]
        if whole in ("lost answer", "cut"):
            raise TryAgain("no answer")
        return verdicts

    def judge(self, message_id: str, answer: str) -> Verdict:
        is_known = message_id in self.seen
        if answer == "busy":
            return Verdict(message_id, is_recorded=False)
        if answer == "refused" and not is_known and message_id != "hello":
            self.refused.add(message_id)
            return Verdict(message_id, is_recorded=False, refusal="422 invalid-payload")
        if not is_known:
            self.seen.append(message_id)
        return Verdict(message_id, is_recorded=True)


class Line:
    """A sender, its journal, and everything that was ever put into it, by lane."""

    def __init__(self, answers: list[tuple[str, list[str]]]) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(self.clock)
        self.plane = Recorder(answers)
        feed, parking = Feed(), Parking(on_park=lambda: None)
        self.sender = Sender(
            self.plane.post, self.journal, feed, self.clock, parking, Bell(), ProgressTable(), client_id=CLIENT
        )
        self.put_in: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.sender.announce(
            event(EventType.MESSAGE, Chat(text=""), client_id=CLIENT, at=self.clock.now(), message_id="hello")
        )

    def put(self, lane: str, size: int) -> None:
        message_id = f"{lane}{len(self.put_in[lane]) + 1}"
        self.put_in[lane].append(message_id)
        # The text is bounded; a name is padded instead.
        padded = Chat.model_construct(text="x" * size, from_="")
        envelope = event(EventType.MESSAGE, padded, client_id=CLIENT, at=self.clock.now(), message_id=message_id)
        self.journal.transact(outbox.put, envelope, lane=lane)

    async def step(self) -> None:
        """One turn of the sender's loop, and the wait behind it."""
        self.clock.advance(await self.sender._step())

    async def work_off(self) -> None:
        for _ in range(STEPS_AT_MOST):
            await self.step()
            if not self.journal.transact(outbox.counts).get("pending"):
                return
        raise AssertionError(f"still pending after {STEPS_AT_MOST} steps")

    def check(self) -> None:
        seen = [name for name in self.plane.seen if name != "hello"]
        for lane, names in self.put_in.items():
            arrived = [name for name in seen if name[0] == lane]
            assert arrived == sorted(arrived, key=names.index), f"lane {lane} arrived as {arrived}"
            given = [name for name in names if name in self.plane.seen or name in self.plane.refused]
            assert given == names[: len(given)], f"lane {lane}: one went ahead of an earlier one: {given}"
            assert len(set(arrived)) == len(arrived)

    def check_the_end(self) -> None:
        self.check()
        for names in self.put_in.values():
            lost = [name for name in names if name not in self.plane.seen and name not in self.plane.refused]
            assert not lost, f"lost: {lost}"
        left = self.journal.transact(lambda tx: {row[0] for row in tx.all("SELECT message_id FROM outbox")})
        assert left <= self.plane.refused, "only dead letters stay"


async def _walk(answers: list[tuple[str, list[str]]], rounds: list[list[tuple[str, int]]]) -> None:
    line = Line(list(answers))
    try:
        for puts in rounds:
            for lane, size in puts:
                line.put(lane, size)
            for _ in range(3):
                await line.step()
                line.check()
        await line.work_off()
        line.check_the_end()
    finally:
        line.journal.close()


def walk(answers: list[tuple[str, list[str]]], rounds: list[list[tuple[str, int]]]) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_walk(answers, rounds))
    finally:
        loop.close()


ANSWERS = st.lists(st.tuples(WHOLE, st.lists(ONE, min_size=1, max_size=7)), max_size=25)
ROUNDS = st.lists(PUTS, min_size=1, max_size=5)


@given(answers=ANSWERS, rounds=ROUNDS)
@settings(REPEATABLE, max_examples=120)
def test_each_lane_arrives_in_order_and_nothing_is_lost_whatever_is_answered(
    answers: list[tuple[str, list[str]]], rounds: list[list[tuple[str, int]]]
) -> None:
    walk(answers, rounds)


# --- the walk would notice ---


def _all_pending(tx: Transaction, limit: int) -> list[Outgoing]:
    """Not the heads alone: the second of a lane goes out with the first."""
    rows = tx.all("SELECT seq, message_id, type, lane, body FROM outbox WHERE state = 'pending' LIMIT ?", limit)
    return [Outgoing(*row) for row in rows]


def _forget_all(tx: Transaction, _: list[str]) -> None:
    tx.run("DELETE FROM outbox")


def _newest_first(tx: Transaction, limit: int) -> list[Outgoing]:
    rows = tx.all(
        "SELECT max(seq), message_id, type, lane, body FROM outbox WHERE state = 'pending' GROUP BY lane LIMIT ?", limit
    )
    return [Outgoing(*row) for row in rows]


@pytest.mark.parametrize(
    ("name", "mistake", "words"),
    [
        ("heads", _all_pending, "went ahead|arrived as"),
        ("heads", _newest_first, "went ahead|arrived as"),
        ("forget", _forget_all, "lost"),
    ],
)
def test_a_sender_with_a_mistake_does_not_get_through(name: str, mistake: Callable[..., object], words: str) -> None:
    quick = settings(REPEATABLE, max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)

    @given(answers=ANSWERS, rounds=ROUNDS)
    @quick
    def walked(answers: list[tuple[str, list[str]]], rounds: list[list[tuple[str, int]]]) -> None:
        walk(answers, rounds)

    with patch.object(outbox, name, mistake), pytest.raises(AssertionError, match=words):
        walked()
