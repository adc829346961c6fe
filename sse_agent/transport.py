"""httpx lives here. One pool for the stream, one for POSTs; its errors and the answers become ours."""

import json
import os
import re
import socket
import ssl
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Protocol

import anyio
import httpx
import truststore

from sse_agent.clock import Clock
from sse_agent.errors import (
    CannotStart,
    ErrorCode,
    ExitCode,
    GiveUp,
    NotAllowedNow,
    Parked,
    TryAgain,
    Unauthorized,
)
from sse_agent.eventstream import EventStreamGuard, StreamEvent, check_response, read_events
from sse_agent.messages import EnvelopeBytes
from sse_agent.retry import parse_http_date, parse_retry_after

PROBLEM = "urn:sse-agent:problem:"
_REDIRECTS = 5
_ANSWER_LIMIT = 256 * 1024
_REFUSAL_WITHIN_S = 5.0
_POST_DEADLINE_S = 90.0
_ANSWER_WITHIN_S = 30.0
_CONNECT_S = 10.0
_WORDS_LIMIT = 200
WRONG_PROXY = (
    "the environment's proxy settings can't be used: expected http:// or https:// URLs in HTTPS_PROXY, "
    "HTTP_PROXY and ALL_PROXY, and host names or addresses in NO_PROXY"
)
# httpx looks at the Location of every redirect, followed or not, and what it raises then is none of its HTTPErrors.
_NO_LOCATION = "the control plane answered a redirect to what is no URL"


class Credential(Protocol):
    """Whoever knows the token to show."""

    async def current(self) -> str:
        """The token to show now."""
        ...

    async def refreshed(self, refused: str) -> str:
        """Another token than that one: after a 401, or to renew a stream."""
        ...

    def renew_at(self, token: str) -> float | None:
        """The monotonic instant at which a stream opened with that token should be opened anew; None: never."""
        ...


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: headers of every request."""

    client_id: str
    journal_id: str
    epoch: int
    instance_id: str

    def headers(self) -> dict[str, str]:
        """As the contract names them."""
        return {
            "Agent-Journal": self.journal_id,
            "Agent-Epoch": str(self.epoch),
            "Agent-Instance": self.instance_id,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message: recorded, refused for good (`refusal` says why), or neither yet."""

    message_id: str
    is_recorded: bool
    refusal: str | None = None


class BatchRefused(TryAgain):
    """The whole batch was too large or malformed: send less at once."""


class CommandStream:
    """An open stream. Iterating raises TryAgain when it breaks and ends when the control plane ends it."""

    def __init__(
        self,
        response: httpx.Response,
        on_bytes: Callable[[], None],
        *,
        token: str = "",
        renew_at: float | None = None,
    ) -> None:
        """`renew_at`: the monotonic instant at which the next one should be opened, with another token than this."""
        self.token = token
        self.renew_at = renew_at
        self._response = response
        self._on_bytes = on_bytes
        self._guard = EventStreamGuard()

    @property
    def retry_s(self) -> float | None:
        """The control plane's `retry:`, in seconds."""
        return None if self._guard.retry_ms is None else self._guard.retry_ms / 1000

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """One event after the other."""
        reading = read_events(self._response, on_bytes=self._on_bytes, guard=self._guard)
        try:
            async for event in reading:
                yield event
        except httpx.HTTPError as error:
            raise TryAgain(f"the stream broke: {explain(error)}") from None
        finally:
            await reading.aclose()


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """The system's trust store, and the certificates of `ca_file` beside it. Raises CannotStart, 78."""
    found = ssl.get_default_verify_paths()
    is_known = sys.platform not in ("win32", "darwin") and (found.cafile or found.capath)
    # truststore asks the system where OpenSSL can't, but reads all certificates anew for every connection.
    context = ssl.create_default_context() if is_known else truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            # An SSLError is an OSError, and its words are OpenSSL's own.
            why = "no certificate is in it" if isinstance(error, ssl.SSLError) else (error.strerror or "?").lower()
            message = f"SSE_AGENT_CA_FILE: {ca_file} can't be read as PEM certificates: {why}"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    return context


class Transport:
    """The control plane's address and how to reach it. An async context manager.

    Making one raises CannotStart, 78, if the environment names a proxy that can't be used.
    """

    def __init__(
        self, base_url: str, speaker: Speaker, credential: Credential, tls: ssl.SSLContext, clock: Clock
    ) -> None:
        self._agent_url = f"{base_url.rstrip('/')}/api/v1/agents/{speaker.client_id}"
        self._speaker = speaker
        self._credential = credential
        self._clock = clock
        # A stalled stream must not hold up POSTs: two pools. HTTP/1.1, for one broken stream breaks all of HTTP/2's.
        headers = {"Accept-Encoding": "identity", "User-Agent": "sse-agent", **speaker.headers()}
        try:
            self._streaming = httpx.AsyncClient(
                verify=tls,
                headers=headers,
                timeout=httpx.Timeout(_CONNECT_S, read=None),
                follow_redirects=False,
                cookies=no_cookies(),
            )
            self._posting = httpx.AsyncClient(
                verify=tls,
                headers=headers,
                timeout=httpx.Timeout(30.0, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=4, keepalive_expiry=50),
                follow_redirects=False,
                cookies=no_cookies(),
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            # Its text may hold the proxy's password.
            raise CannotStart(WRONG_PROXY, ExitCode.WRONG_CONFIGURATION) from None

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._streaming.aclose()
            await self._posting.aclose()

    @asynccontextmanager
    async def stream(
        self, cursor: str | None, on_bytes: Callable[[], None], *, instead_of: str | None = None
    ) -> AsyncIterator[CommandStream]:
        """The command stream from behind `cursor`; `on_bytes` is called at every sign of life.

        `instead_of`: the token of the stream that this one renews; it is opened with another.
        Raises TryAgain, or Parked, as the contract's table of answers says.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        response, token = await self._open(f"{self._agent_url}/stream", headers, instead_of)
        try:
            check_response(response)
            _keep_alive(response)
            yield CommandStream(response, on_bytes, token=token, renew_at=self._credential.renew_at(token))
        finally:
            with anyio.CancelScope(shield=True), suppress(httpx.HTTPError):
                await response.aclose()

    async def _open(self, url: str, headers: Mapping[str, str], instead_of: str | None) -> tuple[httpx.Response, str]:
        """The answer to the GET, 200 only, and the token it was got with.

        Follows redirects within the origin, answers one 401 by a fresh token.
        """
        credential = self._credential
        token = await (credential.current() if instead_of is None else credential.refreshed(instead_of))
        is_fresh = False
        here, redirects = httpx.URL(url), 0
        while True:
            response = await self._get(here, {**headers, "Authorization": f"Bearer {token}"})
            if response.status_code == 200:
                return response, token
            error, target = await self._reject(response, here)
            if target is not None and redirects < _REDIRECTS:
                here, redirects = target, redirects + 1
            elif isinstance(error, Unauthorized) and not is_fresh:
                token, is_fresh = await credential.refreshed(token), True
            else:
                raise error

    async def _get(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        request = self._streaming.build_request("GET", url, headers=headers)
        try:
            return await self._streaming.send(request, stream=True)
        except httpx.HTTPError as error:
            raise TryAgain(explain(error)) from None
        except (httpx.InvalidURL, ValueError):
            raise TryAgain(_NO_LOCATION) from None

    async def _reject(self, response: httpx.Response, here: httpx.URL) -> tuple[TryAgain, httpx.URL | None]:
        try:
            body = await read_answer(response, _REFUSAL_WITHIN_S)
        finally:
            await response.aclose()
        target = _redirect(response, here)
        return self._not_now(response, body), target

    async def post(self, messages: Sequence[tuple[str, EnvelopeBytes]]) -> list[Verdict]:
        """Send (message ID, bytes) pairs, at most a batch. One verdict each, in order.

        Raises BatchRefused if the batch must be made smaller, Parked, NotAllowedNow or TryAgain if nothing is known.
        """
        ids = [message_id for message_id, _ in messages]
        body = messages[0][1] if len(messages) == 1 else b'{"messages":[' + b",".join(b for _, b in messages) + b"]}"
        response, answer = await self._send("messages", body, ids[0])
        if len(ids) == 1:
            return [self._single_verdict(response, answer, ids[0])]
        return self._batch_verdicts(response, answer, ids)

    async def renew_upload_token(self, file_id: str) -> str | None:
        """A fresh token for one upload, or None if this control plane mints none. Raises TryAgain."""
        # `.` and `..` are file IDs, but no path segment: no client or proxy would leave them alone.
        if file_id in (".", ".."):
            return None
        response, answer = await self._send(f"uploads/{file_id}/token", b"{}", str(uuid.uuid4()))
        if response.status_code == 404 and problem_slug(response, answer):
            return None
        token = json_object(answer).get("token") if response.status_code == 201 else None
        if isinstance(token, str) and token.isascii() and token.isprintable() and 0 < len(token) <= 8192:
            return token
        raise self._not_now(response, answer)

    async def rotate_key(self, request: Mapping[str, Any]) -> None:
        """The control plane takes another key of this agent, too. Raises GiveUp if it does not, TryAgain if not now."""
        response, answer = await self._send("key", json.dumps(request).encode(), str(uuid.uuid4()))
        slug = problem_slug(response, answer)
        if response.status_code == 200 and json_object(answer).get("clientId") == self._speaker.client_id:
            return
        if response.status_code in (400, 422) and slug:
            raise GiveUp(ErrorCode.NOT_ALLOWED, f"the control plane does not take the new key: {slug}")
        raise self._not_now(response, answer)

    async def _send(self, path: str, body: bytes, key: str) -> tuple[httpx.Response, bytes]:
        """One POST, answered in time; a 401 is answered by a fresh token, once."""
        token = await self._credential.current()
        for is_last in (False, True):
            response, answer = await self._send_once(path, body, key, token)
            if response.status_code != 401 or is_last:
                break
            token = await self._credential.refreshed(token)
        return response, answer

    async def _send_once(self, path: str, body: bytes, key: str, token: str) -> tuple[httpx.Response, bytes]:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            with anyio.fail_after(_POST_DEADLINE_S):
                request = self._posting.build_request(
                    "POST", f"{self._agent_url}/{path}", content=body, headers=headers
                )
                response = await self._posting.send(request, stream=True)
                try:
                    return response, await read_answer(response, _ANSWER_WITHIN_S)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise TryAgain(f"no whole answer within {_POST_DEADLINE_S:g} s") from None
        except httpx.HTTPError as error:
            raise TryAgain(explain(error)) from None
        except (httpx.InvalidURL, ValueError):
            raise TryAgain(_NO_LOCATION) from None

    def _single_verdict(self, response: httpx.Response, body: bytes, message_id: str) -> Verdict:
        status = response.status_code
        # A box that answers with what it was sent gives the ID back, but no status.
        if (
            status in (200, 202)
            and json_object(body).get("id") == message_id
            and json_object(body).get("status") == status
        ):
            return Verdict(message_id, is_recorded=True)
        slug = problem_slug(response, body)
        if (status, slug) == (409, "in-progress") and "retry-after" not in response.headers:
            return Verdict(message_id, is_recorded=False)
        if status in (400, 413, 422) and slug:
            return Verdict(message_id, is_recorded=False, refusal=f"{status} {slug}")
        raise self._not_now(response, body)

    def _batch_verdicts(self, response: httpx.Response, body: bytes, ids: Sequence[str]) -> list[Verdict]:
        if response.status_code in (400, 413, 422) and problem_slug(response, body):
            raise BatchRefused(f"a batch was refused: {response.status_code} {problem_slug(response, body)}")
        results = json_object(body).get("results") if response.status_code == 200 else None
        if not isinstance(results, list) or len(results) != len(ids):
            raise self._not_now(response, body)
        return [_verdict(message_id, result) for message_id, result in zip(ids, results, strict=True)]

    def _not_now(self, response: httpx.Response, body: bytes) -> TryAgain:
        return not_now(response, body, self._clock.now())


def not_now(response: httpx.Response, body: bytes, now: datetime) -> TryAgain:
    """What an answer that is no success means. Anything unknown is "not now": a box on the way may have said it."""
    status, slug = response.status_code, problem_slug(response, body)
    wait_s = parse_retry_after(response.headers.get("retry-after"), _date(response, now))
    reason = f"the control plane answered {status}" + (f" {slug}" if slug else "")
    if (status, slug) in _PARKED_BECAUSE:
        return Parked(_PARKED_BECAUSE[status, slug])
    if not slug and (status < 300 or "html" in response.headers.get("content-type", "")):
        reason = f"something on the way answered {status} in the control plane's place (a login page or a proxy?)"
    elif status == 401:
        reason += ": the token was not accepted"
    elif (status, slug) == (403, "not-allowed"):
        reason += ": the token is not for this agent"
    kind = Unauthorized if status == 401 else NotAllowedNow if status in (403, 404) and slug else TryAgain
    return kind(reason, retry_after_s=wait_s)


_PARKED_BECAUSE: Mapping[tuple[int, str | None], str] = {
    (409, "newer-epoch"): "another copy of this agent, with a newer state, has taken its place",
    (410, "agent-deleted"): "this agent was deleted on the control plane",
}


def explain(error: httpx.HTTPError) -> str:
    """What happened, in a few words, for people who have to mend a network."""
    # h11 repeats what it could not read, however long.
    text = "".join(c if c.isprintable() else " " for c in str(error)[:_WORDS_LIMIT]).strip()
    if isinstance(error, httpx.ProxyError):
        # The status alone: the words behind it are the proxy's, and may repeat the password that it was sent.
        status = re.match(r"\d{3}(?= |$)", text)
        return "the proxy did not let us through" + (f": it answered {status[0]}" if status else "")
    if isinstance(error, httpx.LocalProtocolError):
        # Its words repeat the header, the token's among them; those of the next one repeat what came.
        return "the request can't be made of these headers"
    if isinstance(error, httpx.RemoteProtocolError):
        is_cut = "disconnected" in text or "closed" in text
        return "the connection ended before the answer did" if is_cut else "what answered speaks no proper HTTP/1.1"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("failed: ")[2].partition(" (_ssl")[0] or "not trusted"
        is_of_a_stranger = "issuer" in reason or "self-signed" in reason or "self signed" in reason
        advice = " (TLS inspection? see SSE_AGENT_CA_FILE)" if is_of_a_stranger else ""
        return f"the TLS certificate was not accepted: {reason.removesuffix('.')}{advice}"
    if isinstance(error, httpx.ConnectError) and _is_of_tls(error):
        return "no connection: what answers there does not speak TLS, or breaks it off"
    if isinstance(error, httpx.ConnectError):
        return f"no connection: {_system_error(error) or text or 'refused'}"
    return text or type(error).__name__


def _is_of_tls(error: BaseException) -> bool:
    """Whether the TCP connection was there, and the handshake over it failed."""
    return any(isinstance(one, ssl.SSLError) for one in _led_to(error))


def _system_error(error: BaseException) -> str | None:
    """The operating system's words for the first of the tries that led to this; None if it had none."""
    for one in _led_to(error):
        if isinstance(one, OSError) and one.errno is not None and one.strerror:
            # asyncio writes the address into the words of its own errors.
            return os.strerror(one.errno).lower() if one.errno > 0 else one.strerror.lower()
    return None


def _led_to(error: BaseException) -> list[BaseException]:
    """The error, what caused it, and what caused that, each once."""
    seen: list[BaseException] = [error]
    for one in seen:
        inner = list(one.exceptions) if isinstance(one, BaseExceptionGroup) else []
        seen += [cause for cause in (one.__cause__, one.__context__, *inner) if cause is not None and cause not in seen]
    return seen


def _redirect(response: httpx.Response, here: httpx.URL) -> httpx.URL | None:
    """Where to go on, if the answer is a redirect that may be followed: the token is for this origin alone."""
    location = response.headers.get("location")
    if response.status_code not in (307, 308) or not location:
        return None
    with suppress(httpx.InvalidURL):
        target = here.join(location)
        # A user name in the URL would take the place of the token.
        if _origin(target) == _origin(here) and not target.userinfo:
            return target
    return None


async def read_answer(response: httpx.Response, within_s: float) -> bytes:
    """The body, cut at a bound of size and time: nobody may fill our memory with an answer, or hold us with one."""
    parts, size = [], 0
    with anyio.move_on_after(within_s):
        try:
            async for part in response.aiter_raw():
                parts.append(part)
                size += len(part)
                if size >= _ANSWER_LIMIT:
                    break
        except httpx.HTTPError as error:
            raise TryAgain(explain(error)) from None
    return b"".join(parts)[:_ANSWER_LIMIT]


def json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def problem_slug(response: httpx.Response, body: bytes) -> str | None:
    """The problem's name, only where the answer is a problem document (RFC 9457) of this contract."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/problem+json":
        return None
    return _slug_of(json_object(body).get("type"))


def _slug_of(kind: object) -> str | None:
    if not isinstance(kind, str) or not kind.startswith(PROBLEM):
        return None
    slug = kind.removeprefix(PROBLEM)[:64]
    return slug if slug.isascii() and slug.replace("-", "").isalnum() else None


def _verdict(message_id: str, result: object) -> Verdict:
    if not isinstance(result, dict) or result.get("id") != message_id:
        return Verdict(message_id, is_recorded=False)
    status = result.get("status")
    if status in (413, 422):
        return Verdict(message_id, is_recorded=False, refusal=f"{status} {_slug_of(result.get('type')) or ''}")
    return Verdict(message_id, is_recorded=status in (200, 202))


def no_cookies() -> CookieJar:
    """Nobody here needs any, and whoever answers could fill the jar, and with it every later request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _date(response: httpx.Response, now: datetime) -> datetime:
    return parse_http_date(response.headers.get("date", "")) or now


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _keep_alive(response: httpx.Response) -> None:
    """On the socket that is really used, behind a proxy, too; httpcore passes no socket options on to those."""
    stream = response.extensions.get("network_stream")
    # No socket.socket, but asyncio's wrapper of one.
    found = stream.get_extra_info("socket") if stream is not None else None
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
