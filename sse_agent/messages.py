"""The wire: typed commands and events, and the envelope around them.

Unknown members are ignored, as the contract says, so that an older agent understands a newer control plane. Reading is
strict and bounded all the same, in known and unknown members: at most DEPTH_LIMIT levels, integers within
±NUMBER_LIMIT, no NaN, no infinity (`1e400` is one), no lone surrogates. Of a member that comes twice the last counts,
as in JavaScript and PHP. Whoever hands bytes in has bounded their number (COMMAND_LIMIT, EVENT_LIMIT). No pattern here
backtracks, and `$` in the models' ones is the end of the text alone. What is said of a wrong message names members of
the contract and repeats nothing that was sent.
"""

import base64
import binascii
import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
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
DEPTH_LIMIT = 32
"""Levels of arrays and objects with something in them; the first are an envelope, a payload and a HELLO themselves."""
NUMBER_LIMIT = 2**63 - 1
_ID_NAMESPACE = uuid.UUID("6a1c3f5e-8f0e-5b8e-9d55-5c1a7a1b6d11")

MessageId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]
ByteCount = Annotated[int, Field(strict=True, ge=0, le=NUMBER_LIMIT)]
EnvelopeBytes = NewType("EnvelopeBytes", bytes)
"""One encoded message: made once, stored, and resent unchanged."""
_METADATA_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _instant(text: str) -> str:
    try:
        parse_timestamp(text)
    except ValueError:
        # The date parser's own words repeat what it was given.
        raise ValueError("expected RFC 3339 with an offset, such as 2026-11-22T10:30:00Z") from None
    return text


Instant = Annotated[str, StringConstraints(max_length=64), AfterValidator(_instant)]


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

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        frozen=True,
        extra="ignore",
        strict=True,
        hide_input_in_errors=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, without members that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


W = TypeVar("W", bound=Wire)


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


def _metadata(members: object) -> object:
    """By hand: the model would complain of each wrong one of thousands, and by its name."""
    if not isinstance(members, dict):
        raise ValueError("expected an object")
    size = 0
    for key, value in members.items():
        if not isinstance(key, str) or not _METADATA_KEY.fullmatch(key):
            raise ValueError("a key is 1 to 64 letters, digits and . _ -")
        if not isinstance(value, str):
            raise ValueError("a value is a string")
        size += len(key) + len(value.encode(errors="surrogatepass"))
        if size > METADATA_LIMIT:
            raise ValueError(f"it is larger than {METADATA_LIMIT} bytes")
    return members


class UploadStart(NamedFile):
    """UPLOAD_START."""

    file_id: Name
    file_size: ByteCount | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None = None
    tus_endpoint: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    upload_token: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,8192}$")] | None = Field(
        default=None, repr=False
    )
    metadata: Annotated[dict[str, str], BeforeValidator(_metadata)] = Field(default_factory=dict)
    """What may stand in a value is not restricted: it reaches the tus server as base64."""
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = 5

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
    timestamp: Instant
    client_id: Name
    payload: dict[str, Any] = Field(repr=False)
    expires_at: Instant | None = None
    actor: Annotated[str, StringConstraints(max_length=256)] | None = None
    in_reply_to: MessageId | None = None

    def encode(self) -> EnvelopeBytes:
        """The bytes that are stored and sent, every time the same."""
        return EnvelopeBytes(pydantic_core.to_json(self.to_wire()))


def parse_envelope(data: str | bytes) -> Envelope:
    """One envelope, its payload for parse_payload to judge. Raises GiveUp, `INVALID_ENVELOPE`, saying what is wrong."""
    members = _decode(data)
    envelope = _validated(Envelope, members, ErrorCode.INVALID_ENVELOPE)
    _check_bounds([value for name, value in members.items() if name != "payload"], ErrorCode.INVALID_ENVELOPE)
    return envelope


def parse_payload(command_type: str, payload: Mapping[str, Any]) -> Wire:
    """The typed payload. Raises GiveUp, `UNKNOWN_TYPE` or `INVALID_PAYLOAD`, saying which member is wrong."""
    try:
        model = PAYLOADS[CommandType(command_type)]
    except ValueError:
        raise GiveUp(ErrorCode.UNKNOWN_TYPE, f"no command is called {command_type}") from None
    parsed = _validated(model, payload, ErrorCode.INVALID_PAYLOAD)
    _check_bounds(payload.values(), ErrorCode.INVALID_PAYLOAD)
    return parsed


def _decode(data: str | bytes) -> Any:
    try:
        return pydantic_core.from_json(data, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        # It says what is wrong and where, and quotes nothing.
        raise GiveUp(ErrorCode.INVALID_ENVELOPE, f"not JSON: {error}") from None


def _validated(model: type[W], members: object, code: ErrorCode) -> W:
    try:
        return model.model_validate(members, by_name=False)
    except ValidationError as error:
        raise GiveUp(code, _explain(error)) from None


def _check_bounds(values: Iterable[Any], code: ErrorCode) -> None:
    """In what is ignored, too: it is stored, and others read it."""
    level, depth = list(values), 1
    while level:
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, int) and not -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
                raise GiveUp(code, "an integer is beyond 64 bits")
            elif isinstance(value, float) and not math.isfinite(value):
                raise GiveUp(code, "a number is beyond what a double holds")
        level, depth = deeper, depth + 1
        if deeper and depth > DEPTH_LIMIT:
            raise GiveUp(code, f"arrays and objects are more than {DEPTH_LIMIT} levels deep")


def _explain(error: ValidationError) -> str:
    """One line for the first few wrong members, without repeating what was sent."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{_place(item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in wrong[:3]]
    return "; ".join(line[:200] for line in lines)


def _place(path: tuple[int | str, ...]) -> str:
    """The members' names as far as they are ours: a key of an object is the sender's."""
    return ".".join(str(part) for part in path if part in _MEMBERS) or "message"


# --- the stream's first frame -----------------------------------------------------------------------


class EventId(NamedTuple):
    """`<numbering>/<n>`: the place of a command in an agent's queue."""

    numbering: str
    n: int

    def __str__(self) -> str:
        return f"{self.numbering}/{self.n}"


def parse_event_id(text: str) -> EventId:
    """The two parts of an event ID; each has one spelling. Raises ValueError."""
    numbering, slash, n = text.partition("/")
    if not (slash and 1 <= len(numbering) <= 32 and numbering.isascii() and numbering.isalnum()):
        raise ValueError("an event ID is <numbering>/<n>")
    if not (n.isascii() and n.isdigit() and len(n) <= 18) or (n[0] == "0" and n != "0"):
        raise ValueError("an event ID ends in a decimal number")
    return EventId(numbering, int(n))


def _place_in_queue(text: str) -> str:
    parse_event_id(text)
    return text


Cursor = Annotated[str, StringConstraints(max_length=64), AfterValidator(_place_in_queue)]


class Reset(Wire):
    """Where an agent goes on whose cursor is not known, and from when on it reports again."""

    cursor: Cursor
    since: Instant


class Hello(Wire):
    """HELLO: how the stream goes on. `latest` and `floor` are the newest and the oldest command kept."""

    protocol: int
    now: Instant
    heartbeat_seconds: Annotated[float, Field(ge=1, le=60)]
    resume: bool
    latest: Cursor
    floor: Cursor | None = None
    reason: Annotated[str, StringConstraints(max_length=256)] | None = None
    reset: Reset | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> "Hello":
        if self.reset is None and not self.resume:
            raise ValueError("resume is false, but there is no reset")
        return self


def parse_hello(data: str) -> Hello:
    """The first frame of a stream. Raises GiveUp, `INVALID_ENVELOPE`."""
    members = _decode(data)
    hello = _validated(Hello, members, ErrorCode.INVALID_ENVELOPE)
    _check_bounds(members.values(), ErrorCode.INVALID_ENVELOPE)
    return hello


_READ: tuple[type[Wire], ...] = (*PAYLOADS.values(), Envelope, Hello, Reset)
_MEMBERS = frozenset(field.alias or name for model in _READ for name, field in model.model_fields.items())


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
    upload_id: str = Field(repr=False)
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
