"""Settings: where they come from, what is refused, and in which words."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sse_agent import config
from sse_agent.config import Settings, load, make_state_dir, origin_of
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import CommandType

NEEDED = {
    "control_plane_url": "https://control.example.com",
    "client_id": "warehouse-7",
    "token": "hunter2",
    "allowed_folders": '["/srv/outgoing"]',
}


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine's counts; settings files are looked for in the test's folder."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that must be set is, in the environment."""
    for name, value in NEEDED.items():
        monkeypatch.setenv(config.PREFIX + name.upper(), value)


def refused(call: Callable[[], object], exit_code: ExitCode = ExitCode.WRONG_CONFIGURATION) -> str:
    with pytest.raises(CannotStart) as raised:
        call()
    assert raised.value.exit_code == exit_code
    return str(raised.value)


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


# --- where they come from ---


@pytest.mark.usefixtures("settled")
def test_the_contracts_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    more = {
        "STATE_DIR": str(tmp_path / "state"),
        "ALLOWED_FOLDERS": '["/srv/a", "/srv/b"]',
        "TUS_ENDPOINT": "https://tus.example.com/files/",
        "TUS_TOKEN": "t-1",
        "UPLOAD_ORIGINS": '["https://one.example.com", "https://two.example.com:8443/x"]',
        "MAX_CONCURRENT_UPLOADS": "7",
        "CA_FILE": "/etc/ssl/company.pem",
    }
    for name, value in more.items():
        monkeypatch.setenv(f"SSE_AGENT_{name}", value)
    settings = load({})
    assert settings.control_plane_url == "https://control.example.com"
    assert settings.client_id == "warehouse-7"
    assert settings.token.get_secret_value() == "hunter2"
    assert settings.state_dir == tmp_path / "state"
    assert settings.allowed_folders == [Path("/srv/a"), Path("/srv/b")]
    assert settings.tus_token is not None
    assert settings.max_concurrent_uploads == 7
    assert settings.ca_file == Path("/etc/ssl/company.pem")
    assert settings.origin == "https://control.example.com"
    assert settings.origins == {
        "https://tus.example.com", "https://one.example.com", "https://two.example.com:8443",
    }  # fmt: skip


@pytest.mark.usefixtures("settled")
def test_uploads_go_to_the_endpoints_own_origin_by_default_and_to_none_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load({}).origins == frozenset()
    monkeypatch.setenv("SSE_AGENT_TUS_ENDPOINT", "https://tus.example.com:443/files/")
    assert load({}).origins == {"https://tus.example.com"}


def test_flags_win_over_the_environment_over_dotenv_over_the_toml_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["log_level", "max_concurrent_uploads", "no_progress_hours", "log_format"]
    toml = "".join(f'{name} = "{value}"\n' for name, value in NEEDED.items() if name != "allowed_folders")
    toml += 'allowed_folders = ["/srv/outgoing"]\nlog_level = "debug"\nmax_concurrent_uploads = 1\n'
    write(tmp_path / "config" / "settings.toml", toml + 'no_progress_hours = 1.5\nlog_format = "text"\n')
    assert [getattr(load({}), name) for name in names] == ["debug", 1, 1.5, "text"]
    write(
        tmp_path / ".env",
        "SSE_AGENT_LOG_LEVEL=info\nSSE_AGENT_MAX_CONCURRENT_UPLOADS=2\nSSE_AGENT_NO_PROGRESS_HOURS=2\n",
    )
    assert [getattr(load({}), name) for name in names] == ["info", 2, 2.0, "text"]
    monkeypatch.setenv("SSE_AGENT_LOG_LEVEL", "warning")
    monkeypatch.setenv("SSE_AGENT_MAX_CONCURRENT_UPLOADS", "3")
    assert [getattr(load({}), name) for name in names] == ["warning", 3, 2.0, "text"]
    assert [getattr(load({"log_level": "error"}), name) for name in names] == ["error", 3, 2.0, "text"]
    assert load({"allowed_folders": '["/srv/flag"]'}).allowed_folders == [Path("/srv/flag")]


def test_a_settings_file_is_named_by_flag_or_variable_and_must_then_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [f'{name} = "{value}"' for name, value in NEEDED.items() if name != "allowed_folders"]
    file = write(tmp_path / "mine.toml", "\n".join([*lines, 'allowed_folders = ["/srv/outgoing"]']))
    assert load({}, file).client_id == "warehouse-7"
    monkeypatch.setenv("SSE_AGENT_SETTINGS_FILE", str(file))
    assert load({}).client_id == "warehouse-7"
    monkeypatch.setenv("SSE_AGENT_SETTINGS_FILE", str(tmp_path / "lost.toml"))
    assert "lost.toml is not there" in refused(lambda: load({}))
    assert "away.toml is not there" in refused(lambda: load({}, tmp_path / "away.toml"))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.usefixtures("settled")
def test_a_settings_file_that_others_can_write_is_not_read_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    write(tmp_path / ".env", "SSE_AGENT_LOG_LEVEL=debug", mode)
    write(tmp_path / "config" / "settings.toml", "max_concurrent_uploads = 9", mode)
    settings = load({})
    assert (settings.log_level, settings.max_concurrent_uploads) == ("info", 4)
    told = capsys.readouterr().err
    assert ".env is not read: others can write it" in told
    assert "settings.toml is not read: others can write it" in told


def test_what_looks_like_a_setting_and_is_none_is_named_with_the_one_that_may_be_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TOKNE", "CONTROL_PLANE_SERVICE_TOKEN", "SETTINGS_FILE", "CLIENT_ID"):
        monkeypatch.setenv(config.PREFIX + name, "zzz")
    monkeypatch.setenv("SSE_AGENT_EMPTY", "")
    env = write(tmp_path / ".env", "sse_agent_log_levle=debug\nOTHERS=1\n")
    toml = write(tmp_path / "s.toml", 'max-concurrent-uploads = 8\nclient_id = "x"\n"\u202e" = 1\n[extra]\n')
    open_to_others = write(tmp_path / "o.toml", "log_levle = 1", 0o666)
    broken = write(tmp_path / "b.toml", "log_levle")
    assert [str(one) for one in config.unknown([env, toml, open_to_others, broken, tmp_path / "gone.toml"])] == [
        "SSE_AGENT_TOKNE in the environment is no setting; did you mean SSE_AGENT_TOKEN?",
        f"SSE_AGENT_LOG_LEVLE in {env} is no setting; did you mean SSE_AGENT_LOG_LEVEL?",
        f"max-concurrent-uploads in {toml} is no setting; did you mean max_concurrent_uploads?",
        f"'\\u202e' in {toml} is no setting",
        f"extra in {toml} is no setting",
    ]


@pytest.mark.usefixtures("settled")
def test_a_setting_that_is_missing_may_only_be_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSE_AGENT_TOKEN")
    monkeypatch.setenv("SSE_AGENT_TOKNE", "hunter2")
    told = refused(lambda: load({}))
    assert "SSE_AGENT_TOKEN: is missing" in told
    assert told.splitlines()[-1] == "SSE_AGENT_TOKNE in the environment is no setting; did you mean SSE_AGENT_TOKEN?"
    assert "hunter2" not in told


# --- where this user may not look ---


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this user may not enter; root may enter all of them, so it is only said."""
    folder, looked = tmp_path / "closed", Path.stat

    def stat_of(path: Path, **more: bool) -> os.stat_result:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return looked(path, **more)

    folder.mkdir()
    monkeypatch.setattr(Path, "stat", stat_of)
    return folder


@pytest.mark.usefixtures("settled")
def test_a_folder_that_may_not_be_entered_or_is_gone_has_no_env_file(
    tmp_path: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(closed)
    assert load({}).client_id == "warehouse-7"
    assert config.load_state_dir({"state_dir": "/srv/state"}) == Path("/srv/state")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load({}).client_id == "warehouse-7"
    assert config.settings_files() == []
    assert "the present folder is gone" in refused(lambda: load({"state_dir": "state"}))


@pytest.mark.usefixtures("settled")
def test_a_settings_file_where_this_user_may_not_look_ends_with_77(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"the settings file {closed}/settings.toml can't be read: permission denied; let the agent's user read it"
    for call in (load, config.load_state_dir, config.load_joining):
        assert refused(lambda call=call: call({}, closed / "settings.toml"), ExitCode.NOT_PERMITTED) == told  # type: ignore[misc]
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(closed))
    assert refused(lambda: load({}), ExitCode.NOT_PERMITTED) == told
    assert refused(config.settings_files, ExitCode.NOT_PERMITTED) == told


@pytest.mark.usefixtures("settled")
def test_certificates_where_this_user_may_not_look_are_no_bug(closed: Path) -> None:
    assert load({"ca_file": str(closed / "ca.pem")}).ca_file == closed / "ca.pem"


# --- what is refused ---

WRONG: list[tuple[str, str, str]] = [
    ("control_plane_url", "control.example.com", "expected a URL with https:// in front"),
    ("control_plane_url", "ftp://control.example.com", "expected a URL such as https://"),
    ("control_plane_url", "https://", "expected a URL such as https://"),
    ("control_plane_url", "https://control.example.com:99999", "expected a URL such as https://"),
    ("control_plane_url", "https://control.example.com:port", "expected a URL such as https://"),
    ("control_plane_url", "https://[::1", "expected a URL such as https://"),
    ("control_plane_url", "http://control.example.com", "over plain http everybody on the way can read the token"),
    ("control_plane_url", "https://me:secret@control.example.com", "without user name"),
    ("control_plane_url", "https://control.example.com/#x", "without user name"),
    ("control_plane_url", "https://control.example.com/?x=1", "without a query"),
    ("control_plane_url", "https://control.example.com/ x", "visible ASCII"),
    ("control_plane_url", "https://control\u3002example.com", "visible ASCII"),
    ("client_id", "two words", "expected 1 to 128 letters"),
    ("token", "two words", "expected visible ASCII"),
    ("token", "line-end\n", "expected visible ASCII"),
    ("token", "\u00fc", "expected visible ASCII"),
    ("tus_token", "line-end\n", "expected visible ASCII"),
    ("allowed_folders", "/srv/outgoing", "expected a JSON list"),
    ("allowed_folders", '["/srv/outgoing"', "expected a JSON list"),
    ("allowed_folders", '"/srv/outgoing"', "expected a JSON list, such as"),
    ("allowed_folders", "[]", "at least 1"),
    ("commands", '["SELF_DESTRUCT"]', "expected a JSON list of UPLOAD_START"),
    ("commands", '["LIST_FILES", "-MESSAGE"]', "either what is carried out, or"),
    ("allowed_folders", '["outgoing"]', "expected absolute paths"),
    ("allowed_folders", '["~/outgoing"]', "expected absolute paths"),
    ("tus_endpoint", "http://tus.example.com/", "expected https"),
    ("upload_origins", '["http://tus.example.com"]', "expected https"),
    ("upload_origins", "https://tus.example.com", "expected a JSON list"),
    ("max_concurrent_uploads", "0", "greater than or equal to 1"),
    ("max_concurrent_uploads", "many", "SSE_AGENT_MAX_CONCURRENT_UPLOADS: expected a whole number\n"),
    ("no_progress_hours", "0", "greater than 0"),
    ("no_progress_hours", "a day", "SSE_AGENT_NO_PROGRESS_HOURS: expected a number\n"),
    ("no_progress_hours", "nan", "less than or equal"),
    ("log_format", "xml", "'json' or 'text'"),
    ("log_level", "loud", "'debug'"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
@pytest.mark.usefixtures("settled")
def test_a_wrong_setting_is_named_with_what_was_expected_and_its_value_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(config.PREFIX + name.upper(), value)
    message = refused(lambda: load({}))
    assert f"SSE_AGENT_{name.upper()}: " in message
    assert expected in message
    assert "hunter2" not in message
    if name.endswith("token"):
        assert value not in message


def test_all_that_is_missing_is_named_at_once() -> None:
    message = refused(lambda: load({}))
    for name in NEEDED:
        assert f"SSE_AGENT_{name.upper()}: is missing" in message


@pytest.mark.usefixtures("settled")
def test_a_file_that_cant_be_read_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    assert "no TOML" in refused(lambda: load({}, write(tmp_path / "a.toml", "client_id = ")))
    assert "UTF-8" in refused(lambda: load({}, write(tmp_path / "b.toml", b'client_id = "\xff"')))
    write(tmp_path / ".env", b"SSE_AGENT_LOG_LEVEL=\xff")
    assert "UTF-8" in refused(lambda: load({}))


@pytest.mark.parametrize(
    "url", ["http://localhost:8787", "http://127.0.0.1", "http://[::1]:80", "https://[2001:db8::1]/"]
)
@pytest.mark.usefixtures("settled")
def test_plain_http_is_accepted_to_this_machine_itself(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SSE_AGENT_CONTROL_PLANE_URL", url)
    assert load({}).control_plane_url == url.rstrip("/")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        ([], set(CommandType)),
        (["LIST_FILES", "GET_STATUS"], {CommandType.LIST_FILES, CommandType.GET_STATUS}),
        (["-LIST_FILES", "-MESSAGE"], set(CommandType) - {CommandType.LIST_FILES, CommandType.MESSAGE}),
    ],
)
def test_commands_are_named_that_are_carried_out_or_that_are_not(
    monkeypatch: pytest.MonkeyPatch, named: list[str], allowed: set[CommandType]
) -> None:
    monkeypatch.setenv("SSE_AGENT_COMMANDS", json.dumps(named))
    assert load({}).allowed_commands == allowed


def test_an_origin_is_scheme_host_and_port_in_one_spelling() -> None:
    assert origin_of("https://Example.COM:443/a?b") == "https://example.com"
    assert origin_of("http://example.com:80") == "http://example.com"
    assert origin_of("https://[2001:DB8::1]:8443/") == "https://[2001:db8::1]:8443"
    assert origin_of("http://example.com:443") == "http://example.com:443"


def test_no_secret_is_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(config.PREFIX + name.upper(), value)
    monkeypatch.setenv("SSE_AGENT_TUS_TOKEN", "swordfish")
    assert "hunter2" not in repr(load({}))
    assert "swordfish" not in repr(load({}))


# --- what must not lie inside an allowed folder ---


@pytest.mark.parametrize("what", ["state directory", "settings file", ".env", "CA file"])
def test_what_is_the_agents_own_must_not_lie_inside_an_allowed_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(config.PREFIX + name.upper(), value)
    outgoing, link = tmp_path / "outgoing", tmp_path / "link"
    outgoing.mkdir()
    link.symlink_to(outgoing)
    monkeypatch.setenv("SSE_AGENT_ALLOWED_FOLDERS", f'["{link}"]')
    monkeypatch.setenv("SSE_AGENT_STATE_DIR", str(tmp_path / "state"))
    inside = write(outgoing / "deep" / (".env" if what == ".env" else "a.toml"), "")
    assert load({}).allowed_folders == [link]
    calls: dict[str, Callable[[], Settings]] = {
        "state directory": lambda: load({"state_dir": str(outgoing / "not" / "yet" / "there")}),
        "settings file": lambda: load({}, inside),
        ".env": lambda: load({}, directory=inside.parent),
        "CA file": lambda: load({"ca_file": str(inside)}),
    }
    message = refused(calls[what])
    assert f"the {what} " in message
    assert "inside the allowed folder" in message


def test_a_link_into_an_allowed_folder_is_seen_through_and_a_folder_beside_it_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(config.PREFIX + name.upper(), value)
    outgoing = tmp_path / "outgoing"
    (outgoing / "state").mkdir(parents=True)
    (tmp_path / "innocent").symlink_to(outgoing / "state")
    monkeypatch.setenv("SSE_AGENT_ALLOWED_FOLDERS", f'["{outgoing}"]')
    assert "inside" in refused(lambda: load({"state_dir": str(tmp_path / "innocent")}))
    assert load({"state_dir": str(tmp_path / "outgoing-state")})


# --- the state directory ---


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_state_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    new = tmp_path / "a" / "state"
    make_state_dir(new)
    assert mode_of(new) == 0o700
    make_state_dir(new)
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    make_state_dir(empty)
    assert mode_of(empty) == 0o700
    used = tmp_path / "used"
    write(used / "journal.db", "")
    used.chmod(0o755)
    make_state_dir(used)
    assert mode_of(used) == 0o700


def test_a_directory_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home / "letter.txt", "")
    home.chmod(0o755)
    assert "files of others" in refused(lambda: make_state_dir(home))
    assert mode_of(home) == 0o755
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o1777)
    refused(lambda: make_state_dir(scratch))
    assert mode_of(scratch) == 0o1777


def test_a_state_directory_that_cant_be_one_ends_with_77(tmp_path: Path) -> None:
    file = write(tmp_path / "file", "")
    for path in (file, file / "below"):
        assert "SSE_AGENT_STATE_DIR" in refused(lambda path=path: make_state_dir(path), ExitCode.NOT_PERMITTED)


# --- what belongs to no setting ---


def test_proxies_are_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")
    found = config.proxies()
    assert found["https"] == "http://proxy.example.com:3128"
    assert found["no"] == "localhost"


def test_one_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    assert config.environment("NOTIFY_SOCKET") == "/run/x"
    assert config.environment("NO_SUCH_VARIABLE_HERE") is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("control.example.com", "https://control.example.com"),
        ("control.example.com:8443/sse", "https://control.example.com:8443/sse"),
        ("localhost:8787", "http://localhost:8787"),
        ("127.0.0.1:1080/files/", "http://127.0.0.1:1080/files/"),
        ("[::1]:8787", "http://[::1]:8787"),
        ("https://control.example.com", None),
        ("ftp://control.example.com", None),
        ("two words", None),
        ("control.example.com:99999", None),
        ("ada:hunter2@control.example.com", None),
        ("[", None),
        ("", None),
    ],
)
def test_an_address_without_a_scheme_leads_to_the_url_that_is_meant(typed: str, meant: str | None) -> None:
    assert config.with_scheme(typed) == meant


@pytest.mark.usefixtures("settled")
def test_a_wrong_setting_is_called_by_its_flag_if_it_came_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_AGENT_LOG_LEVEL", "loud")
    message = refused(lambda: load({"log_format": "xml", "max_concurrent_uploads": "0"}))
    assert [line.split(":")[0] for line in message.splitlines() if line.startswith("  ")] == [
        "  --max-concurrent-uploads",
        "  --log-format",
        "  SSE_AGENT_LOG_LEVEL",
    ]
    assert "  --commands: expected a JSON list" in refused(lambda: load({"commands": "MESSAGE"}))
