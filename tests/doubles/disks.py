"""A disk that takes nothing more, for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sse_agent.journal import Journal


@asynccontextmanager
async def unwritable(journal: Journal) -> AsyncIterator[None]:
    """Within the block SQLite answers as on a disk that can't be written. On the journal's own thread: no other may."""
    await execute(journal, "PRAGMA query_only=1")
    try:
        yield
    finally:
        await execute(journal, "PRAGMA query_only=0")


async def execute(journal: Journal, statement: str) -> None:
    """A statement of its own, outside any transaction."""
    await asyncio.wrap_future(journal._thread.submit(journal._connection.execute, statement))
