"""An application that takes webhooks: answers as it is told, and keeps what came."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

WITHIN_S = 20.0


class Receiver:
    """`answers`: statuses for the next requests, one each; then 204. `headers` go with every answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        self.came: list[dict[str, Any]] = []
        self.news = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """One request; the status of its answer."""
        self.gate.wait(WITHIN_S)
        with self.news:
            status = self.answers.pop(0) if self.answers else 204
            self.came.append({"headers": headers, "raw": body, "status": status, **json.loads(body)})
            self.news.notify_all()
        return status

    def until(self, count: int) -> list[dict[str, Any]]:
        """The requests, once so many came."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.came) >= count, WITHIN_S), f"{len(self.came)} of {count} came"
            return list(self.came)


def is_signed(request: dict[str, Any], secret: str) -> bool:
    """Whether the library that receivers use says so."""
    try:
        Webhook(secret).verify(request["raw"], request["headers"])
    except WebhookVerificationError:
        return False
    return True


@contextmanager
def receiver() -> Iterator[Receiver]:
    """On a free port of this machine; gone after the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hooks")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(WITHIN_S)
