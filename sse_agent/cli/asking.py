"""The answer of the running agent; or, when none runs, what its journal says and takes."""

import json
import socket
from pathlib import Path
from typing import Any

import anyio

from sse_agent.clock import SystemClock
from sse_agent.desk import Desk, Json
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.events import Feed
from sse_agent.journal import opened_at_rest
from sse_agent.localapi import ANSWER_LIMIT, WITHIN_S, LocalApi, socket_name

STARTING_S = 5.0
"""An agent that starts holds its journal before it listens; so does, for a moment, another one who asks."""
AGAIN_S = 0.1


class Refused(CannotStart):
    """The agent, or its journal, said no; `code` is the error's."""

    def __init__(self, code: str, message: str) -> None:
        exit_code = ExitCode.TRY_AGAIN if code == "TRY_AGAIN" else ExitCode.WRONG_CONFIGURATION
        super().__init__(f"{message} ({code})", exit_code)
        self.code = code


def ask(state_dir: Path, do: str, **members: Any) -> Json:
    """The answer to one request of the local API. Raises CannotStart when there is none, Refused if it is an error."""
    line = json.dumps({"do": do, **members}).encode() + b"\n"
    answer = from_agent(state_dir, line) or anyio.run(_from_either, state_dir, line)
    if not answer["ok"]:
        raise Refused(answer["error"]["code"], answer["error"]["message"])
    return answer


async def _from_either(state_dir: Path, line: bytes) -> Json:
    """Whichever is there first, for as long as it may take an agent to start."""
    clock = SystemClock()
    last = clock.monotonic() + STARTING_S
    while True:
        try:
            return await _from_journal(state_dir, line, clock)
        except CannotStart as held:
            if held.exit_code is not ExitCode.TRY_AGAIN:
                raise
            if clock.monotonic() > last:
                message = f"no agent answers in {state_dir}, and its journal can't be opened: {held}"
                raise CannotStart(message, held.exit_code) from None
        await clock.sleep(AGAIN_S)
        answer = from_agent(state_dir, line)
        if answer is not None:
            return answer


def from_agent(state_dir: Path, line: bytes) -> Json | None:
    """None when no agent listens there."""
    is_listening = False
    try:
        with socket_name(state_dir) as name, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WITHIN_S + 5)
            connection.connect(name)
            is_listening = True
            connection.sendall(line)
            return _read(connection)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError, AttributeError):
        return None
    except PermissionError:
        message = f"the agent's socket in {state_dir} is its own user's: run this as that user (sudo -u …)"
        raise CannotStart(message, ExitCode.NOT_PERMITTED) from None
    except (OSError, ValueError) as error:
        if not is_listening:
            why = getattr(error, "strerror", None) or str(error)
            message = f"whether an agent runs in {state_dir} is not known ({why})"
            raise CannotStart(message, ExitCode.TRY_AGAIN) from None
        why = "it did not answer in time" if isinstance(error, TimeoutError) else "its answer was cut off"
        raise CannotStart(f"the agent runs, but {why}", ExitCode.TRY_AGAIN) from None


def _read(connection: socket.socket) -> Json:
    parts, size = [], 0
    while part := connection.recv(65536):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise ValueError("an answer without end")
    answer: Json = json.loads(b"".join(parts))
    return answer


async def _from_journal(state_dir: Path, line: bytes, clock: SystemClock) -> Json:
    async with opened_at_rest(state_dir, clock) as journal:
        desk = Desk(journal, Feed(), on_change=lambda: None)
        return await LocalApi(state_dir, desk, lambda: {"running": False, "clientId": journal.client_id}).answer(line)
