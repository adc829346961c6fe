"""Hands out the page's files. They are in memory, and a browser asks again each time whether it has the newest."""

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files

from starlette.types import Receive, Scope, Send

from sse_agent.control_plane.problems import MethodNotAllowed, Problem, UnknownPath

PREFIX = "/page/"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        # Nothing here makes code or markup from text; this makes sure of it where browsers know it.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.sha256(self.body).hexdigest()[:32]}"')


class Page:
    """`GET /` and `/page/…`; bare ASGI."""

    def __init__(self) -> None:
        found = {asset.name: asset for asset in files(__package__).joinpath("assets").iterdir()}
        self._assets = {
            name: _Asset(asset.read_bytes(), _TYPES[name.rpartition(".")[2]])
            for name, asset in found.items()
            if name.rpartition(".")[2] in _TYPES
        }

    def knows(self, path: str) -> bool:
        """Whether this path is the page's."""
        return path == "/" or path.startswith(PREFIX)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer, whatever it is."""
        try:
            await self._serve(scope, send)
        except Problem as problem:
            await problem.send(send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
        asset = self._assets.get("index.html" if scope["path"] == "/" else scope["path"].removeprefix(PREFIX))
        if asset is None:
            raise UnknownPath
        known = dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1")
        is_known = asset.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
        headers = {**_HEADERS, "etag": asset.etag, "content-type": asset.media_type}
        body = b"" if is_known else asset.body
        if not is_known:
            headers["content-length"] = str(len(body))
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 304 if is_known else 200, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
