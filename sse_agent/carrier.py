"""One file's bytes → tus server, in a worker thread. Every step is in the journal before it is taken."""

import mimetypes
import mmap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sse_agent.clock import Clock
from sse_agent.digest import RunningDigest
from sse_agent.errors import ErrorCode, GiveUp, Stopped, TryAgain
from sse_agent.files import AllowedFolders, FileIdentity, OpenFile
from sse_agent.journal import attempts
from sse_agent.journal.transitions import Outcome
from sse_agent.journal.uploads import Upload
from sse_agent.tus import BodyLimit, OffsetConflict, Refused, TusSession, TusUploader, UploadGone, is_refusal

MIB = 1024 * 1024
BLOCK = 256 * 1024
FIRST_PATCH = 8 * MIB
LEAST_PATCH = MIB // 4
MOST_PATCH = 1024 * MIB
PATCH_S = 50.0
LONGEST_PATCH_S = 90.0
NOTE_EVERY_S = 5.0
CONFLICTS = 4
RECREATIONS = 3
COMPRESSED = {"gzip": "application/gzip", "br": "application/octet-stream"}

Write = Callable[..., Any]


class _Overdue(Exception):
    """A PATCH goes on for too long: the way has become slower than it was when its length was chosen."""


@dataclass(slots=True)
class Pace:
    """What is known of the way to the tus servers, for all uploads: bytes per second, and a proxy's body limit."""

    rate: float | None = None
    body_limit: int = MOST_PATCH

    def patch_length(self) -> int:
        """Bytes of a PATCH that ends after about a minute or 1 GiB, so that the confirmed offset moves."""
        wanted = FIRST_PATCH if self.rate is None else int(self.rate * PATCH_S)
        return max(LEAST_PATCH, min(wanted, MOST_PATCH, self.body_limit))

    def learn(self, count: int, seconds: float) -> None:
        """A PATCH of `count` bytes took so long."""
        if seconds > 0:
            rate = count / seconds
            self.rate = rate if self.rate is None else 0.5 * self.rate + 0.5 * rate


@dataclass(slots=True)
class Gauge:
    """Where the carrier is. It writes, the event loop reads; a torn reading is only a late one.

    `attempt_sent`: bytes that were handed to the network in this attempt, those sent again included; it only grows.
    `asks`: how often the tus server has told its offset, which is no progress; `told_offset`: the last one.
    The last request ends before byte `request_end`; `request_at` was `attempt_sent` when it began.
    """

    size: int = 0
    offset: int = 0
    bytes_sent: int = 0
    attempt_sent: int = 0
    told_offset: int = 0
    asks: int = 0
    request_at: int = 0
    request_end: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_unanswered(self) -> bool:
        """Whether all bytes of a request are sent, and the tus server has not said that it has them."""
        return self.offset < self.request_end <= self.bytes_sent


@dataclass(frozen=True, slots=True)
class Ways:
    """What every carrier needs, and who carries."""

    folders: AllowedFolders
    write: Write
    clock: Clock
    pace: Pace
    client_id: str


class Carrier:
    """One attempt at one upload. `run` returns the outcome or raises GiveUp, TryAgain or Stopped."""

    def __init__(
        self, ways: Ways, upload: Upload, token: str | None, session: TusSession, gauge: Gauge, digest: RunningDigest
    ) -> None:
        self._ways = ways
        self._upload = upload
        self._token = token
        self._session = session
        self._gauge = gauge
        self._digest = digest
        # Page-aligned: reading into memory that is not takes some processors several times as long.
        self._buffer = memoryview(mmap.mmap(-1, BLOCK))
        # As journalled before a PATCH, and as it turned out to be: no byte from there on was handed to the network.
        self._sent_limit = upload.sent_limit
        self._handed_over = upload.sent_limit if upload.url is not None else 0
        self._confirmed = upload.offset
        self._refusal = upload.refusal
        self._furthest = upload.offset
        self._conflicts = 0
        self._confirmation = "response"
        self._noted_at = ways.clock.monotonic()

    def run(self) -> Outcome:
        """Carry it to the end."""
        with self._ways.folders.open_file(self._upload.name) as file:
            self._identify(file)
            if self._upload.url is None:
                # What was read for an earlier attempt may have been another file.
                self._digest.restart()
            if file.identity.size == 0:
                # It has no last block to withhold: created is complete.
                self._check_digest()
            tus = self._tus(file)
            self._establish(tus, file)
            while tus.offset < tus.size:
                self._hash_until(file, tus.offset)
                self._send(tus, file)
            self._hash_until(file, tus.size)
            self._check_digest()
            return Outcome(self._digest.hexdigest(), tus.upload_id, self._confirmation)

    # --- which file ---

    def _identify(self, file: OpenFile) -> None:
        upload, found = self._upload, file.identity
        self._gauge.size = found.size
        if upload.wanted_size is not None and upload.wanted_size != found.size:
            message = f"the file has {found.size} bytes, the command says {upload.wanted_size}"
            raise GiveUp(ErrorCode.SIZE_MISMATCH, message)
        if upload.url is not None and upload.file_identity is not None:
            self._compare(FileIdentity.from_text(upload.file_identity), found)
        if upload.url is not None and upload.hashed_sha256 is not None:
            self._digest.expect(upload.hashed, upload.hashed_sha256)

    def _compare(self, before: FileIdentity, now: FileIdentity) -> None:
        if now.size < before.size:
            message = f"the file shrank from {before.size} to {now.size} bytes while it was uploaded"
            raise GiveUp(ErrorCode.FILE_SHRUNK, message, retryable=True)
        if now != before:
            raise GiveUp(ErrorCode.FILE_CHANGED, "the file changed while it was uploaded", retryable=True)

    # --- the upload on the server ---

    def _tus(self, file: OpenFile) -> TusUploader:
        own: dict[str, bytes | str] = {
            "filename": file.name,
            "filetype": _media_type(file.name.decode(errors="replace")),
            "fileId": self._upload.file_id,
            "clientId": self._ways.client_id,
            "attemptId": self._upload.attempt_id,
        }
        return TusUploader(
            self._session,
            endpoint=self._upload.endpoint,
            token=self._token,
            file=file.file,
            size=file.identity.size,
            metadata={**self._upload.metadata, **own},
            url=self._upload.url,
        )

    def _establish(self, tus: TusUploader, file: OpenFile) -> None:
        """Create the upload, or ask how much of it the server has."""
        if self._upload.url is None:
            self._stop_if_told()
            url = tus.create()
            self._sent_limit = min(tus.size, self._ways.pace.patch_length())
            self._note(attempts.note_created, url, file.identity.to_text(), tus.size, self._sent_limit)
            return
        try:
            self._ask(tus)
        except UploadGone:
            self._start_over()
        if tus.offset == tus.size and self._refusal is not None:
            raise _refused(self._refusal, self._upload.refusal_status or 0)

    def _ask(self, tus: TusUploader) -> None:
        """The server's offset is the only truth, lower ones included; but it can't have what was never sent."""
        try:
            offset = tus.fetch_offset()
        except Refused as stranger:
            if not stranger.retryable:
                raise
            self._disown(stranger.message)
        if offset > self._handed_over:
            self._disown("the tus server claims to have bytes that were never sent")
        self._gauge.offset = self._gauge.bytes_sent = self._gauge.told_offset = offset
        # After the offset: whoever sees that it was asked sees what was answered.
        self._gauge.asks += 1
        self._confirmation = "offset"
        self._confirm(offset)

    def _confirm(self, offset: int, sha256: str | None = None) -> None:
        if offset != self._confirmed:
            self._confirmed, self._noted_at = offset, self._ways.clock.monotonic()
            self._note(attempts.note_progress, offset, sha256)

    def _note_prefix(self) -> None:
        """The hash of what is sent so far: what a later process reads again has to be the same.

        A journal that can't be written breaks no PATCH; less of the file is held to its hash then.
        """
        self._noted_at = self._ways.clock.monotonic()
        with suppress(TryAgain):
            self._note(attempts.note_prefix, self._digest.position, self._digest.hexdigest())

    def _start_over(self) -> None:
        """It is gone there: cleaned up, or lost. A new attempt from the first byte, but not for ever."""
        if self._upload.recreated >= RECREATIONS:
            self._disown(f"the upload disappeared from the tus server {RECREATIONS + 1} times")
        self._note(attempts.start_over, recreated=self._upload.recreated + 1)
        raise TryAgain("the upload is gone from the tus server; it starts again from the first byte")

    def _disown(self, message: str) -> NoReturn:
        """What is at our URL is not our upload. A person may have it tried again, from the first byte."""
        self._note(attempts.start_over, recreated=0)
        raise GiveUp(ErrorCode.SERVER_REFUSED, message, retryable=True)

    # --- bytes ---

    def _send(self, tus: TusUploader, file: OpenFile) -> None:
        """One PATCH, and whatever its failure asks for at once."""
        start, length = tus.offset, min(tus.size - tus.offset, self._ways.pace.patch_length())
        is_last = start + length == tus.size
        self._compare(file.identity, file.current_identity())
        if start + length > self._sent_limit or self._refusal is not None:
            self._sent_limit, self._refusal = max(self._sent_limit, start + length), None
            self._note(attempts.note_sending, start, self._sent_limit)
        self._gauge.offset = self._gauge.bytes_sent = start
        self._gauge.request_at, self._gauge.request_end = self._gauge.attempt_sent, start + length
        self._digest.mark()
        began = self._ways.clock.monotonic()
        try:
            self._hand_over(tus, file, length, began + LONGEST_PATCH_S, is_last=is_last)
        except OffsetConflict:
            self._resync(tus, "the tus server refuses the offset that it names itself")
            return
        except _Overdue:
            self._ways.pace.rate = (self._gauge.bytes_sent - start) / (self._ways.clock.monotonic() - began)
            self._resync(tus, "the tus server keeps nothing of requests that take too long")
            self._note_furthest(tus.offset)
            return
        except (TryAgain, GiveUp) as error:
            if is_last and is_refusal(error):
                self._judge(tus, error)
            if not isinstance(error, BodyLimit):
                raise
            self._lower(length, error)
            return
        if length >= MIB or not is_last:
            # Small files say little about the rate.
            self._ways.pace.learn(tus.offset - start, self._ways.clock.monotonic() - began)
        self._confirmation, self._gauge.offset = "response", tus.offset
        self._note_furthest(tus.offset)
        if tus.offset < start + length:
            self._confirm(tus.offset)
            # Else a server that keeps a byte at a time would have us send everything for each.
            raise TryAgain("the tus server kept only a part of what was sent")
        if tus.offset < tus.size:
            self._confirm(tus.offset, self._digest.hexdigest())

    def _hand_over(self, tus: TusUploader, file: OpenFile, length: int, until: float, *, is_last: bool) -> None:
        """The PATCH itself; however it ends, it is known how much was handed to the network."""
        end = tus.offset + length
        try:
            tus.send(length, self._blocks(file, length, until, is_last=is_last))
        except Exception:
            # A journal that can't be written must not hide what happened.
            with suppress(TryAgain):
                self._note_handed_over(end)
            raise
        if tus.offset < end:
            self._note_handed_over(end)
        self._handed_over = max(self._handed_over, tus.offset)

    def _note_handed_over(self, end: int) -> None:
        """A PATCH up to `end` broke off: a server that claims all of it would claim what it never got."""
        # The block under way may have arrived.
        handed_over = min(end, self._gauge.bytes_sent + BLOCK)
        self._handed_over = max(self._handed_over, handed_over)
        if self._handed_over < self._sent_limit:
            self._sent_limit = self._handed_over
            self._note(attempts.note_handed_over, self._sent_limit)

    def _blocks(self, file: OpenFile, length: int, until: float, *, is_last: bool) -> Iterator[memoryview]:
        """The bytes of one PATCH. Its last block goes out only if the file is still the one that was opened.

        Broken off at the monotonic instant `until`: the confirmed offset has to move.
        """
        left = length
        file.file.seek(self._digest.position)
        while left:
            self._stop_if_told()
            now = self._ways.clock.monotonic()
            if now > until:
                raise _Overdue
            if now - self._noted_at > NOTE_EVERY_S:
                self._note_prefix()
            block = self._read(file, left)
            left -= len(block)
            if left == 0:
                self._compare(file.identity, file.current_identity())
                if is_last:
                    self._check_digest()
            yield block
            self._gauge.bytes_sent += len(block)
            self._gauge.attempt_sent += len(block)

    def _read(self, file: OpenFile, most: int) -> memoryview:
        count = file.file.readinto(self._buffer[: min(BLOCK, most)])
        if not count:
            raise GiveUp(ErrorCode.FILE_SHRUNK, "the file shrank while it was uploaded", retryable=True)
        block = self._buffer[:count]
        self._digest.update(block)
        return block

    def _hash_until(self, file: OpenFile, offset: int) -> None:
        """Read again what the server has, as far as its hash is not known here; and hold it to what was sent."""
        self._digest.rewind(offset)
        stops = self._digest.stops(offset)
        if not stops:
            return
        for stop in stops:
            self._read_until(file, stop)
            self._digest.mark()
            if not self._digest.agrees():
                message = "the part of the file that was sent already changed, though its size and times did not"
                raise GiveUp(ErrorCode.FILE_CHANGED, message, retryable=True)
        self._digest.go_on_from(offset)
        self._read_until(file, offset)
        self._compare(file.identity, file.current_identity())

    def _read_until(self, file: OpenFile, stop: int) -> None:
        file.file.seek(self._digest.position)
        while self._digest.position < stop:
            self._stop_if_told()
            self._read(file, stop - self._digest.position)

    def _check_digest(self) -> None:
        wanted = self._upload.wanted_sha256
        if wanted is not None and self._digest.hexdigest() != wanted:
            raise GiveUp(ErrorCode.CHECKSUM_MISMATCH, "the file's SHA-256 is not the one that the command names")

    # --- trouble ---

    def _note_furthest(self, offset: int) -> None:
        """Only further than ever is progress: a server that takes and forgets by turns gets no endless attempt."""
        if offset > self._furthest:
            self._furthest, self._conflicts = offset, 0

    def _resync(self, tus: TusUploader, why: str) -> None:
        """409, or a request that took too long: ask, and go on from there; not for ever."""
        self._conflicts += 1
        if self._conflicts > CONFLICTS:
            raise TryAgain(why)
        self._stop_if_told()
        self._ask(tus)

    def _lower(self, length: int, limit: BodyLimit) -> None:
        """413 from something on the way: smaller requests may get through."""
        if length <= LEAST_PATCH:
            raise GiveUp(ErrorCode.TOO_LARGE, limit.reason, retryable=True)
        self._ways.pace.body_limit = max(LEAST_PATCH, length // 2)

    def _judge(self, tus: TusUploader, error: TryAgain | GiveUp) -> None:
        """An error answered the last PATCH. With all bytes there it is the server's refusal of the whole file.

        Noted before anybody asks for the offset: after a crash in between, "all bytes are there" looks like success.
        """
        status = getattr(error, "status", None) or 0
        words = error.message if isinstance(error, GiveUp) else error.reason
        self._refusal = words
        self._note(attempts.note_refusal, status, words)
        self._ask(tus)
        if tus.offset == tus.size:
            raise _refused(words, status) from None

    def _note(self, work: Callable[..., object], *args: object, **kwargs: object) -> None:
        self._ways.write(work, self._upload.file_id, *args, **kwargs)

    def _stop_if_told(self) -> None:
        if self._gauge.stop.is_set():
            raise Stopped("told to stop")


def _media_type(name: str) -> str:
    """Guessed from the name. Of `a.tar.gz` it is gzip's, not tar's: the bytes are sent as they are."""
    kind, compression = mimetypes.guess_type(name)
    if compression is not None:
        return COMPRESSED.get(compression, f"application/x-{compression}")
    return kind or "application/octet-stream"


def _refused(words: str, status: int) -> GiveUp:
    return GiveUp(
        ErrorCode.SERVER_REFUSED, f"the tus server refused the upload at its end: {words}", retryable=status >= 500
    )
