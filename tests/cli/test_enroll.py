"""`enroll`: what it does to settings that are there, when it refuses before it asks, and how long it waits."""

import os
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from sse_agent import cli, config, identity
from sse_agent.cli import enrolling, settings_edit, settings_file
from sse_agent.credentials import AccessTokens, Grant, key
from sse_agent.enrolment import Enrolled, NotEnrolled, Pending, Refused, Registry, Ticket
from sse_agent.errors import CannotStart, ExitCode, TryAgain
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in

URL = "https://control.example.com"
CLIENT = "warehouse-7-k3x9pd"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new one, with nothing set."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_state_dir", lambda _: str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Plane:
    """What the control plane would answer; what it was shown is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tickets: list[Ticket] = []
        self.answer: Enrolled | Exception = Enrolled(client_id=CLIENT, issuer=URL, status="active")
        self.trouble: TryAgain | None = None
        monkeypatch.setattr(Registry, "enrol", lambda _, ticket, *__: self._enrol(ticket))
        monkeypatch.setattr(Registry, "grant", self._grant)

    async def _enrol(self, ticket: Ticket) -> Enrolled:
        self.tickets.append(ticket)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _grant(self, *_: object) -> Grant:
        if self.trouble is not None:
            raise self.trouble
        return Grant("t0k3n", 600.0)


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Plane:
    return Plane(monkeypatch)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "enrolment-token"
    path.write_text("t0k3n-0f-enr0lment\n")
    return path


def enroll(*arguments: str) -> int:
    return cli.main(["enroll", *arguments])


# --- settings that are there ---


def test_a_settings_file_names_the_new_agent_and_no_token_and_all_else_in_it_stays(
    home: Path, plane: Plane, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "config" / "settings.toml"
    path.parent.mkdir()
    before = (
        '# mine\ncontrol_plane_url = "https://old.example.com"\n#client_id = "x"\ntoken = "0ld-t0k3n"\n'
        'allowed_folders = ["/srv"]\n\n[table]\nclient_id = "not mine"\n'
    )
    path.write_text(before)
    path.chmod(0o600)
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    assert path.read_text() == (
        f'# mine\ncontrol_plane_url = "{URL}"\nclient_id = "{CLIENT}"\n#token = "…"\n'
        'allowed_folders = ["/srv"]\n\n[table]\nclient_id = "not mine"\n'
    )
    assert (path.parent / "settings.toml.bak").read_text() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = capsys.readouterr().out
    assert "settings.toml.bak" in told
    assert "0ld-t0k3n" not in told


def test_without_a_settings_file_none_is_written_and_the_identity_is_enough(
    home: Path, plane: Plane, token_file: Path
) -> None:
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    assert not (home / "config").exists()
    settings = config.load({"allowed_folders": '["/srv"]'})
    assert (settings.client_id, settings.control_plane_url, settings.token) == (CLIENT, URL, None)


def test_a_settings_file_that_cant_be_changed_line_by_line_is_left_alone_and_the_lines_are_shown(
    home: Path, plane: Plane, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "config" / "settings.toml"
    path.parent.mkdir()
    path.write_text('token = """0ld\n"""\n')
    path.chmod(0o600)
    # Such a token is a wrong setting by itself.
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.WRONG_CONFIGURATION
    path.write_text('"client_id" = "old"\n')
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    assert path.read_text() == '"client_id" = "old"\n'
    assert f'  client_id = "{CLIENT}"\n  control_plane_url = "{URL}"\n' in capsys.readouterr().out


def test_a_settings_file_that_this_user_may_not_write_is_left_to_whoever_may_and_enrolling_goes_on(
    home: Path, plane: Plane, token_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise CannotStart(f"{path} can't be written: permission denied", ExitCode.NOT_PERMITTED)

    monkeypatch.setattr(settings_file, "write", refuse)
    path = home / "config" / "settings.toml"
    path.parent.mkdir()
    path.write_text('client_id = "old"\n')
    path.chmod(0o600)
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    told = capsys.readouterr().out
    assert f'by hand; take out token, and let it say:\n  client_id = "{CLIENT}"\n' in told
    assert "The control plane accepts its key" in told


def test_what_else_speaks_of_another_agent_is_named(
    home: Path,
    plane: Plane,
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", "f1x3d-t0k3n")
    monkeypatch.setenv("SSE_AGENT_CLIENT_ID", "old")
    (home / "state").mkdir(mode=0o700)
    anyio.run(_make_journal, home / "state")
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    told = capsys.readouterr().out
    assert "SSE_AGENT_TOKEN is set, and counts more than the key" in told
    assert "SSE_AGENT_CLIENT_ID says old" in told
    assert "the journal here belongs to agent-1" in told
    assert "f1x3d" not in told


async def _make_journal(folder: Path) -> None:
    async with journal_in(folder):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        'client_id = "old"',
        "client_id = 'old' # mine\ncontrol_plane_url='https://x'\n",
        '#client_id = "example"\n\n[more]\nx = 1\n',
        '  token = "x"\n\tclient_id\t=\t"y"\n',
        'allowed_folders = [\n  "/srv",\n]\n',
    ],
)
def test_a_few_lines_change_and_the_rest_is_as_it_was(text: str) -> None:
    wanted = {"client_id": 'a"b\\c', "control_plane_url": URL}
    before = tomllib.loads(text)
    after = tomllib.loads(settings_edit.updated(text, {**wanted, "token": None}))
    assert after == {**{name: value for name, value in before.items() if name != "token"}, **wanted}


@pytest.mark.parametrize(
    "text",
    [
        '"client_id" = "old"\n',
        'client_id = """\nold"""\n',
        'token = """\nold"""\n',
        'allowed_folders = """\nclient_id = 1\n"""\n',
        "[[",
    ],
)
def test_what_would_not_come_out_right_is_not_changed(text: str) -> None:
    with pytest.raises(ValueError, match=r"line by line|Expected|Invalid|Unclosed|table"):
        settings_edit.updated(text, {"client_id": "new", "token": None})


# --- before anything is asked ---


def test_without_a_terminal_it_says_which_flags_take_its_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll() == ExitCode.WRONG_CONFIGURATION
    assert "--control-plane URL" in capsys.readouterr().err
    assert enroll("--control-plane", URL) == ExitCode.WRONG_CONFIGURATION
    assert "--code-file or --token-file FILE (- is standard input)" in capsys.readouterr().err
    assert list(home.iterdir()) == [], "and leaves nothing behind"


class Person:
    """At a terminal: answers in order, an exception is raised; what was asked is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | type[BaseException]) -> None:
        self.asked: list[str] = []
        self._answers = iter(answers)
        monkeypatch.setattr("builtins.input", self._answer)
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)

    def _answer(self, prompt: str) -> str:
        self.asked.append(prompt)
        answer = next(self._answers)
        if isinstance(answer, str):
            return answer
        raise answer


@pytest.mark.parametrize("leaves", [KeyboardInterrupt, EOFError])
@pytest.mark.parametrize("answers", [[], ["127.0.0.1:8787"], ["127.0.0.1:8787", "y"]])
def test_a_person_who_leaves_before_there_is_a_code_leaves_nothing_behind(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: list[str],
    leaves: type[BaseException],
) -> None:
    person = Person(monkeypatch, *answers, leaves)
    assert enroll() == ExitCode.WRONG_CONFIGURATION
    told = capsys.readouterr()
    assert "nothing was changed" in told.err
    assert "goes on waiting" not in told.out + told.err
    assert list(home.iterdir()) == []
    assert person.asked[1:2] == (["  Do you mean http://127.0.0.1:8787? [Y/n] "] if answers else [])


def test_a_person_who_leaves_while_nobody_has_confirmed_is_told_how_to_go_on(
    home: Path, plane: Plane, token_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(enrolling, "_wait", leave)
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.TRY_AGAIN
    assert "not confirmed yet; `sse-agent enroll` goes on waiting" in capsys.readouterr().err


def test_a_plain_address_is_refused(home: Path, token_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = enroll("--control-plane", "http://control.example.com", "--token-file", str(token_file))
    assert code == ExitCode.WRONG_CONFIGURATION
    assert "expected https" in capsys.readouterr().err


def test_a_machine_that_is_enrolled_elsewhere_stays_so_unless_told_to_begin_again(
    home: Path, plane: Plane, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    other = ("--control-plane", "https://other.example.com", "--token-file", str(token_file))
    assert enroll(*other) == ExitCode.WRONG_CONFIGURATION
    assert f"enrolled as {CLIENT} at {URL}; for another control plane" in capsys.readouterr().err
    assert len(plane.tickets) == 1, "the token is as good as it was"
    plane.answer = Enrolled(client_id="another", issuer="https://other.example.com", status="active")
    assert enroll("--again", *other) == ExitCode.STOPPED
    found = identity.read(home / "state")
    assert found is not None
    assert (found.client_id, found.control_plane_url) == ("another", "https://other.example.com")
    assert key.load(home / "state", found.key_id)


@pytest.mark.parametrize("trouble", [Refused("this enrolment token is over"), TryAgain("no connection")])
def test_what_is_refused_leaves_the_old_identity_as_it_is(
    home: Path, plane: Plane, token_file: Path, trouble: Exception
) -> None:
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    before = identity.read(home / "state")
    assert before is not None
    plane.answer = trouble
    code = enroll("--again", "--token-file", str(token_file))
    assert code == (ExitCode.TRY_AGAIN if isinstance(trouble, TryAgain) else ExitCode.WRONG_CONFIGURATION)
    assert identity.read(home / "state") == before
    assert key.load(home / "state", before.key_id)


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_what_is_in_use_stays_until_the_new_key_is_confirmed_and_whoever_left_goes_on_waiting(
    home: Path,
    plane: Plane,
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_confirmed: bool,
) -> None:
    assert enroll("--control-plane", URL, "--token-file", str(token_file)) == ExitCode.STOPPED
    before = {path.name: path.read_bytes() for path in (home / "state").iterdir()}
    plane.answer = Enrolled(client_id="another", issuer=URL, status="pending")
    plane.trouble = Pending("a person has to say yes")
    monkeypatch.setattr(enrolling, "CONFIRMED_WITHIN_S", 0)
    for arguments in (("--again", "--token-file", str(token_file)), ()):
        assert enroll(*arguments) == ExitCode.TRY_AGAIN
        assert "`sse-agent enroll` goes on waiting" in capsys.readouterr().err
        assert {name: (home / "state" / name).read_bytes() for name in before} == before
    new = key.following(home / "state")
    assert new is not None
    plane.trouble = None if is_confirmed else NotEnrolled("it was refused")
    assert enroll() == (ExitCode.STOPPED if is_confirmed else ExitCode.WRONG_CONFIGURATION)
    told = capsys.readouterr()
    assert sorted(path.name for path in (home / "state").iterdir()) == sorted(before)
    found = identity.read(home / "state")
    assert found is not None
    if is_confirmed:
        assert (found.client_id, found.key_id) == ("another", new.key_id)
        assert key.load(home / "state", new.key_id)
    else:
        assert "the key in use stays" in told.err
        assert {name: (home / "state" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: path.write_text("{")])
def test_enrolling_again_is_the_way_out_of_a_spoilt_identity(
    home: Path, plane: Plane, token_file: Path, spoil: Callable[[Path], object]
) -> None:
    arguments = ("--control-plane", URL, "--token-file", str(token_file))
    assert enroll(*arguments) == ExitCode.STOPPED
    spoil(home / "state" / "identity.json")
    assert enroll(*arguments) in (ExitCode.NOT_PERMITTED, ExitCode.WRONG_CONFIGURATION)
    assert enroll("--again", *arguments) == ExitCode.STOPPED
    assert identity.read(home / "state") is not None
    assert stat.S_IMODE((home / "state" / "identity.json").stat().st_mode) == 0o600


def test_a_token_file_in_a_home_that_nobody_has_is_refused(plane: Plane, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll("--control-plane", URL, "--token-file", "~nobody-at-all/t") == ExitCode.WRONG_CONFIGURATION
    assert "nobody knows the home folder ~nobody-at-all: name the place in full" in capsys.readouterr().err
    assert plane.tickets == []


def test_a_code_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll("--control-plane", URL, "BCDF-GHJK") == ExitCode.WRONG_CONFIGURATION
    assert enroll("--control-plane", URL, "--code=BCDF-GHJK") == ExitCode.WRONG_CONFIGURATION
    assert "BCDF" not in capsys.readouterr().err


def test_mistyped_codes_are_asked_for_again_but_not_for_ever(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["vowels", "BCDF-GHJK", "BCDF-GHJL", "never asked for"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    plane.answer = Refused("there is no such pairing code", is_mistyped=True)
    assert enroll("--control-plane", URL) == ExitCode.WRONG_CONFIGURATION
    assert [ticket.secret for ticket in plane.tickets] == ["BCDFGHJK", "BCDFGHJL"]
    assert next(typed) == "never asked for"
    assert "without a pairing code nothing was changed" in capsys.readouterr().err


# --- waiting ---


class Waiting:
    """A machine that asks; `answers` are raised in order, the last for ever."""

    def __init__(self, folder: Path, *answers: TryAgain | None) -> None:
        self.clock, self.asked, self.told = FakeClock(), 0, 0
        self._answers = answers
        self.began = self.clock.monotonic()
        own = key.to_enrol_with(folder)
        self._tokens = AccessTokens(own, self._ask, self.clock, client_id=CLIENT, issuer=URL)

    async def _ask(self, _: str) -> Grant:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if answer is not None:
            raise answer
        return Grant("t0k3n", 600.0)

    def _tell(self) -> None:
        self.told += 1

    async def ends(self) -> CannotStart | None:
        """How the waiting ends; time passes as soon as nothing else happens."""
        found: list[CannotStart | None] = []

        async def wait() -> None:
            try:
                await enrolling.confirmed(self._tokens, self.clock, on_pending=self._tell)
            except CannotStart as refused:
                found.append(refused)
            else:
                found.append(None)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not found:
                    await anyio.wait_all_tasks_blocked()
                    if not found:
                        self.clock.advance(1)
        return found[0]


async def test_it_waits_for_a_persons_yes_asking_every_few_seconds_and_telling_once(tmp_path: Path) -> None:
    there = Waiting(tmp_path, *[Pending("not yet")] * 20, None)
    assert await there.ends() is None
    assert (there.asked, there.told) == (21, 1)
    assert all(2 <= seconds <= 4 for seconds in there.clock.sleeps)
    assert len(set(there.clock.sleeps)) > 10


async def test_after_ten_minutes_it_leaves_with_what_to_do(tmp_path: Path) -> None:
    there = Waiting(tmp_path, Pending("not yet"))
    ended = await there.ends()
    assert ended is not None
    assert ended.exit_code is ExitCode.TRY_AGAIN
    assert "`sse-agent enroll` goes on waiting" in str(ended)
    assert 595 <= there.clock.monotonic() - there.began <= 600


async def test_a_refusal_ends_the_waiting(tmp_path: Path) -> None:
    there = Waiting(tmp_path, Pending("not yet"), NotEnrolled("it was refused"))
    ended = await there.ends()
    assert ended is not None
    assert ended.exit_code is ExitCode.WRONG_CONFIGURATION
    assert str(ended) == "it was refused. With a new code: sse-agent enroll --again"


async def test_a_network_that_is_away_is_waited_for(tmp_path: Path) -> None:
    there = Waiting(tmp_path, TryAgain("no connection"), TryAgain("no connection", retry_after_s=7), None)
    assert await there.ends() is None
    assert there.told == 0
    assert there.clock.sleeps[1] >= 7
