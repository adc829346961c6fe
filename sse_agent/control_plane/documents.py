"""What is durable beside the queues: small documents, and logs that only grow. Both engines implement it.

Keys of documents, and the bodies of both, are the business of whoever writes them. There is no transaction over
several of them: a deed that needs two writes the one first that makes a repetition finish the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

FOR_ONE_USE = frozenset(
    {"assertions", "enrollment-tokens", "leases", "pairing-codes", "sessions", "signin-links"},
)
"""Kinds of documents that say who is let in next: what an older copy says of them has been used since, perhaps."""


@dataclass(frozen=True, slots=True)
class Document:
    """`version` rises by one at every change; of a document that is not there it is 0."""

    key: str
    version: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log. `n` rises, with holes; `at` is when it was written (RFC 3339, UTC)."""

    n: int
    at: str
    body: bytes


class Conflict(Exception):
    """Somebody else changed the document: read it again."""


class Documents(Protocol):
    """Whatever returns is durable. Any call may raise `problems.Unavailable`."""

    async def document(self, kind: str, key: str) -> Document | None:
        """None if it is not there, or has expired."""
        ...

    async def documents(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[Document]:
        """In the order of their keys, those behind `after`."""
        ...

    async def put(
        self, kind: str, key: str, body: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Document:
        """Write it if its version still is `version`. Raises Conflict."""
        ...

    async def remove(self, kind: str, key: str, *, version: int) -> None:
        """Remove it if its version still is `version`. Raises Conflict. One that is not there stays so."""
        ...

    async def append(self, log: str, body: bytes, *, key: str | None = None) -> int:
        """Its `n`. The same `key` again changes nothing and gives the first one's."""
        ...

    async def entries(self, log: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Oldest first, those behind `after`."""
        ...

    async def trim(self, log: str, *, before: datetime) -> int:
        """Forget entries from before that instant; how many."""
        ...


def upload_key(client_id: str, file_id: str) -> str:
    """The key of a document about one upload of one agent. Neither ID can hold a slash."""
    return f"{client_id}/{file_id}"
