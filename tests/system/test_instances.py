"""Two control planes on one Redis, nginx in front, one killed in the middle: nothing is lost, doubled or reordered."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.control_plane.identity.machines import Machine
from tests.control_plane.identity.test_process import enrolled, now
from tests.doubles import fleet
from tests.doubles.instances import instances, prove
from tests.doubles.nginx import free_port
from tests.doubles.planes import Plane, eventually, plane

AGENTS, COMMANDS, WITHIN_S = 20, 600, 300.0
_BROKEN = """
import sys
from sse_agent.control_plane.redis import store
told = store.text
def text(script):
    return told(script).replace({before!r}, {after!r})
assert {before!r} in told({script!r})
store.text = text
from sse_agent.control_plane import server
sys.exit(server.main())
"""


def test_agents_that_hop_between_control_planes_miss_nothing_though_one_is_killed(tmp_path: Path) -> None:
    with instances(tmp_path) as there:
        found = prove(there, agents=AGENTS, commands=COMMANDS, seed=6, within_s=WITHIN_S)
        assert found.faults == []
        assert (found.commands, found.messages) == (COMMANDS, COMMANDS)
        assert found.hops > AGENTS
        # The one that was killed had something to do with it.
        assert found.retries > 0


@pytest.mark.parametrize(
    ("script", "before", "after", "expected"),
    [
        ("queue", "if is == 'repeated' then", "if false then", "with two numbers"),
        ("take", "math.max(after_n + 1,", "math.max(after_n + (after_n % 10 == 9 and 2 or 1),", "came where"),
    ],
    ids=["one that forgets keys", "one that passes commands over"],
)
def test_a_broken_control_plane_is_found_out(
    tmp_path: Path, script: str, before: str, after: str, expected: str
) -> None:
    program = (sys.executable, "-c", _BROKEN.format(script=script, before=before, after=after))
    with instances(tmp_path, program) as there:
        found = prove(there, agents=2, commands=200, seed=6, within_s=20.0)
        assert any(expected in fault for fault in found.faults), found


def test_the_newest_stream_wins_also_where_another_control_plane_holds_the_older_one(tmp_path: Path) -> None:
    with instances(tmp_path) as there:
        here, elsewhere = there.planes
        agent = here.fresh()
        with agent.stream() as older:
            numbering = older.hello()["latest"].partition("/")[0]
            agent.client = elsewhere.client
            with agent.stream(f"{numbering}/0") as newer:
                newer.hello()
                assert [event for event in older.rest() if "data" in event] == []
                here.order(agent)
                assert newer.event()["id"] == f"{numbering}/1"
                eventually(lambda: all(is_there(agent.client_id, plane) for plane in there.planes))


def test_a_key_that_is_replaced_at_one_control_plane_ends_the_stream_that_another_holds(tmp_path: Path) -> None:
    with instances(tmp_path) as there:
        here, elsewhere = there.planes
        agent = enrolled(here, Machine(there.url))
        agent.client = elsewhere.client
        with agent.stream() as stream:
            stream.hello()
            token = here.ask("POST", "/api/v1/enrollment-tokens", json={"clientId": agent.client_id}).json()["token"]
            body = Machine(there.url).application(now(), token=token)
            assert here.client.post("/api/v1/enrollments", json=body).status_code == 201
            # Heartbeats would go on for eleven minutes.
            assert [event for event in stream.rest() if "data" in event] == []


def is_there(client_id: str, plane: Plane) -> bool:
    found = plane.ask("GET", f"/api/v1/agents/{client_id}").json()
    return bool(found["presence"]["connected"])


def test_a_control_plane_on_sqlite_that_is_killed_under_load_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    with plane(tmp_path, port=free_port(), queue_limit=100_000) as there:
        url = str(there.client.base_url)

        async def disturb(answered: fleet.Answered) -> None:
            for part in (2, 5, 8):
                await answered.reached(part * COMMANDS // 10)
                there.kill()
                await asyncio.to_thread(there.start)

        found = asyncio.run(
            fleet.prove(url, agents=AGENTS, commands=COMMANDS, disturb=disturb, seed=6, within_s=WITHIN_S)
        )
        assert found.faults == []
        assert (found.commands, found.messages) == (COMMANDS, COMMANDS)
        assert found.retries > 0
