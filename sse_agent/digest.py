"""SHA-256 of a file's beginning, with checkpoints to go back to: a broken PATCH must not cost reading it all again."""

import hashlib

CHECKPOINT_EVERY = 64 * 1024 * 1024
CHECKPOINTS_KEPT = 64
DIGESTS_KEPT = 256


class RunningDigest:
    """Grows with the bytes that are sent; `rewind` goes back to a place at or before an offset.

    A checkpoint is a copy of the hash's state, some hundred bytes. The older they are the fewer there are: a tus server
    that lost some bytes lost the last ones, and memory must not grow with the file.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._checkpoints = [(0, self._hash.copy())]
        self.position = 0

    def update(self, block: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._hash.update(block)
        self.position += len(block)
        if self.position - self._checkpoints[-1][0] >= CHECKPOINT_EVERY:
            self.mark()

    def mark(self) -> None:
        """Remember this place: the tus server confirmed it, or a PATCH starts here."""
        if self.position > self._checkpoints[-1][0]:
            self._checkpoints.append((self.position, self._hash.copy()))
        if len(self._checkpoints) > CHECKPOINTS_KEPT:
            del self._checkpoints[1 : CHECKPOINTS_KEPT * 3 // 4 : 2]

    def rewind(self, offset: int) -> None:
        """Go back to the last checkpoint at or before `offset` if we are beyond it."""
        if self.position <= offset:
            return
        while self._checkpoints[-1][0] > offset:
            self._checkpoints.pop()
        self.position, at_checkpoint = self._checkpoints[-1]
        self._hash = at_checkpoint.copy()

    def hexdigest(self) -> str:
        """Of the bytes so far, as 64 lower-case hexadecimal digits."""
        return self._hash.hexdigest()


class Digests:
    """Those of uploads that rest and may go on; without its own a file is read again up to where it is."""

    def __init__(self) -> None:
        self._resting: dict[str, RunningDigest] = {}

    def take(self, file_id: str) -> RunningDigest:
        """The one that was kept, else a new one."""
        return self._resting.pop(file_id, None) or RunningDigest()

    def keep(self, file_id: str, digest: RunningDigest) -> None:
        """For the next time; of too many the one that rests longest goes."""
        self._resting[file_id] = digest
        if len(self._resting) > DIGESTS_KEPT:
            del self._resting[next(iter(self._resting))]
