"""Which places the step kills go to: every named step of the journal, before, inside and after its commit."""

import random
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from scripts.crash_test_harness.launcher import PHASES
from scripts.crash_test_harness.steps import named_steps

FIRST_STEP = "database.set_about"
CONSOLE_STEP = "outbox.put"
STUMBLING_STEP = "inbox.take_back"
RESTORING = 0.2
PROVOKED_BY: Mapping[str, str] = {
    "inbox.reset": "restoring",
    "inbox.is_repeated": "repeating",
    "attempts.note_refusal": "refusing",
    "attempts.note_sending": "limiting",
    "attempts.note_progress": "limiting",
    "attempts.note_prefix": "crawling",
    "attempts.note_handed_over": "cutting",
    "attempts.start_over": "vanishing",
    "uploads.waiting_ids": "vanishing",
    "uploads.existing": "expiring",
    "uploader._renewed": "expiring",
    "outbox.bury": "burying",
}
"""Steps that the traffic seldom leads to, and the fault of faults.py that does."""

ASKED_FOR: Mapping[str, str] = {
    "desk.counts": '{"do": "status"}',
    "desk.details": '{"do": "details", "fileId": "file-1"}',
    "desk.listing": '{"do": "uploads"}',
    "desk.dead_letters": '{"do": "dead-letters"}',
    "desk.targets": '{"do": "retry", "all": true}',
    "desk.do": '{"do": "retry", "all": true}',
    "outbox.revive": '{"do": "send-dead-letters", "all": true}',
}
"""Steps that somebody at the machine leads to, by a request to the agent's local socket."""

Place = tuple[str, str]


class Tour:
    """Where it has been killed. `_tries` counts in vain ones down from 0; 1 is a kill."""

    def __init__(self, notes: Path, chance: random.Random, part: int, parts: int) -> None:
        """This part of `parts` parts: several worlds share the places."""
        self.noting = ("--note-steps", str(notes))
        self._notes = notes
        self._chance = chance
        places = [(step, phase) for step in sorted(named_steps()) for phase in PHASES]
        self.places = [place for place in places if crc32(" ".join(place).encode()) % parts == part]
        self._tries: dict[Place, int] = {}

    def places_left(self) -> list[Place]:
        """Places not yet killed at. What was missed three times does not come up any more."""
        return [place for place in self.places if self._tries.get(place, 0) in (0, -1, -2)]

    def killing(self, place: Place) -> tuple[str, ...]:
        """Arguments for launcher.py: the first, second or third time in its life that the agent gets there."""
        step, phase = place
        stumbling = ("--stumble",) if step == STUMBLING_STEP else ()
        is_plain = step not in PROVOKED_BY and step not in ASKED_FOR and place not in self._tries
        k = self._chance.randint(1, self.seen().get(step, 1)) if is_plain else 1
        return (*stumbling, "--kill-at", step, phase, str(k))

    def note(self, place: Place, *, has_killed: bool) -> None:
        """How it went."""
        self._tries[place] = 1 if has_killed else self._tries.get(place, 0) - 1

    def missed(self) -> list[Place]:
        """Places where it could not be killed."""
        return [place for place in self.places if self._tries.get(place, 0) < 1]

    def seen(self) -> dict[str, int]:
        """Steps that were taken in any life, and how often in one, up to three times."""
        times: dict[str, int] = {}
        for line in self._notes.read_text().splitlines() if self._notes.exists() else []:
            step, _, n = line.rpartition(" ")
            times[step] = max(times.get(step, 0), int(n))
        return times
