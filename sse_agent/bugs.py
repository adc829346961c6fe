"""How a bug is told: where it happened, and never in its own words.

An exception's words may be anybody's: a library's with the URL that it was given, a validator's with the value that it
refused. Kind and place are enough to find it. The words of our own errors are written for people, and stay.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sse_agent.errors import AgentError

DEEPEST = 8
"""Exceptions that led to one another; more tell nothing new."""


def place(bug: BaseException) -> str:
    """In one line: `KeyError at dispatcher.py:123`."""
    frames = traceback.extract_tb(bug.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(bug).__name__ + where


def report(bug: BaseException, depth: int = 0) -> str:
    """As Python prints a traceback, with those that led to it first, and without words."""
    earlier = bug.__cause__ or (None if bug.__suppress_context__ else bug.__context__)
    parts = [report(earlier, depth + 1), "\nwhich led to:\n\n"] if earlier is not None and depth < DEEPEST else []
    parts += ["Traceback (most recent call last):\n", *traceback.format_tb(bug.__traceback__), _named(bug)]
    if isinstance(bug, BaseExceptionGroup) and depth < DEEPEST:
        parts += ["\nfrom each of these:\n\n" + report(one, depth + 1) for one in bug.exceptions]
    return "".join(parts)


def _named(bug: BaseException) -> str:
    name = type(bug).__qualname__
    if type(bug).__module__ != "builtins":
        name = f"{type(bug).__module__}.{name}"
    return f"{name}: {bug}\n" if isinstance(bug, AgentError) else f"{name}\n"


@contextmanager
def told_without_words() -> Iterator[None]:
    """Within the block whatever nobody catches, in any thread, task or finalizer, is told as `report` does.

    So are other libraries' log records from WARNING on: of those, the text without what was filled in.
    """
    handler = _Handler(logging.WARNING)
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    root = logging.getLogger()
    sys.excepthook = _tell
    threading.excepthook = lambda args: _tell_unless_exit(args.exc_value)
    sys.unraisablehook = lambda args: _tell_unless_exit(args.exc_value)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        sys.excepthook, threading.excepthook, sys.unraisablehook = before


def _tell(_: type[BaseException], bug: BaseException, __: TracebackType | None) -> None:
    _say(report(bug))


def _tell_unless_exit(bug: BaseException | None) -> None:
    if bug is not None and not isinstance(bug, SystemExit):
        _say(report(bug))


class _Handler(logging.Handler):
    """On standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        # asyncio fills its text in beforehand: tasks with their exceptions, callbacks with their arguments.
        text = "" if record.name == "asyncio" else f": {str(record.msg).strip().partition(chr(10))[0]}"
        _say(f"{record.levelname.lower()} of {record.name}, {record.filename}:{record.lineno}{text}\n")
        if record.exc_info and record.exc_info[1] is not None:
            _say(report(record.exc_info[1]))


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()
