"""Behind a proxy that misbehaves everything arrives exactly once; and the harness would notice if it did not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.tusd import find_tusd

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 300
ENDS_WITHIN_S = 900.0


def chaos_test(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/chaos_test."""
    find_tusd()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.chaos_test", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_in_three_hundred_rounds_of_chaos_everything_arrives_exactly_once() -> None:
    code, said = chaos_test("--rounds", str(ROUNDS))
    assert code == 0, said
    assert f"{ROUNDS}, " in next(line for line in said.splitlines() if line.startswith("rounds"))


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        ("new-id", "recorded twice: "),
        ("lost-is-sent", "COMPLAINT  lost: "),
        ("any-success", "COMPLAINT  lost: "),
        ("sent-is-stored", "lost bytes: tusd has something else of file-"),
        ("holes-pass", "was never acknowledged"),
        ("half-heads", " failed: SERVER_REFUSED, "),
        ("half-events", "acknowledged, but never given: "),
    ],
)
def test_a_broken_build_fails_with_the_complaint_that_names_its_mistake(build: str, complaint: str) -> None:
    code, said = chaos_test("--broken", build)
    assert code == 1, said
    assert complaint in said


def test_what_shows_the_mistakes_does_no_harm_to_the_build_as_it_is() -> None:
    code, said = chaos_test("--broken", "none")
    assert code == 0, said
