"""Which uploads there are, and where each stands. What there is no room for is only counted."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from sse_agent.board.shown import Unnamed, Upload
from sse_agent.lifecycle import UploadState

KNOWN_LIMIT = 20_000
FAILED_KEPT = 200
LISTED = (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED, UploadState.QUEUED)


class Queue:
    """The queued uploads in the order in which they run: the most urgent first, oldest first among equals."""

    def __init__(self) -> None:
        self._lanes = {priority: list[Upload]() for priority in range(9, -1, -1)}
        self.bytes_left = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[Upload]:
        for lane in self._lanes.values():
            yield from lane

    def add(self, upload: Upload) -> None:
        """Where it belongs: one that was paused or waited is older than those that came meanwhile."""
        insort(self._lane_of(upload), upload, key=_number)
        self.bytes_left += upload.bytes_left

    def remove(self, upload: Upload) -> None:
        """Wherever it stands."""
        lane = self._lane_of(upload)
        # All that is moved is pointers: of 20,000 it takes microseconds.
        start = bisect_left(lane, upload.number, key=_number)
        del lane[next(at for at in range(start, len(lane)) if lane[at] is upload)]
        self.bytes_left -= upload.bytes_left

    def _lane_of(self, upload: Upload) -> list[Upload]:
        return self._lanes[min(9, max(0, upload.priority))]


def _number(upload: Upload) -> int:
    return upload.number


class Registry:
    """Every change costs the same however long the queue is."""

    def __init__(self) -> None:
        self.revision = 0
        self.queue = Queue()
        self.unnamed = Unnamed()
        self.failed = OrderedDict[str, Upload]()
        """The uploads that failed last, from before the start as well, by file ID; the newest comes last."""
        self._known: dict[str, Upload] = {}
        self._groups = {
            state: OrderedDict[str, Upload]()
            for state in (UploadState.UPLOADING, UploadState.WAITING, UploadState.PAUSED)
        }
        self._touched: set[str] | None = None

    # --- what there is ---

    def __len__(self) -> int:
        """How many uploads have a name here."""
        return len(self._known)

    def __iter__(self) -> Iterator[Upload]:
        """Those with a name, in the order in which they are listed: what is under way, waits, is paused, is queued."""
        return chain(*(self._in(state) for state in LISTED))

    def find(self, file_id: str) -> Upload | None:
        """That upload, if it has a name here."""
        return self._known.get(file_id)

    def position(self, file_id: str) -> int | None:
        """Where it stands in the list, from 0."""
        upload = self._known.get(file_id)
        if upload is None:
            return None
        before = 0
        for state in LISTED:
            if state is upload.state:
                break
            before += len(self.queue) if state is UploadState.QUEUED else len(self._groups[state])
        return before + next(number for number, one in enumerate(self._in(upload.state)) if one is upload)

    def _in(self, state: UploadState) -> Iterator[Upload]:
        return iter(self.queue if state is UploadState.QUEUED else self._groups[state].values())

    def first(self, state: UploadState, most: int) -> list[Upload]:
        """Up to `most` uploads in that state: the first to run, or the first to have got there."""
        return list(islice(self._in(state), most))

    def count(self, state: UploadState) -> int:
        """How many uploads are in that state: queued, uploading, waiting, paused or failed."""
        if state is UploadState.QUEUED:
            return len(self.queue) + self.unnamed.queued
        if state is UploadState.FAILED:
            return len(self.failed) + self.unnamed.failed
        return len(self._groups[state]) + (self.unnamed.paused if state is UploadState.PAUSED else 0)

    @property
    def queued_bytes(self) -> int:
        """Not yet confirmed of what is queued."""
        return self.queue.bytes_left + self.unnamed.queued_bytes

    @property
    def rate(self) -> int:
        """Of all uploads together, in bytes per second."""
        return sum(upload.rate for upload in self._groups[UploadState.UPLOADING].values())

    @property
    def left_s(self) -> float | None:
        """Until all that is under way or queued is sent, at the pace of what is under way; None while none can tell."""
        active = self._groups[UploadState.UPLOADING].values()
        pace = sum(upload.pace or 0.0 for upload in active if upload.rate > 0)
        left = self.queued_bytes + sum(max(0, upload.size - upload.bytes_sent) for upload in active)
        return left / pace if pace > 1 else None

    # --- names from before the start ---

    def expect_names(self) -> None:
        """From now until `name`, it is noted what happens to which upload."""
        self._touched = set()

    def name(self, uploads: Iterable[Upload]) -> None:
        """Uploads that were only counted get their names; not those to which something happened meanwhile."""
        touched, self._touched = self._touched or set(), None
        for upload in uploads:
            if upload.file_id in touched or upload.file_id in self._known or len(self._known) >= KNOWN_LIMIT:
                continue
            if upload.state is UploadState.PAUSED:
                self.unnamed.paused = max(0, self.unnamed.paused - 1)
            else:
                self._forget_unnamed(upload.bytes_left)
            self._put(upload)
        self.revision += 1

    def name_failed(self, uploads: Iterable[Upload]) -> None:
        """Uploads that failed before the start, and were only counted, get their names. The newest comes first."""
        for upload in list(uploads)[::-1]:
            self.unnamed.failed = max(0, self.unnamed.failed - 1)
            self._put_failed(upload)
        self.revision += 1

    # --- from one place to another ---

    def _only_count(self, upload: Upload) -> None:
        if upload.state is UploadState.PAUSED:
            self.unnamed.paused += 1
        else:
            self.unnamed.queued += 1
            self.unnamed.queued_bytes += upload.bytes_left

    def _forget_unnamed(self, bytes_left: int) -> None:
        """One of those that were only counted got a name."""
        unnamed = self.unnamed
        unnamed.queued = max(0, unnamed.queued - 1)
        unnamed.queued_bytes = max(0, unnamed.queued_bytes - bytes_left) if unnamed.queued else 0

    def _take(self, file_id: str) -> Upload | None:
        upload = self._known.pop(file_id, None)
        if upload is None:
            return None
        if upload.state is UploadState.QUEUED:
            self.queue.remove(upload)
        else:
            del self._groups[upload.state][file_id]
        return upload

    def _put(self, upload: Upload) -> None:
        if len(self._known) >= KNOWN_LIMIT and upload.state is not UploadState.UPLOADING:
            self._only_count(upload)
            return
        self._known[upload.file_id] = upload
        if upload.state is UploadState.QUEUED:
            self.queue.add(upload)
        else:
            self._groups[upload.state][upload.file_id] = upload

    def _put_failed(self, upload: Upload) -> None:
        self.failed[upload.file_id] = upload
        if len(self.failed) > FAILED_KEPT:
            self.failed.popitem(last=False)
            self.unnamed.failed += 1
