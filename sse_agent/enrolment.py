"""What a machine says to the control plane before it has a token: enrol me; here is an assertion, give me a token.

docs/reference/identity.md has the wire. Nothing here is redirected, and nothing but the control plane's own words is
believed: an answer that is neither is "not now".
"""

import hashlib
import platform
import ssl
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import anyio
import httpx
from pydantic import ValidationError

import sse_agent
from sse_agent.clock import Clock, parse_timestamp
from sse_agent.config import origin_of
from sse_agent.credentials import Grant, KeyRefused, MachineKey, WrongTime
from sse_agent.errors import CannotStart, ExitCode, TryAgain
from sse_agent.messages import Name, Wire
from sse_agent.printable import duration, printable
from sse_agent.transport import (
    WRONG_PROXY,
    explain,
    json_object,
    no_cookies,
    not_now,
    problem_slug,
    read_answer,
)

DEADLINE_S = 60.0
ANSWER_WITHIN_S = 30.0
PROOF_S = 60
CLOCK_WRONG_S = 60.0
TOKEN_LIMIT = 8192
DEFAULT_LIFE_S = 600.0
GRANT = "client_credentials"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALPHABET = frozenset("BCDFGHJKLMNPQRSTVWXZ")
CODE_LETTERS = 8


class Pending(TryAgain):
    """A person has yet to compare the key's fingerprint, and to say yes."""


class NotEnrolled(KeyRefused):
    """The control plane says that this key is nobody's: refused, deleted, replaced or never known."""


class NotEnrolledOrWrongTime(NotEnrolled, WrongTime):
    """The same, or it is only the clock: it does not say which, but what time it is."""


class Refused(Exception):
    """Enrolling is refused for good. The text says what to do; `is_mistyped` if another try may be spelt better."""

    def __init__(self, message: str, *, is_mistyped: bool = False) -> None:
        super().__init__(message)
        self.is_mistyped = is_mistyped


@dataclass(frozen=True, slots=True)
class Ticket:
    """A pairing code (`is_code`) or an enrolment token: good once."""

    secret: str = field(repr=False)
    is_code: bool

    def digest(self) -> str:
        """As the proof names it."""
        return urlsafe_b64encode(hashlib.sha256(self.secret.encode()).digest()).rstrip(b"=").decode()


class Enrolled(Wire):
    """The control plane's answer. `status`: `active`, `pending` (a person has to confirm) or `refused`."""

    client_id: Name
    issuer: str
    status: str


def code(text: str) -> Ticket:
    """A pairing code as a person types it. Raises ValueError, in words for that person."""
    letters = "".join(text.upper().split()).replace("-", "")
    if len(letters) != CODE_LETTERS or not ALPHABET.issuperset(letters):
        raise ValueError("a pairing code is eight letters, such as BCDF-GHJK, without vowels")
    return Ticket(letters, is_code=True)


def token(text: str) -> Ticket:
    """An enrolment token. Raises ValueError."""
    if not (text.isascii() and text.isprintable() and " " not in text and 0 < len(text) <= TOKEN_LIMIT):
        raise ValueError("an enrolment token is one line of visible ASCII characters")
    return Ticket(text, is_code=False)


class Registry:
    """The control plane's endpoints for machines. An async context manager. Making one raises CannotStart, 78."""

    def __init__(self, base_url: str, tls: ssl.SSLContext, clock: Clock) -> None:
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._ahead = timedelta(0)
        try:
            self._client = httpx.AsyncClient(
                verify=tls,
                headers={"Accept-Encoding": "identity", "User-Agent": "sse-agent"},
                timeout=httpx.Timeout(30.0, connect=10.0),
                limits=httpx.Limits(max_connections=2, keepalive_expiry=5),
                follow_redirects=False,
                cookies=no_cookies(),
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            raise CannotStart(WRONG_PROXY, ExitCode.WRONG_CONFIGURATION) from None

    async def __aenter__(self) -> "Registry":
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    @property
    def clock_words(self) -> str:
        """How wrong this machine's clock is, as far as the control plane said; empty if it is right enough."""
        wrong_s = self._ahead.total_seconds()
        if abs(wrong_s) < CLOCK_WRONG_S:
            return ""
        how = "behind" if wrong_s > 0 else "ahead of"
        return f"this machine's clock is {duration(abs(wrong_s))} {how} the control plane's"

    async def issuer(self) -> str | None:
        """Whom proofs are for (RFC 8414); None if it does not say. Raises TryAgain."""
        response, body = await self._ask("GET", "/.well-known/oauth-authorization-server")
        found = json_object(body).get("issuer") if response.status_code == 200 else None
        if isinstance(found, str) and _is_issuer(found):
            return found
        if 200 <= response.status_code < 400 or response.status_code >= 500:
            raise not_now(response, body, self._clock.now())
        return None

    async def enrol(self, ticket: Ticket, key: MachineKey, name: str) -> Enrolled:
        """The same again with the same ticket and key changes nothing. Raises TryAgain, Refused."""
        aud = await self.issuer() or f"{self._base_url}/api/v1/enrollments"
        try:
            return await self._enrol(ticket, key, name, aud)
        except WrongTime:
            # Signed anew, by the control plane's clock this time.
            return await self._enrol(ticket, key, name, aud)

    async def _enrol(self, ticket: Ticket, key: MachineKey, name: str, aud: str) -> Enrolled:
        body = {
            "code" if ticket.is_code else "token": ticket.secret,
            "name": name,
            "publicKey": key.public,
            "proof": key.signed(
                {
                    "aud": aud,
                    "jti": uuid4().hex,
                    "exp": int((self._clock.now() + self._ahead).timestamp()) + PROOF_S,
                    "credential_sha256": ticket.digest(),
                }
            ),
            "host": platform.node()[:255],
            "platform": f"{platform.system()} {platform.release()}"[:255],
            "version": sse_agent.__version__,
        }
        response, answer = await self._ask("POST", "/api/v1/enrollments", json=body)
        if response.status_code == 201:
            try:
                enrolled = Enrolled.model_validate(json_object(answer))
            except ValidationError:
                enrolled = None
            if enrolled is not None and _is_issuer(enrolled.issuer):
                return enrolled
        raise self._enrolment_refused(response, answer, ticket)

    def _enrolment_refused(self, response: httpx.Response, body: bytes, ticket: Ticket) -> Exception:
        slug = problem_slug(response, body)
        what = "pairing code" if ticket.is_code else "enrolment token"
        if slug == "invalid-proof":
            reason = "the control plane does not accept the proof that this machine signed"
            return self._wrong_time(json_object(body).get("now"), reason) or Refused(f"{reason}{self._and_clock()}")
        if slug == "invalid-parameter":
            detail = json_object(body).get("detail")
            words = printable(detail[:300]) if isinstance(detail, str) else "it does not say which"
            return Refused(f"the control plane does not accept a part of the request: {words}")
        refusals = {
            (403, "code-not-valid"): f"there is no such {what}; is it mistyped, or another control plane's?",
            (409, "code-used"): f"another key was enrolled with this {what}; make a new one on the control plane",
            (410, "code-over"): f"this {what} is over: expired, or tried wrongly too often; make a new one",
        }
        refusal = refusals.get((response.status_code, slug or ""))
        if refusal:
            return Refused(refusal, is_mistyped=slug == "code-not-valid")
        if response.status_code == 404:
            return Refused("nothing there enrols machines; is it the control plane's address?")
        return not_now(response, body, self._clock.now())

    def _wrong_time(self, text: Any, reason: str) -> WrongTime | None:
        """If the control plane says what time it is, and we did not know. From now on we do."""
        now = _instant(text)
        if now is None:
            return None
        before, self._ahead = self._ahead, now - self._clock.now()
        is_news = abs(self._ahead - before) >= timedelta(seconds=2)
        return WrongTime(reason, now=now) if is_news else None

    def _and_clock(self) -> str:
        return f"; {self.clock_words}" if self.clock_words else ""

    async def grant(self, assertion: str) -> Grant:
        """An access token for an assertion (RFC 6749, section 4.4). Raises Pending, NotEnrolled, Parked, TryAgain."""
        form = {"grant_type": GRANT, "client_assertion_type": ASSERTION, "client_assertion": assertion}
        response, body = await self._ask("POST", "/api/v1/token", data=form)
        found = json_object(body)
        access = found.get("access_token")
        if response.status_code == 200 and isinstance(access, str) and _is_bearer(access, found.get("token_type")):
            return Grant(access, _life_s(found.get("expires_in")))
        raise self._grant_refused(response, body)

    def _grant_refused(self, response: httpx.Response, body: bytes) -> TryAgain:
        found, status = json_object(body), response.status_code
        error = found.get("error") if status in (400, 401) else None
        if error == "unauthorized_client":
            reason = "this agent waits to be confirmed: a person has to compare its key's fingerprint and say yes"
            return Pending(reason)
        if error == "invalid_client":
            now = _instant(found.get("now"))
            if now is not None:
                self._ahead = now - self._clock.now()
            reason = (
                "the control plane does not accept this machine's key: it was refused, deleted or replaced, or nobody "
                "confirmed it in time"
                f"{self._and_clock()}; what to do: docs/how-to/enroll-an-agent.md"
            )
            return NotEnrolled(reason) if now is None else NotEnrolledOrWrongTime(reason, now=now)
        if isinstance(error, str):
            return TryAgain(f"the control plane gave no access token: {printable(error[:64])}")
        return not_now(response, body, self._clock.now())

    async def _ask(self, method: str, path: str, **body: Any) -> tuple[httpx.Response, bytes]:
        try:
            with anyio.fail_after(DEADLINE_S):
                request = self._client.build_request(method, self._base_url + path, **body)
                response = await self._client.send(request, stream=True)
                try:
                    return response, await read_answer(response, ANSWER_WITHIN_S)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise TryAgain(f"no whole answer within {DEADLINE_S:g} s") from None
        except httpx.HTTPError as error:
            raise TryAgain(explain(error)) from None
        except (httpx.InvalidURL, ValueError):
            raise TryAgain("the control plane answered a redirect to what is no URL") from None


def _instant(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        return None


def _is_issuer(text: str) -> bool:
    """A URL as OAuth has issuers (RFC 8414, section 2)."""
    if not (text.isascii() and text.isprintable() and len(text) <= 2048):
        return False
    try:
        return origin_of(text).startswith(("https://", "http://")) and not {"?", "#", " "} & set(text)
    except ValueError:
        return False


def _is_bearer(access: str, kind: Any) -> bool:
    is_visible = access.isascii() and access.isprintable() and " " not in access
    return is_visible and 0 < len(access) <= TOKEN_LIMIT and isinstance(kind, str) and kind.lower() == "bearer"


def _life_s(expires_in: Any) -> float:
    is_number = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
    return float(expires_in) if is_number and 0 < expires_in < 1e9 else DEFAULT_LIFE_S
