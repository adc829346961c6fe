"""Builds of the agent with one mistake each, of the kind that is easily made. The crash test fails on all of them."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pydantic_core

from sse_agent.dispatcher import Dispatcher
from sse_agent.journal import Journal, Transaction, attempts, inbox, outbox, transitions
from sse_agent.journal.database import set_about
from sse_agent.journal.inbox import Arrival, Command
from sse_agent.messages import AckStatus, Chat, EnvelopeBytes, EventType, event
from sse_agent.transport import Transport, Verdict


def cursor_first() -> None:
    """The cursor is saved before the command."""
    _before_receiving(lambda tx, arrival: set_about(tx, "cursor", arrival.event_id))


def effect_first() -> None:
    """A MESSAGE is answered before the inbox knows of it; the dispatcher has only its ACK left to send."""
    _before_receiving(_answer)

    async def show(dispatcher: Dispatcher, command: Command, _: Chat) -> None:
        await dispatcher._finish(command, AckStatus.COMPLETED)

    Dispatcher._show = show  # type: ignore[method-assign, assignment]


def new_id() -> None:
    """A message gets its ID when it is sent, so every try has another one."""
    post = Transport.post

    async def renamed(transport: Transport, messages: Sequence[tuple[str, EnvelopeBytes]]) -> list[Verdict]:
        copies = [_renamed(body) for _, body in messages]
        verdicts = await post(transport, copies)
        return [
            replace(verdict, message_id=message_id) for verdict, (message_id, _) in zip(verdicts, messages, strict=True)
        ]

    Transport.post = renamed  # type: ignore[method-assign, assignment]


def from_zero() -> None:
    """At a start, what the tus server has of unfinished uploads is forgotten."""
    recover = transitions.recover

    def forgetful(tx: Transaction) -> None:
        recover(tx)
        tx.run(
            'UPDATE uploads SET url = NULL, file_identity = NULL, "offset" = 0, sent_limit = 0'
            " WHERE state IN ('queued', 'waiting', 'paused')"
        )

    transitions.recover = forgetful


def refusal_unnoted() -> None:
    """An error that answers the last PATCH is known to the carrier, but not to the journal."""

    def forget(tx: Transaction, file_id: str, status: int, refusal: str) -> None:
        """Nothing is noted."""

    attempts.note_refusal = forget


def _before_receiving(step: Callable[[Transaction, Arrival], None]) -> None:
    """A transaction of its own before the one that stores the command."""
    write = Journal.write

    async def in_two_steps(journal: Journal, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if work is inbox.receive:
            await write(journal, step, *args)
        return await write(journal, work, *args, **kwargs)

    Journal.write = in_two_steps  # type: ignore[method-assign, assignment]


def _answer(tx: Transaction, arrival: Arrival) -> None:
    if arrival.type != "MESSAGE" or tx.one("SELECT 1 FROM inbox WHERE command_id = ?", arrival.command_id):
        return
    chat = Chat(text="Nobody is at the console.", from_="sse-agent")
    message = event(EventType.MESSAGE, chat, client_id=tx.client_id, at=tx.now, in_reply_to=arrival.command_id)
    outbox.put(tx, message, lane=f"command {arrival.command_id}")


def _renamed(body: bytes) -> tuple[str, EnvelopeBytes]:
    message_id = str(uuid.uuid4())
    return message_id, EnvelopeBytes(pydantic_core.to_json({**pydantic_core.from_json(body), "id": message_id}))


BUILDS: dict[str, Callable[[], None]] = {
    "cursor-first": cursor_first,
    "effect-first": effect_first,
    "new-id": new_id,
    "from-zero": from_zero,
    "refusal-unnoted": refusal_unnoted,
}
