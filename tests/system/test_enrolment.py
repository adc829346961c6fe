"""A machine gets an identity, uses it and loses it: real processes, a real control plane, a person at a terminal."""

import json
import re
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.doubles.enrolling import Premises, Terminal, premises
from tests.doubles.secret_search import ProcessList, Search

FINGERPRINT = re.compile(r"[0-9A-F]{4}(?:-[0-9A-F]{4}){4}")


def fingerprint(text: str) -> str:
    found = FINGERPRINT.search(text)
    assert found is not None, text
    return found[0]


def paired(there: Premises) -> Terminal:
    """A person enrols the machine, up to the waiting for the other person's yes."""
    terminal = there.terminal("enroll", "--control-plane", there.url)
    terminal.shows("Pairing code")
    terminal.types(there.code())
    terminal.shows("Ctrl-C ends the waiting alone")
    return terminal


# --- enrol ---


def test_a_person_types_the_code_compares_the_fingerprint_and_the_terminal_goes_on_by_itself(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        terminal = there.terminal("enroll", "--control-plane", there.url, "--name", "Dock 7")
        terminal.shows("Pairing code")
        terminal.types("BCDF-GHJ1")
        terminal.shows("a pairing code is eight letters")
        terminal.types("BCDF-GHJK")
        terminal.shows("there is no such pairing code")
        terminal.types(there.code().lower().replace("-", " "))
        terminal.shows("Ctrl-C ends the waiting alone")
        waiting = there.http.get("/api/v1/enrollments").json()["enrollments"]
        assert [one["name"] for one in waiting] == ["Dock 7"]
        assert waiting[0]["fingerprint"] == fingerprint(terminal.seen)
        there.confirm(fingerprint(terminal.seen))
        assert terminal.ended() == 0
        assert "accepts its key" in terminal.seen
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [there.state, *there.state.iterdir()]}
        assert modes == {"state": 0o700, "key.json": 0o600, "identity.json": 0o600}


def test_a_script_enrols_in_one_step_and_the_agent_needs_to_be_told_no_more_than_its_folders(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        (there.files / "report.pdf").write_bytes(b"x")
        agent = there.agent()
        agent.start()
        agent.wait_for("stream.connected")
        services = there.services()
        record = services.carry_out("LIST_FILES", path=str(there.files))
        assert record["outcome"] == "completed"
        assert [entry["name"] for entry in record["replies"][-1]["payload"]["entries"]] == ["report.pdf"]
        assert agent.stop() == 0


def test_a_second_start_of_enrolling_changes_nothing_and_a_code_that_was_used_is_refused_to_another_key(
    tmp_path: Path,
) -> None:
    with premises(tmp_path) as there:
        code = there.token()
        there.script("enroll", "--control-plane", there.url, "--token-file", "-", text=code)
        before = {path.name: path.read_bytes() for path in there.state.iterdir()}
        done = there.script("enroll", "--control-plane", there.url, "--token-file", "-", text=code)
        assert (done.returncode, done.stderr) == (0, "")
        assert "enrolled already" in done.stdout
        assert "--again" in done.stdout
        assert {path.name: path.read_bytes() for path in there.state.iterdir()} == before
        done = there.script("enroll", "--again", "--token-file", "-", text=code)
        assert done.returncode == 78
        assert "another key was enrolled with this enrolment token" in done.stderr
        kept = {name: (there.state / name).read_bytes() for name in before}
        assert kept == before, "what was there is of use as long as there is nothing better"


def test_a_machine_that_died_before_it_heard_the_answer_gets_the_same_one_again(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        token = there.token()
        there.script("enroll", "--control-plane", there.url, "--token-file", "-", text=token)
        first = there.identity
        # As the disk was when the request was on its way.
        (there.state / "key.json").rename(there.state / "key-next.json")
        (there.state / "identity.json").unlink()
        done = there.script("enroll", "--control-plane", there.url, "--token-file", "-", text=token)
        assert done.returncode == 0, done.stderr
        assert there.identity == first


def test_who_leaves_while_waiting_can_go_on_waiting_and_the_agent_waits_too(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        terminal = paired(there)
        terminal.interrupts()
        assert terminal.ended() == 75
        assert "goes on waiting" in terminal.seen
        agent = there.agent()
        agent.start()
        assert "waits to be confirmed" in agent.wait_for("stream.lost")["reason"]
        again = there.terminal("enroll")
        again.shows("Ctrl-C ends the waiting alone")
        there.confirm(fingerprint(again.seen))
        assert again.ended() == 0
        agent.wait_for("stream.connected", within_s=60)
        assert agent.stop() == 0


def test_a_person_who_says_no_ends_the_waiting(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        terminal = paired(there)
        there.http.delete(f"/api/v1/agents/{there.identity['clientId']}/enrollment").raise_for_status()
        assert terminal.ended() == 78
        assert "does not accept this machine's key" in terminal.seen


def test_wrong_codes_are_told_apart(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        enroll = ("enroll", "--control-plane", there.url, "--code-file", "-")
        code = there.code()
        wrong = code[:5] + ("BCDF" if code[5:] != "BCDF" else "GHJK")
        for _ in range(2):
            terminal = there.terminal("enroll", "--control-plane", there.url)
            for tries in range(1, 4):
                terminal.shows("Pairing code", times=tries)
                terminal.types(wrong)
            assert terminal.ended() == 78
        done = there.script(*enroll, text=code)
        assert done.returncode == 78
        assert "this pairing code is over: expired, or tried wrongly too often" in done.stderr
        done = there.script(*enroll, text="")
        assert (done.returncode, "is empty" in done.stderr) == (78, True)
        done = there.script("enroll", "--control-plane", there.url)
        assert (done.returncode, "--code-file or --token-file" in done.stderr) == (78, True)
        there.plane.kill()
        done = there.script(*enroll, text="BCDF-GHJK")
        assert (done.returncode, "can't be asked now: no connection" in done.stderr) == (75, True)
        assert not (there.state / "identity.json").exists()


def test_neither_code_nor_key_nor_token_is_seen_anywhere_but_where_it_belongs(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        code = there.code()
        terminal = there.terminal("enroll", "--control-plane", there.url, "--code-file", str(tmp_path / "code"))
        (tmp_path / "code").write_text(code)
        terminal.shows("Ctrl-C ends the waiting alone")
        key = json.loads((there.state / "key.json").read_text())["d"]
        agent = there.agent()
        with ProcessList({"terminal": terminal.child.pid}) as watched:
            there.confirm(fingerprint(terminal.seen))
            assert terminal.ended() == 0
        agent.start()
        agent.wait_for("stream.connected")
        with ProcessList({"agent": agent.pid}) as running:
            there.services().carry_out("GET_STATUS")
        agent.stop()
        search = Search({"key": key, "code": code + "-" * 12})
        for place, text in {
            "terminal": terminal.seen,
            "log": "\n".join(agent.lines),
            "arguments": "\n".join(watched.seen | running.seen),
        }.items():
            search.look(place, text)
        search.look_into(tmp_path, ["key.json", "code"])
        assert search.found == set()
        assert code not in terminal.seen + "\n".join(agent.lines)
        assert watched.seen
        search.look_into(tmp_path, [])
        assert ("file key.json", "key") in search.found, "the search finds what is there"


# --- run ---


def test_a_restart_keeps_the_identity(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        agent, services = there.agent(), there.services()
        agent.start()
        agent.wait_for("stream.connected")
        command = services.command("GET_STATUS")
        services.outcome(command)
        agent.kill()
        mark = agent.mark()
        agent.start()
        agent.wait_for("stream.connected", after=mark, resumed=True)
        started = [event for event in agent.events if event["event"] == "agent.started"]
        assert [event["epoch"] for event in started] == [1, 2]
        assert {event["client_id"] for event in started} == {there.identity["clientId"]}
        assert agent.stop() == 0


def test_tokens_are_renewed_with_the_stream_and_no_command_is_lost_doubled_or_out_of_order(tmp_path: Path) -> None:
    with premises(tmp_path, life_s=6) as there:
        there.enrolled()
        agent, services, sent = there.agent(), there.services(), []
        agent.start()
        agent.wait_for("stream.connected")
        until_renewals, over = 4, threading.Event()

        def renewals() -> int:
            return sum(event["event"] == "stream.renewed" for event in list(agent.events))

        end = time.monotonic() + 90
        while renewals() < until_renewals:
            assert time.monotonic() < end, "\n".join(agent.lines[-20:])
            sent.append(services.command("HEARTBEAT"))
            over.wait(0.02)
        for command in sent:
            assert services.outcome(command)["outcome"] == "completed"
        received = [event["command_id"] for event in agent.events if event["event"] == "command.received"]
        assert received == sent
        assert len(services.messages("CLIENT_CONNECTED")) == 1, "a renewal is no connection"
        acks = [message["payload"]["commandId"] for message in services.messages("ACK")]
        assert {command: acks.count(command) for command in sent if acks.count(command) > 2} == {}
        assert [event for event in agent.events if event["event"] == "stream.lost"] == []
        assert agent.stop() == 0


def test_an_agent_that_was_deleted_parks_and_after_a_restart_without_a_token_too(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        agent, services = there.agent(), there.services()
        agent.start()
        agent.wait_for("stream.connected")
        services.delete()
        assert "deleted" in agent.wait_for("agent.parked")["reason"]
        assert agent.stop() == 0
        done = there.script("enroll")
        assert (done.returncode, "this agent was deleted" in done.stderr, "--again" in done.stderr) == (78, True, True)
        mark = agent.mark()
        agent.start()
        assert "deleted" in agent.wait_for("agent.parked", after=mark)["reason"]
        assert agent.stop() == 0


def test_a_fixed_token_counts_more_than_the_key_and_the_log_says_so(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        agent = there.agent(SSE_AGENT_TOKEN="not-a-token-of-this-control-plane")
        agent.start()
        assert agent.wait_for("agent.key_unused")["enrolled_as"] == there.identity["clientId"]
        assert "401" in agent.wait_for("stream.lost")["reason"]
        assert agent.stop() == 0


def test_a_journal_of_another_agent_is_not_gone_on_with(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        first, agent = there.identity["clientId"], there.agent()
        agent.start()
        agent.wait_for("stream.connected")
        agent.stop()
        done = there.script("enroll", "--again", "--token-file", "-", text=there.token())
        assert done.returncode == 0, done.stderr
        assert f"the journal here belongs to {first}" in done.stdout
        assert there.identity["clientId"] != first
        agent.start()
        assert agent.wait() == 78
        said = "\n".join(agent.lines)
        assert f"this journal belongs to {first}, but SSE_AGENT_CLIENT_ID says {there.identity['clientId']}" in said


def test_a_lost_key_is_replaced_by_a_code_that_is_bound_to_the_agent_and_its_journal_goes_on(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        first, agent = there.identity["clientId"], there.agent()
        agent.start()
        agent.wait_for("stream.connected")
        agent.stop()
        (there.state / "key.json").unlink()
        agent.start()
        assert agent.wait() == 78
        assert "enrol anew: sse-agent enroll --again" in "\n".join(agent.lines)
        terminal = there.terminal("enroll", "--again")
        terminal.shows("Pairing code")
        terminal.types(there.code(clientId=first))
        terminal.shows("Ctrl-C ends the waiting alone")
        there.confirm(fingerprint(terminal.seen))
        assert terminal.ended() == 0
        assert there.identity["clientId"] == first
        mark = agent.mark()
        agent.start()
        agent.wait_for("stream.connected", after=mark, resumed=True)
        assert agent.stop() == 0


def test_an_agent_that_runs_takes_a_new_key_once_it_is_confirmed_though_nobody_waits_for_that(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        before, agent = there.identity, there.agent()
        agent.start()
        agent.wait_for("stream.connected")
        terminal = there.terminal("enroll", "--again")
        terminal.shows("Pairing code")
        terminal.types(there.code(clientId=before["clientId"]))
        terminal.shows("Ctrl-C ends the waiting alone")
        terminal.interrupts()
        assert terminal.ended() == 75
        assert there.identity == before
        there.services().carry_out("HEARTBEAT")
        mark = agent.mark()
        there.confirm(fingerprint(terminal.seen))
        assert agent.wait_for("agent.key_rotated", after=mark)["fingerprint"] == fingerprint(terminal.seen)
        agent.wait_for("stream.connected", after=mark, resumed=True)
        assert (there.identity["clientId"], there.identity != before) == (before["clientId"], True)
        assert sorted(path.name for path in there.state.glob("*key*")) == ["key.json"]
        assert agent.stop() == 0


def test_a_running_agent_gets_another_key_and_goes_on_as_the_same(tmp_path: Path) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        before, agent = there.identity, there.agent()
        done = there.script("enroll", "--rotate")
        assert (done.returncode, "no agent runs there" in done.stderr) == (75, True)
        agent.start()
        agent.wait_for("stream.connected")
        old = (there.state / "key.json").read_bytes()
        done = there.script("enroll", "--rotate")
        assert done.returncode == 0, done.stderr
        assert there.identity["clientId"] == before["clientId"]
        assert there.identity["keyId"] != before["keyId"]
        known = there.http.get(f"/api/v1/agents/{before['clientId']}").json()["enrollment"]
        assert known["fingerprint"] == fingerprint(done.stdout)
        assert there.services().carry_out("GET_STATUS")["outcome"] == "completed"
        mark = agent.mark()
        agent.kill()
        agent.start()
        agent.wait_for("stream.connected", after=mark, resumed=True)
        assert agent.stop() == 0
        (there.state / "key.json").write_bytes(old)
        (there.state / "identity.json").write_text(json.dumps(before))
        checked = there.script("check")
        assert "does not accept this machine's key" in checked.stdout, "the old one has ended"


@pytest.mark.parametrize("name", ["key.json", "identity.json"])
def test_a_key_that_others_can_read_keeps_the_agent_from_starting(tmp_path: Path, name: str) -> None:
    with premises(tmp_path) as there:
        there.enrolled()
        (there.state / name).chmod(0o644)
        agent = there.agent()
        agent.start()
        assert agent.wait() == 77
        assert "open to others (mode 0644)" in "\n".join(agent.lines)
        checked = there.script("check")
        assert checked.returncode in (1, 77)
        assert "open to others (mode 0644)" in checked.stdout + checked.stderr
        (there.state / name).chmod(0o600)
        mark = agent.mark()
        agent.start()
        agent.wait_for("stream.connected", after=mark)
        agent.signal(signal.SIGINT)
        assert agent.wait() == 0
