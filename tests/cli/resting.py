"""The journal of an agent that does not run, made as a test wants it; and what a subcommand says of it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_agent import cli
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Transaction, opened, outbox, transitions, uploads, wishes
from sse_agent.journal.transitions import Outcome, Result, Trouble
from sse_agent.messages import Chat, EventType, UploadStart, event
from tests.doubles.clock import FakeClock
from tests.doubles.journals import CLIENT, ORIGIN

ENDPOINT = "https://tus.example.com/files/"
REFERENCE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference"
REFUSED = GiveUp(ErrorCode.SERVER_REFUSED, "the tus server refused the file", retryable=True)


def fill(folder: Path, *steps: Callable[[Transaction], object], origin: str = ORIGIN) -> Path:
    """A journal in a state directory, after these steps."""
    folder.mkdir(exist_ok=True)

    async def carry_out() -> None:
        async with opened(folder, origin=origin, client_id=CLIENT, clock=FakeClock()) as journal:
            for step in steps:
                await journal.write(step)

    anyio.run(carry_out)
    return folder


def upload(file_id: str, name: bytes = b"a.bin", size: int = 2048) -> Callable[[Transaction], None]:
    """One more, queued."""

    def add(tx: Transaction) -> None:
        uploads.add(tx, f"start-{file_id}", UploadStart(file_id=file_id, file_name="x"), ENDPOINT, size)
        tx.run("UPDATE uploads SET name = ? WHERE file_id = ?", name, file_id)

    return add


def tried(file_id: str, result: Result, seconds: float = 2.0) -> Callable[[Transaction], None]:
    """One attempt, and what came of it."""

    def end(tx: Transaction) -> None:
        transitions.begin(tx, file_id)
        transitions.settle(tx, file_id, result, seconds)

    return end


def failed(file_id: str) -> Callable[[Transaction], None]:
    return tried(file_id, REFUSED)


def waiting(file_id: str) -> Callable[[Transaction], None]:
    return tried(file_id, Trouble("the tus server says 423 Locked", FakeClock().now()))


def complete(file_id: str) -> Callable[[Transaction], None]:
    return tried(file_id, Outcome("0" * 64, "up-1", "response"))


def paused(file_id: str) -> Callable[[Transaction], None]:
    return lambda tx: wishes.pause(tx, file_id, None)


def dead_letter(text: str, refusal: str) -> Callable[[Transaction], None]:
    """A chat line that the control plane would not take."""

    def bury(tx: Transaction) -> None:
        message = event(EventType.MESSAGE, Chat(text=text, from_="console"), client_id=CLIENT, at=tx.now)
        outbox.bury(tx, outbox.put(tx, message, lane="chat"), refusal)

    return bury


@dataclass
class Shell:
    """Subcommands, in this process, at one state directory."""

    place: Path
    capsys: pytest.CaptureFixture[str]
    code: int = 0
    err: str = ""

    def says(self, *arguments: str) -> list[str]:
        """The lines on standard output; `code` and `err` (standard error) are kept."""
        self.code = cli.main([*arguments, "--state-dir", str(self.place)])
        out, self.err = self.capsys.readouterr()
        return out.splitlines()

    def json(self, *arguments: str) -> Any:
        """The one object that is printed."""
        (line,) = self.says(*arguments, "--json")
        assert line.isascii()
        return json.loads(line)


def members(value: Any, path: str = "") -> Iterator[str]:
    """Every member of a JSON value by its path: `uploads[].fileId`. What is named by states is `uploads.*`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            shown = "*" if path == "uploads" else name
            yield from members(inner, f"{path}.{shown}" if path else shown)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, f"{path}[]")
        if not value:
            yield f"{path}[]"
    else:
        yield path


def documented(command: str) -> set[str]:
    """The members that the reference names for what a command prints with --json."""
    page = (REFERENCE / "commands.md").read_text()
    section = re.search(rf"^## `sse-agent {command}`$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"{command} is not in the reference"
    return set(re.findall(r"^\| `([^`-][^`]*)` \|", section[1].partition("With `--json`")[2], re.MULTILINE))
