"""Builds with one mistake each, of the kind that is easily made. The fuzz finds all of them."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import StringConstraints

from sse_agent import eventstream, messages
from sse_agent.eventstream import EventStreamGuard


def nul_id() -> None:
    """An ID with NUL counts."""

    class Lenient(EventStreamGuard):
        def _take(self, name: bytes, value: bytes, line_bytes: int, *, is_cut: bool) -> None:
            super()._take(name, value.replace(b"\0", b"") if name == b"id" else value, line_bytes, is_cut=is_cut)

    eventstream.EventStreamGuard = Lenient  # type: ignore[misc]


def split_crlf() -> None:
    """The LF of a CRLF that was cut is a second line end."""

    class Forgetful(EventStreamGuard):
        def feed(self, chunk: bytes) -> list[Any]:
            self._is_after_cr = False
            return super().feed(chunk)

    eventstream.EventStreamGuard = Forgetful  # type: ignore[misc]


def unbounded_line() -> None:
    """The guard keeps as much of a line as comes."""

    class Patient(EventStreamGuard):
        def __init__(self, last_event_id: str = "") -> None:
            super().__init__(last_event_id, limit=2**40)

    eventstream.EventStreamGuard = Patient  # type: ignore[misc, assignment]


def no_bounds() -> None:
    """Depth and numbers are left to the parser."""
    messages._check_bounds = lambda *_: None


def echo() -> None:
    """A refusal names whatever member is wrong, the sender's own included."""
    messages._place = lambda path: ".".join(map(str, path))
    fields = messages.UploadStart.model_fields
    fields["metadata"] = _checked_by_the_model(fields["metadata"])
    messages.UploadStart.model_rebuild(force=True)


def _checked_by_the_model(field: Any) -> Any:
    """Key by key, so that each key is part of the place of its error."""
    key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    return field.__class__.from_annotation(dict[key, str])


def slow_pattern() -> None:
    """A pattern that backtracks: each letter more doubles the time."""
    messages._METADATA_KEY = re.compile(r"(?:[A-Za-z0-9._-]+)+")


def hoarder() -> None:
    """Whatever was read is kept."""
    kept: list[object] = []
    parse = messages.parse_envelope

    def keep(data: str | bytes) -> messages.Envelope:
        kept.append(bytes(data) * 64 if isinstance(data, bytes) else data)
        return parse(data)

    messages.parse_envelope = keep


BROKEN: dict[str, tuple[str, Callable[[], None]]] = {
    "nul-id": ("stream", nul_id),
    "split-crlf": ("stream", split_crlf),
    "unbounded-line": ("stream", unbounded_line),
    "no-bounds": ("command", no_bounds),
    "echo": ("command", echo),
    "slow-pattern": ("command", slow_pattern),
    "hoarder": ("command", hoarder),
}
"""Name → the target that finds it, and how it is made."""
