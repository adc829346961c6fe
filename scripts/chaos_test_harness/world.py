"""Everything of one run in one folder: files, the real control plane and tusd, the proxy in front, the real agent."""

import hashlib
import json
import random
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import trustme

from scripts.chaos_test_harness.records import Records
from scripts.chaos_test_harness.traffic import Traffic
from tests.doubles.chaos import Chaos
from tests.doubles.chaos_exchange import Exchange
from tests.doubles.chaos_flow import Round
from tests.doubles.chaos_wire import Answer, Head
from tests.doubles.processes import CLIENT, Process
from tests.doubles.services import until
from tests.doubles.tusd import Tusd

ROOT = Path(__file__).resolve().parent.parent.parent
KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 1, 1000, 64 * KIB, 200_000, 256 * KIB + 1, 600_000, MIB, 2 * MIB, 3 * MIB + 7, 8 * MIB, 20 * MIB + 1)
BAD_EVENTS = frozenset({"sender.dead_letter", "command.stumbled", "agent.parked", "journal.trouble", "log.dropped"})
POLLS_EVERY_S = 0.1
STARTS_WITHIN_S = 60.0


class World:
    """A context manager. `seed` decides all that chance decides here; `build`: a mistake of broken.py."""

    def __init__(self, folder: Path, seed: int, build: str | None = None) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.chance = random.Random(seed)
        self.sizes = self._make_files()
        self.sha256 = {name: hashlib.sha256((self.files / name).read_bytes()).hexdigest() for name in self.sizes}
        self.chaos = Chaos(seed)
        self.chaos.on_answer = self._count_repeated
        self.tusd = Tusd(folder / "stored", flags=["-behind-proxy"])
        self.known_to_plane = 0
        self.bytes_complete = 0
        self.starts = 0
        self._build = build
        self._checked = 0
        self._token = f"agent-{self.chance.getrandbits(64):x}"
        self._service = f"service-{self.chance.getrandbits(64):x}"
        # Empty ones of our own, so that whoever runs this has no say.
        (folder / "settings.toml").touch(0o600)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.chaos)
            stack.enter_context(self.tusd)
            self.plane = Process(["control-plane"], self._plane_settings(), self.folder)
            stack.callback(self.plane.kill)
            self.plane.start()
            line = until(lambda: next((line for line in self.plane.lines if "listening" in line), None), "it listens")
            url = json.loads(line)["listening"]
            self.records = Records(url, self._service, CLIENT)
            stack.callback(self.records.close)
            self.agent = Process(["run", "--headless"], self._agent_settings(url), self.folder)
            if self._build:
                module = "scripts.chaos_test_harness.launcher"
                self.agent._arguments = [sys.executable, "-m", module, self._build, "run", "--headless"]
            stack.callback(self.agent.kill)
            self.traffic = Traffic(self.records, self.files, self.sizes, self.sha256, self.endpoints, self.chance)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_files(self) -> dict[str, int]:
        self.files.mkdir()
        names = {f"{n:02}-{size}.bin": size for n, size in enumerate(SIZES)}
        for name, size in names.items():
            (self.files / name).write_bytes(self.chance.randbytes(size))
        return names

    def _plane_settings(self) -> dict[str, str]:
        prefix = "SSE_AGENT_CONTROL_PLANE_"
        return {
            "PYTHONPATH": str(ROOT),
            f"{prefix}PORT": "0",
            f"{prefix}DATABASE": str(self.folder / "control-plane.db"),
            f"{prefix}AGENT_TOKENS": json.dumps({CLIENT: self._token}),
            f"{prefix}SERVICE_TOKEN": self._service,
            f"{prefix}HEARTBEAT_SECONDS": "1",
        }

    def _agent_settings(self, plane_url: str) -> dict[str, str]:
        """The control plane over TLS, and tusd both over TLS and without."""
        authority = trustme.CA()
        ca = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(ca))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        plain = self.chaos.in_front_of(self.tusd.endpoint, _kind_of)
        secure = self.chaos.in_front_of(self.tusd.endpoint, _kind_of, tls=tls, X_Forwarded_Proto="https")
        self.endpoints = (plain, secure)
        return {
            "PYTHONPATH": str(ROOT),
            "SSE_AGENT_CONTROL_PLANE_URL": self.chaos.in_front_of(plane_url, _kind_of, tls=tls),
            "SSE_AGENT_CLIENT_ID": CLIENT,
            "SSE_AGENT_TOKEN": self._token,
            "SSE_AGENT_STATE_DIR": str(self.folder / "state"),
            "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(self.files)]),
            "SSE_AGENT_UPLOAD_ORIGINS": json.dumps([url.removesuffix("/files/") for url in self.endpoints]),
            "SSE_AGENT_MAX_CONCURRENT_UPLOADS": "8",
            "SSE_AGENT_CA_FILE": str(ca),
            "SSE_AGENT_SETTINGS_FILE": str(self.folder / "settings.toml"),
        }

    def _count_repeated(self, exchange: Exchange, found: Answer) -> None:
        """Messages that the control plane knew already."""
        if exchange.kind != "messages" or found.head.status not in (200, 202):
            return
        said = json.loads(found.body)
        self.known_to_plane += sum(result["status"] == 200 for result in said.get("results", [said]))

    # --- the agent ---

    def start(self) -> None:
        """Start it, or start it again after kill -9: a new process has no back-offs in its memory."""
        self.agent.kill()
        self.starts += 1
        after = self.agent.mark()
        self.agent.start()
        self.agent.wait_for("agent.started", after=after, within_s=STARTS_WITHIN_S)

    def stop(self) -> None:
        """SIGTERM; another exit code than 0 is a complaint."""
        code = self.agent.stop()
        if code != 0:
            self.records.complain(f"SIGTERM ended the agent with exit code {code}")

    # --- what it does ---

    def play(self, round_: Round, seconds: float, commands: float) -> None:
        """One round, with so many commands on average."""
        self.chaos.begin(round_)
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            due = commands * min(1.0, POLLS_EVERY_S / seconds) + self.chance.random()
            for _ in range(int(due)):
                self.traffic.pour()
            self.records.read()
            self.check_complete()
            time.sleep(min(left_s, POLLS_EVERY_S))

    def drain(self, within_s: float, quiet_s: float, say: Callable[[], None] = lambda: None) -> bool:
        """Calm; wait until everything is over. False: too long, or nothing new for `quiet_s`."""
        self.chaos.begin(Round())
        self.traffic.resume_all()
        end = moved_at = time.monotonic()
        end += within_s
        while not self.is_drained():
            if self.records.read():
                moved_at = time.monotonic()
            if time.monotonic() > min(end, moved_at + quiet_s):
                return False
            self.check_complete()
            say()
            time.sleep(POLLS_EVERY_S)
        return True

    def is_drained(self) -> bool:
        """Whether every command and every upload is over."""
        is_over = all(file_id in self.records.over for file_id in self.traffic.started)
        return is_over and not self.records.unanswered()

    def check_complete(self) -> None:
        """Compare what tusd has of newly completed uploads, then remove it there: disks are finite."""
        for move in self.records.completions[self._checked :]:
            self._checked += 1
            file_id, upload_id = str(move["payload"]["fileId"]), str(move["payload"]["uploadId"])
            stored = self.tusd.store / upload_id
            if file_id in self.traffic.started:
                self._compare(self.traffic.started[file_id]["fileName"], stored, move["payload"])
            else:
                self.records.complain(f"{file_id} was uploaded, though what came before its start forbids that")
            if stored.is_file():
                stored.unlink()
            (self.tusd.store / f"{upload_id}.info").unlink(missing_ok=True)

    def _compare(self, name: str, stored: Path, payload: dict[str, Any]) -> None:
        """What UPLOAD_COMPLETE says, and what tusd has, with the file of that name."""
        file_id, size, sha256 = payload["fileId"], self.sizes[name], self.sha256[name]
        if (payload["fileSize"], payload["sha256"]) != (size, sha256):
            self.records.complain(f"UPLOAD_COMPLETE of {file_id} names another size or SHA-256 than its file has")
        if not stored.is_file() or self.tusd.sha256(stored.name) != sha256:
            self.records.complain(f"lost bytes: tusd has something else of {file_id} than its file")
        self.bytes_complete += size

    # --- the verdict ---

    def keep_logs(self) -> None:
        """Into the folder, for people."""
        for name, process in (("agent", self.agent), ("control-plane", self.plane)):
            (self.folder / f"{name}.log").write_text("\n".join(process.lines))
        (self.folder / "tusd.log").write_text("\n".join(self.tusd.lines))

    def verdict(self) -> list[str]:
        """Every complaint. The agent has stopped."""
        self.records.read()
        self.check_complete()
        complaints = self.records.verdict(sorted(self.sizes))
        complaints += [f"the outbox holds {count} messages that are {state}" for state, count in self._outbox().items()]
        complaints += [f"{event['event']}: {event}" for event in self.agent.events if event["event"] in BAD_EVENTS]
        for process in (self.agent, self.plane):
            complaints += [line for line in process.lines if line.startswith("Traceback")]
        return complaints + [f"a bug of the proxy: {bug!r}" for bug in self.chaos.bugs]

    def _outbox(self) -> dict[str, int]:
        query = "SELECT state, count(*) FROM outbox WHERE state != 'sent' GROUP BY state"
        with closing(sqlite3.connect(self.folder / "state" / "journal.db")) as journal:
            return {str(state): int(count) for state, count in journal.execute(query)}


def _kind_of(request: Head) -> str:
    path: Any = request.target.partition("?")[0]
    if path.startswith("/files/"):
        return {"POST": "create", "HEAD": "offset", "PATCH": "patch", "DELETE": "delete"}.get(request.method, "other")
    return {"stream": "stream", "messages": "messages", "token": "token"}.get(path.rpartition("/")[2], "other")
