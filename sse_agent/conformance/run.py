"""One check after the other, each with a verdict; what one leaves open is superseded by the next."""

import ssl
from collections.abc import Callable, Sequence

import anyio
import httpx

from sse_agent.clock import Clock
from sse_agent.conformance import fencing, identity, polling, refusals, reporting, services, streaming
from sse_agent.conformance.check import NONSENSE, Broken, Check, NotRun, State, Verdict, broken_by
from sse_agent.conformance.kit import Kit, Options
from sse_agent.conformance.peer import Peer

GROUPS = (
    streaming.STREAM,
    polling.POLLING,
    reporting.MESSAGES,
    reporting.BATCH,
    services.UI,
    refusals.PROBLEMS,
    refusals.AUTH,
    fencing.FENCING,
    identity.IDENTITY,
)
CHECKS: tuple[Check, ...] = tuple(check for group in GROUPS for check in group.checks)
CHECK_WITHIN_S = 300.0
FINISH_WITHIN_S = 30.0
CONNECTIONS = 64
KEPT_ALIVE = 8


class Unreachable(Exception):
    """There is nothing that speaks HTTP; the words say why."""


def chosen(wanted: Sequence[str]) -> list[Check]:
    """The checks that are called so, or whose group is. Raises KeyError, naming what there is not; all without any."""
    names = {check.name for check in CHECKS} | {check.group for check in CHECKS}
    for name in wanted:
        if name not in names:
            raise KeyError(name)
    return [check for check in CHECKS if not wanted or check.name in wanted or check.group in wanted]


async def run(
    url: str,
    trust: ssl.SSLContext | bool,
    options: Options,
    checks: Sequence[Check],
    clock: Clock,
    tell: Callable[[Verdict], None],
) -> None:
    """A verdict for each is told as soon as it is known. Raises Unreachable."""
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=KEPT_ALIVE)
    # A proxy of the environment would be checked together with the control plane, or instead of it.
    async with httpx.AsyncClient(base_url=url, verify=trust, limits=limits, trust_env=False) as client:
        await _reach(client)
        async with anyio.create_task_group() as pumps:
            kit = Kit(Peer(client, pumps, clock), clock, options)
            await _begin(kit)
            for check in checks:
                tell(await _judge(kit, check))
            with anyio.move_on_after(FINISH_WITHIN_S):
                await kit.finish()


async def _reach(client: httpx.AsyncClient) -> None:
    try:
        with anyio.fail_after(FINISH_WITHIN_S):
            async with client.stream("GET", "/api/v1/agents", timeout=None):
                return
    except (httpx.HTTPError, TimeoutError) as error:
        raise Unreachable(str(error) or type(error).__name__) from None


async def _begin(kit: Kit) -> None:
    try:
        await kit.begin()
    except (Broken, *NONSENSE):
        # Some check is about what went wrong here, and says so.
        return


async def _judge(kit: Kit, check: Check) -> Verdict:
    kit.start_again()
    kit.peer.exchanges.clear()
    try:
        with anyio.fail_after(CHECK_WITHIN_S):
            await check.carry_out(kit)
    except Broken as broken:
        return Verdict(check, State.BROKEN, str(broken), tuple(kit.peer.exchanges))
    except NONSENSE as error:
        return Verdict(check, State.BROKEN, str(broken_by(error)), tuple(kit.peer.exchanges))
    except TimeoutError:
        words = f"the check was not over within {CHECK_WITHIN_S:.0f} s"
        return Verdict(check, State.BROKEN, words, tuple(kit.peer.exchanges))
    except NotRun as missing:
        return Verdict(check, State.NOT_RUN, str(missing))
    return Verdict(check, State.PASSED)
