"""The audit log: who did what to whom, and what came of it. One line of JSON each; lines are only added."""

from typing import Any

import pydantic_core

from sse_agent.clock import Clock, timestamp
from sse_agent.control_plane.documents import Documents

LOG = "audit"


class Audit:
    """Adds lines."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def note(
        self,
        deed: str,
        *,
        by: str | None = None,
        actor: str | None = None,
        client_id: str | None = None,
        outcome: str = "done",
        key: str | None = None,
        **more: Any,
    ) -> None:
        """One deed. `by`: the service; `actor`: the person; `key`: of a deed that may be repeated: it is noted once."""
        line = {
            "at": timestamp(self._clock.now()),
            "by": by,
            "actor": actor,
            "deed": deed,
            "clientId": client_id,
            "outcome": outcome,
            **more,
        }
        await self._documents.append(LOG, pydantic_core.to_json(line), key=key)
