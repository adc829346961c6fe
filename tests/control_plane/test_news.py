"""What viewers are told, as frames."""

import json
from typing import Any

import pytest

from sse_agent.control_plane import news
from sse_agent.control_plane.records import FeedRecord
from sse_agent.messages import Envelope


def _record(kind: str, **payload: Any) -> FeedRecord:
    message = {"type": kind, "id": "m", "timestamp": "2026-11-22T10:30:00Z", "clientId": "a", "payload": payload}
    return FeedRecord(n=7, client_id="a", recorded_at="2026-11-22T10:30:00Z", message=message)


def _fields(frame: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in frame.decode().splitlines() if line)


def test_a_report_has_its_place_its_type_and_the_envelope() -> None:
    fields = _fields(news.told(_record("UPLOAD_PAUSED", fileId="f")).for_people)
    assert (fields["id"], fields["event"]) == ("7", "UPLOAD_PAUSED")
    assert json.loads(fields["data"])["payload"] == {"fileId": "f"}


def test_only_services_are_told_the_upload_id() -> None:
    told = news.told(_record("UPLOAD_COMPLETE", fileId="f", uploadId="secret-place"))
    assert b"secret-place" in told.for_services
    assert b"secret-place" not in told.for_people
    assert b'"fileId":"f"' in told.for_people


@pytest.mark.parametrize("kind", ["HELLO", "RESET", "PRESENCE", "COMMAND", "AGENT", "SOMETHING_NEW"])
def test_no_agent_can_speak_for_the_control_plane(kind: str) -> None:
    fields = _fields(news.told(_record(kind, position=0)).for_people)
    assert (fields["event"], fields["id"]) == ("REPORT", "7")


def test_line_ends_in_what_agents_say_end_no_line_of_the_stream() -> None:
    frame = news.told(_record("MESSAGE", text="a\n\nid: 99\ndata: {}\n\n", **{"from": "x"})).for_people
    assert frame.count(b"\n\n") == 1
    assert frame.endswith(b"\n\n")
    assert len(frame.strip().split(b"\n")) == 3


def test_of_a_command_people_see_neither_token_nor_endpoint() -> None:
    payload = {
        "fileId": "f",
        "fileName": "a.txt",
        "uploadToken": "token-7",
        "tusEndpoint": "https://tus.example/files/",
    }
    command = Envelope(type="UPLOAD_START", id="c", timestamp="2026-11-22T10:30:00Z", client_id="a", payload=payload)
    frame = news.asked(command)
    assert json.loads(_fields(frame)["data"])["subject"] == {"fileId": "f", "fileName": "a.txt"}
    assert b"token-7" not in frame
    assert b"tus.example" not in frame
