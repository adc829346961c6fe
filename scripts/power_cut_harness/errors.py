"""A disk that fails at one operation after the other: the journal says "not now", keeps what it has, and goes on."""

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from scripts.power_cut_harness.adaptor import Adaptor, journal_on
from scripts.power_cut_harness.places import scratch, write_files
from scripts.power_cut_harness.steps import Step, Tables, script, tables
from scripts.power_cut_harness.tape import Disk, Fate, Tape
from scripts.power_cut_harness.vfs import Failure, TapeVfs, Trouble
from sse_agent.errors import CannotStart, ErrorCode, ExitCode, TryAgain
from sse_agent.journal import Transaction
from tests.doubles.clock import FakeClock
from tests.doubles.journals import CLIENT, journal_in

COMMANDS = 60
STEPS_AT_ONCE = 12
WIDTHS = (1, 1, 1, 2, 5, 25)
"""How many operations in a row fail."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some steps of the script: the files before them, and the tables before them and after each."""

    first: int
    base: Mapping[str, bytes]
    steps: list[Step]
    after: list[Tables]
    ops: int


@dataclass(slots=True)
class Tally:
    """The figures."""

    runs: int = 0
    noticed: int = 0
    passed_over: int = 0
    refused_steps: int = 0
    refused_starts: int = 0
    met: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    complaints: list[str] = field(default_factory=list)


def fail_everywhere(seed: int, most: int, *, is_deaf: bool = False, is_forgetful: bool = False) -> Tally:
    """Each operation fails once in each way, but no more than `most` of them, evenly spread."""
    tally, chance = Tally(), random.Random(seed)
    stretches = anyio.run(_stretches, seed)
    every = [(stretch, failure, first) for stretch in stretches for first in range(stretch.ops) for failure in Failure]
    tally.operations = sum(stretch.ops for stretch in stretches)
    chance.shuffle(every)
    for stretch, failure, first in every[:most]:
        trouble = Trouble(failure, first, chance.choice(WIDTHS))
        anyio.run(_Run(stretch, trouble, tally, is_deaf=is_deaf, is_forgetful=is_forgetful).take)
    return tally


async def _stretches(seed: int) -> list[Stretch]:
    steps = script(seed, COMMANDS)
    found = []
    with scratch() as folder:
        tape = Tape({})
        vfs = TapeVfs(tape)
        with journal_on(Adaptor(vfs.name)):
            async with journal_in(folder) as journal:
                for first in range(0, len(steps), STEPS_AT_ONCE):
                    disk = Disk(tape)
                    disk.advance(tape.position)
                    base = disk.after_power_cut(Fate.NOTHING, random.Random(0))
                    part = steps[first : first + STEPS_AT_ONCE]
                    after = [await journal.read(tables)]
                    for step in part:
                        await journal.write(step)
                        after.append(await journal.read(tables))
                    # Of a new journal the beginning, too.
                    found.append((first, base if first else {}, part, after))
    return [Stretch(*one, ops=await _count(one[1], one[2])) for one in found]


async def _count(base: Mapping[str, bytes], steps: list[Step]) -> int:
    with scratch() as folder:
        write_files(folder, base)
        vfs = TapeVfs(Tape(base))
        with journal_on(Adaptor(vfs.name)):
            async with journal_in(folder) as journal:
                for step in steps:
                    await journal.write(step)
        return vfs.trouble.seen


class _Run:
    """One stretch with one trouble."""

    def __init__(self, stretch: Stretch, trouble: Trouble, tally: Tally, *, is_deaf: bool, is_forgetful: bool) -> None:
        self._stretch = stretch
        self._trouble = trouble
        self._tally = tally
        self._tape = Tape(stretch.base)
        self._vfs = TapeVfs(self._tape)
        self._vfs.trouble = trouble
        self._adaptor = Adaptor(self._vfs.name, is_deaf=is_deaf)
        self._is_forgetful = is_forgetful
        self._done = 0
        self._refusals = 0
        self._was_seen_over = False

    async def take(self) -> None:
        """Until all steps are taken; complaints go into the tally."""
        with scratch() as folder:
            write_files(folder, self._stretch.base)
            with journal_on(self._adaptor):
                while self._done < len(self._stretch.steps) and self._is_patient():
                    await self._one_process(folder)
            self._check("at the end")
        tally, met = self._tally, self._trouble.met
        tally.runs += 1
        tally.met += met
        tally.noticed += self._refusals > 0
        tally.passed_over += bool(met) and not self._refusals

    async def _one_process(self, folder: Path) -> None:
        try:
            async with journal_in(folder) as journal:
                while self._done < len(self._stretch.steps) and self._is_patient():
                    try:
                        await journal.write(self._stretch.steps[self._done])
                    except TryAgain as trouble:
                        self._refuse(trouble)
                    else:
                        self._done += 1
                        if self._refusals and self._trouble.is_over and not self._was_seen_over:
                            self._was_seen_over = True
                            self._check("after it was over")
                if await journal.read(tables) != self._stretch.after[self._done]:
                    self._complain("the journal is not what the same steps make of it without an error")
        except CannotStart as refusal:
            self._refusals += 1
            self._tally.refused_starts += 1
            if refusal.exit_code is not ExitCode.TRY_AGAIN:
                self._complain(f"the agent would not start again by itself: {refusal}")
            self._check("when it could not be opened")

    def _refuse(self, trouble: TryAgain) -> None:
        self._refusals += 1
        self._tally.refused_steps += 1
        if trouble.code is not ErrorCode.DISK_FULL:
            self._complain(f"the refusal does not name the disk: {trouble.reason}")
        if self._refusals == 1:
            self._check("when a step was refused")

    def _is_patient(self) -> bool:
        """Each refusal takes at least one failing operation; after so many it is for ever."""
        if self._refusals <= max(WIDTHS) + 5:
            return True
        self._complain("the journal does not go on though the disk works again")
        return False

    def _check(self, when: str) -> None:
        """The power goes now: everything that was said to be done has to be on the disk, and nothing else."""
        disk = Disk(self._tape, is_forgetful=self._is_forgetful)
        disk.advance(self._tape.position)
        files = disk.after_power_cut(Fate.NOTHING, random.Random(0))
        expected = self._stretch.after[self._done]
        is_new = not self._stretch.base and self._done == 0
        try:
            found = read_tables(files)
        except sqlite3.DatabaseError as error:
            if not is_new:
                self._complain(f"the journal is damaged {when}: {error}")
            return
        if found != expected and not (is_new and not any(found.values())):
            self._complain(f"{_difference(expected, found)} {when}")

    def _complain(self, words: str) -> None:
        where = f"{self._trouble.failure} at operation {self._trouble.first} of stretch {self._stretch.first}"
        self._tally.complaints.append(f"{where}, {self._done} steps done: {words}")


def read_tables(files: Mapping[str, bytes]) -> Tables:
    """The tables in those files, read by Python's own SQLite. Raises sqlite3.DatabaseError."""
    with scratch() as folder:
        write_files(folder, files)
        with closing(sqlite3.connect(folder / "journal.db")) as connection:
            connection.row_factory = sqlite3.Row
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if said != "ok":
                raise sqlite3.DatabaseError(said)
            return tables(Transaction(connection, CLIENT, FakeClock().now()))


def _difference(expected: Tables, found: Tables) -> str:
    for table, rows in expected.items():
        lost = [row for row in rows if row not in found[table]]
        if lost:
            return f"lost: a row of {table} that was acknowledged, {str(lost[0])[:200]}"
    for table, rows in found.items():
        more = [row for row in rows if row not in expected[table]]
        if more:
            return f"a row of {table} that nobody wrote, {str(more[0])[:200]}"
    return "other tables"
