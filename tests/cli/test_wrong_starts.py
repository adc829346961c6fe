"""Every wrong start says what, why and what to do, in the words of docs/reference/wrong-starts.md, and no traceback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.starter import Start, Starter
from tests.cli.wrong_starts import CASES, CHECK, HEAD, PAGE, SETTINGS, WrongStart, complaints, documented, printed
from tests.doubles.processes import _environment
from tests.doubles.services import until

Printed = Future[tuple[int | None, str]]


def name_of(case: WrongStart) -> str:
    return case.title + (", as check tells it" if case.command == CHECK else "")


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with Starter() as started:
        yield started


@pytest.fixture(scope="module")
def prints(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, starter: Starter
) -> Iterator[dict[str, Printed]]:
    """What those print that were selected, two at a time: most of it is waiting for a process to start."""
    calls = [item.callspec for item in request.session.items if isinstance(item, pytest.Function) and _has_case(item)]
    cases = [call.params["case"] for call in calls]
    folder = tmp_path_factory.mktemp("homes")
    pool = ThreadPoolExecutor(2)
    try:
        yield {name_of(case): pool.submit(printed, case, folder / str(n), starter) for n, case in enumerate(cases)}
    finally:
        pool.shutdown(cancel_futures=True)


def _has_case(item: pytest.Function) -> bool:
    return item.module is sys.modules[__name__] and "case" in getattr(getattr(item, "callspec", None), "params", {})


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_wrong_start_prints_what_its_page_says(case: WrongStart, prints: dict[str, Printed]) -> None:
    code, output = prints[name_of(case)].result()
    if "no way to mount a disk" in output:
        pytest.skip(output)
    assert complaints(case, code, output) == []


def test_the_page_has_every_wrong_start_and_no_other() -> None:
    assert set(documented()) == {(case.title, case.command == CHECK) for case in CASES}
    assert len(documented()) >= 25
    assert PAGE.read_text().startswith(HEAD)


def test_a_start_that_goes_wrong_in_another_way_is_found(tmp_path: Path, starter: Starter) -> None:
    nothing_set, no_url = SETTINGS[:2]
    found = complaints(nothing_set, *printed(replace(nothing_set, spoil=no_url.spoil), tmp_path / "home", starter))
    assert [complaint.splitlines()[0] for complaint in found] == ["not what the page says:"]


def test_a_traceback_a_secret_a_long_answer_and_another_exit_code_are_found() -> None:
    found = complaints(SETTINGS[0], 75, "Traceback (most recent call last):\n" * 9 + "token-of-the-test")
    assert found[:4] == ["exit code 75, not 78", "a traceback", "a secret", "more than 8 lines"]


@pytest.mark.parametrize(
    "arguments", [["run", "--headless"], ["check"], ["--help"], ["uploads", "list", "--state", "none"], ["version"]]
)
def test_what_the_starter_starts_prints_and_ends_as_the_program_does(
    arguments: list[str], starter: Starter, tmp_path: Path
) -> None:
    variables = _environment({"HOME": str(tmp_path), "SSE_AGENT_CLIENT_ID": "two words", "PYTHONUTF8": "1"})
    command = [sys.executable, "-m", "sse_agent", *arguments]
    child = subprocess.run(
        command,
        env=variables,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    start = starter.start(arguments, variables, tmp_path)
    try:
        assert (start.wait(), start.output) == (child.returncode, child.stdout)
    finally:
        start.close()


def test_a_start_that_runs_on_ends_when_it_is_let_go_of(starter: Starter, tmp_path: Path) -> None:
    (tmp_path / "outgoing").mkdir()
    settings = {
        "HOME": str(tmp_path),
        "SSE_AGENT_CONTROL_PLANE_URL": "https://control.invalid",
        "SSE_AGENT_CLIENT_ID": "warehouse-7",
        "SSE_AGENT_TOKEN": "token-of-the-test",
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(tmp_path / "outgoing")]),
        "SSE_AGENT_STATE_DIR": str(tmp_path / "state"),
    }
    for let_go in (Start.close, Start.abandon):
        start = starter.start(["run", "--headless"], _environment(settings), tmp_path)
        start.read_until(lambda output: "agent.started" in output)
        let_go(start)
        until(lambda pid=start.pid: not Path(f"/proc/{pid}").exists(), "it is gone", 60)  # type: ignore[misc]
