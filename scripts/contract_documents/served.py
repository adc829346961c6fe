"""OpenAPI: what the real control plane answers to `GET /openapi.json`, so that it has every route that there is."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

PREFIX = "SSE_AGENT_CONTROL_PLANE_"
WITHIN_S = 60


def openapi() -> dict[str, Any]:
    """The document. Starts a control plane on a free port, and ends it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "PORT": "0",
            "DATABASE": str(Path(folder) / "control-plane.db"),
            "SERVICE_TOKEN": "unused-but-long-enough",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        process = subprocess.Popen(
            [sys.executable, "-m", "sse_agent", "control-plane"],
            env={**kept, **{PREFIX + name: value for name, value in settings.items()}},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["listening"]
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{url}/openapi.json", timeout=WITHIN_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        finally:
            process.terminate()
            process.wait(WITHIN_S)
            process.stdout.close()
