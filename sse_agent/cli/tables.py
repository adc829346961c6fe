"""Plain columns for a terminal or a file: names are hostile here as everywhere."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from sse_agent.printable import padded, printable


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=True))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as what is in them, the last as it is."""
    shown = [[shown_text(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(titles, *shown, strict=True)]
    for row in (titles, *shown):
        cells = [padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def shown_text(text: str) -> str:
    """Made printable, for the encoding that standard output has."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    shown = printable(text)
    try:
        shown.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return printable(text, is_ascii=True)
    return shown
