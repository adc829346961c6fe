"""Messages up and what services call, over real HTTP against the real process."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sse_agent.control_plane import server
from sse_agent.control_plane.problems import Problem, Rejected
from sse_agent.control_plane.settings import PREFIX, Settings
from tests.doubles.planes import Plane, plane, slug

LIMIT = 20
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "control-plane.md"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane"), queue_limit=LIMIT) as found:
        yield found


def test_a_message_is_recorded_once(running: Plane) -> None:
    agent = running.fresh()
    note = agent.envelope("NOTE", {"a": 1})
    answers = [agent.report(note) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (status, {"id": note["id"], "status": status}) for status in (202, 200)
    ]
    other = agent.report({**note, "payload": {"a": 2}})
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    (found,) = running.ask("GET", f"{agent.path}/messages").json()["messages"]
    assert found["message"] == note
    after = running.ask("GET", f"{agent.path}/messages", params={"after": found["n"]})
    assert after.json() == {"messages": []}


def test_a_batch_is_answered_in_order_and_a_bad_message_does_not_stop_the_others(running: Plane) -> None:
    agent = running.fresh()
    first, bad, last = (agent.envelope("NOTE", {}) for _ in range(3))
    bad["clientId"] = "another"
    answer = agent.report(first, bad, last, first)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(result["id"], result["status"]) for result in results] == [
        (first["id"], 202),
        (bad["id"], 422),
        (last["id"], 202),
        (first["id"], 200),
    ]
    # The header of a batch is not recorded as a key of its own.
    assert agent.report(agent.envelope("NOTE", {}, id=bad["id"])).status_code == 202


def test_the_sizes_of_the_contract_are_the_limits(running: Plane) -> None:
    agent = running.fresh()

    def event(size: int) -> dict[str, object]:
        empty = agent.envelope("NOTE", {"x": ""})
        # As httpx writes JSON: compact.
        missing = size - len(json.dumps(empty, separators=(",", ":")))
        return {**empty, "payload": {"x": "x" * missing}}

    assert agent.report(event(256 * 1024)).status_code == 202
    for answer in (
        agent.report(event(256 * 1024 + 1)),
        agent.report(event(600 * 1024)),
        agent.report(*(event(200 * 1024) for _ in range(3))),
        agent.report(*(agent.envelope("NOTE", {}) for _ in range(101))),
        running.order(agent, type="NEW", payload={"x": "x" * 64 * 1024}),
    ):
        assert (answer.status_code, slug(answer)) == (413, "too-large")
    assert agent.report(*(agent.envelope("NOTE", {}) for _ in range(100))).status_code == 200


def test_commands_queue_while_the_agent_is_away_and_none_is_dropped(running: Plane) -> None:
    agent = running.fresh()
    names = [f"{agent.client_id}-{n}" for n in range(LIMIT)]
    answers = [running.order(agent, name) for name in names]
    assert [answer.status_code for answer in answers] == [202] * LIMIT
    full = running.order(agent)
    assert (full.status_code, slug(full), int(full.headers["retry-after"]) > 0) == (429, "queue-full", True)
    again = running.order(agent, names[0])
    assert (again.status_code, again.json()) == (202, answers[0].json())
    spelt = json.dumps(dict(reversed(json.loads(answers[0].request.content).items())), indent=1)
    headers = {"idempotency-key": names[0], "content-type": "application/json"}
    again = running.ask("POST", f"{agent.path}/commands", headers=headers, content=spelt)
    assert (again.status_code, again.json()) == (202, answers[0].json()), "the same in another spelling"
    other = running.order(agent, names[0], actor="somebody")
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    assert [event["message"]["id"] for event in agent.poll().json()["events"]] == names
    assert running.ask("GET", agent.path).json()["queue"]["waiting"] == LIMIT
    # A cursor is proof that they are in the journal.
    agent.poll(answers[4].json()["eventId"])
    assert running.ask("GET", agent.path).json()["queue"]["waiting"] == LIMIT - 5


def test_whoever_waits_for_a_command_gets_the_outcome_and_the_replies(running: Plane) -> None:
    agent = running.fresh()
    name = running.order(agent, type="LIST_FILES").json()["id"]
    path = f"/api/v1/commands/{name}"
    assert running.ask("GET", path).json()["status"] == "queued"
    agent.poll()
    assert running.ask("GET", path).json()["status"] == "sent"
    agent.report(agent.ack(name, "accepted"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.ask, "GET", path, params={"wait": 8})
        begun = time.monotonic()
        reply = agent.envelope("FILE_LIST", {"path": "/x", "entries": []}, inReplyTo=name)
        agent.report(reply, agent.ack(name, "completed"))
        command = waiting.result(5).json()
    assert time.monotonic() - begun < 3
    assert (command["status"], command["outcome"], command["replies"]) == ("completed", "completed", [reply])
    agent.report(agent.ack(name, "failed"))
    assert running.ask("GET", path).json()["outcome"] == "completed"


def test_tokens_cannot_act_for_each_other(running: Plane) -> None:
    agent, other = running.fresh(), running.fresh()
    service, as_json = {"Authorization": "Bearer service-token"}, {"Accept": "application/json"}
    for method, path, headers in (
        ("GET", f"{other.path}/stream?wait=0", {**agent.headers, **as_json}),
        ("POST", f"{other.path}/messages", agent.headers),
        ("POST", f"{other.path}/uploads/f/token", agent.headers),
        ("POST", f"{agent.path}/commands", agent.headers),
        ("POST", f"{agent.path}/readmit", agent.headers),
        ("DELETE", agent.path, agent.headers),
        ("GET", agent.path, agent.headers),
        ("GET", f"{agent.path}/uploads", agent.headers),
        ("GET", f"{agent.path}/messages", agent.headers),
        ("GET", "/api/v1/agents", agent.headers),
        ("GET", "/api/v1/commands/x", agent.headers),
        ("GET", f"{agent.path}/stream?wait=0", {**agent.headers, **service, **as_json}),
        ("POST", f"{agent.path}/messages", {**agent.headers, **service}),
    ):
        answer = running.client.request(method, path, headers=headers)
        assert (answer.status_code, slug(answer)) == (403, "not-allowed"), (method, path)
        nobody = running.client.request(method, path)
        assert (nobody.status_code, slug(nobody), nobody.headers["www-authenticate"]) == (
            401,
            "unauthenticated",
            "Bearer",
        )


def test_every_refusal_is_a_problem_document(running: Plane) -> None:
    agent = running.fresh()
    commands, body = f"{agent.path}/commands", '{"type": "HEARTBEAT"}'
    as_json = {"Content-Type": "application/json"}
    upload = f"{agent.path}/uploads/f/token"
    for answer, status, name in (
        (running.ask("GET", "/nowhere"), 404, "unknown-path"),
        (running.ask("GET", "/api/v1/agents/"), 404, "unknown-path"),
        (running.ask("GET", "/api/v1/agents/nobody"), 404, "unknown-agent"),
        (running.ask("GET", "/api/v1/commands/none"), 404, "unknown-command"),
        (running.client.post(upload, headers=agent.headers), 404, "no-upload-tokens"),
        (running.ask("PUT", agent.path), 405, "method-not-allowed"),
        (running.ask("POST", commands, headers=as_json, content=body), 400, "idempotency-key-missing"),
        (running.ask("POST", commands, key="two words", headers=as_json, content=body), 422, "invalid-parameter"),
        (running.ask("POST", commands, key="k", content=body), 415, "unsupported-media-type"),
        (
            running.ask("POST", commands, key="k", headers={**as_json, "Content-Encoding": "gzip"}, content=body),
            415,
            "unsupported-media-type",
        ),
        (running.ask("POST", commands, key="k", headers=as_json, content="{"), 400, "malformed-request"),
        (running.order(agent, type="lower"), 422, "invalid-parameter"),
        (running.order(agent, type="UPLOAD_PAUSE", payload={"fileId": 1}), 422, "invalid-payload"),
        (running.ask("GET", "/api/v1/commands/x", params={"wait": "nan"}), 422, "invalid-parameter"),
        (running.ask("GET", f"{agent.path}/messages", params={"after": 2**63}), 422, "invalid-parameter"),
        (agent.report(agent.envelope("NOTE", {}), key="other"), 422, "idempotency-key-mismatch"),
    ):
        assert (answer.status_code, slug(answer)) == (status, name)
    # Nothing of that was queued, and a type that is not known here is the agent's to judge.
    assert running.ask("GET", agent.path).json()["queue"]["latest"].endswith("/0")
    assert running.order(agent, type="FROM_THE_FUTURE").status_code == 202


def test_a_deleted_agent_is_answered_410_and_its_stream_ends(running: Plane) -> None:
    agent = running.fresh()
    with agent.stream() as stream:
        stream.hello()
        assert running.ask("DELETE", agent.path).status_code == 204
        stream.rest()
    for answer in (
        agent.poll(),
        agent.report(agent.envelope("NOTE", {})),
        running.client.post(f"{agent.path}/uploads/f/token", headers=agent.headers),
        running.order(agent),
        running.ask("GET", agent.path),
    ):
        assert (answer.status_code, slug(answer)) == (410, "agent-deleted")
    assert running.ask("DELETE", agent.path).status_code == 204


def test_an_agent_killed_in_the_middle_of_a_post_is_no_bug(running: Plane) -> None:
    agent = running.fresh()
    address = running.client.base_url
    with socket.create_connection((address.host, address.port or 80)) as raw:
        head = [f"POST {agent.path}/messages HTTP/1.1", "Host: x", "Content-Type: application/json"]
        head += ["Idempotency-Key: k", "Content-Length: 100", "Expect: 100-continue"]
        head += [f"{name}: {value}" for name, value in agent.headers.items()]
        raw.sendall("\r\n".join([*head, "", "{"]).encode())
        # It reads the body: this comes when it does.
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
    assert running.ask("GET", "/api/v1/agents").status_code == 200
    assert running.log == ""


def test_nothing_that_was_answered_202_is_lost_by_a_kill(tmp_path: Path) -> None:
    with plane(tmp_path, queue_limit=100_000) as running:
        agents = [running.fresh() for _ in range(4)]
        recorded: list[tuple[str, str]] = []
        queued: list[str] = []
        is_enough = threading.Event()

        def pour(number: int) -> None:
            agent = agents[number]
            with contextlib.suppress(httpx.TransportError):
                while True:
                    note = agent.envelope("NOTE", {})
                    if agent.report(note).status_code == 202:
                        recorded.append((agent.client_id, note["id"]))
                    order = running.order(agent)
                    if order.status_code == 202:
                        queued.append(order.json()["id"])
                    if len(recorded) > 200:
                        is_enough.set()

        with ThreadPoolExecutor(4) as pool:
            pouring = [pool.submit(pour, number) for number in range(4)]
            assert is_enough.wait(20)
            running._process.kill()
            for one in pouring:
                one.result(10)
        running.kill()
        running.start()
        found = set()
        for agent in agents:
            after, page = 0, [{}]
            while page:
                answer = running.ask("GET", f"{agent.path}/messages", params={"after": after, "limit": 1000})
                page = answer.json()["messages"]
                found |= {(agent.client_id, entry["message"]["id"]) for entry in page}
                after = page[-1]["n"] if page else after
        assert set(recorded) <= found
        for name in queued:
            assert running.ask("GET", f"/api/v1/commands/{name}").json()["status"] == "queued"


def test_every_setting_and_every_problem_is_on_the_reference_page() -> None:
    assert server, "whoever raises a problem is imported by it"
    text = PAGE.read_text()
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert {PREFIX + name.upper() for name in Settings.model_fields} <= rows
    problems = {kind.slug: kind.status for kind in Problem.__subclasses__() if kind is not Rejected}
    _, _, table = text.partition("## Problems")
    found = dict(line.strip("| ").split(" | ")[:2] for line in table.splitlines()[4:] if line.startswith("| `"))
    assert found == {f"`{name}`": str(status) for name, status in problems.items()}
