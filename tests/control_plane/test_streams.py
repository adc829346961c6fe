"""Commands down, over real HTTP against the real process."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.doubles.planes import Agent, Plane, eventually, plane, slug


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


def test_hello_is_first_and_commands_follow_from_behind_the_cursor(running: Plane) -> None:
    agent = running.fresh()
    eventids = [running.order(agent, f"{agent.client_id}-{n}").json()["eventId"] for n in range(3)]
    begun = time.monotonic()
    with agent.stream() as stream:
        hello = stream.hello()
        assert time.monotonic() - begun < 2
        assert [stream.event()["id"] for _ in range(3)] == eventids
    assert (hello["protocol"], hello["heartbeatSeconds"], hello["resume"]) == (1, 1, True)
    assert (hello["floor"], hello["latest"]) == (eventids[0], eventids[2])
    with agent.stream(eventids[1]) as stream:
        stream.hello()
        event = stream.event()
        assert list(event) == ["id", "event", "data"]
        envelope = json.loads(event["data"])
        assert (event["id"], event["event"], envelope["id"]) == (eventids[2], "HEARTBEAT", f"{agent.client_id}-2")
        # One that is queued while the stream is open comes at once.
        late = running.order(agent).json()["eventId"]
        assert stream.event()["id"] == late


def test_the_head_keeps_proxies_from_buffering_and_an_empty_queue_has_no_floor(running: Plane) -> None:
    agent = running.fresh()
    with agent.stream() as stream:
        headers = stream.response.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        hello = stream.hello()
    assert hello["latest"].endswith("/0")
    assert "floor" not in hello


def test_a_comment_comes_at_every_heartbeat_even_if_wake_ups_for_nothing_come_more_often(running: Plane) -> None:
    agent = running.fresh()
    running.order(agent, f"{agent.client_id}-again")
    over = threading.Event()

    def ring() -> None:
        # The same command again changes nothing, but wakes the stream.
        while not over.wait(0.2):
            running.order(agent, f"{agent.client_id}-again")

    with agent.stream() as stream:
        stream.hello()
        stream.event()
        ringing = threading.Thread(target=ring)
        ringing.start()
        try:
            begun = time.monotonic()
            assert stream.next() == {"": ""}
            assert time.monotonic() - begun < 3
        finally:
            over.set()
            ringing.join()


def test_the_newest_stream_of_an_instance_wins_and_the_older_one_ends(running: Plane) -> None:
    agent = running.fresh()
    with agent.stream() as older:
        older.hello()
        with agent.stream() as newer:
            newer.hello()
            assert not any("data" in event for event in older.rest())
            running.order(agent)
            assert newer.event()["event"] == "HEARTBEAT"


def test_a_later_start_ends_the_stream_and_whoever_is_older_or_a_clone_is_refused(running: Plane) -> None:
    agent = running.fresh()
    later = replace(agent, epoch=2, instance="00000000-0000-0000-0000-000000000002")
    clone = replace(later, instance="00000000-0000-0000-0000-000000000003")
    with agent.stream() as stream:
        stream.hello()
        assert later.poll().status_code == 200
        stream.rest()
    for refused in (agent, clone):
        with refused.stream() as answer:
            answer.response.read()
            assert (answer.response.status_code, slug(answer.response)) == (409, "newer-epoch")
        assert slug(refused.poll()) == "newer-epoch"
        assert slug(refused.report(refused.envelope("NOTE", {}))) == "newer-epoch"


def test_a_lost_journal_and_an_unknown_cursor_are_told_as_resets(running: Plane) -> None:
    agent = running.fresh()
    name = f"{agent.client_id}-sent"
    cursor = running.order(agent, name).json()["eventId"]
    with agent.stream() as stream:
        stream.hello()
        stream.event()
    new = Agent(running.client, agent.client_id)
    with new.stream() as stream:
        hello = stream.hello()
    assert (hello["resume"], hello["reason"], hello["reset"]["cursor"]) == (False, "journal-lost", cursor)
    assert running.ask("GET", f"/api/v1/commands/{name}").json()["outcome"] == "unknown"
    assert new.poll(cursor).json()["hello"]["resume"] is True
    assert new.poll("elsewhere/1").json()["hello"]["reason"] == "unknown-cursor"
    # And the machine that was lost is let in again only by a person.
    assert agent.poll().status_code == 409
    assert running.ask("POST", f"{agent.path}/readmit", key=f"{name}-readmit").status_code == 204
    assert agent.poll().json()["hello"]["reason"] == "readmitted"


def test_a_long_poll_answers_at_once_when_there_is_something_and_else_when_time_is_up(running: Plane) -> None:
    agent = running.fresh()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.poll, None, 8)
        is_connected(running, agent, True)
        begun = time.monotonic()
        event_id = running.order(agent).json()["eventId"]
        (event,) = waiting.result(5).json()["events"]
        assert time.monotonic() - begun < 3
    assert (event["id"], event["message"]["type"]) == (event_id, "HEARTBEAT")
    assert agent.poll(event_id).json()["events"] == []


def test_whoever_is_refused_does_not_make_the_agent_look_present(running: Plane) -> None:
    agent = running.fresh()
    later = replace(agent, epoch=2)
    later.report(later.envelope("CLIENT_DISCONNECTED", {"reason": "stopped"}))
    assert agent.poll().status_code == 409
    assert running.ask("GET", agent.path).json()["presence"]["connected"] is False


def test_a_poller_that_leaves_is_noticed(running: Plane) -> None:
    agent = running.fresh()
    address = running.client.base_url
    with socket.create_connection((address.host, address.port or 80)) as raw:
        head = [f"GET {agent.path}/stream?wait=60 HTTP/1.1", "Host: x", "Accept: application/json"]
        head += [f"{name}: {value}" for name, value in agent.headers.items()]
        raw.sendall("\r\n".join([*head, "", ""]).encode())
        is_connected(running, agent, True)
    is_connected(running, agent, False)


def is_connected(running: Plane, agent: Agent, wanted: bool) -> None:
    eventually(lambda: running.ask("GET", agent.path).json()["presence"]["connected"] is wanted)


def test_what_is_not_a_stream_request_is_a_problem(running: Plane) -> None:
    agent = running.fresh()
    path = f"{agent.path}/stream"
    for change, status, name in (
        ({"Authorization": "Bearer wrong"}, 401, "unauthenticated"),
        ({"Agent-Epoch": "-1"}, 400, "malformed-speaker"),
        ({"Agent-Journal": "x"}, 400, "malformed-speaker"),
        ({"Accept": "text/html"}, 406, "not-acceptable"),
    ):
        answer = running.client.get(path, headers={**agent.headers, **change})
        assert (answer.status_code, slug(answer)) == (status, name)
    answer = running.client.post(path, headers=agent.headers)
    assert (answer.status_code, slug(answer), answer.headers["allow"]) == (405, "method-not-allowed", "GET")


def test_a_reader_that_stalls_holds_up_nobody_and_is_let_go(tmp_path: Path) -> None:
    with plane(tmp_path) as running:
        agent, other = running.fresh(), running.fresh()
        large = {"x": "x" * 60_000}
        address = running.client.base_url
        is_connected(running, agent, False)
        before = running.sockets
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect((address.host, address.port or 80))
            head = [f"GET {agent.path}/stream HTTP/1.1", "Host: x", "Accept: text/event-stream"]
            head += [f"{name}: {value}" for name, value in agent.headers.items()]
            raw.sendall("\r\n".join([*head, "", ""]).encode())
            is_connected(running, agent, True)
            for _ in range(120):
                assert running.order(agent, type="LARGE", payload=large).status_code == 202
            assert other.poll().status_code == 200
            # Not only the stream: the connection, with the megabytes that wait in it.
            eventually(lambda: running.sockets == before)
            is_connected(running, agent, False)
        # The kernel or the endpoint cuts first; of the latter uvicorn says in one line that the answer is not whole.
        assert "Traceback" not in running.log


def test_sigterm_ends_every_stream_with_a_retry_and_the_process_though_nobody_hangs_up(tmp_path: Path) -> None:
    with plane(tmp_path) as running:
        streaming, polling = running.fresh(), running.fresh()
        with ThreadPoolExecutor(1) as pool, streaming.stream() as stream:
            stream.hello()
            poll = pool.submit(polling.poll, None, 30)
            is_connected(running, polling, True)
            running.terminate()
            retries = [int(event["retry"]) for event in stream.rest() if "retry" in event]
            assert poll.result(5).json()["events"] == []
            assert running.wait() == 0
        assert len(retries) == 1
        assert 500 <= retries[0] <= 5000
        assert running.log == ""
