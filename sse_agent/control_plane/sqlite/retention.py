"""What is forgotten, and when. IDs are taken for ever; bodies and events go after `KEPT`."""

from sse_agent.clock import timestamp
from sse_agent.control_plane.engine import KEPT
from sse_agent.control_plane.sqlite.database import Transaction


def prune(tx: Transaction) -> None:
    """Bodies of old commands that are over, from the oldest on: what is kept of a queue has no holes."""
    before = timestamp(tx.now - KEPT)
    for agent in tx.all("SELECT client_id, floor_n, passed_n FROM agents"):
        needed = tx.one(
            "SELECT min(n) FROM commands WHERE client_id = ? AND n >= ? AND (finished_at IS NULL OR finished_at >= ?)",
            agent["client_id"],
            agent["floor_n"],
            before,
        )
        floor_n = agent["passed_n"] + 1
        if needed is not None and needed[0] is not None:
            floor_n = min(floor_n, needed[0])
        if floor_n > agent["floor_n"]:
            tx.run("UPDATE agents SET floor_n = ? WHERE client_id = ?", floor_n, agent["client_id"])
            tx.run(
                "UPDATE commands SET body = NULL WHERE client_id = ? AND n < ? AND body IS NOT NULL",
                agent["client_id"],
                floor_n,
            )
    tx.run("DELETE FROM events WHERE recorded_at < ?", before)
