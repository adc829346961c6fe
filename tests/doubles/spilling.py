"""Starts the agent with forced bugs whose words hold secrets, or spills secrets itself, to prove that this is found.

`python -m tests.doubles.spilling bugs|spills|none ARGUMENTS OF sse-agent`. Waits between tries are short.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import requests

from scripts.leak_test_harness.launcher import hurry
from sse_agent import cli
from sse_agent.carrier import Carrier
from sse_agent.dispatcher import Dispatcher
from sse_agent.events import StreamLost
from sse_agent.files import OpenFile
from sse_agent.journal.inbox import Command
from sse_agent.journal.uploads import Upload
from sse_agent.messages import Chat
from sse_agent.stream import Stream
from sse_agent.terminator import Terminator


def secret() -> str:
    """The agent's own token."""
    return os.environ["SSE_AGENT_TOKEN"]


def force_bugs() -> None:
    """In a carrier, in a command, in a thread, a task, a callback and a finalizer; after SIGUSR2 one ends the agent."""
    identify = Carrier._identify

    def fail_with_words(carrier: Carrier, file: OpenFile) -> None:
        upload: Upload = carrier._upload
        if upload.name != b"bug.bin":
            identify(carrier, file)
            return
        try:
            # What a library says of a connection: the URL, and here the headers, too.
            raise requests.ConnectionError(f"Max retries exceeded with url: {upload.url} {upload.token}")
        except requests.ConnectionError as error:
            raise ValueError(f"a bug at {upload.endpoint} with {carrier._token}") from error

    async def fail_with_body(_: Dispatcher, command: Command, __: Chat) -> None:
        raise LookupError(command.body)

    Carrier._identify = fail_with_words  # type: ignore[method-assign]
    Dispatcher._show = fail_with_body  # type: ignore[method-assign]
    run = Stream.run

    async def run_and_fail(stream: Stream) -> None:
        await _fail_aside()
        await run(stream)

    Stream.run = run_and_fail  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR2, _end)


def _end(_: int, __: FrameType | None) -> None:
    """Not from in here: what a signal's handler raises leaves the event loop in the middle of a step."""

    async def fail(_: Terminator) -> None:
        raise RuntimeError(f"the end, with {secret()}")

    Terminator._delete_some = fail  # type: ignore[method-assign]


def _fail(words: str) -> None:
    raise OSError(f"in passing: {words}")


class _Finalized:
    def __del__(self) -> None:
        _fail(secret())


async def _fail_aside() -> None:
    async def forgotten(words: str) -> None:
        _fail(words)

    thread = threading.Thread(target=_fail, args=(secret(),), name="bug")
    thread.start()
    thread.join()
    asyncio.get_running_loop().call_soon(_fail, secret())
    task = asyncio.ensure_future(forgotten(secret()))
    await asyncio.wait([task])
    del task
    _Finalized()
    gc.collect()
    for name in ("httpx", "httpcore.http11", "urllib3.connectionpool", "requests", "asyncio"):
        logging.getLogger(name).debug("headers: %s", secret())
        logging.getLogger(name).warning("Failed to parse headers (url=%s)", secret())
    warnings.warn("something is old", DeprecationWarning, stacklevel=1)


def spill() -> None:
    """A secret in each place that is searched."""
    print(f"debug: {secret()}", file=sys.stderr, flush=True)
    (Path(os.environ["SSE_AGENT_STATE_DIR"]).parent / "notes.txt").write_text(secret())
    run = Stream.run

    async def run_and_tell(stream: Stream) -> None:
        stream._feed.emit(StreamLost(reason=f"refused: {secret()}", wait_s=0.0, attempt=1))
        await run(stream)

    Stream.run = run_and_tell  # type: ignore[method-assign]

    async def answer(dispatcher: Dispatcher, command: Command, _: Chat) -> None:
        await dispatcher._reply(command, "MESSAGE", Chat(text=secret(), from_="sse-agent"))  # type: ignore[arg-type]

    Dispatcher._show = answer  # type: ignore[method-assign]


MODES: dict[str, Any] = {"bugs": force_bugs, "spills": spill, "none": lambda: None}


if __name__ == "__main__":
    hurry()
    MODES[sys.argv[1]]()
    # The last may be a secret: for the list of processes.
    sys.exit(cli.main([word for word in sys.argv[2:] if word != os.environ["SSE_AGENT_TOKEN"]]))
