"""A fixed row of journal steps, as the agent's loops take them; and what the tables hold, to be compared."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sse_agent import dispatcher
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import Journal, Transaction, attempts, inbox, outbox, planning, transitions, uploads
from sse_agent.journal.transitions import Interrupted, Outcome, Result, Trouble
from sse_agent.messages import AckStatus, UploadStart, parse_envelope, parse_payload
from tests.doubles.journals import arrival

Step = Callable[[Transaction], object]
Tables = Mapping[str, list[tuple[Any, ...]]]

TABLES = ("about", "inbox", "uploads", "cancelled_before_start", "terminations", "outbox")
_BY_CHANCE = {"attempt_id"}
_OF_THE_PROCESS = {"journal_id", "epoch"}
SIZE = 3000


def tables(tx: Transaction) -> Tables:
    """Everything durable but what is made by chance or raised by a start."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in TABLES:
        rows = tx.all(f"SELECT * FROM {table}")
        columns = [name for name in (rows[0].keys() if rows else []) if name not in _BY_CHANCE]
        found[table] = sorted((tuple(row[name] for name in columns) for row in rows), key=repr)
    found["about"] = [row for row in found["about"] if row[0] not in _OF_THE_PROCESS]
    return found


def script(seed: int, commands: int) -> list[Step]:
    """Steps that are the same for one seed; each is one transaction."""
    return _Script(seed, commands).steps


class _Script:
    def __init__(self, seed: int, commands: int) -> None:
        self._chance = random.Random(seed)
        self._commands = commands
        self._files: list[str] = []
        self.steps: list[Step] = []
        for n in range(1, commands + 1):
            self._command(n)
            for _ in range(self._chance.randrange(3)):
                self._chance.choice([self._carry, self._carry, self._post, self._look])()
        for _ in range(4):
            self._carry()
        self._post()

    def _add(self, work: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.steps.append(lambda tx: work(tx, *args, **kwargs))

    def _command(self, n: int) -> None:
        kinds = ["UPLOAD_START", "UPLOAD_PAUSE", "UPLOAD_RESUME", "UPLOAD_CANCEL", "MESSAGE", "HEARTBEAT"]
        kind = self._chance.choices(kinds, [40, 12, 12, 6, 20, 10])[0]
        if kind == "UPLOAD_START":
            self._files.append(f"file-{n}")
            payload: dict[str, Any] = {"fileId": f"file-{n}", "fileName": f"name-{n}", "metadata": {"k": "v" * 200}}
        elif kind.startswith("UPLOAD_"):
            payload = {"fileId": self._chance.choice([*self._files, "unheard-of"])}
        else:
            payload = {"text": "x" * self._chance.choice([10, 300, 4000]), "from": "?"} if kind == "MESSAGE" else {}
        again = self._chance.random() < 0.2 and n > 1
        self._add(
            inbox.receive,
            arrival(n, kind, payload, command_id=f"cmd-{self._chance.randrange(1, n)}" if again else None),
        )
        self.steps.append(_carry_out)

    def _carry(self) -> None:
        """An upload, from its beginning to whatever comes of it."""
        results: list[Result | str] = [
            Outcome("00" * 32, "upload", "response"),
            Interrupted(),
            GiveUp(ErrorCode.SERVER_REFUSED, "no", retryable=True),
            "trouble",
        ]
        result = self._chance.choice(results)
        url = f"http://127.0.0.1/files/{len(self.steps)}"
        self._add(planning.decide, {}, 1, (), {})
        self._add(_on_the_way, attempts.note_created, url, "identity", SIZE, 1000)
        for offset in (1000, 2000):
            self._add(_on_the_way, attempts.note_progress, offset)
            self._add(_on_the_way, attempts.note_sending, offset, offset + 1000)
        self._add(_settled, result)

    def _post(self) -> None:
        self._add(_heads_received, self._chance.choice([1, 5, 100]))

    def _look(self) -> None:
        self._add(lambda tx: (uploads.counts(tx), outbox.counts(tx), attempts.terminations(tx, 3)))


def _carry_out(tx: Transaction) -> None:
    """What the dispatcher does with the next command, in one transaction."""
    command = inbox.begin_next(tx)
    if command is None:
        return
    payload = parse_payload(command.type, parse_envelope(command.body).payload)
    if isinstance(payload, UploadStart):
        dispatcher.start_upload(tx, command, payload, "http://127.0.0.1/files/", SIZE)
    elif command.type.startswith("UPLOAD_"):
        dispatcher._wish_of(command.type)(tx, command, json.loads(command.body)["payload"]["fileId"])
    else:
        dispatcher._finished(tx, command, AckStatus.COMPLETED)


def _under_way(tx: Transaction) -> str | None:
    row = tx.one("SELECT file_id FROM uploads WHERE state = 'uploading' ORDER BY n LIMIT 1")
    return None if row is None else row["file_id"]


def _on_the_way(tx: Transaction, work: Callable[..., object], *args: object) -> None:
    file_id = _under_way(tx)
    if file_id is not None:
        work(tx, file_id, *args)


def _settled(tx: Transaction, result: Result | str) -> None:
    file_id = _under_way(tx)
    if file_id is not None:
        now = Trouble("no answer", tx.now + timedelta(seconds=1))
        transitions.settle(tx, file_id, now if isinstance(result, str) else result, 1.5)


def _heads_received(tx: Transaction, limit: int) -> None:
    outbox.forget(tx, [head.message_id for head in outbox.heads(tx, limit)])


async def after_each(journal: Journal, steps: list[Step]) -> list[Tables]:
    """Take the steps; the tables before the first and after each of them."""
    found = [await journal.read(tables)]
    for step in steps:
        await journal.write(step)
        found.append(await journal.read(tables))
    return found
