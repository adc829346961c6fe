"""The control plane's process: what it says of a bug, and who may read its files."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sse_agent.control_plane.settings import PREFIX

SECRET = "s3cr3t-0f-the-test"
WITHIN_S = 20.0
# An engine with a bug whose words hold what it was given.
BROKEN = f"""
import sys
from sse_agent import cli
from sse_agent.control_plane.sqlite import SqliteEngine

async def fail(*args, **more):
    raise ValueError({SECRET!r})

SqliteEngine.agents = SqliteEngine.claim = fail
sys.exit(cli.main(["control-plane"]))
"""
# What runs beside the requests has a bug that shows once somebody asks for the page.
HALF_BROKEN = f"""
import sys
from sse_agent import cli
from sse_agent.control_plane.page import Page
from sse_agent.control_plane.webhooks.courier import Courier
import asyncio

asked = asyncio.Event()
serve = Page.serve

async def tell(*args):
    asked.set()
    await serve(*args)

async def fail(self):
    await asked.wait()
    raise ValueError({SECRET!r})

Page.serve, Courier.run = tell, fail
sys.exit(cli.main(["control-plane"]))
"""
INTACT = "import sys; from sse_agent import cli; sys.exit(cli.main(['control-plane']))"


@contextmanager
def running(
    database: Path, program: str = INTACT, umask: int = 0o022, *, ends_itself: bool = False
) -> Iterator[tuple[str, Path]]:
    """Where it listens, and the file that it logs to; stopped after the block, or waited for until it ends itself."""
    settings = {
        "PORT": "0",
        "DATABASE": str(database),
        "AGENT_TOKENS": json.dumps({"agent-1": "token-1"}),
        "SERVICE_TOKEN": "service",
    }
    log = database.parent.parent / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **{PREFIX + name: value for name, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            umask=umask,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield json.loads(line)["listening"], log
        if not ends_itself:
            process.terminate()
        assert process.wait(WITHIN_S) == (75 if ends_itself else 0)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_bug_is_told_once_by_kind_and_place_and_not_in_its_words(tmp_path: Path) -> None:
    speaker = {
        "Authorization": "Bearer token-1",
        "Accept": "text/event-stream",
        "Agent-Journal": "7f9c2ba4-e88f-4d6c-8d3c-2f0a1b2c3d4e",
        "Agent-Epoch": "1",
        "Agent-Instance": "7f9c2ba4-e88f-4d6c-8d3c-2f0a1b2c3d4f",
    }
    with running(tmp_path / "data" / "control-plane.db", BROKEN) as (url, log):
        # Each on a connection of its own: the server closes those on which it met a bug.
        for path, headers in (("", {"Authorization": "Bearer service"}), ("/agent-1/stream", speaker)):
            answer = httpx.get(f"{url}/api/v1/agents{path}", headers=headers, timeout=WITHIN_S, trust_env=False)
            assert answer.status_code == 500
            assert SECRET not in answer.text
    told = log.read_text()
    assert told.count("ValueError") == 2, told
    assert "in fail" in told
    assert SECRET not in told


def test_a_bug_beside_the_requests_ends_it_so_that_it_is_started_anew(tmp_path: Path) -> None:
    with running(tmp_path / "data" / "control-plane.db", HALF_BROKEN, ends_itself=True) as (url, log):
        httpx.get(url, timeout=WITHIN_S, trust_env=False)
    told = log.read_text()
    assert "ValueError" in told
    assert SECRET not in told


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nobody_else_may_read_its_files(tmp_path: Path, umask: int) -> None:
    data = tmp_path / "data"
    with running(data / "control-plane.db", umask=umask):
        assert _mode(data) == 0o700
        assert {path.name: oct(_mode(path)) for path in data.iterdir()} == {
            "control-plane.db": "0o600",
            "control-plane.sock": "0o600",
            "control-plane.db-wal": "0o600",
        }


def test_a_database_that_others_could_read_is_shut(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("control-plane.db", "control-plane.db-wal"):
        (data / name).touch()
        (data / name).chmod(0o644)
    with running(data / "control-plane.db"):
        assert {oct(_mode(path)) for path in data.iterdir()} == {"0o600"}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
