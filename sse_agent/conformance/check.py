"""One check: its name, the sentence of the contract that it checks, and what carries it out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sse_agent.conformance.kit import Kit
    from sse_agent.conformance.peer import Exchange

Deed = Callable[["Kit"], Awaitable[None]]


class Broken(Exception):
    """The control plane does not keep that sentence; the words say what it did."""


class NotRun(Exception):
    """It can't be said; the words say what is missing."""


NONSENSE = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What Python makes of an answer that is quite another thing than it should be."""


def broken_by(error: BaseException) -> Broken:
    """For one of NONSENSE. The error's own words may be the answer's."""
    return Broken(f"an answer has quite another form than it should have ({type(error).__name__})")


class State(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    BROKEN = "broken"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is `<group>.<what>`; `contract` what the contract says."""

    name: str
    contract: str
    carry_out: Deed = field(repr=False)

    @property
    def group(self) -> str:
        """The part before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one check. `why` is empty if it passed; `exchanges` are the last ones, oldest first."""

    check: Check
    state: State
    why: str = ""
    exchanges: tuple["Exchange", ...] = ()


class Group:
    """Collects the checks of one file, in the order in which they are written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []

    def check(self, name: str, contract: str) -> Callable[[Deed], Deed]:
        """Declare the function below a check of this group."""

        def add(deed: Deed) -> Deed:
            self.checks.append(Check(f"{self.name}.{name}", contract, deed))
            return deed

        return add


def expect(condition: object, words: str) -> None:
    """Raises Broken with these words if the condition is not met."""
    if not condition:
        raise Broken(words)
