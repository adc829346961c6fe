"""events → lines: one JSON object a line, or a sentence for people. A view, as the console is."""

import dataclasses
import json
from contextlib import suppress
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TextIO

from sse_agent.clock import Clock, timestamp
from sse_agent.events import Event, UploadProgressed
from sse_agent.printable import printable

PROGRESS_EVERY_S = 10.0
LEVELS = ("debug", "info", "warning", "error")


class Lines:
    """A listener of the feed. A log that can't be written (a closed pipe) is no reason to stop."""

    def __init__(self, stream: TextIO, clock: Clock, *, style: Literal["json", "text"], level: str) -> None:
        self._stream = stream
        self._clock = clock
        self._write = _as_json if style == "json" else _as_text
        self._least = LEVELS.index(level)
        self._progress_at: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if LEVELS.index(event.level) < self._least or not self._is_due(event):
            return
        line = self._write(event, timestamp(self._clock.now()))
        # ValueError: the stream is closed.
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def _is_due(self, event: Event) -> bool:
        """Progress at most once in `PROGRESS_EVERY_S` for each upload; what ended is forgotten with the next."""
        if not isinstance(event, UploadProgressed):
            return True
        now = self._clock.monotonic()
        if now - self._progress_at.get(event.file_id, -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
            return False
        self._progress_at = {key: at for key, at in self._progress_at.items() if now - at < 6 * PROGRESS_EVERY_S}
        self._progress_at[event.file_id] = now
        return True


def _as_json(event: Event, at: str) -> str:
    fields = {name: _plain(value) for name, value in dataclasses.asdict(event).items()}
    return json.dumps({"at": at, "level": event.level, "event": event.name, **fields})


def _as_text(event: Event, at: str) -> str:
    shown = [f"{name}={_quoted(_plain(value))}" for name, value in dataclasses.asdict(event).items() if value != ""]
    return f"{at} {event.level:<7} {event.name:<18} {' '.join(shown)}".rstrip()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, Enum):
        return value.value
    return round(value, 3) if isinstance(value, float) else value


def _quoted(value: Any) -> str:
    text = printable(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text or not text else text
