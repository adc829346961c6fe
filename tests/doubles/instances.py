"""Several control planes on one Redis behind nginx, and one that is killed in the middle."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.doubles import fleet
from tests.doubles.nginx import free_port, nginx
from tests.doubles.planes import Plane
from tests.doubles.redis_server import RedisServer, redis_server

BACK_AFTER_S = 2.0


@dataclass(frozen=True)
class Instances:
    """`url` is nginx's."""

    url: str
    planes: Sequence[Plane]
    redis: RedisServer


@contextmanager
def instances(folder: Path, program: Sequence[str] | None = None, count: int = 2) -> Iterator[Instances]:
    """Gone after the block."""
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(folder / "redis"))
        ports = [free_port() for _ in range(count)]
        url = stack.enter_context(nginx(folder / "nginx", ports))
        planes = []
        for port in ports:
            (folder / str(port)).mkdir()
            database = folder / str(port) / "unused.db"
            plane = Plane(database, program, port=port, redis_url=server.url, issuer=url, queue_limit=100_000)
            stack.callback(plane.close)
            planes.append(plane)
        yield Instances(url, planes, server)


def prove(there: Instances, *, agents: int, commands: int, seed: int, within_s: float) -> fleet.Findings:
    """With a SIGKILL of one of them, picked by `seed`, when half of the commands are answered."""
    victim = random.Random(seed).choice(there.planes)

    async def disturb(answered: fleet.Answered) -> None:
        await answered.reached(commands // 2)
        victim.kill()
        await asyncio.sleep(BACK_AFTER_S)
        await asyncio.to_thread(victim.start)

    return asyncio.run(
        fleet.prove(there.url, agents=agents, commands=commands, disturb=disturb, seed=seed, within_s=within_s)
    )
