"""Looks for secrets in whatever was written, in every form that they take on the way."""

import base64
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

WINDOW = 12
"""Characters: so much of a secret is a find, for texts get cut."""


@dataclass
class Search:
    """`secrets` by name; `found` names place and secret."""

    secrets: dict[str, str] = field(default_factory=dict)
    found: set[tuple[str, str]] = field(default_factory=set)

    def look(self, place: str, text: str) -> None:
        """Note every secret in it. Colours, line breaks and other white space hide nothing."""
        dense = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\s", "", text)
        for name, secret in self.secrets.items():
            if any(window in text or window in dense for window in windows(secret)):
                self.found.add((place, name))

    def look_into(self, folder: Path, passed_over: Iterable[str]) -> None:
        """Every file below a folder, but those whose names match a pattern."""
        patterns = tuple(passed_over)
        for path in folder.rglob("*"):
            if path.is_file() and not any(path.match(pattern) for pattern in patterns):
                self.look(f"file {path.name}", path.read_bytes().decode("latin-1"))


def windows(secret: str) -> set[str]:
    """Every piece of `WINDOW` characters of every form."""
    return {form[at : at + WINDOW] for form in forms(secret) for at in range(len(form) - WINDOW + 1)}


def forms(secret: str) -> list[str]:
    """As it is, percent-encoded, in hexadecimal, and in base64 from each place in a group of three bytes."""
    raw = secret.encode()
    inner = [base64.b64encode(b"\0" * shift + raw).decode()[4 if shift else 0 :].rstrip("=")[:-2] for shift in range(3)]
    web_safe = [form.replace("+", "-").replace("/", "_") for form in inner]
    return [secret, quote(secret, safe=""), raw.hex(), *inner, *web_safe]


class ProcessList:
    """A context manager: what anybody could see of these processes' arguments, looked at again and again."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._pids = pids
        self._ending = threading.Event()
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="process list", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(0.02):
            for pid in list(self._pids.values()):
                if pid is not None:
                    self._note(pid)

    def _note(self, pid: int) -> None:
        try:
            self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1"))
            for task in Path(f"/proc/{pid}/task").iterdir():
                self.seen.add((task / "comm").read_text())
                for child in (task / "children").read_text().split():
                    self._note(int(child))
        except (FileNotFoundError, ProcessLookupError):
            return
