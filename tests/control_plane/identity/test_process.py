"""Identity over real HTTP against the real process: enrolled agents on their streams, restarts, clones, deletions."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.control_plane.identity.machines import Machine, grant_form
from tests.doubles.planes import Agent, Plane, eventually, plane, slug

ISSUER = "https://control.example"


@dataclass
class Enrolled(Agent):
    """An agent that shows an access token."""

    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {**super().headers, "Authorization": f"Bearer {self.token}"}


def now() -> datetime:
    return datetime.now(UTC)


def granted(running: Plane, machine: Machine) -> httpx.Response:
    return running.client.post("/api/v1/token", data=grant_form(machine.assertion(now())))


def enrolled(running: Plane, machine: Machine) -> Enrolled:
    """By code, confirmed, with its first token."""
    code = running.ask("POST", "/api/v1/pairing-codes", json={"actor": "ada"}).json()["code"]
    answer = running.client.post("/api/v1/enrollments", json=machine.application(now(), code=code))
    assert answer.status_code == 201, answer.text
    machine.client_id = answer.json()["clientId"]
    path = f"/api/v1/agents/{machine.client_id}/confirm"
    assert running.ask("POST", path, json={"fingerprint": answer.json()["fingerprint"]}).status_code == 200
    return speaking(running, machine)


def speaking(running: Plane, machine: Machine) -> Enrolled:
    answer = granted(running, machine)
    assert answer.status_code == 200, answer.text
    return Enrolled(running.client, machine.client_id, token=answer.json()["access_token"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane"), issuer=ISSUER) as found:
        yield found


def test_an_enrolled_agent_gets_its_commands_and_reports(running: Plane) -> None:
    agent = enrolled(running, Machine(ISSUER))
    with agent.stream() as stream:
        assert stream.hello()["resume"] is True
        command_id = running.order(agent).json()["id"]
        assert stream.event()["event"] == "HEARTBEAT"
        assert agent.report(agent.ack(command_id, "completed")).status_code == 202
    assert running.ask("GET", f"/api/v1/commands/{command_id}").json()["outcome"] == "completed"


def test_the_next_stream_is_opened_with_the_next_token_before_the_last_is_closed(running: Plane) -> None:
    machine = Machine(ISSUER)
    agent = enrolled(running, machine)
    with agent.stream() as older:
        older.hello()
        renewed = replace(agent, token=granted(running, machine).json()["access_token"])
        assert renewed.token != agent.token
        with renewed.stream() as newer:
            newer.hello()
            older.rest()
            running.order(renewed)
            assert newer.event()["event"] == "HEARTBEAT"


def test_a_deleted_agents_stream_and_token_die_at_once(running: Plane) -> None:
    machine = Machine(ISSUER)
    agent = enrolled(running, machine)
    with agent.stream() as stream:
        stream.hello()
        assert running.ask("DELETE", f"{agent.path}?actor=ada").status_code == 204
        stream.rest()
    assert (agent.poll().status_code, slug(agent.poll())) == (410, "agent-deleted")
    assert slug(agent.report(agent.envelope("NOTE", {}))) == "agent-deleted"
    assert slug(granted(running, machine)) == "agent-deleted"


def test_a_copied_machine_has_the_same_key_and_is_told_apart_by_its_instance(running: Plane) -> None:
    machine = Machine(ISSUER)
    original = replace(enrolled(running, machine), epoch=5)
    with original.stream() as stream:
        stream.hello()
        # The copy has the key, so it gets a token; what it lacks is the newest start of this journal.
        token = granted(running, machine).json()["access_token"]
        clone = replace(original, token=token, instance=str(uuid.uuid4()))
        assert (clone.poll().status_code, slug(clone.poll())) == (409, "newer-epoch")
        running.order(original)
        assert stream.event()["event"] == "HEARTBEAT"


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    with plane(tmp_path, issuer=ISSUER) as running:
        machine, pending = Machine(ISSUER), Machine(ISSUER)
        agent = enrolled(running, machine)
        spent = grant_form(machine.assertion(now()))
        assert running.client.post("/api/v1/token", data=spent).status_code == 200
        codes = [running.ask("POST", "/api/v1/pairing-codes", json={}).json()["code"] for _ in range(3)]
        token = running.ask("POST", "/api/v1/enrollment-tokens", json={}).json()["token"]
        body = pending.application(now(), code=codes[0])
        first = running.client.post("/api/v1/enrollments", json=body)
        guess = "B" if codes[1][5] != "B" else "C"
        wrong = Machine(ISSUER).application(now(), code=codes[1][:5] + guess + codes[1][6:])
        assert running.client.post("/api/v1/enrollments", json=wrong).status_code == 403
        viewer = {"subject": "ada", "agents": "*", "scopes": ["watch"]}
        assert running.ask("POST", "/api/v1/viewer-tokens", json=viewer).status_code == 201

        running.kill()
        running.start()

        agent = replace(agent, client=running.client)
        with agent.stream() as stream:
            # The token from before is good, and so is the key.
            stream.hello()
        replayed = running.client.post("/api/v1/token", data=spent)
        assert (replayed.status_code, replayed.json()["error"]) == (401, "invalid_client")
        assert granted(running, machine).status_code == 200
        again = running.client.post("/api/v1/enrollments", json=pending.application(now(), code=codes[0]))
        assert (again.status_code, again.json()) == (201, first.json())
        states = [running.ask("GET", f"/api/v1/pairing-codes/{code[:4]}").json()["status"] for code in codes]
        assert states == ["redeemed", "open", "open"]
        for secret in ({"code": codes[1]}, {"code": codes[2]}, {"token": token}):
            new = Machine(ISSUER).application(now(), **secret)
            assert running.client.post("/api/v1/enrollments", json=new).status_code == 201
        assert running.log == ""


def test_the_address_behind_a_proxy_is_that_of_the_machine(running: Plane) -> None:
    def guessed(address: str) -> int:
        body = Machine(ISSUER).application(now(), code="BBBB-BBBB")
        headers = {"X-Forwarded-For": address}
        return running.client.post("/api/v1/enrollments", json=body, headers=headers).status_code

    assert [guessed("198.51.100.1") for _ in range(11)] == [403] * 10 + [429]
    assert guessed("198.51.100.2") == 403


def test_without_an_issuer_it_is_where_it_listens(tmp_path: Path) -> None:
    with plane(tmp_path) as running:
        issuer = running.client.get("/.well-known/oauth-authorization-server").json()["issuer"]
        assert issuer == str(running.client.base_url).rstrip("/")
        agent = enrolled(running, Machine(issuer))
        assert agent.poll().status_code == 200
        eventually(lambda: running.ask("GET", agent.path).json()["presence"]["lastSeenAt"] is not None)


def test_no_secret_is_in_the_log_or_the_arguments(running: Plane) -> None:
    machine = Machine(ISSUER)
    agent = enrolled(running, machine)
    broken = running.client.post("/api/v1/token", data=grant_form("x" * 5000))
    assert broken.status_code == 401
    arguments = Path(f"/proc/{running._process.pid}/cmdline").read_bytes().decode()
    for secret in (agent.token, "service-token"):
        assert secret not in running.log
        assert secret not in arguments
