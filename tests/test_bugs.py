"""A bug is told by its kind and place; whatever its words say stays unsaid."""

import asyncio
import gc
import logging
import sys
import threading

import pytest

from sse_agent import bugs
from sse_agent.errors import TryAgain

SECRET = "s3cr3t"


def fail(error: BaseException) -> None:
    raise error


def caught(error: BaseException) -> BaseException:
    """The same, with a traceback."""
    try:
        fail(error)
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        return raised
    raise AssertionError


def test_a_bug_has_a_kind_and_a_place() -> None:
    place = bugs.place(caught(KeyError(SECRET)))
    assert place.startswith("KeyError at test_bugs.py:")
    assert bugs.place(KeyError(SECRET)) == "KeyError"


def test_a_report_shows_frames_and_the_exceptions_before_without_their_words() -> None:
    def lead_on() -> None:
        try:
            fail(ValueError(SECRET))
        except ValueError:
            raise RuntimeError(SECRET) from None

    def lead() -> None:
        try:
            fail(KeyError(SECRET))
        except KeyError:
            lead_on()

    try:
        lead()
    except RuntimeError as bug:
        hidden = bugs.report(bug)
        bug.__suppress_context__ = False
        report = bugs.report(bug)
    assert "in lead_on" in report
    assert report.index("KeyError") < report.index("ValueError") < report.index("RuntimeError")
    assert "ValueError" not in hidden
    assert SECRET not in report


def test_a_report_of_a_group_shows_what_is_in_it() -> None:
    report = bugs.report(caught(BaseExceptionGroup(SECRET, [caught(KeyError(SECRET)), caught(OSError(SECRET))])))
    assert "KeyError" in report
    assert "OSError" in report
    assert SECRET not in report


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError(), TypeError()
    one.__cause__, other.__cause__ = other, one
    assert bugs.report(one).count("ValueError") <= bugs.DEEPEST


def test_the_words_of_our_own_errors_are_told() -> None:
    assert "TryAgain: the disk is full" in bugs.report(caught(TryAgain("the disk is full")))


def test_what_nobody_catches_is_told_without_words(capfd: pytest.CaptureFixture[str]) -> None:
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    with bugs.told_without_words():
        thread = threading.Thread(target=fail, args=(KeyError(SECRET),))
        thread.start()
        thread.join()
        sys.excepthook(ValueError, caught(ValueError(SECRET)), None)
        finalized = type("Finalized", (), {"__del__": lambda _: fail(OSError(SECRET))})()
        del finalized
        gc.collect()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == hooks
    told = capfd.readouterr().err
    assert all(name in told for name in ("KeyError", "ValueError", "OSError"))
    assert "in fail" in told
    assert SECRET not in told


def test_a_task_that_nobody_waited_for_is_told_without_words(capfd: pytest.CaptureFixture[str]) -> None:
    async def forget() -> None:
        async def break_down(_: str) -> None:
            fail(ValueError(SECRET))

        def call_back(words: str) -> None:
            fail(KeyError(words))

        task = asyncio.create_task(break_down(SECRET))
        asyncio.get_running_loop().call_soon(call_back, SECRET)
        await asyncio.wait([task])
        del task
        gc.collect()

    with bugs.told_without_words():
        asyncio.run(forget())
    told = capfd.readouterr().err
    assert "error of asyncio" in told
    assert "ValueError" in told
    assert "KeyError" in told
    assert SECRET not in told


def test_other_libraries_log_records_are_told_without_what_was_filled_in(capfd: pytest.CaptureFixture[str]) -> None:
    with bugs.told_without_words():
        logging.getLogger("httpx").info("HTTP Request: %s", SECRET)
        logging.getLogger("library").debug("whole headers: %s", SECRET)
        logging.getLogger("library").warning("Failed to parse headers (url=%s)", SECRET)
    told = capfd.readouterr().err
    assert told.startswith("warning of library, test_bugs.py:")
    assert told.endswith(": Failed to parse headers (url=%s)\n")
    assert len(told.splitlines()) == 1
