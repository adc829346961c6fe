"""Nothing outside the allowed folder is reached, however fast its entries are swapped; and the race would show it."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.confinement_race_harness.playground import Playground
from scripts.confinement_race_harness.race import Tally, verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the race is made of what Linux has")

ROOT = Path(__file__).resolve().parent.parent.parent
ENDS_WITHIN_S = 400.0


def confinement_race(*arguments: str) -> tuple[int, str]:
    """Exit code and output of scripts/confinement_race."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.confinement_race", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def figure(said: str, name: str) -> int:
    line = next(line for line in said.splitlines() if line.startswith(name))
    return int(line.removeprefix(name).split()[0].replace(",", ""))


@pytest.mark.parametrize(("way", "opens"), [("openat2", 100_000), ("walk", 50_000)])
def test_while_a_thief_swaps_everything_no_open_and_no_listing_leads_outside(way: str, opens: int) -> None:
    code, said = confinement_race("--way", way, "--opens", str(opens))
    assert code == 0, said
    assert figure(said, "opens") >= opens
    assert figure(said, "escapes") == 0
    assert figure(said, "  swapped meanwhile") > opens / 100, said


@pytest.mark.parametrize("way", ["plain", "following"])
def test_a_way_that_follows_links_fails_by_name(way: str) -> None:
    code, said = confinement_race("--way", way, "--opens", "10000")
    assert code == 1, said
    for scene in ("file-absolute", "directory-relative", "directory-deep (listing)", "proc-root", "directory-magic"):
        assert f"COMPLAINT  {way}: ESCAPED  {scene}: " in said, said


def test_a_look_before_the_open_does_not_help_and_fails_by_name() -> None:
    # Here a swap has to come just in between, which is rarer.
    code, said = confinement_race("--way", "checked", "--opens", "20000")
    assert code == 1, said
    for scenes in ("file-", "directory-"):
        assert f"COMPLAINT  checked: ESCAPED  {scenes}" in said, said


def test_a_race_in_which_nothing_was_swapped_is_no_proof(tmp_path: Path) -> None:
    scenes = Playground(tmp_path).scenes()
    everywhere = Counter(scene.name for scene in scenes)
    proof = Tally(raced=everywhere, refused=everywhere)
    assert verdict(proof, scenes, leaked=0) == []
    assert verdict(Tally(refused=everywhere), scenes, leaked=0)[0] == (
        "no race: file-relative was never swapped during an open"
    )
    assert verdict(Tally(raced=everywhere), scenes, leaked=0)[0] == "no race: file-relative was always open"
    assert verdict(proof, scenes, leaked=3) == ["leaked: 3 descriptors"]
