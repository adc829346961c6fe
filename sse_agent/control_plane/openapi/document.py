"""FastAPI's own document, completed: what its endpoints read from bytes, whom they let in, and every problem."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.alias_generators import to_camel

from sse_agent.control_plane import problems
from sse_agent.control_plane.openapi.operations import AGENT, API, OPERATIONS, Operation, Problems, Who, problems_of
from sse_agent.control_plane.openapi.schemas import definitions
from sse_agent.control_plane.problems import Problem

PREFIX = "#/components/schemas/"
Json = dict[str, Any]
BARE = (("GET", f"{AGENT}/stream"), ("GET", f"{API}/stream"))
"""Endpoints that are not the framework's."""
_UUID = {"type": "string", "format": "uuid"}
_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9._~-]{1,128}$"}
_KEY = {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"}
_DESCRIPTION = """\
Agents on machines behind firewalls, commanded and watched over HTTPS. What an agent and a control plane must keep is in
docs/reference; `sse-agent conformance URL` checks it. Every error is a problem document (RFC 9457); what to do is said
by its `type`. The answers to `/api/v1/token` are those of RFC 6749."""


def publish(app: FastAPI) -> None:
    """Let `GET /openapi.json` answer with this one."""
    app.openapi = lambda: document(app)  # type: ignore[method-assign]


def document(app: FastAPI) -> Json:
    """The OpenAPI 3.1 document of all routes that the application has by now."""
    found: Json = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    form = _form(("grant_type", "client_assertion_type", "client_assertion"))
    schemas = {"TokenRequest": form, **found.get("components", {}).get("schemas", {}), **definitions(PREFIX)}
    paths: Json = {}
    for path, methods in found["paths"].items():
        paths[_camel(path)] = {
            method: _completed(_renamed(operation), method.upper(), _camel(path), schemas)
            for method, operation in methods.items()
        }
    for method, path in BARE:
        paths.setdefault(path, {})[method.lower()] = _completed(_bare(path), method, path, schemas)
    found["paths"] = dict(sorted(paths.items()))
    responses = _shared(found["paths"])
    found["components"] = {
        "responses": dict(sorted(responses.items())),
        "schemas": {name: schemas[name] for name in sorted(_reached([found["paths"], responses], schemas))},
        "securitySchemes": _security(),
    }
    return found


def _camel(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: "{" + to_camel(name[1]) + "}", path)


def _renamed(operation: Json) -> Json:
    """Names of parameters as on the wire."""
    for parameter in operation.get("parameters", []):
        parameter["name"] = to_camel(parameter["name"])
        parameter["schema"].pop("title", None)
        if parameter["name"] in ("clientId", "fileId"):
            parameter["schema"] = dict(_NAME)
        if parameter["name"] == "commandId":
            parameter["schema"] = dict(_KEY)
    return operation


def _completed(operation: Json, method: str, path: str, schemas: Json) -> Json:
    known = OPERATIONS.get((method, path))
    _hoist(operation, schemas)
    if known is None:
        return operation
    parameters = [*operation.get("parameters", []), *_headers(known)]
    has_query = any(parameter["in"] == "query" for parameter in parameters)
    completed: Json = {
        "operationId": known.name,
        "tags": [known.tag],
        "summary": known.summary or operation["summary"],
    }
    if operation.get("description"):
        completed["description"] = operation["description"]
    completed["security"] = [{name: []} for name in known.who.value]
    if parameters:
        completed["parameters"] = parameters
    if known.takes:
        content = {media: _content(name) for media, name in known.takes.items()}
        completed["requestBody"] = {"required": True, "content": content}
    completed["responses"] = _responses(known, problems_of(known, path, has_query=has_query))
    return completed


def _responses(operation: Operation, told: Problems) -> Json:
    found: Json = {}
    for status, by_media in operation.gives.items():
        found[str(status)] = {"description": _DONE.get(status, "Done.")}
        if by_media:
            found[str(status)]["content"] = {media: _content(name) for media, name in by_media.items()}
    for status, group in groupby(sorted(told, key=_status), _status):
        _add_problems(found.setdefault(str(status), {"description": ""}), list(group))
    return dict(sorted(found.items()))


_DONE = {200: "As asked.", 201: "Made.", 202: "Recorded, or queued, durably.", 204: "Done; there is nothing to say."}


def _status(problem: type[Problem]) -> int:
    return problem.status


def _add_problems(response: Json, told: list[type[Problem]]) -> None:
    names = [problems.TYPE_PREFIX + problem.slug for problem in told]
    lines = [f"`{problem.slug}`: {problem.title}." for problem in told]
    response["description"] = "\n\n".join(filter(None, [response["description"], *lines]))
    # What stands beside a $ref counts, too, since 3.1.
    schema = {"$ref": f"{PREFIX}Problem", "properties": {"type": {"enum": names}, "status": {"const": told[0].status}}}
    response.setdefault("content", {})[problems.MEDIA_TYPE] = {"schema": schema}
    if told[0].status in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    if told[0].status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}


def _content(name: str) -> Json:
    if not name:
        return {"schema": {"type": "string", "description": "Server-Sent Events; see asyncapi.json."}}
    refs = [{"$ref": PREFIX + part} for part in name.split(" | ")]
    return {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}


def _headers(operation: Operation) -> list[Json]:
    found = []
    if operation.who is Who.AGENT:
        found += [
            _header("Agent-Journal", _UUID, "Made with the agent's journal."),
            _header("Agent-Epoch", {"type": "string", "pattern": "^[0-9]{1,18}$"}, "Raised by one at every start."),
            _header("Agent-Instance", _UUID, "Of this process."),
        ]
    if operation.key is not None:
        words = "The same again changes nothing, and gets the same answer."
        found.append(_header("Idempotency-Key", _KEY, words, is_required=operation.key))
    return found


def _header(name: str, schema: Json, description: str, *, is_required: bool = True) -> Json:
    return {"name": name, "in": "header", "required": is_required, "schema": schema, "description": description}


def _bare(path: str) -> Json:
    cursor = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}}
    if path == BARE[1][1]:
        name = {"type": "array", "items": _NAME, "maxItems": 100}
        only = {"name": "agent", "in": "query", "required": False, "schema": name, "description": "Only these agents."}
        return {"parameters": [cursor, only]}
    client = {"name": "clientId", "in": "path", "required": True, "schema": _NAME}
    seconds = {"type": "integer", "minimum": 0, "maximum": 60, "default": 25}
    wait = {"name": "wait", "in": "query", "required": False, "schema": seconds, "description": "Of a long poll."}
    return {"parameters": [client, wait, cursor]}


def _form(names: Iterable[str]) -> Json:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": list(names)}


def _hoist(operation: Json, schemas: Json) -> None:
    """Definitions inside of a schema are found from the root of a document only."""

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for name, schema in value.pop("$defs", {}).items():
                walk(schema)
                schemas.setdefault(name, schema)
            if isinstance(value.get("$ref"), str):
                value["$ref"] = value["$ref"].replace("#/$defs/", PREFIX)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(operation)


def _shared(paths: Json) -> Json:
    """Responses that are nothing but problems stand once, and are referred to. By the names of the problems."""
    found: Json = {}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for status, response in operation["responses"].items():
            if list(response.get("content", {})) != [problems.MEDIA_TYPE]:
                continue
            slugs = response["content"][problems.MEDIA_TYPE]["schema"]["properties"]["type"]["enum"]
            name = "_".join([status, *(slug.removeprefix(problems.TYPE_PREFIX) for slug in slugs)])
            found[name] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return found


def _reached(used: object, schemas: Mapping[str, Json]) -> set[str]:
    """The names of what is referred to, in the end."""
    reached: set[str] = set()
    waiting = [json.dumps(used)]
    while waiting:
        for name in re.findall(re.escape(PREFIX) + r"([A-Za-z0-9_.-]+)", waiting.pop()):
            if name not in reached:
                reached.add(name)
                waiting.append(json.dumps(schemas[name]))
    return reached


def _security() -> Json:
    bearer = {"type": "http", "scheme": "bearer"}
    jwt = {**bearer, "bearerFormat": "JWT"}
    return {
        "agentToken": {**bearer, "description": "An access token from `/api/v1/token`, or the agent's fixed token."},
        "serviceToken": {**bearer, "description": "Of a service, such as the UI's back end. It may everything."},
        "viewerToken": {**jwt, "description": "Of a browser: some agents, some scopes, a few minutes."},
        "hookSecret": {"type": "http", "scheme": "basic", "description": "The hook secret, as the password."},
        "hookSecretAsBearer": {**bearer, "description": "The hook secret."},
        "sessionCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "sse-agent-session",
            "description": "Of the control plane's own page; `__Secure-sse-agent-session` over https.",
        },
    }
