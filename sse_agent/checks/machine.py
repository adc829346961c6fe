"""Settings files, state directory, journal, allowed folders: what this machine itself has. Nothing is changed."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sse_agent import config
from sse_agent.checks import enrolment, journal
from sse_agent.checks.deadline import WITHIN_S, within
from sse_agent.checks.report import Check, failed, ok, warning
from sse_agent.config import Settings, Unknown
from sse_agent.errors import CannotStart
from sse_agent.files import AllowedFolders
from sse_agent.printable import byte_count

NO_ROOM, LITTLE_ROOM = 16 * 1024**2, 256 * 1024**2
COUNTED, LOOKED_INTO = 100_000, 1000
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def settings_files(files: list[Path]) -> Check:
    """Where the settings came from; that they are right is known by then."""
    read = [str(path) for path in files if config.trusted(path)]
    left_out = [path for path in files if not config.trusted(path)]
    found = f"from {' and '.join(read)}" if read else "from flags and the environment alone"
    if left_out:
        names = " and ".join(str(path) for path in left_out)
        advice = f"chmod go-w {' '.join(str(path) for path in left_out)}, and let it be yours"
        return warning("settings", f"{found}; not from {names}, which others can write", advice)
    return ok("settings", found)


def unknown_settings(unknown: Iterable[Unknown]) -> Iterator[Check]:
    """One a name that is no setting: the agent runs without it."""
    for one in unknown:
        advice = f"did you mean {one.meant}?" if one.meant else "take it out; docs/reference/settings.md has all"
        yield warning("settings", one.found, advice)


def checks(settings: Settings, status: dict[str, Any] | None) -> Iterator[Check]:
    """`status` is the running agent's, None if none runs."""
    place = settings.state_dir
    state = _bounded("state directory", lambda: _state_directory(place))
    yield state
    if not state.has_failed:
        yield _bounded("journal", lambda: journal.check(settings, status))
        own_key = _bounded(enrolment.NAME, lambda: enrolment.check(settings))
        if own_key is not None:
            yield own_key
    for folder in settings.allowed_folders:
        yield _bounded(f"folder {folder}", lambda folder=folder: _folder(folder))


def _bounded(name: str, look: Any) -> Any:
    try:
        found: Check | None = within(WITHIN_S, look)
    except TimeoutError:
        return failed(name, f"its disk does not answer within {WITHIN_S:.0f} s", "is it a network disk that is away?")
    except OSError as error:
        return failed(name, (error.strerror or "it can't be read").lower(), "let the agent's user read it")
    return found


def _state_directory(place: Path) -> Check:
    name, setting = "state directory", "see SSE_AGENT_STATE_DIR"
    if not place.exists():
        parent = next(path for path in place.parents if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            return failed(
                name, f"{place} is not there, and can't be made in {parent}", f"make it for yourself; {setting}"
            )
        return _room(name, f"{place} will be made", parent)
    if not place.is_dir():
        return failed(name, f"{place} is no folder", setting)
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return failed(name, f"{place} may not be written by this user", f"chown it to the agent's user; {setting}")
    status = place.stat()
    if os.name == "posix" and status.st_mode & OTHERS and config.is_of_others(place):
        return failed(name, f"{place} holds files of others", f"name an empty one or a new one; {setting}")
    mode = f"{place}, mode {stat.S_IMODE(status.st_mode):04o}"
    if os.name == "posix" and status.st_uid != os.geteuid():
        return warning(name, f"{mode}, belongs to user {status.st_uid}", "run this, and the agent, as that user")
    if os.name == "posix" and status.st_mode & OTHERS:
        return warning(name, f"{mode}: open to others", f"the agent will shut them out: chmod 700 {place}")
    return _room(name, mode, place)


def _room(name: str, found: str, place: Path) -> Check:
    free = shutil.disk_usage(place).free
    found = f"{found}, {byte_count(free)} free"
    if free < NO_ROOM:
        return failed(name, found, "make room on that disk: the journal needs some MiB")
    if free < LITTLE_ROOM:
        return warning(name, found, "make room on that disk soon")
    return ok(name, found)


def _folder(folder: Path) -> Check:
    name = f"folder {folder}"
    try:
        AllowedFolders([folder]).close()
    except CannotStart as wrong:
        what, _, advice = str(wrong).partition("; ")
        return failed(name, what, advice)
    count = refused = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            count += 1
            refused += count <= LOOKED_INTO and not entry.is_symlink() and not os.access(entry.path, os.R_OK)
            if count >= COUNTED:
                break
    shown = f"{count:,} entries" if count < COUNTED else f"{COUNTED:,} entries or more"
    if refused:
        advice = "let the agent's user read them; what it can't read it can't upload"
        return warning(name, f"{shown}; {refused:,} of the first {min(count, LOOKED_INTO):,} may not be read", advice)
    return ok(name, f"readable, {shown}, none of the agent's own files")
