"""JSON Schemas (draft 2020-12) of everything that goes over the wire, made from the models that read and write it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sse_agent.control_plane.identity import told
from sse_agent.control_plane.identity.enrolment import Application, Enrolled
from sse_agent.control_plane.openapi import examples
from sse_agent.control_plane.ordering import CommandOrder
from sse_agent.control_plane.problems import TYPE_PREFIX
from sse_agent.control_plane.records import AgentRecord, CommandRecord, MessageRecord, UploadRecord
from sse_agent.control_plane.signin import Grant, Link, Secret, SignedIn
from sse_agent.control_plane.tus_hooks import TusHook
from sse_agent.control_plane.webhooks.registry import Webhook, WebhookWanted
from sse_agent.messages import (
    BATCH_COUNT_LIMIT,
    EVENT_PAYLOADS,
    PAYLOADS,
    CommandType,
    Envelope,
    EventType,
    Hello,
    Wire,
)

Schema = dict[str, Any]
Ref = Callable[[str], Schema]
EVENT_ID = r"^[A-Za-z0-9]{1,32}/(0|[1-9][0-9]{0,17})$"
METADATA_KEY = r"^[A-Za-z0-9._-]{1,64}$"
READ: tuple[type[BaseModel], ...] = (
    Envelope,
    Hello,
    *PAYLOADS.values(),
    *EVENT_PAYLOADS.values(),
    CommandOrder,
    Application,
    told.CredentialWanted,
    told.Confirmation,
    told.Rotation,
    told.ViewerWanted,
    Grant,
    Secret,
    TusHook,
    WebhookWanted,
    # What these leave out is absent.
    Enrolled,
    told.CodeMade,
    told.TokenMade,
    told.CodeTold,
    told.EnrolmentTold,
    told.EnrolmentsTold,
    told.Rotated,
    Link,
    SignedIn,
)
WRITTEN: tuple[type[BaseModel], ...] = (AgentRecord, UploadRecord, CommandRecord, MessageRecord, Webhook)
"""Every member is there, if only as null."""
_PLACES = ("cursor", "latest", "floor", "eventId")


def definitions(prefix: str) -> dict[str, Schema]:
    """Each by its name; references are `prefix` and a name."""

    def ref(name: str) -> Schema:
        return {"$ref": prefix + name}

    modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    modes += [(model, "validation") for model in dict.fromkeys(READ)]
    modes += [(model, "serialization") for model in dict.fromkeys(WRITTEN)]
    _, found = models_json_schema(modes, by_alias=True, ref_template=prefix + "{model}")
    models: dict[str, Schema] = {name: _refined(schema) for name, schema in found["$defs"].items()}
    _complete(models, ref)
    return {**models, **_envelopes(models.pop("Envelope"), ref), **_answers(ref)}


def payload_name(kind: CommandType | EventType) -> str:
    """The name of the schema of its payload."""
    model: type[Wire] = PAYLOADS[kind] if isinstance(kind, CommandType) else EVENT_PAYLOADS[kind]
    return model.__name__


def _refined(schema: Schema) -> Schema:
    """With what validators in Python check, and without titles that repeat the names."""
    for name, member in schema.get("properties", {}).items():
        member.pop("title", None)
        for part in (member, *member.get("anyOf", ())):
            _refine(name, part)
    return schema


def _refine(name: str, part: Schema) -> None:
    if part.get("type") != "string":
        return
    if name in ("timestamp", "now", "since") or name.endswith("At"):
        part["format"] = "date-time"
    # Of a listing the cursor is a word of the agent's own, and may be longer.
    if name in _PLACES and part.get("maxLength") in (None, 64):
        part["pattern"] = EVENT_ID


def _complete(models: Mapping[str, Schema], ref: Ref) -> None:
    models["UploadStart"]["anyOf"] = [{"required": ["fileName"]}, {"required": ["fileNameB64"]}]
    models["UploadStart"]["properties"]["metadata"]["propertyNames"] = {"pattern": METADATA_KEY}
    models["Hello"]["examples"] = examples.hellos()
    # A listing's cursor is opaque in answers, too.
    models["FileList"]["properties"]["cursor"]["anyOf"][0].pop("pattern", None)
    nothing = {"type": "null"}
    models["AgentRecord"]["properties"]["connection"]["anyOf"] = [ref("ClientConnected"), nothing]
    models["AgentRecord"]["properties"]["status"]["anyOf"] = [ref("ClientStatus"), nothing]
    if "enrollment" in models["AgentRecord"]["properties"]:
        models["AgentRecord"]["properties"]["enrollment"]["anyOf"] = [ref("EnrolmentTold"), nothing]
    models["CommandRecord"]["properties"]["replies"]["items"] = ref("Event")
    models["CommandRecord"]["properties"]["outcome"]["anyOf"] = [
        {"enum": ["completed", "failed", "rejected", "unknown"]},
        nothing,
    ]
    models["MessageRecord"]["properties"]["message"] = ref("Event")


def _envelopes(envelope: Schema, ref: Ref) -> dict[str, Schema]:
    """Commands and events: of a type that is known here the payload is, too; of others it is any object."""
    of_both: Schema = envelope["properties"]
    down = {name: of_both[name] for name in of_both if name != "inReplyTo"}
    up = {name: of_both[name] for name in of_both if name not in ("expiresAt", "actor")}
    return {
        "Command": {
            "title": "Command",
            "description": "What comes down: an envelope of at most 64 KiB. Unknown types are rejected by the agent.",
            "anyOf": _by_type(CommandType, down, envelope["required"], ref),
            "examples": [examples.command(kind) for kind in CommandType],
        },
        "Event": {
            "title": "Event",
            "description": "What goes up: an envelope of at most 256 KiB. Unknown types are recorded.",
            "anyOf": _by_type(EventType, up, envelope["required"], ref),
            "examples": [examples.report(kind) for kind in EventType],
        },
    }


def _by_type(kinds: Iterable[CommandType | EventType], members: Schema, required: list[str], ref: Ref) -> list[Schema]:
    """One for each type that is known, and one for all others."""

    def one(title: str, changes: Schema) -> Schema:
        return {"title": title, "type": "object", "properties": {**members, **changes}, "required": required}

    known = [one(str(kind), {"type": {"const": str(kind)}, "payload": ref(payload_name(kind))}) for kind in kinds]
    others = {**members["type"], "not": {"enum": [str(kind) for kind in kinds]}}
    return [*known, one("any other type", {"type": others})]


def _answers(ref: Ref) -> dict[str, Schema]:
    event_id = {"type": "string", "pattern": EVENT_ID}
    text = {"type": "string"}
    polled = _object({"id": event_id, "message": ref("Command")})
    result = _object({"id": text, "status": {"enum": [202, 200, 409, 413, 422]}, "type": text, "detail": text}, 2)
    batch = {"type": "array", "items": {"type": "object", "required": ["id"]}, "minItems": 1}
    number = {"type": "integer", "minimum": 0}
    waiting = _object({"messageId": text, "n": number, "type": text, "tries": number, "nextAt": text, "reason": text})
    waiting["properties"]["state"] = {"enum": ["waiting", "dead"]}
    stored = {"type": "array", "items": {"type": "object"}}
    line = _object(
        {"id": text, "at": text, "from": text, "text": text, "isFromService": {"type": "boolean"}, "type": text}
    )
    return {
        "LongPoll": _object({"hello": ref("Hello"), "events": {"type": "array", "items": polled}}),
        "Batch": _object({"messages": {**batch, "maxItems": BATCH_COUNT_LIMIT}}),
        "Recorded": _object({"id": text, "status": {"enum": [202, 200]}}),
        "Results": _object({"results": {"type": "array", "items": result, "maxItems": BATCH_COUNT_LIMIT}}),
        "Queued": _object({"id": text, "eventId": event_id, "type": text}, 2),
        "AuditLog": _object({"entries": {"type": "array", "items": _object({"n": number, "at": text, "deed": text})}}),
        "Agents": _object({"agents": {"type": "array", "items": ref("AgentRecord")}}),
        "Uploads": _object({"uploads": {"type": "array", "items": ref("UploadRecord")}}),
        "Messages": _object({"messages": {"type": "array", "items": ref("MessageRecord")}}),
        "ChatLines": _object({"lines": {"type": "array", "items": line}}),
        "StoredUploads": _object({"uploads": stored}),
        "WebhookMade": {"allOf": [ref("Webhook")], "properties": {"secret": text}, "required": ["secret"]},
        "Webhooks": _object({"webhooks": {"type": "array", "items": ref("Webhook")}}),
        "Deliveries": _object({"deliveries": {"type": "array", "items": _object({"n": number, "at": text})}}),
        "WaitingDeliveries": _object({"waiting": {"type": "array", "items": waiting}}),
        "AccessToken": _object(
            {"access_token": text, "token_type": {"const": "Bearer"}, "expires_in": {"type": "integer"}}
        ),
        "TokenError": _object({"error": text, "error_description": text, "now": {**text, "format": "date-time"}}),
        "KeySet": _object({"keys": {"type": "array", "items": {"type": "object"}}}),
        "ServerMetadata": _object({"issuer": text, "token_endpoint": text, "jwks_uri": text}),
        "HookAnswer": _object({"HTTPResponse": {"type": "object"}, "RejectUpload": {"type": "boolean"}}, 0),
        "Problem": {
            **_object(
                {
                    "type": {**text, "pattern": f"^{TYPE_PREFIX}[a-z0-9-]+$"},
                    "title": text,
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "detail": text,
                },
                3,
            ),
            "description": "RFC 9457, `application/problem+json`. `type` says what to do; the rest is for people.",
        },
    }


def _object(properties: Schema, required: int | None = None) -> Schema:
    """`required`: how many of the first members are always there; all without it."""
    return {"type": "object", "properties": properties, "required": list(properties)[:required]}


def referred(schema: object, prefix: str) -> Iterable[str]:
    """The names that it refers to."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str) and target.startswith(prefix):
            yield target.removeprefix(prefix)
        for value in schema.values():
            yield from referred(value, prefix)
    elif isinstance(schema, list):
        for value in schema:
            yield from referred(value, prefix)
