"""Black holes that nobody ends for the agent: each has to be given up by the agent itself, within its own deadline."""

import time
from collections.abc import Awaitable, Callable, Mapping

from scripts.chaos_test_harness.world import World
from tests.doubles.chaos_exchange import At, Exchange, Misbehaviour
from tests.doubles.chaos_flow import Round

UNREAD = "a PATCH that is not read"
DEADLINES_S: Mapping[str, float] = {
    "a stream that falls silent": 3.0,
    "a stream that is not answered": 30.0,
    "a POST of messages": 30.0,
    "the creation of an upload": 150.0,
    "an upload's offset": 45.0,
    UNREAD: 60.0,
    "a PATCH that is not answered": 150.0,
}
"""What the agent waits at the most, see transport.py and tus/watch.py of sse_agent. Heartbeats come every second."""
SLACK_S = 15.0
DRAINS_WITHIN_S = 180.0
GREETING_BLOCKS = 2
UPLOADS = 4
UPLOAD_BYTES = 8 * 1024 * 1024

Step = Callable[[Exchange], Awaitable[None]]


async def _cut(exchange: Exchange) -> None:
    server = await exchange.open()
    try:
        await exchange.forward(server, exchange.size // 2)
    finally:
        server.cut(with_reset=False)
        exchange.cut()


def _hole(label: str, *, is_read: bool = False) -> Step:
    async def fall(exchange: Exchange) -> None:
        if is_read:
            await exchange.body()
        await exchange.hole(label)

    return fall


def _one_after_the_other(kind: str, *steps: Step, at: At = "request") -> Misbehaviour:
    """The first requests of a kind meet these, the rest pass."""
    left = list(steps)

    async def do(exchange: Exchange) -> None:
        # A stream that says nothing from the beginning is another case.
        if left and (at != "event" or len(exchange.passed) >= GREETING_BLOCKS):
            await left.pop(0)(exchange)
        elif at == "event":
            await exchange.say_event(exchange.block)
        else:
            await exchange.pass_on()

    return Misbehaviour(f"full-length {kind}", at, do, frozenset({kind}))


def _ended(world: World) -> dict[str, float]:
    """Seconds, by label. Of a body that nobody reads only the agent can tell: its FIN waits behind what is unread."""
    ended = {label: seconds for label, is_gone, seconds in list(world.chaos.held) if is_gone}
    unread_s = DEADLINES_S[UNREAD]
    if any(f"no answer for {unread_s:g} s" in event.get("reason", "") for event in list(world.agent.events)):
        ended[UNREAD] = unread_s
    return ended


def full_length(world: World, say: Callable[[], None]) -> tuple[list[str], list[str]]:
    """All of them at the same time. A line for each, for people; and the complaints."""
    active = [
        _one_after_the_other("stream", _hole("a stream that falls silent"), at="event"),
        _one_after_the_other("stream", _hole("a stream that is not answered")),
        _one_after_the_other("messages", _hole("a POST of messages")),
        _one_after_the_other("create", _hole("the creation of an upload")),
        _one_after_the_other("patch", _cut, _hole("a PATCH that is not answered", is_read=True), _hole(UNREAD)),
        _one_after_the_other("offset", _hole("an upload's offset")),
    ]
    name = next(name for name, size in world.sizes.items() if size == UPLOAD_BYTES)
    # What is left of the rounds would be displaced, or fall into the holes.
    world.start()
    world.drain(DRAINS_WITHIN_S, DRAINS_WITHIN_S, say)
    for n in range(UPLOADS):
        world.traffic.start(name, world.endpoints[n % 2])
    world.chaos.begin(Round(active, severity=1.0, holes_last=True))
    until = time.monotonic() + max(DEADLINES_S.values()) + 3 * SLACK_S
    while time.monotonic() < until and len(_ended(world)) < len(DEADLINES_S):
        world.records.read()
        world.check_complete()
        say()
        time.sleep(0.2)
    ended = _ended(world)
    lines = [f"  {label:<30}{ended[label]:.1f} s" for label in DEADLINES_S if label in ended]
    late = [
        f"{label} was given up after {ended.get(label, float('inf')):.1f} s, not after {deadline:g} s"
        for label, deadline in DEADLINES_S.items()
        if not 0.5 * deadline < ended.get(label, float("inf")) < deadline + SLACK_S
    ]
    return ["black holes that the agent ended itself", *lines], late
