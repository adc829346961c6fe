"""Plain columns for a terminal or a file: names are hostile here as everywhere."""

import base64
import json
import shutil
import sys
import textwrap
from argparse import ArgumentTypeError
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from sse_agent.errors import CannotStart, ExitCode
from sse_agent.printable import padded, printable


def row_count(text: str) -> int:
    """How many rows somebody wants to see."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("expected a whole number from 1 on")
    return int(text)


def print_lines(lines: Iterable[str]) -> None:
    """On standard output, now: whoever reads it may have seen enough (BrokenPipeError), and that is known here.

    Raises CannotStart, 75, when it takes no more for another reason, such as a full disk.
    """
    try:
        for line in lines:
            print(line)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still buffered must not raise it again when Python ends.
        sys.stdout = None
        message = f"standard output takes no more: {(error.strerror or '?').lower()}"
        raise CannotStart(message, ExitCode.TRY_AGAIN) from None


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


def file_name(upload: Mapping[str, Any]) -> str:
    """Of an upload, as the agent answers, for `shown_text`: each byte that is no UTF-8 is kept as a lone surrogate."""
    raw = upload.get("fileNameB64")
    return base64.b64decode(raw).decode(errors="surrogateescape") if raw else str(upload["fileName"])


def width() -> int | None:
    """Cells of a line on standard output; None if it is no terminal: a file has no width."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def print_words(text: str, indent: str = "") -> None:
    """A sentence, of whatever origin; on a terminal broken between words: what is copied, as a path, stays whole."""
    room, text = width(), shown_text(text)
    lines = [text]
    if room is not None:
        room = max(20, room - len(indent))
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    print_lines(indent + line for line in lines)


def shown_text(text: str) -> str:
    """Made printable, for the encoding that standard output has."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    shown = printable(text)
    try:
        shown.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return printable(text, is_ascii=True)
    return shown
