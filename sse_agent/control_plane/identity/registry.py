"""The identities of all agents: documents, with a short memory in front of them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

from sse_agent.clock import Clock
from sse_agent.control_plane.documents import Conflict, Documents
from sse_agent.control_plane.identity.identities import Identity
from sse_agent.control_plane.problems import AgentDeleted, Unauthenticated, Unavailable

KIND = "identities"
WAITING = "identities-waiting"
"""Marks: which identities have something to confirm. Made before and removed after, so one may stand for nothing."""
REMEMBERED_S = 2.0
"""How long another instance may still believe in a key that was replaced here, if it was not told."""
_REMEMBERED = 20_000
_ATTEMPTS = 20
_PAGE = 500

Change = Callable[[Identity], Identity]


class Registry:
    """Reads and changes identities. Implements `access.Standings`."""

    def __init__(self, documents: Documents, clock: Clock, on_change: Callable[[str], None]) -> None:
        self._documents = documents
        self._clock = clock
        self._on_change = on_change
        self._memory: OrderedDict[str, tuple[float, Identity | None]] = OrderedDict()
        self._doubts = 0

    async def find(self, client_id: str) -> Identity | None:
        """As it is now."""
        doubts = self._doubts
        found = await self._documents.document(KIND, client_id)
        identity = None if found is None else self._decoded(found.body)
        if doubts == self._doubts:
            # Else it may be older than what is known by now.
            self._remember(client_id, identity)
        return identity

    def doubt(self, client_id: str) -> None:
        """Another instance changed it: look again before you believe in what was."""
        self._doubts += 1
        self._memory.pop(client_id, None)
        self._on_change(client_id)

    def doubt_all(self) -> None:
        """What other instances changed may have been missed. Whoever calls this wakes the streams."""
        self._doubts += 1
        self._memory.clear()

    async def create(self, identity: Identity) -> bool:
        """False: the name is taken."""
        if identity.waiting is not None:
            await self._mark(identity.client_id)
        try:
            await self._documents.put(KIND, identity.client_id, identity.encode(), version=0)
        except Conflict:
            return False
        self._remember(identity.client_id, identity)
        return True

    async def change(self, client_id: str, change: Change) -> Identity | None:
        """What it is after the change, which may be asked for more than once. None: there is no such identity."""
        for _ in range(_ATTEMPTS):
            mark = await self._documents.document(WAITING, client_id)
            found = await self._documents.document(KIND, client_id)
            if found is None:
                return None
            before = Identity.model_validate_json(found.body)
            after = change(before.at(self._clock.now()))
            if after == before:
                return after
            if after.waiting is not None and before.waiting is None:
                await self._mark(client_id)
            try:
                await self._documents.put(KIND, client_id, after.encode(), version=found.version)
            except Conflict:
                continue
            if after.waiting is None and mark is not None:
                # As it was before the identity was read: a mark for a newer key, made meanwhile, stays.
                with suppress(Conflict):
                    await self._documents.remove(WAITING, client_id, version=mark.version)
            self._changed(before, after)
            return after
        raise Unavailable("too many change this agent's identity at once", retry_after_s=1)

    async def between(self, after: str, last: str) -> dict[str, Identity]:
        """Those behind `after` up to `last`, by client ID."""
        found: dict[str, Identity] = {}
        while True:
            page = await self._documents.documents(KIND, after=after, limit=_PAGE)
            for document in page:
                if document.key > last:
                    return found
                found[document.key] = self._decoded(document.body)
            if len(page) < _PAGE:
                return found
            after = page[-1].key

    async def waiting(self, after: str, limit: int) -> Sequence[Identity]:
        """Those with a key that waits to be confirmed, behind `after`."""
        found: list[Identity] = []
        while len(found) < limit:
            marks = await self._documents.documents(WAITING, after=after, limit=_PAGE)
            for mark in marks:
                identity = await self.find(mark.key)
                if identity is None:
                    continue
                if identity.waiting is not None:
                    found.append(identity)
                else:
                    # What has waited too long is written down as refused, and its mark goes.
                    await self.change(mark.key, lambda known: known)
            if len(marks) < _PAGE:
                break
            after = marks[-1].key
        return found[:limit]

    # --- access.Standings ---

    async def require_key(self, client_id: str, key_version: int) -> None:
        """Raises Unauthenticated, AgentDeleted."""
        remembered = self._memory.get(client_id)
        if remembered is not None and remembered[0] > self._clock.monotonic():
            identity = remembered[1]
        else:
            identity = await self.find(client_id)
        if identity is not None and identity.status == "deleted":
            raise AgentDeleted
        if identity is None or identity.status != "active" or identity.key_version != key_version:
            raise Unauthenticated(is_missing=False)

    async def is_over(self, client_id: str, key_version: int) -> bool:
        """Whether the key was replaced or deleted. However old, what is known stands until it is doubted.

        So ten thousand streams that look at every heartbeat read nothing.
        """
        remembered = self._memory.get(client_id)
        identity = remembered[1] if remembered is not None else await self.find(client_id)
        return identity is None or identity.status != "active" or identity.key_version != key_version

    def _decoded(self, body: bytes) -> Identity:
        return Identity.model_validate_json(body).at(self._clock.now())

    async def _mark(self, client_id: str) -> None:
        found = await self._documents.document(WAITING, client_id)
        with suppress(Conflict):
            await self._documents.put(WAITING, client_id, b"", version=found.version if found else 0)

    def _changed(self, before: Identity, after: Identity) -> None:
        self._doubts += 1
        self._remember(after.client_id, after)
        if after.key_version != before.key_version or after.status != before.status:
            self._on_change(after.client_id)

    def _remember(self, client_id: str, identity: Identity | None) -> None:
        self._memory[client_id] = (self._clock.monotonic() + REMEMBERED_S, identity)
        self._memory.move_to_end(client_id)
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
