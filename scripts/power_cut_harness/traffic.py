"""Commands of all kinds, a fifth of them given twice."""

import hashlib
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.power_cut_harness.world import CLIENT, Given, World

DUPLICATES = 0.2
UPLOADS_AT_ONCE = 8
SIZES = (0, 1, 700, 5_000, 40_000, 100_000, 200_000, 600_000, 1_500_000)


class Traffic:
    """Gives commands to a world; the files lie in `folder`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._count = 0
        self._starts: dict[str, dict[str, Any]] = {}
        self._paused: dict[str, None] = {}
        self.names = {f"file-{size}": size for size in SIZES}
        for name, size in self.names.items():
            (folder / name).write_bytes(random.Random(size).randbytes(size))

    def content(self, file_id: str) -> bytes:
        """What the upload has to be at the other end."""
        return (self._folder / str(self._starts[file_id]["fileName"])).read_bytes()

    def pour(self, world: World) -> None:
        """One command, fresh or given before."""
        if world.facts.queue and self._chance.random() < DUPLICATES:
            given = self._chance.choice(world.facts.queue[-40:])
            world.note("give", Given(given.command_id, given.type, given.payload, given.data, is_again=True))
            return
        kinds = {
            self._start: 30 if self._open(world) < UPLOADS_AT_ONCE else 0,
            self._start_again: 6,
            self._start_missing: 3,
            self._pause: 9,
            self._resume: 11,
            self._cancel: 5,
            self._cancel_first: 2,
            self._ask: 26,
        }
        self._chance.choices(list(kinds), list(kinds.values()))[0](world)

    def resume_all(self, world: World) -> None:
        """Nothing stays paused."""
        for file_id in self._paused:
            self._give(world, "UPLOAD_RESUME", {"fileId": file_id})
        self._paused.clear()

    def _give(self, world: World, kind: str, payload: dict[str, Any]) -> None:
        self._count += 1
        command_id = f"cmd-{self._count}"
        fields = {"type": kind, "id": command_id, "timestamp": datetime.now(UTC).isoformat(), "clientId": CLIENT}
        world.note("give", Given(command_id, kind, payload, json.dumps({**fields, "payload": payload}).encode()))

    def _open(self, world: World) -> int:
        return sum(not world.facts.is_over(file_id) for file_id in self._starts)

    def _some(self, world: World) -> str | None:
        """An upload that is not over; now and then any."""
        if self._starts and self._chance.random() < 0.1:
            return self._chance.choice(list(self._starts))
        left = [file_id for file_id in self._starts if not world.facts.is_over(file_id)]
        return self._chance.choice(left) if left else None

    def _start(self, world: World) -> None:
        name = self._chance.choice(list(self.names))
        file_id = f"upload-{len(self._starts) + 1}"
        payload: dict[str, Any] = {
            "fileId": file_id,
            "fileName": name,
            "priority": self._chance.choice([5, 5, 5, 2, 8]),
        }
        if self._chance.random() < 0.3:
            sha256 = hashlib.sha256((self._folder / name).read_bytes()).hexdigest()
            payload |= {"fileSize": self.names[name], "sha256": sha256}
        self._starts[file_id] = payload
        self._give(world, "UPLOAD_START", payload)

    def _start_again(self, world: World) -> None:
        file_id = self._some(world)
        if file_id is not None:
            self._give(world, "UPLOAD_START", {**self._starts[file_id], "priority": self._chance.randint(0, 9)})

    def _start_missing(self, world: World) -> None:
        self._give(world, "UPLOAD_START", {"fileId": f"missing-{self._count}", "fileName": "no such file"})

    def _pause(self, world: World) -> None:
        self._wish(world, "UPLOAD_PAUSE")

    def _resume(self, world: World) -> None:
        if self._paused:
            file_id = self._chance.choice(list(self._paused))
            del self._paused[file_id]
            self._give(world, "UPLOAD_RESUME", {"fileId": file_id})
        else:
            self._wish(world, "UPLOAD_RESUME")

    def _cancel(self, world: World) -> None:
        self._wish(world, "UPLOAD_CANCEL")

    def _wish(self, world: World, kind: str) -> None:
        file_id = self._some(world)
        if file_id is None:
            return
        if kind == "UPLOAD_PAUSE":
            self._paused[file_id] = None
        else:
            self._paused.pop(file_id, None)
        self._give(world, kind, {"fileId": file_id})

    def _cancel_first(self, world: World) -> None:
        file_id = f"early-{self._count}"
        self._give(world, "UPLOAD_CANCEL", {"fileId": file_id})
        self._give(world, "UPLOAD_START", {"fileId": file_id, "fileName": self._chance.choice(list(self.names))})

    def _ask(self, world: World) -> None:
        kind = self._chance.choice(["LIST_FILES", "GET_STATUS", "MESSAGE", "HEARTBEAT"])
        payloads: dict[str, dict[str, Any]] = {
            "LIST_FILES": {"path": str(self._folder), "limit": 100},
            "MESSAGE": {"text": "x" * self._chance.choice([5, 3000]), "from": "somebody"},
        }
        self._give(world, kind, payloads.get(kind, {}))
