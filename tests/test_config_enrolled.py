"""Settings of a machine that is enrolled: what need not be said, and what must not be said otherwise."""

import os
from pathlib import Path

import pytest

from sse_agent import config, identity
from sse_agent.config import Settings
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.identity import Identity

URL = "https://control.example.com"
CLIENT = "warehouse-7-k3x9pd"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory; nothing else is set but the folders."""
    for name in [name for name in os.environ if name.upper().startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_state_dir", lambda _: str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSE_AGENT_ALLOWED_FOLDERS", '["/srv/outgoing"]')
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def enrol(state: Path) -> None:
    identity.write(state, Identity(client_id=CLIENT, issuer=URL, control_plane_url=URL, key_id="k"))


def refused(**flags: str) -> str:
    with pytest.raises(CannotStart) as wrong:
        config.load(flags)
    assert wrong.value.exit_code is ExitCode.WRONG_CONFIGURATION
    return str(wrong.value)


def load(**flags: str) -> Settings:
    return config.load(flags)


def test_who_it_is_and_where_its_control_plane_is_comes_from_the_enrolment(state: Path) -> None:
    enrol(state)
    settings = load()
    assert (settings.client_id, settings.control_plane_url, settings.token) == (CLIENT, URL, None)


def test_a_machine_that_is_not_enrolled_is_told_of_both_ways() -> None:
    said = refused()
    for name in ("CONTROL_PLANE_URL", "CLIENT_ID", "TOKEN"):
        assert f"SSE_AGENT_{name}: is missing" in said
    assert "`sse-agent enroll` makes a key in the token's place" in said
    assert "`sse-agent init` asks" in said


def test_only_a_missing_token_is_a_reason_to_speak_of_enrolling() -> None:
    assert "enroll" not in refused(token="t", client_id="c")


def test_what_is_set_as_the_enrolment_has_it_is_no_contradiction(state: Path) -> None:
    enrol(state)
    assert load(client_id=CLIENT, control_plane_url=f"{URL}:443/").client_id == CLIENT


@pytest.mark.parametrize(
    ("name", "value"), [("client_id", "another"), ("control_plane_url", "https://other.example.com")]
)
def test_a_setting_that_says_otherwise_is_refused_with_what_to_do(state: Path, name: str, value: str) -> None:
    enrol(state)
    said = refused(**{name: value})
    assert f"enrolled as {CLIENT} at {URL}, but SSE_AGENT_{name.upper()} says {value}" in said
    assert "leave that setting out, or enrol anew" in said


def test_with_a_fixed_token_the_settings_count_more_than_the_enrolment(state: Path) -> None:
    enrol(state)
    settings = load(token="t0k3n", client_id="another")
    assert settings.token is not None
    assert (settings.token.get_secret_value(), settings.client_id) == ("t0k3n", "another")


def test_the_state_directory_that_a_flag_names_is_the_one_that_is_looked_into(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    enrol(other)
    assert "SSE_AGENT_TOKEN: is missing" in refused()
    assert load(state_dir=str(other)).client_id == CLIENT


def test_a_settings_file_that_is_not_read_is_said_once(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(state)
    path = tmp_path / "config" / "settings.toml"
    path.parent.mkdir()
    path.write_text('client_id = "another"\n')
    path.chmod(0o666)
    assert load().client_id == CLIENT
    assert capsys.readouterr().err.count("is not read") == 1


def test_a_state_directory_with_nothing_but_a_key_in_it_is_the_agents_own(state: Path) -> None:
    enrol(state)
    state.chmod(0o755)
    config.make_state_dir(state)
    assert state.stat().st_mode & 0o777 == 0o700
    (state / identity.IDENTITY).rename(state / "somebody's.txt")
    state.chmod(0o755)
    with pytest.raises(CannotStart, match="holds files of others"):
        config.make_state_dir(state)
