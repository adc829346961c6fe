"""A state directory that was copied, restored or lost, and a restored control plane: each ends, and stays so."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from sse_agent.clock import SystemClock, parse_timestamp
from sse_agent.control_plane.backup import backup, restore
from tests.doubles.processes import Process, World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 16 * MIB
RATE = MIB
COUNT = 20


def test_of_two_copies_started_together_one_serves_and_one_parks_and_neither_changes_its_mind(tmp_path: Path) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        start = _pause_in_the_middle(there, relay, "f")
        relay.rate = None
        assert there.agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "copy")
        one, other = there.agent, there.another_agent(SSE_AGENT_STATE_DIR=str(tmp_path / "copy"))
        marks = {one: one.mark(), other: 0}
        try:
            one.start()
            other.start()
            until(lambda: _count("agent.parked", marks) and _count("stream.connected", marks), "one of the two parks")
            serving, parked = (one, other) if _count("stream.connected", {one: marks[one]}) else (other, one)
            assert "another copy" in parked.wait_for("agent.parked", after=marks[parked])["reason"]
            _carry_out_all(there, serving, [parked])
            # Both journals have this upload; only one of the two may go on with it.
            assert there.services.carry_out("UPLOAD_RESUME", fileId="f")["outcome"] == "completed"
            assert there.services.outcome(start)["outcome"] == "completed"
            assert len(there.tusd.ids()) == 1
            assert _count("upload.started", {parked: marks[parked]}) == 0
            _carry_out_all(there, serving, [parked])
            assert _count("stream.connected", marks) == _count("agent.parked", marks) == 1
            assert len(there.services.messages("CLIENT_CONNECTED")) == 2
        finally:
            other.kill()


def test_the_copy_that_is_started_again_takes_over_once_and_the_other_stays_parked(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        assert there.agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "copy")
        there.connect()
        copy = there.another_agent(SSE_AGENT_STATE_DIR=str(tmp_path / "copy"))
        try:
            copy.start()
            copy.wait_for("agent.parked")
            assert copy.stop() == 0
            marks = {there.agent: there.agent.mark(), copy: copy.mark()}
            copy.start()
            there.agent.wait_for("agent.parked", after=marks[there.agent])
            for _ in range(3):
                _carry_out_all(there, copy, [there.agent])
            assert _count("stream.connected", marks) == _count("agent.parked", marks) == 1
            assert len(there.services.messages("CLIENT_CONNECTED")) == 3
        finally:
            copy.kill()


def test_a_restored_state_directory_parks_until_it_is_readmitted_and_does_nothing_twice(tmp_path: Path) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        services, agent = there.services, there.agent
        remembered = _pause_in_the_middle(there, relay, "remembered")
        assert agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "snapshot")
        there.connect()
        forgotten = _pause_in_the_middle(there, relay, "forgotten")
        relay.rate = None
        finished = _upload(there, "finished")
        agent.kill()
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "snapshot", tmp_path / "state")

        mark = agent.mark()
        agent.start()
        assert "another copy" in agent.wait_for("agent.parked", after=mark)["reason"]
        waiting = services.command("HEARTBEAT")
        connections = len(services.messages("CLIENT_CONNECTED"))
        assert agent.stop() == 0
        services.readmit()
        assert services.agent()["isReadmitted"]
        # Its second start, and so of a higher epoch than the life that is gone: it is a restored one all the same.
        mark = agent.mark()
        agent.start()
        assert agent.wait_for("stream.reset", after=mark)["reason"] == "readmitted"
        assert services.outcome(waiting)["outcome"] == "completed"
        # What only the life that is gone knew, nobody can tell; what both knew goes on.
        assert services.outcome(forgotten)["outcome"] == "unknown"
        assert services.record(remembered)["outcome"] is None
        assert services.upload("forgotten")["isLost"]
        assert not services.upload("remembered")["isLost"]
        assert services.record(finished)["outcome"] == "completed"
        assert services.upload("finished")["state"] == "complete"
        assert services.carry_out("UPLOAD_RESUME", fileId="remembered")["outcome"] == "completed"
        assert services.outcome(remembered)["outcome"] == "completed"
        _carry_out_all(there, agent, [])
        received = _received(agent, mark)
        assert not received.keys() & {remembered, forgotten, finished}
        assert set(received.values()) == {1}
        assert len(there.tusd.ids()) == 3, "one of each file"
        assert not services.agent()["isReadmitted"]
        assert _count("stream.connected", {agent: mark}) == 1
        assert _count("agent.parked", {agent: mark}) == 0
        assert len(services.messages("CLIENT_CONNECTED")) == connections + 1


def test_an_upload_that_the_later_life_finished_is_not_stored_once_more_by_the_restored_one(tmp_path: Path) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        services, agent = there.services, there.agent
        start = _pause_in_the_middle(there, relay, "f")
        relay.rate = None
        assert agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "snapshot")
        there.connect()
        assert services.carry_out("UPLOAD_RESUME", fileId="f")["outcome"] == "completed"
        assert services.outcome(start)["outcome"] == "completed"
        agent.kill()
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "snapshot", tmp_path / "state")
        services.readmit()
        mark = agent.mark()
        agent.start()
        assert agent.wait_for("stream.reset", after=mark)["reason"] == "readmitted"
        assert services.carry_out("UPLOAD_RESUME", fileId="f")["outcome"] == "completed"
        # It can't know that another life sent the rest, so it claims nothing; and it begins no second upload either.
        ended = agent.wait_for("upload.failed", after=mark, file_id="f")
        assert "bytes that were never sent" in ended["message"]
        assert services.record(start)["outcome"] == "completed"
        (complete,) = services.messages("UPLOAD_COMPLETE")
        (upload_id,) = there.tusd.ids()
        assert upload_id == complete["payload"]["uploadId"]
        assert there.tusd.read(upload_id) == (there.files / "f").read_bytes()
        until(lambda: len(services.messages("UPLOAD_FAILED")) == 1, "it is reported")
        assert services.upload("f")["state"] == "complete"


def test_a_restored_state_that_was_started_more_often_than_the_later_life_does_nothing_of_it_again(
    tmp_path: Path,
) -> None:
    with world(tmp_path) as there:
        services, agent = there.services, there.agent
        assert agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "snapshot")
        there.connect()
        (there.files / "g").write_bytes(os.urandom(100_000))
        services.carry_out("UPLOAD_START", fileId="g", fileName="g")
        agent.kill()
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "snapshot", tmp_path / "state")
        mark = agent.mark()
        agent.start()
        agent.wait_for("agent.parked", after=mark)
        assert agent.stop() == 0
        # Its epoch is higher than the later life's now, without anybody readmitting it.
        agent.start()
        agent.wait_for("stream.reset", after=mark)
        assert services.carry_out("HEARTBEAT")["outcome"] == "completed"
        assert len(there.tusd.ids()) == 1


def test_a_lost_journal_leaves_what_was_open_unknown_and_what_is_new_is_done(tmp_path: Path) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        services, agent = there.services, there.agent
        unfinished = _pause_in_the_middle(there, relay, "unfinished")
        relay.rate = None
        finished = _upload(there, "finished")
        assert agent.stop() == 0
        (tmp_path / "state").rename(tmp_path / "old")
        waiting = services.command("HEARTBEAT")  # Never sent to anybody: it can't have been done.
        mark = agent.mark()
        agent.start()
        assert agent.wait_for("stream.reset", after=mark)["reason"] == "journal-lost"
        assert not agent.wait_for("stream.connected", after=mark)["resumed"]
        assert services.outcome(waiting)["outcome"] == "completed"
        assert services.outcome(unfinished)["outcome"] == "unknown"
        assert services.record(finished)["outcome"] == "completed"
        assert (services.upload("unfinished")["state"], services.upload("unfinished")["isLost"]) == ("paused", True)
        assert (services.upload("finished")["state"], services.upload("finished")["isLost"]) == ("complete", False)
        again = _upload(there, "unfinished")
        assert not services.upload("unfinished")["isLost"]
        _carry_out_all(there, agent, [])
        received = _received(agent, mark)
        assert (received[waiting], received[again]) == (1, 1)
        assert not received.keys() & {unfinished, finished}

        old = there.another_agent(SSE_AGENT_STATE_DIR=str(tmp_path / "old"))
        try:
            old.start()
            old.wait_for("agent.parked")
            _carry_out_all(there, agent, [old])
        finally:
            old.kill()
        assert _count("stream.connected", {agent: mark, old: 0}) == 1
        assert _count("agent.parked", {agent: mark}) == 0
        assert len(services.messages("CLIENT_CONNECTED")) == 2


def test_to_a_restored_control_plane_an_agent_comes_back_once_and_nothing_finished_is_forgotten(tmp_path: Path) -> None:
    database, file = tmp_path / "control-plane.db", tmp_path / "backup"
    with world(tmp_path) as there:
        services, agent = there.services, there.agent
        before = services.carry_out("HEARTBEAT")["id"]
        assert agent.stop() == 0
        (there.files / "open").write_bytes(os.urandom(MIB))
        at_the_time = services.command("UPLOAD_START", fileId="open", fileName="open")
        backup(database, file, SystemClock())
        there.connect()
        assert services.outcome(at_the_time)["outcome"] == "completed"
        later = [_upload(there, "later"), services.carry_out("HEARTBEAT")["id"]]
        mark = agent.mark()
        # Stopped, so that it comes back only when the next command has the number that `later` had.
        agent.signal(signal.SIGSTOP)
        try:
            assert there.plane.stop() == 0
            restore(database, file, SystemClock())
            there.plane.settings["SSE_AGENT_CONTROL_PLANE_HEARTBEAT_SECONDS"] = "1"
            there.start_plane()
            # Of `open` the backup knows that it was asked for, and not yet what became of it.
            assert [services.upload(name)["state"] for name in ("later", "open")] == ["unknown", "queued"]
            new = [services.command("HEARTBEAT") for _ in later]
        finally:
            agent.signal(signal.SIGCONT)
        assert agent.wait_for("stream.reset", after=mark)["reason"] == "unknown-cursor"
        for command in [before, at_the_time, *new]:
            assert services.outcome(command)["outcome"] == "completed"
        for name in ("open", "later"):
            services.until_upload(name, "complete")
        assert len(there.tusd.ids()) == 2
        agent.wait_for("command.repeated", after=mark, command_id=at_the_time)
        until(lambda: _held_for(there) >= timedelta(seconds=3), "three heartbeats")
        _carry_out_all(there, agent, [])
        received = _received(agent, 0)
        assert set(received.values()) == {1}
        assert received.keys() >= {before, at_the_time, *later, *new}
        assert _count("stream.connected", {agent: mark}) == 1
        # The last before the backup, and the one after the restore: those between are forgotten with the rest.
        assert len(services.messages("CLIENT_CONNECTED")) == 2


def _pause_in_the_middle(there: World, relay: Relay, file_id: str) -> str:
    """A part of the file is stored, and its upload waits for somebody who resumes it; the open command."""
    (there.files / file_id).write_bytes(os.urandom(SIZE))
    before = relay.forwarded
    command = there.services.command("UPLOAD_START", fileId=file_id, fileName=file_id)
    until(lambda: relay.forwarded - before > MIB // 2, "it is in the middle")
    assert there.services.carry_out("UPLOAD_PAUSE", fileId=file_id)["outcome"] == "completed"
    there.services.until_upload(file_id, "paused")
    return command


def _upload(there: World, file_id: str) -> str:
    """A file, uploaded; the command."""
    if not (there.files / file_id).exists():
        (there.files / file_id).write_bytes(os.urandom(MIB))
    record = there.services.carry_out("UPLOAD_START", fileId=file_id, fileName=file_id)
    assert record["outcome"] == "completed", record
    there.services.until_upload(file_id, "complete")
    return str(record["id"])


def _carry_out_all(there: World, serving: Process, silent: Iterable[Process]) -> None:
    """Some commands, each carried out once and by that one."""
    marks = {agent: agent.mark() for agent in (serving, *silent)}
    commands = [there.services.command("HEARTBEAT") for _ in range(COUNT)]
    for command in commands:
        assert there.services.outcome(command)["outcome"] == "completed"
    received = _received(serving, marks[serving])
    assert [received[command] for command in commands] == [1] * COUNT
    for agent in silent:
        assert _received(agent, marks[agent]) == {}


def _received(agent: Process, after: int) -> Counter[str]:
    return Counter(event["command_id"] for event in agent.events[after:] if event["event"] == "command.received")


def _count(event: str, marks: dict[Process, int]) -> int:
    """How often these agents said so from their marks on."""
    return sum(said["event"] == event for agent, after in marks.items() for said in agent.events[after:])


def _held_for(there: World) -> timedelta:
    """How long the agent was there when the control plane last heard of it, or wrote to it."""
    presence = there.services.agent()["presence"]
    return parse_timestamp(presence["lastSeenAt"]) - parse_timestamp(presence["since"])
