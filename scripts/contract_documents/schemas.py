"""JSON Schemas, one file each, that refer to nothing outside themselves."""

from typing import Any

from sse_agent.control_plane.openapi import examples
from sse_agent.control_plane.openapi.schemas import definitions, payload_name, referred
from sse_agent.messages import CommandType, EventType

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PREFIX = "#/$defs/"
NAMES = {
    "command": "Command",
    "event": "Event",
    "batch": "Batch",
    "hello": "Hello",
    "long-poll": "LongPoll",
    "recorded": "Recorded",
    "results": "Results",
    "problem": "Problem",
    "queued": "Queued",
    "command-state": "CommandRecord",
    "agent-state": "AgentRecord",
    "upload-state": "UploadRecord",
}
"""Files and what is in them; one more for each type of command and event."""

Schema = dict[str, Any]


def files() -> dict[str, Schema]:
    """Each by its name, without `.json`."""
    known = definitions(PREFIX)
    found = {name: _whole(schema_name, known) for name, schema_name in NAMES.items()}
    for kind in CommandType:
        found[f"command.{kind}"] = _payload(payload_name(kind), examples.command(kind)["payload"], known)
    for kind in EventType:
        found[f"event.{kind}"] = _payload(payload_name(kind), examples.report(kind)["payload"], known)
    return found


def _payload(name: str, example: Schema, known: dict[str, Schema]) -> Schema:
    """Of the `payload` alone."""
    return {**_whole(name, known), "examples": [example]}


def _whole(name: str, known: dict[str, Schema]) -> Schema:
    """With the definitions that it needs, directly or not."""
    needed: dict[str, Schema] = {}
    waiting = list(referred(known[name], PREFIX))
    while waiting:
        inner = waiting.pop()
        if inner not in needed:
            needed[inner] = known[inner]
            waiting += referred(known[inner], PREFIX)
    defs = {"$defs": dict(sorted(needed.items()))} if needed else {}
    return {"$schema": DRAFT, **known[name], **defs}
