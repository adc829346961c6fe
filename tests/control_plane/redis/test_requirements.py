"""What Redis must be like, against real ones that are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from sse_agent.clock import SystemClock
from sse_agent.control_plane.problems import Unavailable
from sse_agent.control_plane.redis import RedisEngine
from sse_agent.errors import CannotStart, ExitCode
from tests.control_plane.test_engine import FIRST, ME, order, report
from tests.doubles.clock import FakeClock
from tests.doubles.engines import Deaf, on_redis
from tests.doubles.nginx import free_port
from tests.doubles.redis_server import RedisServer, redis_server

SECRET = "a-secret-password"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that the test may end, and change."""
    with redis_server(tmp_path / "redis") as server:
        yield server


async def refused(url: str) -> CannotStart:
    engine = RedisEngine(url, SystemClock(), Deaf(), queue_limit=5)
    with pytest.raises(CannotStart) as found:
        await engine.open()
    assert SECRET not in str(found.value)
    return found.value


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"appendonly": "no"}, "  appendonly yes"),
        ({"maxmemory-policy": "allkeys-lru"}, "  maxmemory-policy noeviction"),
    ],
    ids=["no append-only file", "eviction"],
)
async def test_a_redis_that_would_lose_what_was_answered_is_refused_with_the_lines_that_mend_it(
    own_redis: RedisServer, changed: dict[str, str], line: str
) -> None:
    for name, value in changed.items():
        assert own_redis.ask("CONFIG", "SET", name, value) == b"+OK\r\n"
    error = await refused(own_redis.url)
    assert (line in str(error).splitlines(), error.exit_code) == (True, ExitCode.WRONG_CONFIGURATION)


@pytest.mark.parametrize("setting", ["everysec", "always", "unseen"])
async def test_what_a_power_cut_would_lose_is_said_and_nothing_if_it_loses_nothing(
    own_redis: RedisServer, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if setting == "unseen":
        own_redis.ask("ACL", "SETUSER", "default", "-config")
    else:
        own_redis.ask("CONFIG", "SET", "appendfsync", setting)
    engine = on_redis(own_redis, FakeClock())
    await engine.open()
    await engine.close()
    told = capsys.readouterr().err
    assert ("appendfsync always" in told) is (setting != "always")


async def test_a_replica_a_newer_schema_a_wrong_password_and_what_is_no_url_are_refused(own_redis: RedisServer) -> None:
    own_redis.ask("SET", "sse-agent:schema", "99")
    assert "newer" in str(await refused(own_redis.url))
    own_redis.ask("CONFIG", "SET", "requirepass", "another")
    wrong = own_redis.url.replace("unix://", f"unix://:{SECRET}@")
    assert "password" in str(await refused(wrong))
    assert "no URL" in str(refused_at_once(f"http://:{SECRET}@127.0.0.1"))


def refused_at_once(url: str) -> CannotStart:
    with pytest.raises(CannotStart) as found:
        RedisEngine(url, SystemClock(), Deaf(), queue_limit=5)
    assert SECRET not in str(found.value)
    assert found.value.exit_code is ExitCode.WRONG_CONFIGURATION
    return found.value


async def test_a_replica_is_refused(own_redis: RedisServer) -> None:
    own_redis.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    assert "replica" in str(await refused(own_redis.url))


async def test_a_redis_that_is_not_there_is_tried_again_by_whoever_starts_it(tmp_path: Path) -> None:
    error = await refused(f"unix://:{SECRET}@{tmp_path}/nobody.sock")
    assert error.exit_code is ExitCode.TRY_AGAIN


async def test_a_redis_that_is_killed_is_answered_later_and_comes_back_with_everything(own_redis: RedisServer) -> None:
    engine = on_redis(own_redis, FakeClock())
    await engine.open()
    await engine.enlist([ME])
    await engine.queue(ME, order("a"))
    await engine.record(ME, FIRST, [report("m")])
    own_redis.kill()
    for call in (engine.queue(ME, order("b")), engine.agent(ME), engine.record(ME, FIRST, [report("n")])):
        with pytest.raises(Unavailable) as later:
            await call
        assert later.value.headers["Retry-After"] == "1"
    own_redis.start()
    assert [record.message for record in await engine.feed(after=0, limit=9)] == [{"payload": {}}]
    assert (await engine.queue(ME, order("a"))).is_repeated
    assert (await engine.queue(ME, order("b"))).event_id.endswith("/2")
    await engine.close()


async def test_a_full_redis_is_answered_later_and_drops_nothing(own_redis: RedisServer) -> None:
    engine = on_redis(own_redis, FakeClock())
    await engine.open()
    await engine.enlist([ME])
    await engine.queue(ME, order("a"))
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unavailable):
        await engine.queue(ME, order("b"))
    assert (await engine.command("a")).status == "queued"
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert (await engine.queue(ME, order("b"))).event_id.endswith("/2")
    await engine.close()


async def test_over_tls_with_a_password_it_is_the_same(tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("localhost")
    paths = {name: tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")}
    authority.cert_pem.write_to_path(str(paths["ca.pem"]))
    certificate.cert_chain_pems[0].write_to_path(str(paths["cert.pem"]))
    certificate.private_key_pem.write_to_path(str(paths["key.pem"]))
    settings = {
        "tls_port": str(port),
        "tls_cert_file": str(paths["cert.pem"]),
        "tls_key_file": str(paths["key.pem"]),
        "tls_ca_cert_file": str(paths["ca.pem"]),
        "tls_auth_clients": "no",
    }
    with redis_server(tmp_path / "redis", **settings) as server:
        server.ask("CONFIG", "SET", "requirepass", SECRET)
        url = f"rediss://:{SECRET}@localhost:{port}/3"
        engine = RedisEngine(f"{url}?ssl_ca_certs={paths['ca.pem']}", FakeClock(), Deaf(), queue_limit=5)
        await engine.open()
        await engine.enlist([ME])
        assert (await engine.queue(ME, order("a"))).event_id.endswith("/1")
        await engine.close()
        # It is the certificate that counts.
        assert (await refused(url)).exit_code is ExitCode.TRY_AGAIN
