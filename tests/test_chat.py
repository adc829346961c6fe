"""The keyboard: a line is edited and sent, nothing else happens, and the terminal is given back whatever happens."""

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import anyio
import pytest

from sse_agent.chat import Editor, Keyboard
from sse_agent.errors import TryAgain
from sse_agent.messages import MESSAGE_LIMIT


def typed(*reads: str) -> tuple[list[str], str]:
    """The lines that were sent, and what is left: `|` is the cursor."""
    editor = Editor()
    lines = [line for text in reads for line in editor.type(text)]
    return lines, f"{editor.before}|{editor.after}"


@pytest.mark.parametrize(
    ("reads", "lines", "left"),
    [
        (["hi\r"], ["hi"], "|"),
        (["one\ntwo\nthr"], ["one", "two"], "thr|"),
        (["\r  \r"], [], "|"),
        (["  spaced out \r"], ["spaced out"], "|"),
        (["abc\x7f\x08"], [], "a|"),
        (["\x7f\x7fa"], [], "a|"),
        (["one two  \x17"], [], "one |"),
        (["one two\x1b[D\x1b[D\x17"], [], "one |wo"),
        (["abc\x15d"], [], "d|"),
        (["abc\x1b[D\x1b[D\x15"], [], "|bc"),
        (["abc\x1b[D\x0b"], [], "ab|"),
        (["bc\x01a\x05d"], [], "abcd|"),
        (["bc\x1b[Ha\x1b[Fd\x1b[1~\x1b[3~"], [], "|bcd"),
        (["ac\x1bODb\x1bOCd\r"], ["abcd"], "|"),
        (["a\x1b[D\x1b[Db\x1b[C\x1b[C\x1b[Cc"], [], "bac|"),
        (["é報\x7f"], [], "é|"),
    ],
)
def test_keys_edit_the_line_and_enter_sends_it(reads: list[str], lines: list[str], left: str) -> None:
    assert typed(*reads) == (lines, left)


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[A",
        "\x1b[15~",
        "\x1b[1;5C",
        "\x1b[<0;10;10M",
        "\x1b[?62;22c",
        "\x1bOP",
        "\x1bx",
        "\x1b]11;rgb:0000/0000/0000\x07",
        "\x1b]11;rgb:0000/0000/0000\x1b\\",
        "\x1bP1+r\x1b\\",
        "\x00\x02\x04\x07\x0c\x12",
        "\x9b\x85",
    ],
)
def test_what_is_no_key_of_the_editor_is_swallowed_whole(sequence: str) -> None:
    assert typed(f"a{sequence}b") == ([], "ab|")


def test_a_sequence_that_comes_in_two_reads_is_still_one() -> None:
    for cut in (1, 2, 3, 4):
        assert typed("ab" + "\x1b[1;5D"[:cut], "\x1b[1;5D"[cut:] + "c") == ([], "abc|")
    assert typed("ab\x1bO", "Dc") == ([], "acb|".replace("cb|", "c|b"))


def test_escape_alone_takes_nothing_along() -> None:
    assert typed("a\x1b", "bc") == ([], "abc|")


def test_what_is_pasted_is_not_sent_before_enter_and_does_nothing_else() -> None:
    assert typed("\x1b[200~rm\r\n-rf\t/\x15\x1b[D\x03\x1b[201~") == ([], "rm  -rf /|")
    assert typed("\x1b[200~a\r", "b\x1b[201~c\r") == (["a bc"], "|")


def test_a_line_has_a_bound() -> None:
    lines, _ = typed("x" * 5000 + "\x01yy\r")
    assert lines == ["x" * MESSAGE_LIMIT]


# --- a terminal -------------------------------------------------------------------------------------


@dataclass
class Terminal:
    """A pseudo-terminal: `type` is the person, `stdin` what the agent has."""

    master: int
    stdin: TextIO
    said: list[str] = field(default_factory=list)
    heard: anyio.Event = field(default_factory=anyio.Event)

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.stdin.fileno())

    async def say(self, text: str) -> None:
        self.said.append(text)
        self.heard.set()


@contextmanager
def terminal() -> Iterator[Terminal]:
    master, slave = os.openpty()
    with os.fdopen(slave, "r") as stdin:
        try:
            yield Terminal(master, stdin)
        finally:
            os.close(master)


async def taken_over(screen: Terminal, before: list[Any]) -> None:
    """Wait until keys come one by one."""
    while screen.modes() == before:
        await anyio.lowlevel.checkpoint()


async def test_a_line_is_said_and_what_is_typed_after_it_is_the_draft() -> None:
    with anyio.fail_after(10), terminal() as screen:
        keyboard, before = Keyboard(screen.stdin), screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(keyboard.read, screen.say)
            await taken_over(screen, before)
            screen.type("hällo ".encode()[:2])
            screen.type("hällo ".encode()[2:] + "wörld\rmore".encode())
            await screen.heard.wait()
            while keyboard.draft != ("more", ""):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert screen.said == ["hällo wörld"]
        assert screen.modes() == before


async def test_keys_come_at_once_and_unechoed_and_only_ctrl_c_is_still_a_signal() -> None:
    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(screen.stdin).read, screen.say)
            await taken_over(screen, before)
            iflag, _, _, lflag, _, _, cc = screen.modes()
            group.cancel_scope.cancel()
    assert lflag & termios.ISIG
    assert cc[termios.VINTR] == b"\x03"
    assert not lflag & (termios.ICANON | termios.ECHO)
    assert not iflag & termios.IXON
    assert cc[termios.VSUSP] != b"\x1a"


async def test_the_terminal_is_given_back_when_it_is_cancelled_amid_saying() -> None:
    begun = anyio.Event()

    async def never_said(_: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(screen.stdin).read, never_said)
            await taken_over(screen, before)
            screen.type("hi\r")
            await begun.wait()
            assert screen.modes() != before
            group.cancel_scope.cancel()
        assert screen.modes() == before


async def test_the_terminal_is_given_back_when_saying_breaks() -> None:
    async def breaks(_: str) -> None:
        raise RuntimeError("a bug")

    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        screen.type("hi\r")
        with pytest.raises(RuntimeError):
            await Keyboard(screen.stdin).read(breaks)
        assert screen.modes() == before


async def test_what_can_not_be_said_now_stays_to_be_sent_again() -> None:
    tries = 0

    async def say(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TryAgain("the disk is full")
        again.set()

    again = anyio.Event()
    with anyio.fail_after(10), terminal() as screen:
        keyboard = Keyboard(screen.stdin)
        async with anyio.create_task_group() as group:
            group.start_soon(keyboard.read, say)
            screen.type("hi\r")
            while keyboard.draft != ("hi", ""):
                await anyio.lowlevel.checkpoint()
            screen.type("\r")
            await again.wait()
            group.cancel_scope.cancel()
        assert keyboard.draft == ("", "")


async def test_a_terminal_that_goes_away_ends_it() -> None:
    master, slave = os.openpty()
    with anyio.fail_after(10), os.fdopen(slave, "r") as stdin:
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(stdin).read, anyio.sleep)
            os.close(master)


async def test_without_a_terminal_nothing_is_read(tmp_path: Any) -> None:
    (tmp_path / "typed").write_text("hi\n")
    with anyio.fail_after(10), (tmp_path / "typed").open() as stdin:
        await Keyboard(stdin).read(Terminal(0, stdin).say)
        assert stdin.read() == "hi\n"
    await Keyboard(None).read(Terminal(0, stdin).say)
