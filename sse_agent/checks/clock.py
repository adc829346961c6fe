"""This machine's clock against what a server's `Date` header says."""

from datetime import datetime

from sse_agent.checks.report import Check, failed, ok
from sse_agent.printable import duration
from sse_agent.retry import parse_http_date

TOLERATED_S = 5 * 60
ADVICE = "set the clock (timedatectl set-ntp true): with a wrong one certificates look expired, and the log misleads"


def check(date: str | None, now: datetime, whose: str) -> Check:
    """`date` is the header's text, `now` this machine's time when it came."""
    at = parse_http_date(date or "")
    if at is None:
        return ok("clock", f"not compared: {whose} does not say what time it is")
    ahead_s = (now - at).total_seconds()
    if abs(ahead_s) > TOLERATED_S:
        how = "ahead of" if ahead_s > 0 else "behind"
        return failed("clock", f"this machine is {duration(abs(ahead_s))} {how} {whose}", ADVICE)
    return ok("clock", f"within {max(1, round(abs(ahead_s)))} s of {whose}'s")


def hint(head: bytes, now: datetime) -> str:
    """A few words if the head of an answer, from whomever, says that it is the clock that is wrong; else nothing."""
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            seen = check(value.strip(), now, "the server that answered")
            return seen.found if seen.has_failed else ""
    return ""
