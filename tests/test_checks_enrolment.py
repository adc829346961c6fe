"""`check` of a machine that is enrolled: its key, and whether the control plane takes it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from sse_agent import identity
from sse_agent.checks import enrolment
from sse_agent.checks.report import Check, State
from sse_agent.config import Settings
from sse_agent.credentials import key
from sse_agent.identity import Identity
from tests.doubles.clock import FakeClock
from tests.doubles.control_plane import Request, control_plane

URL = "https://control.example.com"
CLIENT = "warehouse-7-k3x9pd"


def settings(folder: Path, url: str = URL, token: str | None = None) -> Settings:
    return Settings(
        control_plane_url=url, client_id=CLIENT, token=token, state_dir=folder, allowed_folders=[Path("/srv")]
    )


def enrol(folder: Path, url: str = URL) -> str:
    """Its key's fingerprint."""
    own = key.to_enrol_with(folder)
    key.settle(folder)
    identity.write(folder, Identity(client_id=CLIENT, issuer=url, control_plane_url=url, key_id=own.key_id))
    return own.fingerprint


def test_a_machine_with_a_fixed_token_has_no_key_to_look_at(tmp_path: Path) -> None:
    assert enrolment.check(settings(tmp_path, token="t0k3n")) is None


def test_a_key_that_is_as_it_should_be_shows_its_fingerprint_and_changes_nothing(tmp_path: Path) -> None:
    fingerprint = enrol(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert enrolment.check(settings(tmp_path)) == Check("key", State.OK, f"{CLIENT}'s, fingerprint {fingerprint}")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_fixed_token_beside_it_is_a_warning(tmp_path: Path) -> None:
    enrol(tmp_path)
    found = enrolment.check(settings(tmp_path, token="t0k3n"))
    assert found is not None
    assert (found.state, "SSE_AGENT_TOKEN is set, and counts more" in found.found) == (State.WARNING, True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "key.json").chmod(0o640), "open to others (mode 0640)"),
        (lambda folder: (folder / "identity.json").chmod(0o604), "open to others (mode 0604)"),
        (lambda folder: (folder / "key.json").unlink(), "is not there"),
        (lambda folder: (folder / "key.json").write_text("{}"), "is damaged"),
    ],
)
def test_a_key_that_the_agent_would_not_start_with_has_failed_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    enrol(tmp_path)
    spoil(tmp_path)
    found = enrolment.check(settings(tmp_path))
    assert found is not None
    assert found.has_failed
    assert words in found.found
    assert found.advice


ANSWERS: dict[str, tuple[Callable[[Request], Awaitable[None]], str | None, str]] = {
    "a token": (
        lambda request: request.answer(
            200, b'{"access_token":"t0k3n","token_type":"Bearer","expires_in":600}', content_type="application/json"
        ),
        "t0k3n",
        "",
    ),
    "not confirmed": (
        lambda request: request.answer(400, b'{"error":"unauthorized_client"}', content_type="application/json"),
        None,
        "waits to be confirmed",
    ),
    "not known": (
        lambda request: request.answer(401, b'{"error":"invalid_client"}', content_type="application/json"),
        None,
        "does not accept this machine's key",
    ),
    "away": (lambda request: request.problem(503, "unavailable"), None, "503 unavailable"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_what_the_control_plane_says_of_the_key_is_told(tmp_path: Path, what: str) -> None:
    answer, token, words = ANSWERS[what]
    async with control_plane() as plane, anyio.create_task_group() as group:
        enrol(tmp_path, plane.url)

        async def serve() -> None:
            await answer(await plane.post())

        group.start_soon(serve)
        found, wrong = await anyio.to_thread.run_sync(
            lambda: enrolment.granted(settings(tmp_path, plane.url), FakeClock(), "answer")
        )
        assert found == token
        assert (wrong is None) == (token is not None)
        if wrong is not None:
            assert wrong.has_failed
            assert words in wrong.found
            assert wrong.advice


def test_a_key_that_cant_be_used_is_told_once(tmp_path: Path) -> None:
    enrol(tmp_path)
    (tmp_path / "key.json").write_text(json.dumps({}))
    assert enrolment.granted(settings(tmp_path), FakeClock(), "answer") == (None, None)
