"""The subcommands beside a real agent, and at what it leaves behind when it is killed."""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sse_agent.localapi import SOCKET
from tests.cli.resting import dead_letter, documented, fill, members
from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 24 * MIB
RATE = MIB
WITHIN_S = 40.0
HOSTILE = "ev\x1b[31mil\u202e.txt"


@dataclass
class Said:
    """What a subcommand printed, and how it ended."""

    code: int
    out: list[str]
    err: str

    @property
    def json(self) -> Any:
        (line,) = self.out
        return json.loads(line)


def command(there: World, *arguments: str) -> list[str]:
    place = there.agent.settings["SSE_AGENT_STATE_DIR"]
    return [sys.executable, "-m", "sse_agent", *arguments, "--state-dir", place]


def environment(there: World) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SSE_AGENT_")}
    return clean | {"XDG_CONFIG_HOME": str(there.folder / "config"), "PYTHONUTF8": "1"}


def say(there: World, *arguments: str) -> Said:
    child = subprocess.run(
        command(there, *arguments),
        env=environment(there),
        cwd=there.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "Traceback" not in child.stderr
    assert "\x1b" not in child.stdout
    return Said(child.returncode, child.stdout.splitlines(), child.stderr)


def states(there: World, *arguments: str) -> dict[str, str]:
    return {one["fileId"]: one["state"] for one in say(there, "uploads", "list", "--json", *arguments).json["uploads"]}


def until_state(there: World, file_id: str, state: str) -> None:
    until(lambda: states(there).get(file_id) == state, f"{file_id} {state}", WITHIN_S)


@contextmanager
def under_way(folder: Path) -> Iterator[tuple[World, Relay]]:
    """Six uploads, two of them under way; one of an ill-named file; one of a file that is not there."""
    with Relay(RATE) as relay, world(folder, relay=relay, SSE_AGENT_MAX_CONCURRENT_UPLOADS="2") as there:
        (there.files / "big.bin").write_bytes(os.urandom(SIZE))
        (there.files / HOSTILE).write_bytes(b"x" * 2048)
        for number in range(6):
            there.services.command("UPLOAD_START", fileId=f"f{number}", fileName="big.bin")
        there.services.command("UPLOAD_START", fileId="evil", fileName=HOSTILE)
        there.services.command("UPLOAD_START", fileId="none", fileName="nowhere")
        there.agent.wait_for("upload.queued", file_id="evil")
        until(lambda: relay.forwarded > MIB, "it is under way")
        yield there, relay


def test_a_person_looks_and_acts_while_the_agent_works_and_what_they_want_outlives_it(tmp_path: Path) -> None:
    with under_way(tmp_path) as (there, relay):
        told = say(there, "status")
        assert told.code == 0
        assert re.fullmatch(r"agent-1: sse-agent \S+, running for .*", told.out[0])
        assert re.fullmatch(r" +connected for .* \(sse\)", told.out[2])
        assert re.match(r"  uploads        2 uploading, 5 queued; ", told.out[3])
        status = say(there, "status", "--json").json
        assert status["running"]
        assert {one["fileName"] for one in status["active"]} == {"big.bin"}
        assert set(members(status)) <= documented("status")

        shown = dict(re.split("  +", line, maxsplit=1) for line in say(there, "uploads", "show", "f0").out if line)
        assert re.fullmatch(r"\S+ [KM]iB, \S+ [KM]?i?B/s(, .* left)?", shown["sent"])
        assert re.fullmatch(r"\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown["received"])

        assert states(there, "--state", "uploading") == {"f0": "uploading", "f1": "uploading"}
        assert states(there, "--name", "il") == {"evil": "queued"}
        listed = say(there, "uploads", "list")
        assert "ev\\x1b[31mil\\u202e.txt" in listed.out[-1]
        assert len({line.index(" queued ") for line in listed.out if " queued " in line}) == 1

        refused = say(there, "uploads", "pause", "f0", "nobody")
        assert (refused.code, refused.out) == (1, ["1 paused"])
        assert refused.err.startswith("nobody: no upload has this fileId (NOT_FOUND); ")
        there.agent.wait_for("upload.paused", file_id="f0", here=True)
        there.services.until_upload("f0", "paused")
        assert "paused here" in " ".join(say(there, "uploads", "show", "f0").out)

        assert say(there, "uploads", "cancel", "f5").code == 78
        assert say(there, "uploads", "cancel", "f5", "--yes").out == ["1 cancelled"]
        there.services.until_upload("f5", "cancelled")
        assert say(there, "uploads", "retry", "f5").code == 1

        there.agent.kill()
        at_rest = say(there, "status")
        assert at_rest.code == 3
        assert at_rest.out[0] == "agent-1: no agent runs; this is what its journal says"
        assert say(there, "uploads", "pause", "f2").out == ["1 paused"]
        assert say(there, "uploads", "resume", "f0").out == ["1 resumed"]

        relay.rate = None
        there.connect()
        for file_id in ("f0", "f1", "f3", "f4", "evil"):
            there.services.until_upload(file_id, "complete", WITHIN_S)
        assert states(there)["f2"] == "paused"
        assert say(there, "uploads", "resume", "--all").out == ["1 resumed"]
        there.services.until_upload("f2", "complete", WITHIN_S)
        assert there.agent.stop() == 0
        assert not (Path(there.agent.settings["SSE_AGENT_STATE_DIR"]) / SOCKET).exists()


def test_a_resume_from_afar_of_what_was_paused_here_is_shown_here(tmp_path: Path) -> None:
    with under_way(tmp_path) as (there, _):
        assert say(there, "uploads", "pause", "f0").code == 0
        there.agent.wait_for("upload.paused", file_id="f0", here=True)
        assert there.services.carry_out("UPLOAD_RESUME", fileId="f0")["outcome"] == "completed"
        told = there.agent.wait_for("upload.queued", file_id="f0", why="resumed")
        assert told["overruled_by"]


def test_attempts_that_failed_are_shown_and_tried_again_at_once(tmp_path: Path) -> None:
    with under_way(tmp_path) as (there, relay):
        there.tusd.kill()
        there.agent.wait_for("upload.waiting", file_id="f0")
        told = until(lambda: (s := say(there, "uploads", "show", "f0")).out[-1].count("waiting") and s, "an attempt")
        assert any(line.startswith("reason ") for line in told.out)
        shown = say(there, "uploads", "show", "f0", "--json").json
        assert shown["tries"][0]["state"] == "waiting"
        assert shown["tries"][0]["reason"]
        there.tusd.start()
        relay.rate = None
        until(lambda: say(there, "uploads", "retry", "f0", "f1").code in (0, 1), "they are tried again")
        there.services.until_upload("f0", "complete", WITHIN_S)


def test_a_dead_letter_is_listed_and_reaches_the_control_plane_when_it_is_sent_again(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        there.agent.kill()
        place = Path(there.agent.settings["SSE_AGENT_STATE_DIR"])
        origin = there.agent.settings["SSE_AGENT_CONTROL_PLANE_URL"]
        fill(place, dead_letter("hello from here", "422 malformed"), origin=origin)
        assert say(there, "outbox", "list", "--json").json["deadLetters"][0]["refusal"] == "422 malformed"
        there.connect()
        listed = say(there, "outbox", "list")
        assert listed.out[1].endswith("422 malformed")
        assert there.services.messages("MESSAGE") == []
        assert say(there, "outbox", "retry", "--all").out == ["1 to be sent again"]
        (sent,) = until(lambda: there.services.messages("MESSAGE"), "it arrives")
        assert sent["payload"]["text"] == "hello from here"
        assert say(there, "outbox", "list").out == ["no dead letters"]


def test_a_person_at_a_terminal_is_asked_before_an_upload_is_cancelled(tmp_path: Path) -> None:
    with under_way(tmp_path) as (there, _):
        assert typed(there, "f3", "n\n").endswith("nothing was cancelled")
        assert states(there)["f3"] == "queued"
        assert typed(there, "f3", "\x04").endswith("nothing was cancelled")
        seen = typed(there, "f3", "y\n")
        assert "queued: big.bin" in seen
        assert seen.endswith("1 cancelled")
        there.services.until_upload("f3", "cancelled")


def typed(there: World, file_id: str, answer: str) -> str:
    """What a terminal shows while somebody cancels an upload and answers so."""
    master, slave = os.openpty()
    seen, end = b"", time.monotonic() + WITHIN_S
    child = subprocess.Popen(
        command(there, "uploads", "cancel", file_id),
        env=environment(there) | {"TERM": "dumb"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        while time.monotonic() < end:
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(master, 65536)
            except OSError:
                # It ended, and with it the terminal's other side.
                break
            is_first = b"[y/N]" not in seen
            seen += part
            if is_first and b"[y/N]" in seen:
                os.write(master, answer.encode())
        child.wait(WITHIN_S)
    finally:
        child.kill()
        child.wait()
        os.close(master)
    return seen.decode().replace("\r", "").rstrip()
