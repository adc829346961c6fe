"""Uploads that were asked for, among those that were reported: the same on either engine."""

from collections.abc import Sequence

import pytest

from sse_agent.clock import timestamp
from sse_agent.control_plane.asked import Asked
from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.engine import Order, UploadNews
from sse_agent.control_plane.records import UploadRecord
from sse_agent.control_plane.viewers import Viewers
from sse_agent.messages import Envelope
from tests.control_plane.test_engine import FIRST, ME, NEW, ack, report
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Whole


@pytest.fixture
def asked(engine: Whole, clock: FakeClock) -> Asked:
    return Asked(engine, engine, Viewers(engine, Attendance(clock, 15), clock), clock)


async def start(engine: Whole, asked: Asked, clock: FakeClock, command: str, file_id: str, name: str) -> None:
    payload = {"fileId": file_id, "fileName": name, "fileSize": 7}
    envelope = Envelope(
        type="UPLOAD_START", id=command, timestamp=timestamp(clock.now()), client_id=ME, payload=payload
    )
    body = envelope.encode()
    await engine.queue(ME, Order(command, b"d", command, "UPLOAD_START", body, None, None))
    await asked.note(envelope)


def told(uploads: Sequence[UploadRecord]) -> list[tuple[str, str | None, str | None]]:
    """ID, name, and what is known of the command while nothing was reported."""
    return [(one.file_id, one.file_name, one.asked and one.asked.status) for one in uploads]


async def everything(asked: Asked, limit: int) -> list[UploadRecord]:
    """Page by page."""
    found: list[UploadRecord] = []
    while True:
        page = await asked.uploads(ME, after=found[-1].file_id if found else "", limit=limit)
        found += page
        if len(page) < limit:
            return found


async def test_what_was_asked_for_is_queued_until_the_agent_speaks_of_it_or_refuses(
    engine: Whole, asked: Asked, clock: FakeClock
) -> None:
    for number in (1, 2, 3, 4):
        await start(engine, asked, clock, f"c{number}", f"f{number}", f"{number}.txt")
    page = await everything(asked, 10)
    assert told(page) == [(f"f{number}", f"{number}.txt", "queued") for number in (1, 2, 3, 4)]
    assert {(one.state, one.revision, one.file_size, one.is_lost) for one in page} == {("queued", None, 7, False)}
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.take(ME, FIRST, greeting.ticket, after_n=0)
    of_another = report("e", "UPLOAD_PAUSED", upload=UploadNews("f0", 1, 0, "paused", {}))
    of_one = report("p", "UPLOAD_PROGRESS", upload=UploadNews("f2", 1, 1, "uploading", {}))
    await engine.record(ME, FIRST, [of_another, of_one, ack("c1", "accepted"), ack("c3", "rejected")])
    expected = [("f0", None, None), ("f1", "1.txt", "accepted"), ("f2", "2.txt", None), ("f4", "4.txt", "sent")]
    for limit in (1, 2, 3, 4, 5):
        assert told(await everything(asked, limit)) == expected
    # What was refused may be asked for once more, under another name.
    await start(engine, asked, clock, "c5", "f3", "later.txt")
    assert ("f3", "later.txt", "queued") in told(await everything(asked, 2))
    # The second of two starts is the agent's to refuse.
    await start(engine, asked, clock, "c6", "f1", "other.txt")
    await engine.record(ME, FIRST, [ack("c6", "rejected")])
    assert ("f1", "1.txt", "accepted") in told(await everything(asked, 2))


async def test_of_a_lost_journal_nobody_knows_what_became_of_it(engine: Whole, asked: Asked, clock: FakeClock) -> None:
    await start(engine, asked, clock, "c1", "f1", "1.txt")
    greeting = await engine.claim(ME, FIRST, None, opens_stream=True)
    await engine.take(ME, FIRST, greeting.ticket, after_n=0)
    await engine.claim(ME, NEW, None, opens_stream=True)
    (lost,) = await asked.uploads(ME, after="", limit=10)
    assert (lost.state, lost.is_lost, lost.asked and lost.asked.status) == ("queued", True, "unknown")
