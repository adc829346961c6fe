"""Instants as people read them: in this machine's time, with the date when it is not today's."""

from datetime import datetime

from sse_agent.clock import parse_timestamp
from sse_agent.printable import duration


def local_time(text: str | None, now: datetime) -> str:
    """Of RFC 3339: `10:30:00`, or `2026-11-22 10:30:00`. What is no instant is shown as it is; nothing is nothing."""
    if not text:
        return ""
    try:
        at = parse_timestamp(text).astimezone()
    except (ValueError, OverflowError):
        return text
    return at.strftime("%H:%M:%S" if at.date() == now.astimezone().date() else "%Y-%m-%d %H:%M:%S")


def next_try(text: str | None, now: datetime) -> str:
    """`next try in 12 s`; nothing once it is due: whoever is at rest does not try, and who runs has begun."""
    if not text:
        return ""
    try:
        left_s = (parse_timestamp(text) - now).total_seconds()
    except ValueError:
        return ""
    return f"next try in {duration(left_s)}" if left_s >= 1 else ""
