"""What the journal must have after a power cut, given what the world had seen by then."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.power_cut_harness.places import scratch, write_files
from scripts.power_cut_harness.world import CLIENT, KEPT, NUMBERING, Facts, Given
from sse_agent.clock import SystemClock
from sse_agent.errors import CannotStart
from sse_agent.journal import Journal, Transaction, opened

WISHES = {"UPLOAD_PAUSE": "pause", "UPLOAD_RESUME": "run", "UPLOAD_CANCEL": "cancel"}
SHM_BYTES = 32768


class Found:
    """The journal as it was opened after the cut, by Python's own SQLite and by the agent's own code."""

    def __init__(self, tx: Transaction, journal: Journal) -> None:
        self.journal_id, self.epoch = journal.journal_id, journal.epoch
        self.integrity = str((tx.one("PRAGMA integrity_check") or [""])[0])
        self.about = {row["key"]: row["value"] for row in tx.all("SELECT * FROM about")}
        self.inbox = {row["command_id"]: row for row in tx.all("SELECT * FROM inbox")}
        self.outbox = {row["message_id"]: bytes(row["body"]) for row in tx.all("SELECT * FROM outbox")}
        self.uploads = {row["file_id"]: row for row in tx.all("SELECT * FROM uploads")}
        self.terminations = {row["url"] for row in tx.all("SELECT url FROM terminations")}
        self.cancelled_before_start = {row["file_id"] for row in tx.all("SELECT file_id FROM cancelled_before_start")}

    @property
    def cursor(self) -> int:
        """The number of the last command that the journal says it has."""
        return int(self.about.get("cursor", f"{NUMBERING}/0").partition("/")[2])


async def complaints_about(files: Mapping[str, bytes], origin: str, facts: Facts, chance: random.Random) -> list[str]:
    """Open the journal in those files and compare."""
    with scratch() as folder:
        write_files(folder, files)
        if files and chance.random() < 0.3:
            # The index of the WAL is rebuilt by the first who opens it, whatever the power cut left of it.
            (folder / "journal.db-shm").write_bytes(chance.randbytes(SHM_BYTES))
        try:
            found = await _open(folder, origin)
        except CannotStart as refusal:
            return [f"damaged: the journal can't be opened: {refusal}"]
        return list(_compare(found, facts))


async def _open(folder: Path, origin: str) -> Found:
    async with opened(folder, origin=origin, client_id=CLIENT, clock=SystemClock()) as journal:
        look: Callable[[Transaction], Found] = lambda tx: Found(tx, journal)  # noqa: E731
        return await journal.read(look)


def _compare(found: Found, facts: Facts) -> Iterator[str]:
    if found.integrity != "ok":
        yield f"damaged: {found.integrity}"
    if facts.journal_id is not None and found.journal_id != facts.journal_id:
        yield "lost: the journal itself; another one is in its place"
    if found.epoch <= facts.epoch:
        yield f"lost: epoch {facts.epoch} was used, and the next start has {found.epoch}"
    yield from _commands(found, facts)
    yield from _messages(found, facts)
    yield from _uploads(found, facts)
    yield from _wishes(found, facts)


def _commands(found: Found, facts: Facts) -> Iterator[str]:
    if found.cursor < facts.cursor:
        yield f"lost: the cursor was shown as {facts.cursor}, but is {found.cursor}"
    for n, given in enumerate(facts.queue[: found.cursor], 1):
        if given.command_id not in found.inbox:
            yield f"lost: {given.type} {given.command_id} is number {n}, before the cursor, but not in the journal"
    if found.cursor > len(facts.queue):
        yield f"the cursor is at {found.cursor}, but only {len(facts.queue)} commands were given"
    for command_id in facts.accepted:
        kind = facts.commands[command_id].type
        if command_id not in found.inbox:
            yield f"lost: {kind} {command_id} was acknowledged as accepted, but is not in the journal"
    for command_id, ack in facts.finals.items():
        row = found.inbox.get(command_id)
        if row is None or row["state"] != "finished" or row["ack_id"] != ack.message_id:
            state = row["state"] if row else "not in the journal"
            kind = facts.commands[command_id].type
            yield f"lost: {kind} {command_id} was acknowledged as {ack.ending}, but is {state}"


def _messages(found: Found, facts: Facts) -> Iterator[str]:
    for message_id, message in facts.messages.items():
        stored = found.outbox.get(message_id)
        must_stay = message.is_final or message.type in KEPT or message_id not in facts.received
        if stored is None and must_stay:
            yield f"lost: {message.type} {message_id} was sent and is not in the outbox"
        elif stored is not None and stored != message.raw:
            yield f"lost: {message.type} {message_id} was sent with other bytes than it has now"


def _uploads(found: Found, facts: Facts) -> Iterator[str]:
    for file_id, revision in facts.revisions.items():
        row = found.uploads.get(file_id)
        if row is None or row["revision"] < revision:
            yield f"lost: revision {revision} of {file_id} was reported, but it is {row['revision'] if row else 'gone'}"
    for upload_id, stored in facts.uploads.items():
        row = found.uploads.get(stored.file_id)
        if row is None:
            yield f"lost: {stored.file_id} was begun on the tus server, but is not in the journal"
            continue
        is_mine = row["url"] is not None and row["url"].endswith(upload_id)
        if is_mine and row["sent_limit"] < stored.sent:
            yield f"lost: of {stored.file_id} {stored.sent} bytes were sent, but sent_limit is {row['sent_limit']}"
        is_given_back = stored.is_deleted or any(url.endswith(upload_id) for url in found.terminations)
        if stored.sent and not (is_mine or is_given_back or row["state"] == "complete"):
            yield f"lost: the URL of {stored.file_id}, to which {stored.sent} bytes were sent"
    for file_id, row in found.uploads.items():
        mine = [one for one in facts.uploads.values() if one.file_id == file_id]
        if row["state"] == "complete" and not any(len(one.data) == one.size for one in mine):
            yield f"{file_id} is complete in the journal, but not on the tus server"


def _wishes(found: Found, facts: Facts) -> Iterator[str]:
    """The last wish that was acknowledged holds, or one that was given after it."""
    wishes: dict[str, list[Given]] = {}
    for given in facts.commands.values():
        if given.type in WISHES:
            wishes.setdefault(given.payload["fileId"], []).append(given)
    for file_id, asked in wishes.items():
        granted = [place for place, given in enumerate(asked) if _is_granted(given, facts)]
        if not granted:
            continue
        row: Any = found.uploads.get(file_id)
        may_be = {WISHES[given.type] for given in asked[granted[-1] :]}
        if row is None and file_id not in found.cancelled_before_start:
            yield f"lost: {asked[granted[-1]].type} of {file_id} was acknowledged, but the upload is not in the journal"
        elif row is not None and row["wish"] not in may_be:
            yield f"lost: {asked[granted[-1]].type} of {file_id} was acknowledged, but its wish is {row['wish']}"


def _is_granted(given: Given, facts: Facts) -> bool:
    ack = facts.finals.get(given.command_id)
    return ack is not None and ack.ending == "completed"
