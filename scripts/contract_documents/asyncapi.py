"""AsyncAPI 3.0: the streams, and the messages up, from where the control plane stands."""

from typing import Any

from sse_agent import __version__
from sse_agent.control_plane.news import News
from sse_agent.control_plane.openapi import examples
from sse_agent.control_plane.openapi.schemas import EVENT_ID, definitions, payload_name, referred
from sse_agent.messages import CommandType, EventType

PREFIX = "#/components/schemas/"
Json = dict[str, Any]

_COMMANDS = """\
Server-Sent Events. HELLO comes first, within 2 s, without an `id:`. Then each command behind the cursor
(`Last-Event-ID`) is one event: `id:` first, then `event:` its type, then `data:` the envelope; the IDs are
`<numbering>/<n>`, without holes. A comment line goes out every `heartbeatSeconds` when nothing else does. HELLO with
`resume: false` carries a `reset`.

With `Accept: application/json` and `?wait=25` the same is a long poll: `{"hello", "events": [{"id", "message"}]}`."""
_VIEWING = """\
Server-Sent Events. HELLO comes first, without an `id:`. Events with an `id:` (a number that rises) are what agents
reported durably, named by its type, or REPORT for a type that is not known here; their `data` is the envelope. Events
without an `id:` are not kept: UPLOAD_PROGRESS, CLIENT_STATUS, and the control plane's own PRESENCE, AGENT and COMMAND.
`Last-Event-ID` goes on where it was; RESET says that too much was missed, and everything must be read again."""
_UP = "`POST`, `Idempotency-Key` the message's ID; or a batch of at most 100. 202: recorded now; 200: recorded before."


def document() -> Json:
    """The whole document."""
    schemas = definitions(PREFIX)
    down = {
        f"down.{kind}": _message(str(kind), "Command", payload_name(kind), examples.command(kind), True)
        for kind in CommandType
    }
    up = {
        f"up.{kind}": _message(str(kind), "Event", payload_name(kind), examples.report(kind), False)
        for kind in EventType
    }
    messages = {"down.HELLO": _hello(), **down, **up, **_news()}
    needed = set(_needed(messages, schemas))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sse-agent: commands, messages and news",
            "version": __version__,
            "description": "What goes over the streams between agents, a control plane and whoever looks on. "
            "Requests and answers are in openapi.json.",
        },
        "defaultContentType": "application/json",
        "channels": _channels(list(down), list(up)),
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": {name: schemas[name] for name in sorted(needed)},
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer"} for name in ("agentToken", "serviceToken", "viewerToken")
            },
        },
    }


def _channels(down: list[str], up: list[str]) -> Json:
    client = {"clientId": {"description": "The agent."}}
    return {
        "commands": {
            "address": "/api/v1/agents/{clientId}/stream",
            "title": "The command stream",
            "description": _COMMANDS,
            "parameters": client,
            "messages": _refs(["down.HELLO", *down]),
        },
        "messages": {
            "address": "/api/v1/agents/{clientId}/messages",
            "title": "Messages up",
            "description": _UP,
            "parameters": client,
            "messages": _refs(up),
        },
        "viewing": {
            "address": "/api/v1/stream",
            "title": "Everything that agents report",
            "description": _VIEWING,
            "messages": _refs([*(f"news.{name}" for name in News), *up]),
        },
    }


def _operations() -> Json:
    def security(*names: str) -> list[Json]:
        return [{"$ref": f"#/components/securitySchemes/{name}"} for name in names]

    return {
        "sendCommands": {
            "action": "send",
            "channel": {"$ref": "#/channels/commands"},
            "summary": "The agent gets its commands.",
            "security": security("agentToken"),
            "bindings": {"http": {"method": "GET"}},
        },
        "receiveMessages": {
            "action": "receive",
            "channel": {"$ref": "#/channels/messages"},
            "summary": "The agent reports.",
            "security": security("agentToken"),
            "bindings": {"http": {"method": "POST"}},
        },
        "sendNews": {
            "action": "send",
            "channel": {"$ref": "#/channels/viewing"},
            "summary": "Services and browsers look on.",
            "security": security("serviceToken", "viewerToken"),
            "bindings": {"http": {"method": "GET"}},
        },
    }


def _refs(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _message(name: str, envelope: str, payload: str, example: Json, is_down: bool) -> Json:
    of_type = {"properties": {"type": {"const": name}, "payload": {"$ref": PREFIX + payload}}}
    found: Json = {
        "name": name,
        "title": f"{name} ({'down' if is_down else 'up'})",
        "contentType": "application/json",
        "payload": {"allOf": [{"$ref": PREFIX + envelope}, of_type]},
        "examples": [{"payload": example}],
    }
    if is_down:
        found["headers"] = _fields(name, {"id": {"type": "string", "pattern": EVENT_ID}})
        found["examples"] = [{"headers": {"id": "k7/42", "event": name}, "payload": example}]
    return found


def _hello() -> Json:
    return {
        "name": "HELLO",
        "title": "HELLO (down)",
        "summary": "How the stream goes on. No envelope, and no id.",
        "contentType": "application/json",
        "headers": _fields("HELLO", {}),
        "payload": {"$ref": f"{PREFIX}Hello"},
        "examples": [{"headers": {"event": "HELLO"}, "payload": hello} for hello in examples.hellos()],
    }


def _news() -> Json:
    whole: Json = {"type": "object"}
    of: dict[News, tuple[str, Json]] = {
        News.HELLO: (
            "The first: `position` is where it goes on, `instance` changes when the control plane restarts.",
            whole,
        ),
        News.RESET: ("Too much was missed: read everything again, then go on behind `position`.", whole),
        News.PRESENCE: ("Whether an agent is there.", whole),
        News.AGENT: ("An agent as it is now, or `isDeleted`.", whole),
        News.COMMAND: ("What is known of a command.", whole),
        News.REPORT: ("A report of a type that is not known here.", {"$ref": f"{PREFIX}Event"}),
    }
    return {
        f"news.{name}": {
            "name": str(name),
            "title": f"{name} (viewers)",
            "summary": summary,
            "contentType": "application/json",
            "headers": _fields(str(name), {}),
            "payload": payload,
        }
        for name, (summary, payload) in of.items()
    }


def _fields(event: str, more: Json) -> Json:
    """The fields of the Server-Sent Event beside its data."""
    return {"type": "object", "properties": {**more, "event": {"const": event}}, "required": [*more, "event"]}


def _needed(value: Json, schemas: Json) -> set[str]:
    needed: set[str] = set()
    waiting = list(referred(value, PREFIX))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += referred(schemas[name], PREFIX)
    return needed
