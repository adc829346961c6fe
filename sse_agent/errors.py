"""Every error of the agent, sorted by what the caller does next.

    AgentError
    ├── TryAgain             not now: wait as retry.py says, then the same again
    │   ├── Unauthorized     take a fresh credential first
    │   ├── NotAllowedNow    people have to mend something: wait longer
    │   └── Parked           another agent holds our place, or we were deleted: ask again much later
    ├── GiveUp               never: record the refusal under its error code and go on with something else
    ├── Stopped              our own side broke it off: a pause, a cancel, a shutdown
    └── CannotStart          say what, why and what to do; end with its exit code

Adapters translate at the edge (transport.py, tus.py, files.py, journal/): no exception of
httpx, requests, tuspy or sqlite3 is seen above them. Anything else that is raised is a bug.
"""

from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """The closed list of codes that acknowledgements and UPLOAD_FAILED carry (docs/reference/error-codes.md)."""

    CANCELLED = "CANCELLED"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    DISK_FULL = "DISK_FULL"
    EXPIRED = "EXPIRED"
    FILE_CHANGED = "FILE_CHANGED"
    FILE_ID_IN_USE = "FILE_ID_IN_USE"
    FILE_SHRUNK = "FILE_SHRUNK"
    INVALID_ENVELOPE = "INVALID_ENVELOPE"
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    LOCKED_ON_SERVER = "LOCKED_ON_SERVER"
    NOT_ALLOWED = "NOT_ALLOWED"
    NOT_FOUND = "NOT_FOUND"
    NO_PROGRESS = "NO_PROGRESS"
    POISON = "POISON"
    SERVER_DISK_FULL = "SERVER_DISK_FULL"
    SERVER_REFUSED = "SERVER_REFUSED"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY = "TOO_MANY"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    WRONG_CLIENT = "WRONG_CLIENT"
    WRONG_STATE = "WRONG_STATE"


class ExitCode(IntEnum):
    """What a supervisor is told (docs/reference/exit-codes.md); the numbers are those of sysexits.h."""

    STOPPED = 0
    TRY_AGAIN = 75
    NOT_PERMITTED = 77
    WRONG_CONFIGURATION = 78


class AgentError(Exception):
    """The root; never raised itself."""


class TryAgain(AgentError):
    """Not now.

    `reason` is a sentence for people; `code`, where there is one, is the error code that
    the same trouble would carry if it lasted until the agent gave up; `retry_after_s` is the
    least wait that the other end asked for, in seconds.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None, code: ErrorCode | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.code = code


class Unauthorized(TryAgain):
    """401: the credential is expired or unknown; a fresh one may help, once."""


class NotAllowedNow(TryAgain):
    """403 or 404 to a message: a lost scope, a restored database."""


class Parked(TryAgain):
    """409 `newer-epoch` or 410 `agent-deleted`: this agent must fall silent."""


class GiveUp(AgentError):
    """Never. `message` goes over the wire: no path of this machine, no URL, no secret; `detail` stays on it."""

    def __init__(self, code: ErrorCode, message: str, *, retryable: bool = False, detail: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.detail = detail


class Stopped(AgentError):
    """Our own side broke the work off."""


class CannotStart(AgentError):
    """What is wrong, why, and what to do next, in one short text for the person who started the agent."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code
