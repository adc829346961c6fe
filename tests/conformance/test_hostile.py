"""Whatever answers, the checks come to an end with a verdict each, and none takes nonsense for the contract kept."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from sse_agent.clock import SystemClock
from sse_agent.conformance import run
from sse_agent.conformance.check import State, Verdict
from sse_agent.conformance.kit import Options
from sse_agent.conformance.peer import Token

ODD: list[Any] = [None, [], {}, "x\x1b[2J", 10**400, -1, True, [[]], {"id": []}]
NAMES = ("id", "eventId", "status", "hello", "events", "results", "messages", "agents", "uploads", "outcome", "replies")
MORE = ("clientId", "message", "presence", "type", "title", "token", "code", "issuer", "access_token", "n", "fileId")


def nonsense(seed: int) -> bytes:
    """Members of the contract with values that are none."""
    odd = {name: ODD[(seed + place) % len(ODD)] for place, name in enumerate((*NAMES, *MORE))}
    lists = {name: [odd, odd] for name in ("events", "results", "messages", "agents", "uploads", "replies")}
    whole = {**odd, **(lists if seed % 3 else {}), **({"id": "x", "eventId": "k1/5"} if seed % 2 else {})}
    return json.dumps(whole).encode()


class Answers(BaseHTTPRequestHandler):
    """One after the other, whatever is asked."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[list[bytes]] = [
        *(nonsense(seed) for seed in range(40)),
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
        b"[]",
        b"null",
        b'"text"',
    ]
    statuses: ClassVar[list[int]] = [200, 202, 200, 201, 422, 500, 404, 200, 409, 401]
    types: ClassVar[list[str]] = ["application/json", "text/html", "text/event-stream", "application/problem+json", ""]
    count = 0
    is_smooth = False

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        place, Answers.count = Answers.count, Answers.count + 1
        body = self.bodies[place % len(self.bodies)]
        status, media_type = self.statuses[place % len(self.statuses)], self.types[place % len(self.types)]
        if self.is_smooth:
            # What comes first is as it must be, so that the checks come to what is not.
            status, media_type = (200 if self.command == "GET" else 202), "application/json"
            accepted = {"id": self.headers.get("Idempotency-Key"), "status": 202, "eventId": f"k1/{place + 1}"}
            body = body if self.command == "GET" else json.dumps(accepted).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Retry-After", "\u00b2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    serving.join(30)
    server.server_close()


async def test_nonsense_breaks_the_contract_and_not_the_checks(url: str) -> None:
    options = Options("agent-1", Token("the agent", "a"), Token("the service", "s"), fill_queue=3, grace_s=0.1)
    found: list[Verdict] = []
    for is_smooth in (False, True, True, True):
        Answers.is_smooth = is_smooth
        await run.run(url, True, options, run.CHECKS, SystemClock(), found.append)
    assert len(found) == 4 * len(run.CHECKS)
    passed = [verdict.check.name for verdict in found if verdict.state is State.PASSED]
    # What is refused by luck is refused.
    assert len(passed) < len(found) / 10, passed
