"""The how-to page's way back from a copy of Redis, run as it is shown."""

import re
import shutil
import subprocess
from pathlib import Path

from sse_agent.control_plane.engine import Speaker
from tests.control_plane.test_engine import ME, order, report, taken
from tests.doubles.clock import FakeClock
from tests.doubles.engines import on_redis
from tests.doubles.nginx import PAGE
from tests.doubles.redis_server import RedisServer

WHO = Speaker("journal-1", 1, "instance-1")


async def test_after_it_an_agent_gets_a_reset_and_no_number_names_two_commands(
    redis: RedisServer, clock: FakeClock, tmp_path: Path
) -> None:
    engine = on_redis(redis, clock)
    await engine.open()
    await engine.enlist([ME])
    await engine.queue(ME, order("a"))
    before = await engine.claim(ME, WHO, None, opens_stream=True)
    await engine.record(ME, WHO, [report("m1")])
    lines = [await engine.append("audit", b"{}") for _ in range(3)]
    end_n = await engine.feed_end()
    (shown,) = re.findall(r"```sh\n(redis-cli .*?)```", PAGE.read_text(), re.DOTALL)
    program = shutil.which("redis-cli")
    assert program is not None, "this test needs redis-cli: apt-get install redis-tools"
    command = shown.replace("redis-cli", f"{program} -s {redis.socket}", 1)
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    assert found.stdout.strip() == "1"
    # Of the copy's time after; the agent has seen more than the copy knows.
    await engine.queue(ME, order("b"))
    after = await engine.claim(ME, WHO, f"{before.numbering}/2", opens_stream=True)
    assert (after.reason, after.numbering == before.numbering) == ("unknown-cursor", False)
    assert await taken(engine, WHO, after) == ["1", "2"]
    # Whoever had read further than the copy goes on behind that, and misses nothing.
    await engine.record(ME, WHO, [report("m2")])
    (new,) = await engine.feed(after=end_n + 1000, limit=10)
    assert new.n < 2**53
    assert await engine.append("audit", b"{}") > lines[-1] + 1000
    await engine.close()
