"""Builds of the agent with one mistake each; the harness fails on all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from scripts.power_cut_harness.adaptor import Adaptor
from scripts.power_cut_harness.tape import Tape
from scripts.power_cut_harness.vfs import TapeVfs
from sse_agent.journal.inbox import Arrival
from sse_agent.messages import Ack, AckStatus, EventId, EventType, derived_id, event
from sse_agent.stream import _Connection


@dataclass(frozen=True, slots=True)
class Build:
    """How the journal is opened, and which mistake it has; none by default."""

    name: str = ""

    def adaptor(self, vfs: TapeVfs) -> Adaptor:
        """The module `sqlite3` of this build."""
        return Adaptor(vfs.name, is_normal=self.name == "normal", is_deaf=self.name == "deaf")

    def vfs(self, tape: Tape) -> TapeVfs:
        """Its disk."""
        return TapeVfs(tape, forgets_wal=self.name == "no-sync")

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block the agent acknowledges as this build does."""
        if self.name != "ack-first":
            yield
            return
        with patch.object(_Connection, "_receive", _acknowledging_first(_Connection._receive)):
            yield


def _acknowledging_first(receive: Callable[..., object]) -> Callable[..., object]:
    async def received(connection: _Connection, arrival: Arrival, event_id: EventId) -> None:
        if arrival.refusal is None:
            command_id = arrival.command_id
            ack = event(
                EventType.ACK,
                Ack(command_id=command_id, status=AckStatus.ACCEPTED),
                client_id=connection._client_id,
                at=connection._clock.now(),
                message_id=derived_id(command_id, EventType.ACK, 0),
                in_reply_to=command_id,
            )
            await connection._transport.post([(ack.id, ack.encode())])
        await receive(connection, arrival, event_id)  # type: ignore[misc]

    return received


MISTAKES = {
    "normal": "PRAGMA synchronous=NORMAL: a commit is not synced",
    "no-sync": "the disk says yes to a sync of the WAL and does nothing",
    "ack-first": "a command is acknowledged before it is stored",
    "deaf": "a COMMIT that failed is taken for one that did not",
}
