"""The journal of an agent that does not run, for whoever wants to look into it or to change what it will do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sse_agent.clock import Clock
from sse_agent.config import JOURNAL
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.journal.database import Journal, about, connected, held


@asynccontextmanager
async def opened_at_rest(state_dir: Path, clock: Clock) -> AsyncIterator[Journal]:
    """Neither its epoch nor anything else changes by it. While it is open no agent can start.

    Raises CannotStart: 75 if an agent runs there or its disk fails, 78 if there is no journal, or a damaged one.
    """
    path = state_dir / JOURNAL
    if not path.exists():
        message = f"no agent has ever run with the state directory {state_dir}; name the right one (--state-dir)"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    with held(state_dir, clock.now()):
        async with connected(path, clock, "") as journal:
            known: str | None = await journal.read(about, "client_id")
            journal.client_id = known or ""
            yield journal
