"""The agent under reconnects and uploads: the load, the warm level, and what is left at the end."""

import hashlib
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.leak_test_harness import judge, subject
from scripts.leak_test_harness.census import Census, Subject
from scripts.leak_test_harness.plane import CLIENT, TOKEN, Plane, until
from scripts.leak_test_harness.wire import Doorman, Mute, Wire
from tests.doubles.tusd import Tusd

LIMIT = 4
TOO_LARGE = 1_500_000
WARM_RECONNECTS, WARM_UPLOADS = 50, 20
AT_ONCE = 40
LEVEL_WITHIN_S = 75.0
STANDS_STILL_S = 60.0
MOST_GROWTH_KIB = 4 * 1024
JOURNAL_LEAST, JOURNAL_EACH = 6 * 1024 * 1024, 16 * 1024
POOLS = {
    # anyio's, for the uploads and one DELETE; they go when they were idle for ten seconds and another is asked for.
    "AnyIO worker thread": LIMIT + 1,
    "list": 4,
    "look": 1,
}
SIZES = (0, 1, 700, 5_000, 20_000, 60_000, 150_000)
KINDS = ("plain", "plain", "plain", "plain", "other hash", "missing", "too large", "cancelled", "useless", "plain")


class Load:
    """Commands for uploads of every kind, and the reconnects that go with them."""

    def __init__(self, plane: Plane, wire: Wire, files: Path, useless: list[str], seed: int) -> None:
        self._plane = plane
        self._wire = wire
        self._files = files
        self._useless = useless
        self._chance = random.Random(seed)
        self._sha256 = self._make_files()
        self.started: dict[str, str] = {}
        self.kinds: Counter[str] = Counter()

    def _make_files(self) -> dict[int, str]:
        sha256 = {}
        for size in SIZES:
            data = self._chance.randbytes(size)
            (self._files / f"{size}.bin").write_bytes(data)
            sha256[size] = hashlib.sha256(data).hexdigest()
        (self._files / "large.bin").write_bytes(bytes(TOO_LARGE + 1))
        return sha256

    def start(self, kind: str) -> str:
        """One upload; the ID of its command."""
        number = len(self.started)
        file_id, command_id, size = f"file-{number}", f"start-{number}", self._chance.choice(SIZES)
        self.started[command_id] = kind
        self.kinds[kind] += 1
        payload: dict[str, object] = {"fileId": file_id, "fileName": f"{size}.bin"}
        if kind == "plain":
            payload["sha256"] = self._sha256[size]
        elif kind == "other hash":
            payload |= {"fileName": f"{SIZES[-1]}.bin", "sha256": "0" * 64}
        elif kind == "missing":
            payload["fileName"] = "nothing.bin"
        elif kind == "too large":
            payload["fileName"] = "large.bin"
        elif kind == "useless":
            payload["tusEndpoint"] = self._useless[self.kinds[kind] % len(self._useless)]
        self._plane.give(command_id, "UPLOAD_START", **payload)
        if kind in ("cancelled", "useless"):
            self._plane.give(f"cancel-{number}", "UPLOAD_CANCEL", fileId=file_id)
        return command_id

    def is_over(self, command_id: str) -> bool:
        """Whether its last acknowledgement is here."""
        return command_id in self._plane.finals

    def run(self, reconnects: int, uploads: int) -> None:
        """So many streams end, so many uploads begin and end. Raises TimeoutError if nothing moves."""
        streams, mine = self._plane.streams + reconnects, [self.start(KINDS[0]) for _ in range(min(uploads, 1))]
        self._plane.be_calm(False)
        self._wire.is_calm = False
        moved_at, seen = time.monotonic(), -1
        while True:
            open_now = [one for one in mine if not self.is_over(one)]
            while (
                len(mine) < uploads
                and len(open_now) < AT_ONCE
                and self._is_in_step(streams, reconnects, len(mine), uploads)
            ):
                open_now.append(self.start(KINDS[len(mine) % len(KINDS)]))
                mine.append(open_now[-1])
            if not open_now and len(mine) == uploads and self._plane.streams >= streams:
                break
            signs = self._plane.streams + len(self._plane.finals) + sum(self._plane.moves.values())
            if signs != seen:
                moved_at, seen = time.monotonic(), signs
            if time.monotonic() - moved_at > STANDS_STILL_S:
                raise TimeoutError(f"nothing moved for {STANDS_STILL_S:g} s; open: {open_now[:5]}")
            time.sleep(0.02)
        self._plane.be_calm(True)
        self._wire.is_calm = True

    def _is_in_step(self, until_streams: int, reconnects: int, begun: int, uploads: int) -> bool:
        """Uploads go along with reconnects, so that each sees the other."""
        left = max(0, until_streams - self._plane.streams)
        return begun * max(1, reconnects) <= uploads * (reconnects - left) + uploads * AT_ONCE

    def fill(self) -> None:
        """In peace: as many uploads at the same time as there may be, so that every pool is as full as it gets."""
        before = self._plane.streams
        # Every connection of the last round may still be there; the next POST lets go of what is old.
        self._plane.wait_for(lambda: self._plane.streams > before or self._plane.is_calm, "a stream", 30)
        self._wire.hold()
        held = [self.start("plain") for _ in range(LIMIT)]
        if not self._wire.wait_until_held(LIMIT, 30):
            raise TimeoutError(f"{LIMIT} uploads were never under way at the same time")
        self._wire.release()
        gone = self.start("other hash")
        for one in [*held, gone]:
            self._plane.wait_for(lambda one=one: self.is_over(one), f"{one} is over", 60)  # type: ignore[misc]


class Agent:
    """A context manager: everything that one agent needs, in `folder`."""

    def __init__(self, folder: Path, seed: int, *, real_waits: bool, builds: Sequence[str]) -> None:
        self.folder = folder
        self._seed = seed
        self._real_waits = real_waits
        self._builds = builds
        self._stack = ExitStack()

    def __enter__(self) -> "Agent":
        with ExitStack() as stack:
            papers = subject.papers(self.folder)
            store, files = self.folder / "stored", self.folder / "files"
            files.mkdir()
            self.tusd = stack.enter_context(
                Tusd(store, certificate=papers.certificate, key=papers.key, flags=[f"-max-size={TOO_LARGE}"])
            )
            port = int(self.tusd.endpoint.rpartition(":")[2].partition("/")[0])
            self.wire = stack.enter_context(Wire(port, self._seed))
            mute, doorman = stack.enter_context(Mute()), stack.enter_context(Doorman())
            self.plane = stack.enter_context(
                Plane(papers.server, papers.stranger, self._seed, only_good=self._real_waits)
            )
            with socket.create_server(("127.0.0.1", 0)) as taken:
                dead = int(taken.getsockname()[1])
            endpoint = f"https://127.0.0.1:{self.wire.port}/files/"
            useless = [f"http://127.0.0.1:{port}/files/" for port in (dead, mute.port, doorman.port)]
            settings = {
                "SSE_AGENT_CONTROL_PLANE_URL": f"https://127.0.0.1:{self.plane.port}",
                "SSE_AGENT_CLIENT_ID": CLIENT,
                "SSE_AGENT_TOKEN": TOKEN,
                "SSE_AGENT_STATE_DIR": str(self.folder / "state"),
                "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(files)]),
                "SSE_AGENT_TUS_ENDPOINT": endpoint,
                "SSE_AGENT_UPLOAD_ORIGINS": json.dumps(useless),
                "SSE_AGENT_MAX_CONCURRENT_UPLOADS": str(LIMIT),
                "SSE_AGENT_CA_FILE": str(papers.ca),
            }
            launcher = [] if self._real_waits else ["--hurry"]
            launcher += [word for build in self._builds for word in ("--broken", build)]
            self.process = subject.start(self.folder, "agent", ["run", "--headless"], settings, *launcher)
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            names = {self.plane.port: "control plane", self.wire.port: "tus server", mute.port: "mute server"}
            names |= {doorman.port: "doorman", dead: "dead server"}
            state = self.folder / "state"
            self.subject = Subject(self.process.pid, self.folder / "agent.census", names, state)
            self.load = Load(self.plane, self.wire, files, useless, self._seed)
            self.plane.wait_for(lambda: self.plane.moves["CLIENT_CONNECTED"] > 0, "the agent connects", 30)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def level(self, than: Census | None = None) -> Census:
        """Idle and full; where there is a level to come down to, given the time that idle connections may stay."""
        self.load.fill()
        found = [self._still()]
        if than is not None:
            number = [0]

            def is_down() -> bool:
                # Each POST lets go of connections that were idle for too long.
                number[0] += 1
                if number[0] % 25 == 0:
                    self.plane.give(f"beat-{time.monotonic_ns()}", "HEARTBEAT")
                found.append(self.subject.take())
                return not judge.compare(than, found[-1], POOLS)

            until(is_down, LEVEL_WITHIN_S if not self._builds else 3.0)
        return found[-1]

    def _still(self) -> Census:
        """The same twice in a row, a second apart."""
        before, end = self.subject.take(), time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(1.0)
            now = self.subject.take()
            if (now.descriptors, now.connections, now.tasks) == (before.descriptors, before.connections, before.tasks):
                return now
            before = now
        return before


def test(
    folder: Path, reconnects: int, uploads: int, seed: int, *, real_waits: bool, builds: Sequence[str]
) -> list[str]:
    """Everything; the complaints."""
    with Agent(folder, seed, real_waits=real_waits, builds=builds) as there:
        there.load.run(min(WARM_RECONNECTS, reconnects), min(WARM_UPLOADS, uploads))
        warm = there.level()
        print(f"agent, warm       {warm.line()}", flush=True)
        began, streams, begun = time.monotonic(), there.plane.streams, len(there.load.started)
        there.load.run(reconnects // 2, uploads // 2)
        middle = there.subject.take()
        there.load.run(reconnects - reconnects // 2, uploads - uploads // 2)
        seconds = time.monotonic() - began
        streams, begun = there.plane.streams - streams, len(there.load.started) - begun
        last = there.level(than=warm)
        print(f"agent, at the end {last.line()}")
        _table(there, streams, begun, seconds, middle, last)
        complaints = judge.compare(warm, last, POOLS)
        complaints += judge.growth(middle, last, MOST_GROWTH_KIB)
        complaints += _of_journal(last, len(there.load.started))
        how = subject.end(there.process)
        complaints += [f"the agent: {how}"] if how else []
        complaints += _unexpected(there)
    return complaints


def _of_journal(last: Census, uploads: int) -> list[str]:
    size = sum(last.files.values())
    most = JOURNAL_LEAST + uploads * JOURNAL_EACH
    return [] if size <= most else [f"journal: {size} bytes after {uploads} uploads, at most {most} are explained"]


def _unexpected(there: Agent) -> list[str]:
    """Whether each kind of upload came to the end that it has."""
    ends = {
        "plain": {"completed"},
        "other hash": {"CHECKSUM_MISMATCH"},
        "missing": {"NOT_FOUND"},
        "too large": {"TOO_LARGE"},
        "cancelled": {"CANCELLED", "completed"},
        "useless": {"CANCELLED", "SERVER_REFUSED"},
    }
    found = {command: there.plane.finals.get(command, "open") for command in there.load.started}
    return [
        f"an upload of kind {kind!r} ended as {found[command]}"
        for command, kind in there.load.started.items()
        if found[command] not in ends[kind]
    ]


def _table(there: Agent, streams: int, uploads: int, seconds: float, middle: Census, last: Census) -> None:
    """The figures."""
    ways = "".join(f"  {way:<30}{count}\n" for way, count in sorted((there.plane.ways + there.wire.ways).items()))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(there.load.kinds.items()))
    size = sum(last.files.values())
    print(f"\n{'reconnects':<32}{streams} in {seconds:.0f} s\n{'uploads':<32}{uploads} ({kinds}, with the warm-up)")
    print(
        f"{'POSTs':<32}{there.plane.posts}\n"
        f"{'memory, half-time to end':<32}{(last.rss_kib - middle.rss_kib) / 1024:+.1f} MiB"
    )
    print(f"{'files of the state directory':<32}{size / 1024:.0f} KiB\n{'ways to end':<32}\n{ways}", flush=True)
