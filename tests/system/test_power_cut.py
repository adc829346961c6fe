"""A power cut or a failing disk loses nothing that was acknowledged; and the harness would notice if one did."""

import os
import random
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from scripts.power_cut_harness.adaptor import Adaptor, journal_on
from scripts.power_cut_harness.places import scratch
from scripts.power_cut_harness.steps import Tables, after_each, script
from scripts.power_cut_harness.tape import Disk, Fate, Kind, Op, Tape
from scripts.power_cut_harness.vfs import TapeVfs
from tests.doubles.journals import journal_in

ROOT = Path(__file__).resolve().parent.parent.parent
CUTS, ERRORS = 1000, 100
ENDS_WITHIN_S = 600.0
STEPS = script(7, 40)
JOURNAL_TESTS = ("test_journal.py", "test_inbox.py", "test_outbox.py", "test_uploads.py", "test_transitions.py")
BETWEEN_TWO_LIBRARIES = "test_another_programs_lock_is_not_now"
"""There the other program is this process with another SQLite: the system's locks do not hold between the two."""


def power_cut(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/power_cut."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.power_cut", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


def figure(said: str, name: str) -> int:
    """The first number behind that name in the table."""
    line = next(line for line in said.splitlines() if line.startswith(name))
    return int(line[len(name) :].split()[0].rstrip(",;"))


def test_a_thousand_power_cuts_lose_nothing_that_was_acknowledged() -> None:
    code, said = power_cut("--cuts", str(CUTS), "--errors", "0")
    assert code == 0, said
    assert figure(said, "power cuts") == CUTS
    assert figure(said, "started again after a cut") == CUTS // 20
    assert figure(said, "final ACKs looked for after cuts") > CUTS


def test_a_disk_that_fails_at_any_operation_is_waited_for_and_loses_nothing() -> None:
    code, said = power_cut("--cuts", "0", "--errors", str(ERRORS), "--forgetful")
    assert code == 0, said
    assert figure(said, "  noticed by the journal") > ERRORS // 3


@pytest.mark.parametrize(
    ("mistake", "cuts", "complaint"),
    [
        ("normal", "60", "was acknowledged as completed, but is"),
        ("no-sync", "60", "was acknowledged as completed, but is"),
        ("ack-first", "60", "was acknowledged as accepted, but is not in the journal"),
        ("deaf", "0", "that was acknowledged"),
    ],
)
def test_a_build_with_a_mistake_fails_with_the_complaint_that_names_it(mistake: str, cuts: str, complaint: str) -> None:
    code, said = power_cut("--broken", mistake, "--cuts", cuts, "--errors", "15", "--seed", "1")
    assert code == 1, said
    assert complaint in said


async def _tables() -> list[Tables]:
    with scratch() as folder:
        async with journal_in(folder) as journal:
            return await after_each(journal, STEPS)


def test_the_adaptor_leaves_the_same_tables_after_every_step_as_pythons_own_sqlite() -> None:
    expected = anyio.run(_tables)
    vfs = TapeVfs(Tape({}))
    with journal_on(Adaptor(vfs.name)):
        assert anyio.run(_tables) == expected
    assert vfs.tape.position > len(STEPS), "it was the adaptor's disk that was written to"


def test_the_journals_own_tests_pass_on_the_adaptor() -> None:
    with scratch() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "scripts.power_cut_harness.plugin"),
                *("-k", f"not {BETWEEN_TWO_LIBRARIES}"),
                *(f"tests/{name}" for name in JOURNAL_TESTS),
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "operations on the power-cut disk" in done.stdout


def test_what_was_synced_stays_whatever_the_fate_of_the_rest() -> None:
    tape = Tape({"journal.db": b"a" * 2048})
    tape.ops += [
        Op(Kind.WRITE, "journal.db", 0, 0, b"b" * 1024),
        Op(Kind.SYNC, "journal.db", 0),
        Op(Kind.WRITE, "journal.db", 0, 1024, b"c" * 1024),
    ]
    for fate in Fate:
        disk = Disk(tape)
        disk.advance(tape.position)
        left = disk.after_power_cut(fate, random.Random(3))["journal.db"]
        assert left[:1024] == b"b" * 1024
        assert set(left[1024:]) <= set(b"ac")
