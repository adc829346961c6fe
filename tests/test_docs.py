"""What the documentation says, against the code: made parts are current, lists are whole, samples are real."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.alias_generators import to_camel

from sse_agent import config
from sse_agent.config import Settings
from sse_agent.control_plane.settings import PREFIX as CONTROL_PLANE_PREFIX
from sse_agent.control_plane.settings import Settings as ControlPlaneSettings
from sse_agent.errors import ErrorCode, ExitCode
from sse_agent.messages import (
    EVENT_PAYLOADS,
    PAYLOADS,
    CommandType,
    Wire,
    parse_envelope,
    parse_payload,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "docs" / "reference"


def rows(page: Path) -> dict[str, str]:
    """The rows of the page's tables, by each name in backquotes in the first column."""
    found: dict[str, str] = {}
    for line in page.read_text().splitlines():
        if line.startswith("| `"):
            cells = line.strip("| ").split(" | ")
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), line)
    return found


def test_what_is_made_from_the_code_is_current() -> None:
    check = [sys.executable, "scripts/reference.py", "--check"]
    found = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_every_setting_is_in_the_example_and_in_the_reference_and_no_other() -> None:
    names = {config.PREFIX + name.upper() for name in Settings.model_fields}
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?(SSE_AGENT_\w+)=", example, re.MULTILINE)) == names
    assert set(rows(REFERENCE / "settings.md")) == names


def test_the_example_is_one_that_the_agent_would_start_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [config.PREFIX + name.upper() for name in Settings.model_fields]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    text = (ROOT / ".env.example").read_text()
    for name, uncommented in (("as it is", text), ("all of it", re.sub(r"^#(?=SSE_)", "", text, flags=re.MULTILINE))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / ".env").write_text(uncommented)
        (folder / ".env").chmod(0o600)
        assert config.load({}, directory=folder).client_id == "warehouse-7"


def test_every_error_and_exit_code_is_explained_and_no_other() -> None:
    assert set(rows(REFERENCE / "error-codes.md")) == set(ErrorCode)
    assert set(rows(REFERENCE / "exit-codes.md")) == {str(int(code)) for code in ExitCode}


def members(model: type[Wire]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or to_camel(name)


def test_every_command_and_event_is_in_the_reference_with_all_its_members() -> None:
    commands, _, events = (REFERENCE / "wire.md").read_text().partition("## Events")
    for text, payloads in ((commands, PAYLOADS), (events, EVENT_PAYLOADS)):
        for kind, model in payloads.items():
            lines = [line for line in text.splitlines() if line.startswith("|") and f"`{kind}`" in line.split("|")[1]]
            assert len(lines) == 1, kind
            missing = [name for name in members(model) if not re.search(rf"\b{name}\b", lines[0])]
            assert missing == [], f"{kind} in docs/reference/wire.md"


def samples() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(r"^```json\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page.name, block


def test_every_sample_is_json_and_every_command_among_them_is_one() -> None:
    found = list(samples())
    assert found
    for page, sample in found:
        # An ID that is cut short is no ID.
        value = json.loads(sample.replace("\u2026", "0"))
        if {"type", "clientId"} <= value.keys():
            envelope = parse_envelope(json.dumps(value))
            if envelope.type in set(CommandType):
                assert parse_payload(envelope.type, envelope.payload), page


def test_every_setting_that_a_page_speaks_of_exists() -> None:
    known = {config.PREFIX + name.upper() for name in Settings.model_fields}
    known |= {CONTROL_PLANE_PREFIX + name.upper() for name in ControlPlaneSettings.model_fields}
    known |= {f"{config.PREFIX}SETTINGS_FILE"}
    for page in PAGES:
        named = set(re.findall(r"\bSSE_AGENT_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= known, page


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"
