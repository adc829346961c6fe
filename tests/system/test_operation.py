"""The page on running the control plane: what it says to type leads to one that runs, and to a link into its page."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from sse_agent.control_plane.settings import PREFIX
from sse_agent.errors import ExitCode
from tests.system.test_headless import analyzed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "run-the-control-plane.md"
WITHIN_S = 30.0


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found


def typed(word: str) -> str:
    """The shell block with that in it."""
    (found,) = [block for block in blocks("sh") if word in block]
    return found


def test_its_settings_its_unit_and_its_link_lead_to_a_control_plane_that_takes_the_header_file(tmp_path: Path) -> None:
    (unit,) = blocks("ini")
    moved = {
        "/etc/sse-agent-control-plane": str(tmp_path),
        "/var/lib/sse-agent-control-plane": str(tmp_path / "state"),
        "/opt/sse-agent/bin": str(Path(sys.executable).parent),
        "python3 ": f"{sys.executable} ",
    }

    def here(text: str) -> str:
        for there, place in moved.items():
            text = text.replace(there, place)
        return text

    clean = {name: text for name, text in os.environ.items() if not name.startswith("SSE_AGENT_")}
    shell = ["sh", "-euc"]
    subprocess.run([*shell, here(typed("token_urlsafe"))], env=clean, check=True, timeout=WITHIN_S)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    environment = dict(line.split("=", 1) for line in re.findall(r"^Environment=(.*)$", here(unit), re.MULTILINE))
    (file,) = re.findall(r"^EnvironmentFile=(.*)$", here(unit), re.MULTILINE)
    environment |= dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
    (program,) = re.findall(r"^ExecStart=(.*)$", here(unit), re.MULTILINE)
    (tmp_path / "state").mkdir(mode=0o700)
    process = subprocess.Popen(
        program.split(), env={**clean, **environment, f"{PREFIX}PORT": "0"}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["listening"]
        assert Path(environment[f"{PREFIX}DATABASE"]).is_file()
        name, _, value = (tmp_path / "service-token.header").read_text().strip().partition(": ")
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as client:
            assert client.get(f"{url}/api/v1/agents", headers={name: value}).json() == {"agents": []}
            linked = subprocess.run(
                [*shell, here(typed("link --subject")).replace("http://127.0.0.1:8787", url)],
                env=clean,
                check=True,
                timeout=WITHIN_S,
                capture_output=True,
                text=True,
            )
            place, _, secret = linked.stdout.strip().partition("/#signin=")
            assert place == "https://control.example"
            assert client.post(f"{url}/api/v1/sessions", json={"secret": secret}).status_code == 201
    finally:
        process.kill()
        process.wait(WITHIN_S)
        assert process.stdout is not None
        process.stdout.close()


def test_its_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    (unit,) = blocks("ini")
    assert f"RestartPreventExitStatus={ExitCode.WRONG_CONFIGURATION:d}" in unit.splitlines()
    file = tmp_path / "sse-agent-control-plane.service"
    file.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit, flags=re.MULTILINE))
    assert analyzed("verify", str(file)) == ""
    assert "Overall exposure level" in analyzed("security", "--offline=true", "--no-pager", "--threshold=20", str(file))
