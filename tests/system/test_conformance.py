"""`sse-agent conformance URL` against the real control plane, and what it tells people and programs."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from sse_agent.conformance.run import CHECKS
from tests.conformance.credentials import SERVICE, agent_token
from tests.conformance.serving import BROKEN, INTACT, QUEUE, serving

ROOT = Path(__file__).resolve().parents[2]
AGENT, SECOND = "agent-1", "agent-2"
WITHIN_S = 300
PLAIN = {
    name: value for name, value in os.environ.items() if not name.startswith(("SSE_AGENT_", "COLUMNS", "FORCE_COLOR"))
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("plane"), INTACT, [AGENT, SECOND]) as found:
        yield found


def conformance(
    *arguments: str, client_id: str = AGENT, token: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    secrets = {
        "SSE_AGENT_TOKEN": agent_token(client_id) if token is None else token,
        "SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN": SERVICE,
        "SSE_AGENT_CLIENT_ID": client_id,
        "COLUMNS": "160",
    }
    return subprocess.run(
        [sys.executable, "-m", "sse_agent", "conformance", *arguments],
        cwd=ROOT,
        env={**PLAIN, **secrets, **environment},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def test_the_reference_control_plane_keeps_the_whole_contract(url: str) -> None:
    everything = ("--json", "--second-client-id", SECOND, "--fill-queue", str(2 * QUEUE), "--grace", "5")
    # The second time it is an agent with a history. (Who enrols again so soon would have to wait.)
    groups = sorted({check.group for check in CHECKS} - {"identity"})
    for only in ([], [part for group in groups for part in ("--only", group)]):
        done = conformance(url, *everything, *only)
        assert done.stderr == ""
        told = json.loads(done.stdout)
        assert [(check["name"], check["found"]) for check in told["checks"] if check["state"] != "passed"] == []
        assert (told["ok"], done.returncode) == (True, 0)
        wanted = [check.name for check in CHECKS if not only or check.group in groups]
        assert [check["name"] for check in told["checks"]] == wanted


def test_people_read_a_row_for_each_check_and_of_what_is_broken_what_came(tmp_path: Path) -> None:
    with serving(tmp_path, BROKEN, [AGENT, SECOND]) as url:
        httpx.put(f"{url}/mistake", content=b"problems have no type", timeout=30, trust_env=False).raise_for_status()
        done = conformance(url, "--only", "problems", "--only", "messages.recorded")
    assert done.returncode == 1, done.stderr
    rows = done.stdout.splitlines()
    assert any(row.startswith("ok") and "media-type" in row for row in rows)
    assert any(row.startswith("ok") and "recorded" in row for row in rows)
    assert any(row.startswith("broken") and "type" in row for row in rows)
    assert "urn:sse-agent:problem:<slug>" in done.stdout
    assert "POST /api/v1/agents/agent-1/messages" in done.stdout
    assert "authorization: Bearer (token)" in done.stdout
    assert rows[-1] == "3 ok, 2 broken"
    assert SERVICE not in done.stdout
    assert agent_token(AGENT) not in done.stdout


def test_what_a_hostile_control_plane_says_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    with serving(tmp_path, BROKEN, [AGENT, SECOND]) as url:
        httpx.put(f"{url}/mistake", content=b"there is a page for every path", trust_env=False).raise_for_status()
        done = conformance(url, "--only", "problems.unknown-path")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "<html>\\x1b[2J\\u202e</html>" in done.stdout


def test_tokens_come_from_files_too(url: str, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text(agent_token(AGENT) + "\n")
    (tmp_path / "service").write_text(SERVICE + "\n")
    files = ("--agent-token-file", str(tmp_path / "agent"), "--service-token-file", str(tmp_path / "service"))
    done = conformance(url, "--only", "ui.queued", *files, SSE_AGENT_TOKEN="", SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN="")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 ok")


def test_without_a_service_token_it_says_what_it_could_not_see(url: str) -> None:
    done = conformance(url, "--only", "ui.queued", "--only", "auth.no-token", SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN="")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 ok, 1 not run")
    assert "--service-token-file" in done.stdout


def test_a_wrong_token_breaks_the_checks_and_not_the_kit(url: str) -> None:
    done = conformance(url, "--only", "messages", token="nobody")
    assert done.returncode == 1
    assert "it was answered 401, not 202" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["http://control.example"], {}, 78, "https"),
        (["https://user:secret-in-it@127.0.0.1"], {}, 78, "URL"),
        (["URL", "--only", "nothing\x1b"], {}, 78, "--list"),
        (["URL", "--grace", "soon"], {}, 78, "--grace"),
        (["URL", "--fill-queue", "-1"], {}, 78, "--fill-queue"),
        (["URL", "--agent-token-file", "/nowhere/token"], {}, 78, "/nowhere/token"),
        (["URL"], {"SSE_AGENT_CLIENT_ID": ""}, 78, "--client-id"),
        (["URL"], {"SSE_AGENT_TOKEN": ""}, 78, "--agent-token-file"),
        (["URL"], {"SSE_AGENT_CLIENT_ID": "a/b"}, 78, "client ID"),
        (["URL"], {"SSE_AGENT_TOKEN": "two words"}, 78, "spaces"),
        (["URL", "--token", "s3cr3t"], {}, 78, "--token"),
    ],
)
def test_a_wrong_start_is_told_in_a_sentence(
    url: str, arguments: list[str], environment: dict[str, str], code: int, words: str
) -> None:
    done = conformance(*[url if word == "URL" else word for word in arguments], **environment)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "s3cr3t" not in done.stderr
    assert "secret-in-it" not in done.stderr
    assert "\x1b" not in done.stderr


def test_where_nothing_listens_it_ends_with_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = conformance(f"http://127.0.0.1:{port}")
    assert (done.returncode, "nothing answers" in done.stderr) == (75, True)


def test_the_list_names_every_check_and_what_the_contract_says() -> None:
    done = conformance("http://127.0.0.1:1", "--list")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) > 75
    assert all(": " in line and "." in line.partition(": ")[0] for line in lines)


def test_over_tls_it_trusts_whom_it_is_told_to_and_nobody_else(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    ca, chain, key = tmp_path / "ca.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(chain))
    issued.private_key_pem.write_to_path(str(key))
    only = ("--only", "stream.hello", "--only", "messages.recorded")
    with serving(tmp_path, INTACT, [AGENT], TLS_CERTIFICATE=str(chain), TLS_KEY=str(key)) as url:
        trusting = conformance(url, "--ca-file", str(ca), *only)
        wary = conformance(url, *only)
    assert (trusting.returncode, trusting.stdout.splitlines()[-1]) == (0, "2 ok"), trusting.stderr
    assert (wary.returncode, wary.stdout) == (75, "")
    assert "certificate" in wary.stderr.lower()


def test_it_needs_nothing_of_the_control_plane_and_nothing_of_the_agent() -> None:
    program = "import sys, sse_agent.conformance.run; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "sse_agent.messages" in loaded
    assert not {"fastapi", "starlette", "uvicorn", "redis", "sse_agent.agent", "sse_agent.config"} & loaded
    assert not any(name.startswith(("sse_agent.control_plane", "sse_agent.journal", "tusclient")) for name in loaded)
