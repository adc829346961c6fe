"""One request: signed, to the address that was judged, no redirect followed, its answer read to a bound."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook as Signer

from sse_agent.clock import Clock
from sse_agent.control_plane.webhooks import addresses
from sse_agent.retry import parse_retry_after

ANSWERED_WITHIN_S = 15.0
ANSWER_LIMIT = 16 * 1024
AGENT = "sse-agent-control-plane"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason`: why it did not arrive, in words; None: it did. `is_gone`: nothing may be sent there any more."""

    reason: str | None = None
    status: int | None = None
    retry_after_s: float | None = None
    is_gone: bool = False


class Delivery:
    """Makes requests; close it."""

    def __init__(self, clock: Clock, *, allows_private: bool) -> None:
        self._clock = clock
        self._allows_private = allows_private
        # Proxies of the environment would look the name up themselves, and find another address. Connections are kept
        # by address alone: one that is used again would carry what goes to another name, whose certificate nobody saw.
        # The lanes bound how many there are.
        self._client = httpx.AsyncClient(
            timeout=ANSWERED_WITHIN_S,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Connections are closed."""
        await self._client.aclose()

    async def send(self, url: str, secrets: Sequence[str], message_id: str, body: str) -> Outcome:
        """POST it. Whatever happens is an outcome."""
        try:
            addresses.check(url, allows_private=self._allows_private)
            parts = urlsplit(url)
            host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
            address = await addresses.look_up(host, port, allows_private=self._allows_private)
        except addresses.NotThere as error:
            return Outcome(str(error))
        except (OSError, TimeoutError):
            return Outcome("the host's name is not known")
        # The name stays in Host and in the certificate's check; only the way there is fixed.
        target = httpx.URL(url).copy_with(host=address)
        headers = {"Host": parts.netloc, **self._signed(secrets, message_id, body)}
        request = self._client.build_request(
            "POST", target, headers=headers, content=body.encode(), extensions={"sni_hostname": host}
        )
        try:
            # The client's own limit is for each read, and an endpoint may answer byte by byte.
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return await self._sent(request)
        except (httpx.TimeoutException, TimeoutError):
            return Outcome(f"no answer within {ANSWERED_WITHIN_S:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Outcome(f"no answer: {type(error).__name__}")

    async def _sent(self, request: httpx.Request) -> Outcome:
        response = await self._client.send(request, stream=True)
        try:
            status = response.status_code
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > ANSWER_LIMIT:
                    break
        finally:
            await response.aclose()
        if response.is_success:
            return Outcome(status=status)
        after_s = parse_retry_after(response.headers.get("retry-after"), self._clock.now())
        return Outcome(f"it answered {status}", status, after_s, is_gone=status == httpx.codes.GONE)

    def _signed(self, secrets: Sequence[str], message_id: str, body: str) -> dict[str, str]:
        """The headers of Standard Webhooks."""
        now = self._clock.now()
        return {
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Signer(secret).sign(message_id, now, body) for secret in secrets),
        }
