"""The machine's key: there, for its owner's eyes alone, and accepted by the control plane that it is enrolled at."""

import anyio

from sse_agent import identity
from sse_agent.checks.deadline import WITHIN_S, within
from sse_agent.checks.report import Check, failed, ok, warning
from sse_agent.clock import Clock
from sse_agent.config import Settings
from sse_agent.credentials import AccessTokens, key
from sse_agent.enrolment import NotEnrolled, Pending, Registry
from sse_agent.errors import CannotStart, Parked, TryAgain
from sse_agent.transport import trust

NAME = "key"


def check(settings: Settings) -> Check | None:
    """None where there is none to look at. Raises OSError."""
    try:
        enrolled = identity.read(settings.state_dir)
        if enrolled is None:
            return None
        own = key.load(settings.state_dir, enrolled.key_id)
    except CannotStart as wrong:
        what, _, advice = str(wrong).partition("; ")
        return failed(NAME, what, advice or "what to do is in docs/how-to/enroll-an-agent.md")
    if settings.token is not None:
        found = f"this machine is enrolled as {enrolled.client_id}, but SSE_AGENT_TOKEN is set, and counts more"
        return warning(NAME, found, "take out SSE_AGENT_TOKEN, or move identity.json away")
    return ok(NAME, f"{enrolled.client_id}'s, fingerprint {own.fingerprint}")


def granted(settings: Settings, clock: Clock, name: str) -> tuple[str | None, Check | None]:
    """An access token, or what there is instead of one. None and None: this machine has no key to ask with."""
    try:
        return within(WITHIN_S, lambda: anyio.run(_token, settings, clock)), None
    except Pending as pending:
        return None, failed(
            name, pending.reason, "compare the fingerprint above with the control plane's, and confirm it"
        )
    except (NotEnrolled, Parked) as refused:
        return None, failed(name, refused.reason, "see docs/how-to/enroll-an-agent.md")
    except TimeoutError:
        return None, failed(
            name, f"no answer within {WITHIN_S:.0f} s", "try again: the control plane may be overloaded"
        )
    except TryAgain as trouble:
        return None, failed(name, trouble.reason, "try again later")
    except CannotStart:
        # Told by `check`.
        return None, None


async def _token(settings: Settings, clock: Clock) -> str | None:
    enrolled = identity.read(settings.state_dir)
    if enrolled is None:
        return None
    own = key.load(settings.state_dir, enrolled.key_id)
    async with Registry(settings.control_plane_url, trust(settings.ca_file), clock) as registry:
        tokens = AccessTokens(own, registry.grant, clock, client_id=enrolled.client_id, issuer=enrolled.issuer)
        return await tokens.current()
