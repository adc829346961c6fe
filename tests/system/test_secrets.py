"""Tokens, passwords and upload URLs are in nothing that is written, said or shown; and the search would find them."""

import base64
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from sse_agent.config import Settings
from tests.doubles.processes import CLIENT, Process, World, agent_of, world
from tests.doubles.relay import Relay
from tests.doubles.secret_search import ProcessList, Search, forms
from tests.doubles.services import until
from tests.doubles.tus_server import Exchange, Proxy, TusServer

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60.0
MIB = 1024 * 1024
# Each with characters that are written in another way in URLs, in JSON or by repr.
TUS_TOKEN = 'tus"default+Kq7Rz2Xw9Lb4Vn8Tc3Md/='
UPLOAD_TOKEN = 'tus"command+Hy5Jp1Gs6Fd0Za3Qe8Wu/='
PROXY_PASSWORD = "proxyNm4Bv7Cx2Zl9Kj1Hg"
ECHO_ID = "4be1c0ffee5a1ad0dec0de5afe7ea5e1"
UPLOADS = ("plain", "own", "bug", "hash", "echo", "large", "echo-on-screen", "seen")
# Whoever runs the agent put the secrets into them; SQLite's files are for their owner alone.
PASSED_OVER = ("journal.db*", "control-plane.db*", "*.pem", "stored/*")


def test_no_secret_is_in_anything_that_a_long_and_bad_day_writes(tmp_path: Path) -> None:
    search = Search({"tus token": TUS_TOKEN, "upload token": UPLOAD_TOKEN, "echoed upload": ECHO_ID})
    origins = {"SSE_AGENT_TUS_TOKEN": TUS_TOKEN, "PYTHONPATH": str(ROOT)}
    with Relay() as relay, TusServer(script=_echo()) as echo:
        origins["SSE_AGENT_UPLOAD_ORIGINS"] = json.dumps([echo.endpoint])
        with world(tmp_path, relay=relay, connected=False, **origins) as there:
            search.secrets["agent token"] = there.agent.settings["SSE_AGENT_TOKEN"]
            pids = {"agent": _pid(there.agent), "plane": _pid(there.plane)}
            with ProcessList(pids) as processes:
                _bugs_and_refusals(there, echo, pids)
                _kill_and_go_on(there, relay, pids)
                shown = _console(there, echo)
            search.secrets |= _upload_urls(there)
            search.look("the agent's output", "\n".join(there.agent.lines))
            search.look("the control plane's output", "\n".join(there.plane.lines))
            search.look("the console", shown)
            search.look("the process list", "\n".join(processes.seen))
            search.look("reports", json.dumps(_reports(there, *UPLOADS)))
            tokens = Search({name: secret for name, secret in search.secrets.items() if "token" in name})
            tokens.look("tusd's output", "\n".join(there.tusd.lines))
            assert there.plane.stop() == 0
            search.look_into(tmp_path, PASSED_OVER)
            assert len(processes.seen) > 2
    assert not search.found
    assert not tokens.found
    said = "\n".join(there.agent.lines)
    for told in (
        "ValueError at spilling.py",
        "LookupError at spilling.py",
        "error of asyncio",
        "OSError",
        "RuntimeError",
    ):
        assert told in said, f"{told} was to be forced"


def test_a_secret_in_any_of_these_places_is_found(tmp_path: Path) -> None:
    """The negative control: a build that spills in every place that is searched."""
    search = Search()
    with world(tmp_path, connected=False, PYTHONPATH=str(ROOT)) as there:
        token = search.secrets["agent token"] = there.agent.settings["SSE_AGENT_TOKEN"]
        _launch(there.agent, "spills", "--log-format", "text", token)
        with ProcessList({"agent": _pid(there.agent)}) as processes:
            there.services.carry_out("MESSAGE", text="anybody there?", **{"from": "a person"})
            until(lambda: processes.seen, "the process list is read")
        there.agent.kill()
        for line in there.agent.lines:
            search.look("a debug line" if "debug: " in line else "an event", line)
        search.look("the process list", "\n".join(processes.seen))
        search.look("reports", json.dumps(_reports(there)))
        search.look_into(tmp_path, PASSED_OVER)
    places = {place for place, _ in search.found}
    assert places == {"a debug line", "an event", "the process list", "reports", "file notes.txt"}


@pytest.mark.parametrize("form", [form[: len(form) // 2 + 8] for form in forms(TUS_TOKEN)])
def test_a_secret_is_found_in_every_form_cut_wrapped_and_in_colour(form: str) -> None:
    search = Search({"token": TUS_TOKEN})
    search.look("plain", f"before{form}")
    search.look("wrapped", f"│ {form[: len(form) // 2]}\x1b[0m\x1b[K\n{form[len(form) // 2 :]} │")
    assert search.found == {("plain", "token"), ("wrapped", "token")}


def test_what_the_control_plane_and_boxes_on_the_way_echo_is_not_repeated(tmp_path: Path) -> None:
    with _echoing_plane() as plane:
        agent = agent_of(plane.url, tmp_path)
        token = agent.settings["SSE_AGENT_TOKEN"] = "agent+" + TUS_TOKEN
        agent.settings |= {"PYTHONPATH": str(ROOT), "SSE_AGENT_TUS_ENDPOINT": f"{plane.url}/files/"}
        (tmp_path / "files" / "data.bin").write_bytes(bytes(1000))
        search = Search({"agent token": token, "upload token": UPLOAD_TOKEN})
        _launch(agent, "none")
        try:
            until(lambda: plane.is_over(), "every answer was given", WITHIN_S)
            assert agent.stop() == 0
        finally:
            agent.kill()
        search.look("the agent's output", "\n".join(agent.lines))
        search.look("reports", "\n".join(plane.reports))
        search.look_into(tmp_path, PASSED_OVER)
        assert not search.found, "\n".join(agent.lines)
        assert plane.gave_all()
        assert {"INVALID_PAYLOAD", "INVALID_ENVELOPE", "NOT_ALLOWED", "TOO_LARGE", "SERVER_REFUSED"} <= plane.codes
        assert any("503" in reason for reason in plane.reasons)


def test_a_proxy_that_refuses_and_a_certificate_that_is_not_trusted_are_told_without_the_password(
    tmp_path: Path,
) -> None:
    shown = base64.b64encode(f"somebody:{PROXY_PASSWORD}".encode()).decode()
    refusal = f"HTTP/1.1 407 Basic {shown}\r\nContent-Length: {len(shown)}\r\n\r\n{shown}".encode()
    search = Search({"password": PROXY_PASSWORD, "agent token": TUS_TOKEN})
    with Proxy(refusal=refusal) as proxy:
        agent = agent_of("https://control.example.com", tmp_path)
        with_password = proxy.url.replace("//", f"//somebody:{PROXY_PASSWORD}@")
        agent.settings |= {"HTTPS_PROXY": with_password, "SSE_AGENT_TOKEN": TUS_TOKEN}
        agent.start()
        try:
            lost = agent.wait_for("stream.lost")
        finally:
            agent.kill()
        assert lost["reason"] == "the proxy did not let us through: it answered 407"
        assert any(headers.get("proxy-authorization") == f"Basic {shown}" for _, _, headers in proxy.seen)
    agent.settings["HTTPS_PROXY"] = f"http://somebody:{PROXY_PASSWORD}@127.0.0.1:notaport"
    agent.start()
    assert agent.wait() == 78
    del agent.settings["HTTPS_PROXY"]
    with _stranger() as url:
        agent.settings["SSE_AGENT_CONTROL_PLANE_URL"] = url
        agent.settings["SSE_AGENT_STATE_DIR"] += "-2"
        after = agent.mark()
        agent.start()
        try:
            assert "certificate" in agent.wait_for("stream.lost", after=after)["reason"]
        finally:
            agent.kill()
    search.look("the agent's output", "\n".join(agent.lines))
    search.look_into(tmp_path, PASSED_OVER)
    assert not search.found, "\n".join(agent.lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--token", TUS_TOKEN],
        ["run", f"--tus-token={TUS_TOKEN}"],
        ["run", TUS_TOKEN],
        [TUS_TOKEN],
        ["run", f"--headless={TUS_TOKEN}"],
        ["control-plane", "--service-token", TUS_TOKEN],
        ["run", "--log-level", TUS_TOKEN],
        ["run", "--control-plane-url", f"https://somebody:{TUS_TOKEN}@control.example.com"],
        ["run", "--allowed-folders", TUS_TOKEN],
        ["run", "--max-concurrent-uploads", TUS_TOKEN],
    ],
)
def test_a_secret_pasted_in_the_wrong_place_is_not_repeated(tmp_path: Path, arguments: list[str]) -> None:
    code, said = _refused(tmp_path, arguments)
    assert code == 78
    assert TUS_TOKEN not in said
    assert not _found(TUS_TOKEN, said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSE_AGENT_TOKEN", f"{TUS_TOKEN} and\nmore"),
        ("SSE_AGENT_TUS_TOKEN", f"é{TUS_TOKEN}"),
        ("SSE_AGENT_UPLOAD_ORIGINS", TUS_TOKEN),
        ("SSE_AGENT_CONTROL_PLANE_AGENT_TOKENS", f'{{"agent-1": "{UPLOAD_TOKEN[4:20]}'),
        ("SSE_AGENT_CONTROL_PLANE_AGENT_TOKENS", json.dumps({"agent-1": f"{UPLOAD_TOKEN} x"})),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(tmp_path: Path, name: str, value: str) -> None:
    command = "control-plane" if "CONTROL_PLANE_AGENT" in name else "run"
    code, said = _refused(tmp_path, [command], **{name: value})
    assert code == 78
    assert name.removeprefix("SSE_AGENT_CONTROL_PLANE_") in said or name in said or "token" in said
    assert not _found(TUS_TOKEN, said)
    assert not _found(UPLOAD_TOKEN, said)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nobody_else_may_read_the_state_directory(tmp_path: Path, umask: int) -> None:
    agent = agent_of("http://127.0.0.1:9", tmp_path)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SSE_AGENT_")}
    child = subprocess.Popen(
        [sys.executable, "-m", "sse_agent", "run", "--headless"],
        env=environment | agent.settings,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        umask=umask,
    )
    assert child.stderr is not None
    with child.stderr:
        try:
            while "agent.started" not in child.stderr.readline():
                assert child.poll() is None
            state = tmp_path / "state"
            modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (state, *state.iterdir())}
        finally:
            child.kill()
            child.wait()
    assert modes.pop("state") == "0o700"
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "journal.lock"} <= set(modes)
    assert set(modes.values()) == {"0o600"}


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TUS_TOKEN)
    monkeypatch.setenv("SSE_AGENT_TUS_TOKEN", UPLOAD_TOKEN)
    monkeypatch.setenv("SSE_AGENT_CONTROL_PLANE_URL", "https://control.example.com")
    monkeypatch.setenv("SSE_AGENT_CLIENT_ID", CLIENT)
    monkeypatch.setenv("SSE_AGENT_ALLOWED_FOLDERS", '["/srv"]')
    settings = Settings()  # type: ignore[call-arg]
    for told in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert not _found(TUS_TOKEN, told)
        assert not _found(UPLOAD_TOKEN, told)


# --- a long and bad day -----------------------------------------------------------------------------


def _bugs_and_refusals(there: World, echo: TusServer, pids: dict[str, int | None]) -> None:
    """Bugs everywhere, in JSON; refusals by tusd, by a server that echoes, and by the agent; a bug ends the agent."""
    (there.files / "data.bin").write_bytes(os.urandom(100_000))
    (there.files / "bug.bin").write_bytes(b"bug")
    (there.files / "large.bin").write_bytes(os.urandom(3 * MIB))
    _launch(there.agent, "bugs")
    pids["agent"] = _pid(there.agent)
    services = there.services
    assert services.carry_out("UPLOAD_START", fileId="plain", fileName="data.bin")["outcome"] == "completed"
    own = services.carry_out("UPLOAD_START", fileId="own", fileName="data.bin", uploadToken=UPLOAD_TOKEN)
    assert own["outcome"] == "completed"
    poisoned = services.carry_out("MESSAGE", text=f"the token is {UPLOAD_TOKEN}", **{"from": "a person"})
    assert poisoned["error"]["code"] == "POISON"
    services.command("UPLOAD_START", fileId="bug", fileName="bug.bin", uploadToken=UPLOAD_TOKEN)
    there.agent.wait_for("command.stumbled", type="UPLOAD_START")
    services.carry_out("UPLOAD_CANCEL", fileId="bug")
    wrong = {"fileId": "hash", "fileName": "data.bin", "sha256": "0" * 64, "uploadToken": UPLOAD_TOKEN}
    assert services.carry_out("UPLOAD_START", **wrong)["error"]["code"] == "CHECKSUM_MISMATCH"
    _upload_to_echo(there, echo, "echo")
    there.agent.signal(signal.SIGUSR2)
    services.command("HEARTBEAT")
    assert there.agent.wait(WITHIN_S) == 75


def _upload_to_echo(there: World, echo: TusServer, file_id: str) -> None:
    """It answers with what it was sent, in every status; in the end it refuses."""
    start = {"fileId": file_id, "fileName": "data.bin", "tusEndpoint": echo.endpoint, "uploadToken": UPLOAD_TOKEN}
    record = there.services.outcome(there.services.command("UPLOAD_START", **start), WITHIN_S)
    assert record["error"]["code"] == "SERVER_REFUSED", record


def _kill_and_go_on(there: World, relay: Relay, pids: dict[str, int | None]) -> None:
    """kill -9 in the middle of an upload; on in text, with the control plane killed meanwhile."""
    there.agent._arguments[3] = "none"
    after = there.agent.mark()
    there.agent.start()
    pids["agent"] = _pid(there.agent)
    there.agent.wait_for("stream.connected", after=after)
    relay.rate = 2 * MIB
    sent = relay.forwarded
    large = there.services.command("UPLOAD_START", fileId="large", fileName="large.bin", uploadToken=UPLOAD_TOKEN)
    until(lambda: relay.forwarded > sent + MIB, "a third is sent")
    there.agent.kill()
    relay.rate = None
    there.agent._arguments += ["--log-format", "text"]
    there.agent.start()
    pids["agent"] = _pid(there.agent)
    assert there.services.outcome(large, WITHIN_S)["outcome"] == "completed"
    there.plane.kill()
    there.start_plane()
    pids["plane"] = _pid(there.plane)
    assert there.services.carry_out("HEARTBEAT")["outcome"] == "completed"
    assert there.agent.stop() == 0


def _console(there: World, echo: TusServer) -> str:
    """The same on a terminal; what was shown there."""
    with _terminal(there) as shown:
        until(lambda: "connected" in shown(), "the console is connected", WITHIN_S)
        echo.script = _echo()
        _upload_to_echo(there, echo, "echo-on-screen")
        there.services.carry_out("UPLOAD_START", fileId="seen", fileName="data.bin", uploadToken=UPLOAD_TOKEN)
        until(lambda: "SERVER_REFUSED" in shown() or "refuse" in shown(), "the failure is shown", WITHIN_S)
    return shown()


@contextmanager
def _terminal(there: World) -> Iterator[Callable[[], str]]:
    """An agent on a pseudo-terminal, ended by Ctrl-C's signal; call what it yields for all that was shown."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (40, 100))
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SSE_AGENT_")}
    environment |= {**there.agent.settings, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "tests.doubles.spilling", "none", "run"]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=there.folder)
    os.close(slave)
    seen: list[bytes] = []

    def read() -> None:
        with suppress(OSError):
            while data := os.read(master, 65536):
                seen.append(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield lambda: b"".join(seen).decode(errors="replace")
        child.send_signal(signal.SIGINT)
        assert child.wait(WITHIN_S) == 0
    finally:
        child.kill()
        child.wait()
        reader.join(WITHIN_S)
        os.close(master)


def _launch(agent: Process, mode: str, *more: str) -> None:
    agent._arguments = [sys.executable, "-m", "tests.doubles.spilling", mode, "run", "--headless", *more]
    agent.start()


def _pid(process: Process) -> int | None:
    return process._child.pid if process._child is not None else None


def _reports(there: World, *file_ids: str) -> list[Any]:
    """Everything that the agent reported, and these uploads as others see them.

    UPLOAD_COMPLETE names the tus server's ID, as the contract says.
    """
    kinds = ("ACK", "CLIENT_CONNECTED", "CLIENT_DISCONNECTED", "CLIENT_STATUS", "MESSAGE", "FILE_LIST")
    kinds += tuple(f"UPLOAD_{kind}" for kind in ("PROGRESS", "PAUSED", "RESUMED", "CANCELLED", "COMPLETE", "FAILED"))
    messages = [message for kind in kinds for message in there.services.messages(kind)]
    for message in messages:
        message["payload"].pop("uploadId", None)
    uploads = [there.services.upload(file_id) for file_id in file_ids]
    for upload in uploads:
        (upload["result"] or {}).pop("uploadId", None)
    return [*messages, *uploads, there.services.agent()]


def _upload_urls(there: World) -> dict[str, str]:
    """The ID in the URL of every upload that tusd ever made, and those URLs that the journal knows."""
    ids = {found for line in there.tusd.lines for found in re.findall(r"\bid=\"?([0-9a-f]{32})", line)}
    assert len(ids) >= 4, "tusd's log names no uploads any more"
    with sqlite3.connect(f"file:{there.folder / 'state' / 'journal.db'}?mode=ro", uri=True) as journal:
        urls = {row[0] for row in journal.execute("SELECT url FROM uploads WHERE url IS NOT NULL")}
    return {f"upload {found}": found for found in ids | {url.rpartition("/")[2] for url in urls}}


def _found(secret: str, text: str) -> bool:
    search = Search({"secret": secret})
    search.look("here", text)
    return bool(search.found)


def _refused(folder: Path, arguments: list[str], **settings: str) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    agent = agent_of("https://control.example.com", folder)
    plane = {"SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN": "service-token-of-the-test", "SSE_AGENT_CONTROL_PLANE_PORT": "0"}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SSE_AGENT_")}
    done = subprocess.run(
        [sys.executable, "-m", "sse_agent", *arguments],
        env=environment | agent.settings | plane | settings,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    return done.returncode, done.stdout + done.stderr


# --- those who echo ---------------------------------------------------------------------------------


def _echo() -> Callable[[Exchange], None]:
    """A tus server whose error answers repeat what they were sent, in plain, in a path and in JSON."""
    statuses = iter([500, 404, 409, 423, 500, 503, 500, 500, 400])

    def script(exchange: Exchange) -> None:
        if exchange.method == "POST":
            exchange.answer(201, {"Location": f"/files/{ECHO_ID}"})
        elif exchange.method == "HEAD":
            exchange.answer(200, {"Upload-Offset": "0", "Upload-Length": "100000"})
        elif exchange.method == "DELETE":
            exchange.answer(204)
        else:
            exchange.drain()
            headers = json.dumps(exchange.headers)
            words = f"write /srv{exchange.target}: no space left on device; {ECHO_ID} {headers}"
            exchange.answer(next(statuses, 400), {"X-Echo": exchange.target}, words.encode())

    return script


ANSWERS = (401, 403, 404, 409, 500, 503, 302, 307, "page", "echo", "header", "no HELLO", "bad HELLO", "good")


class _EchoingPlane:
    """A control plane whose answers repeat the request, one way after the other; then a stream of bad commands."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.reports: list[str] = []
        self.codes: set[str] = set()
        self._answers = iter(ANSWERS)
        self._posts = iter((401, 403, 404, 409, 500, "page", "echo"))
        self._left = {f"c-{n}" for n in range(1, len(_bad_commands(self.url)) + 1)}
        self.reasons: set[str] = set()

    def is_over(self) -> bool:
        """Whether every command has its last acknowledgement."""
        return not self._left

    def gave_all(self) -> bool:
        """Whether no answer is left."""
        return not [*self._answers, *self._posts]

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as incoming:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = incoming.readline(65536)
                if not line:
                    return
                head += line
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = incoming.read(int(length[1])) if length else b""
            if head.startswith(b"GET"):
                self._stream(connection, head)
            elif b"/messages" in head.split(b"\r\n", 1)[0]:
                self._message(connection, head, body)
            else:
                # What the tus server says becomes the reason of a wait, and is reported with the progress.
                connection.sendall(_answer(400 if self.reasons else 503, head, "text/plain"))

    def _stream(self, connection: socket.socket, head: bytes) -> None:
        way = next(self._answers, "good")
        if way not in ("no HELLO", "bad HELLO", "good"):
            connection.sendall(_as(way, head))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        token = re.search(rb"(?i)bearer (.*)\r\n", head)
        echoed = token[1].decode() if token else ""
        if way == "no HELLO":
            connection.sendall(f"event: {echoed}\ndata: {echoed}\n\n".encode())
            return
        hello = {"protocol": 1, "now": "2026-11-22T10:30:00Z", "heartbeatSeconds": 15, "resume": True, "latest": "k1/0"}
        if way == "bad HELLO":
            hello |= {"protocol": echoed, "latest": echoed}
        connection.sendall(f"event: HELLO\ndata: {json.dumps(hello)}\n\n:\n\n".encode())
        if way == "good":
            for number, data in enumerate(_bad_commands(self.url), start=1):
                connection.sendall(f"id: k1/{number}\nevent: UPLOAD_START\ndata: {data}\n\n".encode())
            while not self.is_over():
                connection.sendall(b":\n\n")
                time.sleep(0.2)
            connection.recv(1)

    def _message(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        way = next(self._posts, None)
        if way is not None:
            connection.sendall(_as(way, head))
            return
        parsed = json.loads(body)
        messages = parsed.get("messages", [parsed])
        self.reports.append(body.decode())
        for message in messages:
            payload = message["payload"]
            if message["type"] == "UPLOAD_PROGRESS" and payload.get("reason"):
                self.reasons.add(payload["reason"])
            if message["type"] == "ACK" and payload["status"] != "accepted":
                self.codes.add(payload.get("error", {}).get("code", ""))
                self._left -= {payload["commandId"], payload["commandId"].replace("k1/", "c-")}
        results = [{"id": message["id"], "status": 202} for message in messages]
        is_batch = "messages" in parsed
        answer = json.dumps({"results": results} if is_batch else results[0]).encode()
        status = 200 if is_batch else 202
        connection.sendall(_answer(status, answer, "application/json"))


def _as(way: int | str, head: bytes) -> bytes:
    """A request's head as an answer."""
    if way == "echo":
        return head
    if way == "header":
        return b"HTTP/1.1 200 OK\r\n" + head.split(b"\r\n", 1)[1].replace(b"Authorization:", b"Authorization\x00 ", 1)
    if way == "page":
        return _answer(200, b"<html><pre>" + head + b"</pre></html>", "text/html")
    assert isinstance(way, int)
    slug = "in-progress" if way == 409 else "echo"
    body = {"type": f"urn:sse-agent:problem:{slug}", "title": head.decode(), "detail": head.decode(), "status": way}
    line = re.search(rb"(?i)bearer (.*)\r\n", head)
    more = f"Location: /login?token={line[1].decode() if line else ''}\r\n" if way in (302, 307) else ""
    return _answer(way, json.dumps(body).encode(), "application/problem+json", more)


def _answer(status: int, body: bytes, media_type: str, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Words\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _bad_commands(url: str) -> list[str]:
    """Commands that are refused, each with a token in a place of its own."""
    start = {"fileId": "f", "fileName": "data.bin"}
    payloads: list[dict[str, Any]] = [
        {**start, "uploadToken": f"{UPLOAD_TOKEN} with a space"},
        {**start, "uploadToken": [UPLOAD_TOKEN]},
        {**start, "fileId": UPLOAD_TOKEN},
        {**start, "priority": UPLOAD_TOKEN, "uploadToken": UPLOAD_TOKEN},
        {**start, "tusEndpoint": f"{url}@{UPLOAD_TOKEN}/", "uploadToken": UPLOAD_TOKEN},
        {**start, "tusEndpoint": f"https://elsewhere.example.com/?{UPLOAD_TOKEN}", "uploadToken": UPLOAD_TOKEN},
        {**start, "fileName": "nothing.bin", "uploadToken": UPLOAD_TOKEN},
        {**start, "fileId": "good", "uploadToken": UPLOAD_TOKEN},
    ]
    envelopes: list[str] = []
    for payload in payloads:
        envelope = {"type": "UPLOAD_START", "id": f"c-{len(envelopes) + 1}", "timestamp": "2026-11-22T10:30:00Z"}
        envelopes.append(json.dumps({**envelope, "clientId": CLIENT, "payload": payload}))
    envelopes.append(json.dumps({"uploadToken": UPLOAD_TOKEN}))
    envelopes.append(f"this is no JSON: {UPLOAD_TOKEN}")
    envelopes.append(json.dumps({"uploadToken": UPLOAD_TOKEN, "more": "x" * 70_000}))
    return envelopes


@contextmanager
def _echoing_plane() -> Iterator[_EchoingPlane]:
    plane = _EchoingPlane()
    thread = threading.Thread(target=plane.accept, daemon=True)
    thread.start()
    yield plane
    with suppress(OSError):
        plane.listening.shutdown(socket.SHUT_RDWR)
    plane.listening.close()
    thread.join()


@contextmanager
def _stranger() -> Iterator[str]:
    """An https server with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with TusServer(tls=context, script=Exchange.hang) as server:
        yield server.endpoint.removesuffix("/files/")
