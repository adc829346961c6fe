"""Who may speak for an agent. Pure: looks at what is bound and returns the ruling.

The control plane binds one instance to a (journal, epoch). Epochs are compared within one journal only: a journal that
was superseded by another one never comes back by itself, whatever its epoch.
"""

from dataclasses import dataclass
from enum import StrEnum

from sse_agent.control_plane.engine import Speaker


class Ruling(StrEnum):
    """What a claim comes to."""

    BOUND = "bound"
    """The instance that is bound already."""
    TAKES_OVER = "takes over"
    """A first claim, or a later start of the same journal."""
    JOURNAL_LOST = "journal-lost"
    """A journal never seen, where another one was bound: that one is lost."""
    READMITTED = "readmitted"
    """A person readmitted it: it would be refused, or is a later start that may have an older state."""
    REFUSED = "refused"
    """Another instance has a newer state."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known about an agent's claims. `bound`: who speaks now; `is_seen`: whether this journal ever claimed."""

    bound: Speaker | None
    is_seen: bool
    is_readmitted: bool


def rule(standing: Standing, speaker: Speaker) -> Ruling:
    """The ruling about one request of `speaker`."""
    bound = standing.bound
    if bound is None:
        return Ruling.TAKES_OVER
    if bound == speaker:
        return Ruling.BOUND
    if speaker.journal == bound.journal and speaker.epoch > bound.epoch:
        # A restored machine whose epoch has overtaken the later life's by being started again is still a restored one.
        return Ruling.READMITTED if standing.is_readmitted else Ruling.TAKES_OVER
    if speaker.journal != bound.journal and not standing.is_seen:
        return Ruling.JOURNAL_LOST
    return Ruling.READMITTED if standing.is_readmitted else Ruling.REFUSED
