"""What Redis must be like, looked at once at start: said in words and in lines of redis.conf."""

from typing import Any

from redis import exceptions

from sse_agent.control_plane.redis.keys import PREFIX
from sse_agent.control_plane.redis.store import SCHEMA, WITHIN_S, Store
from sse_agent.errors import CannotStart, ExitCode

LEAST_VERSION = (6, 2)
_WRONG = ExitCode.WRONG_CONFIGURATION
_REFUSED = "Redis refuses the user or the password of REDIS_URL, or allows that user too little: it needs +@all"
NOT_DURABLE = (
    "appendfsync is {found!r}: when the machine that Redis runs on loses power, what was answered 202 within the last "
    "second or two is lost. For 'answered is durable', in redis.conf:\n  appendfsync always"
)
UNKNOWN = (
    "whether Redis syncs before it answers can't be seen (CONFIG is not allowed); 'answered is durable' is true only "
    "with this in redis.conf:\n  appendfsync always"
)


async def check(store: Store) -> str | None:
    """Whether it is; gives it the scripts. Returns a warning, if there is one. Raises CannotStart."""
    try:
        # One after the other over one connection each: a pipeline would hide which of them was refused.
        found: dict[str, Any] = await store.client.info("everything")
        sync = await _setting(store, "appendfsync")
        schema = int(await store.client.get(f"{PREFIX}schema") or 0)
        _require(found, schema)
        if schema == 0:
            await store.client.set(f"{PREFIX}schema", SCHEMA)
        await store.load()
    except exceptions.NoPermissionError:
        raise CannotStart(_REFUSED, _WRONG) from None
    except exceptions.BusyLoadingError:
        raise CannotStart("Redis still reads its data; try again in a moment", ExitCode.TRY_AGAIN) from None
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        # redis wraps the one in the other.
        if exceptions.AuthenticationError in (type(error), type(error.__cause__), type(error.__context__)):
            raise CannotStart(_REFUSED, _WRONG) from None
        message = f"Redis at REDIS_URL can't be reached within {WITHIN_S:g} s; is it running, and is the URL right?"
        raise CannotStart(message, ExitCode.TRY_AGAIN) from None
    except exceptions.ResponseError:
        raise CannotStart("Redis at REDIS_URL refuses what a control plane needs to ask", _WRONG) from None
    if sync is None:
        return UNKNOWN
    return None if sync == "always" else NOT_DURABLE.format(found=sync)


async def _setting(store: Store, name: str) -> str | None:
    try:
        found = await store.client.config_get(name)
    except exceptions.ResponseError:
        return None
    value = found.get(name)
    return value.decode() if isinstance(value, bytes) else value


def _require(info: dict[str, Any], schema: int) -> None:
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < LEAST_VERSION:
        raise CannotStart(f"Redis {info['redis_version']} is too old; version 6.2 or newer is needed", _WRONG)
    if info.get("cluster_enabled"):
        raise CannotStart("Redis is a cluster; one single Redis is needed, for scripts touch many keys", _WRONG)
    if info.get("role") != "master":
        raise CannotStart("Redis is a replica, and can't be written; REDIS_URL must name the primary", _WRONG)
    if schema > SCHEMA:
        message = "what is in Redis was written by a newer control plane; install that version again"
        raise CannotStart(message, _WRONG)
    lines, reasons = [], []
    if info.get("maxmemory_policy") != "noeviction":
        reasons.append(f"maxmemory-policy is {info.get('maxmemory_policy')}: when full it would throw commands away")
        lines.append("maxmemory-policy noeviction")
    if not info.get("aof_enabled"):
        reasons.append("appendonly is no: when it stops it would forget everything since the last snapshot")
        lines += ["appendonly yes", "appendfsync always"]
    if reasons:
        message = f"Redis would lose what was answered 202: {'; '.join(reasons)}. In redis.conf, then restart it:\n"
        raise CannotStart(message + "\n".join(f"  {line}" for line in lines), _WRONG)
