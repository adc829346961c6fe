"""What went over the relay for each upload on the tus server, what is done to it there, and what was done."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts.crash_test_harness.faults import Faults
from scripts.crash_test_harness.tokens import Tokens

BODY_LIMIT = 512 * 1024
VANISHES_AT_MOST = 2
CRAWL = 5.0
_DELETED_WITHIN_S = 25.0


@dataclass(slots=True)
class Sent:
    """What went over for one upload on the tus server, and what was done to it there.

    `refused_with`: the status of the error that answered its last PATCH, 0 for none. `is_refusal_taken`: another
    request came over the same connection afterwards, so the agent had read that answer and gone on; else the
    connection ended first, and the answer may be lost.
    """

    upload_id: str
    file_id: str
    size: int
    bytes: int = 0
    patches: int = 0
    resumed: int = 0
    is_gone: bool = False
    refused_with: int = 0
    is_refusal_taken: bool = False

    @property
    def is_void(self) -> bool:
        """Whether another upload may begin from the first byte in its place."""
        return self.is_gone or self.refused_with > 0


class Book:
    """Shared by all connections of the relay. `target`: tusd's endpoint, which may change."""

    def __init__(self, target: Callable[[], str], faults: Faults, tokens: Tokens) -> None:
        self.target = target
        self.faults = faults
        self.tokens = tokens
        self._changed = threading.Condition()
        self.uploads: dict[str, Sent] = {}
        self.refusals: list[Sent] = []
        self.open_patches = 0
        self.life = 0
        self.body_limit: int | None = None

    def begin_life(self) -> None:
        """The agent is about to start."""
        with self._changed:
            self.life += 1
            self.body_limit = BODY_LIMIT if self.faults.happens("limiting") else None

    def sent_for(self, file_id: str) -> list[Sent]:
        """Every upload that was created for that file ID, oldest first."""
        with self._changed:
            return [sent for sent in self.uploads.values() if sent.file_id == file_id]

    def wait_for_bytes(self, file_id: str, count: int, within_s: float) -> bool:
        """Wait until so many bytes of it went over."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(sent.bytes for sent in self.sent_for(file_id)) >= count, within_s)

    def wait_for_patch(self, within_s: float) -> bool:
        """Wait until a PATCH is under way."""
        with self._changed:
            return self._changed.wait_for(lambda: self.open_patches > 0, within_s)

    # --- from the relay's connections ---

    def created(self, upload_id: str, file_id: str, size: int) -> None:
        """tusd's 201, before the agent gets to see it."""
        with self._changed:
            self.uploads[upload_id] = Sent(upload_id, file_id, size)

    def find(self, upload_id: str) -> Sent | None:
        """What is known of an upload on the tus server."""
        with self._changed:
            return self.uploads.get(upload_id)

    @contextmanager
    def patching(self, upload_id: str, offset: int) -> Iterator[Sent]:
        """A PATCH is under way."""
        with self._changed:
            sent = self.uploads.setdefault(upload_id, Sent(upload_id, "", -1))
            sent.patches += 1
            sent.resumed += offset > 0
            self.open_patches += 1
            self._changed.notify_all()
        try:
            yield sent
        finally:
            with self._changed:
                self.open_patches -= 1

    def count(self, sent: Sent, count: int) -> None:
        """So many bytes more went over."""
        with self._changed:
            sent.bytes += count
            self._changed.notify_all()

    def refuses(self, sent: Sent) -> bool:
        """Whether the tus server will not have this file, now that its last bytes come. Once an upload."""
        return not sent.refused_with and self.faults.happens("refusing")

    def note_refused(self, sent: Sent, status: int) -> None:
        """Before the agent can have read the answer."""
        with self._changed:
            sent.refused_with = status
            self.refusals.append(sent)

    def make_vanish(self, sent: Sent) -> None:
        """By chance: somebody deletes the upload behind the agent's back. Not so often that the agent gives up."""
        gone = sum(one.is_gone for one in self.sent_for(sent.file_id))
        if sent.is_void or gone >= VANISHES_AT_MOST or not self.faults.happens("vanishing"):
            return
        # Before it is so: a request that breaks may have had its effect.
        sent.is_gone = True
        target = urlsplit(self.target())
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=_DELETED_WITHIN_S)
        with suppress(OSError, http.client.HTTPException):
            path = f"{target.path.rstrip('/')}/{sent.upload_id}"
            connection.request("DELETE", path, headers={"Tus-Resumable": "1.0.0"})
            connection.getresponse().read()
        connection.close()
