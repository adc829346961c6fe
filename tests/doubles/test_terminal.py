"""The terminal of the tests shows what a terminal shows."""

from tests.doubles.terminal import Terminal


def shown(*written: str, width: int = 10, height: int = 3) -> list[str]:
    terminal = Terminal(width, height)
    for text in written:
        terminal.feed(text.encode())
    return terminal.lines


def test_text_is_written_at_the_cursor_and_wraps() -> None:
    assert shown("ab\r\ncd") == ["ab", "cd", ""]
    assert shown("0123456789ab") == ["0123456789", "ab", ""]
    assert shown("1\r\n2\r\n3\r\n4") == ["2", "3", "4"]


def test_the_cursor_is_moved_and_lines_are_erased() -> None:
    assert shown("abc\x1b[2;4Hxy\x1b[1;2H\x1b[K") == ["a", "   xy", ""]
    assert shown("abcdef\x1b[3Gx") == ["abxdef", "", ""]
    assert shown("abc\x1b[2J") == ["", "", ""]


def test_colours_are_not_seen_and_cut_sequences_and_characters_are_put_together() -> None:
    assert shown("\x1b[1;31mred\x1b[0m\x1b[", "2;1Hx") == ["red", "x", ""]
    terminal = Terminal(10, 1)
    terminal.feed("é".encode()[:1])
    terminal.feed("é".encode()[1:])
    assert terminal.lines == ["é"]


def test_wide_characters_take_two_cells_and_marks_none() -> None:
    assert shown("報告e\u0301x\x1b[5Gy") == ["報告yx", "", ""]
    assert shown("e\u0301x") == ["e\u0301x", "", ""]


def test_the_other_screen_leaves_the_first_as_it_was() -> None:
    terminal = Terminal(10, 2)
    terminal.feed(b"before\x1b[?1049h\x1b[?25lover")
    assert (terminal.lines[0].strip(), terminal.is_alternate, terminal.is_cursor_shown) == ("over", True, False)
    terminal.feed(b"\x1b[?25h\x1b[?1049l!")
    assert (terminal.lines[0], terminal.is_alternate, terminal.is_cursor_shown) == ("before!", False, True)
