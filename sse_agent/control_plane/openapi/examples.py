"""Messages as agents and control planes send them, made by the code that makes them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sse_agent.clock import timestamp
from sse_agent.errors import ErrorCode
from sse_agent.lifecycle import UploadState
from sse_agent.messages import (
    Ack,
    AckError,
    AckStatus,
    Chat,
    ClientConnected,
    ClientDisconnected,
    ClientStatus,
    CommandType,
    Empty,
    Envelope,
    EventType,
    FileEntry,
    FileList,
    Hello,
    ListFiles,
    Reset,
    UploadComplete,
    UploadFailed,
    UploadMoved,
    UploadProgress,
    UploadReference,
    UploadStart,
    UploadSummary,
    Wire,
    derived_id,
    event,
)

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
CLIENT = "warehouse-7"
FILE = "f-17"
COMMAND = "3f0c7d4e9b1a4c55a1f0d2b7c6e8a913"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_START = UploadStart(
    file_id=FILE,
    file_name="reports/may.pdf",
    file_size=125_829_120,
    tus_endpoint="https://uploads.example/files/",
    metadata={"customer": "4711"},
    priority=7,
)
_COMMANDS: Mapping[CommandType, Wire] = {
    CommandType.UPLOAD_START: _START,
    CommandType.UPLOAD_PAUSE: UploadReference(file_id=FILE),
    CommandType.UPLOAD_RESUME: UploadReference(file_id=FILE),
    CommandType.UPLOAD_CANCEL: UploadReference(file_id=FILE),
    CommandType.LIST_FILES: ListFiles(path="reports", limit=100),
    CommandType.GET_STATUS: Empty(),
    CommandType.MESSAGE: Chat(text="Is the scanner on?", from_="anna@example.com"),
    CommandType.HEARTBEAT: Empty(),
}
_UNDER_WAY = UploadSummary(
    file_id=FILE, state=UploadState.UPLOADING, revision=2, offset=59_768_832, file_size=125_829_120
)
_NOT_FOUND = AckError(code=ErrorCode.NOT_FOUND, message="there is no such file, or it may not be read")
_EVENTS: Mapping[EventType, Wire] = {
    EventType.ACK: Ack(command_id=COMMAND, status=AckStatus.REJECTED, error=_NOT_FOUND),
    EventType.CLIENT_CONNECTED: ClientConnected(
        version="0.1.0",
        platform="Linux-6.1 x86_64",
        hostname="scanner-pc",
        allowed_folders=["/srv/outgoing"],
        capabilities=["polling"],
        cursor="k7/41",
        uploads={"uploading": 1},
        unfinished=[_UNDER_WAY],
    ),
    EventType.CLIENT_DISCONNECTED: ClientDisconnected(reason="stopped"),
    EventType.CLIENT_STATUS: ClientStatus(
        version="0.1.0",
        transport="sse",
        disk_free=81_604_378_624,
        upload_rate=5_242_880,
        queued=0,
        outbox=1,
        uploads={"uploading": 1},
        active=[_UNDER_WAY],
    ),
    EventType.UPLOAD_PROGRESS: UploadProgress(
        file_id=FILE,
        state=UploadState.UPLOADING,
        revision=2,
        n=31,
        offset=59_768_832,
        bytes_sent=60_817_408,
        file_size=125_829_120,
        rate=5_242_880,
        eta_seconds=13,
    ),
    EventType.UPLOAD_PAUSED: UploadMoved(file_id=FILE, revision=3, offset=59_768_832),
    EventType.UPLOAD_RESUMED: UploadMoved(file_id=FILE, revision=4, offset=59_768_832),
    EventType.UPLOAD_CANCELLED: UploadMoved(file_id=FILE, revision=5, offset=59_768_832),
    EventType.UPLOAD_COMPLETE: UploadComplete(
        file_id=FILE,
        revision=5,
        file_size=125_829_120,
        sha256=_SHA256,
        upload_id="24e533e02ec3bc40c387f1a0e460e216",
        seconds=24.5,
        confirmation="response",
    ),
    EventType.UPLOAD_FAILED: UploadFailed(
        file_id=FILE,
        revision=5,
        code=ErrorCode.SERVER_REFUSED,
        message="the tus server refused the last bytes (507)",
        offset=125_829_120,
        retryable=True,
    ),
    EventType.FILE_LIST: FileList(
        path="/srv/outgoing/reports",
        entries=[FileEntry(name="may.pdf", kind="file", size=125_829_120, modified_at=timestamp(AT))],
    ),
    EventType.MESSAGE: Chat(text="It is now.", from_="console"),
}
# What no command asks for.
_UNASKED = (EventType.CLIENT_CONNECTED, EventType.CLIENT_DISCONNECTED, EventType.CLIENT_STATUS, EventType.MESSAGE)


def command(kind: CommandType) -> dict[str, Any]:
    """A command of that type, as it comes down."""
    return Envelope(
        type=kind,
        id=COMMAND,
        timestamp=timestamp(AT),
        client_id=CLIENT,
        payload=_COMMANDS[kind].to_wire(),
        actor="anna@example.com",
    ).to_wire()


def report(kind: EventType) -> dict[str, Any]:
    """An event of that type, as it goes up."""
    asked = None if kind in _UNASKED else COMMAND
    message_id = derived_id(COMMAND, kind, 0)
    found = event(kind, _EVENTS[kind], client_id=CLIENT, at=AT, message_id=message_id, in_reply_to=asked)
    return found.to_wire()


def hellos() -> list[dict[str, Any]]:
    """HELLO of a stream that goes on, and of one whose cursor is not known."""
    goes_on = Hello(protocol=1, now=timestamp(AT), heartbeat_seconds=15, resume=True, latest="k7/41", floor="k7/3")
    reset = Reset(cursor="k9/41", since="2026-11-21T10:30:00.000Z")
    is_lost = {"resume": False, "latest": "k9/41", "floor": "k9/3", "reason": "journal-lost", "reset": reset}
    return [goes_on.to_wire(), goes_on.model_copy(update=is_lost).to_wire()]
