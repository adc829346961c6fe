"""How the parts of identity are wired to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sse_agent.clock import Clock
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity.administration import Administration
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.identity.credentials import Credentials
from sse_agent.control_plane.identity.endpoints import Endpoints
from sse_agent.control_plane.identity.enrolment import Enrolment
from sse_agent.control_plane.identity.granting import Granting
from sse_agent.control_plane.identity.registry import Registry
from sse_agent.control_plane.identity.remembered import RememberedTokens
from sse_agent.control_plane.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Parts:
    """What the rest of the control plane uses."""

    access: Access
    administration: Administration
    endpoints: Endpoints
    tokens: Tokens
    audit: Audit
    registry: Registry


async def opened(
    engine: Engine,
    documents: Documents,
    clock: Clock,
    issuer: str,
    *,
    agents: Mapping[str, str],
    services: Mapping[str, str],
    on_change: Callable[[str], None],
) -> Parts:
    """`agents` and `services`: fixed tokens by name. `on_change` is told whose key or standing has changed."""
    tokens = Tokens(documents, clock, issuer)
    await tokens.open()
    audit = Audit(documents, clock)
    registry = Registry(documents, clock, on_change)
    credentials = Credentials(documents, clock)
    access = Access(agents, services, RememberedTokens(tokens, clock), registry)
    enrolment = Enrolment(engine, registry, credentials, audit, clock, issuer)
    granting = Granting(engine, documents, registry, tokens, audit, clock, issuer)
    administration = Administration(engine, registry, credentials, tokens, audit, clock)
    endpoints = Endpoints(access, enrolment, granting, administration, engine, tokens, clock, issuer)
    return Parts(access, administration, endpoints, tokens, audit, registry)
