"""The commands that pour in: all kinds, some given twice, some nonsense among them."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.chaos_test_harness.judge import COMPLETED, Ending
from scripts.chaos_test_harness.records import Order, Records

DUPLICATES = 0.15
UPLOADS_AT_ONCE = 20
LARGE = 4 * 1024 * 1024

Expected = frozenset[Ending] | None


def rejected(code: str) -> Expected:
    """Nothing done."""
    return frozenset({("rejected", code)})


@dataclass(slots=True)
class Traffic:
    """Gives commands to the control plane. `files` maps a name to its size in bytes; `endpoints` lead to tusd."""

    records: Records
    folder: Path
    files: dict[str, int]
    sha256: dict[str, str]
    endpoints: tuple[str, ...]
    chance: random.Random
    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The payload of every upload's first UPLOAD_START, by file ID."""
    _given: list[Order] = field(default_factory=list)
    _paused: set[str] = field(default_factory=set)
    _count: int = 0

    def pour(self) -> None:
        """One command, fresh or given before."""
        if self._given and self.chance.random() < DUPLICATES:
            self._repeat()
            return
        kinds = {
            self._start: 0 if self._open_uploads() >= UPLOADS_AT_ONCE else 30,
            self._start_again: 8,
            self._start_another: 2,
            self._pause: 8,
            self._resume: 10,
            self._cancel: 4,
            self._cancel_first: 2,
            self._list: 8,
            self._answer: 18,
            self._nonsense: 6,
        }
        self.chance.choices(list(kinds), list(kinds.values()))[0]()

    def give(self, kind: str, payload: dict[str, Any], expects: Expected = frozenset({COMPLETED}), **more: str) -> None:
        """A fresh command."""
        self._count += 1
        order = Order(f"cmd-{self._count}-{self.chance.getrandbits(48):012x}", kind, payload, expects)
        if not more:
            self._given.append(order)
        self.records.give(order, **more)

    def resume_all(self) -> None:
        """Nothing stays paused."""
        for file_id in sorted(self._paused):
            self.give("UPLOAD_RESUME", {"fileId": file_id}, None)
        self._paused.clear()

    def start(self, name: str, endpoint: str, **more: Any) -> str:
        """An upload of that file. Returns its file ID."""
        file_id = f"file-{len(self.started) + 1}"
        self.started[file_id] = {"fileId": file_id, "fileName": name, "tusEndpoint": endpoint, **more}
        self.give("UPLOAD_START", self.started[file_id], None)
        return file_id

    def _open_uploads(self) -> int:
        return sum(file_id not in self.records.over for file_id in self.started)

    def _repeat(self) -> None:
        order = self.chance.choice(self._given[-60:])
        if self.chance.random() < 0.1:
            self.records.give_another(order)
        else:
            self.records.give(order)

    # --- uploads ---

    def _some_upload(self) -> str | None:
        """One that is not over, if there is one; now and then any, or one that never was."""
        if self.chance.random() < 0.1:
            return self.chance.choice([*self.started, "file-unheard-of"])
        left = [file_id for file_id in self.started if file_id not in self.records.over]
        return self.chance.choice(left) if left else None

    def _start(self) -> None:
        # Large ones are few: it is requests that are counted here, and the disk has to hold them.
        names = list(self.files)
        name = self.chance.choices(names, [1.0 if self.files[name] < LARGE else 0.2 for name in names])[0]
        more: dict[str, Any] = {"priority": self.chance.choice([5, 5, 5, 5, 2, 8])}
        if self.chance.random() < 0.3:
            more |= {"fileSize": self.files[name], "sha256": self.sha256[name]}
        self.start(name, self.chance.choice(self.endpoints), **more)

    def _start_again(self) -> None:
        file_id = self._some_upload()
        if file_id in self.started:
            self.give("UPLOAD_START", {**self.started[file_id], "priority": self.chance.randint(0, 9)}, None)

    def _start_another(self) -> None:
        file_id = self._some_upload()
        if file_id in self.started:
            payload = {**self.started[file_id], "metadata": {"another": "upload"}}
            self.give("UPLOAD_START", payload, rejected("FILE_ID_IN_USE"))

    def _pause(self) -> None:
        self._wish("UPLOAD_PAUSE")

    def _resume(self) -> None:
        if self._paused and self.chance.random() < 0.8:
            file_id = self.chance.choice(sorted(self._paused))
            self._paused.discard(file_id)
            self.give("UPLOAD_RESUME", {"fileId": file_id}, None)
        else:
            self._wish("UPLOAD_RESUME")

    def _cancel(self) -> None:
        self._wish("UPLOAD_CANCEL")

    def _wish(self, kind: str) -> None:
        file_id = self._some_upload()
        if file_id is None or (kind == "UPLOAD_CANCEL" and file_id not in self.started):
            return
        (self._paused.add if kind == "UPLOAD_PAUSE" else self._paused.discard)(file_id)
        self.give(kind, {"fileId": file_id}, None)

    def _cancel_first(self) -> None:
        """A cancel that overtakes its start."""
        file_id = f"early-{self._count}"
        self.give("UPLOAD_CANCEL", {"fileId": file_id})
        payload = {"fileId": file_id, "fileName": next(iter(self.files)), "tusEndpoint": self.endpoints[0]}
        self.give("UPLOAD_START", payload, rejected("CANCELLED"))

    # --- the rest ---

    def _list(self) -> None:
        self.give("LIST_FILES", {"path": str(self.folder), "limit": 1000})

    def _answer(self) -> None:
        kind = self.chance.choice(["GET_STATUS", "MESSAGE", "HEARTBEAT"])
        self.give(kind, {"text": f"line {self._count}", "from": "service"} if kind == "MESSAGE" else {})

    def _nonsense(self) -> None:
        match self.chance.randrange(4):
            case 0:
                self.give("REBOOT", {}, rejected("UNKNOWN_TYPE"))
            case 1:
                self.give("HEARTBEAT", {}, rejected("EXPIRED"), expiresAt="2026-01-01T00:00:00Z")
            case 2:
                self.give("LIST_FILES", {"path": "no such folder"}, rejected("NOT_FOUND"))
            case _:
                payload = {"fileId": f"missing-{self._count}", "fileName": "no such file"}
                payload["tusEndpoint"] = self.endpoints[0]
                expects = frozenset({("rejected", "NOT_FOUND"), ("failed", "NOT_FOUND")})
                self.give("UPLOAD_START", payload, expects)
