"""Every wrong start says what, why and what to do, in the words of docs/reference/wrong-starts.md, and no traceback."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.wrong_starts import CASES, CHECK, HEAD, PAGE, SETTINGS, WrongStart, complaints, documented, printed

Printed = Future[tuple[int | None, str]]


def name_of(case: WrongStart) -> str:
    return case.title + (", as check tells it" if case.command == CHECK else "")


@pytest.fixture(scope="module")
def prints(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Printed]]:
    """What those print that were selected, two at a time: most of it is waiting for a process to start."""
    calls = [item.callspec for item in request.session.items if isinstance(item, pytest.Function) and _has_case(item)]
    cases = [call.params["case"] for call in calls]
    folder = tmp_path_factory.mktemp("homes")
    pool = ThreadPoolExecutor(2)
    try:
        yield {name_of(case): pool.submit(printed, case, folder / str(n)) for n, case in enumerate(cases)}
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


def test_a_start_that_goes_wrong_in_another_way_is_found(tmp_path: Path) -> None:
    nothing_set, no_url = SETTINGS[:2]
    found = complaints(nothing_set, *printed(replace(nothing_set, spoil=no_url.spoil), tmp_path / "home"))
    assert [complaint.splitlines()[0] for complaint in found] == ["not what the page says:"]


def test_a_traceback_a_secret_a_long_answer_and_another_exit_code_are_found() -> None:
    found = complaints(SETTINGS[0], 75, "Traceback (most recent call last):\n" * 9 + "token-of-the-test")
    assert found[:4] == ["exit code 75, not 78", "a traceback", "a secret", "more than 8 lines"]
