"""What people are shown: text from outside that a terminal shows and never obeys, and figures. Pure.

File names, chat and the words of servers are anybody's. `printable` is for all of them, before they reach a terminal
or a text log; the rest cuts what it returns to a width in terminal cells.
"""

import re
import unicodedata

from rich.cells import cell_len, chop_cells, get_character_cell_size, split_graphemes

ELLIPSIS = "…"
MARKS = 3
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Letters and signs by their category that are drawn as nothing.
_UNSEEN = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# Of an escape that is cut, what is left would be taken for a part of the name.
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def printable(text: str, *, is_ascii: bool = False) -> str:
    """The text with everything escaped that would not be seen, or would do something.

    Control characters become `\\x1b`, bidi overrides and what has no width `\\u202e`, the bytes of a name that is not
    UTF-8 (lone surrogates, by `surrogateescape`) `\\xff`; other spaces become spaces. At most `MARKS` combining marks
    stay on a character. With `is_ascii` nothing else than ASCII is left.
    """
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(_shown(text))
    return shown.encode("ascii", "backslashreplace").decode() if is_ascii else shown


def _shown(text: str) -> list[str]:
    shown: list[str] = []
    # A mark needs something to stand on: at the start it would climb on what is left of it on the screen.
    marks = MARKS
    for character in text:
        if not character.isprintable() or character in _UNSEEN:
            is_space = unicodedata.category(character) == "Zs"
            shown.append(_space(character) if is_space else _escaped(character))
            marks = MARKS
        elif _is_mark(character):
            marks += 1
            shown.append(character if marks <= MARKS else _escaped(character))
        else:
            shown.append(character)
            marks = MARKS if character == " " else 0
    return shown


def _space(character: str) -> str:
    return character if character == "\u3000" else " "


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me") or get_character_cell_size(character) == 0


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# --- cut to a width ---------------------------------------------------------------------------------


def shortened(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """At most `width` cells of it: its beginning. `text` is printable, as for all functions below."""
    if cell_len(text) <= width:
        return text
    return _head(text, width - len(ellipsis)) + ellipsis if width > len(ellipsis) else ellipsis[: max(0, width)]


def shortened_name(name: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """At most `width` cells of a file name: a little of its beginning, and its end, which tells most."""
    if cell_len(name) <= width:
        return name
    room = width - len(ellipsis)
    if room <= 0:
        return ellipsis[: max(0, width)]
    escapes = [found.span() for found in _ESCAPE.finditer(name)] if "\\" in name else []
    head = len(_head(name, room // 3)) if room >= 9 else 0
    head = next((start for start, end in escapes if start < head < end), head)
    tail = len(name) - len(_tail(name, room - cell_len(name[:head])))
    tail = next((end for start, end in escapes if start < tail < end < len(name)), tail)
    return name[:head] + ellipsis + name[tail:]


def shortened_words(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """At most `width` cells of its beginning, up to the end of a word, unless that is far away."""
    if cell_len(text) <= width:
        return text
    head = _head(text, width - len(ellipsis) - 1)
    end = head.rfind(" ") if not text[len(head) :].startswith(" ") else len(head)
    if end < len(head) * 2 // 3 or not end:
        return shortened(text, width, ellipsis)
    return f"{head[:end].rstrip()} {ellipsis}"


def padded(text: str, width: int) -> str:
    """Followed by spaces up to `width` cells."""
    return text + " " * (width - cell_len(text))


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken at spaces where there are any. At least one line."""
    width = max(2, width)
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        pieces = [piece for piece in chop_cells(word, width) if piece]
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    return lines


def _head(text: str, width: int) -> str:
    used = 0
    for start, _, cells in split_graphemes(text)[0]:
        if used + cells > width:
            return text[:start]
        used += cells
    return text


def _tail(text: str, width: int) -> str:
    used = 0
    for _, end, cells in reversed(split_graphemes(text)[0]):
        if used + cells > width:
            return text[end:]
        used += cells
    return text


# --- figures ----------------------------------------------------------------------------------------


def byte_count(count: int) -> str:
    """`512 B`, `1.46 KiB`, `120 MiB`: three digits, at most 8 cells."""
    value, unit = _scaled(count)
    return f"{_digits(value) if unit else f'{count}'} {_UNITS[unit]}"


def byte_share(part: int, whole: int) -> str:
    """`57.1/120 MiB`: both in the unit of the whole, at most 13 cells."""
    _, unit = _scaled(max(part, whole))
    if not unit:
        return f"{part}/{whole} B"
    return f"{_digits(part / 1024**unit)}/{_digits(whole / 1024**unit)} {_UNITS[unit]}"


def _scaled(count: int) -> tuple[float, int]:
    value, unit = float(count), 0
    # Before 1,000, so that three digits are enough.
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return value, unit


def _digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def seconds(passed: float) -> str:
    """`0.4 s`: as a duration, but exact enough for what was over soon."""
    return duration(passed) if passed >= 10 else f"{passed:.1f} s"


def duration(seconds: float, parts: int = 2) -> str:
    """`42 s`, `2 min 13 s`, `1 h 20 min`, `3 d 4 h`, or only the first of the two; at most 11 cells up to 99 days."""
    left = max(0, round(seconds))
    for name, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            rest = left % size // below_size
            return f"{left // size} {name}" + (f" {rest} {below}" if rest and parts > 1 else "")
    return f"{left} s"


def next_try(left_s: float) -> str:
    """`next try in 12 s`; within the second `next try now`."""
    return f"next try in {duration(left_s)}" if round(left_s) >= 1 else "next try now"
