"""What is drawn with, and which of it the terminal has."""

import sys
from dataclasses import dataclass

from rich.console import Console

from sse_agent.config import environment


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What is drawn with; `is_ascii` for terminals that have nothing else."""

    is_ascii: bool = False
    ellipsis: str = "…"
    confirmed: str = "━"
    sent: str = "╍"
    left: str = "─"
    rule: str = "─"
    beside: str = "│"
    dot: str = "·"
    on: str = "●"
    off: str = "○"
    done: str = "✓"
    failed: str = "✗"
    dropped: str = "–"
    warn: str = "▲"
    prompt: str = "›"
    arrows: str = "↑↓"


PRETTY = Glyphs()
ASCII = Glyphs(True, "..", "#", "=", ".", "-", "|", "-", "*", "o", "+", "x", "-", "!", ">", "Up Down")
# What Python itself puts into its environment instead of a locale of C, because it is what most terminals speak.
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def glyphs_for(console: Console) -> Glyphs:
    """ASCII where encoding or locale have nothing else, and on Linux's own console, whose font has too little."""
    is_plain = console.options.ascii_only or environment("TERM") == "linux" or not is_utf8_locale()
    return ASCII if is_plain else PRETTY


def is_utf8_locale() -> bool:
    """Whether the terminal is said to speak UTF-8. Python does not tell: in a locale of C it writes UTF-8 all the same.

    Where nothing is said, and on Windows, it is up to the encoding alone.
    """
    if sys.platform == "win32":
        return True
    all_, ctype, lang = (environment(name) or "" for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if not all_ and ctype in _COERCED and lang in ("C", "POSIX"):
        return False
    codeset = (all_ or ctype or lang or "UTF-8").partition("@")[0].rpartition(".")[2]
    return codeset.lower().replace("-", "") == "utf8"
