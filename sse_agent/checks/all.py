"""Everything, side by side and told in one order, within a minute."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sse_agent import config
from sse_agent.checks import control_plane, machine, tus_server
from sse_agent.checks.report import Check, failed
from sse_agent.clock import Clock
from sse_agent.config import Settings

ALL_WITHIN_S = 55.0

Told = queue.SimpleQueue[Check | BaseException | None]


def run(settings: Settings, files: list[Path], status: dict[str, Any] | None, clock: Clock) -> Iterator[Check]:
    """Each check as soon as it is known. `files`: the settings files that are there; `status`: the running agent's."""
    lanes = {
        "this machine": _lane(lambda: machine.checks(settings, status)),
        control_plane.TITLE: _lane(lambda: control_plane.checks(settings, status, clock)),
        tus_server.TITLE: _lane(lambda: tus_server.checks(settings, clock)),
    }
    yield machine.settings_files(files)
    yield from machine.unknown_settings(config.unknown(files))
    until = clock.monotonic() + ALL_WITHIN_S
    for name, told in lanes.items():
        yield from _heard(name, told, until, clock)


def _lane(checks: Callable[[], Iterable[Check]]) -> Told:
    """One after the other, beside the other lanes; None at the end."""
    told: Told = queue.SimpleQueue()

    def carry_out() -> None:
        try:
            for check in checks():
                told.put(check)
            told.put(None)
        except BaseException as bug:  # noqa: BLE001 - it is raised where the checks are told
            told.put(bug)

    threading.Thread(target=carry_out, name="checks", daemon=True).start()
    return told


def _heard(name: str, told: Told, until: float, clock: Clock) -> Iterator[Check]:
    while True:
        try:
            check = told.get(timeout=max(0.0, until - clock.monotonic()))
        except queue.Empty:
            yield failed(name, f"not done within {ALL_WITHIN_S:.0f} s", "try again when the machine has less to do")
            return
        if check is None:
            return
        if isinstance(check, BaseException):
            raise check
        yield check
