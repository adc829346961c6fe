"""One worker thread's connections to tus servers. One request at a time; other threads may break it."""

import http.client
import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3.exceptions

from sse_agent.clock import Clock
from sse_agent.tus.answers import NotNow
from sse_agent.tus.connections import Adapter, LineBroke
from sse_agent.tus.proxies import proxy_for
from sse_agent.tus.watch import PATIENCE, Patience, Watch, no_answer

# urllib3 logs whole URLs, as a warning when an answer's headers are odd; an upload's URL is a secret.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

ANSWER_LIMIT = 4 * 1024
"""Bytes of an answer's body that are read. tus puts everything else into headers; errors are one line."""

Block = bytes | bytearray | memoryview

_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of at most `ANSWER_LIMIT` bytes of body; header names are matched in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Body:
    """What one request carries: blocks of the caller's making. It has a length, so requests doesn't send it chunked."""

    def __init__(self, length: int, blocks: Iterable[Block]) -> None:
        self._length = length
        self._blocks = blocks
        self.watch: Watch | None = None
        self.given = 0
        """Bytes that were handed to the network, or were about to be."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Block]:
        """The blocks. Raises what their maker raises, an OSError of it as TryAgain, and ValueError on a wrong sum."""
        left, blocks = self._length, iter(self._blocks)
        while (block := self._next(blocks)) is not None:
            left -= memoryview(block).nbytes
            if left < 0:
                # One byte more and the server would read it as the beginning of the next request.
                raise ValueError("the blocks are longer than the request")
            if self.watch is not None:
                self.watch.check()
                self.watch.wait_for_block()
            self.given = self._length - left
            yield block
        if left:
            raise ValueError("the blocks are shorter than the request")

    def _next(self, blocks: Iterator[Block]) -> Block | None:
        if self.watch is not None:
            self.watch.rest()
        try:
            return next(blocks, None)
        except OSError as error:
            # urllib3 would take it for the connection's, and a broken pipe for a reason to wait for the answer.
            raise NotNow(f"the file can't be read: {error.strerror or 'input/output error'}") from None


class TusSession:
    """Keeps its connections between requests. Made for one thread; `abort`, `rearm`, `expire` and `deadline` for any.

    `trust` decides which servers are trusted, `proxies` is as `proxy_for` reads it.
    """

    def __init__(
        self, *, trust: ssl.SSLContext, proxies: Mapping[str, str], clock: Clock, patience: Patience = PATIENCE
    ) -> None:
        self.patience = patience
        self.clock = clock
        self._proxies = dict(proxies)
        self._watch = Watch(clock, patience)
        self._adapter = Adapter(trust, self._watch)
        self._session = requests.Session()
        # Else ~/.netrc would replace our Authorization header, and the environment decide on proxies and trust.
        self._session.trust_env = False
        self._session.headers.clear()
        self._session.headers.update({"User-Agent": "sse-agent", "Accept": "*/*", "Accept-Encoding": "identity"})
        # One upload's server must not leave anything that another upload's server gets to see.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    @property
    def deadline(self) -> float | None:
        """Monotonic instant by which the step under way must have moved; None when nothing is waited for."""
        return self._watch.deadline

    def abort(self) -> None:
        """From any thread: the request under way ends at once in Stopped, and so does any other until `rearm`.

        An answer whose status is already there still counts.
        """
        self._watch.abort()

    def rearm(self) -> None:
        """Requests work again."""
        self._watch.rearm()

    def expire(self) -> None:
        """From any thread, when the clock is past `deadline`: the request under way ends at once in TryAgain."""
        self._watch.expire()

    def close(self) -> None:
        """For good."""
        self.abort()
        self._adapter.close()
        self._session.close()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], *, answer_s: float, body: Body | None = None
    ) -> Answer:
        """Send one request, once, and read its answer, whatever its status; redirects are answers.

        Raises TryAgain when no answer came, Stopped after `abort`, and unchanged whatever the maker of `body` raises;
        no text in them tells the URL. After any of these the connection is not used again.
        """
        with self._watch.request(answer_s) as under_way:
            try:
                return self._exchange(method, url, headers, answer_s, body)
            except LineBroke as broke:
                trouble = NotNow(str(broke))
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                http.client.HTTPException,
                OSError,
            ) as error:
                trouble = _explain(error, answer_s)
            # Raised out here so that not even __context__ leads to an exception with the URL in it.
            raise under_way.verdict or trouble

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], answer_s: float, body: Body | None
    ) -> Answer:
        if body is not None:
            body.watch = self._watch
        request = self._session.prepare_request(requests.Request(method, url, headers=dict(headers), data=body))
        proxy = proxy_for(url, self._proxies)
        # Not Session.send: even without following redirects it reads their bodies, however long they are.
        response = self._adapter.send(
            request,
            stream=True,
            timeout=(self.patience.connect_s, answer_s),
            proxies={"http": proxy, "https": proxy} if proxy else {},
        )
        try:
            return Answer(response.status_code, response.headers, _body_of(response))
        finally:
            response.close()


def _body_of(response: requests.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        # Not asked for, and no words that anybody can read.
        return b""
    body = b""
    # However it ends, the answer came: taken for lost, a refusal of the last bytes would become success by the offset.
    with suppress(*_BROKEN):
        while len(body) < ANSWER_LIMIT:
            more = response.raw.read1(ANSWER_LIMIT - len(body), decode_content=False)
            if not more:
                break
            body += more
    return body


def _explain(error: Exception, answer_s: float) -> NotNow:
    """What came of a request without an answer, in words of our own."""
    if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)):
        return no_answer(answer_s)
    if isinstance(error, (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema)):
        return NotNow("the proxy's URL in the environment can't be used")
    if isinstance(error, ValueError):
        return NotNow("the request can't be made of this URL and these headers")
    return NotNow("the connection broke before the tus server answered")
