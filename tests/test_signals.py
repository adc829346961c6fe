"""The first signal asks, the second ends."""

import signal
import subprocess
import sys
import time

import anyio
import pytest

from sse_agent import signals

# Asked once it goes on for ever, as a thread that hangs in the system does; it says when it can be asked.
STUBBORN = """
import anyio, time
from sse_agent import signals

async def main():
    with signals.stopping() as stop:
        print("listening", flush=True)
        await stop.requested()
        print("asked", flush=True)
        {ends}
        while True:
            time.sleep(0.01)

anyio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_is_a_request_and_afterwards_the_handlers_are_what_they_were(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals.stopping() as stop:
        signal.raise_signal(number)
        with anyio.fail_after(5):
            assert await stop.requested() == number.name
        assert not stop.hurried.is_set()
    assert signal.getsignal(number) is before


def stubborn(ends: str = "") -> "subprocess.Popen[str]":
    script = STUBBORN.format(ends=ends)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_a_second_signal_ends_even_a_process_that_hangs_and_it_counts_as_stopped() -> None:
    with stubborn() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        asked_at = time.monotonic()
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - asked_at < signals.SECOND_SIGNAL_S + 2


def test_a_drain_that_hangs_is_ended_in_its_time() -> None:
    with stubborn("stop.end_process_after(0.1)") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
