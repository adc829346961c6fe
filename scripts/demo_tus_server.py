"""The demo's tus server: tuspyserver, slowed to a rate that a person can watch. It proves nothing about tusd."""

import argparse
import asyncio
import json
import socket
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from tuspyserver import create_tus_router

MIB = 1024 * 1024


class Slow:
    """ASGI middleware: all request bodies together at no more than `rate` bytes per second."""

    def __init__(self, app: Any, rate: float) -> None:
        self._app = app
        self._rate = rate
        self._free_at = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def slow_receive() -> Any:
            message = await receive()
            size = len(message.get("body", b""))
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            if self._free_at - now > 0.002:
                await asyncio.sleep(self._free_at - now)
            return message

        await self._app(scope, slow_receive if scope["type"] == "http" else receive, send)


def main() -> None:
    """Serve until terminated; prints one line of JSON with the endpoint when it listens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="bytes per second, 0 for no limit")
    options = parser.parse_args()
    app = FastAPI()
    app.include_router(create_tus_router(prefix="files", files_dir=options.folder))
    listener = socket.create_server(("127.0.0.1", 0))
    # Connections inherit it; asyncio sets it only on sockets that were made with a protocol number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(json.dumps({"endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}/files/"}), flush=True)
    served: Any = Slow(app, options.rate) if options.rate else app
    server = uvicorn.Server(uvicorn.Config(served, log_level="error", access_log=False, timeout_graceful_shutdown=1))
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
