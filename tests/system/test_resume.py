"""kill -9 of any of the three, in the middle of an upload: it goes on from the offset, and every byte arrives."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 24 * MIB
RATE = 6 * MIB
# The first PATCH is 8 MiB: by now it is confirmed, and the second is under way.
MIDDLE = 10 * MIB


def test_after_kill_9_of_the_agent_the_upload_goes_on_from_the_offset(tmp_path: Path) -> None:
    with _in_the_middle(tmp_path) as (there, relay):
        there.agent.kill()
        before = relay.forwarded
        mark = there.agent.mark()
        relay.rate = None
        there.connect()
        _finish(there, relay, before)
        assert there.agent.wait_for("upload.started", after=mark)["offset"] >= 8 * MIB


def test_after_kill_9_of_tusd_the_upload_goes_on_from_the_offset(tmp_path: Path) -> None:
    with _in_the_middle(tmp_path) as (there, relay):
        there.tusd.kill()
        before = relay.forwarded
        relay.rate = None
        there.agent.wait_for("upload.waiting", file_id="f")
        there.tusd.start()
        _finish(there, relay, before)


def test_kill_9_of_the_control_plane_does_not_disturb_the_upload_and_its_end_is_reported(tmp_path: Path) -> None:
    with _in_the_middle(tmp_path) as (there, relay):
        there.plane.kill()
        there.agent.wait_for("stream.lost")
        relay.rate = None
        there.agent.wait_for("upload.completed", file_id="f")
        there.start_plane()
        _finish(there, relay, relay.forwarded)
        assert relay.forwarded < SIZE + MIB


@contextmanager
def _in_the_middle(folder: Path) -> Iterator[tuple[World, Relay]]:
    with Relay(RATE) as relay, world(folder, relay=relay) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        until(lambda: relay.forwarded > MIDDLE, "it is in the middle")
        yield there, relay


def _finish(there: World, relay: Relay, before: int) -> None:
    """It completes, once, as it is; and what was confirmed is not sent again."""
    upload = there.services.until_upload("f", "complete", 60)
    (report,) = there.services.messages("UPLOAD_COMPLETE")
    assert upload["result"] == report["payload"]
    (upload_id,) = there.tusd.ids()
    assert report["payload"]["uploadId"] == upload_id
    here = hashlib.sha256((there.files / "data.bin").read_bytes()).hexdigest()
    assert there.tusd.sha256(upload_id) == report["payload"]["sha256"] == here
    assert relay.forwarded - before < SIZE - 8 * MIB + MIB
