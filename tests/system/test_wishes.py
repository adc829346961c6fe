"""What people want of an upload is kept over a restart of the agent."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 16 * MIB
RATE = 3 * MIB


def test_a_pause_ends_the_patch_within_about_a_second_and_outlives_the_agent(tmp_path: Path) -> None:
    with _under_way(tmp_path) as (there, relay):
        asked_at = time.monotonic()
        assert there.services.carry_out("UPLOAD_PAUSE", fileId="f")["outcome"] == "completed"
        there.agent.wait_for("upload.paused", file_id="f")
        # A second for the PATCH, another for a busy machine.
        assert time.monotonic() - asked_at < 2
        there.agent.kill()
        sent = relay.forwarded
        there.connect()
        assert there.services.carry_out("GET_STATUS")["replies"][0]["payload"]["uploads"]["paused"] == 1
        # What waited in the kernel's buffers may still have gone out.
        assert relay.forwarded - sent < MIB // 2
        relay.rate = None
        assert there.services.carry_out("UPLOAD_RESUME", fileId="f")["outcome"] == "completed"
        there.services.until_upload("f", "complete")
        assert there.tusd.size(there.tusd.ids()[0]) == SIZE


def test_a_resume_just_before_kill_9_is_not_forgotten(tmp_path: Path) -> None:
    with _under_way(tmp_path) as (there, relay):
        there.services.carry_out("UPLOAD_PAUSE", fileId="f")
        there.services.until_upload("f", "paused")
        there.services.carry_out("UPLOAD_RESUME", fileId="f")
        there.agent.kill()
        relay.rate = None
        there.connect()
        there.services.until_upload("f", "complete")
        assert there.tusd.size(there.tusd.ids()[0]) == SIZE


def test_a_cancel_deletes_the_upload_on_the_tus_server_even_if_the_agent_is_killed(tmp_path: Path) -> None:
    with _under_way(tmp_path) as (there, _):
        assert there.tusd.ids()
        there.tusd.kill()
        assert there.services.carry_out("UPLOAD_CANCEL", fileId="f")["outcome"] == "completed"
        there.agent.kill()
        there.tusd.start()
        there.connect()
        there.services.until_upload("f", "cancelled")
        until(lambda: not there.tusd.ids(), "the tus server has nothing of it")
        again = there.services.carry_out("UPLOAD_START", fileId="f", fileName="data.bin")
        assert (again["outcome"], again["error"]["code"]) == ("failed", "CANCELLED")


def test_a_cancel_of_a_running_upload_deletes_it_on_the_tus_server(tmp_path: Path) -> None:
    with _under_way(tmp_path) as (there, _):
        assert there.services.carry_out("UPLOAD_CANCEL", fileId="f")["outcome"] == "completed"
        there.services.until_upload("f", "cancelled")
        until(lambda: not list(there.tusd.store.iterdir()), "the tus server has nothing of it")


@contextmanager
def _under_way(folder: Path) -> Iterator[tuple[World, Relay]]:
    with Relay(RATE) as relay, world(folder, relay=relay) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        until(lambda: relay.forwarded > MIB, "it is under way")
        yield there, relay
