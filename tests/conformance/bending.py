"""How what a control plane is asked, answers or streams can be bent on its way. Each function is one mistake."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.credentials import SERVICE, agent_token

JOURNAL = str(uuid.uuid4())
Json = dict[str, Any]


@dataclass
class Exchange:
    """One request and its answer, to be bent. Header names are lower case; of a stream only the head is here."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    memory: Json = field(default_factory=dict)
    """Of this request alone; `state` lives as long as the process."""
    state: Json = field(default_factory=dict)

    @property
    def client_id(self) -> str:
        found = re.match(r"/api/v1/agents/([^/]+)", self.path)
        return found[1] if found else ""

    @property
    def is_stream(self) -> bool:
        return bool(re.fullmatch(r"/api/v1/agents/[^/]+/stream", self.path))

    def is_for(self, method: str, last: str) -> bool:
        return self.method == method and self.path.rpartition("/")[2] == last

    @property
    def sent(self) -> Json:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def send(self, value: object) -> None:
        self.body = json.dumps(value).encode()

    @property
    def came(self) -> Json:
        try:
            found = json.loads(self.answer)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def come(self, value: object, status: int | None = None) -> None:
        self.answer = json.dumps(value).encode()
        self.answer_headers["content-type"] = "application/json"
        self.status = status or self.status


Bend = Callable[[Exchange], None]
BendChunk = Callable[[Exchange, bytes], bytes]


@dataclass(frozen=True)
class Mistake:
    asked: Bend | None = None
    answered: Bend | None = None
    head: Bend | None = None
    streamed: BendChunk | None = None
    is_deaf: bool = False
    """HELLO is never sent."""


# --- asked ------------------------------------------------------------------------------------------


def forget_cursor(e: Exchange) -> None:
    if e.is_stream:
        e.headers.pop("last-event-id", None)


def one_speaker(e: Exchange) -> None:
    if "agent-epoch" in e.headers:
        e.headers |= {"agent-epoch": "1", "agent-instance": JOURNAL, "agent-journal": JOURNAL}


def one_journal(e: Exchange) -> None:
    if "agent-journal" in e.headers:
        e.headers["agent-journal"] = JOURNAL


def any_speaker(e: Exchange) -> None:
    names = ("agent-journal", "agent-epoch", "agent-instance")
    last = e.state.setdefault("speaker", {})
    last |= {name: e.headers[name] for name in names if name in e.headers}
    if any(name in e.headers for name in names):
        e.headers |= last


def fresh_keys(e: Exchange) -> None:
    if e.is_for("POST", "commands"):
        e.headers["idempotency-key"] = uuid.uuid4().hex if "idempotency-key" in e.headers else ""


def keys_of_commands_made_up(e: Exchange) -> None:
    if e.is_for("POST", "commands"):
        e.headers.setdefault("idempotency-key", uuid.uuid4().hex)


def keys_of_messages_made_up(e: Exchange) -> None:
    if e.is_for("POST", "messages") and "id" in e.sent:
        e.headers["idempotency-key"] = e.sent["id"]


def is_agents(e: Exchange) -> bool:
    return e.is_stream or e.is_for("POST", "messages")


def agent_may_all(e: Exchange) -> None:
    token = e.headers.get("authorization", "").removeprefix("Bearer ")
    if not is_agents(e) and (token.startswith("token-of-") or token.count(".") == 2):
        e.headers["authorization"] = f"Bearer {SERVICE}"


def service_may_all(e: Exchange) -> None:
    if is_agents(e) and e.headers.get("authorization") == f"Bearer {SERVICE}":
        e.headers["authorization"] = f"Bearer {agent_token(e.client_id)}"


def agents_are_one(e: Exchange) -> None:
    if is_agents(e) and e.headers.get("authorization", "").startswith("Bearer token-of-"):
        e.headers["authorization"] = f"Bearer {agent_token(e.client_id)}"


def nobody_may_look(e: Exchange) -> None:
    if e.method == "GET":
        e.headers.setdefault("authorization", f"Bearer {SERVICE}")


def anybody_may_look(e: Exchange) -> None:
    if e.method == "GET" and not e.is_stream and "conformance-" in e.headers.get("authorization", ""):
        e.headers["authorization"] = f"Bearer {SERVICE}"


def token_in_the_url(e: Exchange) -> None:
    found = re.search(r"token=([^&]+)", e.query)
    if found:
        speaker = {"agent-journal": JOURNAL, "agent-epoch": "1", "agent-instance": JOURNAL}
        e.headers |= {"authorization": f"Bearer {found[1]}", **speaker, "accept": "application/json"}


def no_patience(e: Exchange) -> None:
    e.query = re.sub(r"wait=\d+", "wait=0", e.query)


def any_client(e: Exchange) -> None:
    if e.is_for("POST", "messages") and "clientId" in e.sent:
        e.send({**e.sent, "clientId": e.client_id})


def rising_revision(e: Exchange) -> None:
    sent = e.sent
    if "revision" in sent.get("payload", {}):
        e.state["revision"] = e.state.get("revision", 0) + 1
        e.send({**sent, "payload": {**sent["payload"], "revision": e.state["revision"]}})


def batches_apart(e: Exchange) -> None:
    messages = e.sent.get("messages")
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        e.send({"messages": [{**message, "id": f"{message['id']}-b"} for message in messages]})


def results_of_batches_apart(e: Exchange) -> None:
    if "results" in e.came:
        e.come({"results": [{**row, "id": row["id"].removesuffix("-b")} for row in e.came["results"]]})


def no_payload(e: Exchange) -> None:
    if e.is_for("POST", "commands") and "payload" in e.sent:
        e.send({**e.sent, "payload": {}})


def last_ack(e: Exchange) -> None:
    for message in e.sent.get("messages", [e.sent]):
        if isinstance(message, dict) and message.get("type") == "ACK":
            e.state[message["payload"]["commandId"]] = message["payload"]["status"]


# --- answered ---------------------------------------------------------------------------------------


def last_ack_counts(e: Exchange) -> None:
    if e.path.startswith("/api/v1/commands/") and e.came.get("outcome") and e.came["id"] in e.state:
        e.come({**e.came, "outcome": e.state[e.came["id"]]})


def slug(e: Exchange) -> str:
    return str(e.came.get("type", "")).removeprefix("urn:sse-agent:problem:")


def changed_is_fine(e: Exchange) -> None:
    if slug(e) == "idempotency-key-reused" and "/messages" in e.path:
        e.come({"id": e.sent["id"], "status": 200}, 200)


def repeated_is_new(e: Exchange) -> None:
    if e.is_for("POST", "messages") and e.status == 200 and "results" not in e.came:
        e.come({**e.came, "status": 202}, 202)


def anything_goes(e: Exchange) -> None:
    if e.is_for("POST", "messages") and e.status in (400, 422):
        e.come({"id": e.headers.get("idempotency-key"), "status": 202}, 202)


def any_command_goes(e: Exchange) -> None:
    if e.is_for("POST", "commands") and e.status in (400, 422):
        e.come({"id": "x", "eventId": "k1/1"}, 202)


def nothing_too_large(e: Exchange) -> None:
    if e.status == 413:
        e.come({"id": e.headers.get("idempotency-key"), "status": 202}, 202)


def only_small(e: Exchange) -> None:
    if len(e.body) > 100_000:
        e.come({"type": "urn:sse-agent:problem:too-large", "title": "x", "status": 413}, 413)


def shown(name: str, bend: Callable[[list[Json]], list[Json]]) -> Bend:
    def bend_list(e: Exchange) -> None:
        if e.method == "GET" and isinstance(e.came.get(name), list):
            e.come({name: bend(e.came[name])})

    return bend_list


def only_known_types(e: Exchange) -> None:
    if e.sent.get("type") == "CONFORMANCE_NOTE":
        e.come({"type": "urn:sse-agent:problem:invalid-envelope", "title": "x", "status": 422}, 422)


def token_of_nothing(e: Exchange) -> None:
    if e.path.endswith("/token") and "/uploads/" in e.path:
        e.come({"token": "x"}, 201)


def results_reversed(e: Exchange) -> None:
    if "results" in e.came:
        e.come({"results": e.came["results"][::-1]})


def is_problem(e: Exchange) -> bool:
    return e.answer_headers.get("content-type") == "application/problem+json"


def problem(**changes: object) -> Bend:
    def bend_problem(e: Exchange) -> None:
        if is_problem(e):
            members = {name: value for name, value in {**e.came, **changes}.items() if value is not None}
            e.come(members)
            e.answer_headers["content-type"] = "application/problem+json"

    return bend_problem


def problem_as_json(e: Exchange) -> None:
    if is_problem(e):
        e.answer_headers["content-type"] = "application/json"


def page_for_unknown_path(e: Exchange) -> None:
    if slug(e) == "unknown-path":
        e.answer, e.status = "<html>\x1b[2J\u202e</html>".encode(), 200
        e.answer_headers["content-type"] = "text/html"


def status_instead(last: str, of: int, status: int, body: Json) -> Bend:
    def bend_status(e: Exchange) -> None:
        if e.status == of and last in e.path:
            e.come(body, status)

    return bend_status


def without_challenge(e: Exchange) -> None:
    e.answer_headers.pop("www-authenticate", None)


def hooks_open(e: Exchange) -> None:
    if e.path == "/api/v1/tus-hooks":
        e.come({}, 200)


def conflict_is_403(e: Exchange) -> None:
    if e.status == 409:
        e.status = 403


def never_deleted(e: Exchange) -> None:
    if e.status == 410:
        e.come({"type": "urn:sse-agent:problem:unknown-agent", "title": "x", "status": 404}, 404)


def member(name: str, value: object) -> Bend:
    def bend_member(e: Exchange) -> None:
        if e.method == "GET" and name in e.came:
            e.come({**e.came, name: value})

    return bend_member


def events_reversed(e: Exchange) -> None:
    if "events" in e.came:
        e.come({**e.came, "events": e.came["events"][::-1]})


def no_reset(e: Exchange) -> None:
    if "hello" in e.came:
        e.come({**e.came, "hello": resumed(e.came["hello"])})


def resumed(hello: Json) -> Json:
    return {**{name: value for name, value in hello.items() if name not in ("reason", "reset")}, "resume": True}


def enrolled_whoever(e: Exchange) -> None:
    if e.path == "/api/v1/enrollments" and e.method == "POST" and e.status >= 400:
        e.come({"clientId": "nobody", "issuer": "x", "status": "active"}, 201)


def enrolled_once(e: Exchange) -> None:
    if e.path == "/api/v1/enrollments" and e.method == "POST":
        seen = e.state.setdefault("enrolled", set())
        name = e.sent.get("token")
        if name in seen:
            e.come({"type": "urn:sse-agent:problem:code-used", "title": "x", "status": 409}, 409)
        seen.add(name)


def token_for_whoever(e: Exchange) -> None:
    if e.path == "/api/v1/token" and e.status >= 400:
        e.come({"access_token": "x", "token_type": "Bearer", "expires_in": 600}, 200)


# --- heads and chunks of streams --------------------------------------------------------------------


def as_text(e: Exchange) -> None:
    e.answer_headers["content-type"] = "text/plain"


def buffered(e: Exchange) -> None:
    e.answer_headers.pop("x-accel-buffering", None)


def frames(chunk: bytes) -> list[bytes]:
    return [part for part in chunk.split(b"\n\n") if part]


def joined(parts: list[bytes]) -> bytes:
    return b"".join(part + b"\n\n" for part in parts)


def commands(bend: Callable[[bytes], list[bytes]]) -> BendChunk:
    """What becomes of each command."""

    def bend_commands(_: Exchange, chunk: bytes) -> bytes:
        parts: list[bytes] = []
        for part in frames(chunk):
            parts += bend(part) if part.startswith(b"id: ") else [part]
        return joined(parts)

    return bend_commands


def hello(bend: Callable[[Json], Json]) -> BendChunk:
    def bend_hello(_: Exchange, chunk: bytes) -> bytes:
        head, found, rest = chunk.partition(b"event: HELLO\ndata: ")
        if not found:
            return chunk
        data, _end, behind = rest.partition(b"\n\n")
        return head + found + json.dumps(bend(json.loads(data))).encode() + b"\n\n" + behind

    return bend_hello


def doubled_number(part: bytes) -> list[bytes]:
    return [re.sub(rb"^id: (\w+)/(\d+)", lambda found: b"id: %s/%d" % (found[1], 2 * int(found[2])), part)]


def asleep(e: Exchange, chunk: bytes) -> bytes:
    """Whoever has everything when it comes gets nothing more."""
    if b"event: HELLO" in chunk:
        latest = json.loads(re.findall(rb"data: (.*)", chunk)[0])["latest"]
        e.memory["asleep"] = latest == e.headers.get("last-event-id")
    return joined([part for part in frames(chunk) if not (e.memory["asleep"] and part.startswith(b"id: "))])


def data_first(part: bytes) -> list[bytes]:
    lines = part.split(b"\n")
    return [b"\n".join([lines[-1], *lines[:-1]])]
