"""Every error answer: RFC 9457 problem documents, one class each. What is raised is what is sent."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import pydantic_core
from starlette.types import Send

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:sse-agent:problem:"


class Problem(Exception):
    """The root. `detail` is for people: it repeats no secret and nothing long that was sent."""

    status: int
    slug: str
    title: str

    def __init__(
        self, detail: str = "", *, headers: Mapping[str, str] | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    @property
    def type(self) -> str:
        """The problem's name, as on the wire."""
        return TYPE_PREFIX + self.slug

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457, section 3.1."""
        members = {"type": self.type, "title": self.title, "status": self.status}
        return {**members, "detail": self.detail} if self.detail else members

    def encode(self) -> bytes:
        """The body of the answer."""
        return pydantic_core.to_json(self.document())

    async def send(self, send: Send) -> None:
        """The whole answer, for endpoints that speak bare ASGI."""
        body = self.encode()
        headers = {
            **self.headers,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        }
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})


class MalformedRequest(Problem):
    status, slug, title = 400, "malformed-request", "The request is malformed"


class MalformedSpeaker(Problem):
    status, slug, title = 400, "malformed-speaker", "Agent-Journal, Agent-Epoch or Agent-Instance is missing or wrong"


class IdempotencyKeyMissing(Problem):
    status, slug, title = 400, "idempotency-key-missing", "The request needs an Idempotency-Key"


class Unauthenticated(Problem):
    status, slug, title = 401, "unauthenticated", "The bearer token is missing or not valid"

    def __init__(self, *, is_missing: bool) -> None:
        challenge = "Bearer" if is_missing else 'Bearer error="invalid_token"'
        super().__init__(headers={"WWW-Authenticate": challenge})


class NotAllowed(Problem):
    status, slug, title = 403, "not-allowed", "This token is not for this"


class CodeNotValid(Problem):
    status, slug, title = 403, "code-not-valid", "There is no such code or token"


class LinkNotValid(Problem):
    status, slug, title = 403, "link-not-valid", "This link was used, has expired, or is none"


class SignedOut(Problem):
    status, slug, title = 401, "signed-out", "Nobody is signed in; a new link is needed"


class UnknownPath(Problem):
    status, slug, title = 404, "unknown-path", "There is nothing here"


class UnknownAgent(Problem):
    status, slug, title = 404, "unknown-agent", "No agent is called that"


class UnknownCommand(Problem):
    status, slug, title = 404, "unknown-command", "No command is called that"


class UnknownUpload(Problem):
    status, slug, title = 404, "unknown-upload", "This agent has reported no upload that is called that"


class UnknownCode(Problem):
    status, slug, title = 404, "unknown-code", "No pairing code has this ID"


class NoUploadTokens(Problem):
    status, slug, title = 404, "no-upload-tokens", "This deployment mints no upload tokens"


class MethodNotAllowed(Problem):
    status, slug, title = 405, "method-not-allowed", "This can't be done here"


class NotAcceptable(Problem):
    status, slug, title = 406, "not-acceptable", "This speaks text/event-stream and application/json"


class RequestTimeout(Problem):
    status, slug, title = 408, "request-timeout", "The request did not arrive in time"


class NewerEpoch(Problem):
    status, slug, title = 409, "newer-epoch", "Another instance of this agent has taken its place"


class CodeUsed(Problem):
    status, slug, title = 409, "code-used", "Another key used this code or token"


class WrongFingerprint(Problem):
    status, slug, title = 409, "wrong-fingerprint", "No key with this fingerprint waits to be confirmed"


class AgentDeleted(Problem):
    status, slug, title = 410, "agent-deleted", "This agent was deleted"


class CodeOver(Problem):
    status, slug, title = 410, "code-over", "This code or token has expired, or wrong tries burnt it"


class TooLarge(Problem):
    status, slug, title = 413, "too-large", "The request is too large"


class UnsupportedMediaType(Problem):
    status, slug, title = 415, "unsupported-media-type", "The body must be application/json, not encoded"


class InvalidEnvelope(Problem):
    status, slug, title = 422, "invalid-envelope", "The message is no envelope"


class InvalidPayload(Problem):
    status, slug, title = 422, "invalid-payload", "The message's payload does not fit its type"


class InvalidParameter(Problem):
    status, slug, title = 422, "invalid-parameter", "A part of the request is not valid"


class WrongClient(Problem):
    status, slug, title = 422, "wrong-client", "The message is from another agent"


class InvalidProof(Problem):
    """With `now`: a machine whose clock is wrong can say so, or sign again."""

    status, slug, title = 422, "invalid-proof", "The proof is not by this key, for this control plane, or not of now"

    def __init__(self, detail: str, now: str) -> None:
        super().__init__(detail)
        self.now = now

    def document(self) -> dict[str, Any]:
        return {**super().document(), "now": self.now}


class IdempotencyKeyMismatch(Problem):
    status, slug, title = 422, "idempotency-key-mismatch", "The Idempotency-Key is not the message's id"


class IdempotencyKeyReused(Problem):
    status, slug, title = 422, "idempotency-key-reused", "This key was used with another body"


class QueueFull(Problem):
    status, slug, title = 429, "queue-full", "The agent's queue is full"


class TooManyTries(Problem):
    status, slug, title = 429, "too-many-tries", "Too many wrong codes came from this address"


class TooManyRequests(Problem):
    status, slug, title = 429, "too-many-requests", "Access tokens are asked for faster than is allowed"


class InternalError(Problem):
    status, slug, title = 500, "internal-error", "The control plane failed"


class Unavailable(Problem):
    status, slug, title = 503, "unavailable", "Not now"


class Rejected(Problem):
    """What the framework itself refuses, with any other status."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.title = HTTPStatus(status).phrase
        self.slug = self.title.lower().replace(" ", "-")
        super().__init__(headers=headers)


def from_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem for an answer of the framework's own."""
    own: dict[int, type[Problem]] = {404: UnknownPath, 405: MethodNotAllowed, 500: InternalError}
    return own[status](headers=headers) if status in own else Rejected(status, headers)
