"""A real agent on a real terminal: whatever way it ends, the person has the terminal back as it was."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sse_agent.errors import ExitCode
from tests.doubles.seat import Person, seated

TOKEN = "a-token-of-the-test"
BREAKS = """
import importlib
show = importlib.import_module("sse_agent.console.show")
drawn = show._lines
def broken(session, *arguments):
    if session.state.mode == "help":
        raise RuntimeError("a bug in what is drawn")
    return drawn(session, *arguments)
show._lines = broken
"""
KEEPS_THE_SCREEN = "from sse_agent.console import screen; screen.LEAVE = ''"
KEEPS_THE_MODES = """
import termios
changed, count = termios.tcsetattr, []
termios.tcsetattr = lambda *arguments: None if count else (count.append(1), changed(*arguments))[1]
"""


def settings(folder: Path) -> dict[str, str]:
    """An agent whose control plane is not there."""
    (folder / "files").mkdir()
    return {
        "SSE_AGENT_CONTROL_PLANE_URL": "http://127.0.0.1:9",
        "SSE_AGENT_CLIENT_ID": "seat-1",
        "SSE_AGENT_TOKEN": TOKEN,
        "SSE_AGENT_STATE_DIR": str(folder / "state"),
        "SSE_AGENT_ALLOWED_FOLDERS": json.dumps([str(folder / "files")]),
    }


def test_a_person_chats_stops_the_agent_and_gets_the_terminal_back(tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path) as person:
        person.sees("seat-1 .*waiting")
        person.types("m")
        person.sees("type to answer")
        person.types("anybody there?")
        person.sees("› anybody there\\?")
        person.types("\r")
        person.sees("you  anybody there\\?")
        person.types("half a line\x03")
        person.leaves()
        person.sees("^  unfinished  nothing")
        assert TOKEN.encode() not in person.written


def quits(person: Person) -> None:
    person.types("q")


def presses_ctrl_c(person: Person) -> None:
    person.types("\x03")


def is_told_to_stop(person: Person) -> None:
    person.child.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("way", [quits, presses_ctrl_c, is_told_to_stop])
def test_the_terminal_is_as_it_was_and_a_summary_stays(way: "Callable[[Person], None]", tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path) as person:
        person.sees("waiting")
        way(person)
        person.leaves()
        person.sees("^sse-agent .* ran ")


def test_the_terminal_is_as_it_was_also_after_a_bug_in_what_is_drawn(tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path, breaking=BREAKS) as person:
        person.sees("waiting")
        person.types("?")
        person.leaves(ExitCode.TRY_AGAIN)
        person.sees("RuntimeError")


@pytest.mark.parametrize(
    ("breaking", "complaint"),
    [(KEEPS_THE_SCREEN, "the other screen is still shown"), (KEEPS_THE_MODES, "the modes of the terminal")],
)
def test_a_terminal_that_is_not_given_back_is_noticed(breaking: str, complaint: str, tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path, breaking=breaking) as person:
        person.sees("waiting")
        person.types("\x03")
        with pytest.raises(AssertionError, match=complaint):
            person.leaves()


def test_what_was_said_and_has_not_gone_out_is_asked_about_before_the_agent_stops(tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path) as person:
        person.sees("waiting")
        person.types("manybody?\r\x1b")
        person.sees("you  anybody")
        person.types("q")
        person.sees("Stop the agent. 1 message goes out at the next start. y/n")
        person.types("y")
        person.leaves()


def test_a_window_that_changes_its_size_is_filled_anew(tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path) as person:
        person.sees("waiting")
        for width, height in ((40, 10), (200, 60), (120, 40)):
            person.resizes(width, height)
            person.sees("waiting|○")
            person.waits_for(lambda: "? help" in person.lines[-1], "the keys in the last line")
            assert person.lines[-1] == person.lines[-1][:width]


def looks_at_everything(person: Person) -> None:
    """In a terminal that has nothing but ASCII; what was written to it is checked, not only what is still seen."""
    person.sees("seat-1 .*o waiting")
    person.types("mGr\u00f6\u00dfe \u5831\r\x1b")
    person.sees(r"you  Gr\\xf6\\xdfe")
    person.types("l")
    person.sees("-- Log")
    person.types("q?")
    person.sees("-- Help")
    person.types("q\x03")
    person.leaves()
    person.sees("^  unfinished  nothing")
    assert person.written.isascii(), "something else than ASCII was written"


def test_a_terminal_without_unicode_is_written_nothing_but_ascii(tmp_path: Path) -> None:
    with seated(settings(tmp_path), tmp_path, locale="C") as person:
        looks_at_everything(person)


def test_anything_else_than_ascii_is_noticed(tmp_path: Path) -> None:
    breaking = """
import importlib
importlib.import_module("sse_agent.console.show").farewell = lambda *_: "  unfinished  nothing \u2026"
"""
    with (
        seated(settings(tmp_path), tmp_path, locale="C", breaking=breaking) as person,
        pytest.raises(AssertionError, match="something else than ASCII"),
    ):
        looks_at_everything(person)
