"""The commands that pour in: all kinds, a fifth of them given twice, some nonsense among them."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts.crash_test_harness.ledger import CLIENT, Ending, Frame, Ledger, Order, envelope_of
from scripts.crash_test_harness.tokens import Tokens

DUPLICATES = 0.2
TOKENS = 0.4
UPLOADS_AT_ONCE = 14
WAITING_AT_MOST = 60
COMPLETED: Ending = ("completed", "")

Expected = frozenset[Ending] | None


def rejected(code: str) -> Expected:
    """Nothing done."""
    return frozenset({("rejected", code)})


@dataclass(slots=True)
class Traffic:
    """Gives commands to the oracle. `files` maps a name to its size in bytes."""

    ledger: Ledger
    tokens: Tokens
    folder: Path
    files: dict[str, int]
    sha256: dict[str, str]
    chance: random.Random
    _given: list[Frame] = field(default_factory=list)
    _starts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _paused: set[str] = field(default_factory=set)
    _resumed_by: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def pour(self) -> None:
        """One command, fresh or given before."""
        if self._given and self.chance.random() < DUPLICATES:
            self._repeat()
            return
        kinds = {
            self._start: 0 if self._open_uploads() >= UPLOADS_AT_ONCE else 26,
            self._start_again: 8 if len(self.ledger.unanswered()) < WAITING_AT_MOST else 0,
            self._start_another: 2,
            self._start_unknown: 4,
            self._pause: 8,
            self._resume: 10,
            self._cancel: 4,
            self._cancel_first: 2,
            self.list_files: 8,
            self._answer: 18,
            self._nonsense: 6,
        }
        self.chance.choices(list(kinds), list(kinds.values()))[0]()

    def give(self, kind: str, payload: dict[str, Any], expects: Expected = frozenset({COMPLETED}), **more: str) -> str:
        """A fresh command. Returns its ID."""
        self._count += 1
        command_id = f"cmd-{self._count}-{self.chance.getrandbits(48):012x}"
        order = Order(command_id, kind, payload, expects)
        frame = Frame(kind, envelope_of(kind, command_id, payload, **more), order)
        self._given.append(frame)
        self.ledger.give(frame)
        return command_id

    def start(self, name: str, **more: Any) -> str:
        """An upload of that file. Returns its file ID."""
        file_id = f"file-{len(self._starts) + 1}"
        payload = {"fileId": file_id, "fileName": name, **more}
        self._starts[file_id] = payload
        token = self.tokens.first(file_id, is_given=self.chance.random() < TOKENS)
        self.give("UPLOAD_START", {**payload, "uploadToken": token} if token else payload, None)
        return file_id

    def started(self) -> dict[str, dict[str, Any]]:
        """The payload of every upload's first UPLOAD_START, by file ID."""
        return self._starts

    def is_over(self, file_id: str) -> bool:
        """Whether that upload came to its end, or never began: each command that starts it was put aside for good."""
        if file_id in self.ledger.over:
            return True
        starts = [order for order in self.ledger.orders.values() if order.is_start_of(file_id)]
        return all(self.ledger.is_poisoned(order.command_id) for order in starts)

    def resume_all(self) -> None:
        """Nothing stays paused."""
        for file_id in sorted(self._paused):
            self._resume_this(file_id)
        self._paused.clear()

    def revive(self, kinds: frozenset[str] = frozenset({"UPLOAD_FAILED"})) -> None:
        """Uploads whose last report is one of `kinds`, and which are not over, go on; a person would see to it."""
        for file_id in self._starts:
            moves = self.ledger.moves.get(file_id)
            if moves and moves[-1].type in kinds and file_id not in self.ledger.over:
                self._resume_this(file_id)

    def _resume_this(self, file_id: str) -> None:
        """Unless the last command to that end is still under way."""
        last = self._resumed_by.get(file_id)
        if last is None or last in self.ledger.finals:
            self._resumed_by[file_id] = self.give("UPLOAD_RESUME", {"fileId": file_id}, None)

    def _open_uploads(self) -> int:
        return sum(file_id not in self.ledger.over for file_id in self._starts)

    def _repeat(self) -> None:
        """The same ID under a new event ID: most of them as they were, some with a body that must not count."""
        frame = self.chance.choice(self._given[-60:])
        data = frame.data
        order = frame.order
        assert order is not None
        if self.chance.random() < 0.1:
            data = envelope_of("GET_STATUS", order.command_id, {"another": "body"})
        self.ledger.give(Frame(frame.type, data))

    # --- uploads ---

    def _some_upload(self) -> str | None:
        """One that is not over, if there is one; now and then any, or one that never was."""
        if self.chance.random() < 0.1:
            return self.chance.choice([*self._starts, "file-unheard-of"])
        left = [file_id for file_id in self._starts if file_id not in self.ledger.over]
        return self.chance.choice(left) if left else None

    def _start(self) -> None:
        name = self.chance.choice(list(self.files))
        more: dict[str, Any] = {"priority": self.chance.choice([5, 5, 5, 5, 2, 8])}
        if self.chance.random() < 0.3:
            more |= {"fileSize": self.files[name], "sha256": self.sha256[name]}
        self.start(name, **more)

    def _start_again(self) -> None:
        file_id = self._some_upload()
        if file_id in self._starts:
            self.give("UPLOAD_START", {**self._starts[file_id], "priority": self.chance.randint(0, 9)}, None)

    def _start_another(self) -> None:
        file_id = self._some_upload()
        if file_id in self._starts:
            payload = {**self._starts[file_id], "metadata": {"another": "upload"}}
            self.give("UPLOAD_START", payload, rejected("FILE_ID_IN_USE"))

    def _start_unknown(self) -> None:
        payload = {"fileId": f"missing-{self._count}", "fileName": "no such file"}
        expects = frozenset({("rejected", "NOT_FOUND"), ("failed", "NOT_FOUND")})
        self.give("UPLOAD_START", payload, expects)

    def _pause(self) -> None:
        self._wish("UPLOAD_PAUSE")

    def _resume(self) -> None:
        if self._paused and self.chance.random() < 0.8:
            file_id = self.chance.choice(sorted(self._paused))
            self._paused.discard(file_id)
            self._resume_this(file_id)
        else:
            self._wish("UPLOAD_RESUME")

    def _cancel(self) -> None:
        self._wish("UPLOAD_CANCEL")

    def _wish(self, kind: str) -> None:
        file_id = self._some_upload()
        if file_id is None or (kind == "UPLOAD_CANCEL" and file_id not in self._starts):
            return
        (self._paused.add if kind == "UPLOAD_PAUSE" else self._paused.discard)(file_id)
        self.give(kind, {"fileId": file_id}, None)

    def _cancel_first(self) -> None:
        """A cancel that overtakes its start."""
        payload = {"fileId": f"early-{self._count}", "fileName": self.chance.choice(list(self.files))}
        self.give("UPLOAD_CANCEL", {"fileId": payload["fileId"]})
        self.give("UPLOAD_START", payload, rejected("CANCELLED"))

    # --- the rest ---

    def list_files(self) -> None:
        """All of them, on one page."""
        self.give("LIST_FILES", {"path": str(self.folder), "limit": 1000})

    def _answer(self) -> None:
        kind = self.chance.choice(["GET_STATUS", "MESSAGE", "HEARTBEAT"])
        self.give(kind, {"text": f"line {self._count}", "from": "oracle"} if kind == "MESSAGE" else {})

    def _nonsense(self) -> None:
        match self.chance.randrange(7):
            case 0:
                self.give("REBOOT", {}, rejected("UNKNOWN_TYPE"))
            case 1:
                self.give("UPLOAD_PAUSE", {"file": "?"}, rejected("INVALID_PAYLOAD"))
            case 2:
                past = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
                self.give("HEARTBEAT", {}, rejected("EXPIRED"), expiresAt=past)
            case 3:
                self.give("HEARTBEAT", {}, rejected("WRONG_CLIENT"), clientId="another-agent")
            case 4:
                self.give("LIST_FILES", {"path": "no such folder"}, rejected("NOT_FOUND"))
            case 5:
                self._nameless(b'{"type": "HEARTBEAT", "id": ', "INVALID_ENVELOPE")
            case _:
                self._nameless(envelope_of("MESSAGE", CLIENT, {"text": "x" * 70_000, "from": "oracle"}), "TOO_LARGE")

    def _nameless(self, data: bytes, code: str) -> None:
        """Acknowledged under its event ID, so it is never given twice."""
        self.ledger.give(Frame("MESSAGE", data, Order("", "", {}, rejected(code)), is_nameless=True))
