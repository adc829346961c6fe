"""What a shell offers: asked of bash itself, and the others' scripts for what must be in them."""

import shlex
import subprocess

import pytest

from sse_agent import cli
from sse_agent.cli.completion import SHELLS, spots
from sse_agent.config import SECRETS, Settings


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def offered(bash: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    line = " ".join(map(shlex.quote, ("sse-agent", *words)))
    program = f'{bash}\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words)}\n_sse_agent\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    command = ["bash", "--norc", "--noprofile", "-uc", program]
    child = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert child.stderr == ""
    return child.stdout.split()


def test_bash_knows_for_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bash", "--norc", "--noprofile", "-c", script("bash", capsys) + "complete -p sse-agent"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert child.stdout == "complete -F _sse_agent sse-agent\n"


def test_bash_offers_what_the_parser_takes_at_each_place(capsys: pytest.CaptureFixture[str]) -> None:
    bash = script("bash", capsys)
    assert {"run", "status", "uploads", "outbox", "completion", "version", "--help"} <= set(offered(bash, ""))
    assert offered(bash, "uplo") == ["uploads"]
    assert offered(bash, "uploads", "re") == ["resume", "retry"]
    assert offered(bash, "uploads", "cancel", "--y") == ["--yes"]
    assert offered(bash, "uploads", "pause", "--y") == []
    assert offered(bash, "uploads", "pause", "f1", "--a") == ["--all"]
    assert offered(bash, "uploads", "list", "--state", "pa") == ["paused"]
    assert offered(bash, "run", "--log-format", "") == ["json", "text"]
    assert offered(bash, "run", "--log-l") == ["--log-level"]
    assert offered(bash, "run", "--client-id", "") == [], "nobody can know it"
    assert offered(bash, "completion", "") == ["bash", "zsh", "fish", "--help"]
    assert offered(bash, "nonsense", "uploads", "") != [], "what is no subcommand leads nowhere"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_is_offered_and_no_secret(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    for name in Settings.model_fields:
        flag = f"-l {name.replace('_', '-')} " if shell == "fish" else f"--{name.replace('_', '-')}"
        if name not in SECRETS:
            assert flag in text
    assert "-token'" not in text
    assert "--token:" not in text
    assert "-l token " not in text


@pytest.mark.parametrize("shell", SHELLS)
def test_words_of_the_help_are_only_words_to_the_shell(shell: str) -> None:
    parser = cli.Parser(prog="sse-agent")
    commands = parser.add_subparsers()
    one = commands.add_parser("one", help='it\'s $(touch /tmp/x) `id` \\ "quoted"')
    one.add_argument("--flag", choices=["a'b", "c"], help="100 %% of 'it'")
    text = "\n".join(SHELLS[shell](list(spots(commands))))
    meant = {"bash": "a'\\''b", "zsh": "'one:it'\\''s $(touch", "fish": "-d 'it\\'s $(touch"}[shell]
    assert meant in text
