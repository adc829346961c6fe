"""Reconnects, uploads and streams leave nothing behind; and the harness would notice.

`scripts/leak_test` without arguments is the same with 1,000 streams of the control plane.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.leak_test_harness.broken import BUILDS
from tests.doubles.tusd import find_tusd

ROOT = Path(__file__).resolve().parent.parent.parent
ENDS_WITHIN_S = 400.0
SMALL = ("--reconnects", "24", "--uploads", "16", "--streams", "60")
# Leaks that are told apart by their complaints share a process.
COMPLAINTS = [
    {"keeps-sockets": "descriptors: socket: "},
    {"keeps-breakers": "descriptors: socket"},
    {
        "keeps-threads": "threads: watcher: ",
        "keeps-files": "descriptors: file ",
        "keeps-tasks": "tasks: Event.wait: ",
        "keeps-memory": "memory: ",
    },
    {
        "plane-keeps-watchers": "tasks: Event.wait: ",
        "plane-keeps-sockets": "descriptors: socket: ",
        "plane-keeps-memory": "memory: ",
    },
]


def leak_test(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/leak_test."""
    find_tusd()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.leak_test", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_reconnects_and_uploads_leave_the_agent_as_it_was() -> None:
    code, said = leak_test("--part", "agent", "--reconnects", "1000", "--uploads", "500")
    assert code == 0, said


def test_streams_that_end_in_every_way_leave_the_control_plane_as_it_was() -> None:
    code, said = leak_test("--part", "control-plane", "--streams", "600")
    assert code == 0, said


def test_every_leaky_build_has_a_complaint() -> None:
    assert {build for together in COMPLAINTS for build in together} == set(BUILDS)


@pytest.mark.parametrize("complaints", COMPLAINTS, ids=lambda together: "+".join(together))
def test_a_leaky_build_fails_with_the_complaint_that_names_its_leak(complaints: dict[str, str]) -> None:
    builds = [word for build in complaints for word in ("--broken", build)]
    code, said = leak_test(*builds, *SMALL)
    assert code == 1, said
    for complaint in complaints.values():
        assert f"COMPLAINT  {complaint}" in said
