"""Many agents and services at once, against an oracle that knows what was answered: what was lost, doubled, reordered?

The agents keep no journal, but behave as one with one does: they take commands in order from behind their cursor, and
report each with an ACK of a derived ID until that was answered. Services send every command until it is answered, and
some of them twice with the same key, as if the answer had got lost.
"""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx

from tests.doubles.planes import SERVICE, _token

WITHIN_S = 30.0
TWICE = 0.1
"""Of the commands are sent twice."""
POSTERS = 8


@dataclass
class Findings:
    """What was counted, and every broken promise in words."""

    commands: int = 0
    messages: int = 0
    hops: int = 0
    retries: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass
class Answered:
    """How many commands are, and a wait for more of them."""

    count: int = 0
    _waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    def one_more(self) -> None:
        """Another one was answered."""
        self.count += 1
        for least, bell in self._waiting:
            if self.count >= least:
                bell.set()

    async def reached(self, least: int) -> None:
        """Until there are so many."""
        bell = asyncio.Event()
        self._waiting.append((least, bell))
        if self.count < least:
            await bell.wait()


class Member:
    """One agent that hops: it leaves its stream after a few commands and comes back from its cursor."""

    def __init__(self, base_url: str, client_id: str, findings: Findings, chance: random.Random) -> None:
        self.client_id = client_id
        self.received: list[tuple[int, str]] = []
        self.reported: set[str] = set()
        self.answered: dict[int, str] = {}
        """What services were told: number → command."""
        self._client = httpx.AsyncClient(base_url=base_url, timeout=WITHIN_S, trust_env=False)
        self._findings = findings
        self._chance = chance
        self._cursor: str | None = None
        self._unsent: list[str] = []
        self._bell = asyncio.Event()
        self._headers = {
            "Authorization": f"Bearer {_token(client_id)}",
            "Agent-Journal": str(uuid.uuid4()),
            "Agent-Epoch": "1",
            "Agent-Instance": str(uuid.uuid4()),
        }

    async def listen(self) -> None:
        """For ever."""
        while True:
            stays_for = self._chance.randint(1, 12)
            try:
                await self._hold(stays_for)
                self._findings.hops += 1
            except httpx.HTTPError:
                self._findings.retries += 1
            await asyncio.sleep(self._chance.uniform(0, 0.1))

    async def _hold(self, stays_for: int) -> None:
        headers = {**self._headers, "Accept": "text/event-stream"}
        if self._cursor is not None:
            headers["Last-Event-ID"] = self._cursor
        path = f"/api/v1/agents/{self.client_id}/stream"
        async with self._client.stream("GET", path, headers=headers) as response:
            if response.status_code != 200:
                self._findings.retries += 1
                await asyncio.sleep(self._chance.uniform(0.05, 0.3))
                return
            async for event in _events(response):
                if event.get("event") == "HELLO":
                    self._greeted(json.loads(event["data"]))
                elif "data" in event:
                    self._take(event["id"], json.loads(event["data"])["id"])
                    stays_for -= 1
                    if stays_for <= 0:
                        return

    def _greeted(self, hello: dict[str, object]) -> None:
        if not hello["resume"]:
            self._findings.faults.append(f"{self.client_id}: a reset for {hello.get('reason')}")

    def _take(self, event_id: str, command_id: str) -> None:
        n = int(event_id.rpartition("/")[2])
        expected = self.received[-1][0] + 1 if self.received else 1
        if n != expected:
            self._findings.faults.append(f"{self.client_id}: number {n} came where {expected} was due")
        self.received.append((n, command_id))
        self._cursor = event_id
        self._unsent.append(command_id)
        self._bell.set()

    async def report(self) -> None:
        """For ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._unsent:
                some = self._unsent[:50]
                if await self._sent(some):
                    del self._unsent[: len(some)]
                else:
                    self._findings.retries += 1
                    await asyncio.sleep(self._chance.uniform(0.05, 0.3))

    async def _sent(self, command_ids: list[str]) -> bool:
        messages = [self._ack(command_id) for command_id in command_ids]
        headers = {**self._headers, "Idempotency-Key": str(messages[0]["id"])}
        try:
            answer = await self._client.post(
                f"/api/v1/agents/{self.client_id}/messages", json={"messages": messages}, headers=headers
            )
        except httpx.HTTPError:
            return False
        if answer.status_code != 200:
            return False
        for result in answer.json()["results"]:
            if result["status"] not in (200, 202):
                self._findings.faults.append(f"{self.client_id}: a report was answered {result}")
            self.reported.add(result["id"])
        return True

    def _ack(self, command_id: str) -> dict[str, object]:
        return {
            "type": "ACK",
            "id": f"ack-{command_id}",
            "timestamp": "2026-11-22T10:30:00Z",
            "clientId": self.client_id,
            "inReplyTo": command_id,
            "payload": {"commandId": command_id, "status": "completed"},
        }

    @property
    def is_quiet(self) -> bool:
        """Everything that was answered has come, and was reported."""
        return len(self.received) >= len(self.answered) and not self._unsent

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.aclose()


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    event: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, text = line.partition(":")
            event[name] = text.removeprefix(" ")
        else:
            yield event
            event = {}


async def prove(
    base_url: str,
    *,
    agents: int,
    commands: int,
    disturb: Callable[[Answered], Awaitable[None]],
    seed: int,
    within_s: float,
) -> Findings:
    """Let that many agents carry out that many commands while `disturb` goes on; it is told how far they are."""
    findings, chance = Findings(), random.Random(seed)
    members = [Member(base_url, f"agent-{number}", findings, random.Random(seed + number)) for number in range(agents)]
    services = httpx.AsyncClient(
        base_url=base_url, timeout=WITHIN_S, trust_env=False, headers={"Authorization": f"Bearer {SERVICE}"}
    )
    began = time.monotonic()
    living = [asyncio.ensure_future(work) for member in members for work in (member.listen(), member.report())]
    # A cancelled task is only gone once it was awaited: what it was in the middle of may be an answer to be noted.
    try:
        async with asyncio.timeout(within_s):
            numbers = iter(range(commands))
            answered = Answered()
            disturbing = asyncio.ensure_future(disturb(answered))
            await asyncio.gather(
                *[
                    _order(services, members, numbers, answered, findings, random.Random(chance.random()))
                    for _ in range(POSTERS)
                ]
            )
            await disturbing
            while not all(member.is_quiet for member in members):
                assert not any(task.done() for task in living), [task.exception() for task in living if task.done()]
                await asyncio.sleep(0.05)
    except TimeoutError:
        findings.faults.append("it was not over in time")
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
    findings.seconds = time.monotonic() - began
    for member in members:
        _compare(member, findings)
        await _recorded(services, member, findings)
        await member.close()
    await services.aclose()
    return findings


async def _order(
    services: httpx.AsyncClient,
    members: list[Member],
    numbers: Iterator[int],
    answered: Answered,
    findings: Findings,
    chance: random.Random,
) -> None:
    for _ in numbers:
        member, command_id = chance.choice(members), uuid.UUID(int=chance.getrandbits(128)).hex
        for _ in range(2 if chance.random() < TWICE else 1):
            n = await _answered(services, member.client_id, command_id, findings, chance)
            if member.answered.setdefault(n, command_id) != command_id:
                findings.faults.append(f"{member.client_id}: number {n} was given to two commands")
        answered.one_more()


async def _answered(
    services: httpx.AsyncClient, client_id: str, command_id: str, findings: Findings, chance: random.Random
) -> int:
    """Sent until it is answered 202."""
    while True:
        try:
            answer = await services.post(
                f"/api/v1/agents/{client_id}/commands",
                json={"type": "HEARTBEAT"},
                headers={"Idempotency-Key": command_id},
            )
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == 202:
            return int(answer.json()["eventId"].rpartition("/")[2])
        findings.retries += 1
        await asyncio.sleep(chance.uniform(0.05, 0.3))


def _compare(member: Member, findings: Findings) -> None:
    """What was answered against what came."""
    came = Counter(command_id for _, command_id in member.received)
    findings.commands += len(member.answered)
    findings.messages += len(member.reported)
    for what, found in {
        "lost": set(member.answered.values()) - came.keys(),
        "doubled": {command_id for command_id, count in came.items() if count > 1},
        "answered twice, with two numbers": {
            command_id for command_id, count in Counter(member.answered.values()).items() if count > 1
        },
        "reordered": {
            command_id for n, command_id in member.received if member.answered.get(n, command_id) != command_id
        },
    }.items():
        findings.faults += [f"{member.client_id}: {what}: {command_id}" for command_id in sorted(found)]


async def _recorded(services: httpx.AsyncClient, member: Member, findings: Findings) -> None:
    """Every report that was answered is recorded, once; every command has its outcome."""
    recorded: Counter[str] = Counter()
    after = 0
    while page := (await _page(services, f"/api/v1/agents/{member.client_id}/messages", after))["messages"]:
        recorded.update(record["message"]["id"] for record in page)
        after = page[-1]["n"]
    for what, found in {
        "a report that was answered is lost": member.reported - recorded.keys(),
        "a report is recorded twice": {message_id for message_id, count in recorded.items() if count > 1},
    }.items():
        findings.faults += [f"{member.client_id}: {what}: {message_id}" for message_id in sorted(found)]
    agent = await _page(services, f"/api/v1/agents/{member.client_id}", 0)
    if agent["queue"]["waiting"] != 0:
        findings.faults.append(f"{member.client_id}: {agent['queue']['waiting']} commands still wait")
    for command_id in list(member.answered.values())[-20:]:
        record = await _page(services, f"/api/v1/commands/{command_id}", 0)
        if record["outcome"] != "completed":
            findings.faults.append(f"{member.client_id}: {command_id} came to {record['outcome']}")


async def _page(services: httpx.AsyncClient, path: str, after: int) -> dict[str, object]:
    answer = await services.get(path, params={"after": after, "limit": 1000} if path.endswith("messages") else {})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found
