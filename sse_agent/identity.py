"""What enrolment leaves on this machine, beside the journal: who this agent is. For its owner's eyes alone.

`identity.json` says which agent of which control plane this is; the key that proves it is in a file of its own
(credentials/key.py). Both are written whole or not at all. `identity-next.json` is an enrolment that waits to be
confirmed while another one is in use (credentials/succession.py).
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import Name, Wire

IDENTITY, NEXT = "identity.json", "identity-next.json"
_LIMIT = 64 * 1024
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Identity(Wire):
    """`issuer` is what assertions are for (RFC 7523, `aud`); `key_id` the key's thumbprint (RFC 7638)."""

    client_id: Name
    issuer: str
    control_plane_url: str
    key_id: str


def read(state_dir: Path) -> Identity | None:
    """None if this machine was not enrolled. Raises CannotStart: 77 if it is not ours alone, 78 if it is damaged."""
    return _read(state_dir / IDENTITY)


def read_next(state_dir: Path) -> Identity | None:
    """What waits to be confirmed beside it. Raises as `read`."""
    return _read(state_dir / NEXT)


def _read(path: Path) -> Identity | None:
    content = read_private(path, "identity")
    if content is None:
        return None
    try:
        return Identity.model_validate_json(content)
    except ValidationError:
        message = f"{path} is damaged; restore it from a backup, or enrol anew: sse-agent enroll --again"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None


def write(state_dir: Path, identity: Identity) -> None:
    """From now on this machine is enrolled. Raises CannotStart, 77."""
    write_private(state_dir / IDENTITY, _encoded(identity))


def write_next(state_dir: Path, identity: Identity) -> None:
    """That waits to be confirmed; what is in use stays. Raises CannotStart, 77."""
    write_private(state_dir / NEXT, _encoded(identity))


def forget_next(state_dir: Path) -> None:
    """Nothing waits any more. Raises CannotStart, 77."""
    remove(state_dir / NEXT)


def _encoded(identity: Identity) -> bytes:
    return identity.model_dump_json(by_alias=True, indent=1).encode() + b"\n"


def read_private(path: Path, what: str) -> bytes | None:
    """A file that only its owner can read or write, and the owner is us; None if there is none.

    Raises CannotStart, 77: what others can read is no secret any more, and what others wrote is not to be believed.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            _refuse_exposed(path, what, status)
            return file.read(_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if os.name == "posix" and not os.access(path.parent, os.X_OK):
            # Whoever opens the state directory for good says so better.
            return None
        why = "it is a link" if path.is_symlink() else (error.strerror or "its disk fails").lower()
        message = f"the {what} {path} can't be read: {why}; run this as the user who enrolled this machine"
        raise CannotStart(message, ExitCode.NOT_PERMITTED) from None


def _refuse_exposed(path: Path, what: str, status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if not stat.S_ISREG(status.st_mode):
        raise CannotStart(f"the {what} {path} is no file; move it away", ExitCode.NOT_PERMITTED)
    if status.st_uid != os.geteuid():
        message = (
            f"the {what} {path} belongs to user {status.st_uid}, and this is user {os.geteuid()}: "
            "run this as the user who enrolled this machine, or give the file to this one (chown)"
        )
        raise CannotStart(message, ExitCode.NOT_PERMITTED)
    if status.st_mode & 0o077:
        message = (
            f"the {what} {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}), who may have copied it. "
            f"If nobody has: chmod 600 {path}. Else enrol anew: sse-agent enroll --again"
        )
        raise CannotStart(message, ExitCode.NOT_PERMITTED)


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, durable when this returns, 0600 from its first byte on. Raises CannotStart, 77."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace_lasting(beside, path)
    except OSError as error:
        why = (error.strerror or "its disk fails").lower()
        raise CannotStart(f"{path} can't be written: {why}; see SSE_AGENT_STATE_DIR", ExitCode.NOT_PERMITTED) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def remove(path: Path) -> None:
    """Gone; one that is not there is gone. Raises CannotStart, 77."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        why = (error.strerror or "its disk fails").lower()
        raise CannotStart(f"{path} can't be removed: {why}", ExitCode.NOT_PERMITTED) from None


def replace_lasting(source: Path, target: Path) -> None:
    """Rename, and be sure that a power cut does not undo it: a name is on the disk once its folder is (fsync(2))."""
    source.replace(target)
    if os.name == "posix":
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
