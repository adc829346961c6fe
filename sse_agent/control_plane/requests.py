"""Bodies of requests, within bounds of size and time."""

import json
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request

from sse_agent.control_plane.problems import MalformedRequest, RequestTimeout, TooLarge, UnsupportedMediaType

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BODY_WITHIN_S = 30.0


def canonical(value: Any) -> bytes:
    """Two spellings of one JSON value are the same body: sorted, they have the same digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def read_body(request: Request, limit: int, *, media_type: str = JSON) -> bytes:
    """The whole body. Raises UnsupportedMediaType, TooLarge, RequestTimeout, MalformedRequest."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise UnsupportedMediaType
    parts, size = [], 0
    try:
        with anyio.fail_after(BODY_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge(f"at most {limit} bytes")
                parts.append(part)
    except TimeoutError:
        raise RequestTimeout from None
    except ClientDisconnect:
        # Nobody hears this; but an agent that is killed in the middle of a POST is no bug of ours.
        raise MalformedRequest("the body ends early") from None
    return b"".join(parts)
