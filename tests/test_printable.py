"""Text from outside: seen, never obeyed, and as wide as it is said to be."""

import sys
import unicodedata

import pytest
from rich.cells import cell_len

from sse_agent.printable import (
    MARKS,
    byte_count,
    byte_share,
    duration,
    padded,
    printable,
    shortened,
    shortened_name,
    wrapped,
)

HOSTILE = [
    "evil\x1b[2J\x1b]0;owned\x07.txt",
    "rtl-\u202egpj.exe",
    "zalgo-" + "e" + "\u0301" * 120,
    b"latin-\xfc\xff.raw".decode(errors="surrogateescape"),
    "a" * 255,
    "報告書 2026年11月 最終版 — 本社提出用.pdf",
    "\u0301starts with a mark",
    "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f44d\U0001f3fd.png",
    "tab\tnewline\nreturn\r",
    "c1\x9b31m\x85del\x7f",
    "hangul \u1100\u1161\u11a8 filler \u3164\u115f",
    "tag\U000e0041\U000e007f private\ue000 unassigned\U000e0fff",
    "[bold red]not markup[/]",
    "",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.txt", "plain name.txt"),
        ("Größe 50 %–100 %.csv", "Größe 50 %–100 %.csv"),
        ("back\\slash", "back\\slash"),
        ("\x1b[31m\x07", "\\x1b[31m\\x07"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x7f\x9b", "\\x7f\\u009b"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("zero\u200bwidth\u200d\ufeff", "zero\\u200bwidth\\u200d\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("no\xa0break\u202fthin\u3000wide", "no break thin\u3000wide"),
        ("blank\u3164letter", "blank\\u3164letter"),
        ("e\u0301", "e\u0301"),
        ("\u0301e", "\\u0301e"),
        ("e" + "\u0301" * (MARKS + 2), "e" + "\u0301" * MARKS + "\\u0301" * 2),
    ],
)
def test_what_is_not_seen_or_does_something_is_escaped_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_at_all_gets_through_that_a_terminal_could_obey() -> None:
    shown = printable("a".join(map(chr, range(sys.maxunicode + 1))))
    assert {unicodedata.category(c) for c in set(shown)}.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def test_ascii_is_all_that_is_left_for_a_terminal_that_has_nothing_else() -> None:
    assert printable("ü \u202e 報", is_ascii=True) == "\\xfc \\u202e \\u5831"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_that_is_cut_is_never_wider_than_its_column_and_shows_its_end(text: str) -> None:
    name = printable(text)
    for width in range(60):
        cut = shortened_name(name, width)
        assert cell_len(cut) <= width
        assert cell_len(shortened(name, width)) <= width
        assert cell_len(padded(cut, width)) == width
        if cut != name and width >= 12:
            assert cut.endswith(name[-3:])


def test_a_name_that_fits_is_left_alone_and_a_cut_one_keeps_a_little_of_its_beginning() -> None:
    assert shortened_name("scan.tiff", 9) == "scan.tiff"
    assert shortened_name("warehouse-7-camera-left-0417.tiff", 20) == "wareho…eft-0417.tiff"
    assert shortened("the tus server answered 423", 12) == "the tus ser…"


@pytest.mark.parametrize("text", [*HOSTILE, "many short words that must not be lost on the way", "長い文" * 40])
def test_wrapped_lines_fit_and_lose_nothing(text: str) -> None:
    for width in (2, 8, 21, 400):
        lines = wrapped(printable(text), width)
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == printable(text).replace(" ", "")


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1536, "1.50 KiB"),
        (57 * 1024**2, "57.0 MiB"),
        (120 * 1024**2, "120 MiB"),
        (1023 * 1024**2, "1.00 GiB"),
        (5 * 1024**4, "5.00 TiB"),
    ],
)
def test_sizes_have_three_digits(count: int, shown: str) -> None:
    assert byte_count(count) == shown


def test_sizes_keep_to_their_columns() -> None:
    for power in range(60):
        for size in (2**power - 1, 2**power, 2**power * 3 // 2):
            assert len(byte_count(size)) <= 8
            assert len(byte_share(size // 3, size)) <= 13
            assert len(byte_share(size, size)) <= 13


def test_a_share_is_told_in_the_unit_of_the_whole() -> None:
    assert byte_share(57 * 1024**2, 120 * 1024**2) == "57.0/120 MiB"
    assert byte_share(10 * 1024, 3 * 1024**3) == "0.00/3.00 GiB"
    assert byte_share(7, 0) == "7/0 B"


@pytest.mark.parametrize(
    ("seconds", "shown", "short"),
    [
        (0.4, "0 s", "0 s"),
        (59.6, "1 min", "1 min"),
        (133, "2 min 13 s", "2 min"),
        (4800, "1 h 20 min", "1 h"),
        (273_600, "3 d 4 h", "3 d"),
        (-5, "0 s", "0 s"),
    ],
)
def test_durations_have_two_parts_or_one(seconds: float, shown: str, short: str) -> None:
    assert duration(seconds) == shown
    assert duration(seconds, 1) == short
