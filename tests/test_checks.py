"""What `check` finds, part by part: each of them ok, and each of them as it may be wrong."""

import json
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sse_agent import config
from sse_agent.checks import all as checks
from sse_agent.checks import certificates, clock, control_plane, line, machine, tus_server
from sse_agent.checks.deadline import within
from sse_agent.checks.report import Check, State
from sse_agent.clock import SystemClock
from sse_agent.config import Settings
from sse_agent.journal import opened
from sse_agent.journal.lockfile import Lockfile
from sse_agent.tus.session import Answer
from tests.cli.wrong_starts import answering, problem
from tests.doubles.plain_http import plain_http
from tests.doubles.tus_server import Exchange, Proxy, TusServer

NOW = datetime(2026, 11, 26, 10, 30, tzinfo=UTC)
TUS = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination", "Tus-Max-Size": "1048576"}
STATUS: dict[str, Any] = {
    "seconds": 60.0,
    "connection": {"state": "connected", "transport": "sse", "seconds": 42.0, "reason": None, "nextTrySeconds": None},
}


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither settings nor proxies of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX) or "_proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    (tmp_path / "outgoing").mkdir()
    monkeypatch.chdir(tmp_path)


def settings_of(tmp_path: Path, **more: str) -> Settings:
    needed = {
        "control_plane_url": "https://control.example.com",
        "client_id": "warehouse-7",
        "token": "token-of-the-test",
        "allowed_folders": json.dumps([str(tmp_path / "outgoing")]),
        "state_dir": str(tmp_path / "state"),
    }
    return config.load({**needed, **more})


def states(found: list[Check]) -> dict[str, State]:
    return {check.name: check.state for check in found}


def only(found: Iterator[Check], name: str) -> Check:
    by_name = {check.name: check for check in found}
    assert name in by_name, list(by_name)
    return by_name[name]


# --- this machine ---


def of_machine(tmp_path: Path, name: str, status: dict[str, Any] | None = None, **more: str) -> Check:
    return only(machine.checks(settings_of(tmp_path, **more), status), name)


def test_a_new_machine_is_ok_and_stays_as_it_is(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = list(machine.checks(settings_of(tmp_path), None))
    assert set(states(found).values()) == {State.OK}
    assert "will be made" in found[0].found
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("mode", "files", "state", "words"),
    [
        (0o700, [], State.OK, "mode 0700"),
        (0o755, ["journal.db"], State.WARNING, "open to others"),
        (0o755, ["thesis.odt"], State.FAILED, "files of others"),
        (0o1777, [], State.FAILED, "files of others"),
    ],
)
def test_the_state_directory_must_be_the_agents_alone(
    tmp_path: Path, mode: int, files: list[str], state: State, words: str
) -> None:
    (tmp_path / "state").mkdir()
    for name in files:
        (tmp_path / "state" / name).write_bytes(b"")
    (tmp_path / "state").chmod(mode)
    found = of_machine(tmp_path, "state directory")
    assert (found.state, words in found.found) == (state, True), found


def test_a_state_directory_that_is_a_file_fails_and_the_journal_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    found = list(machine.checks(settings_of(tmp_path), None))
    assert found[0].has_failed
    assert "journal" not in states(found)


@pytest.mark.parametrize(("free", "state"), [(2**20, State.FAILED), (2**27, State.WARNING), (2**33, State.OK)])
def test_the_room_on_its_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert of_machine(tmp_path, "state directory").state is state


async def used(tmp_path: Path, origin: str = "https://control.example.com", client_id: str = "warehouse-7") -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    async with opened(tmp_path / "state", origin=origin, client_id=client_id, clock=SystemClock()):
        pass
    return tmp_path / "state" / "journal.db"


async def test_a_whole_journal_of_this_agent_is_ok(tmp_path: Path) -> None:
    await used(tmp_path)
    found = of_machine(tmp_path, "journal")
    assert (found.state, "whole" in found.found) == (State.OK, True), found


async def test_a_damaged_journal_is_told_and_left_where_it_is(tmp_path: Path) -> None:
    journal = await used(tmp_path)
    journal.write_bytes(b"no database" * 1000)
    before = journal.read_bytes()
    found = of_machine(tmp_path, "journal")
    assert (found.state, "damaged" in found.found) == (State.FAILED, True), found
    assert journal.read_bytes() == before
    assert not list(journal.parent.glob("damaged-*"))


@pytest.mark.parametrize(
    ("made", "words"),
    [({"origin": "https://other.example.com"}, "CONTROL_PLANE_URL"), ({"client_id": "warehouse-8"}, "CLIENT_ID")],
)
async def test_a_journal_of_another_control_plane_or_client_fails(
    tmp_path: Path, made: dict[str, str], words: str
) -> None:
    await used(tmp_path, **made)
    found = of_machine(tmp_path, "journal")
    assert (found.state, words in found.found) == (State.FAILED, True), found


async def test_a_journal_of_a_newer_version_fails(tmp_path: Path) -> None:
    connection = sqlite3.connect(await used(tmp_path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer" in of_machine(tmp_path, "journal").found


async def test_a_held_journal_is_the_running_agents_or_else_a_failure(tmp_path: Path) -> None:
    journal = await used(tmp_path)
    lockfile = Lockfile(journal.parent / "journal.lock")
    try:
        assert of_machine(tmp_path, "journal").has_failed
        assert of_machine(tmp_path, "journal", STATUS).found.startswith("held by the agent")
    finally:
        lockfile.close()
    assert not of_machine(tmp_path, "journal").has_failed


def test_a_folder_tells_how_much_is_in_it_or_that_it_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "outgoing"
    for n in range(3):
        (folder / f"{n}.bin").write_bytes(b"")
    assert "3 entries" in of_machine(tmp_path, f"folder {folder}").found
    for n in range(3):
        (folder / f"{n}.bin").unlink()
    folder.rmdir()
    found = of_machine(tmp_path, f"folder {folder}")
    assert (found.state, found.advice) == (State.FAILED, "make it, or correct SSE_AGENT_ALLOWED_FOLDERS")


def test_what_may_not_be_read_in_a_folder_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        (tmp_path / "outgoing" / f"{n}.bin").write_bytes(b"")
    monkeypatch.setattr(machine.os, "access", lambda path, _: not str(path).endswith("1.bin"))
    found = of_machine(tmp_path, f"folder {tmp_path / 'outgoing'}")
    assert (found.state, found.found) == (State.WARNING, "3 entries; 1 of the first 3 may not be read")


def test_settings_files_that_others_can_write_are_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("")
    file.chmod(0o600)
    assert machine.settings_files([file]).found == f"from {file}"
    file.chmod(0o666)
    assert machine.settings_files([file]).state is State.WARNING


def test_each_name_that_is_no_setting_is_a_warning_with_what_may_be_meant() -> None:
    near, far = config.Unknown("log_levle", "s.toml", "log_level"), config.Unknown("extra", "s.toml", "")
    assert [(one.state, one.name, one.found, one.advice) for one in machine.unknown_settings([near, far])] == [
        (State.WARNING, "settings", "log_levle in s.toml is no setting", "did you mean log_level?"),
        (State.WARNING, "settings", "extra in s.toml is no setting", "take it out; docs/reference/settings.md has all"),
    ]


# --- the control plane ---


def of_plane(tmp_path: Path, url: str, status: dict[str, Any] | None = None, **more: str) -> list[Check]:
    settings = settings_of(tmp_path, control_plane_url=url, **more)
    return list(control_plane.checks(settings, status, SystemClock()))


def base(server: TusServer) -> str:
    return server.endpoint.removesuffix("/files/")


def test_a_control_plane_that_takes_the_token_is_ok_and_is_told_of_no_agent(tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC), usegmt=True)
    with TusServer(script=problem(400, "malformed-speaker", date=date)) as server:
        found = of_plane(tmp_path, base(server))
    assert set(states(found).values()) == {State.OK}, found
    [request] = server.seen
    assert (request.method, request.target) == ("GET", "/api/v1/agents/warehouse-7/stream")
    assert request.headers["authorization"] == "Bearer token-of-the-test"
    assert not [name for name in request.headers if name.startswith("agent-")], "it would claim the agent's place"
    assert "event-stream" not in request.headers["accept"]


def test_a_running_agents_own_connection_is_told_and_its_token_left_to_it(tmp_path: Path) -> None:
    with TusServer(script=problem(401, "unauthenticated")) as server:
        found = of_plane(tmp_path, base(server), STATUS)
    assert found[0].found == "the running agent has been connected for 42 s (sse)"
    assert not any(check.has_failed for check in found)
    assert "authorization" not in server.seen[0].headers


def test_a_running_agent_that_is_not_connected_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    away = {**STATUS, "connection": {**STATUS["connection"], "state": "parked", "reason": "deleted \x1b[2J"}}
    with TusServer(script=problem(401, "unauthenticated")) as server:
        found = of_plane(tmp_path, base(server), away)[0]
    assert (found.state, found.found) == (State.FAILED, "the running agent has been parked for 42 s: deleted \\x1b[2J")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (problem(401, "unauthenticated"), "the token is not accepted"),
        (problem(403, "not-allowed"), "not that of warehouse-7"),
        (problem(404, "unknown-path"), "no control plane"),
        (problem(409, "newer-epoch"), "another copy"),
        (problem(410, "agent-deleted"), "was deleted"),
        (problem(503, "unavailable"), "503 unavailable"),
        (problem(503, "{client.token}"), "it answered 503"),
        (answering(407), "407: the proxy wants"),
        (answering(204), "something on the way answered 204"),
        (answering(200, b"<html>", content_type="text/html"), "something on the way answered 200"),
        (answering(400, b"no problem of ours"), "it answered 400"),
        (answering(302, location="https://login.example.com/x?token=1"), "(302) to https://login.example.com/x"),
        (answering(307, location="http://ada:pass@127.0.0.1/"), "it redirects (307) to http://127.0.0.1/"),
        (answering(307, location="/elsewhere"), "it redirects (307)"),
        (answering(307, location="http://[::1"), "no proper HTTP"),
    ],
)
def test_every_other_answer_fails_in_words_of_its_own(tmp_path: Path, script: Any, words: str) -> None:
    with TusServer(script=script) as server:
        found = only(iter(of_plane(tmp_path, base(server))), control_plane.ANSWER)
    assert found.has_failed
    assert words in found.found
    assert found.advice
    assert "token=1" not in found.found
    assert "ada:" not in found.found


def test_a_redirect_within_the_origin_is_followed_as_the_agent_would(tmp_path: Path) -> None:
    def script(exchange: Exchange) -> None:
        moved = exchange.target.startswith("/api/")
        (answering(308, location="/moved") if moved else problem(400, "malformed-speaker"))(exchange)

    with TusServer(script=script) as server:
        assert not only(iter(of_plane(tmp_path, base(server))), control_plane.ANSWER).has_failed
    assert [one.target for one in server.seen] == ["/api/v1/agents/warehouse-7/stream", "/moved"]


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_plane, "WITHIN_S", 0.5)
    with TusServer(script=Exchange.hang) as server:
        found = of_plane(tmp_path, base(server))[-1]
    assert found.has_failed


# --- the way there ---


class PatientProxy(Proxy):
    """One that lets a caller go who says nothing."""

    def _serve(self, connection: socket.socket) -> None:
        if connection.recv(1, socket.MSG_PEEK):
            super()._serve(connection)


def tls_server(issued: trustme.LeafCert) -> TusServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return TusServer(context, script=problem(400, "malformed-speaker"))


def test_by_a_proxy_the_name_is_left_to_it_and_its_password_is_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA(organization_name="Example Corp", organization_unit_name="Inspection")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("control.example.com")
    with tls_server(issued) as server, PatientProxy(target_port=server.port) as proxy:
        port = proxy.port
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://ada:pass-of-the-proxy@"))
        found = of_plane(tmp_path, "https://control.example.com", ca_file=str(tmp_path / "ca.pem"))
    assert not any(check.has_failed for check in found), found
    by_name = {check.name: check.found for check in found}
    assert by_name["control plane: proxy"] == f"127.0.0.1:{port}, as HTTPS_PROXY says"
    assert "Inspection, Example Corp" in by_name["control plane: TLS"]
    assert [(method, target) for method, target, _ in proxy.seen] == [("CONNECT", "control.example.com:443")] * 2
    assert all("proxy-authorization" in headers for *_, headers in proxy.seen)
    assert "pass-of-the-proxy" not in repr(found)


def test_certificates_that_cant_be_read_are_a_failure_among_the_others_also_where_nobody_shows_one(
    tmp_path: Path,
) -> None:
    missing = str(tmp_path / "missing.pem")
    with TusServer() as server:
        plane = of_plane(tmp_path, base(server), ca_file=missing)
        settings = settings_of(tmp_path, tus_endpoint=server.endpoint, ca_file=missing)
        tus = list(tus_server.checks(settings, SystemClock()))
    for name, found in (("control plane", plane[-1]), ("tus server", tus[-1])):
        assert (found.name, found.state) == (f"{name}: TLS", State.FAILED)
        assert found.found.startswith("SSE_AGENT_CA_FILE: ")
        assert found.advice == "correct SSE_AGENT_CA_FILE"


def test_what_no_proxy_excepts_is_reached_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with TusServer(script=problem(400, "malformed-speaker")) as server:
        found = of_plane(tmp_path, base(server))
    assert "none, straight" in found[0].found
    assert not any(check.has_failed for check in found)


@pytest.mark.parametrize("proxy", ["ftp://proxy.example.com", "http://proxy.example.com:port"])
def test_a_proxy_that_cant_be_used_fails_for_both_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    settings = settings_of(tmp_path, tus_endpoint="https://uploads.example.com/files/")
    for found in (control_plane.checks(settings, None, SystemClock()), tus_server.checks(settings, SystemClock())):
        assert [check.state for check in found] == [State.FAILED]


def test_a_name_that_nobody_knows_ends_the_checks_of_that_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = of_plane(tmp_path, "https://control.example.com")
    assert [check.name for check in found] == ["control plane: proxy", "control plane: DNS"]
    assert found[-1].found == "name not found: control.example.com (Name or service not known)"


def test_an_expired_certificate_where_the_servers_clock_differs_is_the_clocks_fault(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    long_ago = datetime(2025, 6, 30, tzinfo=UTC)
    issued = authority.issue_cert("127.0.0.1", not_before=long_ago - timedelta(days=90), not_after=long_ago)
    with tls_server(issued) as server:
        server.script = answering(200, date=format_datetime(long_ago - timedelta(days=1), usegmt=True))
        found = of_plane(tmp_path, base(server), ca_file=str(tmp_path / "ca.pem"))[-1]
    assert (found.name, found.state) == ("control plane: TLS", State.FAILED)
    assert "ran out on 2025-06-30; but this machine is " in found.found
    assert "ahead of the server that answered" in found.found
    assert [one.method for one in server.seen] == ["HEAD"]
    assert "authorization" not in server.seen[0].headers


def test_a_certificate_that_runs_out_soon_is_a_warning(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    soon = datetime.now(UTC) + timedelta(days=5)
    issued = authority.issue_cert("127.0.0.1", not_before=soon - timedelta(days=90), not_after=soon)
    with tls_server(issued) as server:
        found = of_plane(tmp_path, base(server), ca_file=str(tmp_path / "ca.pem"))
    assert only(iter(found), "control plane: TLS").state is State.WARNING


def test_what_speaks_no_tls_fails_as_that(tmp_path: Path) -> None:
    with plain_http() as port:
        found = of_plane(tmp_path, f"https://127.0.0.1:{port}")[-1]
    assert (found.name, "does not speak TLS" in found.found) == ("control plane: TLS", True)


def test_a_way_is_by_the_proxy_that_the_environment_names() -> None:
    way = line.way_to("https://control.example.com:8443", {"https": "proxy.example.com:3128"})
    assert (way.hop, way.host, way.port) == (("proxy.example.com", 3128), "control.example.com", 8443)
    assert line.way_to("https://[2001:db8::1]/x", {}).hop == ("2001:db8::1", 443)


# --- certificates ---


def test_a_certificate_is_read_as_a_library_reads_it() -> None:
    authority = trustme.CA(organization_name="Example Corp", organization_unit_name="Prüfstelle")
    issued = authority.issue_cert("example.com", common_name="example.com", organization_name="Other Corp")
    for pem in (authority.cert_pem, issued.cert_chain_pems[0]):
        theirs = x509.load_pem_x509_certificate(pem.bytes())
        ours = certificates.read(theirs.public_bytes(_der()))
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert ours.issuer == "Prüfstelle, Example Corp"
    assert ours.subject == "example.com, Other Corp"


def _der() -> Any:
    return Encoding.DER


def test_what_is_no_certificate_is_a_value_error_wherever_it_is_cut_or_broken() -> None:
    pem = trustme.CA().issue_cert("example.com").cert_chain_pems[0].bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(_der())
    for n in range(len(der)):
        with pytest.raises(ValueError, match=r"certificate|data|time"):
            certificates.read(der[:n])
        for broken in (der[:n] + bytes([der[n] ^ 0xFF]) + der[n + 1 :], der[:n] + der[n + 1 :]):
            try:
                certificates.read(broken)
            except ValueError:
                continue


# --- clock, tus server, all together ---


@pytest.mark.parametrize(
    ("date", "state", "words"),
    [
        (NOW, State.OK, "within 1 s"),
        (NOW + timedelta(minutes=5), State.OK, "within 300 s"),
        (NOW + timedelta(hours=1), State.FAILED, "1 h behind"),
        (NOW - timedelta(days=3), State.FAILED, "3 d ahead of"),
    ],
)
def test_a_clock_is_wrong_from_five_minutes_on(date: datetime, state: State, words: str) -> None:
    found = clock.check(format_datetime(date, usegmt=True), NOW, "the control plane")
    assert (found.state, words in found.found) == (state, True), found


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Nov 2026 10:30:00 GMT"])
def test_without_a_date_the_clock_is_not_judged(date: str | None) -> None:
    assert "not compared" in clock.check(date, NOW, "the control plane").found


@pytest.mark.parametrize(
    ("status", "headers", "state", "words"),
    [
        (200, TUS, State.OK, "files up to 1.00 MiB"),
        (204, {**TUS, "Tus-Max-Size": "soup"}, State.OK, "files of any size"),
        (204, {**TUS, "Tus-Version": "0.2.2, 1.0.0"}, State.OK, "tus 1.0.0"),
        (204, {**TUS, "Tus-Version": "0.2.2"}, State.FAILED, "does not speak tus 1.0.0"),
        (200, {}, State.FAILED, "does not speak tus 1.0.0"),
        (204, {**TUS, "Tus-Extension": "creation"}, State.WARNING, "cancelled uploads stay there"),
        (204, {**TUS, "Tus-Extension": "expiration"}, State.FAILED, "lets nobody create"),
        (401, {}, State.WARNING, "401 to OPTIONS"),
        (407, {}, State.FAILED, "the proxy wants"),
        (301, {}, State.FAILED, "it redirects (301)"),
        (404, {}, State.FAILED, "it answered 404"),
    ],
)
def test_an_answer_to_options_is_judged(status: int, headers: dict[str, str], state: State, words: str) -> None:
    found = tus_server.judged(Answer(status, headers, b""))
    assert (found.state, words in found.found) == (state, True), found


def test_a_tus_server_is_asked_without_a_token(tmp_path: Path) -> None:
    with TusServer(script=answering(204, **{name.replace("-", "_"): text for name, text in TUS.items()})) as server:
        settings = settings_of(tmp_path, tus_endpoint=server.endpoint, tus_token="tus-token-of-the-test")
        found = list(tus_server.checks(settings, SystemClock()))
    assert set(states(found).values()) == {State.OK}
    [request] = server.seen
    assert (request.method, request.target, "authorization" in request.headers) == ("OPTIONS", "/files/", False)


def test_without_a_tus_endpoint_there_must_be_origins(tmp_path: Path) -> None:
    [found] = tus_server.checks(settings_of(tmp_path), SystemClock())
    assert found.state is State.WARNING
    [found] = tus_server.checks(settings_of(tmp_path, upload_origins='["https://t.example.com"]'), SystemClock())
    assert found.state is State.OK


def test_what_hangs_is_left_behind() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.1, never.wait)
    never.set()
    assert within(10, lambda: "done") == "done"
    with pytest.raises(KeyError):
        within(10, lambda: {}["missing"])


def test_a_part_that_never_ends_is_told_and_the_others_are_told_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def hanging(*_: object) -> Iterator[Check]:
        never.wait()
        return iter(())

    monkeypatch.setattr(tus_server, "checks", hanging)
    monkeypatch.setattr(control_plane, "checks", lambda *_: iter(()))
    monkeypatch.setattr(checks, "ALL_WITHIN_S", 2.0)
    found = list(checks.run(settings_of(tmp_path), [], None, SystemClock()))
    never.set()
    assert [check.name for check in found if check.has_failed] == ["tus server"]
    assert {"settings", "state directory", "journal"} <= set(states(found))


def test_a_bug_in_a_part_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[Check]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(tus_server, "checks", broken)
    monkeypatch.setattr(control_plane, "checks", lambda *_: iter(()))
    with pytest.raises(RuntimeError, match="a bug"):
        list(checks.run(settings_of(tmp_path), [], None, SystemClock()))
