"""What the documentation says, against the code: made parts are current, lists are whole, samples are real."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from pydantic.alias_generators import to_camel

from scripts import reference
from scripts.reference_pages.shapes import SHAPES
from sse_agent import cli, config
from sse_agent.board import Connection
from sse_agent.config import Settings
from sse_agent.control_plane.settings import PREFIX as CONTROL_PLANE_PREFIX
from sse_agent.control_plane.settings import Settings as ControlPlaneSettings
from sse_agent.errors import ErrorCode, ExitCode
from sse_agent.lifecycle import CommandState, DeliveryState, UploadState
from sse_agent.messages import (
    EVENT_PAYLOADS,
    PAYLOADS,
    AckStatus,
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
    check = [sys.executable, "-m", "scripts.reference", "--check"]
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


def typed() -> Iterator[tuple[str, str]]:
    """Every call of the program in a page's shell blocks, as one line."""
    for page in PAGES:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|\s|\()(?<!-u )(?:\S*/)?sse-agent (?!=)(.*?)\)?$", line)
                if found and not line.strip().startswith(
                    ("#", "useradd", "install", "systemctl", "journalctl", "alias")
                ):
                    yield str(page.relative_to(ROOT)), found[1]


def test_every_call_of_the_program_in_a_page_is_one_that_it_takes() -> None:
    found = list(typed())
    assert len(found) > 20
    for page, line in found:
        assert callable(cli._parser().parse_args(shlex.split(line)).run), page


def test_every_setting_that_a_page_speaks_of_exists() -> None:
    known = {config.PREFIX + name.upper() for name in Settings.model_fields}
    known |= {CONTROL_PLANE_PREFIX + name.upper() for name in ControlPlaneSettings.model_fields}
    known |= {f"{config.PREFIX}SETTINGS_FILE"}
    # Misspelt, as the page of wrong starts has them.
    known |= {f"{config.PREFIX}TOKNE", f"{config.PREFIX}LOG_LEVLE"}
    for page in PAGES:
        named = set(re.findall(r"\bSSE_AGENT_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= known, page


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def section(page: Path, title: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{title} is not in {page.name}"
    return found[1]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("States of an upload", set(UploadState)),
        ("A command", {*CommandState, *AckStatus}),
        ("A message to the control plane", set(DeliveryState)),
        ("The connection to the control plane", set(get_args(get_type_hints(Connection)["state"]))),
    ],
)
def test_the_vocabulary_has_every_state_of_the_code_and_no_other(title: str, words: set[str]) -> None:
    text = section(REFERENCE / "vocabulary.md", title)
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == {str(word) for word in words}


def test_every_name_that_the_vocabulary_points_to_exists() -> None:
    named = set(re.findall(r"`([^`]+)`", (REFERENCE / "vocabulary.md").read_text()))
    known = "\n".join(
        (REFERENCE / name).read_text() for name in ("commands.md", "log-events.md", "states.md", "wire.md")
    )
    known = "\n".join([known, *(member for shape in SHAPES.values() for member in shape)])
    for name in named:
        # A key of the console is a single letter; what its bars are drawn with is no ASCII.
        if len(name) > 1:
            plain = re.escape(name.removesuffix(" --json").removesuffix("[]"))
            assert re.search(rf"(?<!\w){plain}(?!\w)", known), f"{name} is nowhere"


NOT_OUR_WORDS = {
    "paused here": r"paused (at this machine|locally)|^at this machine$",
    "paused from afar": r"paused (remotely|by the control plane)",
    "next try in N s": r"\bretrying (in|at|after)\b|; again in\b|\btrying again\b",
    "an upload is complete": r"uploads? (is|are|was|were) (done|finished)\b",
    "an upload is uploading": r"uploads? (is|are) running",
    "an upload is retried": r"uploads? (is|are|was|were) tried again|\b(\d|%d|\}) tried again",
    "complete, failed or cancelled": r"\d+ (done|finished|stopped) uploads?",
}
"""Each by the word that is ours."""


def sentences(path: Path) -> Iterator[str]:
    """What people may read: of a page all of it, of code its texts but for docstrings."""
    if path.suffix == ".md":
        yield " ".join(path.read_text().split())
        return
    nodes = list(ast.walk(ast.parse(path.read_text())))
    silent = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            yield " ".join(node.value.split())


def other_words(text: str) -> list[str]:
    return [ours for ours, theirs in NOT_OUR_WORDS.items() if re.search(theirs, text)]


def test_nobody_uses_other_words_than_those_of_the_vocabulary() -> None:
    code = sorted((ROOT / "sse_agent").rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}: {ours!r} in {text[:200]!r}"
        for path in [*PAGES, *code]
        for text in sentences(path)
        for ours in other_words(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "paused at this machine",
        "retrying in 5 s",
        "lost; again in 5 s",
        "the upload is done",
        "2 tried again",
        "3 finished uploads",
    ],
)
def test_another_word_is_found(text: str) -> None:
    assert other_words(text)


def test_a_page_that_is_out_of_date_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*reference.PAGES, "docs/reference/error-codes.md", "docs/reference/exit-codes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["reference", "--check"])
    assert reference.main() == 0
    hostile, codes = tmp_path / "docs/reference/hostile-peers.md", tmp_path / "docs/reference/error-codes.md"
    hostile.write_text(hostile.read_text().replace("| `Location` twice |", "| `Location` thrice |"))
    codes.write_text(codes.read_text().replace("| `POISON` |", "| `PIOSON` |"))
    assert reference.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        "docs/reference/hostile-peers.md is not what the code says; run scripts/reference",
        "docs/reference/error-codes.md does not explain POISON",
        "docs/reference/error-codes.md explains PIOSON, which does not exist",
    ]
