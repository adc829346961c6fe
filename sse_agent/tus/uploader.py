"""tuspy's Uploader: its headers and its encoding of metadata, with requests that end, stream and trust nobody."""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

from tusclient.client import TusClient
from tusclient.uploader.uploader import Uploader

from sse_agent.errors import AgentError, ErrorCode, GiveUp
from sse_agent.tus.answers import NotNow, Refused, Stranger, TokenRefused, UploadGone, asked_wait_s, classify
from sse_agent.tus.locations import check_endpoint, check_upload_url, resolve_location, upload_id
from sse_agent.tus.session import Answer, Block, Body, TusSession

BLOCK = 256 * 1024
"""Bytes of a block of the body: a plain socket's time-out is for a whole block, and TLS is slow with 16 KiB."""

_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]{1,19}")


class _Raw(bytes):
    """A metadata value that is no text, such as a file name that is not UTF-8; tuspy encodes what has `encode`."""

    def encode(self, _: str) -> bytes:
        return bytes(self)


class TusUploader(Uploader):
    """One upload. `offset` is what the server last said, `url` None until `create`, or as it was given.

    `file` is read only by tuspy's own `upload` and `upload_chunk`. Every method that makes a request raises TryAgain,
    GiveUp or Stopped (see answers.py), all with the `status` of the answer, None if there was none.
    """

    url: str | None  # type: ignore[assignment]

    def __init__(
        self,
        session: TusSession,
        *,
        endpoint: str,
        token: str | None,
        file: BinaryIO,
        size: int,
        metadata: Mapping[str, bytes | str],
        url: str | None = None,
        offset: int = 0,
    ) -> None:
        """No request is made. Raises GiveUp if the endpoint, the URL or a metadata key is not fit to be sent."""
        self.size = size
        self._file = file
        self._session = session
        self._endpoint = check_endpoint(endpoint)
        self._token = token
        # tuspy's constructor asks for the offset when it knows the URL, and reads the file if it has to know its size.
        super().__init__(
            file_stream=file, client=TusClient(endpoint, _authorization(token)), metadata=_checked(metadata)
        )
        self.url = None if url is None else check_upload_url(endpoint, url)
        self.offset = offset

    @property
    def upload_id(self) -> str:
        """The tus server's ID of the upload; as secret as its URL. Empty before `create`."""
        return "" if self.url is None else upload_id(self._endpoint, self.url)

    # --- the four requests ---

    def create(self) -> str:
        """POST. Returns the absolute upload URL; `offset` is 0 then. Never repeated: it is not idempotent."""
        url = self.create_url()
        self.url, self.offset = url, 0
        return url

    def fetch_offset(self) -> int:
        """HEAD. Sets and returns `offset`, which may be lower than it was. It interrupts a PATCH that is under way."""
        self.offset = self.get_offset()
        return self.offset

    def send(self, length: int, blocks: Iterable[Block]) -> int:
        """PATCH: exactly `length` bytes, more than none, from `offset` on. Sets and returns the new offset.

        What `blocks` raises comes out unchanged (an OSError as TryAgain), and the connection is dropped then. A block
        is at most 256 KiB, and out of use when the next is asked for.
        """
        if length <= 0:
            raise ValueError("a PATCH without bytes moves nothing")
        headers = self.get_headers()
        headers["Content-Type"] = "application/offset+octet-stream"
        headers["Upload-Offset"] = str(self.offset)
        body = Body(length, blocks)
        answer = self._request("PATCH", headers, self._session.patience.patch_s, body)
        if answer.status not in (200, 204):
            raise self._error("PATCH", answer)
        offset = _number(answer.headers.get("Upload-Offset"))
        # An answer may come before the body is out; what was not sent can't have arrived.
        if offset is None or not self.offset < offset <= self.offset + body.given:
            raise _no_offset(answer)
        self.offset = offset
        return offset

    def terminate(self) -> None:
        """DELETE. Gone before, or a server that can't: both are fine."""
        answer = self._request("DELETE", self.get_headers(), self._session.patience.delete_s)
        is_done = 200 <= answer.status < 300 and (answer.status == 204 or "Tus-Resumable" in answer.headers)
        if not is_done and answer.status not in (404, 405, 410, 501):
            raise self._error("DELETE", answer)

    # --- tuspy's own methods ---

    def create_url(self) -> str:
        """POST. Returns the absolute upload URL and changes nothing here."""
        headers = self.get_url_creation_headers()  # type: ignore[no-untyped-call]
        answer = self._request("POST", headers, self._session.patience.post_s)
        location = answer.headers.get("Location")
        if answer.status != 201 or not location:
            raise self._error("POST", answer)
        return resolve_location(self._endpoint, location)

    def get_offset(self) -> int:
        """HEAD. Returns the server's offset and changes nothing here."""
        answer = self._request("HEAD", self.get_headers(), self._session.patience.head_s)
        if answer.status not in (200, 204):
            raise self._error("HEAD", answer)
        length = answer.headers.get("Upload-Length")
        if length is not None and _number(length) != self.size:
            message = "the upload on the tus server is for a file of another size"
            raise Refused(ErrorCode.SERVER_REFUSED, message, status=answer.status, retryable=True)
        offset = _number(answer.headers.get("Upload-Offset"))
        if offset is None or offset > self.size:
            raise _no_offset(answer)
        return offset

    def upload_chunk(self) -> None:
        """The next `chunk_size` bytes of `file`, all of it by default. tuspy's `upload` calls it until all are sent."""
        if self.url is None:
            self.create()
        length = self.get_request_length()  # type: ignore[no-untyped-call]
        self.send(length, self._read(length))

    def get_file_size(self) -> int:
        """As it was given; tuspy would move the caller's position in the file."""
        return self.size

    def get_headers(self) -> dict[str, str]:
        """Of every request. tusd logs the request ID, and at most 36 characters of it."""
        headers = super().get_headers()  # type: ignore[no-untyped-call]
        return {**headers, "X-Request-ID": str(uuid.uuid4())}

    # --- below ---

    def _request(self, method: str, headers: Mapping[str, str], answer_s: float, body: Body | None = None) -> Answer:
        url = self._endpoint if method == "POST" else self.url
        if url is None:
            raise ValueError("there is no upload yet")
        return self._session.request(method, url, headers, answer_s=answer_s, body=body)

    def _error(self, method: str, answer: Answer) -> AgentError:
        text = answer.body.decode(errors="replace")
        wait_s = asked_wait_s(answer.headers, self._session.clock.now())
        # An S3 store's ID is `<key>+<multipart upload>`, and its errors name the key alone.
        whole = [secret for secret in (self.url, self.upload_id, self._token) if secret]
        parts = [part for secret in whole for part in secret.split("+") if len(part) >= 8]
        secrets = [form for secret in (*whole, *parts) for form in (secret, quote(secret, safe=""))]
        error = classify(method, answer.status, text, wait_s, secrets=secrets)
        if not _is_of_a_stranger(method, answer, error):
            return error
        words = f"something in front of the tus server answers in its place ({answer.status})"
        return Stranger(words, status=answer.status, retry_after_s=wait_s)

    def _read(self, length: int) -> Iterator[bytes]:
        self._file.seek(self.offset)
        while length:
            block = self._file.read(min(BLOCK, length))
            if not block:
                raise GiveUp(ErrorCode.FILE_SHRUNK, "the file shrank while it was uploaded", retryable=True)
            length -= len(block)
            yield block


def _authorization(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not _TOKEN.fullmatch(token):
        raise TokenRefused("the upload token has characters that no header can carry")
    return {"Authorization": f"Bearer {token}"}


def _checked(metadata: Mapping[str, bytes | str]) -> dict[str, Any]:
    for key in metadata:
        if not _KEY.fullmatch(key):
            raise GiveUp(ErrorCode.INVALID_PAYLOAD, "a metadata key is 1 to 64 letters, digits and . _ -")
    return {key: _Raw(value) if isinstance(value, bytes) else value for key, value in metadata.items()}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _is_of_a_stranger(method: str, answer: Answer, error: AgentError) -> bool:
    """Whether a refusal is no tus server's: each of its answers has Tus-Resumable (tus 1.0), and tusd's errors a name.

    While tusd is exchanged, a router in front of it answers 404, and nginx's page of maintenance 405. A new upload may
    be refused by whoever guards the server, with words for people. 412 is believed: a proxy that strips the header from
    requests may strip it from answers.
    """
    is_believed = answer.status == 412 or (method == "POST" and answer.status not in (404, 405)) or method == "DELETE"
    if is_believed or not isinstance(error, (Refused, UploadGone)):
        return False
    return "Tus-Resumable" not in answer.headers and not error.name


def _no_offset(answer: Answer) -> NotNow:
    return NotNow("the tus server's answer has no usable Upload-Offset", status=answer.status)
