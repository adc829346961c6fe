"""From a clean machine to a connected agent, by the README's own code blocks and nothing else."""

from pathlib import Path

import pytest

from scripts import first_setup


def test_a_newcomer_gets_a_connected_agent_by_the_readme_alone(tmp_path: Path) -> None:
    seen, _ = first_setup.play(tmp_path)
    assert "all ok" in seen
    settings = tmp_path / "home/.config/sse-agent/settings.toml"
    assert settings.stat().st_mode & 0o077 == 0
    assert (tmp_path / "home/sse-agent/bin/sse-agent").is_file()


def test_a_readme_that_leads_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_setup, "blocks", lambda: ["true", "~/sse-agent/bin/sse-agent init", "true"])
    with pytest.raises(first_setup.Lost, match="init ended before it asked"):
        first_setup.play(tmp_path)
