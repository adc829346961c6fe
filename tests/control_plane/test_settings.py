"""What whoever runs a control plane has set wrongly is named as it is set, with what to do."""

import os

import pytest

from sse_agent import cli
from sse_agent.control_plane import settings
from sse_agent.control_plane.settings import PREFIX
from sse_agent.errors import CannotStart, ExitCode

TOKEN = "the-token-of-a-service"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SSE_AGENT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}SERVICE_TOKEN", TOKEN)


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Why it does not start with these."""
    for name, text in variables.items():
        monkeypatch.setenv(PREFIX + name, text)
    with pytest.raises(CannotStart) as why:
        settings.load()
    assert why.value.exit_code is ExitCode.WRONG_CONFIGURATION
    return str(why.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SERVICE_TOKEN", "fifteen-letters"),
        ("SERVICE_TOKENS", '{"laravel": "fifteen-letters"}'),
        ("TUS_HOOK_SECRET", "fifteen-letters"),
    ],
)
def test_a_secret_that_can_be_guessed_is_refused_with_a_way_to_make_one(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    words = refused(monkeypatch, **{name: text})
    assert f"{PREFIX}{name}: " in words
    assert "16 characters" in words
    assert "secrets.token_hex(32)" in words
    assert "fifteen" not in words
    monkeypatch.setenv(PREFIX + name, text.replace("fifteen", "sixteen!"))
    assert settings.load()


def test_what_must_be_set_is_named_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    words = refused(monkeypatch, HOST="0.0.0.0")
    for name in ("HOST", "TLS_CERTIFICATE", "TLS_KEY"):
        assert PREFIX + name in words
    assert f"{PREFIX}TLS_KEY" in refused(monkeypatch, TLS_CERTIFICATE="/c.pem")
    monkeypatch.delenv(f"{PREFIX}TLS_CERTIFICATE")
    assert f"{PREFIX}ISSUER" in refused(monkeypatch, HOST="127.0.0.1", ISSUER="https://control.example/path/")


def test_a_misspelt_variable_is_told_at_start_and_the_agents_own_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}PROT", "99")
    monkeypatch.setenv(f"{PREFIX}URL", "https://control.example")
    monkeypatch.delenv(f"{PREFIX}SERVICE_TOKEN")
    assert cli.main(["control-plane"]) == ExitCode.WRONG_CONFIGURATION
    told = capsys.readouterr().err
    assert f"{PREFIX}PROT is no setting, and changes nothing; did you mean {PREFIX}PORT?" in told
    assert f"{PREFIX}URL" not in told


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SERVICE_TOKEN", None, "SERVICE_TOKEN: is missing; set it to a long random text"),
        ("PORT", "hunter2", "PORT: expected a valid integer"),
        ("HEARTBEAT_SECONDS", "61", "HEARTBEAT_SECONDS: expected a number less than or equal to 60"),
        ("AGENT_TOKENS", "hunter2", 'expected a JSON object, such as {"agent-1": "token"}'),
        ("AGENT_TOKENS", '{"hunter 2": "t"}', "AGENT_TOKENS: expected names of 1 to 128 letters"),
        ("ISSUER", "http://hunter2.example", "ISSUER is https, unless it is loopback"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do_and_never_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, words: str
) -> None:
    if value is None:
        monkeypatch.delenv(PREFIX + name)
    else:
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(CannotStart) as wrong:
        settings.load()
    assert wrong.value.exit_code is ExitCode.WRONG_CONFIGURATION
    assert words in str(wrong.value)
    assert str(wrong.value).endswith("Every setting is explained in docs/reference/control-plane.md.")
    assert "hunter" not in str(wrong.value)
