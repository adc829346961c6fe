"""The world outside the agent, as a row of facts with their places on the tape: it can be wound back to any of them."""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.power_cut_harness.tape import Tape

CLIENT = "power-cut-agent"
NUMBERING = "k1"
VOLATILE = frozenset({"UPLOAD_PROGRESS", "CLIENT_CONNECTED", "CLIENT_DISCONNECTED", "CLIENT_STATUS"})
"""Never durable, unless they answer a command."""
MOVES = frozenset({"UPLOAD_PAUSED", "UPLOAD_RESUMED", "UPLOAD_CANCELLED", "UPLOAD_COMPLETE", "UPLOAD_FAILED"})
KEPT = frozenset({"UPLOAD_CANCELLED", "UPLOAD_COMPLETE", "UPLOAD_FAILED"})
OVER = frozenset({"UPLOAD_COMPLETE", "UPLOAD_CANCELLED"})


@dataclass(frozen=True, slots=True)
class Given:
    """One event of the agent's queue. `is_again`: a command that was given before."""

    command_id: str
    type: str
    payload: Mapping[str, Any]
    data: bytes
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """As it was recorded first."""

    message_id: str
    type: str
    payload: Mapping[str, Any]
    in_reply_to: str | None
    raw: bytes

    @property
    def is_final(self) -> bool:
        """Whether it is the last acknowledgement of a command."""
        return self.type == "ACK" and self.payload["status"] != "accepted"

    @property
    def is_durable(self) -> bool:
        """Whether the agent must have it until it was received."""
        return self.type not in VOLATILE or (self.type == "CLIENT_STATUS" and self.in_reply_to is not None)

    @property
    def ending(self) -> str:
        """Of an ACK: `completed`, or `rejected NOT_FOUND`."""
        return " ".join([self.payload["status"], *filter(None, [(self.payload.get("error") or {}).get("code")])])


@dataclass(slots=True)
class Stored:
    """One upload on the tus server. `sent`: bytes of the file that came this far at least, kept or not."""

    file_id: str
    size: int
    data: bytearray = field(default_factory=bytearray)
    sent: int = 0
    is_deleted: bool = False


class Facts:
    """What the world knows. Each method takes in one more fact."""

    def __init__(self) -> None:
        self.queue: list[Given] = []
        self.commands: dict[str, Given] = {}
        self.journal_id: str | None = None
        self.epoch = 0
        self.cursor = 0
        self.messages: dict[str, Message] = {}
        self.received: set[str] = set()
        self.accepted: set[str] = set()
        self.finals: dict[str, Message] = {}
        self.replies: dict[str, list[Message]] = defaultdict(list)
        self.moves: dict[str, list[Message]] = defaultdict(list)
        self.revisions: dict[str, int] = {}
        self.uploads: dict[str, Stored] = {}
        self.complaints: list[str] = []

    def give(self, given: Given) -> None:
        """A command goes into the queue."""
        self.queue.append(given)
        self.commands.setdefault(given.command_id, given)

    def claim(self, journal_id: str, epoch: int) -> None:
        """A request came with these headers."""
        if self.journal_id not in (None, journal_id):
            self.complaints.append("lost: the journal; the agent came with another one")
        if epoch < self.epoch:
            self.complaints.append(f"the epoch went back from {self.epoch} to {epoch}")
        self.journal_id, self.epoch = journal_id, max(epoch, self.epoch)

    def connect(self, cursor: str | None) -> int:
        """A stream was asked for. Returns the number of the last command that the agent says it has."""
        n = int(cursor.partition("/")[2]) if cursor else 0
        if n < self.cursor:
            self.complaints.append(f"lost: the cursor; the agent came back from {n}, but it was at {self.cursor}")
        self.cursor = max(n, self.cursor)
        return n

    def record(self, raw: bytes) -> int:
        """A message came. Returns the status that it is worth."""
        envelope = json.loads(raw)
        message = Message(envelope["id"], envelope["type"], envelope["payload"], envelope.get("inReplyTo"), raw)
        before = self.messages.get(message.message_id)
        if before is not None:
            if before.raw == raw:
                return 200
            self.complaints.append(f"carried out twice: {message.type} {message.message_id} came with other bytes")
            # What came first stands, and nothing more is to be said of it.
            self.received.add(message.message_id)
            return 422
        if "revision" in message.payload:
            self._note_revision(message)
        if not message.is_durable:
            return 202
        self.messages[message.message_id] = message
        self._file(message)
        return 202

    def _file(self, message: Message) -> None:
        if message.is_final:
            command_id = message.payload["commandId"]
            if command_id in self.finals:
                self.complaints.append(f"carried out twice: {command_id} has two final ACKs")
            self.finals.setdefault(command_id, message)
        elif message.type == "ACK":
            self.accepted.add(message.payload["commandId"])
        elif message.type in MOVES:
            self.moves[message.payload["fileId"]].append(message)
        elif message.in_reply_to is not None:
            self.replies[message.in_reply_to].append(message)

    def _note_revision(self, message: Message) -> None:
        file_id, revision = message.payload["fileId"], message.payload["revision"]
        if message.type in MOVES and any(move.payload["revision"] >= revision for move in self.moves[file_id]):
            self.complaints.append(f"the revision of {file_id} did not rise with {message.type}")
        self.revisions[file_id] = max(revision, self.revisions.get(file_id, 0))

    def receipt(self, message_ids: list[str]) -> None:
        """The answer that says that they are recorded is about to leave."""
        self.received.update(message_ids)

    def create(self, upload_id: str, file_id: str, size: int) -> None:
        """An upload on the tus server."""
        self.uploads[upload_id] = Stored(file_id, size)

    def take(self, upload_id: str, until: int, data: bytes) -> None:
        """Bytes came, up to the offset `until`; `data` of them is kept."""
        stored = self.uploads[upload_id]
        stored.sent = max(stored.sent, until)
        stored.data += data

    def delete(self, upload_id: str) -> None:
        """The agent gave it back."""
        self.uploads[upload_id].is_deleted = True

    # --- where it stands ---

    def unanswered(self) -> list[str]:
        """Commands without a final acknowledgement."""
        return [command_id for command_id in self.commands if command_id not in self.finals]

    def is_over(self, file_id: str) -> bool:
        """Whether that upload came to its end."""
        return any(move.type in OVER for move in self.moves.get(file_id, []))

    def started(self) -> set[str]:
        """The uploads that were asked for and are files."""
        return {
            given.payload["fileId"]
            for given in self.commands.values()
            if given.type == "UPLOAD_START" and not given.payload["fileId"].startswith(("missing", "early"))
        }

    def is_at_rest(self) -> bool:
        """Whether nothing is left to be done, said or given back."""
        cancelled = {file_id for file_id, moves in self.moves.items() if moves[-1].type == "UPLOAD_CANCELLED"}
        given_back = all(one.is_deleted for one in self.uploads.values() if one.file_id in cancelled and one.sent)
        is_over = all(self.is_over(file_id) for file_id in self.started())
        return is_over and given_back and not self.unanswered() and self.messages.keys() <= self.received


@dataclass(frozen=True, slots=True)
class Seen:
    """One fact, and how many operations there were on the tape when it was seen."""

    at: int
    what: str
    args: tuple[Any, ...]


class World:
    """Facts as they come in, from any thread."""

    def __init__(self, tape: Tape) -> None:
        self.condition = threading.Condition(threading.RLock())
        self.facts = Facts()
        self.history: list[Seen] = []
        self.tape = tape

    def note(self, what: str, *args: Any) -> Any:
        """Take in a fact, by the name of the method of `Facts`."""
        with self.condition:
            self.history.append(Seen(self.tape.position, what, args))
            result = getattr(self.facts, what)(*args)
            self.condition.notify_all()
            return result

    def rewound(self, position: int, tape: Tape) -> "World":
        """The world when there were so many operations; what it gives later it gives at once."""
        other = World(tape)
        for seen in self.history:
            if seen.at <= position or seen.what == "give":
                other.note(seen.what, *seen.args)
        return other


class Rewinding:
    """The facts of a world up to a place that only moves on."""

    def __init__(self, world: World) -> None:
        self._history = world.history
        self._next = 0
        self.facts = Facts()

    def advance(self, position: int) -> None:
        """Take in what was seen while there were at most so many operations."""
        while self._next < len(self._history) and self._history[self._next].at <= position:
            seen = self._history[self._next]
            getattr(self.facts, seen.what)(*seen.args)
            self._next += 1
