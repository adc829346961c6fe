"""The wire: typed commands and events, and the envelope around them.

Parsing is strict and bounded (no NaN, no lone surrogates, depth and number sizes limited by the parser);
unknown members are ignored, as the contract says, so that an older agent understands a newer control plane.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from sse_agent.clock import parse_timestamp, timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.lifecycle import UploadState

COMMAND_LIMIT = 64 * 1024
EVENT_LIMIT = 256 * 1024
BATCH_COUNT_LIMIT = 100
BATCH_BYTES_LIMIT = 512 * 1024
LISTING_LIMIT = 1000
METADATA_LIMIT = 4 * 1024
MESSAGE_LIMIT = 4000
_INT64_MAX = 2**63 - 1
_ID_NAMESPACE = uuid.UUID("6a1c3f5e-8f0e-5b8e-9d55-5c1a7a1b6d11")

MessageId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]
ByteCount = Annotated[int, Field(strict=True, ge=0, le=_INT64_MAX)]
EnvelopeBytes = NewType("EnvelopeBytes", bytes)
"""One encoded message: made once, stored, and resent unchanged."""


class CommandType(StrEnum):
    """What a control plane may ask for."""

    UPLOAD_START = "UPLOAD_START"
    UPLOAD_PAUSE = "UPLOAD_PAUSE"
    UPLOAD_RESUME = "UPLOAD_RESUME"
    UPLOAD_CANCEL = "UPLOAD_CANCEL"
    LIST_FILES = "LIST_FILES"
    GET_STATUS = "GET_STATUS"
    MESSAGE = "MESSAGE"
    HEARTBEAT = "HEARTBEAT"


class EventType(StrEnum):
    """What an agent reports."""

    ACK = "ACK"
    CLIENT_CONNECTED = "CLIENT_CONNECTED"
    CLIENT_DISCONNECTED = "CLIENT_DISCONNECTED"
    CLIENT_STATUS = "CLIENT_STATUS"
    UPLOAD_PROGRESS = "UPLOAD_PROGRESS"
    UPLOAD_PAUSED = "UPLOAD_PAUSED"
    UPLOAD_RESUMED = "UPLOAD_RESUMED"
    UPLOAD_CANCELLED = "UPLOAD_CANCELLED"
    UPLOAD_COMPLETE = "UPLOAD_COMPLETE"
    UPLOAD_FAILED = "UPLOAD_FAILED"
    FILE_LIST = "FILE_LIST"
    MESSAGE = "MESSAGE"


class AckStatus(StrEnum):
    """How far a command is. All but `accepted` are final."""

    ACCEPTED = "accepted"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"


class Wire(BaseModel):
    """Members are camelCase on the wire, snake_case here; unknown ones are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True, extra="ignore", strict=True)

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, without members that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


# --- commands ---------------------------------------------------------------------------------------


class NamedFile(Wire):
    """`fileName`, or `fileNameB64` for a name that is not UTF-8 (base64 of the raw bytes, which then counts)."""

    file_name: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    file_name_b64: Annotated[str, StringConstraints(min_length=4, max_length=8192)] | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> "NamedFile":
        if self.file_name is None and self.file_name_b64 is None:
            raise ValueError("fileName is missing")
        self.raw_name()
        return self

    def raw_name(self) -> bytes:
        """The name as the file system has it. Raises ValueError if `fileNameB64` is no base64."""
        if self.file_name_b64 is None:
            return (self.file_name or "").encode()
        try:
            return base64.b64decode(self.file_name_b64, validate=True)
        except binascii.Error:
            raise ValueError("fileNameB64 is not base64") from None


MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class UploadStart(NamedFile):
    """UPLOAD_START."""

    file_id: Name
    file_size: ByteCount | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None = None
    tus_endpoint: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    upload_token: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,8192}$")] | None = Field(
        default=None, repr=False
    )
    metadata: dict[MetadataKey, str] = Field(default_factory=dict)
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = 5

    @model_validator(mode="after")
    def _metadata_is_bounded(self) -> "UploadStart":
        if sum(len(key) + len(value.encode()) for key, value in self.metadata.items()) > METADATA_LIMIT:
            raise ValueError(f"metadata is larger than {METADATA_LIMIT} bytes")
        return self

    def identity(self) -> str:
        """What must be equal for two starts of one `fileId` to mean the same upload: all but token and priority."""
        same = self.model_dump(mode="json", by_alias=True, exclude={"upload_token", "priority"})
        return json.dumps(same, sort_keys=True)


class UploadReference(Wire):
    """UPLOAD_PAUSE, UPLOAD_RESUME, UPLOAD_CANCEL."""

    file_id: Name


class ListFiles(Wire):
    """LIST_FILES. `path` as `fileName`; absent: the allowed folders themselves."""

    path: Annotated[str, StringConstraints(max_length=4096)] | None = None
    path_b64: Annotated[str, StringConstraints(max_length=8192)] | None = None
    cursor: Annotated[str, StringConstraints(max_length=8192)] | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=LISTING_LIMIT)] = 200

    @model_validator(mode="after")
    def _is_readable(self) -> "ListFiles":
        self.raw_path()
        return self

    def raw_path(self) -> bytes | None:
        """The folder's name as the file system has it, or None for the allowed folders."""
        if self.path_b64 is not None:
            try:
                return base64.b64decode(self.path_b64, validate=True)
            except binascii.Error:
                raise ValueError("pathB64 is not base64") from None
        return self.path.encode() if self.path else None


class Chat(Wire):
    """MESSAGE, in either direction."""

    text: Annotated[str, StringConstraints(max_length=MESSAGE_LIMIT)]
    from_: Annotated[str, StringConstraints(max_length=256)] = Field(default="", alias="from")


class Empty(Wire):
    """GET_STATUS, HEARTBEAT."""


PAYLOADS: Mapping[CommandType, type[Wire]] = {
    CommandType.UPLOAD_START: UploadStart,
    CommandType.UPLOAD_PAUSE: UploadReference,
    CommandType.UPLOAD_RESUME: UploadReference,
    CommandType.UPLOAD_CANCEL: UploadReference,
    CommandType.LIST_FILES: ListFiles,
    CommandType.GET_STATUS: Empty,
    CommandType.MESSAGE: Chat,
    CommandType.HEARTBEAT: Empty,
}


class Envelope(Wire):
    """Every message, in either direction."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
    id: MessageId
    timestamp: Annotated[str, StringConstraints(max_length=64)]
    client_id: Name
    payload: dict[str, Any]
    expires_at: Annotated[str, StringConstraints(max_length=64)] | None = None
    actor: Annotated[str, StringConstraints(max_length=256)] | None = None
    in_reply_to: MessageId | None = None

    @model_validator(mode="after")
    def _times_are_times(self) -> "Envelope":
        parse_timestamp(self.timestamp)
        if self.expires_at is not None:
            parse_timestamp(self.expires_at)
        return self

    def encode(self) -> EnvelopeBytes:
        """The bytes that are stored and sent, every time the same."""
        return EnvelopeBytes(pydantic_core.to_json(self.to_wire()))


def parse_envelope(data: str | bytes) -> Envelope:
    """One envelope. Raises GiveUp, `INVALID_ENVELOPE`, saying which member is wrong."""
    try:
        members = pydantic_core.from_json(data, allow_inf_nan=False, cache_strings="none")
        return Envelope.model_validate(members, by_name=False)
    except ValidationError as error:
        raise GiveUp(ErrorCode.INVALID_ENVELOPE, _explain(error)) from None
    except ValueError as error:
        raise GiveUp(ErrorCode.INVALID_ENVELOPE, f"not JSON: {error}") from None


def parse_payload(command_type: str, payload: Mapping[str, Any]) -> Wire:
    """The typed payload. Raises GiveUp, `UNKNOWN_TYPE` or `INVALID_PAYLOAD`, saying which member is wrong."""
    try:
        model = PAYLOADS[CommandType(command_type)]
    except ValueError:
        raise GiveUp(ErrorCode.UNKNOWN_TYPE, f"no command is called {command_type}") from None
    try:
        return model.model_validate(payload, by_name=False)
    except ValidationError as error:
        raise GiveUp(ErrorCode.INVALID_PAYLOAD, _explain(error)) from None


def _explain(error: ValidationError) -> str:
    """One line for the first few wrong members, without repeating what was sent."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(str(part) for part in item['loc']) or 'message'}: {item['msg']}" for item in wrong[:3]]
    return "; ".join(line[:200] for line in lines)


# --- the stream's first frame -----------------------------------------------------------------------


class EventId(NamedTuple):
    """`<numbering>/<n>`: the place of a command in an agent's queue."""

    numbering: str
    n: int

    def __str__(self) -> str:
        return f"{self.numbering}/{self.n}"


def parse_event_id(text: str) -> EventId:
    """The two parts of an event ID. Raises ValueError."""
    numbering, slash, n = text.partition("/")
    if not (slash and 1 <= len(numbering) <= 32 and numbering.isascii() and numbering.isalnum()):
        raise ValueError("an event ID is <numbering>/<n>")
    if not (n.isascii() and n.isdigit() and len(n) <= 18):
        raise ValueError("an event ID ends in a decimal number")
    return EventId(numbering, int(n))


class Reset(Wire):
    """Where an agent goes on whose cursor is not known, and from when on it reports again."""

    cursor: Annotated[str, StringConstraints(max_length=64)]
    since: Annotated[str, StringConstraints(max_length=64)]


class Hello(Wire):
    """HELLO: how the stream goes on. `latest` and `floor` are the newest and the oldest command kept."""

    protocol: int
    now: Annotated[str, StringConstraints(max_length=64)]
    heartbeat_seconds: Annotated[float, Field(ge=1, le=60, strict=False)]
    resume: bool
    latest: Annotated[str, StringConstraints(max_length=64)]
    floor: Annotated[str, StringConstraints(max_length=64)] | None = None
    reason: Annotated[str, StringConstraints(max_length=256)] | None = None
    reset: Reset | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> "Hello":
        parse_timestamp(self.now)
        parse_event_id(self.latest)
        if self.floor is not None:
            parse_event_id(self.floor)
        if self.reset is not None:
            parse_event_id(self.reset.cursor)
            parse_timestamp(self.reset.since)
        elif not self.resume:
            raise ValueError("resume is false, but there is no reset")
        return self


def parse_hello(data: str) -> Hello:
    """The first frame of a stream. Raises GiveUp, `INVALID_ENVELOPE`."""
    try:
        return Hello.model_validate(pydantic_core.from_json(data, allow_inf_nan=False), by_name=False)
    except ValidationError as error:
        raise GiveUp(ErrorCode.INVALID_ENVELOPE, _explain(error)) from None
    except ValueError as error:
        raise GiveUp(ErrorCode.INVALID_ENVELOPE, f"not JSON: {error}") from None


# --- events -----------------------------------------------------------------------------------------


class AckError(Wire):
    """Why a command was rejected or failed."""

    code: ErrorCode
    message: str


class Ack(Wire):
    """ACK."""

    command_id: str
    status: AckStatus
    error: AckError | None = None


class UploadSummary(Wire):
    """One unfinished upload, in CLIENT_CONNECTED and CLIENT_STATUS."""

    file_id: Name
    state: UploadState
    revision: int
    offset: int
    file_size: int | None = None
    reason: str | None = None


class ClientConnected(Wire):
    """CLIENT_CONNECTED: the agent's whole state, in short."""

    version: str
    platform: str
    hostname: str
    allowed_folders: list[str]
    capabilities: list[str]
    cursor: str | None = None
    uploads: dict[str, int]
    unfinished: list[UploadSummary]


class ClientDisconnected(Wire):
    """CLIENT_DISCONNECTED."""

    reason: str


class ClientStatus(Wire):
    """CLIENT_STATUS. `uploadRate` is in bytes per second."""

    version: str
    transport: str
    disk_free: int | None = None
    upload_rate: int
    queued: int
    outbox: int
    uploads: dict[str, int]
    active: list[UploadSummary]


class UploadProgress(Wire):
    """UPLOAD_PROGRESS. `offset`: confirmed by the tus server; `bytesSent`: handed to the network; `rate` in bytes/s."""

    file_id: Name
    state: UploadState
    revision: int
    n: int
    offset: int
    bytes_sent: int
    file_size: int | None = None
    rate: int = 0
    eta_seconds: int | None = None
    reason: str | None = None
    next_try_at: str | None = None


class UploadMoved(Wire):
    """UPLOAD_PAUSED, UPLOAD_RESUMED, UPLOAD_CANCELLED."""

    file_id: Name
    revision: int
    offset: int


class UploadComplete(Wire):
    """UPLOAD_COMPLETE."""

    file_id: Name
    revision: int
    file_size: int
    sha256: str
    upload_id: str
    seconds: float
    confirmation: Literal["response", "offset"]


class UploadFailed(Wire):
    """UPLOAD_FAILED."""

    file_id: Name
    revision: int
    code: ErrorCode
    message: str
    offset: int
    retryable: bool


class FileEntry(Wire):
    """One entry of FILE_LIST. `size` in bytes."""

    name: str
    name_b64: str | None = Field(default=None, alias="nameB64")
    kind: Literal["file", "directory", "link", "other"]
    size: int
    modified_at: str


class FileList(Wire):
    """FILE_LIST."""

    path: str
    entries: list[FileEntry]
    cursor: str | None = None


EVENT_PAYLOADS: Mapping[EventType, type[Wire]] = {
    EventType.ACK: Ack,
    EventType.CLIENT_CONNECTED: ClientConnected,
    EventType.CLIENT_DISCONNECTED: ClientDisconnected,
    EventType.CLIENT_STATUS: ClientStatus,
    EventType.UPLOAD_PROGRESS: UploadProgress,
    EventType.UPLOAD_PAUSED: UploadMoved,
    EventType.UPLOAD_RESUMED: UploadMoved,
    EventType.UPLOAD_CANCELLED: UploadMoved,
    EventType.UPLOAD_COMPLETE: UploadComplete,
    EventType.UPLOAD_FAILED: UploadFailed,
    EventType.FILE_LIST: FileList,
    EventType.MESSAGE: Chat,
}


def event(
    kind: EventType,
    payload: Wire,
    *,
    client_id: str,
    at: datetime,
    message_id: str | None = None,
    in_reply_to: str | None = None,
) -> Envelope:
    """An event ready to be stored or sent; without a `message_id` it gets a random one."""
    return Envelope(
        type=kind,
        id=message_id or str(uuid.uuid4()),
        timestamp=timestamp(at),
        client_id=client_id,
        payload=payload.to_wire(),
        in_reply_to=in_reply_to,
    )


def derived_id(command_id: str, kind: EventType, counter: int) -> str:
    """The message ID of what follows from a command: work repeated after a crash repeats the ID."""
    return str(uuid.uuid5(_ID_NAMESPACE, f"{command_id}\n{kind}\n{counter}"))
