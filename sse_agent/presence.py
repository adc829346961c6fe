"""Who we are and how we are: CLIENT_CONNECTED, CLIENT_STATUS, CLIENT_DISCONNECTED."""

import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sse_agent
from sse_agent.clock import Clock
from sse_agent.errors import TryAgain
from sse_agent.journal import Bell, Journal, Transaction, inbox, outbox, uploads
from sse_agent.messages import (
    EVENT_LIMIT,
    ClientConnected,
    ClientDisconnected,
    ClientStatus,
    CommandType,
    Envelope,
    EventType,
    Hello,
    Wire,
    event,
)
from sse_agent.progress import ProgressTable

STATUS_EVERY_S = 60.0
LEAST_BETWEEN_S = 5.0
UNFINISHED_SHOWN = 200
CAPABILITIES = {
    CommandType.UPLOAD_START: "upload",
    CommandType.LIST_FILES: "list",
    CommandType.MESSAGE: "chat",
}


class Presence:
    """Makes the messages; the sender's first place and its latest status are where they go."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        progress: ProgressTable,
        *,
        client_id: str,
        state_dir: Path,
        folders: list[str],
        allowed_commands: frozenset[CommandType],
        announce: Callable[[Envelope], None],
        publish: Callable[[Envelope], None],
        on_change: Bell,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._progress = progress
        self._client_id = client_id
        self._state_dir = state_dir
        self._folders = folders
        self._capabilities = [words for command, words in CAPABILITIES.items() if command in allowed_commands]
        self._announce = announce
        self._publish = publish
        self._on_change = on_change

    async def greet(self, _: Hello) -> None:
        """After each HELLO: our whole state, before anything else goes out."""
        connected = await self._journal.read(self._connected)
        greeting = self._event(EventType.CLIENT_CONNECTED, connected)
        while connected.unfinished and len(greeting.encode()) > EVENT_LIMIT:
            fewer = connected.unfinished[: len(connected.unfinished) // 2]
            connected = connected.model_copy(update={"unfinished": fewer})
            greeting = self._event(EventType.CLIENT_CONNECTED, connected)
        self._announce(greeting)

    async def run(self) -> None:
        """A status every minute, and soon after a change."""
        while True:
            # A full disk is no reason to stop; the next minute may be better.
            with suppress(TryAgain):
                self._publish(self._event(EventType.CLIENT_STATUS, await self.status()))
            await self._clock.sleep(LEAST_BETWEEN_S)
            await self._on_change.wait(STATUS_EVERY_S - LEAST_BETWEEN_S)

    async def status(self) -> ClientStatus:
        """How the agent is now."""
        return await self._journal.read(self._status)

    def farewell(self, reason: str) -> Envelope:
        """The last message of an orderly stop."""
        return self._event(EventType.CLIENT_DISCONNECTED, ClientDisconnected(reason=reason))

    def _event(self, kind: EventType, payload: Wire) -> Envelope:
        return event(kind, payload, client_id=self._client_id, at=self._clock.now())

    def _connected(self, tx: Transaction) -> ClientConnected:
        return ClientConnected(
            version=sse_agent.__version__,
            platform=f"{platform.system()} {platform.release()}"[:200],
            hostname=platform.node()[:200],
            allowed_folders=self._folders,
            capabilities=self._capabilities,
            cursor=inbox.cursor(tx),
            uploads=uploads.counts(tx),
            unfinished=[uploads.summary(upload) for upload in uploads.unfinished(tx, UNFINISHED_SHOWN)],
        )

    def _status(self, tx: Transaction) -> ClientStatus:
        counts = uploads.counts(tx)
        active = [upload for upload in uploads.unfinished(tx, 64) if upload.state in ("uploading", "waiting")]
        return ClientStatus(
            version=sse_agent.__version__,
            transport="sse",
            disk_free=_disk_free(self._state_dir),
            upload_rate=self._progress.rate(),
            queued=counts.get("queued", 0),
            outbox=outbox.counts(tx).get("pending", 0),
            uploads=counts,
            active=[uploads.summary(upload) for upload in active],
        )


def _disk_free(folder: Path) -> int | None:
    """Bytes; None if the system does not say: the rest is worth reporting all the same."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
