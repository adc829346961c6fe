"""The demo: starts everything on this machine, gives the commands that a person would give, and checks what arrived."""

import argparse
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sse_agent.printable import printable, shortened_name

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"
CLIENT = "demo-agent"
SLOW_RATE = 7 * MIB
WITHIN_S = 110.0
AWKWARD = "Bericht [final] “ü” 报告 – 100 %.txt"
PAUSED, CANCELLED = "medium-1.bin", "medium-3.bin"
OVER = {"complete", "failed", "cancelled"}
SIZES_MIB = {"large.bin": 120, "medium-1.bin": 32, "medium-2.bin": 32, "medium-3.bin": 32}


@dataclass
class Row:
    """One file of the final table."""

    name: str
    size: int
    seconds: float
    here: str
    there: str
    state: str


def make_files(folder: Path) -> list[str]:
    """The samples: made once, the same every time. Returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    wanted = {name: size * MIB for name, size in SIZES_MIB.items()}
    wanted |= {f"small-{n:03}.dat": chance.randint(1, 64 * 1024) for n in range(100)}
    wanted[AWKWARD] = 300_000
    for name, size in wanted.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            with path.open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(chance.randbytes(min(MIB, size - start)))
    return list(wanted)


@contextmanager
def process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A server that says in its first line where it listens."""
    with log.open("w") as errors:
        child = subprocess.Popen(
            arguments, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def first_line(child: subprocess.Popen[str], log: Path) -> dict[str, str]:
    """What the server said; if it died, why."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        sys.exit(f"demo: a server did not start; see {log}:\n{log.read_text()[-2000:]}")
    said: dict[str, str] = json.loads(line)
    return said


class Plane:
    """The control plane, as a web application uses it."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30, trust_env=False)

    def command(self, kind: str, **payload: Any) -> str:
        """Queue a command; its ID."""
        body = {"type": kind, "payload": payload, "actor": "demo"}
        key = str(uuid.uuid4())
        answer = self._http.post(f"/agents/{CLIENT}/commands", json=body, headers={"Idempotency-Key": key})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def link(self) -> str:
        """A way into the live page for one person, once."""
        answer = self._http.post("/signin-links", json={}, headers={"Idempotency-Key": str(uuid.uuid4())})
        answer.raise_for_status()
        return str(answer.json()["link"])

    def say(self, text: str) -> None:
        """A chat line on the agent's console."""
        self.command("MESSAGE", text=text, **{"from": "demo"})

    def uploads(self) -> dict[str, dict[str, Any]]:
        """Every upload as last reported, by its fileId."""
        answer = self._http.get(f"/agents/{CLIENT}/uploads", params={"limit": 1000})
        answer.raise_for_status()
        return {upload["fileId"]: upload for upload in answer.json()["uploads"]}

    def outcome(self, command_id: str) -> dict[str, Any]:
        """Wait for a command's outcome and replies."""
        answer = self._http.get(f"/commands/{command_id}", params={"wait": 10})
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result

    def is_connected(self) -> bool:
        """Whether the agent holds its stream."""
        answer = self._http.get(f"/agents/{CLIENT}")
        return answer.status_code == 200 and bool(answer.json()["presence"]["connected"])


def wait_for(what: str, condition: Any, within_s: float = 30.0) -> None:
    """Poll until it is so."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen within {within_s:.0f} s")
        time.sleep(0.1)


def play(plane: Plane, names: list[str], until: float, *, is_fast: bool) -> dict[str, str]:
    """What a person would do in the web page. Returns fileId by file name."""
    wait_for("the agent's connection", plane.is_connected)
    plane.say("Hello. I list your files, then I ask for all of them.")
    listing = plane.outcome(plane.command("LIST_FILES", path=str(PLACE / "files"), limit=1000))
    entries = next(reply for reply in listing["replies"] if reply["type"] == "FILE_LIST")["payload"]["entries"]
    plane.say(f"I see {len(entries)} files. Here we go.")
    ids = {name: f"demo-{n}" for n, name in enumerate(names)}

    def start(wanted: list[str]) -> None:
        for name in wanted:
            urgent = 7 if name.startswith("medium") else 5
            plane.command("UPLOAD_START", fileId=ids[name], fileName=name, priority=urgent)

    def state(name: str) -> str:
        return str(plane.uploads().get(ids[name], {}).get("state", ""))

    def sent(name: str) -> int:
        return int((plane.uploads().get(ids[name], {}).get("progress") or {}).get("bytesSent", 0))

    first = [PAUSED, CANCELLED]
    rest = sorted(set(names) - set(first), key=lambda name: (name.startswith("small"), name == "large.bin", name))
    start(first)
    if not is_fast:
        start(rest)
        wait_for("the first bytes", lambda: sent(PAUSED) > 2 * MIB and sent(CANCELLED) > 0)
    plane.command("UPLOAD_PAUSE", fileId=ids[PAUSED])
    plane.command("UPLOAD_CANCEL", fileId=ids[CANCELLED])
    plane.say(f"{PAUSED} is paused for a while.")
    plane.say(f"{CANCELLED} is cancelled; the tus server deletes what it has of it.")
    if is_fast:
        start(rest)
    # At full speed either may be over before the word arrives.
    wait_for("the pause", lambda: state(PAUSED) in {"paused", *OVER})
    time.sleep(1 if is_fast else 4)
    plane.command("UPLOAD_RESUME", fileId=ids[PAUSED])
    plane.say(f"{PAUSED} goes on where it stopped.")

    def are_over() -> bool:
        uploads = plane.uploads()
        return all(uploads.get(file_id, {}).get("state") in OVER for file_id in ids.values())

    wait_for("the last upload", are_over, max(5.0, until - time.monotonic()))
    return ids


def compare(plane: Plane, ids: dict[str, str], folder: Path, stored: "Stored") -> list[Row]:
    """Each file here against the same file as the tus server has it."""
    rows = []
    uploads = plane.uploads()
    for name, file_id in ids.items():
        upload = uploads.get(file_id, {"state": "unknown"})
        with (folder / name).open("rb") as file:
            here = hashlib.file_digest(file, "sha256").hexdigest()
        result = upload.get("result") or {}
        there = stored.sha256(str(result.get("uploadId"))) if upload["state"] == "complete" else "-"
        size, seconds = (folder / name).stat().st_size, float(result.get("seconds") or 0)
        rows.append(Row(name, size, seconds, here, there, upload["state"]))
    return rows


@dataclass
class Stored:
    """What the tus server has: the embedded one's folder, or a real tusd asked over HTTP."""

    endpoint: str
    folder: Path | None

    def sha256(self, upload_id: str) -> str:
        """Of the bytes under that upload ID, as the server's own file has them."""
        if self.folder is not None:
            with (self.folder / Path(upload_id).name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        url = f"{self.endpoint.rstrip('/')}/{upload_id}"
        with httpx.stream("GET", url, timeout=60, trust_env=False) as answer:
            if answer.status_code != 200:
                return f"GET: {answer.status_code}"
            for block in answer.iter_raw(MIB):
                digest.update(block)
        return digest.hexdigest()


def show(rows: list[Row], console: Console) -> bool:
    """The table. True if every file arrived as it is, or was cancelled on purpose."""
    table = Table(title="What arrived", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("file", no_wrap=True, width=20)
    for title, width in [("bytes", 11), ("seconds", 7)]:
        table.add_column(title, justify="right", no_wrap=True, width=width)
    for title in ("SHA-256 here", "on server"):
        table.add_column(title, no_wrap=True, width=12)
    table.add_column("equal", no_wrap=True)
    good = 0
    for row in rows:
        is_equal = row.here == row.there
        good += is_equal or row.state == "cancelled"
        verdict = "yes" if is_equal else ("cancelled" if row.state == "cancelled" else f"NO: {row.state}")
        name, seconds = shortened_name(printable(row.name), 20), f"{row.seconds:.1f}"
        table.add_row(Text(name), f"{row.size:,}", seconds, row.here[:10], row.there[:10], Text(verdict))
    console.print(table)
    size = sum(row.size for row in rows if row.state == "complete")
    console.print(f"{good} of {len(rows)} as they should be, {size / MIB:.0f} MiB in all.", highlight=False)
    return good == len(rows)


def explain(url: str, token: str, link: str) -> str:
    """How to play with what keeps running."""
    return (
        "It keeps running. Watch and command it in a browser (the link is good once, for 15 minutes):\n"
        f"  {link}\n"
        "or in another terminal:\n"
        f"  curl {url}/api/v1/agents/{CLIENT}/commands -H 'Authorization: Bearer {token}' \\\n"
        f'    -H "Idempotency-Key: $(date +%s%N)" --json '
        '\'{"type": "MESSAGE", "payload": {"text": "hi", "from": "me"}}\'\n'
        f"Files to ask for are in {PLACE / 'files'}. Ctrl-C here ends everything."
    )


def main() -> int:
    """Run it. 0 if everything arrived as it is."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="don't slow the embedded tus server")
    parser.add_argument("--keep", action="store_true", help="leave it running to play with")
    parser.add_argument("--tusd", metavar="URL", help="a real tusd's endpoint instead of the embedded tus server")
    options = parser.parse_args()
    console = Console()
    until = time.monotonic() + WITHIN_S
    console.print("Making the sample files ...", highlight=False)
    names = make_files(PLACE / "files")
    run = PLACE / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True, mode=0o700)
    agent_token, service_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with ExitStack() as stack:
        endpoint = options.tusd or start_tus_server(stack, run, 0 if options.fast else SLOW_RATE)
        url = start_control_plane(stack, run, agent_token, service_token)
        if not options.fast and not options.tusd:
            console.print(
                f"The tus server is slowed to {SLOW_RATE // MIB} MiB/s so that you can watch (--fast is not)."
            )
        plane = Plane(url, service_token)
        if options.keep:
            show_page(plane, url, service_token, console)
        agent = stack.enter_context(start_agent(url, agent_token, endpoint, run, console.is_terminal))
        try:
            ids = play(plane, names, until, is_fast=options.fast or options.tusd is not None)
            if options.keep:
                plane.say("All done; it keeps running. m to answer, q to end it.")
                agent.wait()
            else:
                time.sleep(2)
        except KeyboardInterrupt:
            return 130
        except (TimeoutError, httpx.HTTPError) as error:
            console.print(f"demo: {error}; the logs are in {run}", style="red", highlight=False, markup=False)
            return 1
        finally:
            stop(agent)
        stored = Stored(endpoint, None if options.tusd else run / "stored")
        return 0 if show(compare(plane, ids, PLACE / "files", stored), console) else 1


def show_page(plane: Plane, url: str, token: str, console: Console) -> None:
    """Say how to play with it; on a desktop the page opens by itself, and whoever sees it there needs no link."""
    link = plane.link()
    console.print(explain(url, token, link), highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        return
    has_desktop = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_desktop:
        with suppress(webbrowser.Error):
            # A file opens it, for a link in the arguments of a browser could be read by others on this machine.
            webbrowser.open(door(plane.link()).as_uri())
    time.sleep(3)


def door(link: str) -> Path:
    """A page that only we can read and that goes on to the link."""
    path = PLACE / "run" / "open.html"
    path.touch(mode=0o600)
    path.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={link}"><a href="{link}">Open</a>\n')
    return path


def start_tus_server(stack: ExitStack, run: Path, rate: float) -> str:
    """The embedded tus server's endpoint."""
    (run / "stored").mkdir()
    arguments = [sys.executable, str(ROOT / "scripts/demo_tus_server.py"), "--folder", str(run / "stored")]
    log = run / "tus-server.log"
    child = stack.enter_context(process([*arguments, "--rate", str(rate)], {}, log))
    return first_line(child, log)["endpoint"]


def start_control_plane(stack: ExitStack, run: Path, agent_token: str, service_token: str) -> str:
    """The embedded control plane's address."""
    log = run / "control-plane.log"
    settings = {
        "SSE_AGENT_CONTROL_PLANE_PORT": "0",
        "SSE_AGENT_CONTROL_PLANE_DATABASE": str(run / "control-plane.db"),
        "SSE_AGENT_CONTROL_PLANE_AGENT_TOKENS": json.dumps({CLIENT: agent_token}),
        "SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN": service_token,
    }
    child = stack.enter_context(process([sys.executable, "-m", "sse_agent", "control-plane"], settings, log))
    return first_line(child, log)["listening"]


@contextmanager
def start_agent(
    url: str, token: str, endpoint: str, run: Path, has_terminal: bool
) -> Iterator["subprocess.Popen[bytes]"]:
    """The agent: in its console on a terminal, else with plain lines."""
    settings = {
        "SSE_AGENT_CONTROL_PLANE_URL": url,
        "SSE_AGENT_CLIENT_ID": CLIENT,
        "SSE_AGENT_TOKEN": token,
        "SSE_AGENT_STATE_DIR": str(run / "state"),
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(PLACE / "files")]),
        "SSE_AGENT_TUS_ENDPOINT": endpoint,
        "SSE_AGENT_LOG_FORMAT": "text",
    }
    headless = [] if has_terminal else ["--headless"]
    child = subprocess.Popen(
        [sys.executable, "-m", "sse_agent", "run", *headless], env={**os.environ, **settings}, cwd=run
    )
    try:
        yield child
    finally:
        stop(child)


def stop(child: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C would, and not for ever."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT)
        try:
            child.wait(12)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main())
