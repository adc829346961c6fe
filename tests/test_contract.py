"""The contract as documents for programs: current, valid, whole; their examples are messages that are really sent."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from sse_agent.control_plane import problems
from sse_agent.control_plane.openapi import examples
from sse_agent.control_plane.openapi.operations import OPERATIONS
from sse_agent.control_plane.problems import TYPE_PREFIX, Problem, Rejected
from sse_agent.errors import GiveUp
from sse_agent.messages import EVENT_PAYLOADS, CommandType, EventType, parse_envelope, parse_payload
from sse_agent.messages import parse_hello as read_hello

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = sorted((REFERENCE / "schemas").glob("*.json"))
DOCUMENTS = [REFERENCE / "openapi.json", REFERENCE / "asyncapi.json", *SCHEMAS]
Json = dict[str, Any]


def read(name: str | Path) -> Json:
    found: Json = json.loads((REFERENCE / name).read_text())
    return found


def validator(document: Json, schema: object) -> jsonschema_rs.Validator:
    """Of a schema inside of a document, whose references start from the document's root."""
    rest = {name: value for name, value in document.items() if name in ("components", "$defs")}
    return jsonschema_rs.Draft202012Validator({**rest, "allOf": [schema]}, validate_formats=True)


def inside(value: object) -> Iterator[Json]:
    """Every object in it, at any depth."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from inside(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from inside(inner)


def check() -> tuple[int, str]:
    command = [sys.executable, "-m", "scripts.contract", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


def test_the_documents_are_what_the_code_says() -> None:
    assert check() == (0, "")


def test_the_openapi_document_is_valid_and_one_with_a_mistake_is_not() -> None:
    meta = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    document = read("openapi.json")
    assert [error.message for error in meta.iter_errors(document)] == []
    broken = copy.deepcopy(document)
    del broken["paths"]["/api/v1/agents"]["get"]["responses"]["401"]["$ref"]
    assert not meta.is_valid(broken)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_reference_leads_somewhere(path: Path) -> None:
    document = read(path)
    for value in inside(document):
        target = value.get("$ref")
        if isinstance(target, str):
            assert target.startswith("#/")
            at: Any = document
            for part in target.removeprefix("#/").split("/"):
                assert part in at, target
                at = at[part]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_schema_is_one_and_its_examples_fit(path: Path) -> None:
    schema = read(path)
    assert jsonschema_rs.meta.is_valid(schema)
    checked = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    assert [error.message for example in schema.get("examples", []) for error in checked.iter_errors(example)] == []


def test_every_command_and_every_event_has_a_schema_and_a_real_example() -> None:
    names = {path.stem for path in SCHEMAS}
    assert {f"command.{kind}" for kind in CommandType} | {f"event.{kind}" for kind in EventType} <= names
    for kind in CommandType:
        command = parse_envelope(json.dumps(examples.command(kind)))
        assert parse_payload(command.type, command.payload).to_wire() == command.payload
        assert read(f"schemas/command.{kind}.json")["examples"] == [command.payload]
    for event_kind in EventType:
        event = parse_envelope(json.dumps(examples.report(event_kind)))
        payload = EVENT_PAYLOADS[event_kind].model_validate_json(json.dumps(event.payload))
        assert payload.to_wire() == event.payload
        assert read(f"schemas/event.{event_kind}.json")["examples"] == [event.payload]
    assert [read_hello(json.dumps(hello)).to_wire() for hello in examples.hellos()] == read("schemas/hello.json")[
        "examples"
    ]


WRONG: list[tuple[CommandType, Json]] = [
    (CommandType.UPLOAD_START, {"fileId": "f"}),
    (CommandType.UPLOAD_START, {"fileId": "a/b", "fileName": "x"}),
    (CommandType.UPLOAD_START, {"fileId": "f", "fileName": "x", "priority": 10}),
    (CommandType.UPLOAD_START, {"fileId": "f", "fileName": "x", "fileSize": -1}),
    (CommandType.UPLOAD_START, {"fileId": "f", "fileName": "x", "sha256": "abc"}),
    (CommandType.UPLOAD_START, {"fileId": "f", "fileName": "x", "metadata": {"a b": "c"}}),
    (CommandType.UPLOAD_START, {"fileId": "f", "fileName": "x", "metadata": {"a": 1}}),
    (CommandType.UPLOAD_PAUSE, {}),
    (CommandType.UPLOAD_CANCEL, {"fileId": "x" * 129}),
    (CommandType.LIST_FILES, {"limit": 0}),
    (CommandType.LIST_FILES, {"limit": 1001}),
    (CommandType.LIST_FILES, {"path": 1}),
    (CommandType.MESSAGE, {"text": "x" * 4001}),
    (CommandType.MESSAGE, {}),
]


@pytest.mark.parametrize(("kind", "payload"), WRONG)
def test_what_an_agent_refuses_the_schemas_refuse_too(kind: CommandType, payload: Json) -> None:
    with pytest.raises(GiveUp):
        parse_payload(kind, payload)
    alone = jsonschema_rs.Draft202012Validator(read(f"schemas/command.{kind}.json"))
    assert not alone.is_valid(payload)
    whole = jsonschema_rs.Draft202012Validator(read("schemas/command.json"))
    assert whole.is_valid(examples.command(kind))
    assert not whole.is_valid({**examples.command(kind), "payload": payload})


@pytest.mark.parametrize(
    "changes",
    [{"id": ""}, {"id": "a b"}, {"timestamp": "yesterday"}, {"clientId": "a/b"}, {"payload": []}, {"type": "lower"}],
)
def test_an_envelope_that_is_none_fits_neither_way(changes: Json) -> None:
    for name, message in (
        ("command", examples.command(CommandType.HEARTBEAT)),
        ("event", examples.report(EventType.MESSAGE)),
    ):
        schema = jsonschema_rs.Draft202012Validator(read(f"schemas/{name}.json"), validate_formats=True)
        assert schema.is_valid({**message, "type": "SOMETHING_NEW", "payload": {"a": 1}})
        assert not schema.is_valid({**message, **changes})
        with pytest.raises(GiveUp):
            parse_envelope(json.dumps({**message, **changes}))


def test_every_endpoint_is_described_and_none_that_there_is_not() -> None:
    paths = read("openapi.json")["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == set(OPERATIONS)
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(names)) == len(names)
    for methods in paths.values():
        for operation in methods.values():
            assert operation["summary"]
            assert "security" in operation
            assert any(status.startswith("2") for status in operation["responses"])


def every_problem(root: type[Problem] = Problem) -> Iterator[type[Problem]]:
    for kind in root.__subclasses__():
        # Tests have problems of their own.
        if kind is not Rejected and kind.__module__.startswith("sse_agent."):
            yield kind
            yield from every_problem(kind)


def test_every_problem_stands_at_some_endpoint_with_its_status() -> None:
    told: dict[str, set[int]] = {}
    for value in inside(read("openapi.json")):
        members = value.get("properties", {})
        if "enum" in members.get("type", {}) and "const" in members.get("status", {}):
            for name in members["type"]["enum"]:
                told.setdefault(name.removeprefix(TYPE_PREFIX), set()).add(members["status"]["const"])
    known = {kind.slug: {kind.status} for kind in every_problem()}
    assert problems.UnknownAgent.slug in known
    assert told == known


def test_the_asyncapi_document_has_the_parts_of_one() -> None:
    document = read("asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    assert document["info"].keys() >= {"title", "version"}
    assert {channel["address"] for channel in document["channels"].values()} == {
        "/api/v1/agents/{clientId}/stream",
        "/api/v1/agents/{clientId}/messages",
        "/api/v1/stream",
    }
    for channel in document["channels"].values():
        named = {part.partition("}")[0] for part in channel["address"].split("{")[1:]}
        assert set(channel.get("parameters", {})) == named
        assert channel["messages"]
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
    messages = document["components"]["messages"]
    downs = {message["name"] for name, message in messages.items() if name.startswith("down.")}
    ups = {message["name"] for name, message in messages.items() if name.startswith("up.")}
    assert downs == {"HELLO", *map(str, CommandType)}
    assert ups == set(map(str, EventType))


def test_every_example_of_the_asyncapi_document_fits_its_message() -> None:
    document = read("asyncapi.json")
    count = 0
    for message in document["components"]["messages"].values():
        for example in message.get("examples", []):
            count += 1
            for part in ("payload", "headers"):
                if part in message:
                    checked = validator(document, message[part])
                    assert [error.message for error in checked.iter_errors(example[part])] == []
                    assert not checked.is_valid({**example[part], "type": "OTHER", "event": "OTHER", "protocol": "x"})
    assert count == len(CommandType) + len(EventType) + len(examples.hellos())
