"""The ways to start wrongly: how each is made, and what the real program prints then, in names that stay the same.

`python -m tests.cli.wrong_starts` writes docs/reference/wrong-starts.md from what is really printed; the test compares.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import ssl
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import repeat
from pathlib import Path

import trustme

from tests.cli.starter import Start, Starter
from tests.doubles.plain_http import plain_http
from tests.doubles.processes import _environment
from tests.doubles.tus_server import Exchange, Proxy, TusServer

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "wrong-starts.md"
LONGEST = 8
HOME, HOST = "/home/ada", "control.example.com"
RUN, CHECK = ("run", "--headless"), ("check",)
PROBLEM = "application/problem+json"


@dataclass
class Scene:
    """A home with everything as it should be; a wrong start spoils one thing. Servers live as long as `stack`."""

    home: Path
    stack: ExitStack
    starter: Starter
    variables: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    capabilities: str = ""
    full_disk: str = ""
    shown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("outgoing", ".config/sse-agent"):
            (self.home / name).mkdir(parents=True)
        self.variables = {
            "HOME": str(self.home),
            "SSE_AGENT_CONTROL_PLANE_URL": f"https://{HOST}",
            "SSE_AGENT_CLIENT_ID": "warehouse-7",
            "SSE_AGENT_TOKEN": "token-of-the-test",
            "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(self.outgoing)]),
            "SSE_AGENT_STATE_DIR": str(self.state),
            "SSE_AGENT_LOG_FORMAT": "text",
        }

    @property
    def outgoing(self) -> Path:
        """The allowed folder."""
        return self.home / "outgoing"

    @property
    def state(self) -> Path:
        """The state directory; not there yet."""
        return self.home / "state"

    @property
    def settings(self) -> Path:
        """The settings file; not there yet."""
        return self.home / ".config/sse-agent/settings.toml"

    def set(self, name: str, value: str | None) -> None:
        """One setting, or none of it."""
        if value is None:
            del self.variables[f"SSE_AGENT_{name}"]
        else:
            self.variables[f"SSE_AGENT_{name}"] = value

    def serve(self, script: Callable[[Exchange], None], tls: trustme.LeafCert | None = None) -> None:
        """A server of this machine in the control plane's place."""
        server = self.stack.enter_context(TusServer(_context(tls), script=script))
        self.at(server.port, "https" if tls else "http")

    def at(self, port: int, scheme: str = "http") -> None:
        """The control plane is there, and is called by its documented name on the page."""
        self.set("CONTROL_PLANE_URL", f"{scheme}://127.0.0.1:{port}")
        self.shown[f"http://127.0.0.1:{port}"] = f"https://{HOST}"
        self.shown[f"127.0.0.1:{port}"] = f"{HOST}:443"

    def used_journal(self, event: str = "agent.started") -> Start:
        """An agent that runs, and has said that. It is killed at the end, or before."""
        variables = _environment({**self.variables, "SSE_AGENT_LOG_FORMAT": "json"})
        start = self.starter.start(RUN, variables, self.home)
        self.stack.callback(start.close)
        start.read_until(lambda output: f'"{event}"' in output)
        return start

    def without_rights(self) -> None:
        """As a user who is not root."""
        if os.geteuid() == 0:
            self.capabilities = "1,2"


def _context(issued: trustme.LeafCert | None) -> ssl.SSLContext | None:
    if issued is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


@dataclass(frozen=True)
class WrongStart:
    """`exit_code` None: the agent runs on and tries again."""

    title: str
    spoil: Callable[[Scene], None]
    exit_code: int | None = 78
    command: tuple[str, ...] = RUN


def printed(case: WrongStart, folder: Path, starter: Starter) -> tuple[int | None, str]:
    """Exit code and output of the real program, normalised."""
    folder.mkdir()
    with ExitStack() as stack:
        scene = Scene(folder, stack, starter)
        case.spoil(scene)
        arguments, variables = [*case.command, *scene.flags], _environment(scene.variables)
        start = starter.start(arguments, variables, folder, scene.capabilities, scene.full_disk)
        stack.callback(start.close)
        if case.exit_code is None:
            start.read_until(_tells_trouble)
            (line, *_) = filter(_tells_trouble, start.output.splitlines(keepends=True))
            return None, normalised(line, scene)
        code = start.wait()
        output = _failures(start.output) if case.command == CHECK and case.exit_code == 1 else start.output
        return code, normalised(output, scene)


def _tells_trouble(output: str) -> bool:
    """Whether a running agent has said, in a whole line, what is wrong."""
    return re.search(r"^\S+ (warning|error) .*\n", output, re.MULTILINE) is not None


def _failures(output: str) -> str:
    """Of the lines of `check` those that are not ok, each with what to do."""
    lines = output.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("failed")]
    return "\n".join("\n".join(lines[n : n + 2]) for n in starts)


def normalised(output: str, scene: Scene) -> str:
    """What differs from run to run and from machine to machine, in one way."""
    text = output.replace(str(scene.home.resolve()), HOME).replace(str(scene.home), HOME)
    for real, shown in scene.shown.items():
        text = text.replace(real, shown)
    text = re.sub(r"(?<!localhost, )\b127\.0\.0\.1\b", HOST, text)
    text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-26T10:30:00Z", text)
    text = re.sub(r"damaged-\d{8}T\d{6}Z", "damaged-20261126T103000Z", text)
    text = re.sub(r"next try (in \d+ s|now)", "next try in 1 s", text)
    text = re.sub(r"parked for \d+ s", "parked for 2 s", text)
    # OpenSSL's and argparse's words are not the same in all versions.
    text = re.sub(r"\[X509\W.*", "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found", text)
    text = re.sub(r"choose from [^)]*", lambda found: found[0].replace("'", ""), text)
    text = re.sub(r"in \d+ min( \d+ s)?", "in 16 min", text)
    # The C library's and the resolver's words for a name that nobody knows.
    text = re.sub(r"(\[Errno -\d\] )?(Name or service not known|Temporary failure in name resolution"
                  r"|No address associated with hostname)", "Name or service not known", text)  # fmt: skip
    text = re.sub(r"\b(59 min \d+ s|1 h)( 1 min)? (ahead|behind)", r"1 h \3", text)
    return text.strip()


# --- the wrong starts -------------------------------------------------------------------------------


def setting(name: str, value: str | None) -> Callable[[Scene], None]:
    """One setting is wrong, or missing."""
    return lambda scene: scene.set(name, value)


def flags(*words: str) -> Callable[[Scene], None]:
    """Something is typed behind the command."""
    return lambda scene: scene.flags.extend(words)


def nothing(scene: Scene) -> None:
    for name in ("CONTROL_PLANE_URL", "CLIENT_ID", "TOKEN", "ALLOWED_FOLDERS"):
        scene.set(name, None)


def settings_file(content: bytes, mode: int = 0o600) -> Callable[[Scene], None]:
    def spoil(scene: Scene) -> None:
        scene.settings.write_bytes(content)
        scene.settings.chmod(mode)

    return spoil


def token_in_a_file_that_others_can_write(scene: Scene) -> None:
    settings_file(b'token = "t"\n', 0o666)(scene)
    scene.set("TOKEN", None)


def token_misspelt(scene: Scene) -> None:
    scene.set("TOKNE", "token-of-the-test")
    scene.set("TOKEN", None)


def unreadable_settings(scene: Scene) -> None:
    settings_file(b'token = "t"\n', 0o000)(scene)
    scene.without_rights()


def folder_gone(scene: Scene) -> None:
    scene.outgoing.rmdir()


def folder_a_file(scene: Scene) -> None:
    scene.outgoing.rmdir()
    scene.outgoing.write_text("no folder")


def folder_unreadable(scene: Scene) -> None:
    scene.outgoing.chmod(0)
    scene.without_rights()


def state_in_folder(scene: Scene) -> None:
    scene.set("STATE_DIR", str(scene.outgoing / "state"))


def settings_in_folder(scene: Scene) -> None:
    settings_file(b"")(scene)
    scene.set("ALLOWED_FOLDERS", json.dumps([str(scene.home / ".config")]))


def state_unwritable(scene: Scene) -> None:
    scene.state.mkdir(mode=0o500)
    scene.without_rights()


def state_a_file(scene: Scene) -> None:
    scene.state.write_text("no folder")


def state_of_others(scene: Scene) -> None:
    scene.state.mkdir(mode=0o755)
    (scene.state / "thesis.odt").write_text("somebody's")


def disk_full(scene: Scene) -> None:
    scene.state.mkdir(mode=0o700)
    scene.full_disk = str(scene.state)


def journal_in_use(scene: Scene) -> None:
    scene.used_journal()


def other_control_plane(scene: Scene) -> None:
    scene.used_journal().kill()
    scene.set("CONTROL_PLANE_URL", "https://other.example.com")


def other_client(scene: Scene) -> None:
    scene.used_journal().kill()
    scene.set("CLIENT_ID", "warehouse-8")


def damaged_journal(scene: Scene) -> None:
    scene.used_journal().kill()
    for journal in scene.state.glob("journal.db*"):
        journal.write_bytes(b"no database" * 100)


def newer_journal(scene: Scene) -> None:
    scene.used_journal().kill()
    with sqlite3.connect(scene.state / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def ca_gone(scene: Scene) -> None:
    scene.set("CA_FILE", str(scene.home / "company.pem"))


def ca_no_pem(scene: Scene) -> None:
    (scene.home / "company.pem").write_text("certificate? which certificate?")
    ca_gone(scene)


def proxy_unusable(scene: Scene) -> None:
    scene.variables["HTTPS_PROXY"] = "ftp://proxy.example.com"


# --- those that appear only when it connects ---


def port_closed(scene: Scene) -> None:
    with TusServer() as gone:
        port = gone.port
    scene.at(port)


def name_unknown(scene: Scene) -> None:
    scene.set("CONTROL_PLANE_URL", "https://control.invalid")


def issue(*names: str, until: datetime | None = None) -> tuple[trustme.CA, trustme.LeafCert]:
    """A certificate, and who made it."""
    authority = trustme.CA(organization_name="Example Corp", organization_unit_name="TLS Inspection")
    begins = until and until - timedelta(days=90)
    whose = {"common_name": names[0], "organization_name": "Example Corp"}
    return authority, authority.issue_cert(*names, **whose, not_before=begins, not_after=until)


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Exchange], None]:
    """A server that answers everything so."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(exchange: Exchange) -> None:
        exchange.drain()
        exchange.answer(status, fields, body)

    return answer


def problem(status: int, slug: str, **headers: str) -> Callable[[Exchange], None]:
    """A problem document of the contract."""
    body = json.dumps({"type": f"urn:sse-agent:problem:{slug}", "status": status}).encode()
    return answering(status, body, content_type=PROBLEM, **headers)


def inspected(scene: Scene) -> None:
    _, issued = issue("127.0.0.1")
    scene.serve(problem(400, "malformed-speaker"), issued)


def certificate(*names: str, until: datetime | None = None) -> Callable[[Scene], None]:
    """Its authority is trusted."""

    def spoil(scene: Scene) -> None:
        authority, issued = issue(*names, until=until)
        authority.cert_pem.write_to_path(str(scene.home / "company.pem"))
        ca_gone(scene)
        scene.serve(problem(400, "malformed-speaker"), issued)

    return spoil


def served(script: Callable[[Exchange], None]) -> Callable[[Scene], None]:
    """The control plane's place is taken by this."""
    return lambda scene: scene.serve(script)


def no_tls(scene: Scene) -> None:
    """The address says https."""
    scene.at(scene.stack.enter_context(plain_http()), "https")


def clock_behind(scene: Scene) -> None:
    def answer(exchange: Exchange) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        problem(400, "malformed-speaker", date=date)(exchange)

    scene.serve(answer)


def proxy_wants_a_password(scene: Scene) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    proxy = scene.stack.enter_context(Proxy(refusal=refusal))
    scene.variables["HTTPS_PROXY"] = proxy.url
    scene.shown[f"127.0.0.1:{proxy.port}"] = "proxy.example.com:3128"


def taken_over(scene: Scene) -> None:
    """Asked by `check`, the agent that was told so says it itself."""
    scene.serve(problem(409, "newer-epoch"))
    scene.used_journal("agent.parked")


def tus_server(script: Callable[[Exchange], None]) -> Callable[[Scene], None]:
    """The control plane is well, and this is where the tus server should be."""

    def spoil(scene: Scene) -> None:
        server = scene.stack.enter_context(TusServer(script=script))
        scene.set("TUS_ENDPOINT", server.endpoint)
        scene.shown[f"127.0.0.1:{server.port}"] = "uploads.example.com:443"
        scene.serve(problem(400, "malformed-speaker"))

    return spoil


LOGIN = answering(200, b"<html>Welcome to the hotel</html>", content_type="text/html")
NO_PAGE = answering(404, b"<html>Not Found</html>", content_type="text/html")
EXPIRED = datetime(2025, 6, 30, tzinfo=UTC)

SETTINGS = [
    WrongStart("Nothing is set", nothing),
    WrongStart("The control plane's URL is missing", setting("CONTROL_PLANE_URL", None)),
    WrongStart("The client ID is missing", setting("CLIENT_ID", None)),
    WrongStart("The token is missing", setting("TOKEN", None)),
    WrongStart("The token's name is misspelt", token_misspelt),
    WrongStart("The allowed folders are missing", setting("ALLOWED_FOLDERS", None)),
    WrongStart("The URL has no scheme", setting("CONTROL_PLANE_URL", HOST)),
    WrongStart("The URL has another scheme", setting("CONTROL_PLANE_URL", f"ftp://{HOST}")),
    WrongStart("The URL's port is none", setting("CONTROL_PLANE_URL", f"https://{HOST}:99999")),
    WrongStart("The URL has a user name in it", setting("CONTROL_PLANE_URL", f"https://ada:secret@{HOST}")),
    WrongStart("The URL has a query", setting("CONTROL_PLANE_URL", f"https://{HOST}/?tenant=7")),
    WrongStart("The URL has a space in it", setting("CONTROL_PLANE_URL", f"https://{HOST}/ sse")),
    WrongStart("Plain http to another machine", setting("CONTROL_PLANE_URL", f"http://{HOST}")),
    WrongStart("Plain http to another machine's tus server", setting("TUS_ENDPOINT", "http://uploads.example.com/files/")),
    WrongStart("The client ID has a space in it", setting("CLIENT_ID", "warehouse 7")),
    WrongStart("The token has a line end in it", setting("TOKEN", "token-of-the-test\n")),
    WrongStart("The allowed folders are no JSON list", setting("ALLOWED_FOLDERS", "/home/ada/outgoing")),
    WrongStart("The list of allowed folders is empty", setting("ALLOWED_FOLDERS", "[]")),
    WrongStart("An allowed folder is not absolute", setting("ALLOWED_FOLDERS", '["outgoing"]')),
    WrongStart("A command is not known", setting("COMMANDS", '["-LIST_FILE"]')),
    WrongStart("Commands with and without a minus", setting("COMMANDS", '["-LIST_FILES", "MESSAGE"]')),
    WrongStart("A number is out of range", setting("MAX_CONCURRENT_UPLOADS", "0")),
    WrongStart("A number is none", setting("MAX_CONCURRENT_UPLOADS", "many")),
    WrongStart("A log level is not known", setting("LOG_LEVEL", "loud")),
    WrongStart("The settings file is not there", flags("--settings-file", "/home/ada/nowhere.toml")),
    WrongStart("The settings file is no TOML", settings_file(b"token: secret\n")),
    WrongStart("The settings file is not UTF-8", settings_file(b'client_id = "b\xfcro"\n')),
    WrongStart("The settings file can be written by others", token_in_a_file_that_others_can_write),
    WrongStart("The settings file may not be read", unreadable_settings, 77),
    WrongStart("A secret is typed as a flag", flags("--token", "token-of-the-test")),
    WrongStart("A flag is not known", flags("--colour", "red")),
    WrongStart("A subcommand is not known", lambda scene: None, command=("start",)),
    WrongStart("A subcommand is misspelt", lambda scene: None, command=("runn",)),
    WrongStart("The CA file is not there", ca_gone),
    WrongStart("The CA file is no PEM", ca_no_pem),
    WrongStart("A proxy variable can't be used", proxy_unusable),
]  # fmt: skip
UNHEEDED = [
    WrongStart("A name in the settings file is no setting", settings_file(b"max_concurent_uploads = 8\n"), None),
    WrongStart("A name in the environment is no setting", setting("LOG_LEVLE", "debug"), None),
]
MACHINE = [
    WrongStart("An allowed folder is not there", folder_gone),
    WrongStart("An allowed folder is a file", folder_a_file),
    WrongStart("An allowed folder may not be read", folder_unreadable, 77),
    WrongStart("An allowed folder is the kernel's own", setting("ALLOWED_FOLDERS", '["/proc"]')),
    WrongStart("The state directory is inside an allowed folder", state_in_folder),
    WrongStart("The settings file is inside an allowed folder", settings_in_folder),
    WrongStart("The state directory may not be written", state_unwritable, 77),
    WrongStart("The state directory is a file", state_a_file, 77),
    WrongStart("The state directory holds somebody else's files", state_of_others),
    WrongStart("The state directory's disk is full", disk_full, 75),
    WrongStart("The journal is in use", journal_in_use, 75),
    WrongStart("The journal belongs to another control plane", other_control_plane),
    WrongStart("The journal belongs to another client", other_client),
    WrongStart("The journal is damaged", damaged_journal),
    WrongStart("The journal was written by a newer version", newer_journal),
]
CONNECTING: list[tuple[str, Callable[[Scene], None]]] = [
    ("The control plane's port is closed", port_closed),
    ("The control plane's name is not known", name_unknown),
    ("A company inspects TLS", inspected),
    ("The certificate has run out", certificate("127.0.0.1", until=EXPIRED)),
    ("The certificate is another host's", certificate("other.example.com")),
    ("https to a port that speaks plain http", no_tls),
    ("The token is not accepted", served(problem(401, "unauthenticated"))),
    ("The token is another agent's", served(problem(403, "not-allowed"))),
    ("A web server that is no control plane", served(NO_PAGE)),
    ("A login page answers", served(LOGIN)),
    ("A redirect to elsewhere", served(answering(302, location="https://login.example.com/hotel?back=1"))),
    ("The control plane is overloaded", served(problem(503, "unavailable"))),
    ("The proxy wants a password", proxy_wants_a_password),
    ("This agent was deleted", served(problem(410, "agent-deleted"))),
]
ONLY_RUN = [WrongStart("Another agent has taken its place", served(problem(409, "newer-epoch")), None)]
ONLY_CHECK = [
    WrongStart("Another agent has taken its place, asked of the running one", taken_over, 1, CHECK),
    WrongStart("The clock is wrong by an hour", clock_behind, 1, CHECK),
    WrongStart("The tus endpoint is no tus server", tus_server(LOGIN), 1, CHECK),
    WrongStart("The tus endpoint's path is wrong", tus_server(NO_PAGE), 1, CHECK),
]

CASES: list[WrongStart] = [
    *SETTINGS,
    *UNHEEDED,
    *MACHINE,
    *(WrongStart(title, spoil, None) for title, spoil in CONNECTING),
    *ONLY_RUN,
    *(WrongStart(title, spoil, 1, CHECK) for title, spoil in CONNECTING),
    *ONLY_CHECK,
]

HEAD = """# Wrong starts

<!-- Made by `python -m tests.cli.wrong_starts` from what the program prints; the test compares. -->

Every way to start wrongly that is known, with exactly what the program prints, but for names and times: the home is
`/home/ada`, the control plane `control.example.com`. The exit codes are [explained](exit-codes.md). `sse-agent check`
finds most of it before the agent is started; [what to do](../how-to/find-out-what-is-wrong.md) is said at greater
length elsewhere.

Each is made and run by a test. Where that runs as root, what may not be read or written is refused to a process without
root's capabilities; the full disk is a real one of a single page.
"""
PARTS = {
    "Settings": (SETTINGS, "`sse-agent run --headless` ends at once."),
    "Settings that are none": (
        UNHEEDED,
        "The agent runs without them; this is the line of its log (`--log-format text`). `check` warns, too.",
    ),
    "This machine": (MACHINE, "`sse-agent run --headless` ends at once."),
    "On connecting": (
        [*(case for case in CASES if case.exit_code is None and case not in UNHEEDED)],
        "The agent runs on and tries again; this is the line of its log (`--log-format text`).",
    ),
    "On connecting, as `sse-agent check` tells it": (
        [*(case for case in CASES if case.command == CHECK)],
        "Exit code 1. The lines that are not ok.",
    ),
}


def section(case: WrongStart, code: int | None, output: str) -> str:
    """One wrong start on the page."""
    is_noted = case.exit_code is not None and case.command != CHECK
    return f"### {case.title}\n\n```text\n{output}\n```\n" + (f"\nExit code {code}.\n" if is_noted else "")


def documented() -> dict[tuple[str, bool], str]:
    """Each section of the page, by its title and whether it is what `check` tells."""
    found: dict[tuple[str, bool], str] = {}
    is_check = False
    for part in re.split(r"^(?=##)", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        if part.startswith("## "):
            is_check = "sse-agent check" in part
            continue
        found[part.splitlines()[0].removeprefix("### "), is_check] = part.rstrip("\n") + "\n"
    return found


def complaints(case: WrongStart, code: int | None, output: str) -> list[str]:
    """What is wrong with what was printed, by name; none if it is as the page says."""
    found = []
    if code != case.exit_code:
        found.append(f"exit code {code}, not {case.exit_code}")
    if "Traceback" in output or "this is a bug" in output:
        found.append("a traceback")
    if "token-of-the-test" in output or "secret" in output:
        found.append("a secret")
    if len(output.splitlines()) > LONGEST:
        found.append(f"more than {LONGEST} lines")
    wanted = documented().get((case.title, case.command == CHECK), "")
    if section(case, code, output).strip() != wanted.strip():
        found.append(f"not what the page says:\n{section(case, code, output)}")
    return found


def page(folder: Path) -> str:
    """The whole page, from what is really printed, two at a time."""
    parts = [HEAD]
    with Starter() as starter, ThreadPoolExecutor(2) as pool:
        for number, (title, (cases, words)) in enumerate(PARTS.items()):
            parts.append(f"## {title}\n\n{words}\n")
            places = [folder / f"{number}-{n}" for n in range(len(cases))]
            for case, (code, output) in zip(cases, pool.map(printed, cases, places, repeat(starter)), strict=True):
                print(f"{case.title}: {code}", file=sys.stderr)
                parts.append(section(case, code, output))
    return "\n".join(parts)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    scratch = Path(tempfile.mkdtemp())
    try:
        PAGE.write_text(page(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
