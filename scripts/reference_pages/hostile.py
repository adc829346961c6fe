"""What the agent does when the other end misbehaves: the rows that tests play."""

from scripts.reference_pages import GENERATED
from tests.doubles import hostile_control_plane, hostile_tus_server


def page() -> str:
    """docs/reference/hostile-peers.md."""
    return f"""# Hostile peers

{GENERATED}
What the agent does when the other end misbehaves. Each row is one of `tests/doubles/hostile_tus_server.py` and
`tests/doubles/hostile_control_plane.py`; `tests/test_hostile_tus_server.py` plays the first against the whole upload
side, `tests/test_hostile_control_plane.py` the second against a whole agent, and both compare this page with the rows.

Behind every row the tests look at the same things: nothing was sent to another origin, where a thief listens; each
token went to its own origin only; no cookie came back; no secret, upload URL or control character is in an event, a log
line or a message; memory stayed within bounds; and when the other end mends its ways, the same upload arrives whole, or
the next command is carried out. Each wait has an end: the next try of what is `waiting` comes after a pause that grows
to 16 minutes at most.

## A tus server

*24 h* is the setting `SSE_AGENT_NO_PROGRESS_HOURS`. An upload that is `failed`, retryable goes on with `UPLOAD_RESUME`.

{hostile_tus_server.tables(hostile_tus_server.MISBEHAVIOURS)}

## A control plane

A dropped stream is opened again from the cursor, after a pause. `rejected` and `completed` are ACKs.

{hostile_tus_server.tables(hostile_control_plane.MISBEHAVIOURS)}
"""
