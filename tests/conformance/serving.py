"""A control plane as a process, the real one or the broken one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sse_agent.control_plane.settings import PREFIX
from tests.conformance.credentials import SERVICE, agent_token

ROOT = Path(__file__).resolve().parents[2]
INTACT = ("-m", "sse_agent", "control-plane")
BROKEN = ("-m", "tests.conformance.broken")
QUEUE = 40
WITHIN_S = 30.0


@contextmanager
def serving(folder: Path, program: Sequence[str], client_ids: Sequence[str], **settings: str) -> Iterator[str]:
    """Where it listens. It has a token for each of the agents, and one for a service."""
    of_process = {
        "PORT": "0",
        "DATABASE": str(folder / "control-plane.db"),
        "AGENT_TOKENS": json.dumps({client_id: agent_token(client_id) for client_id in client_ids}),
        "SERVICE_TOKEN": SERVICE,
        "HEARTBEAT_SECONDS": "1",
        "QUEUE_LIMIT": str(QUEUE),
        **settings,
    }
    environment = {**os.environ, **{PREFIX + name: value for name, value in of_process.items()}}
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield json.loads(line)["listening"]
    finally:
        process.kill()
        process.wait(WITHIN_S)
        assert process.stdout is not None
        process.stdout.close()
