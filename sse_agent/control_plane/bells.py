"""Wake-ups inside this process. They carry no data: whoever hears one looks for itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bells:
    """Topics that can be listened to. Ringing where nobody listens costs nothing."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self.is_draining = False

    @contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the topic rings. Clear it, look, then wait: so nothing is missed."""
        bell = asyncio.Event()
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(bell)
        try:
            yield bell
        finally:
            listeners.discard(bell)
            if not listeners and self._listeners.get(topic) is listeners:
                del self._listeners[topic]

    def ring(self, topic: str) -> None:
        """Wake whoever listens to that topic."""
        for bell in self._listeners.get(topic, ()):
            bell.set()

    def ring_all(self) -> None:
        """Something may have been missed: wake everybody."""
        for listeners in self._listeners.values():
            for bell in listeners:
                bell.set()

    def drain(self) -> None:
        """The server stops: wake everybody, for good."""
        self.is_draining = True
        self.ring_all()


async def rang(bell: asyncio.Event, within_s: float) -> bool:
    """Whether the bell rang in time."""
    try:
        async with asyncio.timeout(max(0.0, within_s)):
            await bell.wait()
    except TimeoutError:
        return False
    return True


def agent_topic(client_id: str) -> str:
    """Rings when an agent's queue or its speaker changes."""
    return f"agent {client_id}"


def command_topic(command_id: str) -> str:
    """Rings when a command's outcome or replies change."""
    return f"command {command_id}"
