"""What services ask for and are told about identities: the bodies, as on the wire."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sse_agent.control_plane.identity.enrolment import MachineName
from sse_agent.messages import Name, Wire

VIEWER_LIFE_S = 900
VIEWER_AGENTS = 100
"""The token travels in a header, and many boxes take no more than 8 KiB of those."""
_Actor = Annotated[str, StringConstraints(max_length=256)]


class CredentialWanted(Wire):
    """A pairing code or an enrolment token. `client_id` binds it to an agent that exists."""

    name: MachineName | None = None
    client_id: Name | None = None
    actor: _Actor | None = None


class CodeMade(Wire):
    """`id` is the first half of the code."""

    code: str
    id: str
    expires_at: str


class TokenMade(Wire):
    """An enrolment token, or a viewer token."""

    token: str
    expires_at: str


class CodeTold(Wire):
    """What became of a code."""

    id: str
    status: Literal["open", "redeemed", "confirmed", "refused", "expired", "burnt"]
    expires_at: str
    client_id: str | None = None
    fingerprint: str | None = None
    name: str | None = None
    host: str | None = None
    platform: str | None = None
    version: str | None = None
    redeemed_at: str | None = None


class Confirmation(Wire):
    """A person has compared the fingerprint."""

    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    actor: _Actor | None = None


class Waiting(Wire):
    """A key that waits to be confirmed."""

    fingerprint: str
    host: str
    platform: str
    version: str
    enrolled_at: str


class EnrolmentTold(Wire):
    """One agent's enrolment. `fingerprint` and the machine are those of the key in use, else of the one that waits."""

    client_id: str
    status: Literal["pending", "active", "refused", "deleted"]
    name: str
    enrolled_at: str
    confirmed_at: str | None = None
    fingerprint: str | None = None
    host: str = ""
    platform: str = ""
    version: str = ""
    key_created_at: str | None = None
    key_age_seconds: float | None = None
    waiting: Waiting | None = None


class EnrolmentsTold(Wire):
    """A page of those that wait."""

    enrollments: list[EnrolmentTold]


class ViewerWanted(Wire):
    """A token for a browser: whom it stands for, which agents it may see, and what it may do with them."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    agents: Literal["*"] | Annotated[list[Name], Field(max_length=VIEWER_AGENTS)]
    scopes: Annotated[list[Literal["watch", "command", "manage"]], Field(min_length=1, max_length=3)]
    seconds: Annotated[int, Field(ge=1, le=VIEWER_LIFE_S)] = 300
    actor: _Actor | None = None


class Rotation(Wire):
    """A new key, signed for by itself and by the one in use."""

    public_key: dict[str, object]
    proof: Annotated[str, StringConstraints(max_length=4096)]
    old_proof: Annotated[str, StringConstraints(max_length=4096)]


class Rotated(Wire):
    """The answer."""

    client_id: str
    fingerprint: str
