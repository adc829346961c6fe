"""A bound for what nothing can break off: a resolver, a network disk. It is left behind in a thread of its own."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WITHIN_S = 10.0
"""Of each check."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises TimeoutError when it is not done after `seconds`; it then goes on, unheard.

    The thread is a daemon: it does not keep the process from ending.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def carry_out() -> None:
        try:
            results.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            results.put((None, error))

    threading.Thread(target=carry_out, name="check", daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"not done within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
