"""How the parts of the webhooks are wired."""

from dataclasses import dataclass

from sse_agent.clock import Clock
from sse_agent.control_plane.access import Access
from sse_agent.control_plane.documents import Documents
from sse_agent.control_plane.engine import Engine
from sse_agent.control_plane.identity.audit import Audit
from sse_agent.control_plane.webhooks.courier import Courier
from sse_agent.control_plane.webhooks.delivery import Delivery
from sse_agent.control_plane.webhooks.endpoints import Endpoints
from sse_agent.control_plane.webhooks.registry import Registry


@dataclass(frozen=True, slots=True)
class Parts:
    """What the rest of the control plane uses. Close `delivery` at the end."""

    courier: Courier
    endpoints: Endpoints
    delivery: Delivery


def wired(
    engine: Engine, documents: Documents, access: Access, audit: Audit, clock: Clock, *, allows_private: bool
) -> Parts:
    """`allows_private`: webhooks may go to private addresses, and over http."""
    registry = Registry(documents, clock)
    delivery = Delivery(clock, allows_private=allows_private)
    courier = Courier(engine, documents, registry, delivery, clock)
    endpoints = Endpoints(access, engine, documents, registry, courier, audit, clock, allows_private=allows_private)
    return Parts(courier, endpoints, delivery)
