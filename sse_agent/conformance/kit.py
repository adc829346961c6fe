"""What checks are handed: an agent, a service, and a few things that both need."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from sse_agent.clock import Clock
from sse_agent.conformance.check import NONSENSE, Broken, NotRun, broken_by, expect
from sse_agent.conformance.peer import Answer, Peer, Token, encoded
from sse_agent.conformance.speakers import PAGE, Agent, Message, Service
from sse_agent.errors import GiveUp
from sse_agent.messages import BATCH_COUNT_LIMIT, CommandType, EventType, Hello, parse_event_id, parse_hello

T = TypeVar("T")
PAGES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """Whom the checks speak for. `grace_s` is what a slow line or machine may add to the contract's times, in seconds.

    `fill_queue`: how many commands may be queued in order to see a full queue; 0: it is not tried.
    """

    client_id: str
    agent_token: Token
    service_token: Token | None = None
    second_client_id: str | None = None
    second_agent_token: Token | None = None
    grace_s: float = 1.0
    fill_queue: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A command that was queued, and its place."""

    command_id: str
    numbering: str
    n: int

    @property
    def event_id(self) -> str:
        """As on the stream."""
        return f"{self.numbering}/{self.n}"

    @property
    def before(self) -> str:
        """The cursor of an agent that has everything up to this command."""
        return f"{self.numbering}/{self.n - 1}"


class Kit:
    """Everything of one run."""

    def __init__(self, peer: Peer, clock: Clock, options: Options) -> None:
        self.peer = peer
        self.clock = clock
        self.options = options
        self.agent = Agent(peer, clock, options.client_id, options.agent_token)
        self.cursor: str | None = None
        self._recorded_after: object = None
        self._open: list[str] = []

    @property
    def grace_s(self) -> float:
        """What is added to the contract's times."""
        return self.options.grace_s

    @property
    def service(self) -> Service:
        """Raises NotRun without a service token."""
        if self.options.service_token is None:
            raise NotRun("it needs a service token (--service-token-file)")
        return Service(self.peer, self.options.service_token, self.options.client_id)

    @property
    def fill_queue(self) -> int:
        """How many commands may be queued in order to see a full queue. Raises NotRun if none."""
        if not self.options.fill_queue:
            raise NotRun("it fills the agent's queue, so it must be asked for (--fill-queue)")
        return self.options.fill_queue

    async def begin(self) -> None:
        """The first claim of a journal that nobody knows: its place in the queue, and the agent's whole state."""
        self.cursor = place(await self.hello())
        await self.agent.report(self.agent.connected(self.cursor))

    async def hello(self, agent: Agent | None = None, cursor: str | None = None) -> Hello:
        """HELLO by long polling or, where there is none, of a stream. Raises Broken."""
        agent = agent or self.agent
        answer = await agent.poll(cursor)
        if answer.status == 200:
            return hello_of(answer)
        async with agent.stream(cursor) as stream:
            return await stream.hello(2.0 + self.grace_s)

    def start_again(self) -> Agent:
        """The agent's next start: whatever an earlier check left open is superseded."""
        self.agent = self.agent.later()
        return self.agent

    async def queue(self, count: int = 1, kind: str = CommandType.HEARTBEAT, **body: Any) -> list[Ticket]:
        """So many commands. Raises Broken."""
        return [await self._queued(uuid.uuid4().hex, kind, **body) for _ in range(count)]

    async def queue_one(self, kind: str = CommandType.HEARTBEAT, **body: Any) -> Ticket:
        """One command. Raises Broken."""
        return await self._queued(uuid.uuid4().hex, kind, **body)

    async def _queued(self, key: str, kind: str, **body: Any) -> Ticket:
        return self.ticket(await self.service.order(key, kind, **body))

    def ticket(self, answer: Answer) -> Ticket:
        """Of the answer to an order. Raises Broken."""
        expect(answer.status == 202, f"a command that can be queued was answered {answer.status}, not 202")
        members = answer.json()
        command_id, event_id = members.get("id"), members.get("eventId")
        if not isinstance(command_id, str) or not isinstance(event_id, str):
            raise Broken("the 202 has no id and eventId")
        try:
            place = parse_event_id(event_id)
        except ValueError as wrong:
            raise Broken(f"eventId {event_id!a}: {wrong}") from None
        self._open.append(command_id)
        self.cursor = event_id
        return Ticket(command_id, place.numbering, place.n)

    async def recorded(self) -> list[Message]:
        """What the control plane shows as reported since the last time this was asked. Raises Broken."""
        found: list[Message] = []
        for _ in range(PAGES_LIMIT):
            rows = await self.service.all_of(f"{self.service.path}/messages", "messages", self._recorded_after)
            found += [row["message"] for row in rows if isinstance(row.get("message"), dict)]
            if rows:
                self._recorded_after = rows[-1].get("n")
            if len(rows) < PAGE:
                break
        return found

    async def side_by_side(self, deeds: Sequence[Callable[[], Awaitable[T]]]) -> list[T | Broken]:
        """All at once; what they come to, in order."""
        found: dict[int, T | Broken] = {}

        async def carry_out(number: int, deed: Callable[[], Awaitable[T]]) -> None:
            try:
                found[number] = await deed()
            except Broken as broken:
                found[number] = broken
            except NONSENSE as error:
                found[number] = broken_by(error)

        async with anyio.create_task_group() as group:
            for number, deed in enumerate(deeds):
                group.start_soon(carry_out, number, deed)
        return [found[number] for number in range(len(deeds))]

    async def finish(self) -> None:
        """Nothing stays open that these checks have queued. Best effort: the verdicts are known."""
        agent = self.start_again()
        try:
            for start in range(0, len(self._open), BATCH_COUNT_LIMIT):
                part = self._open[start : start + BATCH_COUNT_LIMIT]
                await agent.batch([agent.ack(command_id) for command_id in part])
            await agent.report(agent.message(EventType.CLIENT_DISCONNECTED, {"reason": "the checks are over"}))
        except (Broken, *NONSENSE):
            return


def place(hello: Hello) -> str:
    """Where an agent goes on that has nothing to lose."""
    return hello.reset.cursor if hello.reset is not None else hello.latest


def hello_of(answer: Answer) -> Hello:
    """HELLO of a long poll. Raises Broken."""

    found = answer.json().get("hello")
    expect(isinstance(found, dict), "the long poll has no hello")
    try:
        return parse_hello(encoded(found).decode())
    except GiveUp as wrong:
        raise Broken(f"hello can't be read: {wrong.message}") from None


def events_of(answer: Answer) -> list[Message]:
    """The events of a long poll, each with `id` and `message`. Raises Broken."""
    expect(answer.status == 200, f"the long poll was answered {answer.status}, not 200")
    found = answer.json().get("events")
    if not isinstance(found, list) or not all(
        isinstance(row, dict) and {"id", "message"} <= row.keys() for row in found
    ):
        raise Broken('the long poll has no list of events, each {"id", "message"}')
    return list(found)


def refused(answer: Answer, *statuses: int, slug: str | None = None) -> None:
    """Raises Broken unless it is refused with one of these; `slug` where the agent acts upon the problem's name."""
    wanted = " or ".join(map(str, statuses))
    expect(answer.status in statuses, f"it was answered {answer.status}, not {wanted}")
    if slug is not None:
        expect(answer.slug == slug, f"the problem's type is not urn:sse-agent:problem:{slug}")
