"""How the agent ends: in order when asked, at once when asked twice, and with a code that a supervisor understands."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
CONFIGURATION, PERMISSION = 78, 77


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_upload_drains_within_ten_seconds(tmp_path: Path, number: signal.Signals) -> None:
    with _under_way(tmp_path) as there:
        asked_at = time.monotonic()
        there.agent.signal(number)
        assert there.agent.wait() == 0
        assert time.monotonic() - asked_at < 10
        (farewell,) = there.services.messages("CLIENT_DISCONNECTED")
        assert farewell["payload"]["reason"] == number.name
        assert not there.services.agent()["presence"]["connected"]
        there.agent.wait_for("agent.stopped")


def test_a_second_signal_stops_now(tmp_path: Path) -> None:
    with _under_way(tmp_path) as there:
        # Nobody answers the farewell: without the second signal it would take its whole time.
        there.plane.signal(signal.SIGSTOP)
        try:
            asked_at = time.monotonic()
            there.agent.signal(signal.SIGTERM)
            there.agent.wait_for("agent.stopping")
            there.agent.signal(signal.SIGTERM)
            assert there.agent.wait() == 0
            assert time.monotonic() - asked_at < 3
        finally:
            there.plane.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SSE_AGENT_CONTROL_PLANE_URL", "http://control.example.com"),
        ("SSE_AGENT_CLIENT_ID", "no spaces"),
        ("SSE_AGENT_ALLOWED_FOLDERS", "/not/json"),
        ("SSE_AGENT_ALLOWED_FOLDERS", '["/does/not/exist"]'),
        ("SSE_AGENT_CA_FILE", "/does/not/exist.pem"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_with_78(tmp_path: Path, setting: str, value: str) -> None:
    with world(tmp_path, connected=False, **{setting: value}) as there:
        there.agent.start()
        assert there.agent.wait() == CONFIGURATION
        assert any(setting in line for line in there.agent.lines)


def test_a_state_directory_inside_an_allowed_folder_ends_with_78(tmp_path: Path) -> None:
    with world(tmp_path, connected=False, SSE_AGENT_STATE_DIR=str(tmp_path / "files" / "state")) as there:
        there.agent.start()
        assert there.agent.wait() == CONFIGURATION


def test_a_journal_of_another_client_ends_with_78(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        assert there.agent.stop() == 0
        other = there.another_agent(SSE_AGENT_CLIENT_ID="agent-2")
        other.start()
        assert other.wait() == CONFIGURATION


def test_a_state_directory_that_cannot_be_made_ends_with_77(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with world(tmp_path, connected=False, SSE_AGENT_STATE_DIR=str(tmp_path / "taken" / "state")) as there:
        there.agent.start()
        assert there.agent.wait() == PERMISSION


@contextmanager
def _under_way(folder: Path) -> Iterator[World]:
    with Relay(2 * MIB) as relay, world(folder, relay=relay) as there:
        (there.files / "data.bin").write_bytes(os.urandom(16 * MIB))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        until(lambda: relay.forwarded > MIB, "it is under way")
        yield there
