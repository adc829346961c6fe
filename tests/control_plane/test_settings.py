"""What is wrong with a control plane's settings is said with what to do, and without its value."""

import os

import pytest

from sse_agent.control_plane import settings
from sse_agent.errors import CannotStart, ExitCode


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
    for known in [known for known in os.environ if known.startswith(settings.PREFIX)]:
        monkeypatch.delenv(known)
    monkeypatch.setenv(f"{settings.PREFIX}SERVICE_TOKEN", "service")
    if value is None:
        monkeypatch.delenv(settings.PREFIX + name)
    else:
        monkeypatch.setenv(settings.PREFIX + name, value)
    with pytest.raises(CannotStart) as wrong:
        settings.load()
    assert wrong.value.exit_code is ExitCode.WRONG_CONFIGURATION
    assert words in str(wrong.value)
    assert str(wrong.value).endswith("Every setting is explained in docs/reference/control-plane.md.")
    assert "hunter" not in str(wrong.value)
