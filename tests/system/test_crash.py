"""Nothing is lost and nothing is done twice, however often the agent is killed; and the harness would notice."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.tusd import find_tusd

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 30
ENDS_WITHIN_S = 400.0


def crash_test(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/crash_test."""
    find_tusd()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.crash_test", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_under_thirty_kills_every_command_is_carried_out_once_and_every_byte_arrives() -> None:
    code, said = crash_test("--kills", str(KILLS))
    assert code == 0, said
    assert f"{KILLS}, " in next(line for line in said.splitlines() if line.startswith("kills"))


def test_the_kills_that_show_mistakes_do_no_harm_to_the_build_as_it_is() -> None:
    code, said = crash_test("--broken", "none")
    assert code == 0, said


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        ("cursor-first", "lost: HEARTBEAT cmd-3-"),
        ("effect-first", "carried out twice: MESSAGE cmd-3-"),
        ("new-id", "final ACKs (completed, completed)"),
        ("from-zero", "started from zero: file-1 was sent as 2 uploads"),
    ],
)
def test_a_broken_build_fails_with_the_complaint_that_names_its_mistake(build: str, complaint: str) -> None:
    code, said = crash_test("--broken", build)
    assert code == 1, said
    assert complaint in said
