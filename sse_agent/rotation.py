"""One key for another while the agent runs. Whatever breaks in between, the key on the disk is one that is accepted.

The control plane takes both from when it is told of the new one until that is first used; with that the old one ends
(docs/reference/identity.md). So the new key is written down, then told, then put in the old one's place, then used.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from sse_agent import identity
from sse_agent.credentials import AccessTokens, MachineKey, key, succession
from sse_agent.errors import CannotStart, TryAgain
from sse_agent.events import Feed, KeyRotated

Send = Callable[[dict[str, Any]], Awaitable[None]]
"""Tell the control plane. Raises TryAgain, GiveUp."""


class Rotation:
    """For a machine that is enrolled."""

    def __init__(self, state_dir: Path, tokens: AccessTokens, send: Send, feed: Feed) -> None:
        self._state_dir = state_dir
        self._tokens = tokens
        self._send = send
        self._feed = feed
        self._lock = anyio.Lock()

    async def rotate(self) -> str:
        """The new key's fingerprint. Raises TryAgain, GiveUp; then the old one is in use as before."""
        async with self._lock:
            before = await self._tokens.current()
            try:
                new = await anyio.to_thread.run_sync(self._new)
                await self._send(self._request(new))
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._settle, new)
            except CannotStart as wrong:
                raise TryAgain(str(wrong)) from None
            self._tokens.use(new)
            self._feed.emit(KeyRotated(fingerprint=new.fingerprint))
            await self._tokens.refreshed(before)
            return new.fingerprint

    def _new(self) -> MachineKey:
        if succession.waiting(self._state_dir) is not None:
            raise TryAgain("another new key waits to be confirmed; `sse-agent enroll` goes on with that")
        return key.to_enrol_with(self._state_dir)

    def _request(self, new: MachineKey) -> dict[str, Any]:
        return {
            "publicKey": new.public,
            "proof": self._tokens.statement(new, jkt=new.key_id),
            "oldProof": self._tokens.statement(jkt=new.key_id),
        }

    def _settle(self, new: MachineKey) -> None:
        enrolled = identity.read(self._state_dir)
        if enrolled is None:
            raise TryAgain("identity.json is not there any more")
        identity.write(self._state_dir, enrolled.model_copy(update={"key_id": new.key_id}))
        key.settle(self._state_dir)
