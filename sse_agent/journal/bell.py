"""Wake-ups between loops. A ring carries no data: losing one costs a delay, never a command."""

import anyio


class Bell:
    """One loop waits, others ring; a ring while nobody waits is remembered, once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Only on the event loop's thread."""
        self._event.set()

    async def wait(self, at_most_s: float) -> None:
        """Until somebody rings, but never longer than `at_most_s` seconds."""
        with anyio.move_on_after(at_most_s):
            await self._event.wait()
        self._event = anyio.Event()
