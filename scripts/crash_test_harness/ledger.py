"""What the oracle knows: every command that it gave, every message that it got. Never loses anything, never sleeps."""

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

CLIENT = "crash-test-agent"
FINAL = frozenset({"completed", "failed", "rejected"})
OVER = frozenset({"UPLOAD_COMPLETE", "UPLOAD_CANCELLED"})
MOVES = frozenset({"UPLOAD_PAUSED", "UPLOAD_RESUMED", "UPLOAD_CANCELLED", "UPLOAD_COMPLETE", "UPLOAD_FAILED"})
REPORTED_AGAIN_S = 20.0

Ending = tuple[str, str]
"""Status and error code of a final ACK; the code is empty where there is no error."""

POISON: Ending = ("failed", "POISON")
POISONED_BY = 3


@dataclass(frozen=True, slots=True)
class Order:
    """One command, as it was given first. `expects`: how it may end; None: that follows from its upload's history."""

    command_id: str
    type: str
    payload: Mapping[str, Any]
    expects: frozenset[Ending] | None

    def is_start_of(self, file_id: str) -> bool:
        """Whether it starts that upload, and nothing is wrong with it."""
        return self.type == "UPLOAD_START" and self.expects is None and self.payload.get("fileId") == file_id


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of the queue. `order` is None where a command is given again.

    What has no readable ID is acknowledged under its event's: `is_nameless`.
    """

    type: str
    data: bytes
    order: Order | None = None
    is_nameless: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was recorded; later ones of the same ID changed nothing."""

    digest: bytes
    type: str
    payload: Mapping[str, Any]
    in_reply_to: str | None
    message_id: str

    @property
    def is_end(self) -> bool:
        """Whether an upload is over with it."""
        is_dead = self.type == "UPLOAD_FAILED" and not self.payload["retryable"]
        return is_dead or self.type in OVER

    @property
    def ending(self) -> Ending:
        """Of an ACK: its status, and its error code or nothing."""
        return str(self.payload["status"]), str((self.payload.get("error") or {}).get("code", ""))


@dataclass(frozen=True, slots=True)
class Trap:
    """Waits for a message; the POST that brings it is recorded, and cut off before it is answered."""

    wants: Callable[[Mapping[str, Any]], bool]
    sprung: threading.Event = field(default_factory=threading.Event)


class Ledger:
    """Everything under one lock, `condition`, which is told of every change."""

    def __init__(self) -> None:
        self.condition = threading.Condition(threading.RLock())
        self.complaints: list[str] = []
        self.orders: dict[str, Order] = {}
        self.duplicates = 0
        self.frames: list[Frame] = []
        self.numbering = 1
        self.streams = 0
        self.claims: dict[str, tuple[int, str]] = {}
        self.greeted_epochs: set[int] = set()
        self.messages: dict[str, Message] = {}
        self.finals: dict[str, list[Message]] = defaultdict(list)
        self.accepted: set[str] = set()
        self.replies: dict[str, list[Message]] = defaultdict(list)
        self.lines: list[str] = []
        self.moves: dict[str, list[Message]] = defaultdict(list)
        self.over: set[str] = set()
        self.completions: list[Message] = []
        self.news = 0
        self.repeated = 0
        self.restorations = 0
        self.trap: Trap | None = None
        self.buried: set[str] = set()
        self.kills_of: Counter[str] = Counter()
        self.is_attended = False
        self.may_be_shown: set[str] = set()
        self._open: dict[str, None] = {}
        self._cursor = 0
        self._progress: dict[str, tuple[int, int]] = {}

    def complain(self, words: str) -> None:
        """The contract is broken. Each complaint counts once."""
        with self.condition:
            if words not in self.complaints:
                self.complaints.append(words)

    # --- down ---

    def give(self, frame: Frame) -> None:
        """A command goes into the agent's queue."""
        with self.condition:
            self._append(frame)
            if frame.order is None:
                self.duplicates += 1
            self.condition.notify_all()

    def _append(self, frame: Frame) -> None:
        self.frames.append(frame)
        order = frame.order
        if order is not None:
            command_id = self.event_id(len(self.frames)) if frame.is_nameless else order.command_id
            self.orders[command_id] = Order(command_id, order.type, order.payload, order.expects)
            if command_id not in self.finals:
                self._open[command_id] = None
                if self.is_attended:
                    self.may_be_shown.add(command_id)

    def event_id(self, n: int) -> str:
        """The event ID of command number `n`, from 1."""
        return f"k{self.numbering}/{n}"

    def open_stream(self, cursor: str | None, *, is_restored: bool) -> tuple[dict[str, Any], int]:
        """HELLO for an agent at that cursor, and how many commands it has. `is_restored`: as from a backup."""
        with self.condition:
            self.streams += 1
            self.condition.notify_all()
            known = cursor is None or cursor.startswith(f"k{self.numbering}/")
            n = int(cursor.partition("/")[2]) if cursor and known else 0
            if known and not self._cursor <= n <= len(self.frames):
                self.complain(f"the agent came back from {cursor}, but it was at {self.event_id(self._cursor)} before")
                n = min(n, len(self.frames))
            if is_restored and known and n:
                self._renumber(n)
                known, n = False, 0
            self._cursor = max(self._cursor, n)
            return self._hello(is_known=known), n

    def _hello(self, *, is_known: bool) -> dict[str, Any]:
        now = datetime.now(UTC)
        hello: dict[str, Any] = {
            "protocol": 1,
            "now": now.isoformat(),
            "heartbeatSeconds": 2,
            "resume": is_known,
            "latest": self.event_id(len(self.frames)),
        }
        if self.frames:
            hello["floor"] = self.event_id(1)
        if not is_known:
            since = (now - timedelta(seconds=REPORTED_AGAIN_S)).isoformat()
            hello |= {"reason": "restored", "reset": {"cursor": self.event_id(0), "since": since}}
        return hello

    def _renumber(self, n: int) -> None:
        """As after a restored backup: another numbering, and the last commands before `n` are given once more."""
        self.restorations += 1
        again = [Frame(frame.type, frame.data) for frame in self.frames[max(0, n - 5) : n] if not frame.is_nameless]
        left = self.frames[n:]
        for number, frame in enumerate(left, start=n + 1):
            if frame.is_nameless:
                self.orders.pop(self.event_id(number), None)
                self._open.pop(self.event_id(number), None)
        self.numbering, self.frames, self._cursor = self.numbering + 1, [], 0
        for frame in again + left:
            self._append(frame)
        self.duplicates += len(again)

    # --- the agent's lives ---

    def note_start(self, *, is_attended: bool) -> None:
        """A process begins. With a person at its console, chat lines that are open now may be shown, not answered."""
        with self.condition:
            self.is_attended = is_attended
            if is_attended:
                self.may_be_shown.update(self._open)

    def note_kill(self) -> None:
        """A process ended; every command that is open now may have been under way."""
        with self.condition:
            self.kills_of.update(list(self._open))

    def is_poisoned(self, command_id: str) -> bool:
        """Whether it was put aside, and for a reason: the process was killed three times while it was open."""
        finals = self.finals.get(command_id, [])
        is_put_aside = any(ack.ending == POISON for ack in finals)
        return is_put_aside and self.kills_of[command_id] >= POISONED_BY

    # --- up ---

    def claim(self, journal: str, epoch: int, instance: str) -> bool:
        """Whether that instance may speak: the contract binds one to a (journal, epoch), and the newest epoch wins."""
        with self.condition:
            if self.claims and journal not in self.claims:
                self.complain("the agent came with another journal")
            newest, holder = self.claims.get(journal, (0, ""))
            if epoch == newest and instance != holder:
                self.complain(f"two processes have the epoch {epoch}")
            if epoch < newest or (epoch == newest and instance != holder):
                return False
            self.claims[journal] = (epoch, instance)
            return True

    def record(self, raw: bytes, envelope: Mapping[str, Any], epoch: int) -> int:
        """202: recorded now; 200: known, same bytes; 422: known, with other bytes, which is a complaint."""
        message_id, digest = str(envelope["id"]), hashlib.sha256(raw).digest()
        with self.condition:
            if self.trap is not None and self.trap.wants(envelope):
                self.trap.sprung.set()
            known = self.messages.get(message_id)
            if known is not None:
                self.repeated += 1
                if known.digest == digest:
                    return 200
                self.complain(f"carried out twice: a second {known.type} with the ID {message_id} has other bytes")
                return 422
            payload, in_reply_to = envelope["payload"], envelope.get("inReplyTo")
            message = Message(digest, str(envelope["type"]), payload, in_reply_to, message_id)
            self.messages[message_id] = message
            self._file(message, epoch)
            self.condition.notify_all()
            return 202

    def bury(self, message_id: str) -> None:
        """From now on this message is refused for good. What it says was heard all the same."""
        with self.condition:
            self.buried.add(message_id)

    def _file(self, message: Message, epoch: int) -> None:
        self.news += message.type != "CLIENT_STATUS"
        if epoch not in self.greeted_epochs:
            self.greeted_epochs.add(epoch)
            if message.type != "CLIENT_CONNECTED":
                self.complain(f"the first message of a process was {message.type}, not CLIENT_CONNECTED")
        if message.type == "ACK":
            self._file_ack(message)
        elif message.type in MOVES:
            self._file_move(message)
        elif message.type == "UPLOAD_PROGRESS":
            self._file_progress(message.payload)
        elif message.in_reply_to is not None:
            self.replies[message.in_reply_to].append(message)
        elif message.type == "MESSAGE":
            self.lines.append(str(message.payload["text"]))

    def _file_ack(self, ack: Message) -> None:
        command_id = str(ack.payload["commandId"])
        if ack.payload["status"] in FINAL:
            self.finals[command_id].append(ack)
            self._open.pop(command_id, None)
            return
        if command_id in self.finals:
            self.complain(f"out of order: {command_id} was accepted after it was over")
        if command_id in self.accepted:
            self.complain(f"carried out twice: {command_id} was accepted twice")
        self.accepted.add(command_id)

    def _file_move(self, move: Message) -> None:
        file_id, revision = str(move.payload["fileId"]), int(move.payload["revision"])
        before = self.moves[file_id]
        if before and revision <= int(before[-1].payload["revision"]):
            self.complain(f"the revision of {file_id} went down to {revision} with {move.type}")
        before.append(move)
        if move.is_end:
            self.over.add(file_id)
        if move.type == "UPLOAD_COMPLETE":
            self.completions.append(move)

    def _file_progress(self, payload: Mapping[str, Any]) -> None:
        file_id, place = str(payload["fileId"]), (int(payload["revision"]), int(payload["n"]))
        if place <= self._progress.get(file_id, (0, 0)):
            self.complain(f"the progress of {file_id} went back to revision and n {place}")
        self._progress[file_id] = place

    # --- where it stands ---

    def unanswered(self) -> list[str]:
        """Commands without a final ACK, oldest first."""
        with self.condition:
            return list(self._open)

    def wait_for(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until it is so; looked at after every change."""
        with self.condition:
            return self.condition.wait_for(condition, within_s)


def envelope_of(kind: str, command_id: str, payload: Mapping[str, Any], **more: str) -> bytes:
    """A command as it goes down the stream."""
    now = datetime.now(UTC).isoformat()
    fields = {"type": kind, "id": command_id, "timestamp": now, "clientId": CLIENT, "payload": payload, **more}
    return json.dumps(fields).encode()
