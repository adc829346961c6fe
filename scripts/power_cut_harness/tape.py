"""Everything a disk was told, in order; and what it may have of it when the power goes."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


class Kind(Enum):
    """What was asked of the disk."""

    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    LOSE = "lose"
    """A sync that failed. Linux then takes for written what was not: a later sync does not bring it back."""
    CREATE = "create"
    DELETE = "delete"


class Fate(StrEnum):
    """What becomes of the writes that no sync followed."""

    NOTHING = "nothing stays"
    EVERYTHING = "everything stays"
    BEGINNING = "the first of them stay, the last of these torn"
    SOME = "some of them stay, in no order"
    SECTORS = "each sector as it was at a moment of its own"
    GARBAGE = "the same, with garbage where new parts were not written"


@dataclass(frozen=True, slots=True)
class Op:
    """One thing done. `file` is what an inode is: a name may lead to another one later.

    `offset` in bytes, of a truncation the new size. `syncs_folder`: names made and removed before are durable, too.
    """

    kind: Kind
    name: str
    file: int
    offset: int = 0
    data: bytes = b""
    syncs_folder: bool = False


class Tape:
    """Records; `base` is what the disk has when it begins, all of it synced."""

    def __init__(self, base: Mapping[str, bytes]) -> None:
        self.base = dict(base)
        self.ops: list[Op] = []
        self.files = {name: number for number, name in enumerate(self.base)}
        self._made = len(self.files)

    @property
    def position(self) -> int:
        """How many operations there are so far. Any thread may ask."""
        return len(self.ops)

    def file_of(self, name: str) -> int:
        """The file that the name leads to, made if need be."""
        if name in self.files:
            return self.files[name]
        number, self._made = self._made, self._made + 1
        self.files[name] = number
        self.ops.append(Op(Kind.CREATE, name, number))
        return number

    def remove(self, name: str, *, syncs_folder: bool) -> None:
        """The name leads nowhere any more."""
        self.ops.append(Op(Kind.DELETE, name, self.files.pop(name, -1), syncs_folder=syncs_folder))


@dataclass(slots=True)
class _Content:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)


class Disk:
    """Plays a tape, never backwards, and says what is there after a power cut at the place it has come to."""

    def __init__(self, tape: Tape, *, is_forgetful: bool = True) -> None:
        """`is_forgetful`: what a failed sync did not write is given up, as by Linux, and not left for the next one."""
        self._tape = tape
        self._is_forgetful = is_forgetful
        self._chance = random.Random(0)
        self._contents: dict[int, _Content] = defaultdict(_Content)
        self._names = {name: number for number, name in enumerate(tape.base)}
        self._moves: list[tuple[str, int | None]] = []
        self.position = 0
        for number, data in enumerate(tape.base.values()):
            self._contents[number].durable += data

    def advance(self, position: int) -> None:
        """So many operations have been done."""
        for op in self._tape.ops[self.position : position]:
            self._do(op)
        self.position = position

    def _do(self, op: Op) -> None:
        content = self._contents[op.file]
        match op.kind:
            case Kind.WRITE | Kind.TRUNCATE:
                content.pending.append(op)
            case Kind.CREATE:
                self._moves.append((op.name, op.file))
            case Kind.DELETE:
                self._moves.append((op.name, None))
            case Kind.SYNC:
                _write_all(content)
            case Kind.LOSE if self._is_forgetful:
                content.durable = _apply(content, lambda _, __: self._chance.random() < 0.5)
                content.pending.clear()
        if op.syncs_folder:
            self._move_all(self._names, len(self._moves))
            self._moves.clear()

    def _move_all(self, names: dict[str, int], count: int) -> None:
        for name, file in self._moves[:count]:
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file

    @property
    def has_unsynced(self) -> bool:
        """Whether a power cut now can lose anything."""
        return bool(self._moves) or any(content.pending for content in self._contents.values())

    def after_power_cut(self, fate: Fate, chance: random.Random) -> dict[str, bytes]:
        """The files as they are found when the power is back."""
        names = dict(self._names)
        counts = {Fate.NOTHING: 0, Fate.EVERYTHING: len(self._moves)}
        # A file system may lose names that no sync made durable, but keeps their order.
        self._move_all(names, counts.get(fate, chance.randint(0, len(self._moves))))
        return {name: bytes(_left(self._contents[file], fate, chance)) for name, file in names.items()}


def _left(content: _Content, fate: Fate, chance: random.Random) -> bytearray:
    if fate is Fate.NOTHING or not content.pending:
        return content.durable
    garbage = 0
    if fate is Fate.GARBAGE:
        ends = [op.offset + len(op.data) for op in content.pending if op.kind is Kind.WRITE]
        garbage = max([0, *ends]) - len(content.durable)
    return _apply(content, _keeper(len(content.pending), fate, chance), chance.randbytes(max(0, garbage)))


def _keeper(count: int, fate: Fate, chance: random.Random) -> Callable[[int, int | None], bool]:
    """Whether what the operation of that index did to that sector (None: to the file's size) is on the disk."""
    if fate is Fate.EVERYTHING:
        return lambda _, __: True
    if fate is Fate.BEGINNING:
        whole, torn_at = chance.randint(0, count), chance.random()
        # The torn one is written from its start, as far as it got.
        return lambda index, sector: index < whole or (index == whole and chance.random() < torn_at)
    if fate is Fate.SOME:
        kept = [chance.random() < 0.5 for _ in range(count)]
        return lambda index, _: kept[index]
    written: dict[int | None, int] = defaultdict(lambda: chance.choice([0, chance.randint(0, count), count]))
    return lambda index, sector: index < written[sector]


def _apply(content: _Content, keeps: Callable[[int, int | None], bool], tail: bytes = b"") -> bytearray:
    found = bytearray(content.durable)
    found += tail
    for index, op in enumerate(content.pending):
        if op.kind is Kind.TRUNCATE:
            if keeps(index, None):
                _resize(found, op.offset)
            continue
        for sector, offset, data in _pieces(op):
            if keeps(index, sector):
                _put(found, offset, data)
    return found


def _write_all(content: _Content) -> None:
    for op in content.pending:
        if op.kind is Kind.TRUNCATE:
            _resize(content.durable, op.offset)
        else:
            _put(content.durable, op.offset, op.data)
    content.pending.clear()


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _pieces(op: Op) -> Iterator[tuple[int, int, bytes]]:
    """A write, sector by sector: number, offset and data."""
    at, end = op.offset, op.offset + len(op.data)
    while at < end:
        until = min(end, (at // SECTOR + 1) * SECTOR)
        yield at // SECTOR, at, op.data[at - op.offset : until - op.offset]
        at = until
