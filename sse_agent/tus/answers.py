"""Error answers of a tus server, and of whatever stands in front of it → errors.py. Pure; the rules are tables.

tusd names an error at the start of the body, `ERR_X: words`. The name counts before the status, for hooks and proxies
replace statuses; names not listed here, and answers without one, go by the status.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from sse_agent.errors import AgentError, ErrorCode, GiveUp, TryAgain, Unauthorized
from sse_agent.retry import asked, parse_retry_after

WORDS_LIMIT = 200
"""Characters of a server's own words that go anywhere: enough for a sentence, too little for a page."""


class Answered:
    """What an error knows of the answer it was made from: `status`, None when none came, and tusd's `ERR_` `name`."""

    status: int | None = None
    name: str = ""


class NotNow(Answered, TryAgain):
    """No answer, or one that passes."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        name: str = "",
        retry_after_s: float | None = None,
        code: ErrorCode | None = None,
    ) -> None:
        super().__init__(reason, retry_after_s=retry_after_s, code=code)
        self.status = status
        self.name = name


class OffsetConflict(NotNow):
    """409: the server's offset is another one. HEAD tells it."""


class UploadGone(NotNow):
    """404 or 410 to a HEAD or PATCH."""


class Stranger(NotNow):
    """A refusal that no tus server gave: what stands in front of it did, while it is exchanged or away."""


class BodyLimit(NotNow):
    """413 by something in front of the tus server: shorter PATCHes may get through."""


class TokenRefused(Answered, Unauthorized):
    """401 or 403: the upload token is expired or not accepted."""

    def __init__(
        self, reason: str, *, status: int | None = None, name: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.status = status
        self.name = name


class Refused(Answered, GiveUp):
    """An answer that will not change, or an upload URL that is not to be trusted."""

    def __init__(
        self, code: ErrorCode, message: str, *, status: int | None = None, name: str = "", retryable: bool = False
    ) -> None:
        super().__init__(code, message, retryable=retryable)
        self.status = status
        self.name = name


def is_refusal(error: BaseException) -> bool:
    """Whether an error answer to the PATCH with the last byte refuses the finished upload, if all its bytes are there.

    False when no answer came, for 409, 423, 429 and for the 400s that tusd means to be retried.
    """
    if not isinstance(error, Answered) or error.status is None or error.status < 400:
        return False
    passes = error.status == 400 and isinstance(error, TryAgain)
    return error.status not in (409, 423, 429) and not passes


@dataclass(frozen=True, slots=True)
class _Again:
    """Not now, for a reason of its own."""

    words: str
    kind: type[NotNow] = NotNow
    code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class _Never:
    """Refused."""

    words: str
    code: ErrorCode = ErrorCode.SERVER_REFUSED
    is_retryable: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    """The upload token is not accepted."""

    words: str = "the tus server does not accept the upload token"


_Rule = _Again | _Never | _Token

_LOCKED = _Again("the upload is locked on the tus server", code=ErrorCode.LOCKED_ON_SERVER)
_FULL = _Again("the tus server's disk is full", code=ErrorCode.SERVER_DISK_FULL)
_HOOK = _Again("the tus server's hook endpoint fails, and the tus server waits for its word")
_LARGE = _Never("the file is larger than the tus server takes", ErrorCode.TOO_LARGE)
_OFFSET = _Again("the tus server has another offset", OffsetConflict)
_GONE = _Again("the upload is gone from the tus server", UploadGone)
_BUSY = _Again("the tus server asks to come back later")

BY_NAME: Mapping[str, _Rule] = {
    "ERR_UPLOAD_INTERRUPTED": _Again("another request for the same upload interrupted this one"),
    "ERR_UNEXPECTED_EOF": _Again("the tus server got fewer bytes than were announced"),
    "ERR_READ_TIMEOUT": _Again("the bytes came too slowly for the tus server"),
    "ERR_CONNECTION_RESET": _Again("the connection broke in front of the tus server"),
    "ERR_SERVER_SHUTDOWN": _Again("the tus server is shutting down"),
    "ERR_UPLOAD_LOCKED": _LOCKED,
    "ERR_LOCK_TIMEOUT": _LOCKED,
    "ERR_MISMATCHED_OFFSET": _OFFSET,
    "ERR_MAX_SIZE_EXCEEDED": _LARGE,
    "ERR_UPLOAD_SIZE_EXCEEDED": _LARGE,
    "ERR_UNSUPPORTED_VERSION": _Never(
        "the tus server did not see the header Tus-Resumable: 1.0.0; a proxy in between strips it"
    ),
    "ERR_MODIFY_FINAL": _Never("the upload on the tus server is a concatenation and takes no bytes"),
    "ERR_ORIGIN_NOT_ALLOWED": _Never("the tus server does not allow this request's origin"),
}

BY_WORDS: tuple[tuple[re.Pattern[str], _Rule], ...] = (
    (re.compile(r"no space left on device|disk quota exceeded|disk full", re.IGNORECASE), _FULL),
    (re.compile(r"hook (endpoint|response)|^(ERR_\w+: )?Post \"", re.IGNORECASE), _HOOK),
)
"""Of a 500, which tusd fills with the text of whatever failed: its store, or the HTTP client that calls its hooks."""

BY_STATUS: Mapping[int, _Rule] = {
    401: _Token(),
    403: _Token(),
    407: _Again("the proxy wants a login"),
    408: _Again("the request took too long for the tus server"),
    409: _OFFSET,
    412: BY_NAME["ERR_UNSUPPORTED_VERSION"],
    413: _Again("something in front of the tus server limits the size of a request", BodyLimit),
    421: _Again("the tus server is not responsible for this connection"),
    423: _LOCKED,
    425: _BUSY,
    429: _BUSY,
    503: _Again("the tus server is not available"),
    507: _FULL,
}

BY_METHOD: Mapping[tuple[str, int], _Rule] = {
    ("HEAD", 404): _GONE,
    ("HEAD", 410): _GONE,
    ("PATCH", 404): _GONE,
    ("PATCH", 410): _GONE,
    ("POST", 404): _Never("there is no tus server at the endpoint", is_retryable=True),
    # An answer to a HEAD has no body, so tusd's retryable 400s can't be told from the others.
    ("HEAD", 400): _Again("the tus server can't tell the offset now"),
    # A POST has no body that a proxy could find too large, nor an offset.
    ("POST", 413): _LARGE,
    ("POST", 409): _BUSY,
}


def classify(
    method: str, status: int, body_text: str, retry_after_s: float | None = None, *, secrets: Iterable[str] = ()
) -> AgentError:
    """The error that an answer stands for. `body_text` is cleaned here; `secrets` are removed from it."""
    name = _name_of(body_text)
    rule = _rule(method, status, name, body_text)
    words = clean(body_text.removeprefix(name).removeprefix(":"), secrets)
    which = f"{status} {name}".rstrip()
    if isinstance(rule, _Token):
        return TokenRefused(_sentence(rule.words, which), status=status, name=name, retry_after_s=retry_after_s)
    if isinstance(rule, _Never):
        message = _sentence(rule.words, which, words)
        return Refused(rule.code, message, status=status, name=name, retryable=rule.is_retryable)
    reason = _sentence(rule.words, which, _said(rule, body_text, words))
    return rule.kind(reason, status=status, name=name, retry_after_s=retry_after_s, code=rule.code)


def _rule(method: str, status: int, name: str, text: str) -> _Rule:
    if name in BY_NAME:
        return BY_NAME[name]
    if status == 500:
        for pattern, rule in BY_WORDS:
            if pattern.search(text):
                return rule
    if (method, status) in BY_METHOD:
        return BY_METHOD[method, status]
    if name and status == 413:
        return _LARGE
    if name and status == 403 and name != "ERR_UPLOAD_REJECTED":
        return _by_class(status)
    return BY_STATUS.get(status) or _by_class(status)


def _by_class(status: int) -> _Rule:
    if status >= 500:
        return _Again("the tus server has trouble of its own")
    if status >= 400:
        return _Never("the tus server refuses the request")
    if status >= 300:
        return _Again("the tus server redirects; redirects are not followed")
    return _Again("the answer is not a tus server's; something in between may have given it")


def _name_of(text: str) -> str:
    found = re.match(r"ERR_[A-Z0-9_]{1,60}(?=:|\s|$)", text)
    return found[0] if found else ""


def _said(rule: _Again, text: str, words: str) -> str:
    """What is worth repeating: not the path on a full disk, and of a hook's answer the status alone."""
    if rule is _HOOK:
        status = re.search(r"hook endpoint \((\d{3})\)", text)
        return f"it answered {status[1]}" if status else ""
    return "" if rule is _FULL else words


def _sentence(words: str, which: str, said: str = "") -> str:
    return f"{words} ({which}): {said}" if said else f"{words} ({which})"


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """A server's words, fit for a screen and a message: one short line without controls, paths, URLs or `secrets`.

    A page of HTML says nothing worth repeating: it becomes an empty text.
    """
    if text.lstrip().startswith("<"):
        return ""
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    # A path of tusd's file store ends in the upload's ID, and who knows that may read and delete the upload.
    text = " ".join("…" if "/" in word or "\\" in word else word for word in text.split())
    line = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())
    return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


def asked_wait_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, within bounds, or None. A date counts from the answer's `Date`, or `now`."""
    try:
        seconds = parse_retry_after(headers.get("Retry-After"), _instant(headers.get("Date")) or now)
    except OverflowError:
        # The date parser's word for a year beyond all years.
        return None
    return None if seconds is None else asked(seconds)


def _instant(text: str | None) -> datetime | None:
    try:
        at = parsedate_to_datetime((text or "")[:64])
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
