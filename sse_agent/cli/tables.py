"""Plain columns for a terminal or a file: names are hostile here as everywhere."""

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich.cells import cell_len

from sse_agent.printable import padded, printable


def row_count(text: str) -> int:
    """How many rows somebody wants to see."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("expected a whole number from 1 on")
    return int(text)


def print_lines(lines: Iterable[str]) -> None:
    """On standard output, now: whoever reads it may have seen enough (BrokenPipeError), and that is known here."""
    for line in lines:
        print(line)
    if sys.stdout is not None:
        sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print_lines([json.dumps(value, ensure_ascii=True)])


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> None:
    """Columns as wide as what is in them, the last as it is; those numbered in `right` end at one line."""
    print_lines(columns([titles, *rows], right))


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """One line a row. Figures are read best when they end at one line (`right`, by number)."""
    shown = [[shown_text(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = [
            " " * (width - cell_len(cell)) + cell if number in right else padded(cell, width)
            for number, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def shown_text(text: str) -> str:
    """Made printable, for the encoding that standard output has."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    shown = printable(text)
    try:
        shown.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return printable(text, is_ascii=True)
    return shown
