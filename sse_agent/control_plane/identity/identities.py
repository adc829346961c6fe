"""What is kept of an agent's identity: documents, as JSON. Members are camelCase there, too."""

from datetime import datetime, timedelta
from typing import Any, Literal

import pydantic_core

from sse_agent.clock import parse_timestamp
from sse_agent.messages import Wire

WAITING_LIFE = timedelta(days=1)
"""How long a key waits for a person's yes. After that its enrolment counts as refused."""


class Stored(Wire):
    """The root of what is kept."""

    def encode(self) -> bytes:
        """The document's body."""
        return pydantic_core.to_json(self.to_wire())


class Key(Stored):
    """One public key, and the machine that brought it."""

    public_key: dict[str, Any]
    thumbprint: str
    fingerprint: str
    created_at: str
    host: str = ""
    platform: str = ""
    version: str = ""


class Identity(Stored):
    """One agent.

    `key`: the one that counts, from the confirmation on; `key_version` rises with each. `next_key`: a rotated one, not
    used yet. `waiting`: one that a person has to confirm. `status` is that of the whole: pending until it first had a
    key; refused if it never gets one; deleted for ever. `spent`: the last codes and tokens whose keys were put in here;
    a repetition of one changes nothing, whatever was decided since.
    """

    client_id: str
    name: str
    status: Literal["pending", "active", "refused", "deleted"]
    enrolled_at: str
    confirmed_at: str | None = None
    key: Key | None = None
    key_version: int = 0
    next_key: Key | None = None
    waiting: Key | None = None
    spent: list[str] = []  # noqa: RUF012 - pydantic copies it

    def at(self, now: datetime) -> "Identity":
        """The same, without a key that has waited too long."""
        if self.waiting is None or now < parse_timestamp(self.waiting.created_at) + WAITING_LIFE:
            return self
        return self.without_waiting()

    def without_waiting(self) -> "Identity":
        """What waits is refused. Whoever has another key keeps it."""
        status = "refused" if self.key is None else self.status
        return self.model_copy(update={"waiting": None, "status": status})

    def status_of(self, thumbprint: str) -> Literal["pending", "active", "refused"]:
        """What became of this key's enrolment."""
        if self.status in ("refused", "deleted"):
            return "refused"
        if self.waiting is not None and self.waiting.thumbprint == thumbprint:
            return "pending"
        is_key = self.key is not None and self.key.thumbprint == thumbprint
        return "active" if is_key else "refused"


class Credential(Stored):
    """A pairing code or an enrolment token. `tries`: of a code, those begun. `thumbprint`: of the key that redeemed it.

    `is_bound`: it was made for the agent `client_id`; else that is the one which it was redeemed for.
    """

    id: str
    digest: str
    salt: str = ""
    name: str | None = None
    actor: str | None = None
    made_by: str | None = None
    client_id: str | None = None
    is_bound: bool = False
    expires_at: str
    tries: int = 0
    thumbprint: str | None = None
    fingerprint: str | None = None
    redeemed_at: str | None = None
    machine: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it

    def is_expired(self, now: datetime) -> bool:
        """Whether nobody may redeem it any more, who has not done so."""
        return parse_timestamp(self.expires_at) <= now
