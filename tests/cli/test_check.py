"""`check`: what it prints, for people and for programs, and that a running agent notices nothing of it."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sse_agent import cli, config
from sse_agent.checks.report import Check, State, failed, ok, warning
from sse_agent.cli import check
from sse_agent.errors import ExitCode
from tests.doubles.processes import CLIENT, World, _environment, world
from tests.doubles.services import until

WITHIN_S = 90.0
WELL = ok("clock", "within 1 s of the control plane's")
ODD = warning("tus server: answer", "tus 1.0.0; cancelled uploads stay there", "switch `termination` on")
WRONG = failed("control plane: DNS", "name not found: control.invalid", "correct the name")


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What the checks would find; settings that are right."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    needed = {"CONTROL_PLANE_URL": "https://control.example.com", "CLIENT_ID": "warehouse-7", "TOKEN": "t-1"}
    for name, value in {**needed, "ALLOWED_FOLDERS": '["/srv/outgoing"]', "STATE_DIR": str(tmp_path / "s")}.items():
        monkeypatch.setenv(config.PREFIX + name, value)
    made: list[Check] = []
    monkeypatch.setattr(check, "carry_out", lambda *_: iter(made))
    return made


@pytest.mark.parametrize(
    ("these", "code", "last"),
    [
        ([WELL], 0, "all ok"),
        ([WELL, ODD], 0, "1 with a warning, 1 ok"),
        ([WELL, ODD, WRONG, WRONG], 1, "2 failed, 1 with a warning, 1 ok"),
    ],
)
def test_only_failures_make_the_exit_code_one(
    found: list[Check], these: list[Check], code: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found.extend(these)
    assert cli.main(["check"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_without_standard_output_the_exit_code_says_it(found: list[Check], monkeypatch: pytest.MonkeyPatch) -> None:
    found.extend([WELL, WRONG])
    monkeypatch.setattr("sys.stdout", None)
    assert cli.main(["check"]) == 1


def test_each_check_is_a_line_and_what_to_do_is_beneath_it(
    found: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    found.extend([WELL, WRONG])
    cli.main(["check"])
    assert capsys.readouterr().out == (
        "ok       clock: within 1 s of the control plane's\n"
        "failed   control plane: DNS: name not found: control.invalid\n"
        "         do: correct the name\n"
        "\n"
        "1 failed, 1 ok\n"
    )


def test_what_servers_say_is_shown_and_never_obeyed(found: list[Check], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(ok("control plane: TLS", "issued by \x1b[2J\u202eevil"))
    cli.main(["check"])
    assert "\x1b" not in (told := capsys.readouterr().out)
    assert "\\x1b[2J\\u202eevil" in told


def test_a_terminal_has_colours_and_lines_that_fit(
    found: list[Check], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    found.append(failed("folder /srv", "word " * 60, "other " * 60))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    for no_colour in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_colour)
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        cli.main(["check"])
        assert ("\x1b" in terminal.getvalue()) is (no_colour == "")
        plain = terminal.getvalue().replace("\x1b[31m", "").replace("\x1b[0m", "")
        assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.parametrize("these", [[WELL, ODD], [WELL, WRONG]])
def test_for_programs_there_is_one_object(
    found: list[Check], these: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    found.extend(these)
    code = cli.main(["check", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0) is (WRONG not in these)
    assert told["checks"][1] == {
        "name": these[1].name, "state": str(these[1].state), "found": these[1].found, "advice": these[1].advice,
    }  # fmt: skip


@pytest.mark.usefixtures("found")
def test_wrong_settings_are_told_as_such_in_both_ways(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSE_AGENT_TOKEN")
    assert cli.main(["check"]) == ExitCode.WRONG_CONFIGURATION
    assert "SSE_AGENT_TOKEN: is missing" in capsys.readouterr().err
    assert cli.main(["check", "--json"]) == ExitCode.WRONG_CONFIGURATION
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["checks"][0]["state"]) == (False, "failed")
    assert "SSE_AGENT_TOKEN: is missing" in told["checks"][0]["found"]


# --- with real servers ---


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, connected=False) as made:
        yield made


def checked(there: World, **settings: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "sse_agent", "check", "--json"],
        env=_environment({**there.agent.settings, **settings}),
        cwd=there.folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    for secret in (there.agent.settings["SSE_AGENT_TOKEN"], "another-token"):
        assert secret not in done.stdout + done.stderr
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def found_of(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in told["checks"] if one["name"] == name)


def test_before_the_first_start_everything_is_ok_and_the_control_plane_has_seen_no_agent(there: World) -> None:
    code, told = checked(there)
    assert (code, told["ok"]) == (0, True), told
    assert {one["state"] for one in told["checks"]} == {State.OK}, told
    assert not (there.folder / "state").exists()
    assert not is_taken_for_lost(there)


def is_taken_for_lost(there: World) -> bool:
    """Whether the control plane has seen another journal of this agent before the agent's first start."""
    there.connect()
    return any(event["event"] == "stream.reset" for event in there.agent.events)


def test_a_check_that_claimed_the_agents_place_would_be_noticed(there: World) -> None:
    headers = {
        "Authorization": f"Bearer {there.agent.settings['SSE_AGENT_TOKEN']}",
        "Accept": "text/event-stream",
        "Agent-Journal": str(uuid.uuid4()),
        "Agent-Epoch": "1",
        "Agent-Instance": str(uuid.uuid4()),
    }
    url = f"{there.url}/api/v1/agents/{CLIENT}/stream"
    with httpx.stream("GET", url, headers=headers, verify=there.trust, trust_env=False, timeout=20) as claimed:
        assert claimed.status_code == 200
    assert is_taken_for_lost(there)


def test_an_agent_that_cant_be_asked_is_a_failure_among_the_others(there: World) -> None:
    state = there.folder / "state"
    state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / "agent.sock"))
        listening.listen()
        answering = threading.Thread(target=lambda: listening.accept()[0].close())
        answering.start()
        code, told = checked(there)
        answering.join(WITHIN_S)
    assert code == 1
    assert "its answer was cut off" in found_of(told, "running agent")["found"]
    assert found_of(told, "clock")["state"] == State.OK


def test_a_token_that_is_not_accepted_is_found(there: World) -> None:
    code, told = checked(there, SSE_AGENT_TOKEN="another-token", SSE_AGENT_TOKNE="zzz")
    assert (code, told["ok"]) == (1, False)
    assert [one["state"] for one in told["checks"] if one["name"] == "settings"] == [State.OK, State.WARNING]
    assert "the token is not accepted" in found_of(told, "control plane: answer")["found"]


def test_a_running_agent_keeps_its_stream_and_is_asked_how_it_is(there: World) -> None:
    there.connect()
    mark = there.agent.mark()
    code, told = checked(there)
    assert code == 0, told
    assert "has been connected for" in found_of(told, "control plane: stream")["found"]
    assert "held by the agent" in found_of(told, "journal")["found"]
    assert there.services.carry_out("HEARTBEAT")["outcome"] == "completed"
    until(lambda: any(e["event"] == "command.finished" for e in there.agent.events[mark:]), "the answer is logged")
    assert {event["event"] for event in there.agent.events[mark:]} & {"stream.lost", "agent.parked"} == set()
