"""Whatever answers in the control plane's place, or fails to answer, no message is lost and no agent stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread

from tests.doubles.control_plane import command, control_plane
from tests.doubles.processes import Process, agent_of, world
from tests.doubles.relay import Relay


def test_an_answer_that_is_lost_after_the_commit_costs_neither_a_message_nor_a_double(tmp_path: Path) -> None:
    with Relay() as relay, world(tmp_path, plane_relay=relay) as there:
        for _ in range(10):
            there.services.carry_out("HEARTBEAT")
        # By now only the connection of the POSTs carried so much; that of the stream is left alone.
        relay.cuts_answers_after = 6000
        record = there.services.carry_out("HEARTBEAT")
        assert relay.cut.wait(10)
        assert record["outcome"] == "completed"
        there.agent.wait_for("sender.waiting")
        assert there.services.carry_out("HEARTBEAT")["outcome"] == "completed"
        ids = [message["id"] for message in there.services.messages("ACK")]
        assert len(ids) == len(set(ids))


def test_a_deleted_agent_parks_says_nothing_more_and_ends_with_0(tmp_path: Path) -> None:
    with Relay() as relay, world(tmp_path, plane_relay=relay) as there:
        there.services.carry_out("HEARTBEAT")
        there.services.delete()
        assert "deleted" in there.agent.wait_for("agent.parked")["reason"]
        said = relay.forwarded
        assert there.agent.stop() == 0
        # The end of the TLS connections, but no farewell.
        assert relay.forwarded - said < 200


def test_a_wrong_token_is_tried_again_and_says_why(tmp_path: Path) -> None:
    with world(tmp_path, connected=False, SSE_AGENT_TOKEN="wrong") as there:
        there.agent.start()
        lost = there.agent.wait_for("stream.lost")
        assert "401" in lost["reason"]
        assert "token was not accepted" in lost["reason"]
        there.agent.wait_for("stream.lost", after=there.agent.events.index(lost) + 1)
        assert not any("wrong" in line for line in there.agent.lines)
        assert there.agent.stop() == 0


async def test_a_captive_portal_on_the_stream_does_not_stop_the_agent(tmp_path: Path) -> None:
    async with control_plane() as plane, _agent(plane.url, tmp_path) as agent:
        first = await plane.stream_request()
        await first.answer(200, b"<html>log in", content_type="text/html")
        lost = await _wait_for(agent, "stream.lost")
        assert "text/html" in lost["reason"]
        second = await plane.stream_request()
        await second.open_stream()
        await _wait_for(agent, "stream.connected")


async def test_a_message_answered_by_404_with_html_comes_again_as_it_was(tmp_path: Path) -> None:
    async with control_plane() as plane, _agent(plane.url, tmp_path) as agent:
        stream = await plane.stream_request()
        await stream.open_stream(latest="k1/1")
        await (await plane.post()).accept()
        await stream.say("k1/1", command("c-1"))
        lost: dict[str, Any] = {}
        while not lost:
            post = await plane.post()
            if "ACK" in post.types:
                await post.answer(404, b"<html>not here", content_type="text/html")
                lost = {m["id"]: m for m in post.messages if m["type"] == "ACK"}
            else:
                await post.accept()
        await _wait_for(agent, "sender.waiting")
        again: dict[str, Any] = {}
        while not lost.keys() <= again.keys():
            post = await plane.post()
            again |= {message["id"]: message for message in post.messages}
            await post.accept()
        assert all(again[message_id] == message for message_id, message in lost.items())


@asynccontextmanager
async def _agent(url: str, folder: Path) -> AsyncIterator[Process]:
    agent = agent_of(url, folder)
    agent.start()
    try:
        yield agent
    finally:
        await to_thread.run_sync(agent.kill)


async def _wait_for(agent: Process, event: str) -> dict[str, Any]:
    return await to_thread.run_sync(partial(agent.wait_for, event))
