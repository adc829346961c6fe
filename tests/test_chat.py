"""The keyboard: keys come one by one, nothing else happens, and the terminal is given back whatever happens."""

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import anyio
import anyio.lowlevel
import pytest

from sse_agent.chat import NAMES, PASTE, Keyboard, Splitter


def split(*reads: str) -> list[str]:
    """The keys of what came in these reads, with nothing after them for a while."""
    splitter = Splitter()
    return [key for text in reads for key in splitter.split(text)] + list(splitter.flush())


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("hi", ["h", "i"]),
        ("é報", ["é", "報"]),
        ("a\rb\n", ["a", "enter", "b", "enter"]),
        ("\x1b[A\x1bOA\x1b[B\x1b[5~\x1b[6~", ["up", "up", "down", "pgup", "pgdn"]),
        ("\x7f\x08\x1b[3~\x15\x0b\x17", ["backspace", "backspace", "delete", "ctrl-u", "ctrl-k", "ctrl-w"]),
        ("\x01\x05\x1b[H\x1b[F\x1b[1~\x1b[4~", ["home", "end", "home", "end", "home", "end"]),
        ("\t\x1b[D\x1bOC", ["tab", "left", "right"]),
        ("\x1b", ["esc"]),
    ],
)
def test_what_a_terminal_sends_becomes_keys(text: str, keys: list[str]) -> None:
    assert split(text) == keys


@pytest.mark.parametrize(
    "sequence",
    [
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
def test_what_is_no_key_is_swallowed_whole(sequence: str) -> None:
    assert split(f"a{sequence}b") == ["a", "b"]


@pytest.mark.parametrize("sequence", [sequence for sequence in NAMES if len(sequence) > 1])
def test_a_sequence_that_comes_in_two_reads_is_still_one(sequence: str) -> None:
    for cut in range(1, len(sequence)):
        assert split("a" + sequence[:cut], sequence[cut:] + "b") == ["a", NAMES[sequence], "b"]


def test_escape_alone_is_a_key_and_takes_nothing_along() -> None:
    assert split("a\x1b", "bc") == ["a", "esc", "b", "c"]


def test_what_is_pasted_is_no_key_and_does_nothing() -> None:
    assert split("a\x1b[200~q\r\ny\t\x15\x1b[D\x03\x1b[201~b") == ["a", PASTE + "q  y ", "b"]
    assert split("\x1b[200~a\r", "q\x1b[201~q") == [PASTE + "a ", PASTE + "q", "q"]
    assert split("\x1b[200~a\x1b", "[201~q") == [PASTE + "a", "q"]


# --- a terminal -------------------------------------------------------------------------------------


@dataclass
class Terminal:
    """A pseudo-terminal: `type` is the person, `stdin` what the agent has."""

    master: int
    stdin: TextIO
    keys: list[str] = field(default_factory=list)

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.stdin.fileno())

    async def has(self, *keys: str) -> None:
        """Wait until these came, and nothing else."""
        while self.keys != list(keys):
            await anyio.lowlevel.checkpoint()


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


async def test_keys_come_as_they_are_typed_also_when_a_character_comes_in_halves() -> None:
    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(screen.stdin).read, screen.keys.append)
            await taken_over(screen, before)
            screen.type("hä".encode()[:2])
            await screen.has("h")
            screen.type("hä".encode()[2:] + b"\r")
            await screen.has("h", "ä", "enter")
            group.cancel_scope.cancel()
        assert screen.modes() == before


async def test_the_esc_key_is_told_from_a_sequence_by_the_silence_after_it() -> None:
    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(screen.stdin).read, screen.keys.append)
            await taken_over(screen, before)
            screen.type("\x1b")
            await screen.has("esc")
            screen.type("q")
            await screen.has("esc", "q")
            group.cancel_scope.cancel()


async def test_keys_come_at_once_and_unechoed_and_only_ctrl_c_is_still_a_signal() -> None:
    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(screen.stdin).read, screen.keys.append)
            await taken_over(screen, before)
            iflag, _, _, lflag, _, _, cc = screen.modes()
            group.cancel_scope.cancel()
    assert lflag & termios.ISIG
    assert cc[termios.VINTR] == b"\x03"
    assert not lflag & (termios.ICANON | termios.ECHO)
    assert not iflag & termios.IXON
    assert cc[termios.VSUSP] != b"\x1a"


async def test_the_terminal_is_given_back_when_a_key_breaks_something() -> None:
    def breaks(_: str) -> None:
        raise RuntimeError("a bug")

    with anyio.fail_after(10), terminal() as screen:
        before = screen.modes()
        screen.type("hi\r")
        with pytest.raises(RuntimeError):
            await Keyboard(screen.stdin).read(breaks)
        assert screen.modes() == before


async def test_a_terminal_that_goes_away_ends_it() -> None:
    master, slave = os.openpty()
    with anyio.fail_after(10), os.fdopen(slave, "r") as stdin:
        before = termios.tcgetattr(slave)
        async with anyio.create_task_group() as group:
            group.start_soon(Keyboard(stdin).read, print)
            await taken_over(Terminal(master, stdin), before)
            os.close(master)


async def test_without_a_terminal_nothing_is_read(tmp_path: Any) -> None:
    (tmp_path / "typed").write_text("hi\n")
    with anyio.fail_after(10), (tmp_path / "typed").open() as stdin:
        await Keyboard(stdin).read(print)
        assert stdin.read() == "hi\n"
    await Keyboard(None).read(print)
