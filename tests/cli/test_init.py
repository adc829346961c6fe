"""`init`: what it asks, what it writes, and what it never does."""

import io
import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sse_agent import cli, config, identity
from sse_agent.checks.report import Check, failed, ok
from sse_agent.cli import check, settings_file
from sse_agent.errors import ExitCode
from sse_agent.identity import Identity

TOKEN = "token-of-the-test"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new one, with nothing set and checks that find nothing."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "new" / "config"))
    monkeypatch.setattr("platformdirs.user_state_dir", lambda _: str(tmp_path / "default-state"))
    monkeypatch.setattr("platform.node", lambda: "Büro PC.example.com")
    monkeypatch.setattr("sys.argv", ["/opt/agent/bin/sse-agent"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "10000")
    (tmp_path / "outgoing").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    made = [ok("clock", "right")]
    monkeypatch.setattr(check, "carry_out", lambda *_: iter(made))
    return made


@pytest.fixture
def flags(home: Path) -> list[str]:
    """All that must be said, but for the token."""
    return [
        "init", "--control-plane-url", "https://control.example.com", "--client-id", "warehouse-7",
        "--allowed-folders", json.dumps([str(home / "outgoing")]), "--state-dir", str(home / "state"),
    ]  # fmt: skip


@pytest.fixture
def file(home: Path) -> Path:
    return home / "new" / "config" / "settings.toml"


class Person:
    """Answers in order, an exception is raised; what was asked is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | Exception) -> None:
        self.answers = iter(answers)
        self.asked: list[str] = []
        self.unseen: list[str] = []
        monkeypatch.setattr("builtins.input", lambda prompt: self._answer(self.asked, prompt))
        monkeypatch.setattr("getpass.getpass", lambda prompt: self._answer(self.unseen, prompt))
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)

    def _answer(self, asked: list[str], prompt: str) -> str:
        asked.append(prompt)
        answer = next(self.answers, EOFError())
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_person_is_asked_the_few_questions_and_the_result_is_what_run_reads(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["https://control.example.com", "", TOKEN, str(home / "outgoing"), "", "https://t.example.com/files/", ""]
    person = Person(monkeypatch, *answers)
    assert cli.main(["init"]) == 0
    assert len(person.asked) == 6
    assert person.unseen == ["Its token (not shown): "]
    settings = config.load({})
    assert settings.control_plane_url == "https://control.example.com"
    assert settings.client_id == "b-ro-pc"
    assert settings.token.get_secret_value() == TOKEN
    assert settings.allowed_folders == [home / "outgoing"]
    assert settings.tus_endpoint == "https://t.example.com/files/"
    assert settings.state_dir == home / "default-state"
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err
    assert str(file) in told.out
    assert "/opt/agent/bin/sse-agent run\n" in told.out
    assert "/opt/agent/bin/sse-agent run --headless\n" in told.out


def test_a_wrong_answer_is_asked_again_with_the_reason(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "a-file").write_text("")
    outgoing = home / "outgoing"
    answers = [
        "", "control.example.com", "n", "http://control.example.com", "https://control.example.com",
        "two words", "warehouse-7",
        "", "two words", TOKEN,
        "", "outgoing", "/nowhere/at/all", str(home / "a-file"), str(home), str(outgoing), "",
        "ftp://t.example.com", "",
        "state", str(outgoing / "state"), str(home / "state"),
    ]  # fmt: skip
    assert not file.parent.exists(), "inside the home it would be nevertheless"
    Person(monkeypatch, *answers)
    assert cli.main(["init"]) == 0
    told = capsys.readouterr().out
    for reason in (
        "such as https://control.example.com", "expected a URL with https:// in front",
        "over plain http everybody on the way can read the token", "paste the token", "expected a URL such as",
        "name a folder, such as /srv/outgoing", "expected 1 to 128 letters",
        "expected visible ASCII", "expected absolute paths", "/nowhere/at/all is not there", "a-file is no folder",
        "lies inside the allowed folder", "expected an absolute path",
    ):  # fmt: skip
        assert reason in told, reason
    assert config.load({}).state_dir == home / "state"


@pytest.mark.parametrize(
    ("typed", "asked", "meant"),
    [
        ("control.example.com", "  Do you mean https://control.example.com? [Y/n] ", "https://control.example.com"),
        ("localhost:8787", "  Do you mean http://localhost:8787? [Y/n] ", "http://localhost:8787"),
    ],
)
def test_an_address_without_a_scheme_is_completed_after_a_question(
    home: Path, monkeypatch: pytest.MonkeyPatch, typed: str, asked: str, meant: str
) -> None:
    answers = [typed, "what?", "", "", TOKEN, str(home / "outgoing"), "", "tus.example.com/files/", "y", ""]
    person = Person(monkeypatch, *answers)
    assert cli.main(["init"]) == 0
    assert person.asked[1:3] == [asked, asked], "asked again until it is y or n"
    settings = config.load({})
    assert (settings.control_plane_url, settings.tus_endpoint) == (meant, "https://tus.example.com/files/")


def test_a_byte_that_is_no_character_is_asked_again(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_text, outgoing = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), str(home / "outgoing")
    url = "control.example.com"
    person = Person(
        monkeypatch, no_text, url, no_text, "y", "", no_text, TOKEN, "~nobody-at-all/out", outgoing, "", "", ""
    )
    assert cli.main(["init"]) == 0
    assert config.load({}).control_plane_url == "https://control.example.com"
    assert len(person.unseen) == 2
    told = capsys.readouterr().out
    assert told.count("  that was no text as this terminal writes it: please type it again") == 2
    assert "  please answer y or n" in told
    assert "  nobody knows the home folder ~nobody-at-all: name the place in full" in told


def test_enter_at_the_token_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(monkeypatch, "https://control.example.com", "", "", TOKEN, str(home / "outgoing"), "", "", "")
    assert cli.main(["init"]) == 0
    assert person.unseen == ["Its token (not shown): "] * 2
    assert "  nothing was typed: paste the token that the control plane has for this agent" in capsys.readouterr().out


def test_a_second_time_it_asks_first_and_proposes_what_is_set(
    home: Path, file: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    assert cli.main([*flags, "--tus-endpoint", "https://t.example.com/files/", "--ca-file", "/etc/company.pem"]) == 0
    monkeypatch.delenv("SSE_AGENT_TOKEN")
    file.write_text(file.read_text().replace("#max_concurrent_uploads = 4", "max_concurrent_uploads = 9"))
    before = file.read_text()

    for answers in ((), ("",), ("n",)):
        person = Person(monkeypatch, *answers)
        assert cli.main(["init"]) == ExitCode.WRONG_CONFIGURATION
        assert person.asked == ["Write it anew? [y/N] "]
        assert file.read_text() == before
    told = capsys.readouterr()
    assert f"{file} is there already. Its values are proposed; the old file is kept as settings.toml.bak." in told.out
    assert "nothing was written" in told.err

    person = Person(monkeypatch, "y", "", "warehouse-8", "", "", "none", "")
    assert cli.main(["init"]) == 0
    assert person.asked == [
        "Write it anew? [y/N] ",
        "Control plane's URL [https://control.example.com]: ",
        "This agent's ID [warehouse-7]: ",
        f"Upload from {home / 'outgoing'} as before? [Y/n] ",
        "tus server's endpoint [https://t.example.com/files/]: ",
        f"Where the agent keeps its journal [{home / 'state'}]: ",
    ]
    assert person.unseen == ["Its token (not shown) [as before]: "]
    settings = config.load({})
    assert (settings.client_id, settings.token.get_secret_value()) == ("warehouse-8", TOKEN)
    assert (settings.tus_endpoint, settings.max_concurrent_uploads) == (None, 9)
    assert settings.ca_file == Path("/etc/company.pem")
    assert file.with_name("settings.toml.bak").read_text() == before


@pytest.mark.parametrize("answer", ["n", "y"])
def test_folders_of_before_that_are_gone_or_unwanted_are_asked_for_anew(
    home: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    assert cli.main(flags) == 0
    (home / "outgoing").rename(home / "other")
    Person(monkeypatch, "y", "", "", answer, str(home / "other"), "", "", "")
    assert cli.main(["init"]) == 0
    assert config.load({}).allowed_folders == [home / "other"]
    assert ("outgoing is not there" in capsys.readouterr().out) is (answer == "y")


@pytest.mark.parametrize("content", [b"token: hunter2\n", b"\xff", b"client_id = 7\ntoken = 'a b'\n"])
def test_a_file_that_says_nothing_right_proposes_nothing(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    file.chmod(0o600)
    Person(monkeypatch, "y", "https://control.example.com", "w", TOKEN, str(home / "outgoing"), "", "", "")
    assert cli.main(["init"]) == 0
    assert config.load({}).client_id == "w"


def test_a_folder_named_by_way_of_its_parent_is_written_as_what_it_is_and_a_link_as_it_was_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "link").symlink_to(home / "outgoing")
    (home / "outgoing" / "inner").mkdir()
    folders = [str(home / "outgoing" / ".." / "outgoing"), str(home / "link"), str(home / "link" / "inner" / "..")]
    state = str(home / "outgoing" / ".." / "state")
    Person(monkeypatch, "https://control.example.com", "w", TOKEN, *folders, "", "", state)
    assert cli.main(["init"]) == 0
    settings = config.load({})
    assert settings.allowed_folders == [home / "outgoing", home / "link", home / "outgoing"]
    assert settings.state_dir == home / "state"


def test_sentences_are_broken_between_words(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    Person(monkeypatch, "http://control.example.com")
    assert cli.main(["init"]) == ExitCode.WRONG_CONFIGURATION
    told = capsys.readouterr().out.splitlines()
    said = [line for line in told if line.startswith("  ")]
    assert max(map(len, said)) <= 60
    assert " ".join(line.strip() for line in said).startswith("expected https: over plain http everybody on the way")


def test_a_person_who_leaves_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Person(monkeypatch, "https://control.example.com", "")
    assert cli.main(["init"]) == ExitCode.WRONG_CONFIGURATION
    assert "nothing was written" in capsys.readouterr().err
    assert sorted(path.name for path in home.iterdir()) == ["outgoing"]


# --- without a terminal ---


def test_flags_and_a_token_file_are_enough(home: Path, file: Path, flags: list[str]) -> None:
    (home / "token").write_text(f"{TOKEN}\n")
    assert cli.main([*flags, "--token-file", str(home / "token")]) == 0
    settings = config.load({})
    assert (settings.client_id, settings.token.get_secret_value()) == ("warehouse-7", TOKEN)
    assert settings.tus_endpoint is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file.parent.parent)} == {0o700}
    assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["settings.toml"]


def test_the_token_may_come_from_standard_input_or_the_environment(
    flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert cli.main([*flags, "--token-file", "-"]) == 0
    monkeypatch.setenv("SSE_AGENT_TOKEN", "another")
    monkeypatch.setenv("SSE_AGENT_TUS_TOKEN", "a-third")
    assert cli.main([*flags, "--force"]) == 0
    monkeypatch.delenv("SSE_AGENT_TOKEN")
    monkeypatch.delenv("SSE_AGENT_TUS_TOKEN")
    settings = config.load({})
    assert settings.tus_token is not None
    assert (settings.token.get_secret_value(), settings.tus_token.get_secret_value()) == ("another", "a-third")


@pytest.mark.parametrize(("more", "words"), [([], "no terminal to ask on"), (["--yes"], "--yes can't guess")])
def test_what_nobody_says_is_named_all_at_once(
    home: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", *more]) == ExitCode.WRONG_CONFIGURATION
    told = capsys.readouterr().err
    assert words in told
    for name in ("--control-plane-url", "--allowed-folders", "SSE_AGENT_TOKEN or --token-file"):
        assert name in told
    assert ("--client-id" in told) is (more == []), "it has a default, which --yes takes"
    assert not (home / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--control-plane-url", "http://control.example.com"], "--control-plane-url: expected https"),
        (["--allowed-folders", "/nowhere/at/all"], "--allowed-folders: /nowhere/at/all is not there"),
        (["--allowed-folders", "outgoing", "--yes"], "--allowed-folders: expected absolute paths"),
        (["--allowed-folders", '["/srv"'], "--allowed-folders: expected a JSON list"),
        (["--allowed-folders", '["/srv", "srv"]'], "--allowed-folders: expected absolute paths"),
        (["--state-dir", "~nobody-at-all/state"], "--state-dir: nobody knows the home folder ~nobody-at-all"),
        (["--token-file", "~nobody-at-all/token"], "can't be read: nobody knows the home folder ~nobody-at-all"),
        (["--upload-origins", "soup"], "--upload-origins: expected a JSON list"),
        (["--token-file", "/nowhere/at/all"], "the token file /nowhere/at/all can't be read"),
        (["--token-file", os.devnull], "is empty"),
        (["--token", "x"], "--token is no flag"),
        (["--settings-file", "/proc/settings.toml"], "/proc/settings.toml can't be written"),
    ],
)
def test_a_wrong_flag_ends_it_with_the_reason(
    home: Path,
    flags: list[str],
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    assert cli.main([*flags, *arguments]) in (ExitCode.WRONG_CONFIGURATION, ExitCode.NOT_PERMITTED)
    assert words in capsys.readouterr().err
    assert not (home / "new").exists()


def test_a_file_that_is_there_is_replaced_only_by_force_and_kept(
    file: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    file.parent.mkdir(parents=True)
    file.write_text("# by hand\n")
    assert cli.main(flags) == ExitCode.WRONG_CONFIGURATION
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "# by hand\n"
    assert cli.main([*flags, "--force"]) == 0
    kept = file.with_name("settings.toml.bak")
    assert kept.read_text() == "# by hand\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, kept)} == {0o600}
    assert "warehouse-7" in file.read_text()


def test_another_place_is_named_in_what_comes_next(
    home: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    assert cli.main([*flags, "--settings-file", str(home / "mine.toml")]) == 0
    assert f"run --headless --settings-file {home / 'mine.toml'}\n" in capsys.readouterr().out


def test_when_a_check_fails_the_file_stays_and_it_is_said_what_to_do(
    file: Path,
    flags: list[str],
    found: list[Check],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SSE_AGENT_TOKEN", TOKEN)
    found.append(failed("control plane: DNS", "name not found", "correct the name"))
    assert cli.main(flags) == check.FAILED
    assert file.exists()
    assert "Mend what failed, then check again:\n  /opt/agent/bin/sse-agent check\n" in capsys.readouterr().out


# --- the file itself ---


def values() -> Iterator[dict[str, Any]]:
    yield {"client_id": "warehouse-7"}
    yield {"allowed_folders": [Path('/srv/a "b" \\ c'), Path("/srv/\u00fc\u65e5\U0001f600\x7f\x01")]}
    yield {"max_concurrent_uploads": 7, "no_progress_hours": 1.5, "log_level": "debug"}


@pytest.mark.parametrize("these", list(values()))
def test_whatever_is_written_is_read_as_it_was(these: dict[str, Any]) -> None:
    read = tomllib.loads(settings_file.text(these))
    assert set(read) == set(these)
    for name, value in these.items():
        assert read[name] == ([str(one) for one in value] if isinstance(value, list) else value)


def test_every_setting_stands_there_and_those_that_are_comments_are_right_ones() -> None:
    must = {"control_plane_url": "https://c.example.com", "client_id": "w", "token": "t", "state_dir": "/s"}
    text = settings_file.text({**must, "allowed_folders": [Path("/srv")]})
    lines = [line.lstrip("#") for line in text.splitlines() if line and not line.startswith("# ")]
    read = tomllib.loads("\n".join(lines))
    assert set(read) == set(config.Settings.model_fields)
    assert max(map(len, text.splitlines())) <= 120
    for name, value in read.items():
        assert config.parse(name, json.dumps(value) if isinstance(value, list) else str(value)) is not None, name


def test_a_name_that_is_not_utf_8_is_refused_and_not_mangled() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        settings_file.text({"allowed_folders": [Path("/srv/\udcff")]})


def test_the_owner_and_a_group_that_could_read_a_file_can_read_what_replaces_it_but_not_all_the_world(
    tmp_path: Path,
) -> None:
    place = tmp_path / "settings.toml"
    place.write_text("# old\n")
    place.chmod(0o660)
    owner, group = (54321, 12345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(place, owner, group)
    assert settings_file.write(place, "# new\n") == tmp_path / "settings.toml.bak"
    for path in (place, tmp_path / "settings.toml.bak"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (owner, group, 0o640)
    settings_file.write(place, "# newer\n", is_anew=True)
    status = place.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), group, 0o640)
    for mode in (0o600, 0o644):
        place.chmod(mode)
        settings_file.write(place, "# newest\n")
        assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_what_a_user_may_not_hand_over_stays_its_own_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    place = tmp_path / "settings.toml"
    place.write_text("# old\n")
    place.chmod(0o640)
    other = place.stat().st_gid + 1
    seen = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        found = seen(path)
        return os.stat_result((*found[:5], other, *found[6:])) if path == place else found

    monkeypatch.setattr(Path, "lstat", lstat)
    settings_file.write(place, "# new\n")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "settings.toml"
    place.write_text("# by hand\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(settings_file.os, "fsync", full)
    with pytest.raises(Exception, match="no space left"):
        settings_file.write(place, "# new\n")
    assert [(path.name, path.read_text()) for path in tmp_path.glob("*.toml*")] == [("settings.toml", "# by hand\n")]


def test_a_machine_that_is_enrolled_is_asked_neither_who_it_is_nor_for_a_token(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "default-state").mkdir()
    who = {"client_id": "warehouse-7-k3x9pd", "control_plane_url": "https://control.example.com"}
    identity.write(home / "default-state", Identity(**who, issuer="https://control.example.com", key_id="k"))
    person = Person(monkeypatch, str(home / "outgoing"), "", "", "")
    assert cli.main(["init"]) == ExitCode.STOPPED
    assert [prompt.split(" [")[0].rstrip(": ") for prompt in person.asked] == [
        "Folder that files may be uploaded from",
        "Another one",
        "tus server's endpoint",
        "Where the agent keeps its journal",
    ]
    assert person.unseen == []
    written = tomllib.loads(file.read_text())
    assert {name: written[name] for name in who} == who
    assert "token" not in written
    assert config.load({}).token is None


def test_in_a_folder_that_is_gone_a_place_that_begins_there_is_refused(
    home: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    assert cli.main([*flags, "--yes", "--settings-file", "settings.toml"]) == ExitCode.WRONG_CONFIGURATION
    assert "the present folder is gone; begin in one that is there" in capsys.readouterr().err
