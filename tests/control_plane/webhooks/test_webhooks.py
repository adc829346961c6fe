"""What agents report reaches the application signed, at least once, in spite of whatever it answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.planes import Agent, Plane, eventually, plane, slug
from tests.doubles.receiver import Receiver, is_signed, receiver


@contextmanager
def both(folder: Path, **settings: object) -> Iterator[tuple[Plane, Receiver]]:
    with receiver() as app, plane(folder, webhook_private_addresses=True, **settings) as there:
        yield there, app


def made(there: Plane, app: Receiver, **more: Any) -> dict[str, Any]:
    """A webhook, as its maker is told it."""
    answer = there.ask("POST", "/api/v1/webhooks", json={"url": app.url, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def tell(agent: Agent, text: str) -> dict[str, Any]:
    """The agent says something."""
    message = agent.envelope("MESSAGE", {"text": text, "from": "a person"})
    assert agent.report(message).status_code == 202
    return message


def waiting(there: Plane, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = there.ask("GET", f"/api/v1/webhooks/{webhook['id']}/waiting").json()["waiting"]
    return found


def test_what_is_reported_after_it_was_made_arrives_once_signed_under_the_messages_own_id(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        agent = there.fresh()
        tell(agent, "before")
        webhook = made(there, app)
        messages = [tell(agent, f"text {n}") for n in range(3)]
        came = app.until(3)
        assert sorted(request["headers"]["webhook-id"] for request in came) == sorted(m["id"] for m in messages)
        assert all(is_signed(request, webhook["secret"]) for request in came)
        (first,) = [request for request in came if request["data"]["message"]["id"] == messages[0]["id"]]
        assert (first["type"], first["data"]["clientId"]) == ("MESSAGE", agent.client_id)
        assert first["data"]["message"]["payload"]["text"] == "text 0"


def test_the_same_key_makes_one_webhook_which_the_second_answer_names(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        wanted = {"url": app.url, "types": ["MESSAGE"]}
        first = there.ask("POST", "/api/v1/webhooks", key="w1", json=wanted)
        assert first.status_code == 201
        again = there.ask("POST", "/api/v1/webhooks", key="w1", json={"types": ["MESSAGE"], "url": app.url})
        assert (again.status_code, slug(again)) == (409, "webhook-exists")
        assert first.json()["id"] in again.json()["detail"]
        other = there.ask("POST", "/api/v1/webhooks", key="w1", json={"url": app.url})
        assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
        assert len(there.ask("GET", "/api/v1/webhooks").json()["webhooks"]) == 1
        wrong = there.ask("POST", "/api/v1/webhooks", key="two words", json=wanted)
        assert (wrong.status_code, slug(wrong)) == (422, "invalid-parameter")
        assert there.ask("POST", "/api/v1/webhooks", key="w2", json=wanted).status_code == 201


def test_only_what_was_asked_for_is_sent(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        mine, other = there.fresh(), there.fresh()
        made(there, app, types=["MESSAGE"], agents=[mine.client_id])
        tell(other, "of another agent")
        mine.report(mine.envelope("CLIENT_DISCONNECTED", {"reason": "stopped"}))
        wanted = tell(mine, "wanted")
        assert [request["data"]["message"]["id"] for request in app.until(1)] == [wanted["id"]]


def test_what_failed_is_tried_again_and_holds_up_nothing_behind_it(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        agent = there.fresh()
        app.answers = [500]
        webhook = made(there, app)
        first = tell(agent, "first")
        app.until(1)
        eventually(lambda: len(waiting(there, webhook)) == 1)
        (failed,) = waiting(there, webhook)
        assert (failed["reason"], failed["tries"], failed["state"]) == ("it answered 500", 1, "waiting")
        second = tell(agent, "second")
        came = [request["headers"]["webhook-id"] for request in app.until(3)]
        assert came == [first["id"], second["id"], first["id"]]
        eventually(lambda: waiting(there, webhook) == [])
        log = there.ask("GET", f"/api/v1/webhooks/{webhook['id']}/deliveries").json()["deliveries"]
        assert [(line["try"], line["status"]) for line in log] == [(1, 500), (1, 204), (2, 204)]


def test_what_waits_can_be_sent_again_by_hand(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        app.answers, app.headers = [503, 500], {"Retry-After": "3600"}
        webhook = made(there, app)
        tell(there.fresh(), "text")
        app.until(1)
        eventually(lambda: len(waiting(there, webhook)) == 1)
        (failed,) = waiting(there, webhook)
        path = f"/api/v1/webhooks/{webhook['id']}/waiting"
        for came in (2, 3):
            assert there.ask("POST", f"{path}/{failed['n']}/retry").status_code == 202
            app.until(came)
            eventually(lambda: [one["reason"] for one in waiting(there, webhook)] != [failed["reason"]])
        eventually(lambda: waiting(there, webhook) == [])
        log = there.ask("GET", f"/api/v1/webhooks/{webhook['id']}/deliveries").json()["deliveries"]
        assert [(line["try"], line["status"]) for line in log] == [(1, 503), (2, 500), (3, 204)]
        assert slug(there.ask("POST", f"{path}/{failed['n']}/retry")) == "invalid-parameter"


def test_after_410_nothing_is_sent_until_it_is_resumed_and_then_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        agent = there.fresh()
        app.answers = [410]
        webhook = made(there, app)
        tell(agent, "the last straw")
        app.until(1)

        def stopped() -> bool:
            (found,) = there.ask("GET", "/api/v1/webhooks").json()["webhooks"]
            return found["stopped"] is not None

        eventually(stopped)
        later = tell(agent, "later")
        there.ask("POST", f"/api/v1/webhooks/{webhook['id']}/resume")
        assert later["id"] in {request["headers"]["webhook-id"] for request in app.until(2)[1:]}


def test_a_rotated_secret_signs_together_with_the_one_before_it(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        webhook = made(there, app)
        rotated = there.ask("POST", f"/api/v1/webhooks/{webhook['id']}/secret").json()
        assert rotated["secret"] != webhook["secret"]
        tell(there.fresh(), "text")
        (request,) = app.until(1)
        assert is_signed(request, webhook["secret"])
        assert is_signed(request, rotated["secret"])
        assert not is_signed(request, made(there, app)["secret"])


def test_after_kill_9_nothing_is_missing(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        agent = there.fresh()
        made(there, app)
        app.gate.clear()
        messages = [tell(agent, f"text {n}") for n in range(30)]
        there.kill()
        app.gate.set()
        there.start()

        def all_came() -> bool:
            with app.news:
                return {message["id"] for message in messages} <= {r["headers"]["webhook-id"] for r in app.came}

        # Another instance's lease has to end first.
        until_s = 60.0
        with app.news:
            assert app.news.wait_for(all_came, until_s)


def test_progress_is_sent_seldom_and_only_the_newest(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        agent = there.fresh()
        made(there, app, types=["UPLOAD_PROGRESS"], progressSeconds=1)
        for n in range(200):
            agent.report(agent.envelope("UPLOAD_PROGRESS", progress(n)))
        offsets = [request["data"]["message"]["payload"]["offset"] for request in app.until(1)]
        agent.report(agent.envelope("UPLOAD_PROGRESS", progress(200)))
        while offsets[-1] != 200:
            offsets = [r["data"]["message"]["payload"]["offset"] for r in app.until(len(offsets) + 1)]
        assert offsets == sorted(set(offsets))
        assert len(offsets) < 20


def progress(n: int) -> dict[str, Any]:
    return {
        "fileId": "f",
        "state": "uploading",
        "revision": 2,
        "n": n,
        "offset": n,
        "bytesSent": n,
        "fileSize": 1000,
        "rate": 1,
        "etaSeconds": 1,
    }


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://user:secret@example.com/", "nonsense", ""])
def test_an_unfit_url_is_refused(tmp_path: Path, url: str) -> None:
    with plane(tmp_path) as there:
        answer = there.ask("POST", "/api/v1/webhooks", json={"url": url})
        assert (answer.status_code, slug(answer)) == (422, "invalid-parameter")
        assert "secret" not in answer.text


def test_a_type_or_an_agent_that_does_not_exist_is_refused_for_nothing_would_ever_come(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        for member, value in (("types", "NOPE"), ("agents", "nobody")):
            answer = there.ask("POST", "/api/v1/webhooks", json={"url": app.url, member: [value]})
            assert (answer.status_code, slug(answer)) == (422, "invalid-parameter")
            assert answer.json()["detail"].startswith(f"{member}: ")
        assert there.ask("GET", "/api/v1/webhooks").json()["webhooks"] == []


def test_where_private_addresses_are_not_allowed_a_name_of_this_machine_gets_nothing(tmp_path: Path) -> None:
    with receiver() as app, plane(tmp_path) as there:
        port = app.url.rpartition(":")[2]
        answer = there.ask("POST", "/api/v1/webhooks", json={"url": f"https://localhost:{port}"})
        assert answer.status_code == 201
        tell(there.fresh(), "text")
        eventually(lambda: len(waiting(there, answer.json())) == 1)
        assert "private address" in waiting(there, answer.json())[0]["reason"]
        assert app.came == []


def test_a_secret_is_told_once_and_agents_and_strangers_are_told_nothing(tmp_path: Path) -> None:
    with both(tmp_path) as (there, app):
        webhook = made(there, app)
        listed = there.ask("GET", "/api/v1/webhooks")
        assert webhook["secret"] not in listed.text
        assert [found["id"] for found in listed.json()["webhooks"]] == [webhook["id"]]
        agent = there.fresh()
        assert slug(there.client.get("/api/v1/webhooks", headers=agent.headers)) == "not-allowed"
        assert slug(there.client.get("/api/v1/webhooks")) == "unauthenticated"
        assert there.ask("DELETE", f"/api/v1/webhooks/{webhook['id']}").status_code == 204
        assert slug(there.ask("DELETE", f"/api/v1/webhooks/{webhook['id']}")) == "unknown-webhook"
