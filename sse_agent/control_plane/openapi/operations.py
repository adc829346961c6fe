"""Who may call what, with what, and every answer to it: what FastAPI can't see in endpoints that read bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sse_agent.control_plane import problems
from sse_agent.control_plane.chat import UnknownChatCommand
from sse_agent.control_plane.ordering import TooOften
from sse_agent.control_plane.problems import Problem
from sse_agent.control_plane.webhooks.registry import TooManyWebhooks, UnknownWebhook

Problems = tuple[type[Problem], ...]
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
EVENTS = "text/event-stream"
API = "/api/v1"
AGENT = f"{API}/agents/{{clientId}}"
WEBHOOK = f"{API}/webhooks/{{webhookId}}"


class Who(Enum):
    """Whose credential it takes: the names of security schemes, one of which is enough."""

    AGENT = ("agentToken",)
    SERVICE = ("serviceToken",)
    WATCHER = ("serviceToken", "viewerToken")
    HOOK = ("hookSecret", "hookSecretAsBearer")
    SESSION = ("sessionCookie",)
    NOBODY = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `takes` and `gives` name schemas, by media type and by status; "" is an empty body.

    `key`: whether an `Idempotency-Key` is needed; None: it is not looked at. `problems`: beside those that follow from
    the rest.
    """

    name: str
    tag: str
    who: Who
    gives: Mapping[int, Mapping[str, str]]
    takes: Mapping[str, str] = field(default_factory=dict)
    key: bool | None = None
    problems: Problems = ()
    summary: str = ""


def _json(status: int, schema: str) -> Mapping[int, Mapping[str, str]]:
    return {status: {JSON: schema}}


NOTHING: Mapping[int, Mapping[str, str]] = {204: {}}
_AGENT: Problems = (
    problems.MalformedSpeaker,
    problems.UnknownAgent,
    problems.NewerEpoch,
    problems.AgentDeleted,
)
_NAMED: Problems = (problems.UnknownAgent, problems.AgentDeleted)
_BODY: Problems = (
    problems.MalformedRequest,
    problems.RequestTimeout,
    problems.TooLarge,
    problems.UnsupportedMediaType,
    problems.InvalidParameter,
)
_ENROL: Problems = (
    problems.InvalidProof,
    problems.CodeNotValid,
    problems.CodeUsed,
    problems.CodeOver,
    problems.TooManyTries,
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", f"{AGENT}/stream"): Operation(
        "receiveCommands",
        "agents",
        Who.AGENT,
        {200: {EVENTS: "", JSON: "LongPoll"}},
        problems=(problems.NotAcceptable,),
        summary="The command stream, or with `Accept: application/json` a long poll; see asyncapi.json",
    ),
    ("POST", f"{AGENT}/messages"): Operation(
        "report",
        "agents",
        Who.AGENT,
        {202: {JSON: "Recorded"}, 200: {JSON: "Recorded | Results"}},
        takes={JSON: "Event | Batch"},
        key=True,
        problems=(
            problems.InvalidEnvelope,
            problems.InvalidPayload,
            problems.WrongClient,
            problems.IdempotencyKeyMismatch,
            problems.IdempotencyKeyReused,
        ),
        summary="Report a message, or a batch of them",
    ),
    ("POST", f"{AGENT}/uploads/{{fileId}}/token"): Operation(
        "renewUploadToken",
        "agents",
        Who.AGENT,
        _json(201, "TokenMade"),
        problems=(problems.NoUploadTokens,),
        summary="A fresh token for an upload",
    ),
    ("POST", f"{AGENT}/key"): Operation(
        "rotateKey",
        "agents",
        Who.AGENT,
        _json(200, "Rotated"),
        takes={JSON: "Rotation"},
        problems=(problems.InvalidProof,),
    ),
    ("POST", f"{API}/enrollments"): Operation(
        "enrol", "identity", Who.NOBODY, _json(201, "Enrolled"), takes={JSON: "Application"}, problems=_ENROL
    ),
    ("POST", f"{API}/token"): Operation(
        "getToken",
        "identity",
        Who.NOBODY,
        {200: {JSON: "AccessToken"}, 400: {JSON: "TokenError"}, 401: {JSON: "TokenError"}},
        takes={FORM: "TokenRequest"},
        problems=(problems.AgentDeleted, problems.TooManyRequests),
    ),
    ("GET", f"{API}/jwks"): Operation("keys", "identity", Who.NOBODY, {200: {"application/jwk-set+json": "KeySet"}}),
    ("GET", "/.well-known/oauth-authorization-server"): Operation(
        "serverMetadata", "identity", Who.NOBODY, _json(200, "ServerMetadata")
    ),
    # --- services and viewers ---
    ("POST", f"{AGENT}/commands"): Operation(
        "command",
        "commands",
        Who.WATCHER,
        _json(202, "Queued"),
        takes={JSON: "CommandOrder"},
        key=True,
        problems=(
            *_NAMED,
            problems.InvalidPayload,
            problems.IdempotencyKeyReused,
            problems.QueueFull,
            TooOften,
            UnknownChatCommand,
        ),
        summary="Queue a command for an agent, which may be away",
    ),
    ("GET", f"{API}/commands/{{commandId}}"): Operation(
        "commandById",
        "commands",
        Who.WATCHER,
        _json(200, "CommandRecord"),
        problems=(problems.UnknownCommand,),
        summary="Outcome and replies; with `wait` it waits for the outcome",
    ),
    ("GET", f"{API}/agents"): Operation(
        "agents",
        "agents as reported",
        Who.WATCHER,
        _json(200, "Agents"),
        summary="Every agent, in the order of the IDs",
    ),
    ("GET", AGENT): Operation(
        "agent",
        "agents as reported",
        Who.WATCHER,
        _json(200, "AgentRecord"),
        problems=_NAMED,
        summary="One agent as last reported",
    ),
    ("GET", f"{AGENT}/uploads"): Operation(
        "uploads",
        "agents as reported",
        Who.WATCHER,
        _json(200, "Uploads"),
        problems=_NAMED,
        summary="Its uploads, in the order of their file IDs",
    ),
    ("GET", f"{AGENT}/uploads/{{fileId}}"): Operation(
        "upload",
        "agents as reported",
        Who.WATCHER,
        _json(200, "UploadRecord"),
        problems=(*_NAMED, problems.UnknownUpload),
        summary="One of its uploads",
    ),
    ("GET", f"{AGENT}/uploads/{{fileId}}/stored"): Operation(
        "stored", "agents as reported", Who.SERVICE, _json(200, "StoredUploads"), problems=_NAMED
    ),
    ("GET", f"{AGENT}/messages"): Operation(
        "messages",
        "agents as reported",
        Who.WATCHER,
        _json(200, "Messages"),
        problems=_NAMED,
        summary="What it reported durably, oldest first",
    ),
    ("GET", f"{AGENT}/chat"): Operation(
        "chat",
        "agents as reported",
        Who.WATCHER,
        _json(200, "ChatLines"),
        problems=_NAMED,
        summary="The newest lines of its chat, oldest first",
    ),
    ("GET", f"{API}/stream"): Operation(
        "watch",
        "agents as reported",
        Who.WATCHER,
        {200: {EVENTS: ""}},
        problems=(problems.NotAcceptable, problems.InvalidParameter),
        summary="Everything that agents report; see asyncapi.json",
    ),
    ("POST", f"{AGENT}/readmit"): Operation(
        "readmit",
        "identity",
        Who.WATCHER,
        NOTHING,
        key=True,
        problems=(*_NAMED, problems.IdempotencyKeyReused),
        summary="Let a restored machine in again",
    ),
    ("DELETE", AGENT): Operation("delete", "identity", Who.WATCHER, NOTHING, problems=_NAMED),
    ("POST", f"{API}/pairing-codes"): Operation(
        "makePairingCode",
        "identity",
        Who.WATCHER,
        _json(201, "CodeMade"),
        takes={JSON: "CredentialWanted"},
        key=False,
        problems=_NAMED,
    ),
    ("GET", f"{API}/pairing-codes/{{codeId}}"): Operation(
        "pairingCode", "identity", Who.WATCHER, _json(200, "CodeTold"), problems=(problems.UnknownCode,)
    ),
    ("POST", f"{API}/enrollment-tokens"): Operation(
        "makeEnrolmentToken",
        "identity",
        Who.WATCHER,
        _json(201, "TokenMade"),
        takes={JSON: "CredentialWanted"},
        key=False,
        problems=_NAMED,
    ),
    ("GET", f"{API}/enrollments"): Operation("enrolments", "identity", Who.WATCHER, _json(200, "EnrolmentsTold")),
    ("POST", f"{AGENT}/confirm"): Operation(
        "confirm",
        "identity",
        Who.WATCHER,
        _json(200, "EnrolmentTold"),
        takes={JSON: "Confirmation"},
        key=False,
        problems=(*_NAMED, problems.WrongFingerprint),
    ),
    ("DELETE", f"{AGENT}/enrollment"): Operation("refuse", "identity", Who.WATCHER, NOTHING, problems=_NAMED),
    ("POST", f"{API}/viewer-tokens"): Operation(
        "makeViewerToken", "viewers", Who.SERVICE, _json(201, "TokenMade"), takes={JSON: "ViewerWanted"}, key=False
    ),
    ("POST", f"{API}/signin-links"): Operation(
        "makeSignInLink", "viewers", Who.SERVICE, _json(201, "Link"), takes={JSON: "Grant"}, key=False
    ),
    ("POST", f"{API}/sessions"): Operation(
        "signIn",
        "viewers",
        Who.NOBODY,
        _json(201, "SignedIn"),
        takes={JSON: "Secret"},
        problems=(problems.LinkNotValid, problems.NotAllowed),
    ),
    ("POST", f"{API}/sessions/renew"): Operation(
        "renewSession",
        "viewers",
        Who.SESSION,
        _json(200, "SignedIn"),
        problems=(problems.SignedOut, problems.NotAllowed),
    ),
    ("DELETE", f"{API}/sessions"): Operation(
        "signOut", "viewers", Who.SESSION, NOTHING, problems=(problems.NotAllowed,)
    ),
    ("GET", f"{API}/audit"): Operation("audit", "audit", Who.SERVICE, _json(200, "AuditLog")),
    ("POST", f"{API}/webhooks"): Operation(
        "makeWebhook",
        "webhooks",
        Who.SERVICE,
        _json(201, "WebhookMade"),
        takes={JSON: "WebhookWanted"},
        key=False,
        problems=(TooManyWebhooks,),
    ),
    ("GET", f"{API}/webhooks"): Operation("webhooks", "webhooks", Who.SERVICE, _json(200, "Webhooks")),
    ("DELETE", WEBHOOK): Operation("removeWebhook", "webhooks", Who.SERVICE, NOTHING, problems=(UnknownWebhook,)),
    ("POST", f"{WEBHOOK}/secret"): Operation(
        "rotateWebhookSecret", "webhooks", Who.SERVICE, _json(200, "WebhookMade"), problems=(UnknownWebhook,)
    ),
    ("POST", f"{WEBHOOK}/resume"): Operation(
        "resumeWebhook", "webhooks", Who.SERVICE, _json(200, "Webhook"), problems=(UnknownWebhook,)
    ),
    ("GET", f"{WEBHOOK}/deliveries"): Operation(
        "deliveries", "webhooks", Who.SERVICE, _json(200, "Deliveries"), problems=(UnknownWebhook,)
    ),
    ("GET", f"{WEBHOOK}/waiting"): Operation(
        "waitingDeliveries", "webhooks", Who.SERVICE, _json(200, "WaitingDeliveries"), problems=(UnknownWebhook,)
    ),
    ("POST", f"{WEBHOOK}/waiting/{{n}}/retry"): Operation(
        "retryDelivery", "webhooks", Who.SERVICE, {202: {}}, problems=(UnknownWebhook,)
    ),
    ("POST", f"{API}/tus-hooks"): Operation(
        "tusHook",
        "tus server",
        Who.HOOK,
        _json(200, "HookAnswer"),
        takes={JSON: "TusHook"},
        problems=(problems.NotAllowed, problems.InvalidPayload),
    ),
}


def problems_of(operation: Operation, path: str, *, has_query: bool) -> Problems:
    """Every one, each once."""
    found: list[type[Problem]] = list(operation.problems)
    if operation.who in (Who.AGENT, Who.SERVICE, Who.WATCHER, Who.HOOK):
        found += [problems.Unauthenticated, problems.NotAllowed]
    if operation.who is Who.AGENT:
        found += _AGENT
    if operation.takes:
        found += _BODY
    if operation.key:
        found += [problems.IdempotencyKeyMissing, problems.InvalidParameter]
    if has_query or "{n}" in path:
        found.append(problems.InvalidParameter)
    if "{" in path:
        # What stands there may hold a slash, and is another path then.
        found += [problems.UnknownPath, problems.MethodNotAllowed]
    return tuple(dict.fromkeys([*found, problems.InternalError, problems.Unavailable]))
