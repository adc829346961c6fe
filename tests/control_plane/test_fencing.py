"""Who may speak, as a table."""

import pytest

from sse_agent.control_plane.engine import Speaker
from sse_agent.control_plane.fencing import Ruling, Standing, rule

BOUND = Speaker("journal-1", 5, "instance-1")


@pytest.mark.parametrize(
    ("speaker", "is_seen", "refused_without"),
    [
        (Speaker("journal-1", 5, "instance-1"), True, Ruling.BOUND),
        (Speaker("journal-1", 6, "instance-2"), True, Ruling.TAKES_OVER),
        (Speaker("journal-1", 6, "instance-1"), True, Ruling.TAKES_OVER),
        (Speaker("journal-1", 5, "instance-2"), True, Ruling.REFUSED),
        (Speaker("journal-1", 4, "instance-1"), True, Ruling.REFUSED),
        (Speaker("journal-2", 1, "instance-2"), False, Ruling.JOURNAL_LOST),
        (Speaker("journal-2", 9, "instance-2"), True, Ruling.REFUSED),
    ],
)
def test_a_readmission_is_for_what_would_be_refused_and_for_a_later_start_which_may_be_a_restored_one_too(
    speaker: Speaker, is_seen: bool, refused_without: Ruling
) -> None:
    assert rule(Standing(BOUND, is_seen, is_readmitted=False), speaker) is refused_without
    is_for_it = refused_without in (Ruling.REFUSED, Ruling.TAKES_OVER)
    readmitted = Ruling.READMITTED if is_for_it else refused_without
    assert rule(Standing(BOUND, is_seen, is_readmitted=True), speaker) is readmitted


def test_the_first_speaker_of_an_agent_is_let_in() -> None:
    assert rule(Standing(None, is_seen=False, is_readmitted=False), BOUND) is Ruling.TAKES_OVER
