"""tusd's hooks, as tusd sends them: only what was commanded gets in, and what comes twice or late changes nothing."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.planes import Agent, Plane, plane, slug

SECRET = "hook-secret-of-the-tests"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("hooks"), tus_hook_secret=SECRET) as found:
        yield found


def hook(there: Plane, kind: str, *, token: str | None = None, auth: Any = ("tusd", SECRET), **upload: Any) -> Any:
    """What is answered to one hook."""
    header = {"Authorization": [f"Bearer {token}"]} if token is not None else {}
    body = {
        "Type": kind,
        "Event": {
            "Upload": {"ID": "", "Size": 10, "SizeIsDeferred": False, "Offset": 0, "IsPartial": False, **upload},
            "HTTPRequest": {"Method": "POST", "URI": "/files/", "RemoteAddr": "127.0.0.1:1", "Header": header},
        },
    }
    return there.client.post("/api/v1/tus-hooks", json=body, auth=auth)


def commanded(there: Plane, agent: Agent, file_id: str, **more: Any) -> str:
    """The upload token that the agent is told."""
    there.order(agent, type="UPLOAD_START", payload={"fileId": file_id, "fileName": "a", **more})
    (event,) = agent.poll().json()["events"][-1:]
    token: str = event["message"]["payload"]["uploadToken"]
    return token


def metadata(agent: Agent, file_id: str) -> dict[str, str]:
    return {"clientId": agent.client_id, "fileId": file_id, "attemptId": "a1", "filename": "a"}


def rejected(response: httpx.Response) -> int | None:
    """The status that the tus client gets; None: it is admitted."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    return int(answer["HTTPResponse"]["StatusCode"]) if answer.get("RejectUpload") else None


def test_what_was_commanded_is_admitted_with_its_token(there: Plane) -> None:
    agent = there.fresh()
    token = commanded(there, agent, "f", fileSize=10)
    assert rejected(hook(there, "pre-create", token=token, MetaData=metadata(agent, "f"))) is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": None}, 401),
        ({"token": "not.a.token"}, 401),
        ({"Size": 11}, 403),
        ({"SizeIsDeferred": True}, 403),
        ({"MetaData": {}}, 403),
        ({"MetaData": {"clientId": "agent-0", "fileId": "other"}}, 403),
        ({"MetaData": {"clientId": "other", "fileId": "f"}}, 403),
    ],
)
def test_what_differs_from_the_command_is_rejected(there: Plane, change: dict[str, Any], status: int) -> None:
    agent = there.fresh()
    token = commanded(there, agent, "f", fileSize=10)
    asked = {"token": token, "MetaData": metadata(agent, "f"), **change}
    assert rejected(hook(there, "pre-create", **asked)) == status


def test_a_size_counts_unless_its_command_was_refused(there: Plane) -> None:
    agent = there.fresh()

    def admits(size: int, token: str) -> bool:
        return rejected(hook(there, "pre-create", token=token, MetaData=metadata(agent, "f"), Size=size)) is None

    body = {"type": "UPLOAD_START", "payload": {"fileId": "f", "fileName": "a", "fileSize": 10}}
    assert there.order(agent, key=f"{agent.client_id}-wrong", **body).status_code == 202
    token = commanded(there, agent, "f", fileSize=12)
    assert (admits(10, token), admits(12, token)) == (True, False)
    error = {"code": "SIZE_MISMATCH", "message": "it has 12 bytes", "retryable": False}
    refusal = agent.ack(f"{agent.client_id}-wrong", "rejected")
    refusal["payload"]["error"] = error
    assert agent.report(refusal).status_code == 202
    token = commanded(there, agent, "f", fileSize=12)
    assert (admits(10, token), admits(12, token)) == (False, True)


def test_a_deleted_agent_s_tokens_admit_nothing(there: Plane) -> None:
    agent = there.fresh()
    token = commanded(there, agent, "f", fileSize=10)
    assert there.ask("DELETE", agent.path).is_success
    assert rejected(hook(there, "pre-create", token=token, MetaData=metadata(agent, "f"))) == 403


def test_a_token_of_another_audience_admits_nothing(there: Plane) -> None:
    agent = there.fresh()
    commanded(there, agent, "f")
    answer = there.ask("POST", "/api/v1/viewer-tokens", json={"agents": "*", "scopes": ["watch"], "subject": "x"})
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert rejected(hook(there, "pre-create", token=token, MetaData=metadata(agent, "f"))) == 401


def test_a_token_that_ended_is_renewed_by_its_agent_alone(there: Plane) -> None:
    agent, other = there.fresh(), there.fresh()
    commanded(there, agent, "f")
    path = f"{agent.path}/uploads/f/token"
    answer = there.client.post(path, headers=agent.headers)
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert rejected(hook(there, "pre-create", token=token, MetaData=metadata(agent, "f"))) is None
    assert slug(there.client.post(path, headers=other.headers)) == "not-allowed"
    assert slug(there.client.post(f"{agent.path}/uploads/g/token", headers=agent.headers)) == "no-upload-tokens"


def test_a_token_that_the_command_brings_is_left_alone_and_renewed_unless_it_is_another_server_s(there: Plane) -> None:
    agent = there.fresh()

    def renewed(file_id: str) -> int:
        path = f"{agent.path}/uploads/{file_id}/token"
        return there.client.post(path, headers={**agent.headers, "Idempotency-Key": file_id}).status_code

    assert commanded(there, agent, "f", uploadToken="theirs") == "theirs"
    assert renewed("f") == 201
    assert commanded(there, agent, "g", uploadToken="theirs", tusEndpoint="https://tus.example/files/") == "theirs"
    assert renewed("g") == 404


def test_a_command_given_twice_is_one_command(there: Plane) -> None:
    agent, key = there.fresh(), uuid.uuid4().hex
    body = {"type": "UPLOAD_START", "payload": {"fileId": "f", "fileName": "a"}}
    first = there.order(agent, key=key, **body)
    assert there.order(agent, key=key, **body).json() == first.json()
    assert len(agent.poll().json()["events"]) == 1


@pytest.mark.parametrize(
    ("auth", "name"),
    [(None, "unauthenticated"), (("tusd", "wrong"), "unauthenticated"), (("tusd", ""), "unauthenticated")],
)
def test_without_the_secret_nothing_is_heard(there: Plane, auth: Any, name: str) -> None:
    answer = hook(there, "post-finish", auth=auth)
    assert (answer.status_code, slug(answer)) == (401, name)


def test_the_secret_may_be_a_bearer_token(there: Plane) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    body = {"Type": "post-receive", "Event": {"Upload": {}}}
    assert there.client.post("/api/v1/tus-hooks", json=body, headers=headers).status_code == 200


def test_where_no_secret_is_set_every_hook_is_refused(tmp_path: Path) -> None:
    with plane(tmp_path) as closed:
        assert slug(hook(closed, "pre-create")) == "not-allowed"
        agent = closed.fresh()
        answer = closed.client.post(f"{agent.path}/uploads/f/token", headers=agent.headers)
        assert slug(answer) == "no-upload-tokens"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"Type": 1}', b'{"Type": "pre-create", "Event": []}'])
def test_what_is_no_hook_is_a_problem(there: Plane, body: bytes) -> None:
    answer = there.client.post(
        "/api/v1/tus-hooks", content=body, headers={"Content-Type": "application/json"}, auth=("tusd", SECRET)
    )
    assert slug(answer) == "invalid-payload"


def stored(there: Plane, agent: Agent, file_id: str) -> list[tuple[str, str, int | None]]:
    answer = there.ask("GET", f"{agent.path}/uploads/{file_id}/stored")
    return [(upload["uploadId"], upload["state"], upload["size"]) for upload in answer.json()["uploads"]]


def test_what_the_tus_server_has_is_noted_once_in_whatever_order_its_hooks_come(there: Plane) -> None:
    agent = there.fresh()
    mine = {"MetaData": metadata(agent, "f")}
    for kind in ("post-finish", "post-finish", "post-create", "post-receive"):
        assert rejected(hook(there, kind, ID="u1", **mine)) is None
    assert stored(there, agent, "f") == [("u1", "finished", 10)]
    hook(there, "post-create", ID="u2", **mine)
    hook(there, "post-terminate", ID="u2", **mine)
    assert stored(there, agent, "f") == [("u1", "finished", 10), ("u2", "terminated", 10)]


def test_parts_and_strangers_are_not_noted(there: Plane) -> None:
    agent = there.fresh()
    hook(there, "post-finish", ID="u1", MetaData=metadata(agent, "f"), IsPartial=True)
    hook(there, "post-finish", ID="u2", MetaData={"filename": "theirs"})
    hook(there, "post-finish", ID="", MetaData=metadata(agent, "f"))
    assert stored(there, agent, "f") == []
    assert slug(there.client.get(f"{agent.path}/uploads/f/stored", headers=agent.headers)) == "not-allowed"
