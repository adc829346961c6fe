"""Commands on their way into the queue: chat, rates, and the log of who asked for what."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.planes import Agent, Plane, plane, slug


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("ordering")) as found:
        yield found


def say(there: Plane, agent: Agent, text: str, **more: Any) -> Any:
    return there.order(agent, type="MESSAGE", payload={"text": text, "from": "Ada"}, actor="ada", **more)


def newest(agent: Agent) -> dict[str, Any]:
    message: dict[str, Any] = agent.poll().json()["events"][-1]["message"]
    return message


def audit(there: Plane, agent: Agent) -> list[dict[str, Any]]:
    """The lines about this agent."""
    found: list[dict[str, Any]] = []
    while entries := there.ask("GET", f"/api/v1/audit?limit=500&after={found[-1]['n'] if found else 0}").json()[
        "entries"
    ]:
        found += entries
    return [line for line in found if line["clientId"] == agent.client_id]


def test_a_line_that_begins_with_a_slash_reaches_the_agent_as_the_command_it_means(there: Plane) -> None:
    agent = there.fresh()
    answer = say(there, agent, "/ls reports")
    assert (answer.status_code, answer.json()["type"]) == (202, "LIST_FILES")
    command = newest(agent)
    assert (command["type"], command["payload"], command["actor"]) == ("LIST_FILES", {"path": "reports"}, "ada")


def test_chat_is_chat(there: Plane) -> None:
    agent = there.fresh()
    say(there, agent, "hello")
    assert newest(agent)["payload"]["text"] == "hello"
    say(there, agent, "//hello")
    assert newest(agent)["payload"]["text"] == "/hello"


def test_a_slash_command_that_does_not_exist_reaches_nobody(there: Plane) -> None:
    agent = there.fresh()
    answer = say(there, agent, "/rm -rf")
    assert (answer.status_code, slug(answer)) == (422, "unknown-chat-command")
    assert agent.poll().json()["events"] == []


def test_the_same_upload_typed_once_and_sent_twice_is_one(there: Plane) -> None:
    agent, key = there.fresh(), uuid.uuid4().hex
    assert say(there, agent, "/upload a.bin", key=key).json() == say(there, agent, "/upload a.bin", key=key).json()
    assert len(agent.poll().json()["events"]) == 1


def test_the_audit_log_tells_who_asked_for_what_and_what_came_of_it(there: Plane) -> None:
    agent = there.fresh()
    payload = {"fileId": "f", "fileName": "a.bin", "uploadToken": "s3cret"}
    there.order(agent, key="audit-1", type="UPLOAD_START", payload=payload, actor="ada")
    (line,) = audit(there, agent)
    assert (line["by"], line["actor"], line["type"], line["outcome"]) == ("service", "ada", "UPLOAD_START", "queued")
    assert line["about"] == {"fileId": "f", "fileName": "a.bin"}
    agent.report(agent.ack("audit-1", "completed"))
    assert audit(there, agent)[0]["outcome"] == "completed"
    there.order(agent, key="audit-1", type="UPLOAD_START", payload=payload, actor="ada")
    assert len(audit(there, agent)) == 1
    assert "s3cret" not in there.ask("GET", "/api/v1/audit?limit=500").text


def test_a_command_that_was_refused_is_in_the_log_as_refused(there: Plane) -> None:
    assert there.order(Agent(there.client, "nobody"), key="audit-2").status_code == 404
    assert audit(there, Agent(there.client, "nobody"))[0]["outcome"] == "refused"


def test_a_refused_command_takes_no_line_from_another_one_that_comes_with_its_key(there: Plane) -> None:
    agent, nobody = there.fresh(), Agent(there.client, "nobody-else")
    assert there.order(nobody, key="audit-3", type="STATUS").status_code == 404
    payload = {"fileId": "f", "fileName": "a.bin"}
    for _ in range(2):
        assert there.order(agent, key="audit-3", type="UPLOAD_START", payload=payload).status_code == 202
    assert there.order(agent, key="audit-3", type="UPLOAD_CANCEL", payload={"fileId": "f"}).status_code == 422
    assert [(line["type"], line["outcome"]) for line in audit(there, agent)] == [
        ("UPLOAD_START", "queued"),
        ("UPLOAD_CANCEL", "refused"),
    ]
    assert [line["outcome"] for line in audit(there, nobody)] == ["refused"]


def test_only_services_read_the_audit_log(there: Plane) -> None:
    agent = there.fresh()
    assert slug(there.client.get("/api/v1/audit", headers=agent.headers)) == "not-allowed"


def test_a_service_that_asks_too_often_is_told_when_it_may_again(tmp_path: Path) -> None:
    with plane(tmp_path, commands_per_second=1) as slow:
        agent = slow.fresh()
        answers = [slow.order(agent) for _ in range(40)]
        (refused, *_) = [answer for answer in answers if answer.status_code == 429]
        assert slug(refused) == "too-often"
        assert int(refused.headers["Retry-After"]) >= 1
        assert sum(answer.status_code == 202 for answer in answers) >= 10
