"""What reads the command stream takes any bytes, a minute of each kind; and the fuzz would notice."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ENDS_WITHIN_S = 300.0


def fuzz(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/fuzz."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("target", ["stream", "command"])
def test_any_bytes_are_read_or_refused_in_bounded_memory_and_time(target: str) -> None:
    code, said = fuzz("--target", target, "--seconds", "60")
    assert code == 0, said
    assert "nothing to complain about" in said


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        ("nul-id", "events differ from the second parser's"),
        ("split-crlf", "where the bytes are cut changes what is read"),
        ("unbounded-line", "the guard keeps"),
        ("no-bounds", "a number beyond a double was taken"),
        ("echo", "a refusal holds control characters"),
        ("slow-pattern", "not done within its time"),
        ("hoarder", "memory rose by"),
    ],
)
def test_a_broken_build_fails_with_the_complaint_that_names_its_mistake(build: str, complaint: str) -> None:
    # As many inputs as these mistakes need: how fast this machine is makes no difference.
    code, said = fuzz("--broken", build, "--seed", "1", "--inputs", "4000", "--seconds", str(ENDS_WITHIN_S))
    assert code == 1, said
    assert f"FAILED: Complaint: {complaint}" in said
