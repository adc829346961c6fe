"""`GET /api/v1/stream` over real HTTP against the real process."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sse_agent.control_plane.attendance import Attendance
from sse_agent.control_plane.bells import Bells
from sse_agent.control_plane.identity import parts
from sse_agent.control_plane.tokens import Audience
from sse_agent.control_plane.viewers import Viewers
from sse_agent.control_plane.viewing import Viewing
from tests.doubles.clock import FakeClock
from tests.doubles.engines import on_sqlite
from tests.doubles.planes import SERVICE, Agent, Event, Plane, Stream, eventually, plane, slug

PATH = "/api/v1/stream"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


@contextmanager
def watching(on: Plane, *, token: str = SERVICE, cursor: str | None = None, **params: Any) -> Iterator[Stream]:
    """An open view."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
    # A client of its own: the double's has few connections.
    with (
        httpx.Client(base_url=on.client.base_url, timeout=10, trust_env=False) as client,
        client.stream("GET", PATH, headers=headers, params=params) as response,
    ):
        yield Stream(response)


def viewer(on: Plane, agents: list[str] | str = "*", scopes: tuple[str, ...] = ("watch",), seconds: int = 300) -> str:
    """A viewer token."""
    body = {"subject": "ada", "agents": agents, "scopes": list(scopes), "seconds": seconds}
    answer = on.ask("POST", "/api/v1/viewer-tokens", key="k", json=body)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def until(stream: Stream, kind: str, **data: Any) -> Event:
    """The next event of that type whose data has these members."""
    while True:
        event = stream.event()
        if event["event"] == kind and data.items() <= json.loads(event["data"]).items():
            return event


def complete(agent: Agent, file_id: str, upload_id: str) -> dict[str, Any]:
    payload = {"fileId": file_id, "revision": 9, "fileSize": 3, "sha256": "0" * 64, "uploadId": upload_id}
    return agent.envelope("UPLOAD_COMPLETE", {**payload, "seconds": 1.5, "confirmation": "response"})


def progress(agent: Agent, file_id: str, n: int) -> dict[str, Any]:
    payload = {"fileId": file_id, "state": "uploading", "revision": 2, "n": n, "offset": n, "bytesSent": n}
    return agent.envelope("UPLOAD_PROGRESS", {**payload, "fileSize": 1000})


def test_hello_says_where_it_begins_and_reports_follow_with_their_place(running: Plane) -> None:
    agent = running.fresh()
    agent.report(agent.envelope("NOTE", {"is": "before"}))
    with watching(running) as stream:
        headers = stream.response.headers
        assert (headers["content-type"], headers["x-accel-buffering"]) == ("text/event-stream", "no")
        hello = stream.hello()
        assert (hello["protocol"], hello["heartbeatSeconds"], hello["resume"]) == (1, 1, True)
        agent.report(agent.envelope("MESSAGE", {"text": "hi", "from": "x"}))
        event = until(stream, "MESSAGE")
        assert int(event["id"]) > hello["position"]
        assert json.loads(event["data"])["clientId"] == agent.client_id


def test_a_view_goes_on_behind_its_last_event_and_misses_nothing(running: Plane) -> None:
    agent = running.fresh()
    with watching(running) as stream:
        stream.hello()
        agent.report(agent.envelope("MESSAGE", {"text": "0", "from": ""}))
        cursor = until(stream, "MESSAGE")["id"]
    texts = [str(number) for number in range(1, 251)]
    for start in range(0, 250, 50):
        agent.report(*[agent.envelope("MESSAGE", {"text": text, "from": ""}) for text in texts[start : start + 50]])
    with watching(running, cursor=cursor) as stream:
        hello = stream.hello()
        assert (hello["resume"], hello["position"]) == (True, int(cursor))
        found = [until(stream, "MESSAGE", clientId=agent.client_id) for _ in texts]
    assert [json.loads(event["data"])["payload"]["text"] for event in found] == texts
    places = [int(event["id"]) for event in found]
    assert places == sorted(set(places))


@pytest.mark.parametrize("cursor", ["999999999", "elsewhere", "-1", "1.5"])
def test_a_position_that_is_not_known_is_a_reset(running: Plane, cursor: str) -> None:
    with watching(running, cursor=cursor) as stream:
        assert stream.hello()["resume"] is False
        event = stream.event()
    assert (event["event"], "id" in event) == ("RESET", False)
    assert json.loads(event["data"])["reason"] == "unknown-position"


def test_one_that_was_away_too_long_is_reset(running: Plane, tmp_path: Path) -> None:
    agent = running.fresh()
    with watching(running) as stream:
        cursor = str(stream.hello()["position"])
    for start in range(0, 10_100, 100):
        agent.report(*[agent.envelope("NOTE", {}, id=f"{agent.client_id}-{start + n}") for n in range(100)])
    with watching(running, cursor=cursor) as stream:
        hello = stream.hello()
        assert json.loads(stream.event()["data"]) == {"position": hello["position"], "reason": "away-too-long"}
        agent.report(agent.envelope("MESSAGE", {"text": "goes on", "from": ""}))
        assert until(stream, "MESSAGE")


def test_people_never_see_where_an_upload_is_and_services_do(running: Plane) -> None:
    agent = running.fresh()
    person = viewer(running, scopes=("watch", "command"))
    order = running.order(agent, type="UPLOAD_START", payload={"fileId": "f", "fileName": "a.txt"}).json()["id"]
    with watching(running, token=person) as theirs, watching(running) as services:
        theirs.hello()
        services.hello()
        report = {**complete(agent, "f", "secret-place"), "inReplyTo": order}
        assert agent.report(report).status_code == 202
        assert "uploadId" not in json.loads(until(theirs, "UPLOAD_COMPLETE")["data"])["payload"]
        assert json.loads(until(services, "UPLOAD_COMPLETE")["data"])["payload"]["uploadId"] == "secret-place"
    mine = {"headers": {"Authorization": f"Bearer {person}"}}
    for path in (
        f"{agent.path}/uploads",
        f"{agent.path}/uploads/f",
        f"{agent.path}/messages",
        f"/api/v1/commands/{order}",
    ):
        assert "secret-place" in running.ask("GET", path).text, path
        answer = running.client.get(path, **mine)
        assert answer.status_code == 200, path
        assert "secret-place" not in answer.text, path


def test_a_viewer_sees_its_agents_only_and_can_name_one_of_them(running: Plane) -> None:
    one, two, three = running.fresh(), running.fresh(), running.fresh()
    token = viewer(running, [one.client_id, two.client_id])

    def speak() -> None:
        for agent in (three, two, one):
            agent.report(agent.envelope("MESSAGE", {"text": agent.client_id, "from": ""}), progress(agent, "f", 1))

    def heard(stream: Stream, ends_with: str) -> set[str]:
        found: set[str] = set()
        while ends_with not in found:
            found.add(json.loads(stream.event()["data"])["clientId"])
        return found

    with watching(running, token=token) as both, watching(running, token=token, agent=one.client_id) as first:
        both.hello()
        first.hello()
        speak()
        assert heard(both, one.client_id) <= {one.client_id, two.client_id}
        assert heard(first, one.client_id) == {one.client_id}
    with watching(running, token=token, agent=three.client_id) as refused:
        refused.response.read()
        assert (refused.response.status_code, slug(refused.response)) == (403, "not-allowed")
    listed = running.client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).json()["agents"]
    assert [agent["clientId"] for agent in listed] == sorted([one.client_id, two.client_id])


def test_what_is_not_for_a_viewer_moves_its_position_all_the_same(running: Plane) -> None:
    mine, other = running.fresh(), running.fresh()
    with watching(running, token=viewer(running, [mine.client_id])) as stream:
        position = stream.hello()["position"]
        other.report(other.envelope("NOTE", {}))
        while "id" not in (event := stream.next()):
            pass
    assert event.keys() == {"id"}
    assert int(event["id"]) > position


def test_tokens_for_something_else_are_refused(running: Plane) -> None:
    agent = running.fresh()
    tokens = {
        agent.headers["Authorization"].removeprefix("Bearer "): 403,
        "nonsense": 401,
        viewer(running, scopes=("command",)): 403,
    }
    for token, status in tokens.items():
        with watching(running, token=token) as stream:
            assert stream.response.status_code == status
    answer = running.client.get(PATH, headers={"Authorization": f"Bearer {SERVICE}", "Accept": "application/json"})
    assert slug(answer) == "not-acceptable"
    assert slug(running.ask("POST", PATH)) == "method-not-allowed"
    assert (
        slug(running.ask("GET", PATH, params={"agent": "not a name"}, headers={"Accept": "text/event-stream"}))
        == "invalid-parameter"
    )


def test_a_viewer_commands_in_its_own_name_and_only_with_that_scope(running: Plane) -> None:
    agent = running.fresh()
    body = {"type": "MESSAGE", "payload": {"text": "hi", "from": "ada"}, "actor": "somebody else"}

    def ask(token: str, key: str, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        return running.client.post(f"{path}/commands", json=body, headers=headers)

    key = f"{agent.client_id}-mine"
    assert ask(viewer(running), key, agent.path).status_code == 403
    assert ask(viewer(running, ["agent-of-others"], ("watch", "command")), key, agent.path).status_code == 403
    assert ask(viewer(running, [agent.client_id], ("command",)), key, agent.path).status_code == 202
    assert running.ask("GET", f"/api/v1/commands/{key}").json()["actor"] == "ada"
    with agent.stream() as stream:
        stream.hello()
        assert json.loads(stream.event()["data"])["actor"] == "ada"


def test_commands_are_told_when_they_are_queued_and_when_they_are_over(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, agent=agent.client_id) as stream:
        stream.hello()
        payload = {"fileId": "f", "fileName": "a.txt", "uploadToken": "token-of-the-upload"}
        order = running.order(agent, type="UPLOAD_START", payload=payload).json()["id"]
        asked = json.loads(until(stream, "COMMAND", id=order)["data"])
        assert (asked["status"], asked["subject"]) == ("queued", {"fileId": "f", "fileName": "a.txt"})
        agent.report(agent.ack(order, "completed"))
        assert (
            json.loads(until(stream, "COMMAND", id=order, outcome="completed")["data"])["clientId"] == agent.client_id
        )


def test_an_upload_has_the_name_that_it_was_asked_for_with(running: Plane) -> None:
    agent = running.fresh()
    for number in range(3):
        payload = {"fileId": f"f{number}", "fileName": f"reports/{number}.txt"}
        running.order(agent, type="UPLOAD_START", payload=payload)
    agent.report(*[progress(agent, f"f{number}", 1) for number in (0, 2)], progress(agent, "g", 1))
    found = running.ask("GET", f"{agent.path}/uploads").json()["uploads"]
    assert [(upload["fileId"], upload["fileName"]) for upload in found] == [
        ("f0", "reports/0.txt"),
        ("f1", "reports/1.txt"),
        ("f2", "reports/2.txt"),
        ("g", None),
    ]
    assert running.ask("GET", f"{agent.path}/uploads/f2").json()["fileName"] == "reports/2.txt"
    only_asked = running.ask("GET", f"{agent.path}/uploads/f1").json()
    assert (only_asked["state"], only_asked["revision"], only_asked["asked"]["status"]) == ("queued", None, "queued")
    assert slug(running.ask("GET", f"{agent.path}/uploads/f3")) == "unknown-upload"


def test_progress_is_told_without_a_place_and_not_each_of_it(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, agent=agent.client_id) as stream:
        stream.hello()
        for start in range(0, 200, 50):
            agent.report(*[progress(agent, "f", start + n) for n in range(1, 51)])
        found = []
        while not found or json.loads(found[-1]["data"])["payload"]["n"] < 200:
            found.append(until(stream, "UPLOAD_PROGRESS"))
    assert not any("id" in event for event in found)
    numbers = [json.loads(event["data"])["payload"]["n"] for event in found]
    assert numbers == sorted(set(numbers))
    assert len(found) < 20


def test_presence_is_told_on_arrival_and_a_stream_that_is_renewed_never_flickers(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, agent=agent.client_id) as stream:
        stream.hello()
        for _ in range(3):
            with agent.stream() as own:
                own.hello()
        told = [json.loads(until(stream, "PRESENCE")["data"])["presence"]["connected"] for _ in range(2)]
    # There once, for all three; gone once, after two heartbeats.
    assert told == [True, False]


def test_who_says_good_bye_is_gone_at_once(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, agent=agent.client_id) as stream, agent.stream() as own:
        stream.hello()
        own.hello()
        assert json.loads(until(stream, "PRESENCE")["data"])["presence"]["connected"] is True
        agent.report(agent.envelope("CLIENT_DISCONNECTED", {"reason": "stopped"}))
        assert json.loads(until(stream, "PRESENCE")["data"])["presence"]["connected"] is False


def test_an_agent_that_is_deleted_is_told(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, agent=agent.client_id) as stream:
        stream.hello()
        running.order(agent)
        assert json.loads(until(stream, "AGENT")["data"])["queue"]["waiting"] == 1
        assert running.ask("DELETE", agent.path).status_code == 204
        assert until(stream, "AGENT", clientId=agent.client_id, isDeleted=True)


def test_a_comment_comes_at_every_heartbeat(running: Plane) -> None:
    agent = running.fresh()
    with watching(running, token=viewer(running, [agent.client_id])) as stream:
        stream.hello()
        assert stream.next() == {"": ""}
        beat = stream.next()
        assert beat == {"": ""} or beat.keys() == {"id"}


def test_sigterm_ends_every_view_with_a_jittered_retry(tmp_path: Path) -> None:
    with plane(tmp_path, heartbeat_seconds=30) as found, watching(found) as one, watching(found) as two:
        one.hello()
        two.hello()
        found.terminate()
        ends = [view.rest()[-1]["retry"] for view in (one, two)]
        assert found.wait() == 0
    assert all(500 <= int(end) <= 5000 for end in ends)


def test_a_reader_that_stalls_is_cut_off(running: Plane) -> None:
    where = urlsplit(str(running.client.base_url))
    agent = running.fresh()
    # The connection of this client is open from here on; what comes is compared with that.
    agent.report(agent.envelope("MESSAGE", {"text": "first", "from": ""}))
    before = running.sockets
    with socket.create_connection((str(where.hostname), int(where.port or 0))) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SERVICE}\r\nAccept: text/event-stream\r\n\r\n"
        )
        stalled.sendall(request.encode())
        assert stalled.recv(16).startswith(b"HTTP/1.1 200")
        eventually(lambda: running.sockets > before)
        text = "x" * 4000
        until_s = time.monotonic() + 20
        while running.sockets > before and time.monotonic() < until_s:
            agent.report(*[agent.envelope("MESSAGE", {"text": text, "from": ""}) for _ in range(100)])
        assert running.sockets <= before


def test_a_server_that_was_started_again_says_that_it_is_another_one(tmp_path: Path) -> None:
    with plane(tmp_path) as found:
        agent = found.fresh()
        with watching(found) as stream:
            first = stream.hello()
            agent.report(agent.envelope("MESSAGE", {"text": "one", "from": ""}))
            cursor = until(stream, "MESSAGE")["id"]
        agent.report(agent.envelope("MESSAGE", {"text": "meanwhile", "from": ""}))
        found.kill()
        found.start()
        with watching(found, cursor=cursor) as stream:
            hello = stream.hello()
            assert (hello["resume"], hello["instance"] == first["instance"]) == (True, False)
            assert json.loads(until(stream, "MESSAGE")["data"])["payload"]["text"] == "meanwhile"


@pytest.mark.anyio
async def test_a_view_ends_a_minute_after_its_token(tmp_path: Path) -> None:
    """In this process, where a clock can be moved."""
    clock = FakeClock()
    engine = on_sqlite(tmp_path, clock)
    await engine.open()
    wired = await parts.opened(engine, engine, clock, "http://here", agents={}, services={}, on_change=lambda _: None)
    viewers = Viewers(engine, Attendance(clock, 15), clock)
    viewing = Viewing(engine, wired.access, viewers, Bells(), clock, 15)
    token, _ = wired.tokens.mint(Audience.VIEWER, "ada", 300, agents="*", scopes=["watch"])
    sent: list[bytes] = []
    heard = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        heard.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def answered(count: int) -> None:
        async with asyncio.timeout(10):
            while len(sent) < count:
                heard.clear()
                await heard.wait()

    async def moved_to(seconds: float) -> bytes:
        clock.advance(seconds)
        before = len(sent)
        viewers.tell("a", "presence a", b"event: PRESENCE\ndata: {}\n\n")
        await answered(before + 1)
        return b"".join(sent[before:])

    headers = [(b"authorization", f"Bearer {token}".encode()), (b"accept", b"text/event-stream")]
    scope = {"type": "http", "method": "GET", "path": PATH, "query_string": b"", "headers": headers}
    serving = asyncio.create_task(viewing.serve(scope, receive, send))
    try:
        await answered(2)
        assert b"PRESENCE" in await moved_to(355)
        assert not serving.done()
        await moved_to(6)
        async with asyncio.timeout(10):
            await serving
        assert sent[-2].startswith(b"retry: ")
    finally:
        serving.cancel()
        await engine.close()
