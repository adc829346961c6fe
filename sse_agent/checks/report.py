"""One check: ok, warning or failed; what was found, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Only `failed` keeps the agent from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """`advice` is empty when there is nothing to do. No text in it is secret; some of it is from outside."""

    name: str
    state: State
    found: str
    advice: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether what depends on it need not be tried."""
        return self.state is State.FAILED


def ok(name: str, found: str) -> Check:
    """As it should be."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, advice: str) -> Check:
    """It works, but a person should know."""
    return Check(name, State.WARNING, found, advice)


def failed(name: str, found: str, advice: str) -> Check:
    """It keeps the agent from working."""
    return Check(name, State.FAILED, found, advice)
