"""The demo is the first thing that people see: it must work, and say so."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 120


def test_the_demo_carries_every_file_and_ends_by_itself_in_plain_lines() -> None:
    ran = subprocess.run(
        [sys.executable, "scripts/demo.py", "--fast"],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    assert "105 of 105 as they should be" in ran.stdout
    rows = {
        line.split()[0]: line.split()[-1] for line in ran.stdout.splitlines() if line.startswith(("large", "medium"))
    }
    assert rows.pop("medium-3.bin") in ("cancelled", "yes")
    assert rows == {"large.bin": "yes", "medium-1.bin": "yes", "medium-2.bin": "yes"}
    assert "\x1b" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
